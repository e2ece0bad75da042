// The double of cuBLASLt: products of column-major matrices on the CPU, through the driver's
// double. It checks layouts against each other, alignments that were promised, and the workspace.
#include "numbers.h"
#include "stream_work.h"

#define DOUBLE extern "C" __attribute__((visibility("default")))

namespace {

using cuda_double::Number;
using cuda_double::Type;

constexpr int kInvalidValue = 7, kNotSupported = 15;
constexpr int kFloat = 0, kDouble = 1, kHalf = 2, kComplex = 4;

struct Description {
  int compute, scale;
  int transpose_a = 0, transpose_b = 0;
};
struct Layout {
  int type;
  uint64_t rows, cols;
  int64_t lead;
  int32_t batch = 1;
  int64_t stride = 0;
};
struct Preference {
  size_t workspace = 0;
  uint32_t alignment[4] = {256, 256, 256, 256};
};
struct Algorithm {
  uint64_t alignment, workspace, unused[6];
};
struct Heuristic {
  Algorithm algorithm;
  size_t workspace;
  int status;
  float waves;
  int reserved[4];
};

Type type_of(int type) {
  return type == kFloat     ? Type::f32
         : type == kDouble  ? Type::f64
         : type == kHalf    ? Type::f16
         : type == kComplex ? Type::c64
                            : Type::bf16;
}

size_t bytes_of(const Layout& l) {
  const auto last = static_cast<int64_t>(l.rows) + l.lead * (static_cast<int64_t>(l.cols) - 1) +
                    l.stride * (l.batch - 1);
  return static_cast<size_t>(last) * size_of(type_of(l.type));
}

struct Factor {
  const char* data;
  Layout layout;
  bool transposed;
  Number at(int64_t batch, uint64_t row, uint64_t col) const {
    if (transposed) std::swap(row, col);
    const int64_t i =
        batch * layout.stride + static_cast<int64_t>(row) + static_cast<int64_t>(col) * layout.lead;
    return load(data + static_cast<size_t>(i) * size_of(type_of(layout.type)),
                type_of(layout.type));
  }
};

void multiply(const Factor& a, const Factor& b, char* out, const Layout& to, uint64_t depth) {
  for (int32_t z = 0; z < to.batch; ++z)
    for (uint64_t j = 0; j < to.cols; ++j)
      for (uint64_t i = 0; i < to.rows; ++i) {
        Number sum = 0;
        for (uint64_t k = 0; k < depth; ++k) sum += a.at(z, i, k) * b.at(z, k, j);
        const int64_t at =
            z * to.stride + static_cast<int64_t>(i) + static_cast<int64_t>(j) * to.lead;
        store(out + static_cast<size_t>(at) * size_of(type_of(to.type)), type_of(to.type), sum);
      }
}

bool fits(const Description& d, const Layout& a, const Layout& b, const Layout& out) {
  const uint64_t rows = d.transpose_a ? a.cols : a.rows, depth = d.transpose_a ? a.rows : a.cols;
  const uint64_t depth_b = d.transpose_b ? b.cols : b.rows;
  const uint64_t cols = d.transpose_b ? b.rows : b.cols;
  bool leads = true;
  for (const Layout* l : {&a, &b, &out}) leads &= l->lead >= static_cast<int64_t>(l->rows);
  return leads && rows == out.rows && cols == out.cols && depth == depth_b && a.type == b.type &&
         a.type == out.type && a.batch == out.batch && b.batch == out.batch;
}

}  // namespace

DOUBLE int cublasLtCreate(int** handle) {
  static int object;
  *handle = &object;
  return 0;
}
DOUBLE size_t cublasLtGetVersion() { return 1; }
DOUBLE const char* cublasLtGetStatusString(int status) {
  return status == kInvalidValue ? "CUBLAS_STATUS_INVALID_VALUE" : "CUBLAS_STATUS_NOT_SUPPORTED";
}
DOUBLE int cublasLtMatmulDescCreate(Description** out, int compute, int scale) {
  *out = new Description{compute, scale};
  return 0;
}
DOUBLE int cublasLtMatmulDescSetAttribute(Description* d, int which, const void* value, size_t n) {
  if (n != sizeof(int) || (which != 3 && which != 4)) return kInvalidValue;
  std::memcpy(which == 3 ? &d->transpose_a : &d->transpose_b, value, n);
  return 0;
}
DOUBLE int cublasLtMatmulDescDestroy(Description* d) {
  delete d;
  return 0;
}
DOUBLE int cublasLtMatrixLayoutCreate(Layout** out, int type, uint64_t rows, uint64_t cols,
                                      int64_t lead) {
  *out = new Layout{type, rows, cols, lead};
  return 0;
}
DOUBLE int cublasLtMatrixLayoutSetAttribute(Layout* l, int which, const void* value, size_t n) {
  if (which == 5 && n == 4)
    std::memcpy(&l->batch, value, n);
  else if (which == 6 && n == 8)
    std::memcpy(&l->stride, value, n);
  else
    return kInvalidValue;
  return 0;
}
DOUBLE int cublasLtMatrixLayoutDestroy(Layout* l) {
  delete l;
  return 0;
}
DOUBLE int cublasLtMatmulPreferenceCreate(Preference** out) {
  *out = new Preference;
  return 0;
}
DOUBLE int cublasLtMatmulPreferenceSetAttribute(Preference* p, int which, const void* value,
                                                size_t n) {
  if (which == 1 && n == sizeof(size_t))
    std::memcpy(&p->workspace, value, n);
  else if (which >= 5 && which < 9 && n == sizeof(uint32_t))
    std::memcpy(&p->alignment[which - 5], value, n);
  else if (which != 3)
    return kInvalidValue;
  return 0;
}
DOUBLE int cublasLtMatmulPreferenceDestroy(Preference* p) {
  delete p;
  return 0;
}
DOUBLE int cublasLtMatmulAlgoGetHeuristic(int*, Description* d, Layout* a, Layout* b, Layout*,
                                          Layout* out, Preference* p, int, Heuristic* result,
                                          int* count) {
  *count = 0;
  if (!fits(*d, *a, *b, *out)) return kInvalidValue;
  if ((out->type == kDouble) != (d->compute == 70)) return kNotSupported;
  *result = {};
  result->algorithm.alignment = p->alignment[0];
  result->algorithm.workspace = p->workspace;
  *count = 1;
  return 0;
}
DOUBLE int cublasLtMatmul(int*, Description* d, const void*, const void* a, Layout* la,
                          const void* b, Layout* lb, const void*, const void*, Layout*, void* out,
                          Layout* lo, const Algorithm* algorithm, void* workspace, size_t bytes,
                          void* stream) {
  if (!fits(*d, *la, *lb, *lo) || bytes < algorithm->workspace) return kInvalidValue;
  const size_t kernel = ((lo->rows * 31 + lo->cols) * 31 + la->cols) * 31 + algorithm->alignment;
  return cuda_double::send(
      stream, kernel, [=, d = *d, la = *la, lb = *lb, lo = *lo, promised = algorithm->alignment] {
        if (!cuda_double::has_bytes(a, bytes_of(la)) || !cuda_double::has_bytes(b, bytes_of(lb)) ||
            !cuda_double::has_bytes(out, bytes_of(lo)) || !cuda_double::has_bytes(workspace, bytes))
          return cuda_double::refuse("cublasLtMatmul: an operand is not the device's memory");
        for (const void* data : {a, b, static_cast<const void*>(out)})
          if (reinterpret_cast<uintptr_t>(data) % promised)
            return cuda_double::refuse(
                "cublasLtMatmul: an operand is less aligned than was promised");
        const uint64_t depth = d.transpose_a ? la.rows : la.cols;
        multiply({static_cast<const char*>(a), la, d.transpose_a != 0},
                 {static_cast<const char*>(b), lb, d.transpose_b != 0}, static_cast<char*>(out), lo,
                 depth);
        std::memset(workspace, 0x7f, 64);
      });
}
