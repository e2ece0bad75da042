#include "devices/cpu/lapack.h"

#include <dlfcn.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"

namespace lamina::cpu {

namespace {

struct Library {
  void* handle = nullptr;
  std::string path;
  void (*set_threads)(int) = nullptr;
  std::string tried;  // why there is none
};

#if defined(__APPLE__)
constexpr const char* kShipped = "libscipy_openblas.dylib";
const std::vector<std::string> kOfTheSystem = {
    "/System/Library/Frameworks/Accelerate.framework/Accelerate"};
#else
constexpr const char* kShipped = "libscipy_openblas.so";
const std::vector<std::string> kOfTheSystem = {"libopenblas.so.0", "liblapack.so.3"};
#endif

// How libraries spell the names of Fortran's routines: the shipped one, Accelerate's LAPACK with
// the interface of version 3.9, and all others.
void* find(void* handle, const std::string& name) {
  for (const std::string& spelled : {"scipy_" + name + "_", name + "$NEWLAPACK", name + "_"})
    if (void* found = dlsym(handle, spelled.c_str())) return found;
  return nullptr;
}

bool open_file(Library& lib, const std::string& path) {
  lib.handle = dlopen(path.c_str(), RTLD_LAZY | RTLD_LOCAL);
  if (lib.handle && find(lib.handle, "dgetrf")) {
    lib.path = path;
    return true;
  }
  lib.tried += lib.tried.empty() ? path : ", " + path;
  lib.handle = nullptr;
  return false;
}

// LAMINA_LAPACK's file, else the copy shipped beside the compiled module, else the system's.
void open_any(Library& lib) {
  const char* wish = std::getenv("LAMINA_LAPACK");
  if (wish && *wish) {
    open_file(lib, wish);
    return;
  }
  std::vector<std::string> places;
#if !defined(__APPLE__)
  Dl_info self;
  if (dladdr(reinterpret_cast<void*>(&open_any), &self) && self.dli_fname) {
    std::string folder = self.dli_fname;
    size_t slash = folder.rfind('/');
    folder = slash == std::string::npos ? "." : folder.substr(0, slash);
    for (const char* place : {"/lib/", "/"}) places.push_back(folder + place + kShipped);
  }
#endif
  places.insert(places.end(), kOfTheSystem.begin(), kOfTheSystem.end());
  for (const std::string& place : places)
    if (open_file(lib, place)) return;
}

const Library& library() {
  // Never unloaded: its threads may outlive static destruction.
  static const Library* lib = [] {
    auto out = std::make_unique<Library>();
    open_any(*out);
    if (out->handle) {
      for (const char* name : {"scipy_openblas_set_num_threads", "openblas_set_num_threads"})
        if (!out->set_threads)
          out->set_threads = reinterpret_cast<void (*)(int)>(dlsym(out->handle, name));
      if (out->set_threads) out->set_threads(1);
    }
    return out.release();
  }();
  if (!lib->handle)
    throw DeviceError("linalg: no LAPACK library, tried " + lib->tried +
                      "\nSet LAMINA_LAPACK to the file of one, such as libopenblas.so");
  return *lib;
}

}  // namespace

void* lapack_routine(const char* name) {
  const Library& lib = library();
  if (void* found = find(lib.handle, name)) return found;
  throw DeviceError("linalg: " + lib.path + " has no routine " + name +
                    "\nSet LAMINA_LAPACK to the file of a whole LAPACK library");
}

const char* lapack_library() { return library().path.c_str(); }

LapackThreads::LapackThreads(int count) : changed_(count > 1 && library().set_threads) {
  if (changed_) library().set_threads(count);
}
LapackThreads::~LapackThreads() {
  if (changed_) library().set_threads(1);
}

}  // namespace lamina::cpu
