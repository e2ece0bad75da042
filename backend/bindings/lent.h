// Memory of an array that the program sees in place: buffers and DLPack.
#pragma once

#include "array_type.h"

namespace lamina::python {

// Evaluates the array; while this lives its memory stays where it is and, where `refusal` is null,
// may be written through `view`. What is written is in the array, and in what shares its memory.
class Lent {
 public:
  // A number gets memory: the Python object stands for that from now on. REQUIRES: an array.
  explicit Lent(PyObject* self);
  ~Lent();
  Lent(const Lent&) = delete;

  const TensorView& view() const { return view_; }
  const Array& array() const { return array_; }
  // Why nobody may write.
  const char* refusal() const { return refusal_; }

 private:
  Array array_;
  TensorView view_;
  BufferRef buffer_;  // what is lent for writing
  const char* refusal_ = nullptr;
};

}  // namespace lamina::python
