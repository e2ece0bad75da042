#include "devices/registry.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <exception>
#include <mutex>

#include "base/error.h"

namespace lamina {

namespace {

struct Entry {
  DeviceRow row;
  std::once_flag once;
  std::atomic<Device*> device{nullptr};
  std::string why;  // it did not open
};

struct Registry {
  std::vector<std::unique_ptr<Entry>> entries;  // sorted by name; the CPU is not among them
  Device* in_place_of_cpu = nullptr;
};

// Filled by static initialisers of other files; never destroyed, since arrays outlive main().
Registry& registry_of_devices() {
  static auto* r = new Registry;
  return *r;
}

Entry& entry(DeviceId id) {
  auto& entries = registry_of_devices().entries;
  if (id == kCpu || id > entries.size())
    throw DeviceError("device: there is no device number " + std::to_string(id));
  return *entries[size_t{id} - 1];
}

// nullptr where it does not open; entry.why then says so.
Device* open(Entry& e) {
  std::call_once(e.once, [&] {
    try {
      e.device = e.row.open();
    } catch (const std::exception& error) {
      e.why = error.what();
    }
  });
  return e.device;
}

}  // namespace

bool register_device(const DeviceRow& row) {
  auto& entries = registry_of_devices().entries;
  auto made = std::make_unique<Entry>();
  made->row = row;
  auto at = std::find_if(entries.begin(), entries.end(),
                         [&](const auto& e) { return std::string(e->row.name) > row.name; });
  entries.insert(at, std::move(made));
  return true;
}

std::vector<std::string> device_names() {
  std::vector<std::string> names{"cpu"};
  for (const auto& e : registry_of_devices().entries) names.push_back(e->row.name);
  return names;
}

Device& device_of(DeviceId id) {
  if (id == kCpu) {
    Device* other = registry_of_devices().in_place_of_cpu;
    return other ? *other : cpu_device();
  }
  Entry& e = entry(id);
  if (Device* d = open(e)) return *d;
  throw DeviceError(e.why);
}

std::vector<Device*> open_devices() {
  std::vector<Device*> out{&device_of(kCpu)};
  for (const auto& e : registry_of_devices().entries)
    if (Device* d = e->device.load()) out.push_back(d);
  return out;
}

DeviceId device_named(const std::string& name) {
  std::vector<std::string> names = device_names();
  auto it = std::find(names.begin(), names.end(), name);
  if (it != names.end()) return static_cast<DeviceId>(it - names.begin());
  std::string known;
  for (const std::string& n : names) known += (known.empty() ? "" : ", ") + n;
  throw DeviceError("device: unknown name \"" + name + "\"; this build has " + known);
}

DeviceId gpu_device() {
  for (const char* variable : {"LAMINA_GPU", "LAMINA_DEVICE"}) {
    const char* name = std::getenv(variable);
    if (!name || !*name || std::string(name) == "cpu") continue;
    DeviceId id = device_named(name);
    device_of(id);
    return id;
  }
  DeviceId best = kCpu;
  std::string why;
  const auto& entries = registry_of_devices().entries;
  for (size_t i = 0; i < entries.size(); ++i) {
    Entry& e = *entries[i];
    if (e.row.preference <= 0) continue;
    if (!open(e)) {
      why += (why.empty() ? "" : "; ") + e.why;
      continue;
    }
    if (best == kCpu || e.row.preference > entry(best).row.preference)
      best = static_cast<DeviceId>(i + 1);
  }
  if (best != kCpu) return best;
  std::string fix;
  for (const auto& e : entries)
    if (e->row.name == std::string("soft_metal"))
      fix =
          "\nMetal kernels also run on the CPU: pip install \"lamina[softmetal]\" and set "
          "LAMINA_GPU=soft_metal";
  throw DeviceError("gpu: there is none: " + (why.empty() ? "this build has no device" : why) +
                    fix);
}

std::vector<std::string>& library_folders() {
  // What Python finds besides takes its place; a program without Python has this.
  static auto* folders = [] {
    auto* named = new std::vector<std::string>;
    const char* set = std::getenv("LAMINA_CUDA_PATH");
    std::string rest = set ? set : "";
    while (!rest.empty()) {
      const size_t end = std::min(rest.find(':'), rest.size());
      if (end > 0) named->push_back(rest.substr(0, end));
      rest.erase(0, end + 1);
    }
    return named;
  }();
  return *folders;
}

void replace_cpu(Device* device) { registry_of_devices().in_place_of_cpu = device; }

}  // namespace lamina
