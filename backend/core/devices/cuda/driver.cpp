#include "devices/cuda/driver.h"

#include <dlfcn.h>

#include "base/error.h"
#include "devices/pool.h"
#include "devices/registry.h"

namespace lamina::cuda {

namespace {

template <class Fn>
void bind(Fn*& slot, void* library, const char* symbol, const char* of) {
  slot = reinterpret_cast<Fn*>(find_symbol(library, symbol));
  if (!slot)
    throw DeviceError(std::string("cuda: ") + of + " has no " + symbol + ": it is too old");
}

Driver load_driver() {
  std::string why;
  void* library = open_library({"libcuda.so.1", "libcuda.so"}, why);
  if (!library) throw DeviceError("cuda: no NVIDIA driver: " + why);
  Driver d;
#define LAMINA_BIND(result, name, symbol, parameters) bind(d.name, library, symbol, "the driver");
  LAMINA_CUDA_DRIVER_FUNCTIONS(LAMINA_BIND)
#undef LAMINA_BIND
#define LAMINA_BIND(result, name, symbol, parameters) \
  d.name = reinterpret_cast<result(*) parameters>(find_symbol(library, symbol));
  LAMINA_CUDA_NEWER_DRIVER_FUNCTIONS(LAMINA_BIND)
#undef LAMINA_BIND
  return d;
}

Compiler load_compiler() {
  std::string why;
  void* library = open_library({"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"}, why);
  if (!library)
    throw DeviceError("cuda: no NVRTC, the run-time compiler: " + why +
                      "\npip install \"lamina[cuda]\"");
  Compiler c;
#define LAMINA_BIND(result, name, symbol, parameters) bind(c.name, library, symbol, "NVRTC");
  LAMINA_CUDA_COMPILER_FUNCTIONS(LAMINA_BIND)
#undef LAMINA_BIND
  return c;
}

}  // namespace

void* open_library(std::initializer_list<const char*> names, std::string& why) {
  auto attempt = [&](const std::string& path) {
    void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library)
      if (const char* reason = dlerror()) why = reason;
    return library;
  };
  // The packages' own folders first: what lamina[cuda] brought fits together.
  for (const std::string& folder : library_folders())
    for (const char* name : names)
      if (void* library = attempt(folder + "/" + name)) return library;
  for (const char* name : names)
    if (void* library = attempt(name)) return library;
  return nullptr;
}

void* find_symbol(void* library, const char* symbol) { return dlsym(library, symbol); }

const Driver& driver() {
  static const Driver d = load_driver();
  return d;
}

const Compiler& compiler() {
  static const Compiler c = load_compiler();
  return c;
}

std::string describe(Result result) {
  const char *name = nullptr, *text = nullptr;
  driver().error_name(result, &name);
  driver().error_text(result, &text);
  return std::string(name ? name : "error " + std::to_string(result)) + " (" +
         (text ? text : "no description") + ")";
}

bool is_fatal(Result result) {
  switch (result) {
    case 4:    // deinitialized
    case 214:  // uncorrectable memory error
    case 700:  // illegal address
    case 702:  // launch timeout
    case 714:  // hardware stack error
    case 715:  // illegal instruction
    case 716:  // misaligned address
    case 717:  // invalid address space
    case 718:  // invalid program counter
    case 719:  // launch failed
      return true;
    default:
      return false;
  }
}

void throw_for_library(const char* library, const char* what, const std::string& why) {
  const std::string where = std::string(library) + ": " + what;
  if (why.find("ALLOC") != std::string::npos) check(kOutOfMemory, where.c_str());
  throw DeviceError("cuda: " + where + ": " + why);
}

void check(Result result, const char* what) {
  if (result == 0) return;
  std::string message = std::string("cuda: ") + what + ": " + describe(result);
  if (result == kOutOfMemory) {
    size_t free = 0, total = 0;
    driver().memory_info(&free, &total);
    throw OutOfMemory(message + ", " + format_bytes(static_cast<int64_t>(free)) + " free of " +
                          format_bytes(static_cast<int64_t>(total)),
                      0, static_cast<int64_t>(free));
  }
  if (is_fatal(result))
    message +=
        "\nThe device's memory is lost to this process: restart it; arrays in the CPU's memory are "
        "whole";
  throw DeviceError(message);
}

}  // namespace lamina::cuda
