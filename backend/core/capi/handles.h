// Handles and views: the C side's picture of arrays.
#pragma once

#include <vector>

#include "base/tensor_view.h"
#include "capi/lamina.h"
#include "graph/array.h"

namespace lamina::capi {

// A handle of its own: the reference is the caller's.
lamina_array give(const Array& array);
// The handle's reference becomes the Array's. Null gives an empty Array.
Array take(lamina_array handle);
// Throws ValueError for null.
Array borrow(const char* op, lamina_array handle);
std::vector<lamina_array> borrowed(const Arrays& arrays);

Dtype dtype_from(const char* op, lamina_dtype dtype);
Shape shape_from(const char* op, int32_t ndim, const int64_t* shape);
lamina_view view_of(const TensorView& view);
// Shape and dtype only; lives as long as the array.
lamina_view type_of(const Array& array);

// While one lives, this thread runs a callback that must not make or evaluate arrays.
class PureScope {
 public:
  PureScope();
  ~PureScope();
  PureScope(const PureScope&) = delete;

 private:
  bool before_;
};
// Throws TraceError inside such a callback.
void require_graph(const char* op);

}  // namespace lamina::capi
