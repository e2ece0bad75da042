#include "devices/cuda/convolutions.h"

#include <algorithm>
#include <vector>

#include "base/error.h"

namespace lamina::cuda {

namespace {

using Kind = LibraryConvolution::Kind;

// --- the library's interface, after its documentation --------------------------------------------
using Status = int;  // cudnnStatus_t; 0 is success
struct HandleObject;
struct TensorObject;
struct FilterObject;
struct ConvolutionObject;
using DnnHandle = HandleObject*;
using Tensor = TensorObject*;
using Filter = FilterObject*;
using Convolution = ConvolutionObject*;

// One row of what the library measured, fastest first; alike for the three directions.
struct Found {
  int algorithm;
  Status status;
  float ms;
  size_t workspace;
  int deterministic;
  int math;
  int reserved[3];
};

#define LAMINA_CUDNN_FUNCTIONS(F)                                                               \
  F(Status, create, "cudnnCreate", (DnnHandle*))                                                \
  F(size_t, version, "cudnnGetVersion", ())                                                     \
  F(const char*, status_text, "cudnnGetErrorString", (Status))                                  \
  F(Status, set_stream, "cudnnSetStream", (DnnHandle, Stream))                                  \
  F(Status, tensor_create, "cudnnCreateTensorDescriptor", (Tensor*))                            \
  F(Status, tensor_set, "cudnnSetTensorNdDescriptorEx", (Tensor, int, int, int, const int*))    \
  F(Status, tensor_destroy, "cudnnDestroyTensorDescriptor", (Tensor))                           \
  F(Status, filter_create, "cudnnCreateFilterDescriptor", (Filter*))                            \
  F(Status, filter_set, "cudnnSetFilterNdDescriptor", (Filter, int, int, int, const int*))      \
  F(Status, filter_destroy, "cudnnDestroyFilterDescriptor", (Filter))                           \
  F(Status, convolution_create, "cudnnCreateConvolutionDescriptor", (Convolution*))             \
  F(Status, convolution_set, "cudnnSetConvolutionNdDescriptor",                                 \
    (Convolution, int, const int*, const int*, const int*, int, int))                           \
  F(Status, convolution_groups, "cudnnSetConvolutionGroupCount", (Convolution, int))            \
  F(Status, convolution_math, "cudnnSetConvolutionMathType", (Convolution, int))                \
  F(Status, convolution_destroy, "cudnnDestroyConvolutionDescriptor", (Convolution))            \
  F(Status, find_forward, "cudnnFindConvolutionForwardAlgorithm",                               \
    (DnnHandle, Tensor, Filter, Convolution, Tensor, int, int*, Found*))                        \
  F(Status, find_input, "cudnnFindConvolutionBackwardDataAlgorithm",                            \
    (DnnHandle, Filter, Tensor, Convolution, Tensor, int, int*, Found*))                        \
  F(Status, find_weight, "cudnnFindConvolutionBackwardFilterAlgorithm",                         \
    (DnnHandle, Tensor, Tensor, Convolution, Filter, int, int*, Found*))                        \
  F(Status, forward, "cudnnConvolutionForward",                                                 \
    (DnnHandle, const void*, Tensor, const void*, Filter, const void*, Convolution, int, void*, \
     size_t, const void*, Tensor, void*))                                                       \
  F(Status, input_gradient, "cudnnConvolutionBackwardData",                                     \
    (DnnHandle, const void*, Filter, const void*, Tensor, const void*, Convolution, int, void*, \
     size_t, const void*, Tensor, void*))                                                       \
  F(Status, weight_gradient, "cudnnConvolutionBackwardFilter",                                  \
    (DnnHandle, const void*, Tensor, const void*, Tensor, const void*, Convolution, int, void*, \
     size_t, const void*, Filter, void*))

constexpr int kChannelsLast = 1;             // cudnnTensorFormat_t
constexpr int kMirrored = 0, kAsIs = 1;      // cudnnConvolutionMode_t
constexpr int kTensorCores = 1, kPlain = 3;  // cudnnMathType_t; plain: no TF32
constexpr int kMostAlgorithms = 24;
// Below it the library's calls take longer than lamina's own kernels (benchmarks/results, H100).
constexpr int64_t kLeastFlops = 100'000'000;

// cudnnDataType_t.
int data_type(Dtype d) {
  switch (d) {
    case Dtype::float32:
      return 0;
    case Dtype::float64:
      return 1;
    case Dtype::float16:
      return 2;
    case Dtype::bfloat16:
      return 9;
    default:
      return -1;
  }
}

int64_t flops_of(const LibraryConvolution& c) {
  int64_t points = c.batch * c.filters, taps = c.channels / c.groups;
  for (size_t d = 0; d < 3; ++d) points *= c.out[d], taps *= c.kernel[d];
  return 2 * points * taps;
}

// The library wants two axes at least.
std::vector<int> axes(const LibraryConvolution& c, const LibraryConvolution::Extent& of) {
  std::vector<int> out;
  for (size_t d = c.spatial == 3 ? 0 : 1; d < 3; ++d) out.push_back(static_cast<int>(of[d]));
  return out;
}
std::vector<int> sizes(const LibraryConvolution& c, int64_t outer, int64_t channels,
                       const LibraryConvolution::Extent& of) {
  std::vector<int> out{static_cast<int>(outer), static_cast<int>(channels)};
  for (int n : axes(c, of)) out.push_back(n);
  return out;
}

}  // namespace

struct Convolutions::Library {
#define LAMINA_MEMBER(result, name, symbol, parameters) result(*name) parameters = nullptr;
  LAMINA_CUDNN_FUNCTIONS(LAMINA_MEMBER)
#undef LAMINA_MEMBER
  DnnHandle handle = nullptr;

  void require(Status status, const char* what) const {
    if (status != 0) throw_for_library("cuDNN", what, status_text(status));
  }

  class Call;
};

class Convolutions::Library::Call : public LibraryCall {
 public:
  Call(const Library& library, const LibraryConvolution& what, std::string about)
      : l_(library), what_(what), about_(std::move(about)) {}
  ~Call() override {
    if (input_) l_.tensor_destroy(input_);
    if (output_) l_.tensor_destroy(output_);
    if (weight_) l_.filter_destroy(weight_);
    if (convolution_) l_.convolution_destroy(convolution_);
  }

  // Whether the library takes the sizes, and has a deterministic algorithm of the right precision:
  // it times all of them, on memory of its own.
  bool possible() {
    const int type = data_type(what_.dtype);
    const bool half = itemsize(what_.dtype) == 2;
    const int sums = what_.dtype == Dtype::float64 ? type : data_type(Dtype::float32);
    const auto pad = axes(what_, what_.pad), stride = axes(what_, what_.stride);
    const auto dilation = axes(what_, what_.dilation);
    const auto in = sizes(what_, what_.batch, what_.channels, what_.in);
    const auto out = sizes(what_, what_.batch, what_.filters, what_.out);
    const auto kernel = sizes(what_, what_.filters, what_.channels / what_.groups, what_.kernel);
    const int rank = static_cast<int>(in.size());
    // In this order, which a list keeps and a call's arguments would not.
    auto fine = [](std::initializer_list<Status> statuses) {
      return std::all_of(statuses.begin(), statuses.end(), [](Status s) { return s == 0; });
    };
    if (!fine({l_.tensor_create(&input_), l_.tensor_create(&output_), l_.filter_create(&weight_),
               l_.convolution_create(&convolution_)}))
      return false;
    if (!fine({l_.tensor_set(input_, kChannelsLast, type, rank, in.data()),
               l_.tensor_set(output_, kChannelsLast, type, rank, out.data()),
               l_.filter_set(weight_, type, kChannelsLast, rank, kernel.data()),
               l_.convolution_set(convolution_, rank - 2, pad.data(), stride.data(),
                                  dilation.data(), what_.flip ? kMirrored : kAsIs, sums),
               l_.convolution_groups(convolution_, static_cast<int>(what_.groups)),
               l_.convolution_math(convolution_, half ? kTensorCores : kPlain)}))
      return false;
    return choose();
  }

  int64_t workspace_bytes() const override { return static_cast<int64_t>(chosen_.workspace); }
  void send(const Operands& operands, Stream stream) override {
    const auto [first, second, out, workspace] = operands;
    const bool wide = what_.dtype == Dtype::float64;
    const double one_wide = 1, zero_wide = 0;
    const float one_narrow = 1, zero_narrow = 0;
    const void* one = wide ? static_cast<const void*>(&one_wide) : &one_narrow;
    const void* zero = wide ? static_cast<const void*>(&zero_wide) : &zero_narrow;
    l_.require(l_.set_stream(l_.handle, stream), "stream");
    Status s = 0;
    switch (what_.kind) {
      case Kind::forward:
        s = l_.forward(l_.handle, one, input_, first, weight_, second, convolution_,
                       chosen_.algorithm, workspace, chosen_.workspace, zero, output_, out);
        break;
      case Kind::input_gradient:
        s = l_.input_gradient(l_.handle, one, weight_, second, output_, first, convolution_,
                              chosen_.algorithm, workspace, chosen_.workspace, zero, input_, out);
        break;
      case Kind::weight_gradient:
        s = l_.weight_gradient(l_.handle, one, input_, first, output_, second, convolution_,
                               chosen_.algorithm, workspace, chosen_.workspace, zero, weight_, out);
        break;
    }
    l_.require(s, "convolution");
  }

  std::string text() const override {
    const char* names[] = {"cudnnConvolutionForward", "cudnnConvolutionBackwardData",
                           "cudnnConvolutionBackwardFilter"};
    auto list = [](const std::vector<int>& v) {
      std::string out;
      for (int n : v) out += (out.empty() ? "" : " x ") + std::to_string(n);
      return out;
    };
    const LibraryConvolution& c = what_;
    return about_ + ", " + names[static_cast<int>(c.kind)] + ", algorithm " +
           std::to_string(chosen_.algorithm) + "\nbatch     " + std::to_string(c.batch) +
           "\nchannels  " + std::to_string(c.channels) + " to " + std::to_string(c.filters) +
           ", groups " + std::to_string(c.groups) + "\ninput     " + list(axes(c, c.in)) +
           "\noutput    " + list(axes(c, c.out)) + "\nkernel    " + list(axes(c, c.kernel)) +
           "\nworkspace " + std::to_string(chosen_.workspace) + " bytes\ndtype     " +
           name_of(c.dtype) + ", no TF32\n";
  }

 private:
  bool choose() {
    Found rows[kMostAlgorithms] = {};
    int count = 0;
    Status s = 0;
    switch (what_.kind) {
      case Kind::forward:
        s = l_.find_forward(l_.handle, input_, weight_, convolution_, output_, kMostAlgorithms,
                            &count, rows);
        break;
      case Kind::input_gradient:
        s = l_.find_input(l_.handle, weight_, output_, convolution_, input_, kMostAlgorithms,
                          &count, rows);
        break;
      case Kind::weight_gradient:
        s = l_.find_weight(l_.handle, input_, output_, convolution_, weight_, kMostAlgorithms,
                           &count, rows);
        break;
    }
    if (s != 0) return false;
    for (const Found& r : std::span(rows, static_cast<size_t>(count))) {
      const bool precise = what_.dtype != Dtype::float32 || r.math == kPlain;
      if (r.status != 0 || !r.deterministic || !precise ||
          r.workspace > static_cast<size_t>(kMostWorkspace))
        continue;
      // An algorithm may need another mode than the one it was asked for in.
      if (l_.convolution_math(convolution_, r.math) != 0) continue;
      chosen_ = r;
      return true;
    }
    return false;
  }

  const Library& l_;
  const LibraryConvolution what_;
  const std::string about_;
  Tensor input_ = nullptr, output_ = nullptr;
  Filter weight_ = nullptr;
  Convolution convolution_ = nullptr;
  Found chosen_{};
};

Convolutions::Convolutions() = default;
Convolutions::~Convolutions() = default;

void Convolutions::open() {
  if (!about_.empty()) return;
  std::string why;
  void* found = open_library({"libcudnn.so.9", "libcudnn.so"}, why);
  if (!found) {
    about_ = "no cuDNN: " + why;
    return;
  }
  auto library = std::make_unique<Library>();
#define LAMINA_BIND(result, name, symbol, parameters)                                 \
  library->name = reinterpret_cast<result(*) parameters>(find_symbol(found, symbol)); \
  if (!library->name) {                                                               \
    about_ = std::string("this cuDNN has no ") + symbol;                              \
    return;                                                                           \
  }
  LAMINA_CUDNN_FUNCTIONS(LAMINA_BIND)
#undef LAMINA_BIND
  library->require(library->create(&library->handle), "handle");
  about_ = "cuDNN " + std::to_string(library->version());
  library_ = std::move(library);
}

std::shared_ptr<LibraryCall> Convolutions::prepare(const LibraryConvolution& what) {
  if (data_type(what.dtype) < 0 || flops_of(what) < kLeastFlops) return nullptr;
  open();
  if (!library_) return nullptr;
  auto call = std::make_shared<Library::Call>(*library_, what, about_);
  return call->possible() ? call : nullptr;
}

}  // namespace lamina::cuda
