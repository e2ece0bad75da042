// Products of the system's matrix library, Metal Performance Shaders, and which products it gets.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>

#include "base/dtype.h"
#include "devices/metal/chips.h"
#include "devices/metal/host.h"
#include "kernels/library.h"

namespace lamina::metal {

// Immutable. Kept by whoever encodes it until the command buffer has completed.
class Product {
 public:
  Product(Host& host, Handle handle, const ProductRequest& request)
      : host(host), handle(handle), request(request) {}
  ~Product() { host.release(handle); }
  Product(const Product&) = delete;
  Product& operator=(const Product&) = delete;

  Host& host;
  const Handle handle;
  const std::string name = "MPSMatrixMultiplication";
  const ProductRequest request;
};

// Whether the library has products of this dtype and, on this chip, is the first choice for one of
// these sizes; the others are lamina's own text.
bool library_first(const Chip& chip, Dtype dtype, const ProductRequest& sizes);
// Multiplications of the smallest product of which that can be true.
int64_t library_multiplications(const Chip& chip);
// How much of a product's time, at published rates, unfolding its factor may take.
double most_unfolding(const Chip& chip);

// Work as the library takes it.
struct Multiplication {
  ProductRequest request;
  std::array<MatrixPlace, 3> places;  // of left, right and result, without their buffers
  std::array<int64_t, 3> bytes;       // that these reach
  std::array<int64_t, 3> from{};      // bytes of the operands ahead of them
  Dtype dtype;
  bool swapped = false;  // the work's second operand is the left matrix
  std::string text;      // for a reader
};
// Products whose matrices lie as the library wants them, and convolutions that are products: of
// one tap, without padding. Nothing for other work (devices/metal/unfold.h has other convolutions).
std::optional<Multiplication> multiplication(const LibraryWork& work);
// Null where the system refuses.
std::shared_ptr<const Product> make_product(Host& host, const ProductRequest& request);

}  // namespace lamina::metal
