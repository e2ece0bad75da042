#include "ops/conv/conv_cpu.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include "base/error.h"
#include "base/thread_pool.h"
#include "devices/cpu/gemm_kernels.h"
#include "devices/cpu/scratch.h"
#include "ops/conv/conv_geometry.h"
#include "ops/conv/conv_onednn.h"

namespace lamina::cpu {
namespace {

// Elements one piece of a conversion handles.
constexpr int64_t kConvertGrain = 1 << 15;

// dst[...] = view[...] row-major in the compute dtype T, over the pool.
template <class T>
void read_rows(const TensorView& view, T* dst) {
  const size_t axes = view.shape.size();
  const int64_t width = view.shape[axes - 1], stride = view.strides[axes - 1];
  const int64_t rows = width == 0 ? 0 : view.size() / width;
  const bool flat = view.contiguous();
  const PackLoop pack = gemm_kernels().pack[static_cast<int>(view.dtype)];
  const ConvertLoop widen = gemm_kernels().widen[static_cast<int>(view.dtype)];
  const int64_t size = itemsize(view.dtype);
  const int64_t grain = std::max<int64_t>(1, kConvertGrain / std::max<int64_t>(width, 1));
  parallel_for(rows, grain, [&](int64_t begin, int64_t end, int) {
    if (flat && widen) {
      widen(dst + begin * width, view.as<char>() + begin * width * size, (end - begin) * width);
      return;
    }
    for (int64_t r = begin; r < end; ++r) {
      int64_t rest = r, offset = 0;
      for (size_t axis = axes - 1; axis-- > 0;) {
        offset += rest % view.shape[axis] * view.strides[axis];
        rest /= view.shape[axis];
      }
      pack(dst + r * width, view.as<char>() + offset * size, stride, 0, width, width, 1);
    }
  });
}

// A view as a row-major array of T: itself, or a copy owned here.
template <class T>
class Dense {
 public:
  explicit Dense(const TensorView& view) : data_(view.as<T>()) {
    if (view.dtype == dtype_of<T> && view.contiguous()) return;
    copy_ = std::make_unique<Scratch>(view.size() * int64_t{sizeof(T)});
    read_rows(view, copy_->as<T>());
    data_ = copy_->as<T>();
  }
  const T* data() const { return data_; }

 private:
  const T* data_;
  std::unique_ptr<Scratch> copy_;
};

// Where results of type T go before they are rounded to the output's dtype.
template <class T>
class Result {
 public:
  explicit Result(const TensorView& out) : out_(out), data_(out.as<T>()) {
    if (out.dtype == dtype_of<T>) return;
    sums_ = std::make_unique<Scratch>(out.size() * int64_t{sizeof(T)});
    data_ = sums_->as<T>();
  }
  T* data() const { return data_; }
  void store() {
    if (!sums_) return;
    const ConvertLoop narrow = gemm_kernels().narrow[static_cast<int>(out_.dtype)];
    const int64_t size = itemsize(out_.dtype);
    parallel_for(out_.size(), kConvertGrain, [&](int64_t begin, int64_t end, int) {
      narrow(out_.as<char>() + begin * size, data_ + begin, end - begin);
    });
  }

 private:
  const TensorView& out_;
  T* data_;
  std::unique_ptr<Scratch> sums_;
};

void check_dtypes(const char* op, const TensorView& a, const TensorView& b, const TensorView& out) {
  if (a.dtype == b.dtype && a.dtype == out.dtype && is_floating(a.dtype)) return;
  throw DtypeError(std::string(op) + ": dtypes must be equal and floating: " + name_of(a.dtype) +
                   ", " + name_of(b.dtype) + " -> " + name_of(out.dtype));
}

// True when the sum has no terms or no results: the output was filled with zeros.
bool fill_empty(const ConvGeometry& g, const TensorView& out) {
  if (out.size() != 0 && g.flops() != 0) return false;
  std::memset(out.data, 0, static_cast<size_t>(out.size() * itemsize(out.dtype)));
  return true;
}

// Calls f(float{}) or f(double{}), the type convolutions of dtype d are summed in.
template <class F>
void dispatch_sums(Dtype d, F&& f) {
  if (d == Dtype::float64) return f(double{});
  f(float{});
}

template <class T>
void run(ConvKind kind, const ConvGeometry& g, const T* first, const T* second, T* out) {
  if constexpr (dtype_of<T> == Dtype::float32) {
    if (conv_by_library(kind, g, first, second, out)) return;
  }
  switch (kind) {
    case ConvKind::forward:
      return conv_forward_gemm<T>(g, first, second, out);
    case ConvKind::input:
      return conv_input_gemm<T>(g, first, second, out);
    case ConvKind::weight:
      return conv_weight_gemm<T>(g, first, second, out);
  }
}

// Brings the views to rows of the dtype that is summed in, and the result back.
void run_views(ConvKind kind, const ConvGeometry& g, const TensorView& first,
               const TensorView& second, const TensorView& out) {
  if (fill_empty(g, out)) return;
  dispatch_sums(out.dtype, [&](auto zero) {
    using T = decltype(zero);
    Dense<T> a(first), b(second);
    Result<T> result(out);
    run<T>(kind, g, a.data(), b.data(), result.data());
    result.store();
  });
}

}  // namespace

bool ConvGeometry::pointwise() const {
  const Extent ones{1, 1, 1}, zeros{0, 0, 0};
  return kernel == ones && stride == ones && input_dilation == ones && pad_lo == zeros && in == out;
}

std::string ConvGeometry::text() const {
  Shape input{batch}, weight{out_channels};
  for (int axis = 3 - spatial; axis < 3; ++axis) {
    input.push_back(in[static_cast<size_t>(axis)]);
    weight.push_back(kernel[static_cast<size_t>(axis)]);
  }
  input.push_back(in_channels);
  weight.push_back(group_in());
  return "conv: " + to_string(input) + " by " + to_string(weight);
}

ConvGeometry conv_geometry(const Shape& input, const Shape& weight, const Shape& output,
                           const ConvParams& params) {
  ConvGeometry g;
  const size_t axes = input.size() < 2 ? 0 : input.size() - 2;
  auto fail = [&](const std::string& fact) {
    return InternalError("conv: " + fact + ": " + to_string(input) + " by " + to_string(weight) +
                         " to " + to_string(output));
  };
  if (axes < 1 || axes > 3 || weight.size() != axes + 2 || output.size() != axes + 2)
    throw fail("not 1 to 3 spatial axes");
  for (const Shape* list : {&params.strides, &params.pad_lo, &params.pad_hi,
                            &params.kernel_dilation, &params.input_dilation})
    if (list->size() != axes) throw fail("a parameter lacks an axis");
  g.spatial = static_cast<int>(axes);
  g.batch = input[0];
  g.in_channels = input[axes + 1];
  g.out_channels = output[axes + 1];
  g.groups = params.groups;
  g.flip = params.flip;
  if (g.groups < 1 || g.in_channels % g.groups || g.out_channels % g.groups ||
      weight[0] != g.out_channels || weight[axes + 1] != g.group_in() || output[0] != g.batch)
    throw fail("channels or batches do not fit");
  for (size_t i = 0; i < axes; ++i) {
    size_t x = 3 - axes + i;
    g.in[x] = input[i + 1];
    g.out[x] = output[i + 1];
    g.kernel[x] = weight[i + 1];
    g.stride[x] = params.strides[i];
    g.pad_lo[x] = params.pad_lo[i];
    g.pad_hi[x] = params.pad_hi[i];
    g.kernel_dilation[x] = params.kernel_dilation[i];
    g.input_dilation[x] = params.input_dilation[i];
    if (g.stride[x] < 1 || g.kernel_dilation[x] < 1 || g.input_dilation[x] < 1)
      throw fail("strides and dilations must be at least 1");
  }
  return g;
}

void conv_general(const TensorView& input, const TensorView& weight, const TensorView& out,
                  const ConvParams& params) {
  check_dtypes("conv", input, weight, out);
  const ConvGeometry g = conv_geometry(input.shape, weight.shape, out.shape, params);
  run_views(ConvKind::forward, g, input, weight, out);
}

void conv_backward_input(const TensorView& cotangent, const TensorView& weight,
                         const TensorView& out, const ConvParams& params) {
  check_dtypes("conv gradient by input", cotangent, weight, out);
  const ConvGeometry g = conv_geometry(out.shape, weight.shape, cotangent.shape, params);
  run_views(ConvKind::input, g, cotangent, weight, out);
}

void conv_backward_weight(const TensorView& input, const TensorView& cotangent,
                          const TensorView& out, const ConvParams& params) {
  check_dtypes("conv gradient by weight", input, cotangent, out);
  const ConvGeometry g = conv_geometry(input.shape, out.shape, cotangent.shape, params);
  run_views(ConvKind::weight, g, input, cotangent, out);
}

}  // namespace lamina::cpu
