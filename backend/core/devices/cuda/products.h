// Dense products by cuBLASLt, opened at the first: every dtype in its own precision, sums in
// float32 at least, TF32 never.
#pragma once

#include <memory>

#include "devices/cuda/replay.h"
#include "kernels/library.h"

namespace lamina::cuda {

class Products {
 public:
  Products();
  ~Products();
  Products(const Products&) = delete;
  Products& operator=(const Products&) = delete;

  // Null where the library is not there or has no algorithm for the product.
  std::shared_ptr<LibraryCall> prepare(const LibraryProduct& product);

 private:
  struct Library;
  void open();

  std::unique_ptr<Library> library_;
  std::string about_;  // its version, or why it is not there; empty before the first product
};

}  // namespace lamina::cuda
