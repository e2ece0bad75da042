#include "devices/metal/host.h"

#include "devices/device.h"
#include "devices/metal/metal.h"

namespace lamina::metal {

namespace {
// Written by a static initialiser of host.mm, so it must need none itself.
constinit HostFactory provided = nullptr;
constexpr int kPreference = 3;
}  // namespace

void provide_host(HostFactory factory) {
  provided = factory;
  register_device({"metal", kPreference, open_device});
}
HostFactory host_factory() { return provided; }

// Never destroyed: arrays held by static objects release their memory after main().
Host* system_host() {
  static Host* host = provided ? provided() : nullptr;
  return host;
}

}  // namespace lamina::metal
