// C++ errors become Python exceptions of the same meaning, each also a built-in kind.
#include "base/axis_error.h"
#include "base/file_error.h"
#include "devices/soft_metal/runtime.h"

#include "custom/custom.h"
#include "module.h"
#include "ops/linalg/linalg.h"

namespace lamina::python {

namespace {

struct Classes {
  PyObject *value, *axis, *file, *shape, *dtype, *index, *device, *trace, *internal, *memory,
      *primitive, *linear, *base;
};
Classes classes;

// Programs written for MLX catch the built-in kind that MLX raises, which is not always the one
// that says best what happened: such a class is of all these kinds.
PyObject* make(py::module_& m, const char* name, std::initializer_list<PyObject*> builtins,
               const char* doc) {
  py::list all;
  all.append(py::handle(classes.base));
  for (PyObject* builtin : builtins) all.append(py::handle(builtin));
  py::tuple bases(all);
  std::string full = std::string("lamina.core.") + name;
  PyObject* c = PyErr_NewExceptionWithDoc(full.c_str(), doc, bases.ptr(), nullptr);
  if (!c) throw py::error_already_set();
  m.attr(name) = py::reinterpret_borrow<py::object>(c);
  return c;
}

// A message may hold bytes of a damaged file or of a file's name.
void say(PyObject* kind, const std::exception& e) {
  std::string_view text = e.what();
  PyObject* message =
      PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "backslashreplace");
  if (!message) return;
  PyErr_SetObject(kind, message);
  Py_DECREF(message);
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
    say(PyExc_KeyboardInterrupt, e);
  } catch (const ShapeError& e) {
    say(classes.shape, e);
  } catch (const AxisError& e) {
    say(classes.axis, e);
  } catch (const FileError& e) {
    say(classes.file, e);
  } catch (const LinAlgError& e) {
    say(classes.linear, e);
  } catch (const ValueError& e) {
    say(classes.value, e);
  } catch (const DtypeError& e) {
    say(classes.dtype, e);
  } catch (const IndexError& e) {
    say(classes.index, e);
#ifdef __linux__
  } catch (const soft_metal::RuleError& e) {
    py::object error = py::reinterpret_borrow<py::object>(classes.device)(e.what());
    error.attr("rule") = soft_metal::name_of(e.rule);
    error.attr("kernel") = e.kernel;
    error.attr("buffer") = e.buffer;
    error.attr("thread") = py::make_tuple(e.thread[0], e.thread[1], e.thread[2]);
    PyErr_SetObject(classes.device, error.ptr());
#endif
  } catch (const DeviceError& e) {
    say(classes.device, e);
  } catch (const TraceError& e) {
    say(classes.trace, e);
  } catch (const PrimitiveError& e) {
    say(classes.primitive, e);
  } catch (const InternalError& e) {
    say(classes.internal, e);
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  } catch (const std::exception& e) {
    say(PyExc_RuntimeError, e);
  }
}

}  // namespace

void set_error() { raise(std::current_exception()); }

void init_errors(py::module_& m) {
  classes.base = PyErr_NewExceptionWithDoc("lamina.core.LaminaError",
                                           "Base of lamina's own errors.", nullptr, nullptr);
  m.attr("LaminaError") = py::reinterpret_borrow<py::object>(classes.base);
  PyObject *type = PyExc_TypeError, *value = PyExc_ValueError, *runtime = PyExc_RuntimeError,
           *index = PyExc_IndexError;
  classes.value = make(m, "ArgumentError", {value}, "An argument's value cannot be used.");
  classes.axis = make(m, "AxisError", {value, index}, "An array does not have this axis.");
  classes.file = make(m, "FileError", {value, runtime}, "A file cannot be used.");
  classes.shape = make(m, "ShapeError", {value}, "Shapes do not fit together.");
  classes.linear = make(m, "LinAlgError", {value, runtime},
                        "A matrix's numbers do not allow it: singular, not positive definite.");
  classes.dtype = make(m, "DtypeError", {type, value, runtime},
                       "An operation does not support this dtype or type.");
  classes.index = make(m, "BoundsError", {index, value}, "An index is out of bounds.");
  classes.device = make(m, "DeviceError", {runtime, value}, "A device or library failed.");
  classes.trace = make(m, "TraceError", {value}, "A transform cannot do this.");
  classes.internal = make(m, "InternalError", {runtime}, "A fault of lamina itself.");
  classes.primitive = make(m, "PrimitiveError", {runtime},
                           "The code of a primitive that a program registered failed.");
  classes.memory = make(m, "OutOfMemoryError", {PyExc_MemoryError},
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
