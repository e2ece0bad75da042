// softmax(scale * q k^T) v without the matrix of scores (Dao et al., 2022): keys pass by in blocks,
// and each row keeps the largest score so far and the sum of the exponentials below it.
//
//   c++ -O3 -std=c++17 -shared -fPIC -I "$(python -c 'import lamina; print(lamina.include_dir())')"
//       flash_attention.cpp flash_attention_jvp.cpp flash_attention_text.cpp
//       flash_attention_backward_text.cpp -o libflash.so
//
//   flash = lamina.primitives.load("libflash.so")
//   out, logsumexp = flash.attention(q, k, v, scale=d ** -0.5, causal=True)
#include "flash_attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

const lamina_api* api = nullptr;

// One library for every machine of a kind: the loops are compiled for wider registers too, and the
// loader takes the widest that the processor has.
#if defined(__x86_64__) && defined(__linux__) && __GNUC__ >= 12 && !defined(__clang__)
#define FLASH_WIDE __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#elif defined(__x86_64__) && defined(__linux__) && defined(__GNUC__)
#define FLASH_WIDE __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define FLASH_WIDE
#endif
// Into each of those versions, which calls would leave.
#define FLASH_INLINE __attribute__((always_inline)) inline

namespace {

constexpr int64_t kRows = 192, kKeys = 64;  // of a block
constexpr float kNone = -std::numeric_limits<float>::infinity();

// The sizes of one call: queries (batch, heads, rows, width), keys (batch, heads, keys, width).
struct Sizes {
  int64_t batch, heads, rows, keys, width;
  float scale;
  bool causal;
  // Keys that row i may see; the last row sees all of them.
  int64_t seen(int64_t i) const {
    return causal ? std::max<int64_t>(0, keys - rows + i + 1) : keys;
  }
};

Sizes sizes_of(const lamina_call* call, const lamina_view& q, const lamina_view& k) {
  return {q.shape[0],
          q.shape[1],
          q.shape[2],
          k.shape[2],
          q.shape[3],
          static_cast<float>(call->params[0].real),
          call->params[1].integer != 0};
}

// Polynomial of degree 6 on [-ln2/2, ln2/2]: no call, so that compilers turn loops of it into SIMD.
FLASH_INLINE float exponential(float x) {
  constexpr float kRound =
      12582912.0f;  // 1.5 * 2^23: what is added to it is rounded to a whole one
  x = std::max(x, -87.0f);
  const float n = (x * 1.44269504f + kRound) - kRound;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.38888889e-3f;
  for (float c : {8.33333333e-3f, 4.16666667e-2f, 1.66666667e-1f, 0.5f, 1.0f, 1.0f}) p = p * r + c;
  int32_t bits;
  std::memcpy(&bits, &p, sizeof bits);
  bits += static_cast<int32_t>(n) << 23;
  std::memcpy(&p, &bits, sizeof p);
  return p;
}

constexpr int64_t kLanes = 16, kTile = 6;
typedef float Lanes __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));

int64_t padded(int64_t n) { return (n + kLanes - 1) / kLanes * kLanes; }

// A factor of a product: element (i, k) stands at at[i * row + k * step].
struct Factor {
  const float* at;
  int64_t row, step;
};

// R rows and 16 columns of multiply, in registers.
template <int R>
FLASH_INLINE void tile(Factor a, const float* b, int64_t b_row, int64_t depth, float* c,
                       int64_t c_row) {
  Lanes sum[R];
  for (int i = 0; i < R; ++i) sum[i] = *reinterpret_cast<const Lanes*>(c + i * c_row);
  for (int64_t k = 0; k < depth; ++k) {
    const Lanes line = *reinterpret_cast<const Lanes*>(b + k * b_row);
#pragma GCC unroll 6
    for (int i = 0; i < R; ++i) sum[i] += a.at[i * a.row + k * a.step] * line;
  }
  for (int i = 0; i < R; ++i) *reinterpret_cast<Lanes*>(c + i * c_row) = sum[i];
}

// c += a b: rows x depth times depth x columns, a multiple of 16.
FLASH_INLINE void multiply(int64_t rows, int64_t columns, int64_t depth, Factor a, const float* b,
                           int64_t b_row, float* c, int64_t c_row) {
  for (int64_t j = 0; j < columns; j += kLanes) {
    int64_t i = 0;
    for (; i + kTile <= rows; i += kTile)
      tile<kTile>({a.at + i * a.row, a.row, a.step}, b + j, b_row, depth, c + i * c_row + j, c_row);
    for (; i < rows; ++i)
      tile<1>({a.at + i * a.row, a.row, a.step}, b + j, b_row, depth, c + i * c_row + j, c_row);
  }
}

// Rows of one head, packed: row-major and padded to a multiple of 16, or with the rows as columns.
struct Packed {
  std::vector<float> at;
  FLASH_INLINE void rows(const lamina_view& v, int64_t b, int64_t h, int64_t from, int64_t to) {
    const int64_t width = v.shape[3], line = padded(width), step = v.strides[3];
    at.assign(static_cast<size_t>((to - from) * line), 0.0f);
    for (int64_t i = from; i < to; ++i) {
      const float* row = row_of(v, b, h, i);
      for (int64_t d = 0; d < width; ++d) at[(i - from) * line + d] = row[d * step];
    }
  }
  FLASH_INLINE void columns(const lamina_view& v, int64_t b, int64_t h, int64_t from, int64_t to) {
    const int64_t width = v.shape[3], step = v.strides[3];
    at.assign(static_cast<size_t>(kKeys * width), 0.0f);
    for (int64_t i = from; i < to; ++i) {
      const float* row = row_of(v, b, h, i);
      for (int64_t d = 0; d < width; ++d) at[d * kKeys + i - from] = row[d * step];
    }
  }
  static const float* row_of(const lamina_view& v, int64_t b, int64_t h, int64_t i) {
    return static_cast<const float*>(v.data) + b * v.strides[0] + h * v.strides[1] +
           i * v.strides[2];
  }
};

struct Forward {
  Sizes s;
  const lamina_view *q, *k, *v;
  float *out, *lse;
};

// The largest, and the sum, of a row of kKeys: by lanes first, which compilers may not do on their
// own.
FLASH_INLINE float largest(const float* p) {
  Lanes most = *reinterpret_cast<const Lanes*>(p);
  for (int64_t j = kLanes; j < kKeys; j += kLanes) {
    const Lanes line = *reinterpret_cast<const Lanes*>(p + j);
    most = line > most ? line : most;
  }
  float out = most[0];
  for (int l = 1; l < kLanes; ++l) out = std::max(out, most[l]);
  return out;
}
FLASH_INLINE float total(const float* p) {
  Lanes sum = *reinterpret_cast<const Lanes*>(p);
  for (int64_t j = kLanes; j < kKeys; j += kLanes) sum += *reinterpret_cast<const Lanes*>(p + j);
  float parts[kLanes];
  std::memcpy(parts, &sum, sizeof parts);
  for (int64_t half = kLanes / 2; half > 0; half /= 2)
    for (int64_t l = 0; l < half; ++l) parts[l] += parts[l + half];
  return parts[0];
}

// A row's n scores become exponentials below its largest score so far; the others become 0. Returns
// what was summed before has to be multiplied with.
FLASH_INLINE float weigh(float* p, int64_t n, float scale, float& top, float& sum) {
  for (int64_t j = 0; j < kKeys; ++j) p[j] *= scale;
  for (int64_t j = n; j < kKeys; ++j) p[j] = kNone;
  const float high = std::max(top, largest(p));
  const float keep = exponential(top - high);
  for (int64_t j = 0; j < kKeys; ++j) p[j] = exponential(p[j] - high);
  for (int64_t j = n; j < kKeys; ++j) p[j] = 0;
  sum = sum * keep + total(p);
  top = high;
  return keep;
}

// One block of rows of one head against all its keys.
FLASH_WIDE void forward_block(const Forward& f, int64_t b, int64_t h, int64_t from) {
  const Sizes& s = f.s;
  const int64_t to = std::min(from + kRows, s.rows), w = s.width, line = padded(w);
  thread_local Packed q, k, v;
  thread_local std::vector<float> scores, sums;
  q.rows(*f.q, b, h, from, to);
  float top[kRows], sum[kRows];
  std::fill_n(top, kRows, kNone);
  std::fill_n(sum, kRows, 0.0f);
  sums.assign(static_cast<size_t>((to - from) * line), 0.0f);
  for (int64_t key = 0; key < s.seen(to - 1); key += kKeys) {
    const int64_t end = std::min(key + kKeys, s.keys);
    k.columns(*f.k, b, h, key, end);
    v.rows(*f.v, b, h, key, end);
    int64_t first = from;  // the first row that sees any of them
    while (s.seen(first) <= key) ++first;
    const int64_t at = first - from, count = to - first;
    scores.assign(static_cast<size_t>(count * kKeys), 0.0f);
    multiply(count, kKeys, w, {&q.at[at * line], line, 1}, k.at.data(), kKeys, scores.data(),
             kKeys);
    for (int64_t r = 0; r < count; ++r) {
      const int64_t n = std::min(end, s.seen(first + r)) - key;
      const float keep = weigh(&scores[r * kKeys], n, s.scale, top[at + r], sum[at + r]);
      float* row = &sums[(at + r) * line];
      for (int64_t d = 0; d < line; ++d) row[d] *= keep;
    }
    multiply(count, line, end - key, {scores.data(), kKeys, 1}, v.at.data(), line, &sums[at * line],
             line);
  }
  float* out = f.out + ((b * s.heads + h) * s.rows + from) * w;
  float* lse = f.lse + (b * s.heads + h) * s.rows + from;
  for (int64_t r = 0; r < to - from; ++r) {
    lse[r] = sum[r] > 0 ? top[r] + std::log(sum[r]) : kNone;
    const float by = sum[r] > 0 ? sum[r] : 1.0f;
    for (int64_t d = 0; d < w; ++d) out[r * w + d] = sums[r * line + d] / by;
  }
}

lamina_status forward(const lamina_call* call, const lamina_view* in, const lamina_view* out) {
  Forward f{sizes_of(call, in[0], in[1]),    in, in + 1, in + 2, static_cast<float*>(out[0].data),
            static_cast<float*>(out[1].data)};
  const int64_t blocks = (f.s.rows + kRows - 1) / kRows;
  return api->parallel_for(
      f.s.batch * f.s.heads * blocks, 1,
      [](void* user, int64_t begin, int64_t end) -> lamina_status {
        const auto& f = *static_cast<const Forward*>(user);
        const int64_t blocks = (f.s.rows + kRows - 1) / kRows;
        for (int64_t n = begin; n < end; ++n)
          forward_block(f, n / blocks / f.s.heads, n / blocks % f.s.heads, n % blocks * kRows);
        return LAMINA_OK;
      },
      &f);
}

// inputs: q k v out lse dout dlse; outputs: dq dk dv.
struct Backward {
  Sizes s;
  const lamina_view* in;
  float *dq, *dk, *dv;
};

// With p = exp(score - lse): dv = p^T dout, dscore = p (dout v^T - delta), dq and dk from dscore.
// delta = sum(dout * out) - dlse, by row.
FLASH_WIDE void backward_head(const Backward& t, int64_t b, int64_t h) {
  const Sizes& s = t.s;
  const int64_t w = s.width, line = padded(w), head = b * s.heads + h;
  Packed q, out, dout, k, kt, vt;
  q.rows(t.in[0], b, h, 0, s.rows);
  out.rows(t.in[3], b, h, 0, s.rows);
  dout.rows(t.in[5], b, h, 0, s.rows);
  std::vector<float> delta(static_cast<size_t>(s.rows)), dq(q.at.size(), 0.0f), dk, dv, p, dp;
  for (int64_t i = 0; i < s.rows; ++i) {
    delta[i] = -*Packed::row_of(t.in[6], b, h, i);
    for (int64_t d = 0; d < w; ++d) delta[i] += dout.at[i * line + d] * out.at[i * line + d];
  }
  for (int64_t key = 0; key < s.keys; key += kKeys) {
    const int64_t end = std::min(key + kKeys, s.keys);
    k.rows(t.in[1], b, h, key, end);
    kt.columns(t.in[1], b, h, key, end);
    vt.columns(t.in[2], b, h, key, end);
    dk.assign(static_cast<size_t>(kKeys * line), 0.0f);
    dv.assign(static_cast<size_t>(kKeys * line), 0.0f);
    int64_t from = 0;  // the first row that sees any of them
    while (from < s.rows && s.seen(from) <= key) ++from;
    for (; from < s.rows; from += kRows) {
      const int64_t count = std::min(kRows, s.rows - from);
      const float *q_rows = &q.at[from * line], *dout_rows = &dout.at[from * line];
      p.assign(static_cast<size_t>(count * kKeys), 0.0f);
      dp.assign(static_cast<size_t>(count * kKeys), 0.0f);
      multiply(count, kKeys, w, {q_rows, line, 1}, kt.at.data(), kKeys, p.data(), kKeys);
      multiply(count, kKeys, w, {dout_rows, line, 1}, vt.at.data(), kKeys, dp.data(), kKeys);
      for (int64_t r = 0; r < count; ++r) {
        const int64_t n = std::min(end, s.seen(from + r)) - key;
        const float lse = *Packed::row_of(t.in[4], b, h, from + r), less = delta[from + r];
        float *p_row = &p[r * kKeys], *dp_row = &dp[r * kKeys];
        for (int64_t j = 0; j < kKeys; ++j) p_row[j] = exponential(p_row[j] * s.scale - lse);
        for (int64_t j = n; j < kKeys; ++j) p_row[j] = 0;
        for (int64_t j = 0; j < kKeys; ++j) dp_row[j] = p_row[j] * (dp_row[j] - less) * s.scale;
      }
      multiply(count, line, end - key, {dp.data(), kKeys, 1}, k.at.data(), line, &dq[from * line],
               line);
      multiply(end - key, line, count, {dp.data(), 1, kKeys}, q_rows, line, dk.data(), line);
      multiply(end - key, line, count, {p.data(), 1, kKeys}, dout_rows, line, dv.data(), line);
    }
    for (int64_t j = key; j < end; ++j)
      for (int64_t d = 0; d < w; ++d) {
        t.dk[(head * s.keys + j) * w + d] = dk[(j - key) * line + d];
        t.dv[(head * s.keys + j) * w + d] = dv[(j - key) * line + d];
      }
  }
  for (int64_t i = 0; i < s.rows; ++i)
    for (int64_t d = 0; d < w; ++d) t.dq[(head * s.rows + i) * w + d] = dq[i * line + d];
}

lamina_status backward(const lamina_call* call, const lamina_view* in, const lamina_view* out) {
  Backward t{sizes_of(call, in[0], in[1]), in, static_cast<float*>(out[0].data),
             static_cast<float*>(out[1].data), static_cast<float*>(out[2].data)};
  return api->parallel_for(
      t.s.batch * t.s.heads, 1,
      [](void* user, int64_t begin, int64_t end) -> lamina_status {
        const auto& t = *static_cast<const Backward*>(user);
        for (int64_t n = begin; n < end; ++n) backward_head(t, n / t.s.heads, n % t.s.heads);
        return LAMINA_OK;
      },
      &t);
}

std::string text(const lamina_view& v) {
  std::string out = "(";
  for (int d = 0; d < v.ndim; ++d) out += (d ? ", " : "") + std::to_string(v.shape[d]);
  return out + ")";
}

lamina_status check(const lamina_view* in) {
  for (int i = 0; i < 3; ++i) {
    if (in[i].dtype != LAMINA_FLOAT32)
      return api->fail(LAMINA_ERROR_DTYPE, "q, k and v must be float32");
    if (in[i].ndim != 4)
      return api->fail(LAMINA_ERROR_SHAPE, ("q, k and v need 4 axes, got " + text(in[i])).c_str());
  }
  bool fits = true;
  for (int d : {0, 1, 3}) fits &= in[0].shape[d] == in[1].shape[d];
  for (int d = 0; d < 4; ++d) fits &= in[1].shape[d] == in[2].shape[d];
  if (!fits)
    return api->fail(LAMINA_ERROR_SHAPE, ("shapes do not fit: q " + text(in[0]) + ", k " +
                                          text(in[1]) + ", v " + text(in[2]))
                                             .c_str());
  return LAMINA_OK;
}

void copy_type(const lamina_view& from, int32_t ndim, lamina_type* to) {
  to->dtype = from.dtype;
  to->ndim = ndim;
  std::copy_n(from.shape, ndim, to->shape);
}

lamina_status forward_types(const lamina_call*, const lamina_view* in, lamina_type* out) {
  if (lamina_status s = check(in)) return s;
  copy_type(in[0], 4, &out[0]);
  copy_type(in[0], 3, &out[1]);
  return LAMINA_OK;
}

lamina_status backward_types(const lamina_call*, const lamina_view* in, lamina_type* out) {
  if (lamina_status s = check(in)) return s;
  for (int i = 0; i < 3; ++i) copy_type(in[i], 4, &out[i]);
  return LAMINA_OK;
}

lamina_status forward_vjp(const lamina_call* call, const lamina_array* in, const lamina_array* out,
                          const lamina_array* cotangents, lamina_array* results) {
  const lamina_array all[] = {in[0], in[1], in[2], out[0], out[1], cotangents[0], cotangents[1]};
  return api->op("flash.attention_backward", all, 7, call->params, call->param_count, results, 3);
}

// Two products of scores and values for each pair that is seen; five on the way back.
template <int Products>
int64_t flops(const lamina_call* call, const lamina_view* in) {
  Sizes s = sizes_of(call, in[0], in[1]);
  int64_t pairs = 0;
  for (int64_t i = 0; i < s.rows; ++i) pairs += s.seen(i);
  return s.batch * s.heads * pairs * (2 * Products * s.width + 4);
}

}  // namespace

extern "C" lamina_status lamina_register(const lamina_api* table) {
  api = table;
  const lamina_param params[] = {
      {"scale", LAMINA_REAL, 0, 0, 1.0, nullptr, 0},
      {"causal", LAMINA_BOOLEAN, 0, 0, 0, nullptr, 0},
  };
  lamina_primitive p{};
  p.size = sizeof p;
  p.name = "flash.attention";
  p.doc = "softmax(scale * q k^T) v over (batch, heads, time, width), and its logsumexp by row.";
  p.inputs = 3;
  p.outputs = 2;
  p.params = params;
  p.param_count = 2;
  p.types = forward_types;
  p.cpu = forward;
  p.text = flash_text;
  p.vjp = forward_vjp;
  p.jvp = flash_jvp;
  p.flops = flops<2>;
  if (lamina_status s = api->define(&p)) return s;

  lamina_primitive back{};
  back.size = sizeof back;
  back.name = "flash.attention_backward";
  back.doc = "Cotangents of q, k and v, the scores computed again block by block.";
  back.inputs = 7;
  back.outputs = 3;
  back.params = params;
  back.param_count = 2;
  back.types = backward_types;
  back.cpu = backward;
  back.text = flash_backward_text;
  back.flops = flops<5>;
  return api->define(&back);
}
