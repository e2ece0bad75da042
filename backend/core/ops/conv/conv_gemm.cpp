// Convolution as matrix products: the patches that a stretch of output positions sees are gathered
// into the rows of a matrix that stays in the cache.
#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/thread_pool.h"
#include "devices/cpu/scratch.h"
#include "ops/conv/conv_geometry.h"
#include "ops/matmul/product.h"

namespace lamina::cpu {
namespace {

constexpr int64_t kPatchBytes = 1 << 20;
constexpr int64_t kParallelFlops = 1'000'000;

// Where tap `tap` of output position `o` falls on one axis: the input index, or -1 outside.
inline int64_t source_index(const ConvGeometry& g, int axis, int64_t o, int64_t tap) {
  size_t x = static_cast<size_t>(axis);
  int64_t at = o * g.stride[x] + tap * g.kernel_dilation[x] - g.pad_lo[x];
  if (at < 0) return -1;
  if (g.input_dilation[x] != 1) {
    if (at % g.input_dilation[x] != 0) return -1;
    at /= g.input_dilation[x];
  }
  return at < g.in[x] ? at : -1;
}

// Output position of a flattened row.
struct Position {
  int64_t image, d, h, w;
};

Position position_of(const ConvGeometry& g, int64_t row) {
  Position p;
  p.w = row % g.out[2];
  row /= g.out[2];
  p.h = row % g.out[1];
  row /= g.out[1];
  p.d = row % g.out[0];
  p.image = row / g.out[0];
  return p;
}

void advance(const ConvGeometry& g, Position* p) {
  if (++p->w < g.out[2]) return;
  p->w = 0;
  if (++p->h < g.out[1]) return;
  p->h = 0;
  if (++p->d < g.out[0]) return;
  p->d = 0;
  ++p->image;
}

template <class T>
inline void copy_run(T* dst, const T* src, int64_t n) {
  if (n > 16) {
    std::memcpy(dst, src, static_cast<size_t>(n) * sizeof(T));
  } else {
    for (int64_t i = 0; i < n; ++i) dst[i] = src[i];
  }
}

// Calls f(offset in the patch, offset in the input or -1, elements) for every stretch of the patch
// of one group that is contiguous in both.
template <class F>
inline void for_each_run(const ConvGeometry& g, const Position& p, int64_t group, F&& f) {
  const int64_t channels = g.group_in();
  const int64_t kw = g.kernel[2];
  const bool dense =
      g.groups == 1 && g.kernel_dilation[2] == 1 && g.input_dilation[2] == 1 && !g.flip;
  int64_t tap = 0;
  for (int64_t kd = 0; kd < g.kernel[0]; ++kd) {
    int64_t d = source_index(g, 0, p.d, kd);
    for (int64_t kh = 0; kh < g.kernel[1]; ++kh, tap += kw) {
      int64_t h = d < 0 ? -1 : source_index(g, 1, p.h, kh);
      auto slot = [&](int64_t q) {
        return (g.flip ? g.taps() - 1 - (tap + q) : tap + q) * channels;
      };
      if (h < 0) {
        int64_t first = g.flip ? slot(kw - 1) : slot(0);
        f(first, int64_t{-1}, kw * channels);
        continue;
      }
      int64_t line = ((p.image * g.in[0] + d) * g.in[1] + h) * g.in[2];
      if (dense) {
        int64_t w = p.w * g.stride[2] - g.pad_lo[2];
        int64_t lo = std::min(kw, std::max<int64_t>(0, -w));
        int64_t hi = std::max(lo, std::min(kw, g.in[2] - w));
        if (lo > 0) f(slot(0), int64_t{-1}, lo * channels);
        if (hi > lo) f(slot(lo), (line + w + lo) * channels, (hi - lo) * channels);
        if (hi < kw) f(slot(hi), int64_t{-1}, (kw - hi) * channels);
        continue;
      }
      for (int64_t q = 0; q < kw; ++q) {
        int64_t w = source_index(g, 2, p.w, q);
        f(slot(q), w < 0 ? -1 : (line + w) * g.in_channels + group * channels, channels);
      }
    }
  }
}

template <class T>
void gather_patches(const ConvGeometry& g, int64_t group, const T* input, int64_t row0,
                    int64_t rows, T* patches) {
  const int64_t width = g.taps() * g.group_in();
  Position p = position_of(g, row0);
  for (int64_t r = 0; r < rows; ++r, patches += width, advance(g, &p)) {
    for_each_run(g, p, group, [&](int64_t at, int64_t from, int64_t n) {
      if (from < 0) {
        std::memset(patches + at, 0, static_cast<size_t>(n) * sizeof(T));
      } else {
        copy_run(patches + at, input + from, n);
      }
    });
  }
}

template <class T>
void scatter_patches(const ConvGeometry& g, int64_t group, const T* patches, int64_t row0,
                     int64_t rows, T* out) {
  const int64_t width = g.taps() * g.group_in();
  Position p = position_of(g, row0);
  for (int64_t r = 0; r < rows; ++r, patches += width, advance(g, &p)) {
    for_each_run(g, p, group, [&](int64_t at, int64_t to, int64_t n) {
      if (to < 0) return;
      for (int64_t i = 0; i < n; ++i) out[to + i] += patches[at + i];
    });
  }
}

// Groups of one channel leave nothing to multiply as matrices; their loops run along the channels,
// over weights brought to [taps, channels].
template <class T>
void turn_weights(const ConvGeometry& g, const T* weight, T* turned) {
  const int64_t taps = g.taps();
  for (int64_t o = 0; o < g.out_channels; ++o)
    for (int64_t t = 0; t < taps; ++t) turned[t * g.out_channels + o] = weight[o * taps + t];
}

// visit(row, slot of the tap's weight, offset of the input position) for every tap inside the
// input.
template <class F>
void for_each_tap(const ConvGeometry& g, int64_t row0, int64_t rows, F&& visit) {
  Position p = position_of(g, row0);
  for (int64_t r = row0; r < row0 + rows; ++r, advance(g, &p)) {
    int64_t tap = 0;
    for (int64_t kd = 0; kd < g.kernel[0]; ++kd) {
      int64_t d = source_index(g, 0, p.d, kd);
      for (int64_t kh = 0; kh < g.kernel[1]; ++kh) {
        int64_t h = d < 0 ? -1 : source_index(g, 1, p.h, kh);
        for (int64_t kw = 0; kw < g.kernel[2]; ++kw, ++tap) {
          int64_t w = h < 0 ? -1 : source_index(g, 2, p.w, kw);
          if (w < 0) continue;
          int64_t at = ((p.image * g.in[0] + d) * g.in[1] + h) * g.in[2] + w;
          visit(r, g.flip ? g.taps() - 1 - tap : tap, at * g.in_channels);
        }
      }
    }
  }
}

bool depthwise(const ConvGeometry& g) {
  return g.groups > 1 && g.group_in() == 1 && g.group_out() == 1;
}

// Gradient by weight of rows [begin, end).
template <class T>
void weight_depthwise(const ConvGeometry& g, const T* input, const T* cotangent, int64_t begin,
                      int64_t end, T* out) {
  const int64_t channels = g.out_channels, taps = g.taps();
  Scratch turned(g.weight_size() * int64_t{sizeof(T)});
  T* sums = turned.as<T>();
  std::memset(sums, 0, static_cast<size_t>(g.weight_size()) * sizeof(T));
  for_each_tap(g, begin, end - begin, [&](int64_t r, int64_t tap, int64_t at) {
    const T* dy = cotangent + r * channels;
    for (int64_t c = 0; c < channels; ++c) sums[tap * channels + c] += dy[c] * input[at + c];
  });
  for (int64_t o = 0; o < channels; ++o)
    for (int64_t t = 0; t < taps; ++t) out[o * taps + t] = sums[t * channels + o];
}

template <class T>
int64_t chunk_rows(const ConvGeometry& g) {
  int64_t bytes = std::max<int64_t>(1, g.taps() * g.group_in()) * int64_t{sizeof(T)};
  return std::max<int64_t>(32, kPatchBytes / bytes);
}

// Pieces of `n` units for work of g.flops().
int64_t piece_size(const ConvGeometry& g, int64_t n) {
  if (g.flops() < kParallelFlops) return n;
  int64_t pieces = 2 * thread_count();
  return std::max<int64_t>(1, (n + pieces - 1) / pieces);
}

// Rows of patches as a factor; pointwise convolutions read the input itself.
template <class T>
Factor patch_factor(const ConvGeometry& g, int64_t group, const T* input, int64_t row0,
                    int64_t rows, T* patches) {
  if (g.pointwise())
    return {input + row0 * g.in_channels + group * g.group_in(), dtype_of<T>, g.in_channels, 1};
  gather_patches(g, group, input, row0, rows, patches);
  return {patches, dtype_of<T>, g.taps() * g.group_in(), 1};
}

}  // namespace

template <class T>
void conv_forward_gemm(const ConvGeometry& g, const T* input, const T* weight, T* out) {
  const int64_t rows = g.batch * g.out_positions(), width = g.taps() * g.group_in();
  const int64_t step = chunk_rows<T>(g);
  if (depthwise(g)) {
    const int64_t channels = g.out_channels;
    Scratch turned(g.weight_size() * int64_t{sizeof(T)});
    turn_weights(g, weight, turned.as<T>());
    parallel_for(rows, piece_size(g, rows), [&](int64_t begin, int64_t end, int) {
      std::memset(out + begin * channels, 0,
                  static_cast<size_t>((end - begin) * channels) * sizeof(T));
      for_each_tap(g, begin, end - begin, [&](int64_t r, int64_t tap, int64_t at) {
        T* to = out + r * channels;
        const T* w = turned.as<T>() + tap * channels;
        for (int64_t c = 0; c < channels; ++c) to[c] += input[at + c] * w[c];
      });
    });
    return;
  }
  parallel_for(rows, piece_size(g, rows), [&](int64_t begin, int64_t end, int) {
    Scratch patches(g.pointwise() ? 0 : std::min(step, end - begin) * width * int64_t{sizeof(T)});
    for (int64_t r = begin; r < end; r += step) {
      int64_t count = std::min(step, end - r);
      for (int64_t group = 0; group < g.groups; ++group) {
        Factor a = patch_factor(g, group, input, r, count, patches.as<T>());
        Factor w{weight + group * g.group_out() * width, dtype_of<T>, 1, width};
        product({a, w, count, g.group_out(), width},
                out + r * g.out_channels + group * g.group_out(), g.out_channels);
      }
    }
  });
}

template <class T>
void conv_input_gemm(const ConvGeometry& g, const T* cotangent, const T* weight, T* out) {
  const int64_t width = g.taps() * g.group_in(), positions = g.out_positions();
  const int64_t step = chunk_rows<T>(g);
  // Positions of one image overlap in the input, images do not.
  parallel_for(g.batch, piece_size(g, g.batch), [&](int64_t begin, int64_t end, int) {
    const int64_t image = g.in_positions() * g.in_channels;
    std::memset(out + begin * image, 0, static_cast<size_t>((end - begin) * image) * sizeof(T));
    if (depthwise(g)) {
      const int64_t channels = g.out_channels;
      Scratch turned(g.weight_size() * int64_t{sizeof(T)});
      turn_weights(g, weight, turned.as<T>());
      for_each_tap(g, begin * positions, (end - begin) * positions,
                   [&](int64_t r, int64_t tap, int64_t at) {
                     const T* dy = cotangent + r * channels;
                     const T* w = turned.as<T>() + tap * channels;
                     for (int64_t c = 0; c < channels; ++c) out[at + c] += dy[c] * w[c];
                   });
      return;
    }
    Scratch patches(std::min(step, (end - begin) * positions) * width * int64_t{sizeof(T)});
    for (int64_t r = begin * positions; r < end * positions; r += step) {
      int64_t count = std::min(step, end * positions - r);
      for (int64_t group = 0; group < g.groups; ++group) {
        Factor a{cotangent + r * g.out_channels + group * g.group_out(), dtype_of<T>,
                 g.out_channels, 1};
        Factor w{weight + group * g.group_out() * width, dtype_of<T>, width, 1};
        product({a, w, count, width, g.group_out()}, patches.as<T>(), width);
        scatter_patches(g, group, patches.as<T>(), r, count, out);
      }
    }
  });
}

template <class T>
void conv_weight_gemm(const ConvGeometry& g, const T* input, const T* cotangent, T* out) {
  const int64_t rows = g.batch * g.out_positions(), width = g.taps() * g.group_in();
  const int64_t step = chunk_rows<T>(g);
  const int64_t piece = std::max<int64_t>(1, piece_size(g, rows));
  const int64_t pieces = (rows + piece - 1) / piece;
  Scratch partial(pieces * g.weight_size() * int64_t{sizeof(T)});
  T* sums = partial.as<T>();
  parallel_for(pieces, 1, [&](int64_t first_piece, int64_t last_piece, int) {
    for (int64_t i = first_piece; i < last_piece; ++i) {
      int64_t begin = i * piece, end = std::min(begin + piece, rows);
      if (depthwise(g)) {
        weight_depthwise(g, input, cotangent, begin, end, sums + i * g.weight_size());
        continue;
      }
      Scratch patches(g.pointwise() ? 0 : std::min(step, end - begin) * width * int64_t{sizeof(T)});
      for (int64_t r = begin; r < end; r += step) {
        int64_t count = std::min(step, end - r);
        for (int64_t group = 0; group < g.groups; ++group) {
          Factor a{cotangent + r * g.out_channels + group * g.group_out(), dtype_of<T>, 1,
                   g.out_channels};
          Factor b = patch_factor(g, group, input, r, count, patches.as<T>());
          product({a, b, g.group_out(), width, count},
                  sums + i * g.weight_size() + group * g.group_out() * width, width, r > begin);
        }
      }
    }
  });
  const int64_t size = g.weight_size();
  parallel_for(size, std::max<int64_t>(1, 65536 / std::max<int64_t>(pieces, 1)),
               [&](int64_t begin, int64_t end, int) {
                 for (int64_t j = begin; j < end; ++j) {
                   T total = sums[j];
                   for (int64_t i = 1; i < pieces; ++i) total += sums[i * size + j];
                   out[j] = total;
                 }
               });
}

template void conv_forward_gemm(const ConvGeometry&, const float*, const float*, float*);
template void conv_forward_gemm(const ConvGeometry&, const double*, const double*, double*);
template void conv_input_gemm(const ConvGeometry&, const float*, const float*, float*);
template void conv_input_gemm(const ConvGeometry&, const double*, const double*, double*);
template void conv_weight_gemm(const ConvGeometry&, const float*, const float*, float*);
template void conv_weight_gemm(const ConvGeometry&, const double*, const double*, double*);

}  // namespace lamina::cpu
