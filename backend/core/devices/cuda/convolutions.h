// Convolutions by cuDNN, opened at the first: deterministic algorithms in the precision of the
// dtype, sums in float32 at least, TF32 never.
#pragma once

#include <memory>

#include "devices/cuda/replay.h"
#include "kernels/library.h"

namespace lamina::cuda {

class Convolutions {
 public:
  Convolutions();
  ~Convolutions();
  Convolutions(const Convolutions&) = delete;
  Convolutions& operator=(const Convolutions&) = delete;

  // Null where the library is not there or has no such algorithm for the convolution.
  std::shared_ptr<LibraryCall> prepare(const LibraryConvolution& convolution);

 private:
  struct Library;
  void open();

  std::unique_ptr<Library> library_;
  std::string about_;  // its version, or why it is not there; empty before the first convolution
};

}  // namespace lamina::cuda
