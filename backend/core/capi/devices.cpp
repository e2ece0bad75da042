// The choice of a device.
#include <cstdlib>

#include "capi/functions.h"
#include "capi/handles.h"
#include "capi/status.h"
#include "devices/device.h"
#include "graph/array.h"

namespace lamina::capi {

const char* device_name(size_t number) {
  // Devices are registered before main(), so names stay where they are.
  static const auto* names = new std::vector<std::string>(device_names());
  return number < names->size() ? (*names)[number].c_str() : nullptr;
}

const char* default_device() { return device_name(lamina::default_device()); }

lamina_status set_default_device(const char* name) {
  return guarded([&] {
    require_graph("set_default_device");
    if (!name) name = std::getenv("LAMINA_DEVICE");
    const std::string wanted = name && *name ? name : "cpu";
    const DeviceId id = wanted == "gpu" ? gpu_device() : device_named(wanted);
    device_of(id);
    lamina::set_default_device(id);
  });
}

}  // namespace lamina::capi
