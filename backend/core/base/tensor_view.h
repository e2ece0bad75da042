// A typed, strided window on memory: what device code is handed. Owns nothing.
#pragma once

#include "base/dtype.h"
#include "base/shape.h"

namespace lamina {

struct TensorView {
  void* data = nullptr;  // the first element (the offset is already applied)
  Dtype dtype = Dtype::float32;
  Shape shape;
  Strides strides;  // in elements; may be 0 or negative

  int64_t size() const { return element_count(shape); }
  bool contiguous() const { return is_row_major(shape, strides); }
  template <class T>
  T* as() const {
    return static_cast<T*>(data);
  }
};

}  // namespace lamina
