#include "custom/metal_on_cuda.h"

#include <algorithm>
#include <cctype>
#include <set>
#include <string_view>

#include "custom/names.h"

namespace lamina {

namespace {

// Numbers, functions of one number, barriers. A float16 or bfloat16 is computed with as a float.
constexpr const char* kMath = R"(#ifndef INFINITY
#define INFINITY __int_as_float(0x7f800000)
#endif
#ifndef NAN
#define NAN __int_as_float(0x7fc00000)
#endif
#define HUGE_VALF INFINITY
#define MAXFLOAT 0x1.fffffep+127f
#undef FLT_MAX
#undef FLT_MIN
#undef FLT_EPSILON
#define FLT_MAX 0x1.fffffep+127f
#define FLT_MIN 0x1p-126f
#define FLT_EPSILON 0x1p-23f
#define M_E_F 2.71828182845904523536f
#define M_LOG2E_F 1.44269504088896340736f
#define M_LOG10E_F 0.434294481903251827651f
#define M_LN2_F 0.693147180559945309417f
#define M_LN10_F 2.30258509299404568402f
#define M_PI_F 3.14159265358979323846f
#define M_PI_2_F 1.57079632679489661923f
#define M_PI_4_F 0.785398163397448309616f
#define M_1_PI_F 0.318309886183790671538f
#define M_2_PI_F 0.636619772367581343076f
#define M_2_SQRTPI_F 1.12837916709551257390f
#define M_SQRT2_F 1.41421356237309504880f
#define M_SQRT1_2_F 0.707106781186547524401f
typedef half float16_t;
typedef bfloat bfloat16_t;
#define LAMINA_ASSIGN(TYPE, OP)                      \
  template <typename V>                              \
  inline TYPE& operator OP##=(TYPE& a, V b) {        \
    return a = TYPE(float(a) OP float(b));           \
  }
LAMINA_ASSIGN(half, +) LAMINA_ASSIGN(half, -) LAMINA_ASSIGN(half, *) LAMINA_ASSIGN(half, /)
LAMINA_ASSIGN(bfloat, +) LAMINA_ASSIGN(bfloat, -) LAMINA_ASSIGN(bfloat, *) LAMINA_ASSIGN(bfloat, /)
#undef LAMINA_ASSIGN
namespace metal {
#define LAMINA_NUMBER(T)                                                                     \
  inline T sign(T x) { return x > 0 ? T(1) : x < 0 ? T(-1) : x == 0 ? x : T(0); }            \
  inline T saturate(T x) { return x > 0 ? (x < 1 ? x : T(1)) : T(0); }                       \
  inline T step(T edge, T x) { return x < edge ? T(0) : T(1); }                              \
  inline T mix(T x, T y, T a) { return x + (y - x) * a; }                                    \
  inline T fract(T x) {                                                                      \
    const T part = x - ::floor(x);                                                           \
    return part < 1 ? part : sizeof(T) == 4 ? T(0x1.fffffep-1) : T(0x1.fffffffffffffp-1);    \
  }
LAMINA_NUMBER(float) LAMINA_NUMBER(double)
#undef LAMINA_NUMBER
template <typename A, typename B, typename C>
inline auto clamp(A x, B low, C high) {
  return ::min(::max(x, low), high);
}
template <typename T>
inline T select(T a, T b, bool second) {
  return second ? b : a;
}
template <typename To, typename From>
inline To as_type(From v) {
  static_assert(sizeof(To) == sizeof(From), "as_type: the sizes differ");
  return *reinterpret_cast<To*>(&v);
}
inline uint popcount(uint x) { return __popc(x); }
inline int popcount(int x) { return __popc(uint(x)); }
inline uint clz(uint x) { return __clz(int(x)); }
inline int clz(int x) { return __clz(x); }
inline uint ctz(uint x) { return x ? __ffs(int(x)) - 1 : 32; }
inline int ctz(int x) { return x ? __ffs(x) - 1 : 32; }
#define LAMINA_FUNCTIONS(AT)                                                                      \
  using AT::exp; using AT::exp2; using AT::log; using AT::log2; using AT::log10; using AT::sin;   \
  using AT::cos; using AT::tan; using AT::asin; using AT::acos; using AT::atan; using AT::atan2;  \
  using AT::sinh; using AT::cosh; using AT::tanh; using AT::asinh; using AT::acosh;               \
  using AT::atanh; using AT::sqrt; using AT::rsqrt; using AT::floor; using AT::ceil;              \
  using AT::rint; using AT::round; using AT::trunc; using AT::fabs; using AT::fmin;               \
  using AT::fmax; using AT::fmod; using AT::fma; using AT::pow; using AT::copysign;               \
  using AT::abs; using AT::min; using AT::max;
LAMINA_FUNCTIONS()
using ::isnan; using ::isinf; using ::isfinite; using ::signbit;
#define LAMINA_NAMESPACE(NAME)                                                                    \
  namespace NAME {                                                                                \
  LAMINA_FUNCTIONS(metal)                                                                         \
  using metal::clamp; using metal::sign; using metal::saturate; using metal::step;                \
  using metal::mix; using metal::fract;                                                           \
  }
LAMINA_NAMESPACE(precise) LAMINA_NAMESPACE(fast)
#undef LAMINA_NAMESPACE
#undef LAMINA_FUNCTIONS
enum class mem_flags { mem_none = 0, mem_device = 1, mem_threadgroup = 2 };
inline mem_flags operator|(mem_flags a, mem_flags b) { return mem_flags(int(a) | int(b)); }
inline void threadgroup_barrier(mem_flags) { __syncthreads(); }
inline void simdgroup_barrier(mem_flags) { __syncwarp(); }
}
)";

// Vectors, in Metal's sizes. A text's `.xy` is written part(lamina_pick<0, 1>()).
constexpr const char* kVectors = R"(namespace metal {
template <int... I> struct lamina_pick {};
template <typename T, int N> struct vec;
#define LAMINA_VECTOR(N)                                                                          \
  vec() = default;                                                                                \
  template <typename U> explicit vec(const vec<U, N>& v) {                                        \
    for (int i = 0; i < N; ++i) (*this)[i] = T(v[i]);                                             \
  }                                                                                               \
  T& operator[](int i) { return (&x)[i]; }                                                        \
  const T& operator[](int i) const { return (&x)[i]; }                                            \
  template <int... I> vec<T, sizeof...(I)> part(lamina_pick<I...>) const {                        \
    return vec<T, sizeof...(I)>((&x)[I]...);                                                      \
  }                                                                                               \
  friend vec operator-(vec a) { for (int i = 0; i < N; ++i) a[i] = T(-a[i]); return a; }          \
  LAMINA_OPERATOR(N, +) LAMINA_OPERATOR(N, -) LAMINA_OPERATOR(N, *) LAMINA_OPERATOR(N, /)         \
  LAMINA_OPERATOR(N, %) LAMINA_OPERATOR(N, &) LAMINA_OPERATOR(N, |) LAMINA_OPERATOR(N, ^)         \
  LAMINA_OPERATOR(N, <<) LAMINA_OPERATOR(N, >>)                                                   \
  LAMINA_COMPARISON(N, ==) LAMINA_COMPARISON(N, !=) LAMINA_COMPARISON(N, <)                       \
  LAMINA_COMPARISON(N, <=) LAMINA_COMPARISON(N, >) LAMINA_COMPARISON(N, >=)
#define LAMINA_OPERATOR(N, OP)                                                                    \
  friend vec operator OP(vec a, vec b) {                                                          \
    for (int i = 0; i < N; ++i) a[i] = T(a[i] OP b[i]);                                           \
    return a;                                                                                     \
  }                                                                                               \
  friend vec& operator OP##=(vec& a, vec b) { return a = a OP b; }
#define LAMINA_COMPARISON(N, OP)                                                                  \
  friend vec<bool, N> operator OP(vec a, vec b) {                                                 \
    vec<bool, N> r;                                                                               \
    for (int i = 0; i < N; ++i) r[i] = a[i] OP b[i];                                              \
    return r;                                                                                     \
  }
template <typename T> struct alignas(2 * sizeof(T)) vec<T, 2> {
  T x, y;
  vec(T a) : x(a), y(a) {}
  vec(T a, T b) : x(a), y(b) {}
  LAMINA_VECTOR(2)
};
template <typename T> struct alignas(4 * sizeof(T)) vec<T, 3> {
  T x, y, z;
  vec(T a) : x(a), y(a), z(a) {}
  vec(T a, T b, T c) : x(a), y(b), z(c) {}
  vec(vec<T, 2> a, T c) : x(a.x), y(a.y), z(c) {}
  vec(T a, vec<T, 2> b) : x(a), y(b.x), z(b.y) {}
  LAMINA_VECTOR(3)
};
template <typename T> struct alignas(4 * sizeof(T)) vec<T, 4> {
  T x, y, z, w;
  vec(T a) : x(a), y(a), z(a), w(a) {}
  vec(T a, T b, T c, T d) : x(a), y(b), z(c), w(d) {}
  vec(vec<T, 2> a, vec<T, 2> c) : x(a.x), y(a.y), z(c.x), w(c.y) {}
  vec(vec<T, 2> a, T c, T d) : x(a.x), y(a.y), z(c), w(d) {}
  vec(T a, T b, vec<T, 2> c) : x(a), y(b), z(c.x), w(c.y) {}
  vec(vec<T, 3> a, T d) : x(a.x), y(a.y), z(a.z), w(d) {}
  vec(T a, vec<T, 3> b) : x(a), y(b.x), z(b.y), w(b.z) {}
  LAMINA_VECTOR(4)
};
#undef LAMINA_VECTOR
#undef LAMINA_OPERATOR
#undef LAMINA_COMPARISON
#define LAMINA_VECTORS(T)                                                                         \
  using lamina_##T##2 = vec<T, 2>; using lamina_##T##3 = vec<T, 3>; using lamina_##T##4 = vec<T, 4>;
LAMINA_VECTORS(bool) LAMINA_VECTORS(char) LAMINA_VECTORS(uchar) LAMINA_VECTORS(short)
LAMINA_VECTORS(ushort) LAMINA_VECTORS(int) LAMINA_VECTORS(uint) LAMINA_VECTORS(long)
LAMINA_VECTORS(ulong) LAMINA_VECTORS(half) LAMINA_VECTORS(bfloat) LAMINA_VECTORS(float)
#undef LAMINA_VECTORS
template <typename T, int N> inline T dot(vec<T, N> a, vec<T, N> b) {
  T sum = T(a[0] * b[0]);
  for (int i = 1; i < N; ++i) sum = T(sum + a[i] * b[i]);
  return sum;
}
template <int N> inline bool any(vec<bool, N> v) {
  for (int i = 0; i < N; ++i) if (v[i]) return true;
  return false;
}
template <int N> inline bool all(vec<bool, N> v) {
  for (int i = 0; i < N; ++i) if (!v[i]) return false;
  return true;
}
}
)";

// All lanes of a SIMD-group that have not left call these together. Those that have, or that the
// threadgroup or the grid never had, take no part: a ballot leaves them out.
constexpr const char* kLanes = R"(namespace metal {
constexpr uint lamina_all = 0xffffffffu;
inline uint lamina_lanes() { return __ballot_sync(lamina_all, 1); }
inline uint lamina_lane() {
  return (threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) % 32;
}
template <typename T> inline T simd_shuffle(T v, uint lane) {
  return T(__shfl_sync(lamina_all, v, lane));
}
template <typename T> inline T simd_broadcast(T v, uint lane) { return simd_shuffle(v, lane); }
template <typename T> inline T simd_broadcast_first(T v) {
  return simd_shuffle(v, __ffs(lamina_lanes()) - 1);
}
template <typename T> inline T simd_shuffle_xor(T v, uint mask) {
  return T(__shfl_xor_sync(lamina_all, v, mask));
}
template <typename T> inline T simd_shuffle_up(T v, uint delta) {
  return T(__shfl_up_sync(lamina_all, v, delta));
}
template <typename T> inline T simd_shuffle_down(T v, uint delta) {
  return T(__shfl_down_sync(lamina_all, v, delta));
}
inline bool simd_any(bool x) { return __ballot_sync(lamina_all, x) != 0; }
inline bool simd_all(bool x) { return __ballot_sync(lamina_all, !x) == 0; }
inline bool simd_is_first() { return lamina_lane() == uint(__ffs(lamina_lanes()) - 1); }
#define LAMINA_REDUCE(NAME, JOIN)                                                                 \
  template <typename T> inline T simd_##NAME(T x) {                                               \
    const uint lanes = lamina_lanes();                                                            \
    if (lanes == lamina_all) {                                                                    \
      for (uint d = 16; d > 0; d /= 2) {                                                          \
        const T y = simd_shuffle_xor(x, d);                                                       \
        x = T(JOIN);                                                                              \
      }                                                                                           \
      return x;                                                                                   \
    }                                                                                             \
    const T mine = x;                                                                             \
    x = simd_shuffle(mine, __ffs(lanes) - 1);                                                     \
    for (uint rest = lanes & (lanes - 1); rest; rest &= rest - 1) {                               \
      const T y = simd_shuffle(mine, __ffs(rest) - 1);                                            \
      x = T(JOIN);                                                                                \
    }                                                                                             \
    return x;                                                                                     \
  }
LAMINA_REDUCE(sum, x + y) LAMINA_REDUCE(product, x * y)
LAMINA_REDUCE(max, ::max(x, y)) LAMINA_REDUCE(min, ::min(x, y))
LAMINA_REDUCE(and, x & y) LAMINA_REDUCE(or, x | y) LAMINA_REDUCE(xor, x ^ y)
#undef LAMINA_REDUCE
#define LAMINA_PREFIX(NAME, ZERO, OP)                                                             \
  template <typename T> inline T lamina_prefix_##NAME(T x, bool own) {                            \
    const uint lanes = lamina_lanes(), lane = lamina_lane();                                      \
    if (lanes == lamina_all) {                                                                    \
      for (uint d = 1; d < 32; d *= 2) {                                                          \
        const T y = simd_shuffle_up(x, d);                                                        \
        if (lane >= d) x = T(y OP x);                                                             \
      }                                                                                           \
      if (own) return x;                                                                          \
      x = simd_shuffle_up(x, 1);                                                                  \
      return lane == 0 ? T(ZERO) : x;                                                             \
    }                                                                                             \
    T before = T(ZERO);                                                                           \
    for (uint rest = lanes; rest; rest &= rest - 1) {                                             \
      const uint at = __ffs(rest) - 1;                                                            \
      const T y = simd_shuffle(x, at);                                                            \
      if (at < lane || (own && at == lane)) before = T(before OP y);                              \
    }                                                                                             \
    return before;                                                                                \
  }                                                                                               \
  template <typename T> inline T simd_prefix_inclusive_##NAME(T x) {                              \
    return lamina_prefix_##NAME(x, true);                                                         \
  }                                                                                               \
  template <typename T> inline T simd_prefix_exclusive_##NAME(T x) {                              \
    return lamina_prefix_##NAME(x, false);                                                        \
  }
LAMINA_PREFIX(sum, 0, +) LAMINA_PREFIX(product, 1, *)
#undef LAMINA_PREFIX
}
)";

// An atomic is a plain number here, which CUDA's functions take.
constexpr const char* kAtomics = R"(namespace metal {
enum memory_order { memory_order_relaxed };
template <typename T> using atomic = T;
using atomic_int = int;
using atomic_uint = uint;
using atomic_float = float;
template <typename T> inline T atomic_load_explicit(const volatile T* at, memory_order) {
  return *at;
}
template <typename T, typename V>
inline void atomic_store_explicit(volatile T* at, V v, memory_order) {
  *at = T(v);
}
#define LAMINA_ATOMIC(NAME, CALL)                                                                 \
  template <typename T, typename V>                                                               \
  inline T atomic_##NAME##_explicit(volatile T* at, V v, memory_order) {                          \
    return CALL;                                                                                  \
  }
LAMINA_ATOMIC(exchange, atomicExch((T*)at, T(v)))
LAMINA_ATOMIC(fetch_add, atomicAdd((T*)at, T(v)))
LAMINA_ATOMIC(fetch_sub, atomicAdd((T*)at, T(T(0) - T(v))))
LAMINA_ATOMIC(fetch_max, atomicMax((T*)at, T(v)))
LAMINA_ATOMIC(fetch_min, atomicMin((T*)at, T(v)))
LAMINA_ATOMIC(fetch_and, atomicAnd((T*)at, T(v)))
LAMINA_ATOMIC(fetch_or, atomicOr((T*)at, T(v)))
LAMINA_ATOMIC(fetch_xor, atomicXor((T*)at, T(v)))
#undef LAMINA_ATOMIC
template <typename T>
inline bool lamina_swap(volatile T* at, T* expected, T v) {
  const T wanted = *expected;
  return (*expected = atomicCAS((T*)at, wanted, v)) == wanted;
}
inline bool lamina_swap(volatile float* at, float* expected, float v) {
  int wanted = __float_as_int(*expected);
  const bool done = lamina_swap((volatile int*)at, &wanted, __float_as_int(v));
  *expected = __int_as_float(wanted);
  return done;
}
template <typename T, typename V>
inline bool atomic_compare_exchange_weak_explicit(volatile T* at, T* expected, V v, memory_order,
                                                  memory_order) {
  return lamina_swap(at, expected, T(v));
}
}
)";

bool letter(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; }

const std::set<std::string>& vector_words() {
  static const auto* words = [] {
    auto* out = new std::set<std::string>;
    for (const char* t : {"bool", "char", "uchar", "short", "ushort", "int", "uint", "long",
                          "ulong", "half", "bfloat", "float"})
      for (const char* n : {"2", "3", "4"}) out->insert(std::string(t) + n);
    return out;
  }();
  return *words;
}

bool is_swizzle(const std::string& word) {
  return word.size() >= 2 && word.size() <= 4 &&
         word.find_first_not_of("xyzw") == std::string::npos;
}

std::string picked(const std::string& swizzle) {
  std::string out;
  for (char c : swizzle)
    out += (out.empty() ? "" : ", ") + std::to_string(std::string_view("xyzw").find(c));
  return "part(lamina_pick<" + out + ">())";
}

bool behind_access(const std::string& code, size_t at) {
  return (at > 0 && code[at - 1] == '.') || (at > 1 && code[at - 2] == '-' && code[at - 1] == '>');
}

// What looks like a swizzle and is a name that the text gives something of its own.
std::set<std::string> swizzle_names(const std::string& code) {
  std::set<std::string> out;
  for (size_t i = 0; i < code.size(); ++i) {
    const size_t start = i;
    while (i < code.size() && letter(code[i])) ++i;
    const std::string word = code.substr(start, i - start);
    if (is_swizzle(word) && !behind_access(code, start)) out.insert(word);
  }
  return out;
}

// Threadgroup memory itself, and not a pointer or a reference to it.
bool declares_memory(const std::string& text, size_t at) {
  const size_t end = text.find_first_of("*&[;,()=", at);
  return end == std::string::npos || (text[end] != '*' && text[end] != '&');
}

// Metal's own headers, of which the declarations above are what there is.
std::string without_includes(const std::string& text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const std::string line = text.substr(at, end - at);
    const size_t hash = line.find_first_not_of(" \t");
    const bool include =
        hash != std::string::npos && line[hash] == '#' &&
        line.find("include", hash) != std::string::npos &&
        (line.find("<metal_") != std::string::npos || line.find("<simd/") != std::string::npos);
    if (!include) out += line;
    if (end < text.size()) out += '\n';
    at = end + 1;
  }
  return out;
}

}  // namespace

std::string metal_on_cuda(const std::string& text, bool atomics) {
  std::string out = std::string(kMath) + kVectors;
  if (text.find("simd_") != std::string::npos) out += kLanes;
  if (atomics || text.find("atomic") != std::string::npos) out += kAtomics;
  return out + "using namespace metal;\n";
}

std::string cuda_spelling(const std::string& given, const std::string& whole) {
  const std::string text = without_includes(given);
  const std::string code = without_comments(text);  // of the same length
  const std::set<std::string> members = swizzle_names(without_comments(whole));
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const size_t start = i;
    while (i < text.size() && letter(text[i])) ++i;
    if (i == start || code[start] != text[start]) {
      i = std::max(i, start + 1);
      out += text.substr(start, i - start);
      continue;
    }
    const std::string word = text.substr(start, i - start);
    if (word == "device" || word == "constant" || word == "thread")
      continue;
    else if (word == "threadgroup")
      out += declares_memory(code, i) ? "__shared__" : "";
    else if (vector_words().count(word))
      out += "lamina_" + word;
    else if (is_swizzle(word) && behind_access(code, start) && !members.count(word))
      out += picked(word);
    else
      out += word;
  }
  return out;
}

}  // namespace lamina
