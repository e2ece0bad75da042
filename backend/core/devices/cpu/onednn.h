// The oneDNN library, opened when first needed. Programs run without it: every caller has its own
// loops to fall back on.
//
// The library never starts threads here: lamina's pool splits the work and each piece calls the
// library on one thread (OneThread).
#pragma once

#include <string>

#if __has_include(<oneapi/dnnl/dnnl.h>)
#include <oneapi/dnnl/dnnl.h>
#define LAMINA_ONEDNN 1
#else
#define LAMINA_ONEDNN 0
#endif

namespace lamina::cpu {

// "oneDNN 3.2.0" or "own loops (avx512)". Opens the library. Thread safe.
const char* matrix_library();

#if LAMINA_ONEDNN

// Exported by the library, declared in none of its headers.
using GemmBf16 = dnnl_status_t (*)(char transa, char transb, dnnl_dim_t m, dnnl_dim_t n,
                                   dnnl_dim_t k, float alpha, const void* a, dnnl_dim_t lda,
                                   const void* b, dnnl_dim_t ldb, float beta, float* c,
                                   dnnl_dim_t ldc);

// Entry points of the library. All are thread safe.
struct OneDnn {
#define LAMINA_DNNL_FUNCTIONS(X)                     \
  X(sgemm)                                           \
  X(version)                                         \
  X(get_effective_cpu_isa)                           \
  X(engine_create)                                   \
  X(stream_create)                                   \
  X(stream_destroy)                                  \
  X(memory_desc_create_with_tag)                     \
  X(memory_desc_create_with_strides)                 \
  X(memory_desc_destroy)                             \
  X(memory_desc_equal)                               \
  X(memory_desc_get_size)                            \
  X(memory_create)                                   \
  X(memory_destroy)                                  \
  X(memory_set_data_handle)                          \
  X(primitive_attr_create)                           \
  X(primitive_attr_destroy)                          \
  X(primitive_attr_set_scratchpad_mode)              \
  X(primitive_desc_destroy)                          \
  X(primitive_desc_query_md)                         \
  X(primitive_desc_query)                            \
  X(primitive_create)                                \
  X(primitive_execute)                               \
  X(primitive_destroy)                               \
  X(reorder_primitive_desc_create)                   \
  X(convolution_forward_primitive_desc_create)       \
  X(convolution_backward_data_primitive_desc_create) \
  X(convolution_backward_weights_primitive_desc_create)
#define X(name) decltype(&dnnl_##name) name = nullptr;
  LAMINA_DNNL_FUNCTIONS(X)
#undef X
  GemmBf16 gemm_bf16 = nullptr;  // nullptr where bfloat16 is faster widened to float32
  int (*omp_get_max_threads)() = nullptr;
  void (*omp_set_num_threads)(int) = nullptr;
  dnnl_engine_t engine = nullptr;
};

// nullptr when the library is absent, unusable, or LAMINA_ONEDNN=off. Thread safe.
const OneDnn* onednn();

// Throws OutOfMemory or DeviceError unless the status is success; `what` names op and shapes.
void check_onednn(dnnl_status_t status, const std::string& what);

// While alive, the library's OpenMP uses the calling thread only; restores the thread's setting,
// which other users of the same OpenMP library may have chosen.
class OneThread {
 public:
  explicit OneThread(const OneDnn& lib) : lib_(lib), before_(lib.omp_get_max_threads()) {
    if (before_ != 1) lib_.omp_set_num_threads(1);
  }
  ~OneThread() {
    if (before_ != 1) lib_.omp_set_num_threads(before_);
  }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  const OneDnn& lib_;
  int before_;
};

#endif  // LAMINA_ONEDNN

}  // namespace lamina::cpu
