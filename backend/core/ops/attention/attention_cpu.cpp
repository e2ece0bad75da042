// Attention on the CPU: a block of queries against all keys of its head at a time.
#include <algorithm>
#include <cmath>

#include "base/thread_pool.h"
#include "devices/cpu/scratch.h"
#include "ops/attention/attention_call.h"
#include "ops/matmul/matmul_cpu.h"
#include "ops/matmul/product.h"

namespace lamina::cpu {
namespace {

constexpr int64_t kQueries = 64;

// Rows [begin, end) of the last but one axis of matrix (i, j), or of its transpose.
TensorView rows_of(const TensorView& v, int64_t i, int64_t j, int64_t begin, int64_t end) {
  const int64_t at = i * v.strides[0] + j * v.strides[1] + begin * v.strides[2];
  return {v.as<char>() + at * itemsize(v.dtype),
          v.dtype,
          {end - begin, v.shape[3]},
          {v.strides[2], v.strides[3]}};
}

// Adds the mask to the scores of one query, or puts -inf where it says no.
void put_mask(const TensorView& mask, int64_t i, int64_t h, int64_t t, float* scores,
              int64_t keys) {
  dispatch(mask.dtype, [&](auto zero) {
    using T = decltype(zero);
    if constexpr (dtype_of<T> != Dtype::complex64) {
      const T* from =
          mask.as<T>() + i * mask.strides[0] + h * mask.strides[1] + t * mask.strides[2];
      for (int64_t j = 0; j < keys; ++j) {
        const T x = from[j * mask.strides[3]];
        if constexpr (dtype_of<T> == Dtype::bool_)
          scores[j] = x ? scores[j] : -INFINITY;
        else
          scores[j] += static_cast<float>(x);
      }
    }
  });
}

// In place; a sink takes its share.
void to_weights(float* x, int64_t n, const float* sink) {
  float top = sink ? *sink : -INFINITY;
  for (int64_t j = 0; j < n; ++j) top = std::max(top, x[j]);
  float total = sink ? std::exp(*sink - top) : 0;
  for (int64_t j = 0; j < n; ++j) total += x[j] = std::exp(x[j] - top);
  for (int64_t j = 0; j < n; ++j) x[j] /= total;
}

}  // namespace

void attention(const AttentionCall& c) {
  const int64_t keys = c.keys(), size = itemsize(c.out.dtype), each = c.heads() / c.groups();
  const int64_t width = c.v.shape[3];
  const bool narrow = c.out.dtype != Dtype::float32;
  Scratch memory(kQueries * keys * int64_t{sizeof(float)});
  Scratch rounded(narrow ? kQueries * keys * size : 0);
  for (int64_t i = 0; i < c.batch(); ++i)
    for (int64_t h = 0; h < c.heads(); ++h)
      for (int64_t t = 0; t < c.queries(); t += kQueries) {
        const int64_t count = std::min(kQueries, c.queries() - t), g = h / each;
        TensorView k = rows_of(c.k, i, g, 0, keys);
        std::swap(k.shape[0], k.shape[1]);
        std::swap(k.strides[0], k.strides[1]);
        TensorView scores{memory.as<void>(), Dtype::float32, {count, keys}, {keys, 1}};
        matmul(rows_of(c.q, i, h, t, t + count), k, scores);
        parallel_for(count, 1, [&](int64_t begin, int64_t end, int) {
          for (int64_t r = begin; r < end; ++r) {
            float* row = memory.as<float>() + r * keys;
            for (int64_t j = 0; j < keys; ++j) row[j] *= static_cast<float>(c.scale);
            if (c.causal)
              for (int64_t j = std::max<int64_t>(0, t + r + 1 + keys - c.queries()); j < keys; ++j)
                row[j] = -INFINITY;
            if (c.mask >= 0) put_mask(c.mask_view, i, h, t + r, row, keys);
            const float* sink = nullptr;
            if (c.sinks >= 0)
              sink = c.sinks_view.as<float>() + i * c.sinks_view.strides[0] +
                     h * c.sinks_view.strides[1];
            to_weights(row, keys, sink);
          }
        });
        TensorView weights = scores;
        if (narrow) {
          weights = {rounded.as<void>(), c.out.dtype, {count, keys}, {keys, 1}};
          store_product(rounded.as<char>(), c.out.dtype, memory.as<float>(), count * keys);
        }
        char* to = c.out.as<char>() + ((i * c.heads() + h) * c.queries() + t) * width * size;
        matmul(weights, rows_of(c.v, i, g, 0, keys), {to, c.out.dtype, {count, width}, {width, 1}});
      }
}

}  // namespace lamina::cpu
