#include "devices/proof.h"

#include <algorithm>
#include <cmath>
#include <complex>
#include <optional>
#include <string>
#include <type_traits>

#include "base/error.h"
#include "base/half.h"

namespace lamina {

namespace {

constexpr int kLooks = 40;
constexpr double kFloatRounding = 6e-8;  // 2^-24

using Number = std::complex<double>;

Number read(const void* data, Dtype dtype, int64_t at) {
  switch (dtype) {
    case Dtype::complex64:
      return static_cast<const std::complex<float>*>(data)[at];
    case Dtype::float16:
      return static_cast<float>(static_cast<const float16_t*>(data)[at]);
    case Dtype::bfloat16:
      return static_cast<float>(static_cast<const bfloat16_t*>(data)[at]);
    default:
      return static_cast<const float*>(data)[at];
  }
}

bool looked_at(Dtype d) {
  return d == Dtype::float32 || d == Dtype::float16 || d == Dtype::bfloat16 ||
         d == Dtype::complex64;
}

// A sum of products as it should be.
struct Sum {
  Number value;
  double size = 0;  // of the terms without their signs
  int64_t terms = 0;
  void add(Number x, Number y) {
    const Number term = x * y;
    value += term;
    size += std::abs(term);
    ++terms;
  }
};

class Verdict {
 public:
  explicit Verdict(Dtype dtype) : dtype_(dtype) {}
  // False: it is wrong.
  bool look(const Sum& sum, Number got) {
    const double length = std::abs(sum.value);
    if (!std::isfinite(length) || length > largest()) return true;
    if (sum.size == 0 && got == Number()) return true;
    seen_ = true;
    const double room = sum.size * kFloatRounding * (8 + 2 * static_cast<double>(sum.terms)) +
                        2 * rounding() * length + smallest();
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

using Memory = std::span<const void* const>;

// The first `axes` axes, counted through in row-major order.
int64_t count_of(const TensorView& v, size_t axes) {
  int64_t n = 1;
  for (size_t d = 0; d < axes; ++d) n *= v.shape[d];
  return n;
}
int64_t offset_of(const Shape& shape, const Strides& strides, size_t axes, int64_t number) {
  int64_t at = 0;
  for (size_t d = axes; d-- > 0; number /= shape[d]) at += number % shape[d] * strides[d];
  return at;
}

int64_t whole(const void* data, Dtype dtype, int64_t at) {
  return dispatch(dtype, [&](auto kind) -> int64_t {
    using T = decltype(kind);
    if constexpr (std::is_integral_v<T>)
      return static_cast<int64_t>(static_cast<const T*>(data)[at]);
    else
      throw InternalError(std::string("proof: numbers of dtype ") + name_of(dtype));
  });
}

// One product of the batch: where its matrices begin, and its part of the depth.
struct OneProduct {
  int64_t a = 0, b = 0, out = 0, begin = 0, end = 0;
};

class Products {
 public:
  Products(const TextProduct& p, Memory memory)
      : p_(p), memory_(memory), lead_(p.out.shape.size() - 2) {}

  Proof prove() const {
    Verdict verdict(p_.dtype);
    Places places;
    for (int i = 0; i < kLooks; ++i, places.look()) {
      const OneProduct at = product(places.next(count_of(p_.out, lead_)));
      const int64_t row = places.next(p_.out.shape[lead_]);
      const int64_t col = places.next(p_.out.shape[lead_ + 1]);
      Sum sum;
      for (int64_t k = at.begin; k < at.end; ++k)
        sum.add(element(p_.a, 0, at.a, row, k), element(p_.b, 1, at.b, k, col));
      if (!verdict.look(sum, element(p_.out, 2, at.out, row, col))) return Proof::fails;
    }
    return verdict.last();
  }

 private:
  Number element(const TensorView& v, size_t operand, int64_t at, int64_t i, int64_t j) const {
    const size_t rank = v.shape.size();
    return read(memory_[operand], v.dtype, at + i * v.strides[rank - 2] + j * v.strides[rank - 1]);
  }

  OneProduct product(int64_t z) const {
    const Shape& batch = p_.out.shape;
    OneProduct at;
    at.out = offset_of(batch, p_.out.strides, lead_, z);
    at.end = p_.a.shape.back();
    if (p_.segments) {
      const TensorView& s = *p_.segments;
      const int64_t first = offset_of(s.shape, s.strides, s.shape.size() - 1, z);
      auto cut = [&](int64_t place) {
        return std::clamp<int64_t>(whole(memory_[3], s.dtype, place), 0, p_.a.shape.back());
      };
      at.begin = cut(first);
      at.end = cut(first + s.strides.back());
    } else if (p_.a_numbers) {
      const auto a = numbered(p_.a, *p_.a_numbers, 3, z), b = numbered(p_.b, *p_.b_numbers, 4, z);
      if (!a || !b) at.end = 0;
      at.a = a.value_or(0);
      at.b = b.value_or(0);
    } else {
      at.a = offset_of(batch, p_.a.strides, lead_, z);
      at.b = offset_of(batch, p_.b.strides, lead_, z);
    }
    return at;
  }

  // Nothing: out of range.
  std::optional<int64_t> numbered(const TensorView& v, const TensorView& numbers, size_t operand,
                                  int64_t z) const {
    const size_t axes = v.shape.size() - 2;
    const int64_t count = count_of(v, axes);
    int64_t number = whole(memory_[operand], numbers.dtype,
                           offset_of(numbers.shape, numbers.strides, numbers.shape.size(), z));
    if (number < 0) number += count;
    if (number < 0 || number >= count) return std::nullopt;
    return offset_of(v.shape, v.strides, axes, number);
  }

  const TextProduct& p_;
  const Memory memory_;
  const size_t lead_;  // axes of the batch
};

TensorView view(const LibraryProduct& p, const LibraryProduct::Matrix& m, int64_t rows,
                int64_t cols) {
  return {nullptr,
          p.dtype,
          {p.batch, rows, cols},
          {m.batch_stride, m.transposed ? 1 : m.lead, m.transposed ? m.lead : 1}};
}

Proof prove(const TextProduct& p, Memory memory) { return Products(p, memory).prove(); }

Proof prove(const LibraryProduct& p, Memory memory) {
  return prove(TextProduct{p.dtype, view(p, p.a, p.rows, p.depth), view(p, p.b, p.depth, p.cols),
                           view(p, p.out, p.rows, p.cols)},
               memory);
}

// The three arrays of a convolution, and where their elements are.
struct Arrays3 {
  const LibraryConvolution& c;
  const void *input, *weight, *output;

  using Extent = LibraryConvolution::Extent;
  static int64_t at(const LibraryConvolution::Steps& steps, int64_t n, const Extent& position,
                    int64_t channel) {
    n = n * steps[0] + channel * steps[4];
    for (size_t d = 0; d < 3; ++d) n += position[d] * steps[d + 1];
    return n;
  }
  Number in(int64_t n, const Extent& x, int64_t channel) const {
    return read(input, c.dtype, at(c.in_steps, n, x, channel));
  }
  Number of(int64_t n, const Extent& y, int64_t filter) const {
    return read(output, c.dtype, at(c.out_steps, n, y, filter));
  }
  // The kernel as written in memory: a flipped one is met from its other end.
  Number tap(int64_t filter, Extent t, int64_t channel) const {
    if (c.flip)
      for (size_t d = 0; d < 3; ++d) t[d] = c.kernel[d] - 1 - t[d];
    return read(weight, c.dtype, at(c.kernel_steps, filter, t, channel));
  }
};

template <class F>
void each(const LibraryConvolution::Extent& size, F&& f) {
  for (int64_t i = 0; i < size[0]; ++i)
    for (int64_t j = 0; j < size[1]; ++j)
      for (int64_t k = 0; k < size[2]; ++k) f(LibraryConvolution::Extent{i, j, k});
}

// The input's place that tap t of output y meets; false: padding, or between elements.
bool meets(const LibraryConvolution& c, const LibraryConvolution::Extent& y,
           const LibraryConvolution::Extent& t, LibraryConvolution::Extent& x) {
  for (size_t d = 0; d < 3; ++d) {
    const int64_t from = y[d] * c.stride[d] - c.pad[d] + t[d] * c.dilation[d];
    x[d] = from / c.apart[d];
    if (from < 0 || from % c.apart[d] || x[d] >= c.in[d]) return false;
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
      const int64_t from = s.x[d] * c.apart[d] + c.pad[d] - t[d] * c.dilation[d];
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

Proof prove(const LibraryConvolution& c, Memory memory) {
  using Kind = LibraryConvolution::Kind;
  const void *first = memory[0], *second = memory[1], *out = memory[2];
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

Proof prove(const LibraryWork& work, std::span<const void* const> memory) {
  return std::visit(
      [&](const auto& what) { return looked_at(what.dtype) ? prove(what, memory) : Proof::holds; },
      work.what);
}

int64_t flops_of(const LibraryWork& work) {
  if (auto* p = std::get_if<LibraryProduct>(&work.what))
    return 2 * p->rows * p->cols * p->depth * p->batch;
  if (auto* p = std::get_if<TextProduct>(&work.what)) {
    const size_t last = p->out.shape.size() - 1;
    const int64_t results =
        p->segments ? p->out.shape[last - 1] * p->out.shape[last] : p->out.size();
    return 2 * results * p->a.shape.back();
  }
  const auto& c = std::get<LibraryConvolution>(work.what);
  auto count = [](const LibraryConvolution::Extent& e) { return e[0] * e[1] * e[2]; };
  return 2 * c.batch * count(c.out) * count(c.kernel) * c.filters * (c.channels / c.groups);
}

}  // namespace lamina
