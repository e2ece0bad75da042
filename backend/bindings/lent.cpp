#include "lent.h"

#include <algorithm>
#include <cstring>
#include <vector>

namespace lamina::python {

namespace {

// The value of a number in memory that the array has for itself.
Array in_memory(const Array& x) {
  const auto bytes = static_cast<int64_t>(itemsize(x.dtype()));
  BufferRef buffer = Buffer::allocate(bytes, Category::input, -1);
  std::memcpy(buffer->data(), x.node()->literal.bytes, static_cast<size_t>(bytes));
  return make_leaf({buffer, {}, 0}, {}, x.dtype());
}

bool each_in_its_place(const TensorView& v) {
  std::vector<std::pair<int64_t, int64_t>> axes;
  for (size_t i = 0; i < v.shape.size(); ++i)
    if (v.shape[i] > 1) axes.emplace_back(std::abs(v.strides[i]), v.shape[i]);
  std::sort(axes.begin(), axes.end());
  int64_t reach = 0;
  for (auto [stride, size] : axes) {
    if (stride <= reach) return false;
    reach += stride * (size - 1);
  }
  return true;
}

const char* why_not(const Node& n, const TensorView& v) {
  if (n.scalar) return "it is a number that a transform follows";
  const Buffer& buffer = *n.value.buffer;
  if (!buffer.on_host()) return "it is a copy of the memory of another device";
  if (!buffer.writable()) return "it belongs to a file, or to an owner who lets nobody write";
  if (!each_in_its_place(v)) return "several elements lie in one place, as after a broadcast";
  return nullptr;
}

}  // namespace

Lent::Lent(PyObject* self) {
  {
    Array& own = array_of(self);
    const Node& n = *own.node();
    if (n.scalar && !n.tracer) own = in_memory(own);
    array_ = own;
  }
  view_ = view_unlocked(array_);
  if (array_.size() == 0) return;
  const Node& n = *array_.node();
  refusal_ = why_not(n, view_);
  if (refusal_) return;
  buffer_ = n.value.buffer;
  buffer_->lend();
}

Lent::~Lent() {
  if (buffer_) buffer_->take_back();
}

}  // namespace lamina::python
