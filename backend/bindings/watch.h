// Calls of the interface while a function is traced without sizes: a watcher, which is a Python
// object (lamina/_shapeless.py), is told of each call that reads an array or a number of the trace,
// makes the call itself, and gives stand-ins for what came back.
//
// Nobody pays for it otherwise: the entries of the compiled functions are exchanged while such a
// trace runs, and the slots of `array` ask one flag.
#pragma once

#include <atomic>
#include <initializer_list>

#include "array_type.h"

namespace lamina::python {

extern std::atomic<int> watched_traces;  // on any thread
PyObject* watcher_here();

// The watcher of this thread, borrowed; nullptr where none listens.
inline PyObject* watcher() {
  return watched_traces.load(std::memory_order_relaxed) ? watcher_here() : nullptr;
}
// Whether an argument is, or holds, a stand-in or a number that follows sizes.
bool concerns(PyObject* o);
enum class FollowsSizes : uint8_t { no, whole, real };
FollowsSizes number_kind(PyObject* o);
// A new reference to what the watcher gives for a call; nullptr with the error set.
PyObject* tell(PyObject* watcher, const char* name, std::initializer_list<PyObject*> arguments);

// An array of the shape and dtype of `like` without a value: number `slot` of a trace.
Array stand_in(const Array& like, int64_t trace, int64_t slot);

// Every compiled function that the module has by now is told of from now on.
void watch_functions(py::module_& m);

}  // namespace lamina::python
