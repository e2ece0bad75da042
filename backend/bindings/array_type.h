// The Python type `array`, written against CPython's own slots: operators on the hot path cost what
// building the node costs. Everything else reaches it through the caster below.
#pragma once

#include <pybind11/pybind11.h>

#include "base/tensor_view.h"
#include "graph/array.h"

namespace lamina::python {

namespace py = pybind11;

struct PyArray {
  PyObject_HEAD Array array;
  PyObject* weak_references;
};

// The type object; made by init_array_type.
PyTypeObject* array_type();
void init_array_type(py::module_& m);

inline bool is_array(PyObject* o) { return PyObject_TypeCheck(o, array_type()); }
inline Array& array_of(PyObject* o) { return reinterpret_cast<PyArray*>(o)->array; }
// An argument that is an array, for what needs the Python object itself. Borrowed.
struct ArrayObject {
  PyObject* ptr = nullptr;
};
// A new reference. Never fails except for memory, then nullptr with the error set.
PyObject* wrap(Array array);

// Sets the Python error for the exception in flight.
void set_error();
// Runs f, turning C++ exceptions into Python's; nullptr on error.
template <class F>
PyObject* guarded(F&& f) noexcept {
  try {
    return f();
  } catch (...) {
    set_error();
    return nullptr;
  }
}

// The buffer protocol's slots: in place.
int get_buffer(PyObject* self, Py_buffer* view, int flags);
void release_buffer(PyObject* self, Py_buffer* view);

// Evaluates without the interpreter lock.
void evaluate_unlocked(std::span<const Array> roots, bool behind = false);
// The elements in the CPU's memory; evaluates and copies without the interpreter lock.
TensorView view_unlocked(const Array& x);

}  // namespace lamina::python

namespace pybind11::detail {

template <>
struct type_caster<lamina::Array> {
  PYBIND11_TYPE_CASTER(lamina::Array, const_name("array"));

  bool load(handle source, bool) {
    if (!source || !lamina::python::is_array(source.ptr())) return false;
    value = lamina::python::array_of(source.ptr());
    return true;
  }
  static handle cast(lamina::Array source, return_value_policy, handle) {
    return lamina::python::wrap(std::move(source));
  }
};

template <>
struct type_caster<lamina::python::ArrayObject> {
  PYBIND11_TYPE_CASTER(lamina::python::ArrayObject, const_name("array"));

  bool load(handle source, bool) {
    if (!source || !lamina::python::is_array(source.ptr())) return false;
    value.ptr = source.ptr();
    return true;
  }
};

}  // namespace pybind11::detail
