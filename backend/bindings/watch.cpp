#include "watch.h"

#include <pybind11/stl.h>

#include <unordered_map>
#include <unordered_set>

#include "answers.h"
#include "convert.h"
#include "graph/primitive.h"
#include "module.h"

namespace lamina::python {

std::atomic<int> watched_traces{0};

namespace {

thread_local PyObject* listening = nullptr;  // owned
PyObject* number_types[2] = {nullptr, nullptr};

struct Watched {
  std::string name;
  PyObject* function;  // the builtin, for ever
  PyCFunction original;
};

// By what CPython passes as `self`, which is the function's own.
std::unordered_map<PyObject*, Watched>& watched() {
  static auto* functions = new std::unordered_map<PyObject*, Watched>;
  return *functions;
}

PyObject* told(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* names) {
  const Watched& w = watched().at(self);
  const Py_ssize_t all = count + (names ? PyTuple_GET_SIZE(names) : 0);
  PyObject* to = watcher();
  bool any = false;
  for (Py_ssize_t i = 0; to && i < all; ++i) any |= concerns(args[i]);
  if (!any)
    return reinterpret_cast<Entry>(reinterpret_cast<void*>(w.original))(self, args, count, names);
  return guarded([&] {
    const auto [positional, keywords] = arguments_of(args, count, names);
    return py::handle(to)
        .attr("call")(w.name, py::handle(w.function), positional, keywords)
        .release()
        .ptr();
  });
}

void watch_all(const std::string& scope, py::handle holder) {
  // What no size changes: ranks and dtypes are compared wherever an array is made again.
  static const std::unordered_set<std::string> fixed = {"array.dtype", "array.ndim",
                                                        "array.itemsize", "array.at"};
  py::dict attributes(holder.attr("__dict__"));
  for (auto [key, value] : attributes) {
    std::string name = scope + "." + std::string(py::str(key));
    if (PyType_Check(value.ptr()) && scope == "core")
      watch_all(std::string(py::str(key)), value);
    else if (PyObject* f = builtin_of(value.ptr()); f && !fixed.count(name))
      watched().try_emplace(PyCFunction_GET_SELF(f), Watched{name, py::handle(f).inc_ref().ptr(),
                                                             PyCFunction_GET_FUNCTION(f)});
  }
}

void exchange(bool telling) {
  for (auto& [self, w] : watched())
    reinterpret_cast<PyCFunctionObject*>(w.function)->m_ml->ml_meth =
        telling ? reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(told)) : w.original;
}

// REQUIRES: the interpreter lock, as all of these.
void begin() {
  if (watched_traces.fetch_add(1) == 0) exchange(true);
}
void end() {
  if (watched_traces.fetch_sub(1) == 1) exchange(false);
}

py::object listen(const py::object& watcher) {
  PyObject* before =
      std::exchange(listening, watcher.is_none() ? nullptr : py::object(watcher).release().ptr());
  return before ? py::reinterpret_steal<py::object>(before) : py::none();
}

bool is_stand_in(const Node& n) {
  return n.primitive == &placeholder_primitive() && !n.params.empty();
}

// Whether a stand-in lies in the graph behind x.
bool reads_stand_in(const Array& x) {
  std::unordered_set<const Node*> seen;
  std::vector<const Node*> stack{x.node()};
  while (!stack.empty()) {
    const Node* n = stack.back();
    stack.pop_back();
    if (!n->tracer || !seen.insert(n).second) continue;
    if (is_stand_in(*n)) return true;
    for (const Array& in : n->inputs) stack.push_back(in.node());
  }
  return false;
}

// A call made again: on the device and for the line of the first one.
py::object call_again(const py::object& function, const py::tuple& args, const py::dict& keywords,
                      int device, uint32_t origin) {
  DeviceScope on(device < 0 ? current_device() : device);
  if (!origin || !origin_hook.load(std::memory_order_relaxed)) return function(*args, **keywords);
  OriginScope from(origin);
  return function(*args, **keywords);
}

}  // namespace

PyObject* watcher_here() { return listening; }

FollowsSizes number_kind(PyObject* o) {
  PyObject* type = reinterpret_cast<PyObject*>(Py_TYPE(o));
  if (type == number_types[0]) return FollowsSizes::whole;
  return type == number_types[1] ? FollowsSizes::real : FollowsSizes::no;
}

bool concerns(PyObject* o) {
  if (is_array(o)) return is_stand_in(*array_of(o).node());
  if (number_kind(o) != FollowsSizes::no) return true;
  if (PyList_Check(o) || PyTuple_Check(o)) {
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(o); ++i)
      if (concerns(PySequence_Fast_GET_ITEM(o, i))) return true;
    return false;
  }
  if (PyDict_Check(o)) {
    PyObject *key = nullptr, *value = nullptr;
    Py_ssize_t at = 0;
    while (PyDict_Next(o, &at, &key, &value))
      if (concerns(value)) return true;
    return false;
  }
  if (!PySlice_Check(o)) return false;
  auto* s = reinterpret_cast<PySliceObject*>(o);
  return concerns(s->start) || concerns(s->stop) || concerns(s->step);
}

PyObject* tell(PyObject* watcher, const char* name, std::initializer_list<PyObject*> arguments) {
  return guarded([&] {
    py::tuple positional(arguments.size());
    size_t i = 0;
    for (PyObject* a : arguments) positional[i++] = py::reinterpret_borrow<py::object>(a);
    return py::handle(watcher).attr("operator")(name, positional).release().ptr();
  });
}

Array stand_in(const Array& like, int64_t trace, int64_t slot) {
  Array x = make_node(placeholder_primitive(), Params().add(trace).add(slot), {}, like.shape(),
                      like.dtype());
  x.node()->tracer = true;
  return x;
}

void watch_functions(py::module_& m) {
  watch_all("core", m);
  m.def("_watch_begin", begin, "A trace without sizes begins.");
  m.def("_watch_end", end, "A trace without sizes ends.");
  m.def("_listen", listen, py::arg("watcher").none(true),
        "Sets this thread's watcher, None for none; gives the one before.");
  m.def("_listener", []() -> py::object {
    PyObject* to = watcher();
    return to ? py::reinterpret_borrow<py::object>(to) : py::none();
  });
  m.def("_concerns", [](const py::object& o) { return concerns(o.ptr()); });
  m.def("_number_types", [](const py::object& whole, const py::object& real) {
    number_types[0] = py::object(whole).release().ptr();
    number_types[1] = py::object(real).release().ptr();
  });
  m.def("_stand_in", stand_in, py::arg("like"), py::arg("trace"), py::arg("slot"));
  m.def("_slot_of", [](const Array& x) -> py::object {
    const Node& n = *x.node();
    if (!is_stand_in(n)) return py::none();
    Params::Reader read = n.params.read();
    int64_t trace = read.integer();
    return py::make_tuple(trace, read.integer());
  });
  m.def("_reads_stand_in", reads_stand_in);
  m.def(
      "_array_kind", [](const Array& x) { return static_cast<int64_t>(x.dtype()) | x.ndim() << 8; },
      "Dtype and number of axes as one number.");
  m.def("_is_tracer", [](const Array& x) { return x.node()->tracer; });
  m.def("_here", [] {
    OriginHook hook = origin_hook.load(std::memory_order_relaxed);
    return py::make_tuple(static_cast<int>(current_device()), hook ? hook() : 0);
  });
  m.def("_call_again", call_again);
  py::dict functions;
  for (auto& [self, w] : watched()) functions[w.name.c_str()] = py::handle(w.function);
  m.attr("_functions") = functions;
}

}  // namespace lamina::python
