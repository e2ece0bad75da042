#include "devices/cpu/onednn.h"

#include <dlfcn.h>

#include <cstdlib>
#include <memory>

#include "base/error.h"
#include "devices/cpu/gemm_kernels.h"

namespace lamina::cpu {

#if LAMINA_ONEDNN

namespace {

#if defined(__APPLE__)
constexpr const char* kFileName = "libdnnl.3.dylib";
#else
constexpr const char* kFileName = "libdnnl.so.3";
#endif

void* open_file(const std::string& path) { return dlopen(path.c_str(), RTLD_LAZY | RTLD_LOCAL); }

// LAMINA_ONEDNN's file; the copy shipped beside the compiled module; one installed in the same
// Python prefix; whatever the loader finds.
void* open_library() {
  const char* wish = std::getenv("LAMINA_ONEDNN");
  if (wish && *wish) return std::string(wish) == "off" ? nullptr : open_file(wish);
  Dl_info self;
  if (dladdr(reinterpret_cast<void*>(&open_library), &self) && self.dli_fname) {
    std::string folder = self.dli_fname;
    size_t slash = folder.rfind('/');
    folder = slash == std::string::npos ? "." : folder.substr(0, slash);
    for (const char* place : {"/lib/", "/", "/../../../"})
      if (void* handle = open_file(folder + place + kFileName)) return handle;
  }
  return open_file(kFileName);
}

// Measured (docs/choices/matrix-library.md): tiles (AMX) and AMD's bfloat16 units beat float32;
// Intel's AVX-512 bfloat16 instructions run at half of its speed.
bool fast_bfloat16(const OneDnn& lib) {
  int isa = lib.get_effective_cpu_isa();
  auto has = [isa](int mask) { return (isa & mask) == mask; };
  if (has(dnnl_cpu_isa_avx512_core_amx)) return true;
#if defined(__x86_64__)
  if (has(dnnl_cpu_isa_avx512_core_bf16)) return __builtin_cpu_is("amd");
#endif
  return false;
}

std::unique_ptr<OneDnn> load() {
  void* handle = open_library();
  if (!handle) return nullptr;
  auto lib = std::make_unique<OneDnn>();
  bool complete = true;
  auto find = [&](auto& pointer, const char* name) {
    pointer = reinterpret_cast<std::remove_reference_t<decltype(pointer)>>(dlsym(handle, name));
    complete = complete && pointer;
  };
#define X(name) find(lib->name, "dnnl_" #name);
  LAMINA_DNNL_FUNCTIONS(X)
#undef X
  find(lib->omp_get_max_threads, "omp_get_max_threads");
  find(lib->omp_set_num_threads, "omp_set_num_threads");
  // Structures passed by pointer changed between major versions.
  if (!complete || lib->version()->major != DNNL_VERSION_MAJOR) return nullptr;
  if (lib->engine_create(&lib->engine, dnnl_cpu, 0) != dnnl_success) return nullptr;
  if (fast_bfloat16(*lib))
    lib->gemm_bf16 = reinterpret_cast<GemmBf16>(dlsym(handle, "dnnl_gemm_bf16bf16f32"));
  return lib;
}

}  // namespace

const OneDnn* onednn() {
  // Never unloaded: its threads' storage may outlive static destruction.
  static const OneDnn* lib = load().release();
  return lib;
}

void check_onednn(dnnl_status_t status, const std::string& what) {
  if (status == dnnl_success) return;
  if (status == dnnl_out_of_memory) throw OutOfMemory(what + ": oneDNN is out of memory", 0, 0);
  throw DeviceError(what + ": oneDNN failed with status " + std::to_string(status));
}

#endif  // LAMINA_ONEDNN

const char* matrix_library() {
  static const std::string name = [] {
#if LAMINA_ONEDNN
    if (const OneDnn* lib = onednn()) {
      const dnnl_version_t* v = lib->version();
      return "oneDNN " + std::to_string(v->major) + "." + std::to_string(v->minor) + "." +
             std::to_string(v->patch);
    }
#endif
    return std::string("own loops (") + gemm_kernels().isa + ")";
  }();
  return name.c_str();
}

}  // namespace lamina::cpu
