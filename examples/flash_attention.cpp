// softmax(scale * q k^T) v without the matrix of scores (Dao et al., 2022): keys pass by in blocks,
// and each row keeps the largest score so far and the sum of the exponentials below it.
//
//   c++ -O3 -std=c++17 -shared -fPIC -I "$(python -c 'import lamina; print(lamina.include_dir())')"
//       flash_attention.cpp -o libflash.so
//
//   flash = lamina.primitives.load("libflash.so")
//   out, logsumexp = flash.attention(q, k, v, scale=d ** -0.5, causal=True)
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include <lamina.h>

// The kernels as text, for devices that compile it.
lamina_status flash_text(const lamina_call*, const lamina_device*, const lamina_view*,
                         const lamina_view*, lamina_program);

const lamina_api* api = nullptr;

namespace {

constexpr int64_t kRows = 32, kKeys = 64;  // of a block
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
inline float exponential(float x) {
  x = std::max(x, -87.0f);
  float n = std::nearbyint(x * 1.44269504f);
  float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.38888889e-3f;
  for (float c : {8.33333333e-3f, 4.16666667e-2f, 1.66666667e-1f, 0.5f, 1.0f, 1.0f}) p = p * r + c;
  int32_t bits;
  std::memcpy(&bits, &p, sizeof bits);
  bits += static_cast<int32_t>(n) << 23;
  std::memcpy(&p, &bits, sizeof p);
  return p;
}

// Rows [from, to) of one head, packed: row-major, or with the rows as columns.
struct Packed {
  std::vector<float> at;
  void rows(const lamina_view& v, int64_t b, int64_t h, int64_t from, int64_t to) {
    const int64_t width = v.shape[3];
    at.resize(static_cast<size_t>((to - from) * width));
    for (int64_t i = from; i < to; ++i)
      for (int64_t d = 0; d < width; ++d) at[(i - from) * width + d] = element(v, b, h, i, d);
  }
  void columns(const lamina_view& v, int64_t b, int64_t h, int64_t from, int64_t to) {
    const int64_t width = v.shape[3];
    at.assign(static_cast<size_t>(kKeys * width), 0.0f);
    for (int64_t i = from; i < to; ++i)
      for (int64_t d = 0; d < width; ++d) at[d * kKeys + i - from] = element(v, b, h, i, d);
  }
  static float element(const lamina_view& v, int64_t b, int64_t h, int64_t i, int64_t d) {
    return static_cast<const float*>(
        v.data)[b * v.strides[0] + h * v.strides[1] + i * v.strides[2] + d * v.strides[3]];
  }
};

// out[j] = sum over d of row[d] * columns[d][j], for a block of keys.
void products(const float* row, const float* columns, int64_t width, float* out) {
  for (int64_t j = 0; j < kKeys; ++j) out[j] = 0;
  for (int64_t d = 0; d < width; ++d) {
    const float x = row[d], *c = columns + d * kKeys;
    for (int64_t j = 0; j < kKeys; ++j) out[j] += x * c[j];
  }
}

struct Forward {
  Sizes s;
  const lamina_view *q, *k, *v;
  float *out, *lse;
};

// One block of rows of one head against all its keys.
void forward_block(const Forward& f, int64_t b, int64_t h, int64_t from) {
  const Sizes& s = f.s;
  const int64_t to = std::min(from + kRows, s.rows), w = s.width;
  thread_local Packed q, k, v;
  q.rows(*f.q, b, h, from, to);
  float top[kRows], sum[kRows], p[kKeys];
  std::fill_n(top, kRows, kNone);
  std::fill_n(sum, kRows, 0.0f);
  float* out = f.out + ((b * s.heads + h) * s.rows + from) * w;
  std::fill_n(out, (to - from) * w, 0.0f);
  for (int64_t key = 0; key < s.seen(to - 1); key += kKeys) {
    const int64_t end = std::min(key + kKeys, s.keys);
    k.columns(*f.k, b, h, key, end);
    v.rows(*f.v, b, h, key, end);
    for (int64_t i = from; i < to; ++i) {
      const int64_t r = i - from, n = std::min(end, s.seen(i)) - key;
      if (n <= 0) continue;
      products(&q.at[r * w], k.at.data(), w, p);
      float high = top[r];
      for (int64_t j = 0; j < n; ++j) high = std::max(high, p[j] * s.scale);
      const float keep = exponential(top[r] - high);
      float added = 0;
      for (int64_t j = 0; j < n; ++j) added += p[j] = exponential(p[j] * s.scale - high);
      for (int64_t d = 0; d < w; ++d) out[r * w + d] *= keep;
      for (int64_t j = 0; j < n; ++j)
        for (int64_t d = 0; d < w; ++d) out[r * w + d] += p[j] * v.at[j * w + d];
      sum[r] = sum[r] * keep + added;
      top[r] = high;
    }
  }
  float* lse = f.lse + (b * s.heads + h) * s.rows + from;
  for (int64_t r = 0; r < to - from; ++r) {
    lse[r] = sum[r] > 0 ? top[r] + std::log(sum[r]) : kNone;
    for (int64_t d = 0; d < w && sum[r] > 0; ++d) out[r * w + d] /= sum[r];
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
void backward_head(const Backward& t, int64_t b, int64_t h) {
  const Sizes& s = t.s;
  const int64_t w = s.width, head = b * s.heads + h;
  Packed q, out, dout, k, v, kt, vt;
  q.rows(t.in[0], b, h, 0, s.rows);
  out.rows(t.in[3], b, h, 0, s.rows);
  dout.rows(t.in[5], b, h, 0, s.rows);
  auto of_row = [&](const lamina_view& x, int64_t i) {
    return static_cast<const float*>(
        x.data)[b * x.strides[0] + h * x.strides[1] + i * x.strides[2]];
  };
  std::vector<float> delta(static_cast<size_t>(s.rows));
  for (int64_t i = 0; i < s.rows; ++i) {
    delta[i] = -of_row(t.in[6], i);
    for (int64_t d = 0; d < w; ++d) delta[i] += dout.at[i * w + d] * out.at[i * w + d];
  }
  float* dq = t.dq + head * s.rows * w;
  std::fill_n(dq, s.rows * w, 0.0f);
  std::fill_n(t.dk + head * s.keys * w, s.keys * w, 0.0f);
  std::fill_n(t.dv + head * s.keys * w, s.keys * w, 0.0f);
  float p[kKeys], dp[kKeys];
  for (int64_t key = 0; key < s.keys; key += kKeys) {
    const int64_t end = std::min(key + kKeys, s.keys);
    k.rows(t.in[1], b, h, key, end);
    kt.columns(t.in[1], b, h, key, end);
    vt.columns(t.in[2], b, h, key, end);
    float *dk = t.dk + (head * s.keys + key) * w, *dv = t.dv + (head * s.keys + key) * w;
    for (int64_t i = 0; i < s.rows; ++i) {
      const int64_t n = std::min(end, s.seen(i)) - key;
      if (n <= 0) continue;
      const float lse = of_row(t.in[4], i), *dout_row = &dout.at[i * w], *q_row = &q.at[i * w];
      products(q_row, kt.at.data(), w, p);
      products(dout_row, vt.at.data(), w, dp);
      for (int64_t j = 0; j < n; ++j) p[j] = exponential(p[j] * s.scale - lse);
      for (int64_t j = 0; j < n; ++j) dp[j] = p[j] * (dp[j] - delta[i]) * s.scale;
      for (int64_t j = 0; j < n; ++j)
        for (int64_t d = 0; d < w; ++d) {
          dq[i * w + d] += dp[j] * k.at[j * w + d];
          dk[j * w + d] += dp[j] * q_row[d];
          dv[j * w + d] += p[j] * dout_row[d];
        }
    }
  }
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
  back.text = nullptr;
  back.flops = flops<5>;
  return api->define(&back);
}
