// The double of cuDNN: convolutions of channels-last arrays on the CPU, through the driver's
// double. Of the algorithms it measures, the fastest is not deterministic and the next wants more
// workspace than anybody gives, so that a caller has to choose.
#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "numbers.h"
#include "stream_work.h"

#define DOUBLE extern "C" __attribute__((visibility("default")))

using cuda_double::load;
using cuda_double::Number;
using cuda_double::Type;

namespace {

constexpr int kBadParameter = 2000, kChannelsFirst = 0, kChannelsLast = 1;
constexpr int kRight = 3;  // the algorithm to be chosen
constexpr size_t kWorkspace = 1 << 20;

// Outer size, channels, then the axes of space, as the interface has them.
struct Array {
  int type = 0, layout = 0;
  std::vector<int> sizes;
  size_t elements() const {
    size_t n = 1;
    for (int s : sizes) n *= static_cast<size_t>(s);
    return n;
  }
};
struct Geometry {
  std::vector<int> pad, stride, dilation;
  int mode = 0, compute = 0, groups = 1, math = 0;
};
struct Handle {
  void* stream = nullptr;
};
struct Found {
  int algorithm, status;
  float ms;
  size_t workspace;
  int deterministic, math, reserved[3];
};

Type type_of(int type) {
  return type == 0 ? Type::f32 : type == 1 ? Type::f64 : type == 2 ? Type::f16 : Type::bf16;
}
size_t bytes_of(const Array& a) { return a.elements() * cuda_double::size_of(type_of(a.type)); }

int set(Array* a, int type, int layout, int rank, const int* sizes) {
  if (layout < kChannelsFirst || layout > kChannelsLast || rank < 4 || rank > 5)
    return kBadParameter;
  *a = {type, layout, {sizes, sizes + rank}};
  return 0;
}

// How far the channels lie apart.
size_t channel_step(const Array& a) {
  size_t n = 1;
  if (a.layout == kChannelsFirst)
    for (size_t d = 2; d < a.sizes.size(); ++d) n *= static_cast<size_t>(a.sizes[d]);
  return n;
}
// The element's position.
size_t position(const Array& a, int outer, int channel, const std::array<int, 3>& at) {
  size_t p = static_cast<size_t>(outer);
  if (a.layout == kChannelsFirst)
    p = p * static_cast<size_t>(a.sizes[1]) + static_cast<size_t>(channel);
  for (size_t d = 2; d < a.sizes.size(); ++d)
    p = p * static_cast<size_t>(a.sizes[d]) + static_cast<size_t>(at[d - 2]);
  if (a.layout == kChannelsFirst) return p;
  return p * static_cast<size_t>(a.sizes[1]) + static_cast<size_t>(channel);
}

bool next(std::array<int, 3>& at, const Array& a) {
  for (size_t d = a.sizes.size() - 2; d-- > 0;) {
    if (++at[d] < a.sizes[d + 2]) return true;
    at[d] = 0;
  }
  return false;
}

// f(input's, weight's, output's position) for every product of the convolution.
template <class F>
void each(const Array& x, const Array& w, const Array& y, const Geometry& g, F f) {
  const size_t axes = g.pad.size();
  const int filters = w.sizes[0] / g.groups, channels = w.sizes[1];
  for (int image = 0; image < y.sizes[0]; ++image)
    for (int filter = 0; filter < w.sizes[0]; ++filter) {
      std::array<int, 3> out{};
      do {
        std::array<int, 3> tap{};
        do {
          std::array<int, 3> in{}, at = tap;
          bool inside = true;
          for (size_t d = 0; d < axes; ++d) {
            in[d] = out[d] * g.stride[d] + tap[d] * g.dilation[d] - g.pad[d];
            inside &= in[d] >= 0 && in[d] < x.sizes[d + 2];
            if (g.mode == 0) at[d] = w.sizes[d + 2] - 1 - tap[d];
          }
          if (!inside) continue;
          const size_t i = position(x, image, filter / filters * channels, in);
          const size_t j = position(w, filter, 0, at), k = position(y, image, filter, out);
          for (size_t c = 0; c < static_cast<size_t>(channels); ++c)
            f(i + c * channel_step(x), j + c * channel_step(w), k);
        } while (next(tap, w));
      } while (next(out, y));
    }
}

struct Operand {
  const Array* array;
  const void* data;
};

// Sums products of elements of two arrays into the third: which of (x, w, y) is the result.
template <class Places>
int run(Handle* h, Operand first, Operand second, const Array* result, void* out, int algorithm,
        void* workspace, size_t bytes, Places places) {
  if (algorithm != kRight || bytes < kWorkspace) return kBadParameter;
  const Array a = *first.array, b = *second.array, to = *result;
  return cuda_double::send(
      h->stream, to.elements() * 31 + a.elements(), [=, x = first.data, y = second.data] {
        if (!cuda_double::has_bytes(x, bytes_of(a)) || !cuda_double::has_bytes(y, bytes_of(b)) ||
            !cuda_double::has_bytes(out, bytes_of(to)) || !cuda_double::has_bytes(workspace, bytes))
          return cuda_double::refuse("cudnnConvolution: an operand is not the device's memory");
        std::vector<Number> sums(to.elements());
        const Type type = type_of(to.type);
        const size_t size = cuda_double::size_of(type);
        auto at = [&](const void* data, size_t i) {
          return load(static_cast<const char*>(data) + i * size, type);
        };
        places([&](size_t i, size_t j, size_t k) { sums[k] += at(x, i) * at(y, j); });
        for (size_t k = 0; k < sums.size(); ++k)
          cuda_double::store(static_cast<char*>(out) + k * size, type, sums[k]);
      });
}

// With the channels first it is fast where there are many.
int find(const Array* filters, const Geometry* g, int wanted, int* count, Found* rows) {
  const bool fast = filters->layout == kChannelsFirst && filters->sizes[1] >= 64;
  const Found all[] = {{0, 0, 1.0f, 0, 0, g->math, {}},
                       {1, 0, 2.0f, size_t{1} << 40, 1, g->math, {}},
                       {2, 3000, -1.0f, 0, 1, g->math, {}},
                       {kRight, 0, fast ? 2.5f : 3.0f, kWorkspace, 1, g->math, {}}};
  *count = std::min(wanted, 4);
  for (int i = 0; i < *count; ++i) rows[i] = all[i];
  return 0;
}

}  // namespace

DOUBLE int cudnnCreate(Handle** h) {
  *h = new Handle;
  return 0;
}
DOUBLE size_t cudnnGetVersion() { return 90000; }
DOUBLE const char* cudnnGetErrorString(int) { return "CUDNN_STATUS_OF_THE_DOUBLE"; }
DOUBLE int cudnnSetStream(Handle* h, void* stream) {
  h->stream = stream;
  return 0;
}
DOUBLE int cudnnCreateTensorDescriptor(Array** a) {
  *a = new Array;
  return 0;
}
DOUBLE int cudnnSetTensorNdDescriptorEx(Array* a, int layout, int type, int rank,
                                        const int* sizes) {
  return set(a, type, layout, rank, sizes);
}
DOUBLE int cudnnDestroyTensorDescriptor(Array* a) {
  delete a;
  return 0;
}
DOUBLE int cudnnCreateFilterDescriptor(Array** a) { return cudnnCreateTensorDescriptor(a); }
DOUBLE int cudnnSetFilterNdDescriptor(Array* a, int type, int layout, int rank, const int* sizes) {
  return set(a, type, layout, rank, sizes);
}
DOUBLE int cudnnDestroyFilterDescriptor(Array* a) { return cudnnDestroyTensorDescriptor(a); }
DOUBLE int cudnnTransformTensor(Handle* h, const void*, Array* from, const void* px, const void*,
                                Array* to, void* py) {
  return cuda_double::send(h->stream, from->elements(), [a = *from, b = *to, px, py] {
    if (!cuda_double::has_bytes(px, bytes_of(a)) || !cuda_double::has_bytes(py, bytes_of(b)))
      return cuda_double::refuse("cudnnTransformTensor: an operand is not the device's memory");
    const size_t size = cuda_double::size_of(type_of(a.type));
    for (int outer = 0; outer < a.sizes[0]; ++outer)
      for (int channel = 0; channel < a.sizes[1]; ++channel) {
        std::array<int, 3> at{};
        do
          std::memcpy(static_cast<char*>(py) + position(b, outer, channel, at) * size,
                      static_cast<const char*>(px) + position(a, outer, channel, at) * size, size);
        while (next(at, a));
      }
  });
}
DOUBLE int cudnnCreateConvolutionDescriptor(Geometry** g) {
  *g = new Geometry;
  return 0;
}
DOUBLE int cudnnSetConvolutionNdDescriptor(Geometry* g, int axes, const int* pad, const int* stride,
                                           const int* dilation, int mode, int compute) {
  *g = {
      {pad, pad + axes}, {stride, stride + axes}, {dilation, dilation + axes}, mode, compute, 1, 0};
  return 0;
}
DOUBLE int cudnnSetConvolutionGroupCount(Geometry* g, int groups) {
  g->groups = groups;
  return 0;
}
DOUBLE int cudnnSetConvolutionMathType(Geometry* g, int math) {
  g->math = math;
  return 0;
}
DOUBLE int cudnnDestroyConvolutionDescriptor(Geometry* g) {
  delete g;
  return 0;
}
DOUBLE int cudnnFindConvolutionForwardAlgorithm(Handle*, Array*, Array* w, Geometry* g, Array*,
                                                int wanted, int* count, Found* rows) {
  return find(w, g, wanted, count, rows);
}
DOUBLE int cudnnFindConvolutionBackwardDataAlgorithm(Handle*, Array* w, Array*, Geometry* g, Array*,
                                                     int wanted, int* count, Found* rows) {
  return find(w, g, wanted, count, rows);
}
DOUBLE int cudnnFindConvolutionBackwardFilterAlgorithm(Handle*, Array*, Array*, Geometry* g,
                                                       Array* w, int wanted, int* count,
                                                       Found* rows) {
  return find(w, g, wanted, count, rows);
}
DOUBLE int cudnnConvolutionForward(Handle* h, const void*, Array* x, const void* px, Array* w,
                                   const void* pw, Geometry* g, int algorithm, void* workspace,
                                   size_t bytes, const void*, Array* y, void* py) {
  return run(h, {x, px}, {w, pw}, y, py, algorithm, workspace, bytes,
             [x = *x, w = *w, y = *y, g = *g](auto f) { each(x, w, y, g, f); });
}
DOUBLE int cudnnConvolutionBackwardData(Handle* h, const void*, Array* w, const void* pw, Array* y,
                                        const void* py, Geometry* g, int algorithm, void* workspace,
                                        size_t bytes, const void*, Array* x, void* px) {
  return run(h, {w, pw}, {y, py}, x, px, algorithm, workspace, bytes,
             [x = *x, w = *w, y = *y, g = *g](auto f) {
               each(x, w, y, g, [&](size_t i, size_t j, size_t k) { f(j, k, i); });
             });
}
DOUBLE int cudnnConvolutionBackwardFilter(Handle* h, const void*, Array* x, const void* px,
                                          Array* y, const void* py, Geometry* g, int algorithm,
                                          void* workspace, size_t bytes, const void*, Array* w,
                                          void* pw) {
  return run(h, {x, px}, {y, py}, w, pw, algorithm, workspace, bytes,
             [x = *x, w = *w, y = *y, g = *g](auto f) {
               each(x, w, y, g, [&](size_t i, size_t j, size_t k) { f(i, k, j); });
             });
}
