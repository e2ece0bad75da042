// Dtype, DtypeCategory and the small argument forms: shapes, axes, dtypes.
#include "base/error.h"
#include "convert.h"
#include "module.h"

namespace lamina::python {

namespace {

struct PyDtype {
  Dtype value;
};

PyObject* kept[kDtypeCount];

}  // namespace

py::object dtype_object(Dtype d) {
  return py::reinterpret_borrow<py::object>(kept[static_cast<int>(d)]);
}

Dtype dtype_from(py::handle o) {
  if (py::isinstance<PyDtype>(o)) return o.cast<PyDtype&>().value;
  throw DtypeError(std::string("dtype: expected a Dtype such as mx.float32, got ") +
                   Py_TYPE(o.ptr())->tp_name);
}

std::optional<Dtype> optional_dtype(py::handle o) {
  if (o.is_none()) return std::nullopt;
  return dtype_from(o);
}

int64_t int_from(py::handle o) {
  PyObject* index = PyNumber_Index(o.ptr());
  if (!index) {
    PyErr_Clear();
    throw py::type_error("axes and sizes are ints, got " + std::string(py::repr(o)));
  }
  int overflow = 0;
  int64_t v = PyLong_AsLongLongAndOverflow(index, &overflow);
  Py_DECREF(index);
  if (overflow) throw ValueError("axes and sizes have 64 bits, got " + std::string(py::repr(o)));
  return v;
}

Shape shape_from(py::handle o) {
  Shape out;
  if (PyList_Check(o.ptr()) || PyTuple_Check(o.ptr())) {
    for (py::handle h : o) out.push_back(int_from(h));
  } else if ((PyIndex_Check(o.ptr()) && !is_array(o.ptr())) || !py::hasattr(o, "__iter__") ||
             PyUnicode_Check(o.ptr())) {
    out.push_back(int_from(o));
  } else {
    for (py::handle h : py::iter(o)) out.push_back(int_from(h));
  }
  return out;
}

void init_dtypes(py::module_& m) {
  py::class_<PyDtype> cls(m, "Dtype", "The type of an array's elements.");
  cls.def_property_readonly(
         "size", [](const PyDtype& d) { return itemsize(d.value); }, "Bytes per element.")
      .def("__repr__",
           [](const PyDtype& d) { return std::string("lamina.core.") + name_of(d.value); })
      .def("__eq__",
           [](const PyDtype& d, py::object o) {
             return py::isinstance<PyDtype>(o) && o.cast<PyDtype&>().value == d.value;
           })
      .def("__hash__", [](const PyDtype& d) { return static_cast<int>(d.value) + 1000; })
      .def("__reduce__", [](const PyDtype& d) {
        return py::make_tuple(py::module_::import("lamina._core").attr("_dtype_named"),
                              py::make_tuple(name_of(d.value)));
      });
  for (int i = 0; i < kDtypeCount; ++i) {
    auto d = static_cast<Dtype>(i);
    kept[i] = py::cast(PyDtype{d}).release().ptr();
    m.attr(d == Dtype::bool_ ? "bool_" : name_of(d)) = dtype_object(d);
  }
  m.def("_dtype_named", [](const std::string& name) {
    for (int i = 0; i < kDtypeCount; ++i)
      if (name == name_of(static_cast<Dtype>(i))) return dtype_object(static_cast<Dtype>(i));
    throw DtypeError("dtype: no dtype is named " + name);
  });
  m.def("_dtype_name", [](const PyDtype& d) { return name_of(d.value); });
  m.def("_promote",
        [](const PyDtype& a, const PyDtype& b) { return dtype_object(promote(a.value, b.value)); });
}

}  // namespace lamina::python
