#include "answers.h"

#include "array_type.h"

namespace lamina::python {

namespace {

constexpr int kFlags = METH_FASTCALL | METH_KEYWORDS;

// The binding library has one entry for all functions.
Entry entry = nullptr;

PyObject* refusal(const py::error_already_set& error, PyObject* const* args, Py_ssize_t count,
                  PyObject* names) {
  return guarded([&]() -> PyObject* {
    const std::string text = py::str(error.value());
    const auto [positional, keywords] = arguments_of(args, count, names);
    py::object said =
        py::module_::import("lamina._arguments").attr("refused")(text, positional, keywords);
    PyErr_SetObject(PyExc_TypeError, said.ptr());
    return nullptr;
  });
}

PyObject* answered(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* names) {
  PyObject* out = entry(self, args, count, names);
  if (out || !PyErr_ExceptionMatches(PyExc_TypeError)) return out;
  py::error_already_set error;
  const std::string text = py::str(error.value());
  if (text.find("(): incompatible ") == std::string::npos) {
    error.restore();
    return nullptr;
  }
  return refusal(error, args, count, names);
}

void answer_in(py::handle holder, bool classes) {
  py::dict attributes(holder.attr("__dict__"));
  for (auto [key, value] : attributes) {
    if (PyType_Check(value.ptr()) && classes) answer_in(value, false);
    PyObject* f = builtin_of(value.ptr());
    if (!f) continue;
    PyMethodDef* def = reinterpret_cast<PyCFunctionObject*>(f)->m_ml;
    Entry now = reinterpret_cast<Entry>(reinterpret_cast<void*>(def->ml_meth));
    if (now == answered) continue;
    if (!entry) entry = now;
    if (now == entry)
      def->ml_meth = reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(answered));
  }
}

}  // namespace

CallArguments arguments_of(PyObject* const* args, Py_ssize_t count, PyObject* names) {
  CallArguments out{py::tuple(static_cast<size_t>(count)), {}};
  for (Py_ssize_t i = 0; i < count; ++i)
    out.positional[static_cast<size_t>(i)] = py::reinterpret_borrow<py::object>(args[i]);
  for (Py_ssize_t i = 0; names && i < PyTuple_GET_SIZE(names); ++i)
    out.keywords[py::handle(PyTuple_GET_ITEM(names, i))] =
        py::reinterpret_borrow<py::object>(args[count + i]);
  return out;
}

PyObject* builtin_of(PyObject* o) {
  if (PyInstanceMethod_Check(o)) o = PyInstanceMethod_GET_FUNCTION(o);
  if (PyObject_TypeCheck(o, &PyProperty_Type)) {
    o = py::handle(o).attr("fget").ptr();
    if (PyInstanceMethod_Check(o)) o = PyInstanceMethod_GET_FUNCTION(o);
  }
  return PyCFunction_Check(o) && PyCFunction_GET_FLAGS(o) == kFlags ? o : nullptr;
}

void answer_calls(py::module_& m) { answer_in(m, true); }

}  // namespace lamina::python
