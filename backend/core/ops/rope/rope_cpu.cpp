// Rotary positions on the CPU: sines and cosines of all positions first, which the heads share.
#include <vector>

#include "base/half.h"
#include "base/thread_pool.h"
#include "devices/cpu/blocks.h"
#include "devices/cpu/scratch.h"
#include "kernels/formulas.h"
#include "ops/rope/rope_call.h"

namespace lamina::cpu {
namespace {

constexpr int64_t kGrain = 2048;  // features of a block

// The elementwise row's own loop, so that angles are what the composition of rows gives.
void in_place(const char* row, float* x, int64_t n) {
  const void* source[] = {x};
  blocks().op[formula_id(row)][static_cast<int>(Dtype::float32)][0](x, source, n);
}

std::vector<float> rates_of(const RopeCall& c) {
  std::vector<float> out(static_cast<size_t>(c.half()));
  for (size_t i = 0; i < out.size(); ++i)
    out[i] = c.freqs >= 0
                 ? 1 / c.freqs_view.as<float>()[static_cast<int64_t>(i) * c.freqs_view.strides[0]]
                 : static_cast<float>(i) * c.log_rate();
  if (c.freqs < 0) in_place("exp", out.data(), c.half());
  return out;
}

// Cosines and sines of each example (or of one, for all), position and pair.
void fill_table(const RopeCall& c, int64_t examples, float* cosines, float* sines) {
  const int64_t half = c.half(), length = c.length();
  const std::vector<float> rates = rates_of(c);
  parallel_for(examples * length, 1 + kGrain / (8 * (half + 1)),
               [&](int64_t begin, int64_t end, int) {
                 for (int64_t r = begin; r < end; ++r) {
                   float start = static_cast<float>(c.how.offset);
                   if (c.offsets >= 0)
                     start = static_cast<float>(
                         c.offsets_view.as<int32_t>()[r / length * c.offsets_view.strides[0]]);
                   const float place =
                       (static_cast<float>(r % length) + start) * static_cast<float>(c.how.scale);
                   float *cosine = cosines + r * half, *sine = sines + r * half;
                   for (int64_t i = 0; i < half; ++i)
                     cosine[i] = sine[i] = place * rates[static_cast<size_t>(i)];
                   in_place("cos", cosine, half);
                   in_place("sin", sine, half);
                   for (int64_t i = 0; i < half && c.how.inverse; ++i) sine[i] = -sine[i];
                 }
               });
}

template <class T>
void turn(const RopeCall& c, const T* x, T* out, const float* cosines, const float* sines) {
  const int64_t half = c.half(), step = c.x.strides[3];
  const int64_t each = c.how.traditional ? 2 : 1, apart = c.how.traditional ? 1 : half;
  for (int64_t i = 0; i < half; ++i) {
    const int64_t at = i * each;
    const auto one = static_cast<float>(x[at * step]);
    const auto two = static_cast<float>(x[(at + apart) * step]);
    out[at] = static_cast<T>(one * cosines[i] - two * sines[i]);
    out[at + apart] = static_cast<T>(one * sines[i] + two * cosines[i]);
  }
  for (int64_t f = c.how.dims; f < c.width(); ++f) out[f] = x[f * step];
}

}  // namespace

void rope(const RopeCall& c) {
  if (c.out.size() == 0) return;
  const int64_t examples = c.offsets >= 0 ? c.batch() : 1, half = c.half();
  const int64_t entries = examples * c.length() * half;
  Scratch table(2 * entries * int64_t{sizeof(float)});
  float *cosines = table.as<float>(), *sines = cosines + entries;
  fill_table(c, examples, cosines, sines);
  dispatch(c.out.dtype, [&](auto zero) {
    using T = decltype(zero);
    if constexpr (dtype_of<T> == Dtype::float16 || dtype_of<T> == Dtype::bfloat16 ||
                  dtype_of<T> == Dtype::float32) {
      parallel_for(
          c.batch() * c.heads() * c.length(), 1 + kGrain / c.width(),
          [&](int64_t begin, int64_t end, int) {
            for (int64_t r = begin; r < end; ++r) {
              const int64_t t = r % c.length(), h = r / c.length() % c.heads();
              const int64_t b = r / c.length() / c.heads();
              const int64_t at = ((examples > 1 ? b : 0) * c.length() + t) * half;
              turn(c, c.x.as<T>() + b * c.x.strides[0] + h * c.x.strides[1] + t * c.x.strides[2],
                   c.out.as<T>() + r * c.width(), cosines + at, sines + at);
            }
          });
    }
  });
}

}  // namespace lamina::cpu
