// CUDA C++ for a processor: put in front of a kernel's text, it makes the text C++. Threads of a
// block run one after the other; where they meet (barriers, shuffles) each is a fiber, and a block
// in which some wait for ever is an error. What the text may use of CUDA is what stands here.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <type_traits>
#include <utility>

#define __global__ __attribute__((visibility("default")))
#define __device__
#define __shared__ static
#define __restrict__ __restrict
#define __launch_bounds__(n)
#define __CUDA_ARCH__ 900
#define __forceinline__ inline

struct dim3_of_a_kernel {
  unsigned x, y, z;
};
struct alignas(8) float2 {
  float x, y;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
struct alignas(8) int2 {
  int x, y;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct uint3 {
  unsigned x, y, z;
  uint3(unsigned x, unsigned y, unsigned z) : x(x), y(y), z(z) {}
  uint3(const dim3_of_a_kernel& d) : x(d.x), y(d.y), z(d.z) {}
};
inline uint3 make_uint3(unsigned x, unsigned y, unsigned z) { return {x, y, z}; }

// Dynamic shared memory: blocks of a module run one after the other.
alignas(16) static unsigned char simt_dynamic[227 << 10];

// What the double gives a kernel: filled when its module is loaded.
struct SimtHost {
  dim3_of_a_kernel *thread, *block, *grid, *threads;
  void (*meet_block)();
  void (*meet_warp)(unsigned mask);
  unsigned long long* (*warp_slots)();  // one word per lane
  unsigned (*warp_lanes)();             // those that have not left
};
extern "C" __attribute__((visibility("default"))) SimtHost simt_host;
SimtHost simt_host;

#define threadIdx (*simt_host.thread)
#define blockIdx (*simt_host.block)
#define gridDim (*simt_host.grid)
#define blockDim (*simt_host.threads)

inline void __syncthreads() { simt_host.meet_block(); }
inline void __syncwarp(unsigned mask = 0xffffffffu) { simt_host.meet_warp(mask); }

inline int simt_lane() {
  return static_cast<int>((threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) %
                          32);
}
// What lane `from` gives; without one the own value, as the hardware does. A lane that has left, or
// that the block never had, gives what nobody should use.
template <class T>
T simt_exchange(unsigned mask, T v, int from) {
  static_assert(sizeof(T) <= 8);
  unsigned long long* slots = simt_host.warp_slots();
  std::memcpy(&slots[simt_lane()], &v, sizeof v);
  simt_host.meet_warp(mask);
  T out = v;
  if (from >= 0 && from < 32) {
    if (simt_host.warp_lanes() >> from & 1)
      std::memcpy(&out, &slots[from], sizeof out);
    else
      std::memset(&out, 0xfb, sizeof out);
  }
  simt_host.meet_warp(mask);
  return out;
}
inline unsigned __ballot_sync(unsigned mask, int v) {
  unsigned long long* slots = simt_host.warp_slots();
  slots[simt_lane()] = v != 0;
  simt_host.meet_warp(mask);
  unsigned out = 0;
  for (int i = 0; i < 32; ++i)
    if (simt_host.warp_lanes() >> i & 1) out |= static_cast<unsigned>(slots[i]) << i;
  simt_host.meet_warp(mask);
  return out;
}
template <class T>
T __shfl_sync(unsigned mask, T v, int from, int = 32) {
  return simt_exchange(mask, v, from & 31);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T v, int bits, int = 32) {
  return simt_exchange(mask, v, simt_lane() ^ bits);
}
template <class T>
T __shfl_up_sync(unsigned mask, T v, unsigned delta, int = 32) {
  return simt_exchange(mask, v, simt_lane() - static_cast<int>(delta));
}
template <class T>
T __shfl_down_sync(unsigned mask, T v, unsigned delta, int = 32) {
  return simt_exchange(mask, v, simt_lane() + static_cast<int>(delta));
}

template <class To, class From>
To simt_bits(From v) {
  static_assert(sizeof(To) == sizeof(From));
  To out;
  std::memcpy(&out, &v, sizeof out);
  return out;
}
inline float __int_as_float(int v) { return simt_bits<float>(v); }
inline int __float_as_int(float v) { return simt_bits<int>(v); }
inline float __uint_as_float(unsigned v) { return simt_bits<float>(v); }
inline unsigned __float_as_uint(float v) { return simt_bits<unsigned>(v); }
inline double __longlong_as_double(long long v) { return simt_bits<double>(v); }
inline long long __double_as_longlong(double v) { return simt_bits<long long>(v); }
inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>(static_cast<unsigned long long>(a) * b >> 32);
}
inline int __popc(unsigned v) { return __builtin_popcount(v); }
inline int __clz(int v) { return v ? __builtin_clz(static_cast<unsigned>(v)) : 32; }
inline int __ffs(int v) { return __builtin_ffs(v); }
inline unsigned short simt_half_bits(float x) {
  return simt_bits<unsigned short>(static_cast<_Float16>(x));
}
inline float simt_half_value(unsigned short h) {
  return static_cast<float>(simt_bits<_Float16>(h));
}
inline unsigned short simt_bfloat_bits(float x) {
  const unsigned u = __float_as_uint(x);
  if ((u & 0x7fffffffu) > 0x7f800000u) return 0x7fff;
  return static_cast<unsigned short>((u + 0x7fffu + ((u >> 16) & 1)) >> 16);
}

template <class T>
T atomicAdd(T* at, T v) {
  return std::exchange(*at, static_cast<T>(*at + v));
}
template <class T>
T atomicCAS(T* at, T expected, T v) {
  T before = *at;
  if (before == expected) *at = v;
  return before;
}
inline unsigned atomicInc(unsigned* at, unsigned last) {
  return std::exchange(*at, *at >= last ? 0 : *at + 1);
}
inline void __threadfence() {}
template <class T>
T atomicMax(T* at, T v) {
  return std::exchange(*at, *at < v ? v : *at);
}
template <class T>
T atomicMin(T* at, T v) {
  return std::exchange(*at, v < *at ? v : *at);
}
template <class T>
T atomicOr(T* at, T v) {
  return std::exchange(*at, static_cast<T>(*at | v));
}
template <class T>
T atomicAnd(T* at, T v) {
  return std::exchange(*at, static_cast<T>(*at & v));
}
template <class T>
T atomicXor(T* at, T v) {
  return std::exchange(*at, static_cast<T>(*at ^ v));
}
template <class T>
T atomicExch(T* at, T v) {
  return std::exchange(*at, v);
}

using std::abs;
using std::acos;
using std::acosh;
using std::asin;
using std::asinh;
using std::atan;
using std::atan2;
using std::atanh;
using std::cbrt;
using std::ceil;
using std::copysign;
using std::cos;
using std::cosh;
using std::erf;
using std::exp;
using std::exp2;
using std::expm1;
using std::fabs;
using std::floor;
using std::fma;
using std::fmod;
using std::hypot;
using std::isfinite;
using std::isinf;
using std::isnan;
using std::log;
using std::log10;
using std::log1p;
using std::log2;
using std::pow;
using std::rint;
using std::round;
using std::signbit;
using std::sin;
using std::sinh;
using std::sqrt;
using std::tan;
using std::tanh;
using std::trunc;
inline float rsqrt(float x) { return 1.0f / std::sqrt(x); }
inline double rsqrt(double x) { return 1.0 / std::sqrt(x); }
inline float fmax(float a, float b) { return std::fmax(a, b); }
inline float fmin(float a, float b) { return std::fmin(a, b); }
// For each pair of types that CUDA has them for.
#define SIMT_PICK(R, A, B)                                     \
  inline R max(A a, B b) { return (R)a < (R)b ? (R)b : (R)a; } \
  inline R min(A a, B b) { return (R)b < (R)a ? (R)b : (R)a; }
#define SIMT_PICKS(S, U) SIMT_PICK(S, S, S) SIMT_PICK(U, U, U) SIMT_PICK(U, S, U) SIMT_PICK(U, U, S)
SIMT_PICKS(int, unsigned)
SIMT_PICKS(long, unsigned long)
SIMT_PICKS(long long, unsigned long long);
#undef SIMT_PICKS
#undef SIMT_PICK
#define SIMT_PICK(R, A, B)                                 \
  inline R max(A a, B b) { return std::fmax(R(a), R(b)); } \
  inline R min(A a, B b) { return std::fmin(R(a), R(b)); }
SIMT_PICK(float, float, float)
SIMT_PICK(double, double, double)
SIMT_PICK(double, float, double)
SIMT_PICK(double, double, float);
#undef SIMT_PICK
// Newton's steps on erf from a rational start.
inline double erfinv(double x) {
  if (!(x > -1 && x < 1)) return x == 1 ? INFINITY : x == -1 ? -INFINITY : NAN;
  const double w = std::log((1 - x) * (1 + x)), a = 4.3307467508 + w / 2;
  double y = std::copysign(std::sqrt(std::sqrt(a * a - w / 0.147) - a), x);
  for (int i = 0; i < 4; ++i) y -= (std::erf(y) - x) / (1.1283791670955126 * std::exp(-y * y));
  return y;
}
inline float erfinv(float x) { return static_cast<float>(erfinv(static_cast<double>(x))); }

// How the double calls a kernel: the sizes of its parameters, and a call with their addresses.
template <class... A>
struct SimtCall {
  static constexpr size_t count = sizeof...(A);
  static void run(void (*kernel)(A...), void** at) {
    run(kernel, at, std::index_sequence_for<A...>{});
  }
  template <size_t... I>
  static void run(void (*kernel)(A...), void** at, std::index_sequence<I...>) {
    kernel(*static_cast<std::remove_const_t<A>*>(at[I])...);
  }
};
template <class... A>
SimtCall<A...> simt_call_of(void (*)(A...));
template <class... A>
int simt_sizes(void (*)(A...), size_t* out) {
  int n = 0;
  for (size_t s : std::initializer_list<size_t>{sizeof(A)...}) out[n++] = s;
  return n;
}

// What the headers above define besides and NVRTC does not: a text may define it for itself.
#define uint8_t text_uint8_t
#define uint16_t text_uint16_t
#define uint32_t text_uint32_t
#define uint64_t text_uint64_t
#define int8_t text_int8_t
#define int16_t text_int16_t
#define int32_t text_int32_t
#define int64_t text_int64_t
