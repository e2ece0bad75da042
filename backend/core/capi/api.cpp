// The table, and plugins that are handed it.
#include "capi/load.h"

#include <dlfcn.h>

#include <map>
#include <mutex>
#include <set>

#include "base/error.h"
#include "capi/functions.h"
#include "capi/status.h"

#ifndef LAMINA_VERSION
#define LAMINA_VERSION "0"
#endif

extern "C" const lamina_api* lamina_get_api(uint32_t abi_version) {
  namespace c = lamina::capi;
  static const lamina_api api{
      sizeof(lamina_api),
      LAMINA_ABI_VERSION,
      LAMINA_VERSION,
      c::last_error,
      c::fail,
      c::array_copy,
      c::array_adopt,
      c::array_scalar,
      c::array_full,
      c::retain,
      c::release,
      c::array_type,
      c::array_data,
      c::array_read,
      c::eval,
      c::op,
      c::define,
      c::parallel_for,
      c::add_kernel,
      c::add_temporary,
      c::device_name,
      c::default_device,
      c::set_default_device,
  };
  return abi_version == LAMINA_ABI_VERSION ? &api : nullptr;
}

namespace lamina::capi {

namespace {

struct Plugins {
  std::mutex mutex;
  std::map<void*, std::vector<std::string>> loaded;  // by the linker's handle: what each defined
};

}  // namespace

std::vector<std::string> load_plugin(const std::string& path) {
  static auto* plugins = new Plugins;
  std::lock_guard lock(plugins->mutex);
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) throw ValueError("load: " + path + " cannot be opened: " + dlerror());
  if (auto it = plugins->loaded.find(library); it != plugins->loaded.end()) {
    dlclose(library);  // counted twice
    return it->second;
  }
  using Register = lamina_status (*)(const lamina_api*);
  auto entry = reinterpret_cast<Register>(dlsym(library, "lamina_register"));
  if (!entry) {
    dlclose(library);
    throw ValueError("load: " + path +
                     " does not export lamina_register\nlamina.h says what a plugin is");
  }
  std::vector<std::string> before = custom_names();
  forget_error();
  // What it has defined points into its code: the library stays, whatever it answers.
  check("load: " + path, entry(lamina_get_api(LAMINA_ABI_VERSION)));
  std::set<std::string> known(before.begin(), before.end());
  std::vector<std::string> fresh;
  for (const std::string& name : custom_names())
    if (!known.count(name)) fresh.push_back(name);
  return plugins->loaded[library] = fresh;
}

}  // namespace lamina::capi
