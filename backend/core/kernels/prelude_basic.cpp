// Helpers that spell a dialect's means: barriers, threadgroup memory, shuffles, storage types.
#include "kernels/dialect.h"

namespace lamina {

namespace {
const Helper kHelpers[] = {
    {"BARRIER", "#define BARRIER() threadgroup_barrier(mem_flags::mem_threadgroup)\n",
     "#define BARRIER() __syncthreads()\n"},
    {"DEVICE_BARRIER", "#define DEVICE_BARRIER() threadgroup_barrier(mem_flags::mem_device)\n",
     "#define DEVICE_BARRIER() __syncthreads()\n"},
    {"BARRIERS",
     "#define BARRIERS() threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device)\n",
     "#define BARRIERS() __syncthreads()\n"},
    {"SIMD_BARRIER",
     "#define SIMD_BARRIER() simdgroup_barrier(mem_flags::mem_threadgroup | "
     "mem_flags::mem_device)\n",
     "#define SIMD_BARRIER() __syncwarp()\n"},
    {"SHARED", "#define SHARED(T, name, n) threadgroup T name[n]\n",
     "#define SHARED(T, name, n) __shared__ T name[n]\n"},
    {"UNROLL", "#define UNROLL _Pragma(\"clang loop unroll(full)\")\n",
     "#define UNROLL _Pragma(\"unroll\")\n"},
    {"UNROLL_BY_4", "#define UNROLL_BY_4 _Pragma(\"clang loop unroll_count(4)\")\n",
     "#define UNROLL_BY_4 _Pragma(\"unroll 4\")\n"},
    // Whether (v, i) takes the place of the best so far: strictly better, or NaN before numbers, or
    // equal and earlier.
    {"takes_max", R"(
template <typename T>
inline bool takes_max(T v, uint i, T best, uint at) {
  if (v != v || best != best) return v != v && (best == best || i < at);
  return v > best || (v == best && i < at);
}
)",
     nullptr},
    {"takes_min", R"(
template <typename T>
inline bool takes_min(T v, uint i, T best, uint at) {
  if (v != v || best != best) return v != v && (best == best || i < at);
  return v < best || (v == best && i < at);
}
)",
     nullptr},
    // The same for a v that comes after the best so far; equal ones never take its place.
    {"takes_max_later", R"(
template <typename T>
inline bool takes_max_later(T v, T best) {
  return !(v <= best) && best == best;
}
)",
     nullptr},
    {"takes_min_later", R"(
template <typename T>
inline bool takes_min_later(T v, T best) {
  return !(v >= best) && best == best;
}
)",
     nullptr},
    {"simdgroup_float8x8", "#include <metal_simdgroup_matrix>\n", ""},
    {"COMPLEX", "#define COMPLEX(x, y) float2(x, y)\n",
     "#define COMPLEX(x, y) make_float2(x, y)\n"},
    // Kernel parameters in MSL.
    {"lane", "", "#define lane (threadIdx.x % 32)\n"},
    {"simd", "", "#define simd (threadIdx.x / 32)\n"},
    {"INFINITY", "", "#define INFINITY __int_as_float(0x7f800000)\n"},
    {"NAN", "", "#define NAN __int_as_float(0x7fc00000)\n"},
    {"half", "", R"(
struct half {
  ushort bits;
  half() = default;
  inline explicit half(float x) { asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x)); }
  inline operator float() const {
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(bits));
    return x;
  }
};
)"},
    {"bfloat", "", R"(
struct bfloat {
  ushort bits;
  bfloat() = default;
  inline explicit bfloat(float x) {
#if __CUDA_ARCH__ >= 800
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x));
#else
    const uint u = __float_as_uint(x);
    bits = (u & 0x7fffffffu) > 0x7f800000u ? (u >> 16) | 0x40 : (u + 0x7fffu + ((u >> 16) & 1)) >> 16;
#endif
  }
  inline operator float() const { return __uint_as_float(uint(bits) << 16); }
};
)"},
    {"bits_as_uint", "inline uint bits_as_uint(float x) { return as_type<uint>(x); }\n",
     "inline uint bits_as_uint(float x) { return __float_as_uint(x); }\n"},
    {"bits_as_float", "inline float bits_as_float(uint x) { return as_type<float>(x); }\n",
     "inline float bits_as_float(uint x) { return __uint_as_float(x); }\n"},
    {"bits_as_int", "inline int bits_as_int(uint x) { return int(x); }\n", nullptr},
    {"high_product", "inline uint high_product(uint a, uint b) { return mulhi(a, b); }\n",
     "inline uint high_product(uint a, uint b) { return __umulhi(a, b); }\n"},
    // Position along an axis of n; `rest` goes on with the axes outside. The quotient is
    // (rest + high(rest * m)) >> s, exact for rest below 2^31.
    {"next_index", R"(
inline int next_index(thread uint& rest, uint n, uint m, uint s) {
  const uint q = (rest + high_product(rest, m)) >> s;
  const int i = int(rest - q * n);
  rest = q;
  return i;
}
)",
     nullptr},
    {"next_index_wide", R"(
inline long next_index_wide(thread ulong& rest, ulong n) {
  const ulong q = rest / n;
  const long i = long(rest - q * n);
  rest = q;
  return i;
}
)",
     nullptr},
    // The value of the lane whose number differs by the bits of `mask`.
    {"lane_xor", R"(
inline float lane_xor(float v, ushort mask) { return simd_shuffle_xor(v, mask); }
inline float2 lane_xor(float2 v, ushort mask) { return simd_shuffle_xor(v, mask); }
inline int lane_xor(int v, ushort mask) { return simd_shuffle_xor(v, mask); }
inline uint lane_xor(uint v, ushort mask) { return simd_shuffle_xor(v, mask); }
inline short lane_xor(short v, ushort mask) { return short(simd_shuffle_xor(int(v), mask)); }
inline ushort lane_xor(ushort v, ushort mask) { return ushort(simd_shuffle_xor(uint(v), mask)); }
inline char lane_xor(char v, ushort mask) { return char(simd_shuffle_xor(int(v), mask)); }
inline uchar lane_xor(uchar v, ushort mask) { return uchar(simd_shuffle_xor(uint(v), mask)); }
inline bool lane_xor(bool v, ushort mask) { return simd_shuffle_xor(uint(v), mask) != 0; }
inline long lane_xor(long v, ushort mask) {
  return as_type<long>(simd_shuffle_xor(as_type<uint2>(v), mask));
}
inline ulong lane_xor(ulong v, ushort mask) {
  return as_type<ulong>(simd_shuffle_xor(as_type<uint2>(v), mask));
}
)",
     R"(
template <typename T>
inline T lane_xor(T v, uint mask) {
  return T(__shfl_xor_sync(0xffffffffu, v, mask));
}
inline float2 lane_xor(float2 v, uint mask) {
  return make_float2(lane_xor(v.x, mask), lane_xor(v.y, mask));
}
)"},
    // The value of lane number `at`.
    {"lane_from", "inline float lane_from(float v, ushort at) { return simd_shuffle(v, at); }\n",
     "inline float lane_from(float v, uint at) { return __shfl_sync(0xffffffffu, v, at); }\n"},
    // The value of the lane `delta` before, for lanes that have one.
    {"lane_up", R"(
inline float lane_up(float v, ushort delta) { return simd_shuffle_up(v, delta); }
inline float2 lane_up(float2 v, ushort delta) { return simd_shuffle_up(v, delta); }
inline int lane_up(int v, ushort delta) { return simd_shuffle_up(v, delta); }
inline uint lane_up(uint v, ushort delta) { return simd_shuffle_up(v, delta); }
inline short lane_up(short v, ushort delta) { return short(simd_shuffle_up(int(v), delta)); }
inline ushort lane_up(ushort v, ushort delta) { return ushort(simd_shuffle_up(uint(v), delta)); }
inline char lane_up(char v, ushort delta) { return char(simd_shuffle_up(int(v), delta)); }
inline uchar lane_up(uchar v, ushort delta) { return uchar(simd_shuffle_up(uint(v), delta)); }
inline bool lane_up(bool v, ushort delta) { return simd_shuffle_up(uint(v), delta) != 0; }
inline long lane_up(long v, ushort delta) {
  return as_type<long>(simd_shuffle_up(as_type<uint2>(v), delta));
}
inline ulong lane_up(ulong v, ushort delta) {
  return as_type<ulong>(simd_shuffle_up(as_type<uint2>(v), delta));
}
)",
     R"(
template <typename T>
inline T lane_up(T v, uint delta) {
  return T(__shfl_up_sync(0xffffffffu, v, delta));
}
inline float2 lane_up(float2 v, uint delta) {
  return make_float2(lane_up(v.x, delta), lane_up(v.y, delta));
}
)"},
};
}  // namespace

std::span<const Helper> basic_helpers() { return kHelpers; }

}  // namespace lamina
