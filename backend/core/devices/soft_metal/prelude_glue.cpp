#include "devices/soft_metal/prelude.h"

// What a module calls, and the macros of <metal_stdlib>.
// clang-format off
namespace lamina::soft_metal {

const char* const kGlue = R"cl(
typedef unsigned long u64;
typedef unsigned int u32;
// One per module: what it calls in the machine. Same layout as struct Calls in machine.h.
struct calls {
  void (*access)(const void* at, u64 bytes, int write, const void* site);
  void (*block)(u32 id);
  void (*barrier)(u32 flags, int line);
  void (*simd_barrier)(u32 flags, int line);
  void* (*meet)(int kind, const void* value, u32 bytes, u64 uniform, int line);
  u32 (*lane)(void);
  void (*fence)(u32 flags);
  void (*note_atomic)(const void* at, u32 bytes, int write);
  u64 (*static_threadgroup)(u32 which);
  void (*inactive)(void);
};
__attribute__((visibility("default"))) const struct calls* lm_calls;
__attribute__((visibility("default"))) u32 lm_blocks;
#define SITE __builtin_return_address(0)
#define SIZED(N) \
  void __asan_load##N(const void* p) { lm_calls->access(p, N, 0, SITE); } \
  void __asan_store##N(const void* p) { lm_calls->access(p, N, 1, SITE); }
SIZED(1) SIZED(2) SIZED(4) SIZED(8) SIZED(16)
void __asan_loadN(const void* p, u64 n) { lm_calls->access(p, n, 0, SITE); }
void __asan_storeN(const void* p, u64 n) { lm_calls->access(p, n, 1, SITE); }
void __asan_handle_no_return(void) {}
void* __asan_memcpy(void* to, const void* from, u64 n) {
  lm_calls->access(from, n, 0, SITE);
  lm_calls->access(to, n, 1, (const char*)SITE + 1);
  return __builtin_memcpy(to, from, n);
}
void* __asan_memmove(void* to, const void* from, u64 n) {
  lm_calls->access(from, n, 0, SITE);
  lm_calls->access(to, n, 1, (const char*)SITE + 1);
  return __builtin_memmove(to, from, n);
}
void* __asan_memset(void* to, int value, u64 n) {
  lm_calls->access(to, n, 1, SITE);
  return __builtin_memset(to, value, n);
}
void __sanitizer_cov_trace_pc_guard_init(u32* start, u32* stop) {
  for (u32* g = start; g < stop; ++g)
    if (!*g) *g = ++lm_blocks;
}
void __sanitizer_cov_trace_pc_guard(u32* guard) { lm_calls->block(*guard); }
void lm_barrier(u32 flags, int line) { lm_calls->barrier(flags, line); }
void lm_simd_barrier(u32 flags, int line) { lm_calls->simd_barrier(flags, line); }
void* lm_meet(int kind, const void* value, u32 bytes, u64 uniform, int line) {
  return lm_calls->meet(kind, value, bytes, uniform, line);
}
u32 lm_lane(void) { return lm_calls->lane(); }
void lm_fence(u32 flags) { lm_calls->fence(flags); }
void lm_note_atomic(const void* at, u32 bytes, int write) { lm_calls->note_atomic(at, bytes, write); }
u64 lm_static_threadgroup(u32 which) { return lm_calls->static_threadgroup(which); }
void lm_inactive(void) { lm_calls->inactive(); }

// Conversions that a processor without instructions for them calls by these names.
#if defined(__x86_64__)
typedef union { float f; u32 u; } word;
__attribute__((weak)) __bf16 __truncsfbf2(float x) {
  word w = {x};
  unsigned short r = (w.u & 0x7fffffff) > 0x7f800000 ? (unsigned short)(w.u >> 16 | 64)
                                                     : (unsigned short)((w.u + 0x7fff + (w.u >> 16 & 1)) >> 16);
  return __builtin_bit_cast(__bf16, r);
}
#if !defined(__F16C__)
__attribute__((weak)) float __extendhfsf2(_Float16 h) {
  unsigned short b = __builtin_bit_cast(unsigned short, h);
  u32 sign = (u32)(b & 0x8000) << 16, low = b & 0x7fff;
  word w;
  if (low >= 0x7c00) w.u = low << 13 | 0x7f800000;
  else if (low >= 0x400) w.u = (low << 13) + 0x38000000;
  else w.f = (float)low * 0x1p-24f;
  w.u |= sign;
  return w.f;
}
__attribute__((weak)) _Float16 __truncsfhf2(float x) {
  word w = {x};
  u32 sign = w.u >> 16 & 0x8000, a = w.u & 0x7fffffff, r;
  if (a > 0x7f800000) r = 0x7e00;
  else if (a >= 0x477ff000) r = 0x7c00;
  else if (a >= 0x38800000) r = (a - 0x38000000 + 0xfff + (a >> 13 & 1)) >> 13;
  else { word v = {0}; v.u = a; r = (u32)__builtin_rintf(v.f * 0x1p24f); }
  return __builtin_bit_cast(_Float16, (unsigned short)(sign | r));
}
#endif
#endif
)cl";

const char* const kPreludeMacros = R"cl(
#define __METAL__ 1
#define __METAL_VERSION__ 320
#define __METAL_MACOS__ 1
#define __HAVE_BFLOAT__ 1
#define METAL_FUNC inline __attribute__((__always_inline__))
#define METAL_CONST_FUNC inline __attribute__((__always_inline__))
#define INFINITY __builtin_inff()
#define NAN __builtin_nanf("")
#define HUGE_VALF __builtin_inff()
#define HUGE_VALH ((half)__builtin_inff())
#define MAXFLOAT 0x1.fffffep127f
#define FLT_MAX 0x1.fffffep127f
#define FLT_MIN 0x1p-126f
#define FLT_EPSILON 0x1p-23f
#define FLT_DIG 6
#define FLT_MANT_DIG 24
#define HALF_MAX 65504.0h
#define HALF_MIN 0x1p-14h
#define HALF_EPSILON 0x1p-10h
#define CHAR_BIT 8
#define CHAR_MAX 127
#define CHAR_MIN (-128)
#define SCHAR_MAX 127
#define SCHAR_MIN (-128)
#define UCHAR_MAX 255
#define SHRT_MAX 32767
#define SHRT_MIN (-32768)
#define USHRT_MAX 65535
#define INT_MAX 2147483647
#define INT_MIN (-2147483647 - 1)
#define UINT_MAX 4294967295u
#define LONG_MAX 9223372036854775807l
#define LONG_MIN (-9223372036854775807l - 1)
#define ULONG_MAX 18446744073709551615ul
#define M_E_F 2.71828182845904523536f
#define M_LOG2E_F 1.44269504088896340736f
#define M_LOG10E_F 0.43429448190325182765f
#define M_LN2_F 0.69314718055994530942f
#define M_LN10_F 2.30258509299404568402f
#define M_PI_F 3.14159265358979323846f
#define M_PI_2_F 1.57079632679489661923f
#define M_PI_4_F 0.78539816339744830962f
#define M_1_PI_F 0.31830988618379067154f
#define M_2_PI_F 0.63661977236758134308f
#define M_2_SQRTPI_F 1.12837916709551257390f
#define M_SQRT2_F 1.41421356237309504880f
#define M_SQRT1_2_F 0.70710678118654752440f
)cl";

}  // namespace lamina::soft_metal
