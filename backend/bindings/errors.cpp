// C++ errors become Python exceptions of the same meaning, each also a built-in kind.
#include "base/error.h"

#include "module.h"

namespace lamina::python {

namespace {

struct Classes {
  PyObject *value, *shape, *dtype, *index, *device, *trace, *internal, *memory, *base;
};
Classes classes;

PyObject* make(py::module_& m, const char* name, PyObject* builtin, const char* doc) {
  py::object bases = py::make_tuple(py::handle(classes.base), py::handle(builtin));
  std::string full = std::string("lamina.core.") + name;
  PyObject* c = PyErr_NewExceptionWithDoc(full.c_str(), doc, bases.ptr(), nullptr);
  if (!c) throw py::error_already_set();
  m.attr(name) = py::reinterpret_borrow<py::object>(c);
  return c;
}

void raise(std::exception_ptr p) {
  try {
    std::rethrow_exception(p);
  } catch (py::error_already_set& e) {
    e.restore();
  } catch (py::builtin_exception& e) {
    e.set_error();
  } catch (const OutOfMemory& e) {
    py::object error = py::reinterpret_borrow<py::object>(classes.memory)(e.what());
    error.attr("bytes_asked") = e.bytes_asked;
    error.attr("bytes_free") = e.bytes_free;
    PyErr_SetObject(classes.memory, error.ptr());
  } catch (const Interrupted& e) {
    PyErr_SetString(PyExc_KeyboardInterrupt, e.what());
  } catch (const ShapeError& e) {
    PyErr_SetString(classes.shape, e.what());
  } catch (const ValueError& e) {
    PyErr_SetString(classes.value, e.what());
  } catch (const DtypeError& e) {
    PyErr_SetString(classes.dtype, e.what());
  } catch (const IndexError& e) {
    PyErr_SetString(classes.index, e.what());
  } catch (const DeviceError& e) {
    PyErr_SetString(classes.device, e.what());
  } catch (const TraceError& e) {
    PyErr_SetString(classes.trace, e.what());
  } catch (const InternalError& e) {
    PyErr_SetString(classes.internal, e.what());
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  } catch (const std::exception& e) {
    PyErr_SetString(PyExc_RuntimeError, e.what());
  }
}

}  // namespace

void set_error() { raise(std::current_exception()); }

void init_errors(py::module_& m) {
  classes.base = PyErr_NewExceptionWithDoc("lamina.core.LaminaError",
                                           "Base of lamina's own errors.", nullptr, nullptr);
  m.attr("LaminaError") = py::reinterpret_borrow<py::object>(classes.base);
  classes.value = make(m, "ArgumentError", PyExc_ValueError, "An argument's value cannot be used.");
  classes.shape = make(m, "ShapeError", PyExc_ValueError, "Shapes do not fit together.");
  classes.dtype =
      make(m, "DtypeError", PyExc_TypeError, "An operation does not support this dtype.");
  classes.index = make(m, "BoundsError", PyExc_IndexError, "An index is out of bounds.");
  classes.device = make(m, "DeviceError", PyExc_RuntimeError, "A device or library failed.");
  classes.trace = make(m, "TraceError", PyExc_ValueError, "A transform cannot do this.");
  classes.internal = make(m, "InternalError", PyExc_RuntimeError, "A fault of lamina itself.");
  classes.memory = make(m, "OutOfMemoryError", PyExc_MemoryError,
                        "Memory ran out; bytes_asked and bytes_free tell how much.");
  py::register_exception_translator([](std::exception_ptr p) {
    if (!p) return;
    try {
      std::rethrow_exception(p);
    } catch (const Error&) {
      raise(p);
    }
  });
}

}  // namespace lamina::python
