// The buffer protocol: memoryview(x) and everything built on it read the array's memory in place.
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "lent.h"

namespace lamina::python {

namespace {

struct Export {
  explicit Export(PyObject* x) : lent(x) {}

  Lent lent;
  std::vector<Py_ssize_t> shape, strides;
};

const char* format_of(Dtype d) {
  static const char* formats[kDtypeCount] = {"?", "B", "H", "I",     "Q", "b", "h",
                                             "i", "q", "e", nullptr, "f", "d", "Zf"};
  return formats[static_cast<int>(d)];
}

}  // namespace

int get_buffer(PyObject* self, Py_buffer* view, int flags) {
  view->obj = nullptr;
  PyObject* done = guarded([&]() -> PyObject* {
    const Array& x = array_of(self);
    const char* format = format_of(x.dtype());
    if (!format)
      throw DtypeError(
          "buffer: bfloat16 has no buffer format\nUse x.view(mx.uint16) or x.astype(mx.float32)");
    auto e = std::make_unique<Export>(self);
    const TensorView& v = e->lent.view();
    if (const char* why = e->lent.refusal(); why && (flags & PyBUF_WRITABLE))
      throw py::buffer_error("array: its memory is read-only: " + std::string(why) +
                             "\nWrite to np.array(x), which is a copy");
    if (!(flags & PyBUF_STRIDES) && !v.contiguous())
      throw ValueError("buffer: the consumer wants contiguous memory\nPass mx.contiguous(x)");
    e->shape = {v.shape.begin(), v.shape.end()};
    for (int64_t s : v.strides) e->strides.push_back(s * itemsize(v.dtype));
    static Py_ssize_t none = 0;
    view->buf = v.data ? v.data : &none;
    view->itemsize = itemsize(v.dtype);
    view->len = x.nbytes();
    view->readonly = e->lent.refusal() != nullptr;
    view->ndim = static_cast<int>(e->shape.size());
    view->format = flags & PyBUF_FORMAT ? const_cast<char*>(format) : nullptr;
    view->shape = flags & PyBUF_ND ? e->shape.data() : nullptr;
    view->strides = flags & PyBUF_STRIDES ? e->strides.data() : nullptr;
    view->suboffsets = nullptr;
    view->internal = e.release();
    view->obj = Py_NewRef(self);
    Py_RETURN_NONE;
  });
  Py_XDECREF(done);
  return done ? 0 : -1;
}

void release_buffer(PyObject*, Py_buffer* view) { delete static_cast<Export*>(view->internal); }

}  // namespace lamina::python
