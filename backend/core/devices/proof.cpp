#include "devices/proof.h"

#include <algorithm>
#include <cmath>

#include "base/half.h"

namespace lamina {

namespace {

constexpr int kLooks = 40;
constexpr double kFloatRounding = 6e-8;  // 2^-24

double read(const void* data, Dtype dtype, int64_t at) {
  switch (dtype) {
    case Dtype::float16:
      return static_cast<float>(static_cast<const float16_t*>(data)[at]);
    case Dtype::bfloat16:
      return static_cast<float>(static_cast<const bfloat16_t*>(data)[at]);
    default:
      return static_cast<const float*>(data)[at];
  }
}

bool looked_at(Dtype d) {
  return d == Dtype::float32 || d == Dtype::float16 || d == Dtype::bfloat16;
}

// A sum of products as it should be.
struct Sum {
  double value = 0, size = 0;  // size: of the terms without their signs
  int64_t terms = 0;
  void add(double x, double y) {
    value += x * y;
    size += std::abs(x * y);
    ++terms;
  }
};

class Verdict {
 public:
  explicit Verdict(Dtype dtype) : dtype_(dtype) {}
  // False: it is wrong.
  bool look(const Sum& sum, double got) {
    if (!std::isfinite(sum.value) || std::abs(sum.value) > largest()) return true;
    if (sum.size == 0 && got == 0) return true;
    seen_ = true;
    const double room = sum.size * kFloatRounding * (8 + 2 * static_cast<double>(sum.terms)) +
                        2 * rounding() * std::abs(sum.value) + smallest();
    return std::abs(got - sum.value) <= room;
  }
  Proof last() const { return seen_ ? Proof::holds : Proof::unseen; }

 private:
  double rounding() const {
    return dtype_ == Dtype::float16 ? 5e-4 : dtype_ == Dtype::bfloat16 ? 4e-3 : kFloatRounding;
  }
  double largest() const { return dtype_ == Dtype::float16 ? 6e4 : 1e38; }
  double smallest() const { return dtype_ == Dtype::float16 ? 1e-7 : 1e-37; }

  const Dtype dtype_;
  bool seen_ = false;
};

// Places all over an extent, its ends first: tiles go wrong at their edges.
class Places {
 public:
  int64_t next(int64_t size) {
    state_ = state_ * 6364136223846793005ULL + 1442695040888963407ULL;
    if (look_ == 0) return 0;
    if (look_ == 1) return size - 1;
    return static_cast<int64_t>((state_ >> 33) % static_cast<uint64_t>(size));
  }
  void look() { ++look_; }

 private:
  uint64_t state_ = 1;
  int look_ = 0;
};

int64_t place(const LibraryProduct::Matrix& m, int64_t z, int64_t row, int64_t col) {
  return z * m.batch_stride + (m.transposed ? col * m.lead + row : row * m.lead + col);
}

Proof prove(const LibraryProduct& p, const void* a, const void* b, const void* out) {
  Verdict verdict(p.dtype);
  Places places;
  for (int i = 0; i < kLooks; ++i, places.look()) {
    const int64_t z = places.next(p.batch), row = places.next(p.rows), col = places.next(p.cols);
    Sum sum;
    for (int64_t k = 0; k < p.depth; ++k)
      sum.add(read(a, p.dtype, place(p.a, z, row, k)), read(b, p.dtype, place(p.b, z, k, col)));
    if (!verdict.look(sum, read(out, p.dtype, place(p.out, z, row, col)))) return Proof::fails;
  }
  return verdict.last();
}

// The three arrays of a convolution, and where their elements are.
struct Arrays3 {
  const LibraryConvolution& c;
  const void *input, *weight, *output;

  using Extent = LibraryConvolution::Extent;
  int64_t at(int64_t n, const Extent& position, const Extent& size, int64_t channels,
             int64_t channel) const {
    for (size_t d = 0; d < 3; ++d) n = n * size[d] + position[d];
    return n * channels + channel;
  }
  double in(int64_t n, const Extent& x, int64_t channel) const {
    return read(input, c.dtype, at(n, x, c.in, c.channels, channel));
  }
  double of(int64_t n, const Extent& y, int64_t filter) const {
    return read(output, c.dtype, at(n, y, c.out, c.filters, filter));
  }
  // The kernel as written in memory: a flipped one is met from its other end.
  double tap(int64_t filter, Extent t, int64_t channel) const {
    if (c.flip)
      for (size_t d = 0; d < 3; ++d) t[d] = c.kernel[d] - 1 - t[d];
    return read(weight, c.dtype, at(filter, t, c.kernel, c.channels / c.groups, channel));
  }
};

template <class F>
void each(const LibraryConvolution::Extent& size, F&& f) {
  for (int64_t i = 0; i < size[0]; ++i)
    for (int64_t j = 0; j < size[1]; ++j)
      for (int64_t k = 0; k < size[2]; ++k) f(LibraryConvolution::Extent{i, j, k});
}

// The input's place that tap t of output y meets; false: padding.
bool meets(const LibraryConvolution& c, const LibraryConvolution::Extent& y,
           const LibraryConvolution::Extent& t, LibraryConvolution::Extent& x) {
  for (size_t d = 0; d < 3; ++d) {
    x[d] = y[d] * c.stride[d] - c.pad[d] + t[d] * c.dilation[d];
    if (x[d] < 0 || x[d] >= c.in[d]) return false;
  }
  return true;
}

struct Spot {
  int64_t n, filter, channel;  // channel: of the whole input
  LibraryConvolution::Extent x, y, t;
};

Sum forward(const Arrays3& arrays, const Spot& s) {
  const LibraryConvolution& c = arrays.c;
  const int64_t per_group = c.channels / c.groups, group = s.filter / (c.filters / c.groups);
  Sum sum;
  each(c.kernel, [&](const LibraryConvolution::Extent& t) {
    LibraryConvolution::Extent x;
    if (!meets(c, s.y, t, x)) return;
    for (int64_t k = 0; k < per_group; ++k)
      sum.add(arrays.in(s.n, x, group * per_group + k), arrays.tap(s.filter, t, k));
  });
  return sum;
}

Sum input_gradient(const Arrays3& arrays, const Spot& s) {
  const LibraryConvolution& c = arrays.c;
  const int64_t per_group = c.channels / c.groups, filters = c.filters / c.groups;
  const int64_t group = s.channel / per_group;
  Sum sum;
  each(c.kernel, [&](const LibraryConvolution::Extent& t) {
    LibraryConvolution::Extent y;
    for (size_t d = 0; d < 3; ++d) {
      const int64_t from = s.x[d] + c.pad[d] - t[d] * c.dilation[d];
      if (from < 0 || from % c.stride[d] || from / c.stride[d] >= c.out[d]) return;
      y[d] = from / c.stride[d];
    }
    for (int64_t f = group * filters; f < (group + 1) * filters; ++f)
      sum.add(arrays.of(s.n, y, f), arrays.tap(f, t, s.channel % per_group));
  });
  return sum;
}

Sum weight_gradient(const Arrays3& arrays, const Spot& s) {
  const LibraryConvolution& c = arrays.c;
  const int64_t per_group = c.channels / c.groups, group = s.filter / (c.filters / c.groups);
  Sum sum;
  for (int64_t n = 0; n < c.batch; ++n)
    each(c.out, [&](const LibraryConvolution::Extent& y) {
      LibraryConvolution::Extent x;
      if (meets(c, y, s.t, x))
        sum.add(arrays.in(n, x, group * per_group + s.channel % per_group),
                arrays.of(n, y, s.filter));
    });
  return sum;
}

Proof prove(const LibraryConvolution& c, const void* first, const void* second, const void* out) {
  using Kind = LibraryConvolution::Kind;
  const Arrays3 arrays{c, c.kind == Kind::input_gradient ? out : first,
                       c.kind == Kind::weight_gradient ? out : second,
                       c.kind == Kind::forward          ? out
                       : c.kind == Kind::input_gradient ? first
                                                        : second};
  Verdict verdict(c.dtype);
  Places places;
  const int looks = c.kind == Kind::weight_gradient ? kLooks / 4 : kLooks;
  for (int i = 0; i < looks; ++i, places.look()) {
    Spot s{places.next(c.batch), places.next(c.filters), places.next(c.channels), {}, {}, {}};
    for (size_t d = 0; d < 3; ++d) {
      s.x[d] = places.next(c.in[d]);
      s.y[d] = places.next(c.out[d]);
      s.t[d] = places.next(c.kernel[d]);
    }
    const bool right =
        c.kind == Kind::forward ? verdict.look(forward(arrays, s), arrays.of(s.n, s.y, s.filter))
        : c.kind == Kind::input_gradient
            ? verdict.look(input_gradient(arrays, s), arrays.in(s.n, s.x, s.channel))
            : verdict.look(weight_gradient(arrays, s),
                           arrays.tap(s.filter, s.t, s.channel % (c.channels / c.groups)));
    if (!right) return Proof::fails;
  }
  return verdict.last();
}

}  // namespace

Proof prove(const LibraryWork& work, const void* first, const void* second, const void* out) {
  return std::visit(
      [&](const auto& what) {
        return looked_at(what.dtype) ? prove(what, first, second, out) : Proof::holds;
      },
      work.what);
}

int64_t flops_of(const LibraryWork& work) {
  if (auto* p = std::get_if<LibraryProduct>(&work.what))
    return 2 * p->rows * p->cols * p->depth * p->batch;
  const auto& c = std::get<LibraryConvolution>(work.what);
  auto count = [](const LibraryConvolution::Extent& e) { return e[0] * e[1] * e[2]; };
  return 2 * c.batch * count(c.out) * count(c.kernel) * c.filters * (c.channels / c.groups);
}

}  // namespace lamina
