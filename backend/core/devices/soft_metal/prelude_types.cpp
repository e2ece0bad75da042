#include "devices/soft_metal/prelude.h"

// Types, as_type and numeric_limits.
// clang-format off
namespace lamina::soft_metal {

const char* const kPreludeTypes = R"cl(
#pragma OPENCL EXTENSION cl_khr_fp16 : enable
#pragma OPENCL EXTENSION cl_clang_storage_class_specifiers : enable
typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
typedef unsigned long ulong;
typedef signed char int8_t;
typedef unsigned char uint8_t;
typedef short int16_t;
typedef unsigned short uint16_t;
typedef int int32_t;
typedef unsigned int uint32_t;
typedef long int64_t;
typedef unsigned long uint64_t;
typedef unsigned long size_t;
typedef long ptrdiff_t;
typedef unsigned long uintptr_t;
typedef long intptr_t;
typedef __bf16 bfloat;
// Where a call stands: line and column in one number.
#define LM_HERE (__builtin_LINE() * 1024 + __builtin_COLUMN() % 1024)
// Names that this compiler's base language has taken.
#define atomic_int lm_atomic_int
#define atomic_uint lm_atomic_uint
#define atomic_float lm_atomic_float
#define atomic_ulong lm_atomic_ulong
#define atomic_bool lm_atomic_bool
#define memory_order lm_memory_order
#define memory_order_relaxed lm_memory_order_relaxed
#define memory_order_seq_cst lm_memory_order_seq_cst
#define local lm_id_local
#define global lm_id_global
#define generic lm_id_generic
#define pipe lm_id_pipe
#define uniform lm_id_uniform
#define kernel lm_id_kernel
#define read_only lm_id_read_only
#define write_only lm_id_write_only
#define read_write lm_id_read_write
#define vec_step lm_id_vec_step

// What the machine offers a module; its side is in machine.cpp.
struct lm_meeting {
  unsigned active;  // lanes that came
  unsigned ready;   // the first lane to go on has left the result
  char value[32][64];
  char result[512];
};
extern "C" {
void lm_barrier(unsigned flags, int line);
void lm_simd_barrier(unsigned flags, int line);
lm_meeting* lm_meet(int kind, const void* value, unsigned bytes, unsigned long uniform, int line);
unsigned lm_lane(void);
void lm_fence(unsigned flags);
void lm_note_atomic(const void* at, unsigned bytes, int write);
unsigned long lm_static_threadgroup(unsigned which);
float expf(float); float exp2f(float); float exp10f(float); float logf(float); float log2f(float);
float log10f(float); float sinf(float); float cosf(float); float tanf(float); float asinf(float);
float acosf(float); float atanf(float); float sinhf(float); float coshf(float); float tanhf(float);
float asinhf(float); float acoshf(float); float atanhf(float); float atan2f(float, float);
float powf(float, float); float fmodf(float, float); float ldexpf(float, int);
float nextafterf(float, float);
}

namespace metal {
template <class T, int N>
using vec = T __attribute__((ext_vector_type(N)));
template <class A, class B> struct lm_same { static constexpr __constant bool value = false; };
template <class A> struct lm_same<A, A> { static constexpr __constant bool value = true; };
template <bool C, class T = void> struct enable_if {};
template <class T> struct enable_if<true, T> { typedef T type; };
template <bool C, class T = void> using enable_if_t = typename enable_if<C, T>::type;
template <bool C, class A, class B> struct conditional { typedef A type; };
template <class A, class B> struct conditional<false, A, B> { typedef B type; };
template <bool C, class A, class B> using conditional_t = typename conditional<C, A, B>::type;
template <class A, class B> constexpr __constant bool is_same_v = lm_same<A, B>::value;
template <class T> struct lm_bare { typedef T type; };
template <class T> struct lm_bare<const T> { typedef T type; };
template <class T> struct lm_bare<volatile T> { typedef T type; };
template <class T> struct lm_bare<__global T> { typedef T type; };
template <class T> struct lm_bare<__local T> { typedef T type; };
template <class T> struct lm_bare<__constant T> { typedef T type; };
template <class T> struct lm_bare<__global const T> { typedef T type; };
template <class T> struct lm_bare<__local const T> { typedef T type; };
template <class T> struct lm_bare<__constant const T> { typedef T type; };

template <bool V> struct lm_truth { static constexpr __constant bool value = V; };
template <class T> struct is_floating_point : lm_truth<__is_floating_point(T) || lm_same<T, bfloat>::value || lm_same<T, half>::value> {};
template <class T> struct is_integral : lm_truth<__is_integral(T)> {};
template <class T> struct is_signed : lm_truth<__is_signed(T)> {};
template <class T> struct is_unsigned : lm_truth<__is_unsigned(T)> {};
template <class T> struct is_arithmetic : lm_truth<is_floating_point<T>::value || is_integral<T>::value> {};
template <class A, class B> struct is_same : lm_truth<lm_same<A, B>::value> {};
template <class A, class B> struct is_convertible : lm_truth<__is_convertible_to(A, B)> {};
template <class T> constexpr __constant bool is_floating_point_v = is_floating_point<T>::value;
template <class T> constexpr __constant bool is_integral_v = is_integral<T>::value;
template <class T> constexpr __constant bool is_signed_v = is_signed<T>::value;
template <class T> constexpr __constant bool is_unsigned_v = is_unsigned<T>::value;
template <class T> constexpr __constant bool is_arithmetic_v = is_arithmetic<T>::value;
template <class A, class B> constexpr __constant bool is_convertible_v = is_convertible<A, B>::value;
template <class T, T V> struct integral_constant { static constexpr __constant T value = V; typedef T value_type; typedef integral_constant type; constexpr operator T() const { return V; } constexpr T operator()() const { return V; } };
template <bool V> using bool_constant = integral_constant<bool, V>;
typedef bool_constant<true> true_type;
typedef bool_constant<false> false_type;

// Vectors of bool are no vectors for the compiler; of their uses, conversion from a comparison,
// components and logic are supplied.
template <int N> struct lm_bools;
template <> struct lm_bools<2> { bool x, y; };
template <> struct lm_bools<3> { bool x, y, z, lm_pad; };
template <> struct lm_bools<4> { bool x, y, z, w; };
template <int N>
struct lm_boolvec : lm_bools<N> {
  lm_boolvec() = default;
  lm_boolvec(bool v) { for (int i = 0; i < N; ++i) (*this)[i] = v; }
  lm_boolvec(bool a, bool b) { (*this)[0] = a; (*this)[1] = b; }
  lm_boolvec(bool a, bool b, bool c) { (*this)[0] = a; (*this)[1] = b; (*this)[2] = c; }
  lm_boolvec(bool a, bool b, bool c, bool d) { (*this)[0] = a; (*this)[1] = b; (*this)[2] = c; (*this)[3] = d; }
  template <class T> lm_boolvec(vec<T, N> v) { for (int i = 0; i < N; ++i) (*this)[i] = v[i] != 0; }
  bool& operator[](int i) { return ((bool*)this)[i]; }
  bool operator[](int i) const { return ((const bool*)this)[i]; }
  template <class T> operator vec<T, N>() const { vec<T, N> r; for (int i = 0; i < N; ++i) r[i] = (*this)[i]; return r; }
  lm_boolvec operator!() const { lm_boolvec r; for (int i = 0; i < N; ++i) r[i] = !(*this)[i]; return r; }
  friend lm_boolvec operator&(lm_boolvec a, lm_boolvec b) { for (int i = 0; i < N; ++i) a[i] = a[i] & b[i]; return a; }
  friend lm_boolvec operator|(lm_boolvec a, lm_boolvec b) { for (int i = 0; i < N; ++i) a[i] = a[i] | b[i]; return a; }
  friend lm_boolvec operator^(lm_boolvec a, lm_boolvec b) { for (int i = 0; i < N; ++i) a[i] = a[i] != b[i]; return a; }
  friend lm_boolvec operator&&(lm_boolvec a, lm_boolvec b) { return a & b; }
  friend lm_boolvec operator||(lm_boolvec a, lm_boolvec b) { return a | b; }
  friend lm_boolvec operator==(lm_boolvec a, lm_boolvec b) { return !(a ^ b); }
  friend lm_boolvec operator!=(lm_boolvec a, lm_boolvec b) { return a ^ b; }
};

// Element type and width of scalars and vectors. L is what a component-wise function computes in:
// half and bfloat go through float and are rounded once, as Metal's library may do.
template <class T> struct lm_shape { typedef T element; enum { width = 1 }; };
template <class T> struct lm_shape<vec<T, 2>> { typedef T element; enum { width = 2 }; };
template <class T> struct lm_shape<vec<T, 3>> { typedef T element; enum { width = 3 }; };
template <class T> struct lm_shape<vec<T, 4>> { typedef T element; enum { width = 4 }; };
template <int N> struct lm_shape<lm_boolvec<N>> { typedef bool element; enum { width = N }; };
template <class T> struct lm_shape<__private T> : lm_shape<T> {};
template <class T> struct lm_shape<__global T> : lm_shape<T> {};
template <class T> struct lm_shape<__local T> : lm_shape<T> {};
template <class T, int N> struct lm_wide { typedef vec<T, N> type; };
template <class T> struct lm_wide<T, 1> { typedef T type; };
template <int N> struct lm_wide<bool, N> { typedef lm_boolvec<N> type; };
template <> struct lm_wide<bool, 1> { typedef bool type; };
template <class V> using lm_element = typename lm_shape<V>::element;
template <class T, class V> using lm_like = typename lm_wide<T, lm_shape<V>::width>::type;
#if LM_CHECK
#pragma clang attribute push(__attribute__((no_sanitize("coverage", "kernel-address"))), apply_to = function)
#endif
template <class V> float lm_float(V v) { return (float)v; }

// A constructor's arguments, side by side; one of the same width is converted, a scalar fills.
template <class E, class A> constexpr auto lm_to(A a) {
  if constexpr (lm_shape<A>::width == 1) return (E)a;
  else if constexpr (lm_same<lm_element<A>, bool>::value) return (vec<E, lm_shape<A>::width>)a;
  else return __builtin_convertvector(a, vec<E, lm_shape<A>::width>);
}
// (V)(a, b) with V a parameter would be a comma expression.
template <class V> constexpr V lm_make() { return (V)((lm_element<V>)0); }
template <class V, class A> constexpr V lm_make(A a) { return (V)(lm_to<lm_element<V>>(a)); }
template <class V, class A, class B> constexpr V lm_make(A a, B b) {
  typedef lm_element<V> E;
  return V{lm_to<E>(a), lm_to<E>(b)};
}
template <class V, class A, class B, class C> constexpr V lm_make(A a, B b, C c) {
  typedef lm_element<V> E;
  return V{lm_to<E>(a), lm_to<E>(b), lm_to<E>(c)};
}
template <class V, class A, class B, class C, class D> constexpr V lm_make(A a, B b, C c, D d) {
  typedef lm_element<V> E;
  return V{lm_to<E>(a), lm_to<E>(b), lm_to<E>(c), lm_to<E>(d)};
}

// Component i of a vector, or the scalar itself.
template <class V> lm_element<V> lm_get(V v, int i) {
  if constexpr (lm_shape<V>::width == 1) return v; else return v[i];
}
template <class V, class T> void lm_set(V& v, int i, T x) {
  if constexpr (lm_shape<V>::width == 1) v = (lm_element<V>)x; else v[i] = (lm_element<V>)x;
}
#if LM_CHECK
#pragma clang attribute pop
#endif
// The common type of scalar and vector arguments of one function: the widest vector; among scalars,
// what arithmetic gives.
template <class A, class B> struct lm_common {
  typedef conditional_t<lm_same<A, B>::value, A,
          conditional_t<(lm_shape<A>::width > 1), A, conditional_t<(lm_shape<B>::width > 1), B,
          void>>> picked;
  template <class P, class X> struct pick { typedef P type; };
  template <class X> struct pick<void, X> { typedef decltype(A() + B()) type; };
  typedef typename pick<picked, A>::type type;
};
template <class A, class B> using lm_common_t = typename lm_common<A, B>::type;
// bfloat, half and integers mixed with float give float.
template <class V> using lm_floating = conditional_t<is_floating_point<lm_element<V>>::value, V, lm_like<float, V>>;

template <class T, int N> struct packed_vec;
#define LM_PACKED(N, FIELDS, FROM, TO) \
  template <class T> struct packed_vec<T, N> { \
    FIELDS \
    packed_vec() = default; \
    packed_vec(vec<T, N> v) { FROM } \
    operator vec<T, N>() const { return (vec<T, N>) TO; } \
    operator vec<T, N>() const __constant { return (vec<T, N>) TO; } \
    T operator[](int i) const __private { return (&x)[i]; } \
    T operator[](int i) const __global  { return (&x)[i]; } \
    T operator[](int i) const __local   { return (&x)[i]; } \
    T operator[](int i) const __constant { return (&x)[i]; } \
    __global T& operator[](int i) __global { return (&x)[i]; } \
    __local T& operator[](int i) __local { return (&x)[i]; } \
    __private T& operator[](int i) __private { return (&x)[i]; } \
    LM_PACKED_OP(N, +) LM_PACKED_OP(N, -) LM_PACKED_OP(N, *) LM_PACKED_OP(N, /) \
  };
#define LM_PACKED_OP(N, OP) \
  friend vec<T, N> operator OP(vec<T, N> a, packed_vec b) { return a OP (vec<T, N>)b; } \
  friend vec<T, N> operator OP(packed_vec a, vec<T, N> b) { return (vec<T, N>)a OP b; } \
  friend vec<T, N> operator OP(packed_vec a, packed_vec b) { return (vec<T, N>)a OP (vec<T, N>)b; }
LM_PACKED(2, T x; T y;, x = v.x; y = v.y;, (x, y))
LM_PACKED(3, T x; T y; T z;, x = v.x; y = v.y; z = v.z;, (x, y, z))
LM_PACKED(4, T x; T y; T z; T w;, x = v.x; y = v.y; z = v.z; w = v.w;, (x, y, z, w))
template <class T, int N> struct lm_shape<packed_vec<T, N>> { typedef T element; enum { width = N }; };
template <class E, class T, int N> constexpr vec<E, N> lm_to(packed_vec<T, N> a) { return __builtin_convertvector((vec<T, N>)a, vec<E, N>); }
#undef LM_PACKED
#undef LM_PACKED_OP
}  // namespace metal

#define LM_VECTORS(T) \
  typedef metal::vec<T, 2> T##2; \
  typedef metal::vec<T, 3> T##3; \
  typedef metal::vec<T, 4> T##4; \
  typedef metal::packed_vec<T, 2> packed_##T##2; \
  typedef metal::packed_vec<T, 3> packed_##T##3; \
  typedef metal::packed_vec<T, 4> packed_##T##4;
LM_VECTORS(char) LM_VECTORS(uchar) LM_VECTORS(short) LM_VECTORS(ushort) LM_VECTORS(int)
LM_VECTORS(uint) LM_VECTORS(long) LM_VECTORS(ulong) LM_VECTORS(half) LM_VECTORS(float)
LM_VECTORS(bfloat)
typedef metal::lm_boolvec<2> bool2;
typedef metal::lm_boolvec<3> bool3;
typedef metal::lm_boolvec<4> bool4;
// Metal knows them with and without its namespace.
namespace metal {
LM_VECTORS(char) LM_VECTORS(uchar) LM_VECTORS(short) LM_VECTORS(ushort) LM_VECTORS(int)
LM_VECTORS(uint) LM_VECTORS(long) LM_VECTORS(ulong) LM_VECTORS(half) LM_VECTORS(float)
LM_VECTORS(bfloat)
using ::bool2;
using ::bool3;
using ::bool4;
using ::uchar;
using ::ushort;
using ::uint;
using ::ulong;
using ::bfloat;
using ::size_t;
}  // namespace metal
#undef LM_VECTORS
// The bytes of a function constant.
template <int N> struct lm_bytes { uchar bytes[N]; };

template <class To, class From>
To as_type(From v) {
  static_assert(sizeof(To) == sizeof(From), "as_type: sizes differ");
  return __builtin_astype(v, To);
}
namespace metal {
using ::as_type;
template <class T> struct lm_limits_float {
  static constexpr __constant bool is_signed = true, is_integer = false, has_infinity = true;
};
template <class T> struct numeric_limits;
template <class T> struct lm_limits_int {
  static constexpr __constant bool is_signed = __is_signed(T), is_integer = true, has_infinity = false;
  static constexpr __constant int digits = 8 * sizeof(T) - is_signed;
  static constexpr T max() { return (T)(is_signed ? ((1ul << (8 * sizeof(T) - 1)) - 1) : ~0ul); }
  static constexpr T min() { return (T)(is_signed ? (1ul << (8 * sizeof(T) - 1)) : 0ul); }
  static constexpr T lowest() { return min(); }
};
#define LM_LIMITS(T) template <> struct numeric_limits<T> : lm_limits_int<T> {};
LM_LIMITS(char) LM_LIMITS(uchar) LM_LIMITS(short) LM_LIMITS(ushort) LM_LIMITS(int)
LM_LIMITS(uint) LM_LIMITS(long) LM_LIMITS(ulong)
#undef LM_LIMITS
template <> struct numeric_limits<bool> {
  static constexpr __constant bool is_signed = false, is_integer = true;
  static constexpr bool max() { return true; }
  static constexpr bool min() { return false; }
  static constexpr bool lowest() { return false; }
};
#define LM_LIMITS(T, MAX, MIN, EPS, DIGITS) \
  template <> struct numeric_limits<T> : lm_limits_float<T> { \
    static constexpr __constant int digits = DIGITS; \
    static constexpr T max() { return (T)MAX; } \
    static constexpr T lowest() { return (T)(-MAX); } \
    static constexpr T min() { return (T)MIN; } \
    static constexpr T epsilon() { return (T)EPS; } \
    static constexpr T infinity() { return (T)__builtin_inff(); } \
    static constexpr T quiet_NaN() { return (T)__builtin_nanf(""); } \
  };
LM_LIMITS(float, 0x1.fffffep127f, 0x1p-126f, 0x1p-23f, 24)
LM_LIMITS(half, 65504.0f, 0x1p-14f, 0x1p-10f, 11)
LM_LIMITS(bfloat, 0x1.fep127f, 0x1p-126f, 0x1p-7f, 8)
#undef LM_LIMITS
}  // namespace metal
)cl";

}  // namespace lamina::soft_metal
