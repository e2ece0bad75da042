// Products of the system's matrix library, Metal Performance Shaders, and which products it gets.
#pragma once

#include <memory>
#include <string>

#include "base/dtype.h"
#include "devices/metal/chips.h"
#include "devices/metal/host.h"

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
// Null where the system refuses.
std::shared_ptr<const Product> make_product(Host& host, const ProductRequest& request);

}  // namespace lamina::metal
