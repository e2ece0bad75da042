#include "capi/functions.h"

#include <cstring>

#include "base/error.h"
#include "capi/handles.h"
#include "capi/status.h"
#include "execute/evaluate.h"
#include "ops/ops.h"

namespace lamina::capi {

namespace {

thread_local bool pure = false;

// Copies elements in row-major order of `shape`; strides are those of the source, in elements.
void gather(char* to, const char* from, const Shape& shape, const Strides& strides, int64_t item) {
  const int64_t n = element_count(shape);
  if (n == 0) return;
  if (is_row_major(shape, strides)) {
    std::memcpy(to, from, static_cast<size_t>(n * item));
    return;
  }
  Shape index(shape.size(), 0);
  for (int64_t k = 0; k < n; ++k) {
    int64_t at = 0;
    for (size_t d = 0; d < shape.size(); ++d) at += index[d] * strides[d];
    std::memcpy(to + k * item, from + at * item, static_cast<size_t>(item));
    for (size_t d = shape.size(); d-- > 0;) {
      if (++index[d] < shape[d]) break;
      index[d] = 0;
    }
  }
}

// What a caller's view says, checked.
struct Given {
  char* data;
  Dtype dtype;
  Shape shape;
  Strides strides;
};
Given given(const char* op, const lamina_view* view) {
  if (!view) throw ValueError(std::string(op) + ": the view is null");
  Given g{static_cast<char*>(view->data),
          dtype_from(op, view->dtype),
          shape_from(op, view->ndim, view->shape),
          {}};
  g.strides = view->strides ? Strides(view->strides, view->strides + view->ndim)
                            : row_major_strides(g.shape);
  if (!g.data && element_count(g.shape) > 0)
    throw ValueError(std::string(op) + ": data is null for shape " + to_string(g.shape));
  return g;
}

}  // namespace

PureScope::PureScope() : before_(pure) { pure = true; }
PureScope::~PureScope() { pure = before_; }

void require_graph(const char* op) {
  if (pure)
    throw TraceError(std::string(op) +
                     ": a primitive's cpu and text functions must not make or evaluate arrays");
}

lamina_array give(const Array& array) {
  array.node()->refs.fetch_add(1, std::memory_order_relaxed);
  return reinterpret_cast<lamina_array>(array.node());
}

Array take(lamina_array handle) {
  Array out(reinterpret_cast<Node*>(handle));
  release(handle);
  return out;
}

Array borrow(const char* op, lamina_array handle) {
  if (!handle) throw ValueError(std::string(op) + ": an array handle is null");
  return Array(reinterpret_cast<Node*>(handle));
}

std::vector<lamina_array> borrowed(const Arrays& arrays) {
  std::vector<lamina_array> out;
  for (const Array& x : arrays) out.push_back(reinterpret_cast<lamina_array>(x.node()));
  return out;
}

Dtype dtype_from(const char* op, lamina_dtype dtype) {
  if (dtype < 0 || dtype >= kDtypeCount)
    throw DtypeError(std::string(op) + ": there is no dtype " + std::to_string(dtype));
  return static_cast<Dtype>(dtype);
}

Shape shape_from(const char* op, int32_t ndim, const int64_t* shape) {
  if (ndim < 0 || ndim > LAMINA_MAX_NDIM || (ndim > 0 && !shape))
    throw ShapeError(std::string(op) + ": ndim must be 0 to " + std::to_string(LAMINA_MAX_NDIM) +
                     " with as many sizes, got " + std::to_string(ndim));
  Shape out(shape, shape + ndim);
  for (int64_t n : out)
    if (n < 0) throw ShapeError(std::string(op) + ": a size is negative: " + to_string(out));
  element_count(out);
  return out;
}

lamina_view view_of(const TensorView& v) {
  return {v.data, static_cast<lamina_dtype>(v.dtype), static_cast<int32_t>(v.shape.size()),
          v.shape.data(), v.strides.data()};
}

lamina_view type_of(const Array& x) {
  return {nullptr, static_cast<lamina_dtype>(x.dtype()), static_cast<int32_t>(x.ndim()),
          x.shape().data(), nullptr};
}

lamina_status array_copy(const lamina_view* data, lamina_array* out) {
  return guarded([&] {
    require_graph("array_copy");
    Given g = given("array_copy", data);
    BufferRef buffer =
        Buffer::allocate(element_count(g.shape) * itemsize(g.dtype), Category::input, -1);
    gather(static_cast<char*>(buffer->data()), g.data, g.shape, g.strides, itemsize(g.dtype));
    *out = give(make_leaf({buffer, row_major_strides(g.shape), 0}, g.shape, g.dtype));
  });
}

lamina_status array_adopt(const lamina_view* data, void (*on_release)(void*), void* owner,
                          lamina_array* out) {
  return guarded([&] {
    require_graph("array_adopt");
    Given g = given("array_adopt", data);
    const int64_t item = itemsize(g.dtype);
    if (reinterpret_cast<uintptr_t>(g.data) % static_cast<uintptr_t>(item))
      throw ValueError("array_adopt: the memory of " + std::string(name_of(g.dtype)) +
                       " elements must be aligned to " + std::to_string(item) +
                       " bytes\nUse array_copy");
    int64_t low = 0, high = 0;  // elements reached, counted from data
    for (size_t d = 0; d < g.shape.size() && element_count(g.shape) > 0; ++d)
      (g.strides[d] < 0 ? low : high) += (g.shape[d] - 1) * g.strides[d];
    int64_t bytes = element_count(g.shape) > 0 ? (high - low + 1) * item : 0;
    BufferRef buffer = Buffer::adopt(
        g.data + low * item, bytes, Category::input,
        [on_release, owner] {
          if (on_release) on_release(owner);
        },
        Buffer::Writers::owner);
    *out = give(make_leaf({buffer, g.strides, -low}, g.shape, g.dtype));
  });
}

lamina_status array_scalar(double value, lamina_dtype dtype, lamina_array* out) {
  return guarded([&] {
    require_graph("array_scalar");
    *out = give(make_scalar(value, dtype_from("array_scalar", dtype)));
  });
}

lamina_status array_full(const lamina_type* type, double value, lamina_array* out) {
  return guarded([&] {
    require_graph("array_full");
    if (!type) throw ValueError("array_full: the type is null");
    *out = give(full(shape_from("array_full", type->ndim, type->shape), value,
                     dtype_from("array_full", type->dtype)));
  });
}

void retain(lamina_array handle) {
  if (handle) reinterpret_cast<Node*>(handle)->refs.fetch_add(1, std::memory_order_relaxed);
}

void release(lamina_array handle) {
  if (handle) release_node(reinterpret_cast<Node*>(handle));
}

lamina_status array_type(lamina_array array, lamina_view* out) {
  return guarded([&] { *out = type_of(borrow("array_type", array)); });
}

lamina_status array_data(lamina_array array, lamina_view* out) {
  return guarded([&] {
    require_graph("array_data");
    Array x = borrow("array_data", array);
    TensorView v = tensor_view(x);
    *out = type_of(x);
    out->data = v.data;
    out->strides = x.node()->value.strides.data();
  });
}

lamina_status array_read(lamina_array array, void* to, size_t bytes) {
  return guarded([&] {
    require_graph("array_read");
    Array x = borrow("array_read", array);
    if (bytes != static_cast<size_t>(x.nbytes()))
      throw ValueError("array_read: an array " + to_string(x.shape()) + " of " +
                       name_of(x.dtype()) + " has " + std::to_string(x.nbytes()) + " bytes, not " +
                       std::to_string(bytes));
    TensorView v = tensor_view(x);
    gather(static_cast<char*>(to), static_cast<const char*>(v.data), v.shape, v.strides,
           itemsize(v.dtype));
  });
}

lamina_status eval(const lamina_array* arrays, size_t count) {
  return guarded([&] {
    require_graph("eval");
    Arrays roots;
    for (size_t i = 0; i < count; ++i) roots.push_back(borrow("eval", arrays[i]));
    evaluate(roots);
    wait_for(roots);
  });
}

}  // namespace lamina::capi
