// Calls of compiled functions with arguments that they do not take.
//
// The binding library refuses them with a list of C++'s signatures. Such a refusal becomes a
// TypeError that names the function, the argument, what it may be and what it was
// (lamina/_arguments.py). A call that succeeds pays for one more frame.
#pragma once

#include <pybind11/pybind11.h>

namespace lamina::python {

// Every compiled function that the module has by now, and has not been given here before.
// REQUIRES: the interpreter lock, and no function of `watch.h` exchanged.
void answer_calls(pybind11::module_& m);

// How CPython enters a builtin of METH_FASTCALL | METH_KEYWORDS: `count` positional arguments, then
// those that `names` (a tuple, or nullptr) has names for.
using Entry = PyObject* (*)(PyObject* self, PyObject* const* args, Py_ssize_t count,
                            PyObject* names);
struct CallArguments {
  pybind11::tuple positional;
  pybind11::dict keywords;
};
CallArguments arguments_of(PyObject* const* args, Py_ssize_t count, PyObject* names);

// The builtin behind an attribute: a function, a method or a property's getter; nullptr for others.
PyObject* builtin_of(PyObject* attribute);

}  // namespace lamina::python
