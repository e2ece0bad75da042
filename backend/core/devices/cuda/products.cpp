#include "devices/cuda/products.h"

#include <array>
#include <cstring>

#include "base/error.h"

namespace lamina::cuda {

namespace {

// --- the library's interface, after its documentation --------------------------------------------
using Status = int;  // cublasStatus_t; 0 is success
struct HandleObject;
struct DescriptionObject;
struct LayoutObject;
struct PreferenceObject;
using LtHandle = HandleObject*;
using Description = DescriptionObject*;
using MatrixLayout = LayoutObject*;
using Preference = PreferenceObject*;

struct AlgorithmData {
  uint64_t data[8];
};
struct Heuristic {
  AlgorithmData algorithm;
  size_t workspace;
  Status status;
  float waves;
  int reserved[4];
};

#define LAMINA_CUBLASLT_FUNCTIONS(F)                                                            \
  F(Status, create, "cublasLtCreate", (LtHandle*))                                              \
  F(size_t, version, "cublasLtGetVersion", ())                                                  \
  F(const char*, status_text, "cublasLtGetStatusString", (Status))                              \
  F(Status, description_create, "cublasLtMatmulDescCreate", (Description*, int, int))           \
  F(Status, description_set, "cublasLtMatmulDescSetAttribute",                                  \
    (Description, int, const void*, size_t))                                                    \
  F(Status, description_destroy, "cublasLtMatmulDescDestroy", (Description))                    \
  F(Status, layout_create, "cublasLtMatrixLayoutCreate",                                        \
    (MatrixLayout*, int, uint64_t, uint64_t, int64_t))                                          \
  F(Status, layout_set, "cublasLtMatrixLayoutSetAttribute",                                     \
    (MatrixLayout, int, const void*, size_t))                                                   \
  F(Status, layout_destroy, "cublasLtMatrixLayoutDestroy", (MatrixLayout))                      \
  F(Status, preference_create, "cublasLtMatmulPreferenceCreate", (Preference*))                 \
  F(Status, preference_set, "cublasLtMatmulPreferenceSetAttribute",                             \
    (Preference, int, const void*, size_t))                                                     \
  F(Status, preference_destroy, "cublasLtMatmulPreferenceDestroy", (Preference))                \
  F(Status, heuristic, "cublasLtMatmulAlgoGetHeuristic",                                        \
    (LtHandle, Description, MatrixLayout, MatrixLayout, MatrixLayout, MatrixLayout, Preference, \
     int, Heuristic*, int*))                                                                    \
  F(Status, matmul, "cublasLtMatmul",                                                           \
    (LtHandle, Description, const void*, const void*, MatrixLayout, const void*, MatrixLayout,  \
     const void*, const void*, MatrixLayout, void*, MatrixLayout, const AlgorithmData*, void*,  \
     size_t, Stream))

constexpr int kCompute32 = 68, kCompute64 = 70;   // cublasComputeType_t
constexpr int kTransposeA = 3, kTransposeB = 4;   // of a description
constexpr int kTransposed = 1;                    // cublasOperation_t
constexpr int kBatchCount = 5, kBatchStride = 6;  // of a layout
// Of a preference. Parts of a sum may be added in the dtype of the sum, never in a narrower one.
constexpr int kMaxWorkspace = 1, kReductions = 3, kFirstAlignment = 5;
constexpr uint32_t kReductionsInSumDtype = 1 | 2;

constexpr int64_t kWorkspace = int64_t{32} << 20;  // what NVIDIA advises from Hopper on
constexpr uint32_t kMostAligned = 16;  // what the widest loads and the copy engine ask for

// cudaDataType.
int data_type(Dtype d) {
  switch (d) {
    case Dtype::float32:
      return 0;
    case Dtype::float64:
      return 1;
    case Dtype::float16:
      return 2;
    case Dtype::complex64:
      return 4;
    case Dtype::bfloat16:
      return 14;
    default:
      return -1;
  }
}

}  // namespace

struct Products::Library {
#define LAMINA_MEMBER(result, name, symbol, parameters) result(*name) parameters = nullptr;
  LAMINA_CUBLASLT_FUNCTIONS(LAMINA_MEMBER)
#undef LAMINA_MEMBER
  LtHandle handle = nullptr;

  void require(Status status, const char* what) const {
    if (status != 0) throw_for_library("cuBLASLt", what, status_text(status));
  }
  MatrixLayout layout_of(const LibraryProduct& p, int64_t rows, int64_t cols,
                         const LibraryProduct::Matrix& m) const {
    MatrixLayout layout = nullptr;
    // The library's rows are what lies side by side.
    const auto beside = static_cast<uint64_t>(m.transposed ? rows : cols);
    const auto lines = static_cast<uint64_t>(m.transposed ? cols : rows);
    require(layout_create(&layout, data_type(p.dtype), beside, lines, m.lead), "layout");
    if (p.batch > 1) {
      const auto count = static_cast<int32_t>(p.batch);
      require(layout_set(layout, kBatchCount, &count, sizeof count), "batch");
      require(layout_set(layout, kBatchStride, &m.batch_stride, sizeof m.batch_stride), "batch");
    }
    return layout;
  }

  class Product;
};

// The library counts columns first: out^T = b^T a^T, so that its first factor is our second.
class Products::Library::Product : public LibraryCall {
 public:
  Product(const Library& library, const LibraryProduct& what, std::string about)
      : l_(library), what_(what), about_(std::move(about)) {
    const bool wide = what.dtype == Dtype::float64;
    const Dtype scale = wide || is_complex(what.dtype) ? what.dtype : Dtype::float32;
    l_.require(
        l_.description_create(&description_, wide ? kCompute64 : kCompute32, data_type(scale)),
        "description");
    for (auto [attribute, transposed] :
         {std::pair(kTransposeA, what.b.transposed), std::pair(kTransposeB, what.a.transposed)})
      if (transposed)
        l_.require(l_.description_set(description_, attribute, &kTransposed, sizeof kTransposed),
                   "transposition");
    a_ = l_.layout_of(what, what.rows, what.depth, what.a);
    b_ = l_.layout_of(what, what.depth, what.cols, what.b);
    out_ = l_.layout_of(what, what.rows, what.cols, what.out);
  }
  ~Product() override {
    if (description_) l_.description_destroy(description_);
    for (MatrixLayout layout : {a_, b_, out_})
      if (layout) l_.layout_destroy(layout);
  }

  // Asks for an algorithm of each class of alignment, so that no run finds that there is none.
  bool possible() {
    for (bool aligned : {false, true}) {
      Choice& chosen = chosen_[aligned];
      chosen.there = choose(aligned ? kMostAligned : element_bytes(), chosen.heuristic);
      if (!chosen.there) return false;
    }
    return true;
  }

  int64_t workspace_bytes() const override { return kWorkspace; }
  void send(const Operands& operands, Stream stream) override {
    const auto [a, b, out, workspace] = operands;
    bool aligned = true;
    for (const void* data : {a, b, out})
      aligned = aligned && reinterpret_cast<uintptr_t>(data) % kMostAligned == 0;
    // In the room of the widest dtype; complex64 reads two floats.
    double one = 1, zero = 0;
    if (what_.dtype != Dtype::float64) {
      const float narrow[2] = {1, 0};
      std::memcpy(&one, narrow, sizeof narrow);
    }
    l_.require(l_.matmul(l_.handle, description_, &one, b, b_, a, a_, &zero, out, out_, out, out_,
                         &chosen_[aligned].heuristic.algorithm, workspace, kWorkspace, stream),
               "product");
  }

  std::string text() const override {
    auto matrix = [](const LibraryProduct::Matrix& m) {
      return std::string(m.transposed ? ", transposed" : "") + ", lines " + std::to_string(m.lead) +
             " apart";
    };
    const LibraryProduct& w = what_;
    auto size = [](int64_t n) { return std::to_string(n); };
    const bool own_sums = w.dtype == Dtype::float64 || is_complex(w.dtype);
    std::string out = about_ + ", cublasLtMatmul\n";
    if (w.batch > 1) out += "batch  " + size(w.batch) + "\n";
    out += "a      " + size(w.rows) + " x " + size(w.depth) + matrix(w.a) + "\n";
    out += "b      " + size(w.depth) + " x " + size(w.cols) + matrix(w.b) + "\n";
    out += std::string("dtype  ") + name_of(w.dtype) + ", sums in " +
           (own_sums ? name_of(w.dtype) : "float32") + ", no TF32\n";
    return out;
  }

 private:
  struct Choice {
    bool there = false;
    Heuristic heuristic{};
  };

  uint32_t element_bytes() const { return static_cast<uint32_t>(itemsize(what_.dtype)); }

  // The algorithm that the library recommends for operands of this alignment.
  bool choose(uint32_t alignment, Heuristic& best) const {
    Preference preference = nullptr;
    l_.require(l_.preference_create(&preference), "preference");
    const size_t workspace = kWorkspace;
    auto set = [&](int attribute, const void* value, size_t bytes) {
      l_.preference_set(preference, attribute, value, bytes);
    };
    set(kMaxWorkspace, &workspace, sizeof workspace);
    set(kReductions, &kReductionsInSumDtype, sizeof kReductionsInSumDtype);
    for (int i = 0; i < 4; ++i) set(kFirstAlignment + i, &alignment, sizeof alignment);
    int count = 0;
    const Status status =
        l_.heuristic(l_.handle, description_, b_, a_, out_, out_, preference, 1, &best, &count);
    l_.preference_destroy(preference);
    return status == 0 && count > 0 && best.status == 0;
  }

  const Library& l_;
  const LibraryProduct what_;
  const std::string about_;
  Description description_ = nullptr;
  MatrixLayout a_ = nullptr, b_ = nullptr, out_ = nullptr;
  std::array<Choice, 2> chosen_;  // of operands of any alignment, and of well aligned ones
};

Products::Products() = default;

void Products::open() {
  if (!about_.empty()) return;
  std::string why;
  void* found = open_library({"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"}, why);
  if (!found) {
    about_ = "no cuBLASLt: " + why;
    return;
  }
  auto library = std::make_unique<Library>();
#define LAMINA_BIND(result, name, symbol, parameters)                                 \
  library->name = reinterpret_cast<result(*) parameters>(find_symbol(found, symbol)); \
  if (!library->name) {                                                               \
    about_ = std::string("this cuBLASLt has no ") + symbol;                           \
    return;                                                                           \
  }
  LAMINA_CUBLASLT_FUNCTIONS(LAMINA_BIND)
#undef LAMINA_BIND
  library->require(library->create(&library->handle), "handle");
  about_ = "cuBLASLt " + std::to_string(library->version());
  library_ = std::move(library);
}

Products::~Products() = default;

std::shared_ptr<LibraryCall> Products::prepare(const LibraryProduct& what) {
  open();
  if (!library_ || data_type(what.dtype) < 0) return nullptr;
  auto product = std::make_shared<Library::Product>(*library_, what, about_);
  return product->possible() ? product : nullptr;
}

}  // namespace lamina::cuda
