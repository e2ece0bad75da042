#include "devices/cuda/convolutions.h"

#include <algorithm>
#include <array>
#include <span>
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
  F(Status, transform, "cudnnTransformTensor",                                                  \
    (DnnHandle, const void*, Tensor, const void*, const void*, Tensor, void*))                  \
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

constexpr int kChannelsFirst = 0, kChannelsLast = 1;  // cudnnTensorFormat_t
constexpr int kMirrored = 0, kAsIs = 1;               // cudnnConvolutionMode_t
constexpr int kTensorCores = 1, kPlain = 3;           // cudnnMathType_t; plain: no TF32
constexpr int kMostAlgorithms = 24;
// Below it the library's calls take longer than lamina's own kernels, or as long. In 16 bits it has
// matrix units to use, which gradients gain from earlier (benchmarks/results/
// 2026-11-30-nvidia-h200-convolutions.md).
constexpr int64_t kLeastFlops = 100'000'000, kLeastHalfGradient = 30'000'000;
// Of the memory's rate, what cudnnTransformTensor reaches on an H200 on arrays of 25 MiB and more;
// smaller ones take 10 us each whatever their size, which is not reckoned with.
constexpr double kTurningShare = 0.6;
constexpr double kUnknownRate = 500e9;  // bytes a second

// What an array is of a convolution, and what a call's operands are: two factors, the result.
enum Role : size_t { kInput, kOutput, kWeight };
using Roles = std::array<Role, 3>;
Roles roles_of(Kind kind) {
  switch (kind) {
    case Kind::forward:
      return {kInput, kWeight, kOutput};
    case Kind::input_gradient:
      return {kOutput, kWeight, kInput};
    default:
      return {kInput, kOutput, kWeight};
  }
}

// Bytes a second between the GPU and its memory, by its data sheet.
double memory_rate() {
  int khz = 0, bits = 0;
  if (driver().device_attribute(&khz, Attribute::memory_khz, 0) != 0 ||
      driver().device_attribute(&bits, Attribute::memory_bits, 0) != 0 || khz <= 0 || bits <= 0)
    return kUnknownRate;
  return 2e3 * khz * bits / 8;
}

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

  class Layout;
  class Call;
};

// Descriptors of a convolution's arrays with the channels in one place, and what was chosen there.
class Convolutions::Library::Layout {
 public:
  explicit Layout(const Library& library) : l_(library) {}
  Layout(const Layout&) = delete;
  ~Layout() {
    for (Tensor t : arrays)
      if (t) l_.tensor_destroy(t);
    if (filter) l_.filter_destroy(filter);
  }

  bool set(const LibraryConvolution& c, int format) {
    const int type = data_type(c.dtype);
    const std::vector<int> all[] = {sizes(c, c.batch, c.channels, c.in),
                                    sizes(c, c.batch, c.filters, c.out),
                                    sizes(c, c.filters, c.channels / c.groups, c.kernel)};
    const int rank = static_cast<int>(all[0].size());
    for (size_t r = 0; r < 3; ++r)
      if (l_.tensor_create(&arrays[r]) != 0 ||
          l_.tensor_set(arrays[r], format, type, rank, all[r].data()) != 0)
        return false;
    return l_.filter_create(&filter) == 0 &&
           l_.filter_set(filter, type, format, rank, all[kWeight].data()) == 0;
  }

  Tensor arrays[3] = {};  // by Role
  Filter filter = nullptr;
  Found chosen{};

 private:
  const Library& l_;
};

class Convolutions::Library::Call : public LibraryCall {
 public:
  Call(const Library& library, const LibraryConvolution& what, std::string about)
      : l_(library), what_(what), about_(std::move(about)), last_(library), first_(library) {}
  ~Call() override {
    if (convolution_) l_.convolution_destroy(convolution_);
  }

  // Whether the library takes the sizes, and has a deterministic algorithm of the right precision:
  // it times all of them, on memory of its own.
  bool possible() {
    const bool half = itemsize(what_.dtype) == 2;
    const int sums = data_type(what_.dtype == Dtype::float64 ? Dtype::float64 : Dtype::float32);
    const auto pad = axes(what_, what_.pad), stride = axes(what_, what_.stride);
    const auto dilation = axes(what_, what_.dilation);
    const int math = half ? kTensorCores : kPlain;
    if (l_.convolution_create(&convolution_) != 0 ||
        l_.convolution_set(convolution_, static_cast<int>(pad.size()), pad.data(), stride.data(),
                           dilation.data(), what_.flip ? kMirrored : kAsIs, sums) != 0 ||
        l_.convolution_groups(convolution_, static_cast<int>(what_.groups)) != 0 ||
        l_.convolution_math(convolution_, math) != 0)
      return false;
    const bool as_it_lies = last_.set(what_, kChannelsLast) && choose(last_, 0);
    // Algorithms that multiply less (Winograd's, Fourier's) are there in float32 for channels that
    // come first only.
    if (what_.dtype == Dtype::float32 && what_.groups == 1 && what_.spatial < 3) {
      place_turned();
      turned_ = l_.convolution_math(convolution_, math) == 0 && first_.set(what_, kChannelsFirst) &&
                choose(first_, turned_bytes_) &&
                (!as_it_lies || first_.chosen.ms + turning_ms() < last_.chosen.ms);
    }
    // An algorithm may need another mode than the one it was asked for in.
    return (as_it_lies || turned_) && l_.convolution_math(convolution_, layout().chosen.math) == 0;
  }

  int64_t workspace_bytes() const override {
    return static_cast<int64_t>(layout().chosen.workspace) + turned_bytes();
  }
  void send(const Operands& operands, Stream stream) override {
    const Roles roles = roles_of(what_.kind);
    void* places[3] = {};
    for (size_t k = 0; k < 3; ++k) places[roles[k]] = operands[k];
    char* workspace = static_cast<char*>(operands[3]);
    l_.require(l_.set_stream(l_.handle, stream), "stream");
    if (!turned_) return convolve(places, workspace);
    void* const result = places[roles[2]];
    for (size_t k = 0; k < 3; ++k) {
      void*& place = places[roles[k]];
      void* const turned = workspace + turned_at_[roles[k]];
      if (k < 2) turn(last_.arrays[roles[k]], place, first_.arrays[roles[k]], turned);
      place = turned;
    }
    convolve(places, workspace + turned_bytes_);
    turn(first_.arrays[roles[2]], places[roles[2]], last_.arrays[roles[2]], result);
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
           std::to_string(layout().chosen.algorithm) +
           (turned_ ? ", on arrays whose channels cudnnTransformTensor puts first, and last again"
                    : "") +
           "\nbatch     " + std::to_string(c.batch) + "\nchannels  " + std::to_string(c.channels) +
           " to " + std::to_string(c.filters) + ", groups " + std::to_string(c.groups) +
           "\ninput     " + list(axes(c, c.in)) + "\noutput    " + list(axes(c, c.out)) +
           "\nkernel    " + list(axes(c, c.kernel)) + "\nworkspace " +
           std::to_string(workspace_bytes()) + " bytes\ndtype     " + name_of(c.dtype) +
           ", no TF32\n";
  }

 private:
  const Layout& layout() const { return turned_ ? first_ : last_; }
  int64_t turned_bytes() const { return turned_ ? turned_bytes_ : 0; }

  // Where the turned arrays are in the workspace, before the algorithm's own.
  void place_turned() {
    const int64_t elements[] = {what_.batch * what_.channels, what_.batch * what_.filters,
                                what_.filters * what_.channels};
    const LibraryConvolution::Extent* const extents[] = {&what_.in, &what_.out, &what_.kernel};
    for (size_t r = 0; r < 3; ++r) {
      int64_t bytes = elements[r] * itemsize(what_.dtype);
      for (int64_t n : *extents[r]) bytes *= n;
      turned_at_[r] = turned_bytes_;
      turned_bytes_ += (bytes + 255) / 256 * 256;
    }
  }
  // Each array is read and written once more.
  double turning_ms() const {
    return 2e3 * static_cast<double>(turned_bytes_) / (kTurningShare * memory_rate());
  }

  void turn(Tensor from_layout, const void* from, Tensor to_layout, void* to) {
    const float one = 1, zero = 0;
    l_.require(l_.transform(l_.handle, &one, from_layout, from, &zero, to_layout, to), "transform");
  }

  void convolve(void* const* places, void* workspace) {
    const bool wide = what_.dtype == Dtype::float64;
    const double one_wide = 1, zero_wide = 0;
    const float one_narrow = 1, zero_narrow = 0;
    const void* one = wide ? static_cast<const void*>(&one_wide) : &one_narrow;
    const void* zero = wide ? static_cast<const void*>(&zero_wide) : &zero_narrow;
    const Tensor* const arrays = layout().arrays;
    const Filter filter = layout().filter;
    const Found& chosen = layout().chosen;
    void *x = places[kInput], *y = places[kOutput], *w = places[kWeight];
    Status s = 0;
    switch (what_.kind) {
      case Kind::forward:
        s = l_.forward(l_.handle, one, arrays[kInput], x, filter, w, convolution_, chosen.algorithm,
                       workspace, chosen.workspace, zero, arrays[kOutput], y);
        break;
      case Kind::input_gradient:
        s = l_.input_gradient(l_.handle, one, filter, w, arrays[kOutput], y, convolution_,
                              chosen.algorithm, workspace, chosen.workspace, zero, arrays[kInput],
                              x);
        break;
      case Kind::weight_gradient:
        s = l_.weight_gradient(l_.handle, one, arrays[kInput], x, arrays[kOutput], y, convolution_,
                               chosen.algorithm, workspace, chosen.workspace, zero, filter, w);
        break;
    }
    l_.require(s, "convolution");
  }

  // The fastest that is deterministic and precise, with `others` bytes of the workspace taken.
  bool choose(Layout& layout, int64_t others) {
    Found rows[kMostAlgorithms] = {};
    int count = 0;
    // The first time a kernel's code is brought to the GPU as well.
    if (!time_all(layout, rows, count) || !time_all(layout, rows, count)) return false;
    for (const Found& r : std::span(rows, static_cast<size_t>(count))) {
      const bool precise = what_.dtype != Dtype::float32 || r.math == kPlain;
      if (r.status != 0 || !r.deterministic || !precise ||
          static_cast<int64_t>(r.workspace) > kMostWorkspace - others)
        continue;
      if (l_.convolution_math(convolution_, r.math) != 0) continue;
      layout.chosen = r;
      return true;
    }
    return false;
  }
  bool time_all(const Layout& layout, Found* rows, int& count) {
    Status s = 0;
    const Tensor input = layout.arrays[kInput], output = layout.arrays[kOutput];
    switch (what_.kind) {
      case Kind::forward:
        s = l_.find_forward(l_.handle, input, layout.filter, convolution_, output, kMostAlgorithms,
                            &count, rows);
        break;
      case Kind::input_gradient:
        s = l_.find_input(l_.handle, layout.filter, output, convolution_, input, kMostAlgorithms,
                          &count, rows);
        break;
      case Kind::weight_gradient:
        s = l_.find_weight(l_.handle, input, output, convolution_, layout.filter, kMostAlgorithms,
                           &count, rows);
        break;
    }
    return s == 0;
  }

  const Library& l_;
  const LibraryConvolution what_;
  const std::string about_;
  Layout last_, first_;  // where the channels are
  bool turned_ = false;  // computed with the channels first
  int64_t turned_at_[3] = {}, turned_bytes_ = 0;
  Convolution convolution_ = nullptr;
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
  const bool half_gradient = itemsize(what.dtype) == 2 && what.kind != Kind::forward;
  if (data_type(what.dtype) < 0 ||
      flops_of(what) < (half_gradient ? kLeastHalfGradient : kLeastFlops))
    return nullptr;
  open();
  if (!library_) return nullptr;
  auto call = std::make_shared<Library::Call>(*library_, what, about_);
  return call->possible() ? call : nullptr;
}

}  // namespace lamina::cuda
