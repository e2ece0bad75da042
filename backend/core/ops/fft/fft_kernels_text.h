// Text of the loops of fft_kernels.h. Included once by each fft_kernels_<isa>.cpp, after it has set
// the target, inside namespace lamina::cpu::<isa>; needs kVecBytes. No include guard: every
// instruction set gets its own copy. Calls no library function, so that no copy compiled for a
// newer processor can be picked by the linker for an older one.

typedef float V __attribute__((vector_size(kVecBytes)));
typedef float Unaligned __attribute__((vector_size(kVecBytes), aligned(4), may_alias));
inline constexpr int64_t kWide = kVecBytes / 4;
inline constexpr int64_t kParts = kTileLanes / kWide;

struct C {
  V re, im;
};
#define LAMINA_FFT_INLINE inline __attribute__((always_inline))

LAMINA_FFT_INLINE C read(const float* p) {
  return {*reinterpret_cast<const Unaligned*>(p),
          *reinterpret_cast<const Unaligned*>(p + kTileLanes)};
}
LAMINA_FFT_INLINE void write(float* p, C x) {
  *reinterpret_cast<Unaligned*>(p) = x.re;
  *reinterpret_cast<Unaligned*>(p + kTileLanes) = x.im;
}
LAMINA_FFT_INLINE C operator+(C a, C b) { return {a.re + b.re, a.im + b.im}; }
LAMINA_FFT_INLINE C operator-(C a, C b) { return {a.re - b.re, a.im - b.im}; }
LAMINA_FFT_INLINE C operator*(C a, C b) {
  return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}
LAMINA_FFT_INLINE C times(C a, float re, float im) {
  return {a.re * re - a.im * im, a.re * im + a.im * re};
}
LAMINA_FFT_INLINE C scaled(C a, float f) { return {a.re * f, a.im * f}; }
LAMINA_FFT_INLINE C times_minus_i(C a) { return {a.im, -a.re}; }

// x[k] becomes sum over j of x[j] exp(-2 pi i j k / R).
template <int R>
LAMINA_FFT_INLINE void butterfly(C* x);

template <>
LAMINA_FFT_INLINE void butterfly<2>(C* x) {
  C a = x[0], b = x[1];
  x[0] = a + b;
  x[1] = a - b;
}

template <>
LAMINA_FFT_INLINE void butterfly<3>(C* x) {
  constexpr float kSin = 0.866025403784438646763723170752936183f;
  C sum = x[1] + x[2], turned = scaled(times_minus_i(x[1] - x[2]), kSin);
  C middle = x[0] - scaled(sum, 0.5f);
  x[0] = x[0] + sum;
  x[1] = middle + turned;
  x[2] = middle - turned;
}

LAMINA_FFT_INLINE void four(C& a, C& b, C& c, C& d) {
  C even = a + c, odd = a - c, sum = b + d, turned = times_minus_i(b - d);
  a = even + sum;
  b = odd + turned;
  c = even - sum;
  d = odd - turned;
}

template <>
LAMINA_FFT_INLINE void butterfly<4>(C* x) {
  four(x[0], x[1], x[2], x[3]);
}

template <>
LAMINA_FFT_INLINE void butterfly<5>(C* x) {
  constexpr float kCos1 = 0.309016994374947424102293417182819059f;
  constexpr float kCos2 = -0.809016994374947424102293417182819059f;
  constexpr float kSin1 = 0.951056516295153572116439333379382143f;
  constexpr float kSin2 = 0.587785252292473129168705954639072769f;
  C s1 = x[1] + x[4], d1 = times_minus_i(x[1] - x[4]);
  C s2 = x[2] + x[3], d2 = times_minus_i(x[2] - x[3]);
  C m1 = x[0] + scaled(s1, kCos1) + scaled(s2, kCos2);
  C m2 = x[0] + scaled(s1, kCos2) + scaled(s2, kCos1);
  C t1 = scaled(d1, kSin1) + scaled(d2, kSin2), t2 = scaled(d1, kSin2) - scaled(d2, kSin1);
  x[0] = x[0] + s1 + s2;
  x[1] = m1 + t1;
  x[2] = m2 + t2;
  x[3] = m2 - t2;
  x[4] = m1 - t1;
}

template <>
LAMINA_FFT_INLINE void butterfly<8>(C* x) {
  constexpr float kRoot = 0.707106781186547524400844362104849039f;
  C e0 = x[0], e1 = x[2], e2 = x[4], e3 = x[6], o0 = x[1], o1 = x[3], o2 = x[5], o3 = x[7];
  four(e0, e1, e2, e3);
  four(o0, o1, o2, o3);
  C t1 = scaled(o1 + times_minus_i(o1), kRoot), t2 = times_minus_i(o2);
  C t3 = scaled(times_minus_i(o3) - o3, kRoot);
  x[0] = e0 + o0;
  x[1] = e1 + t1;
  x[2] = e2 + t2;
  x[3] = e3 + t3;
  x[4] = e0 - o0;
  x[5] = e1 - t1;
  x[6] = e2 - t2;
  x[7] = e3 - t3;
}

template <int R>
void pass_of(int64_t groups, int64_t stride, const float* in, float* out, const float* twiddles) {
  for (int64_t p = 0; p < groups; ++p) {
    const float* w = twiddles + p * 2 * (R - 1);
    for (int64_t q = 0; q < stride; ++q) {
      const float* from = in + (q + stride * p) * kTilePoint;
      float* to = out + (q + stride * R * p) * kTilePoint;
      for (int64_t part = 0; part < kParts; ++part) {
        C x[R];
        for (int j = 0; j < R; ++j)
          x[j] = read(from + j * groups * stride * kTilePoint + part * kWide);
        butterfly<R>(x);
        write(to + part * kWide, x[0]);
        if (p == 0) {
          for (int j = 1; j < R; ++j) write(to + j * stride * kTilePoint + part * kWide, x[j]);
        } else {
          for (int j = 1; j < R; ++j)
            write(to + j * stride * kTilePoint + part * kWide,
                  times(x[j], w[2 * j - 2], w[2 * j - 1]));
        }
      }
    }
  }
}

// Any odd radix: points j and radix - j are taken together.
void pass_any(int radix, int64_t groups, int64_t stride, const float* in, float* out,
              const float* twiddles, const float* roots) {
  const int half = radix / 2;
  const float *cosine = roots, *sine = roots + radix;
  for (int64_t p = 0; p < groups; ++p) {
    const float* w = twiddles + p * 2 * (radix - 1);
    for (int64_t q = 0; q < stride; ++q) {
      const float* from = in + (q + stride * p) * kTilePoint;
      float* to = out + (q + stride * radix * p) * kTilePoint;
      for (int64_t part = 0; part < kParts; ++part) {
        C sums[kMaxRadix / 2 + 1], turned[kMaxRadix / 2 + 1];
        auto at = [&](int j) {
          return read(from + j * groups * stride * kTilePoint + part * kWide);
        };
        auto put = [&](int k, C x) {
          if (k > 0) x = times(x, w[2 * k - 2], w[2 * k - 1]);
          write(to + k * stride * kTilePoint + part * kWide, x);
        };
        const C first = at(0);
        C all = first;
        for (int j = 1; j <= half; ++j) {
          C a = at(j), b = at(radix - j);
          sums[j] = a + b;
          turned[j] = times_minus_i(a - b);
          all = all + sums[j];
        }
        put(0, all);
        for (int k = 1; k <= half; ++k) {
          C even = first, odd = scaled(turned[1], sine[k]);
          even = even + scaled(sums[1], cosine[k]);
          for (int j = 2, e = 2 * k % radix; j <= half;
               ++j, e = e + k < radix ? e + k : e + k - radix) {
            even = even + scaled(sums[j], cosine[e]);
            odd = odd + scaled(turned[j], sine[e]);
          }
          put(k, even + odd);
          put(radix - k, even - odd);
        }
      }
    }
  }
}

void pass(int radix, int64_t groups, int64_t stride, const float* in, float* out,
          const float* twiddles, const float* roots) {
  switch (radix) {
    case 2:
      return pass_of<2>(groups, stride, in, out, twiddles);
    case 3:
      return pass_of<3>(groups, stride, in, out, twiddles);
    case 4:
      return pass_of<4>(groups, stride, in, out, twiddles);
    case 5:
      return pass_of<5>(groups, stride, in, out, twiddles);
    case 8:
      return pass_of<8>(groups, stride, in, out, twiddles);
    default:
      return pass_any(radix, groups, stride, in, out, twiddles, roots);
  }
}

// The first and the second half of a and b, one element of each in turn.
template <int... I>
LAMINA_FFT_INLINE void interleave(V a, V b, V& low, V& high, std::integer_sequence<int, I...>) {
  constexpr int kHalf = sizeof...(I) / 2, kAll = sizeof...(I);
  low = __builtin_shufflevector(a, b, (I % 2 * kAll + I / 2)...);
  high = __builtin_shufflevector(a, b, (I % 2 * kAll + kHalf + I / 2)...);
}

// Rows and columns of kWide vectors exchanged: perfect shuffles, as many as kWide has bits.
LAMINA_FFT_INLINE void exchange(V* x) {
  for (int64_t done = 1; done < kWide; done *= 2) {
    V y[kWide];
    for (int64_t i = 0; i < kWide / 2; ++i)
      interleave(x[i], x[i + kWide / 2], y[2 * i], y[2 * i + 1],
                 std::make_integer_sequence<int, static_cast<int>(kWide)>());
    for (int64_t i = 0; i < kWide; ++i) x[i] = y[i];
  }
}

// Where a lane's row begins, and whether imaginary parts come first in it.
LAMINA_FFT_INLINE float* row_of(const FftLanes& lanes, int64_t l) {
  return lanes.im[l] < lanes.re[l] ? lanes.im[l] : lanes.re[l];
}

// Float `at` of a row of n complex numbers is in the tile here, for lane 0.
LAMINA_FFT_INLINE int64_t place_of(int64_t at, bool swapped) {
  return at / 2 * kTilePoint + ((at % 2 != 0) != swapped ? kTileLanes : 0);
}

void load_rows(float* tile, int64_t n, const FftLanes& from) {
  const bool swapped = from.im[0] < from.re[0];
  const int64_t whole = 2 * n / kWide * kWide;
  for (int64_t first = 0; first < kTileLanes; first += kWide) {
    for (int64_t at = 0; at < whole; at += kWide) {
      V x[kWide];
      for (int64_t l = 0; l < kWide; ++l)
        x[l] = *reinterpret_cast<const Unaligned*>(row_of(from, first + l) + at);
      exchange(x);
      for (int64_t j = 0; j < kWide; ++j)
        *reinterpret_cast<Unaligned*>(tile + place_of(at + j, swapped) + first) = x[j];
    }
    for (int64_t at = whole; at < 2 * n; ++at)
      for (int64_t l = first; l < first + kWide; ++l)
        tile[place_of(at, swapped) + l] = row_of(from, l)[at];
  }
}

void store_rows(const float* tile, int64_t n, const FftLanes& to, float scale) {
  const bool swapped = to.im[0] < to.re[0];
  const int64_t whole = 2 * n / kWide * kWide;
  for (int64_t first = 0; first < kTileLanes; first += kWide) {
    for (int64_t at = 0; at < whole; at += kWide) {
      V x[kWide];
      for (int64_t j = 0; j < kWide; ++j)
        x[j] =
            *reinterpret_cast<const Unaligned*>(tile + place_of(at + j, swapped) + first) * scale;
      exchange(x);
      for (int64_t l = 0; l < kWide; ++l)
        *reinterpret_cast<Unaligned*>(row_of(to, first + l) + at) = x[l];
    }
    for (int64_t at = whole; at < 2 * n; ++at)
      for (int64_t l = first; l < first + kWide; ++l)
        row_of(to, l)[at] = tile[place_of(at, swapped) + l] * scale;
  }
}

void load(float* tile, int64_t n, const FftLanes& from) {
  if (from.in_rows && !from.side_by_side) return load_rows(tile, n, from);
  if (from.side_by_side) {
    // The first of re and im in memory is whichever is lower; they alternate.
    const bool swapped = from.im[0] < from.re[0];
    const float* src = swapped ? from.im[0] : from.re[0];
    float *even = tile + (swapped ? kTileLanes : 0), *odd = tile + (swapped ? 0 : kTileLanes);
    for (int64_t i = 0; i < n; ++i, src += from.step, even += kTilePoint, odd += kTilePoint)
      for (int64_t l = 0; l < kTileLanes; ++l) {
        even[l] = src[2 * l];
        odd[l] = src[2 * l + 1];
      }
    return;
  }
  for (int part = 0; part < 2; ++part) {
    float* to = tile + part * kTileLanes;
    float* const* lanes = part ? from.im : from.re;
    const bool none = !lanes[0];
    const int count = none ? 0 : from.count;
    if (count == kTileLanes) {
      for (int64_t i = 0; i < n; ++i)
        for (int64_t l = 0; l < kTileLanes; ++l) to[i * kTilePoint + l] = lanes[l][i * from.step];
      continue;
    }
    for (int64_t i = 0; i < n; ++i) {
      for (int l = 0; l < count; ++l) to[i * kTilePoint + l] = lanes[l][i * from.step];
      for (int l = count; l < kTileLanes; ++l) to[i * kTilePoint + l] = 0;
    }
  }
}

void store(const float* tile, int64_t n, const FftLanes& to, float scale) {
  if (to.in_rows && !to.side_by_side) return store_rows(tile, n, to, scale);
  if (to.side_by_side) {
    const bool swapped = to.im[0] < to.re[0];
    float* dst = swapped ? to.im[0] : to.re[0];
    const float* even = tile + (swapped ? kTileLanes : 0);
    const float* odd = tile + (swapped ? 0 : kTileLanes);
    for (int64_t i = 0; i < n; ++i, dst += to.step, even += kTilePoint, odd += kTilePoint)
      for (int64_t l = 0; l < kTileLanes; ++l) {
        dst[2 * l] = even[l] * scale;
        dst[2 * l + 1] = odd[l] * scale;
      }
    return;
  }
  for (int part = 0; part < 2; ++part) {
    const float* from = tile + part * kTileLanes;
    float* const* lanes = part ? to.im : to.re;
    if (!lanes[0]) continue;
    for (int64_t i = 0; i < n; ++i)
      for (int l = 0; l < to.count; ++l) lanes[l][i * to.step] = from[i * kTilePoint + l] * scale;
  }
}

void scale(float* tile, int64_t n, const float* factors) {
  for (int64_t i = 0; i < n; ++i)
    for (int64_t part = 0; part < kParts; ++part) {
      float* at = tile + i * kTilePoint + part * kWide;
      write(at, times(read(at), factors[2 * i], factors[2 * i + 1]));
    }
}

void turn(float* tile, int64_t n, const float* factors, const float* lanes) {
  for (int64_t i = 0; i < n; ++i)
    for (int64_t part = 0; part < kParts; ++part) {
      const int64_t offset = i * kTilePoint + part * kWide;
      C w = times(read(lanes + offset), factors[2 * i], factors[2 * i + 1]);
      write(tile + offset, read(tile + offset) * w);
    }
}

#undef LAMINA_FFT_INLINE
