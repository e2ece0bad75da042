#include "ops/fft/fft_cpu.h"

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <string>

#include "base/thread_pool.h"
#include "devices/cpu/gemm_kernels.h"
#include "devices/cpu/scratch.h"
#include "ops/fft/fft_kernels.h"
#include "ops/fft/fft_plan.h"

namespace lamina::cpu {

namespace avx512 {
void fill(FftKernels& table);
}
namespace avx2 {
void fill(FftKernels& table);
}
namespace baseline {
void fill(FftKernels& table);
}

const FftKernels& fft_kernels() {
  static const FftKernels table = [] {
    FftKernels out{};
    [[maybe_unused]] const std::string isa = gemm_kernels().isa;
#if defined(__x86_64__)
    if (isa == "avx512") return avx512::fill(out), out;
    if (isa == "avx2") return avx2::fill(out), out;
#endif
    baseline::fill(out);
    return out;
  }();
  return table;
}

namespace {

// The points of one transform: i at i * step, in floats. A null pointer: zeros, or not wanted.
struct Points {
  float *re, *im;
  int64_t step;
  Points swapped() const { return {im, re, step}; }
};
using PointsOf = std::function<Points(int64_t transform)>;

constexpr int64_t kPointsAPiece = 1 << 13;  // of work for one thread, at least

FftLanes lanes_of(const PointsOf& of, int64_t begin, int64_t count) {
  FftLanes out{};
  out.count = static_cast<int>(count);
  bool neighbours = count == kTileLanes, rows = neighbours;
  for (int64_t l = 0; l < count; ++l) {
    const Points p = of(begin + l);
    out.re[l] = p.re;
    out.im[l] = p.im;
    out.step = p.step;
    rows = rows && p.re && p.im && p.step == 2 && std::abs(p.im - p.re) == 1;
    neighbours = neighbours && p.re && p.im && std::abs(p.im - p.re) == 1 &&
                 p.re - out.re[0] == 2 * l && p.im - out.im[0] == 2 * l;
  }
  out.side_by_side = neighbours;
  out.in_rows = rows;
  return out;
}

Scratch floats(int64_t count) { return Scratch(count * static_cast<int64_t>(sizeof(float))); }

void transform_tiles(int64_t n, int64_t count, const PointsOf& from, const PointsOf& to,
                     float scale) {
  auto plan = tile_plan(n);
  const int64_t tiles = (count + kTileLanes - 1) / kTileLanes;
  const int64_t grain = std::max<int64_t>(1, kPointsAPiece / (n * kTileLanes));
  parallel_for(tiles, grain, [&](int64_t begin, int64_t end, int) {
    const FftKernels& k = fft_kernels();
    Scratch memory = floats(2 * plan->room() * kTilePoint);
    float *tile = memory.as<float>(), *work = tile + plan->room() * kTilePoint;
    for (int64_t t = begin; t < end; ++t) {
      const int64_t first = t * kTileLanes, lanes = std::min(kTileLanes, count - first);
      k.load(tile, n, lanes_of(from, first, lanes));
      k.store(plan->run(tile, work), n, lanes_of(to, first, lanes), scale);
    }
  });
}

void transform_long(const LongPlan& plan, const Points& from, const Points& to, float scale);

// Columns of first points, second of them, each point turned; then the rows (Bailey's four steps).
void transform_split(const LongPlan& plan, const Points& from, const Points& to, float scale) {
  const int64_t first = plan.first, second = plan.second;
  Scratch between = floats(2 * plan.n);
  float* middle = between.as<float>();
  auto in_tiles = [](const TilePlan& tile_plan, int64_t count,
                     const std::function<void(int64_t, int64_t, float*, float*)>& body) {
    const int64_t grain = std::max<int64_t>(1, kPointsAPiece / (tile_plan.size() * kTileLanes));
    parallel_for((count + kTileLanes - 1) / kTileLanes, grain,
                 [&](int64_t begin, int64_t end, int) {
                   Scratch memory = floats(2 * tile_plan.room() * kTilePoint);
                   float* tile = memory.as<float>();
                   for (int64_t t = begin; t < end; ++t)
                     body(t * kTileLanes, std::min(kTileLanes, count - t * kTileLanes), tile,
                          tile + tile_plan.room() * kTilePoint);
                 });
  };
  auto shifted = [](float* p, int64_t by) { return p ? p + by : nullptr; };
  const FftKernels& k = fft_kernels();
  in_tiles(*plan.columns, second, [&](int64_t at, int64_t lanes, float* tile, float* work) {
    Scratch turns = floats(2 * first);
    for (int64_t i = 0; i < first; ++i) {
      const std::complex<double> w = plan.root(i * at);
      turns.as<float>()[2 * i] = static_cast<float>(w.real());
      turns.as<float>()[2 * i + 1] = static_cast<float>(w.imag());
    }
    auto column = [&](int64_t j) -> Points {
      return {shifted(from.re, j * from.step), shifted(from.im, j * from.step), second * from.step};
    };
    auto kept = [&](int64_t j) -> Points {
      return {middle + 2 * j, middle + 2 * j + 1, 2 * second};
    };
    k.load(tile, first, lanes_of(column, at, lanes));
    float* done = plan.columns->run(tile, work);
    k.turn(done, first, turns.as<float>(), plan.lanes.data());
    k.store(done, first, lanes_of(kept, at, lanes), 1.0f);
  });
  in_tiles(*plan.rows, first, [&](int64_t at, int64_t lanes, float* tile, float* work) {
    auto row = [&](int64_t i) -> Points {
      return {middle + 2 * i * second, middle + 2 * i * second + 1, 2};
    };
    auto result = [&](int64_t i) -> Points {
      return {shifted(to.re, i * to.step), shifted(to.im, i * to.step), first * to.step};
    };
    k.load(tile, second, lanes_of(row, at, lanes));
    k.store(plan.rows->run(tile, work), second, lanes_of(result, at, lanes), scale);
  });
}

// x[2 i], x[2 i + 1] times the complex number i.
void multiply(float* x, const float* by, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    const float re = x[2 * i], im = x[2 * i + 1];
    x[2 * i] = re * by[2 * i] - im * by[2 * i + 1];
    x[2 * i + 1] = re * by[2 * i + 1] + im * by[2 * i];
  }
}

// The convolution with a chirp (Bluestein). The inverse transform is a forward one read backwards.
void transform_chirp(const LongPlan& plan, const Points& from, const Points& to, float scale) {
  const int64_t n = plan.n, m = plan.inner->n;
  Scratch memory = floats(4 * m);
  float *x = memory.as<float>(), *y = x + 2 * m;
  parallel_for(m, kPointsAPiece, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      x[2 * i] = i < n && from.re ? from.re[i * from.step] : 0;
      x[2 * i + 1] = i < n && from.im ? from.im[i * from.step] : 0;
    }
    multiply(x, plan.chirp.data(), std::min(begin, n), std::min(end, n));
  });
  transform_long(*plan.inner, {x, x + 1, 2}, {y, y + 1, 2}, 1.0f);
  parallel_for(m, kPointsAPiece, [&](int64_t begin, int64_t end, int) {
    multiply(y, plan.spectrum.data(), begin, end);
  });
  transform_long(*plan.inner, {y, y + 1, 2}, {x, x + 1, 2}, 1.0f);
  parallel_for(n, kPointsAPiece, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const float *at = x + 2 * (i ? m - i : 0), *w = plan.chirp.data() + 2 * i;
      if (to.re) to.re[i * to.step] = (at[0] * w[0] - at[1] * w[1]) * scale;
      if (to.im) to.im[i * to.step] = (at[0] * w[1] + at[1] * w[0]) * scale;
    }
  });
}

void transform_long(const LongPlan& plan, const Points& from, const Points& to, float scale) {
  plan.inner ? transform_chirp(plan, from, to, scale) : transform_split(plan, from, to, scale);
}

// Transforms of n points each, forward. An inverse is one with real and imaginary parts swapped on
// both sides.
void transform(int64_t n, int64_t count, const PointsOf& from, const PointsOf& to, float scale) {
  const bool lines = count > 1 && (from(0).step == 2 || std::abs(from(1).re - from(0).re) <= 2);
  if (!is_long(n, count, lines)) {
    transform_tiles(n, count, from, to, scale);
    return;
  }
  auto plan = long_plan(n);
  auto each = [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) transform_long(*plan, from(i), to(i), scale);
  };
  // A few long ones are split inside.
  if (count < thread_count())
    each(0, count, 0);
  else
    parallel_for(count, std::max<int64_t>(1, kPointsAPiece / n), each);
}

// A view as transforms along its axis: where each begins.
struct Lines {
  float* data;
  Shape shape;
  Strides strides;
  int64_t step, floats;  // floats: in an element

  Lines(const TensorView& v, int64_t axis)
      : data(v.as<float>()),
        shape(v.shape),
        strides(v.strides),
        step(v.strides[static_cast<size_t>(axis)]),
        floats(v.dtype == Dtype::complex64 ? 2 : 1) {
    shape.erase(shape.begin() + axis);
    strides.erase(strides.begin() + axis);
  }
  int64_t count() const { return element_count(shape); }
  float* start(int64_t i) const {
    int64_t offset = 0;
    for (size_t d = shape.size(); d-- > 0; i /= shape[d]) offset += i % shape[d] * strides[d];
    return data + offset * floats;
  }
  Points complex(int64_t i) const {
    float* at = start(i);
    return {at, at + 1, 2 * step};
  }
  // Neighbouring real numbers as one complex number.
  Points pairs(int64_t i) const {
    float* at = start(i);
    return {at, at + step, 2 * step};
  }
  Points real(int64_t i) const { return {start(i), nullptr, step}; }
};

// body(transform, row of `width` complex numbers) in blocks whose rows stay within a few MB.
constexpr int64_t kBlockPoints = 1 << 19;

// body(row, begin, end) over the points [0, n) of each row, split over the pool.
void over_rows(int64_t rows, int64_t n,
               const std::function<void(int64_t, int64_t, int64_t)>& body) {
  if (rows == 1) {
    parallel_for(n, kPointsAPiece, [&](int64_t begin, int64_t end, int) { body(0, begin, end); });
    return;
  }
  parallel_for(rows, std::max<int64_t>(1, kPointsAPiece / std::max<int64_t>(n, 1)),
               [&](int64_t begin, int64_t end, int) {
                 for (int64_t r = begin; r < end; ++r) body(r, 0, n);
               });
}

// With z = transform of the pairs: X[k] and X[h - k] from z[k] and z[h - k].
void unpack_pairs(const float* z, int64_t h, const RealPlan& plan, const Points& to, float scale,
                  int64_t begin, int64_t end) {
  auto put = [&](int64_t k, float re, float im) {
    to.re[k * to.step] = re * scale;
    to.im[k * to.step] = im * scale;
  };
  for (int64_t k = begin; k < end; ++k) {
    if (k == 0) {
      put(0, z[0] + z[1], 0);
      put(h, z[0] - z[1], 0);
      continue;
    }
    const float *a = z + 2 * k, *b = z + 2 * (h - k), *w = plan.roots.data() + 2 * k;
    const float even_re = 0.5f * (a[0] + b[0]), even_im = 0.5f * (a[1] - b[1]);
    const float odd_re = 0.5f * (a[1] + b[1]), odd_im = 0.5f * (b[0] - a[0]);
    const float re = odd_re * w[0] - odd_im * w[1], im = odd_re * w[1] + odd_im * w[0];
    put(h - k, even_re - re, im - even_im);
    put(k, even_re + re, even_im + im);
  }
}

// Its inverse, up to a factor of 2: z[k] and z[h - k] from X[k] and X[h - k].
void pack_pairs(const Points& from, int64_t h, const RealPlan& plan, float* z, int64_t begin,
                int64_t end) {
  for (int64_t k = begin; k < end; ++k) {
    const int64_t p = k * from.step, q = (h - k) * from.step;
    if (k == 0) {
      z[0] = from.re[0] + from.re[q];
      z[1] = from.re[0] - from.re[q];
      continue;
    }
    const float* w = plan.roots.data() + 2 * k;
    const float even_re = from.re[p] + from.re[q], even_im = from.im[p] - from.im[q];
    const float gap_re = from.re[p] - from.re[q], gap_im = from.im[p] + from.im[q];
    const float odd_re = gap_re * w[0] + gap_im * w[1], odd_im = gap_im * w[0] - gap_re * w[1];
    z[2 * (h - k)] = even_re + odd_im;
    z[2 * (h - k) + 1] = odd_re - even_im;
    z[2 * k] = even_re - odd_im;
    z[2 * k + 1] = even_im + odd_re;
  }
}

}  // namespace

void fft(const TensorView& in, const TensorView& out, int64_t axis, bool inverse, double scale) {
  const Lines from(in, axis), to(out, axis);
  auto points = [inverse](const Lines& lines) -> PointsOf {
    return [&lines, inverse](int64_t i) {
      return inverse ? lines.complex(i).swapped() : lines.complex(i);
    };
  };
  if (out.size() > 0)
    transform(out.shape[static_cast<size_t>(axis)], from.count(), points(from), points(to),
              static_cast<float>(scale));
}

void rfft(const TensorView& in, const TensorView& out, int64_t axis, double scale) {
  if (out.size() == 0) return;
  const Lines from(in, axis), to(out, axis);
  const int64_t n = in.shape[static_cast<size_t>(axis)], h = n / 2;
  const bool even = n % 2 == 0;
  const int64_t width = even ? h : n, block = std::max<int64_t>(1, kBlockPoints / width);
  const auto factor = static_cast<float>(scale);
  auto plan = even ? real_plan(n) : nullptr;
  for (int64_t first = 0; first < from.count(); first += block) {
    const int64_t rows = std::min(block, from.count() - first);
    Scratch memory = floats(2 * rows * width);
    float* z = memory.as<float>();
    transform(
        width, rows, [&](int64_t i) { return even ? from.pairs(first + i) : from.real(first + i); },
        [&](int64_t i) -> Points {
          return {z + 2 * i * width, z + 2 * i * width + 1, 2};
        },
        1.0f);
    over_rows(rows, h / 2 + 1, [&](int64_t r, int64_t begin, int64_t end) {
      const Points line = to.complex(first + r);
      const float* row = z + 2 * r * width;
      if (even) return unpack_pairs(row, h, *plan, line, factor, begin, end);
      // The half of over_rows' points counts both ends here.
      for (int64_t k = begin; k < end; ++k)
        for (int64_t at : {k, h - k}) {
          line.re[at * line.step] = row[2 * at] * factor;
          line.im[at * line.step] = at ? row[2 * at + 1] * factor : 0;
        }
    });
  }
}

void irfft(const TensorView& in, const TensorView& out, int64_t axis, double scale) {
  if (out.size() == 0) return;
  const Lines from(in, axis), to(out, axis);
  const int64_t n = out.shape[static_cast<size_t>(axis)], h = n / 2;
  const bool even = n % 2 == 0;
  const int64_t width = even ? h : n, block = std::max<int64_t>(1, kBlockPoints / width);
  auto plan = even ? real_plan(n) : nullptr;
  for (int64_t first = 0; first < from.count(); first += block) {
    const int64_t rows = std::min(block, from.count() - first);
    Scratch memory = floats(2 * rows * width);
    float* z = memory.as<float>();
    over_rows(rows, even ? h / 2 + 1 : h + 1, [&](int64_t r, int64_t begin, int64_t end) {
      const Points line = from.complex(first + r);
      float* row = z + 2 * r * width;
      if (even) return pack_pairs(line, h, *plan, row, begin, end);
      for (int64_t k = begin; k < end; ++k) {
        const float re = line.re[k * line.step], im = k ? line.im[k * line.step] : 0;
        row[2 * k] = re;
        row[2 * k + 1] = im;
        if (k == 0) continue;
        row[2 * (n - k)] = re;
        row[2 * (n - k) + 1] = -im;
      }
    });
    transform(
        width, rows,
        [&](int64_t i) -> Points {
          return {z + 2 * i * width + 1, z + 2 * i * width, 2};
        },
        [&](int64_t i) { return (even ? to.pairs(first + i) : to.real(first + i)).swapped(); },
        static_cast<float>(scale));
  }
}

}  // namespace lamina::cpu
