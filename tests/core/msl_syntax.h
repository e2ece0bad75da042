// Enough of Metal's library for a C++ compiler to check the syntax and types of a kernel's text.
// What runs such text is the soft_metal device; this only reads it.
#pragma once
#define kernel
#define device
#define constant const
#define thread
#define threadgroup

typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
typedef unsigned long ulong;
typedef _Float16 half;
struct bfloat {
  ushort bits;
  bfloat() = default;
  explicit bfloat(float);
  operator float() const;
};
struct uint2 {
  uint x, y;
};
struct uint3 {
  uint x, y, z;
};
struct uint4 {
  uint x, y, z, w;
};
struct float2 {
  float2() = default;
  float2(float, float);
  float x, y;
};
struct ulong2 {
  ulong2(ulong, ulong);
};
#define INFINITY __builtin_inff()
#define NAN __builtin_nanf("")

namespace metal {
namespace precise {
float exp(float), log(float), log2(float), log10(float), sin(float), cos(float), tan(float),
    asin(float), acos(float), atan(float), sinh(float), cosh(float), tanh(float), asinh(float),
    acosh(float), atanh(float), sqrt(float), pow(float, float), fmod(float, float),
    atan2(float, float);
}
float fabs(float), floor(float), ceil(float), trunc(float), rint(float), fma(float, float, float),
    copysign(float, float), fmax(float, float), ldexp(float, int);
int ilogb(float);
bool isnan(float), isinf(float), isfinite(float), signbit(float);
uint min(uint, uint);
ulong min(ulong, ulong);
uint mulhi(uint, uint);
template <class To, class From>
To as_type(From from) {
  static_assert(sizeof(To) == sizeof(From));
  return __builtin_bit_cast(To, from);
}
// The types SIMD-group functions take: no bool, no 64-bit integers.
#define SHUFFLE(T)               \
  T simd_shuffle_xor(T, ushort); \
  T simd_shuffle_up(T, ushort);
SHUFFLE(float)
SHUFFLE(float2)
SHUFFLE(int)
SHUFFLE(uint)
SHUFFLE(uint2)

enum class mem_flags { mem_none, mem_device, mem_threadgroup };
void threadgroup_barrier(mem_flags);

enum memory_order { memory_order_relaxed };
struct atomic_uint;
struct atomic_float;
}  // namespace metal
struct metal::atomic_uint {
  uint value;
};
struct metal::atomic_float {
  float value;
};
namespace metal {
uint atomic_load_explicit(atomic_uint*, memory_order);
uint atomic_fetch_max_explicit(atomic_uint*, uint, memory_order);
uint atomic_fetch_add_explicit(atomic_uint*, uint, memory_order);
float atomic_fetch_add_explicit(atomic_float*, float, memory_order);
bool atomic_compare_exchange_weak_explicit(atomic_uint*, uint*, uint, memory_order, memory_order);

template <class T, int Rows, int Columns>
struct simdgroup_matrix {};
typedef simdgroup_matrix<float, 8, 8> simdgroup_float8x8;
template <class T, int Rows, int Columns>
simdgroup_matrix<T, Rows, Columns> make_filled_simdgroup_matrix(T);
void simdgroup_load(simdgroup_float8x8&, const float*, ulong pitch, ulong2 = ulong2(0, 0),
                    bool transpose = false);
void simdgroup_store(simdgroup_float8x8, float*, ulong pitch);
void simdgroup_multiply_accumulate(simdgroup_float8x8&, simdgroup_float8x8, simdgroup_float8x8,
                                   simdgroup_float8x8);
}  // namespace metal
