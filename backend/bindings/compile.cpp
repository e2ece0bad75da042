// mx.compile: what a Python function builds for arguments of one form, kept and built again.
#include <pybind11/stl.h>

#include <bit>
#include <cstring>
#include <memory>
#include <unordered_map>
#include <unordered_set>

#include "base/error.h"
#include "base/hash.h"
#include "convert.h"
#include "module.h"
#include "transforms/traced.h"
#include "trees.h"
#include "watch.h"

namespace lamina::python {

namespace {

// --- the form of a tree --------------------------------------------------------------------------

// Everything of a tree but its arrays' values: a trace holds for one form.
class Form {
 public:
  // Without `sizes`, arrays of one rank and dtype are of one form.
  explicit Form(bool sizes) : sizes_(sizes) {}
  enum Tag : int64_t { kArray, kList, kTuple, kDict, kNone, kBool, kInt, kFloat, kText, kOther };

  // `what`: names the tree in the error for a leaf that is no constant; nullptr: such are ignored.
  void add(py::handle tree, const char* what) {
    PyObject* o = tree.ptr();
    if (is_array(o)) {
      add_array(array_of(o));
    } else if (PyList_Check(o) || PyTuple_Check(o)) {
      word(PyList_Check(o) ? kList : kTuple);
      // Named tuples of other types are other forms.
      word(std::bit_cast<int64_t>(Py_TYPE(o)));
      word(static_cast<int64_t>(py::len(tree)));
      for (py::handle item : tree) add(item, what);
    } else if (PyDict_Check(o)) {
      word(kDict);
      word(static_cast<int64_t>(PyDict_GET_SIZE(o)));
      PyObject *key = nullptr, *value = nullptr;
      Py_ssize_t at = 0;
      while (PyDict_Next(o, &at, &key, &value)) {
        if (PyUnicode_Check(key))
          text(key);
        else
          text(py::repr(key).ptr());
        add(value, what);
      }
    } else {
      constant(o, what);
    }
  }

  void word(int64_t w) { words_.push_back(w); }
  const std::vector<int64_t>& words() const { return words_; }
  const Arrays& arrays() const { return arrays_; }

 private:
  void add_array(const Array& x) {
    word(kArray);
    word(static_cast<int64_t>(x.dtype()) | x.ndim() << 8);
    if (sizes_)
      for (int64_t d : x.shape()) word(d);
    arrays_.push_back(x);
  }

  void constant(PyObject* o, const char* what) {
    if (o == Py_None) {
      word(kNone);
    } else if (PyBool_Check(o)) {
      word(kBool);
      word(o == Py_True);
    } else if (PyLong_Check(o)) {
      int overflow = 0;
      word(kInt);
      word(PyLong_AsLongLongAndOverflow(o, &overflow));
      if (overflow) text(py::repr(o).ptr());
    } else if (PyFloat_Check(o)) {
      word(kFloat);
      word(std::bit_cast<int64_t>(PyFloat_AS_DOUBLE(o)));
    } else if (PyUnicode_Check(o)) {
      text(o);
    } else if (!what) {
      word(kOther);
    } else {
      throw ValueError(std::string("compile: ") + what +
                       " must be arrays, int, float, bool, str, None, or lists, tuples and "
                       "dicts of them, got " +
                       Py_TYPE(o)->tp_name +
                       "\nMake it an mx.array, or let the function capture it");
    }
  }

  void text(PyObject* s) {
    Py_ssize_t size = 0;
    const char* data = PyUnicode_AsUTF8AndSize(s, &size);
    if (!data) throw py::error_already_set();
    word(kText);
    word(static_cast<int64_t>(size));
    for (Py_ssize_t at = 0; at < size; at += 8) {
      int64_t w = 0;
      std::memcpy(&w, data + at, static_cast<size_t>(std::min<Py_ssize_t>(8, size - at)));
      word(w);
    }
  }

  bool sizes_;
  std::vector<int64_t> words_;
  Arrays arrays_;
};

struct HashWords {
  size_t operator()(const std::vector<int64_t>& words) const {
    Hash128 h;
    for (int64_t w : words) h.add(static_cast<uint64_t>(w));
    return h.lo;
  }
};

// --- captured state ------------------------------------------------------------------------------

// One array of a captured tree: where it stands, so that another can stand there for a while.
struct Place {
  py::object parent;  // a list or dict; else empty, and the array's handle itself takes the value
  py::object key;
  py::object original;
  Array value;
};

void put(const Place& p, const Array& x) {
  if (!p.parent) {
    array_of(p.original.ptr()) = x;
    return;
  }
  py::object now = py::cast(x);
  if (PyDict_Check(p.parent.ptr())) {
    if (PyDict_SetItem(p.parent.ptr(), p.key.ptr(), now.ptr())) throw py::error_already_set();
  } else if (PyList_SetItem(p.parent.ptr(), p.key.cast<Py_ssize_t>(), now.inc_ref().ptr())) {
    PyErr_Clear();  // the list has become shorter
  }
}

void places_in(py::handle tree, py::handle parent, const py::object& key, std::vector<Place>& out) {
  PyObject* o = tree.ptr();
  if (is_array(o)) {
    out.push_back({py::reinterpret_borrow<py::object>(parent), key,
                   py::reinterpret_borrow<py::object>(tree), array_of(o)});
  } else if (PyList_Check(o) || PyTuple_Check(o)) {
    Py_ssize_t at = 0;
    for (py::handle item : tree)
      places_in(item, PyList_Check(o) ? tree : py::handle(), py::int_(at++), out);
  } else if (PyDict_Check(o)) {
    PyObject *name = nullptr, *value = nullptr;
    Py_ssize_t at = 0;
    while (PyDict_Next(o, &at, &name, &value))
      places_in(value, tree, py::reinterpret_borrow<py::object>(name), out);
  }
}

std::vector<Place> places_in(py::handle tree) {
  std::vector<Place> out;
  places_in(tree, py::handle(), py::object(), out);
  return out;
}

// Stand-ins in the places of captured inputs while the function is traced.
class Swap {
 public:
  Swap(py::handle tree, const Arrays& stand_ins, size_t first) : places_(places_in(tree)) {
    for (size_t i = 0; i < places_.size(); ++i) put(places_[i], stand_ins.at(first + i));
  }
  ~Swap() {
    for (const Place& p : places_) {
      if (!p.parent) {
        array_of(p.original.ptr()) = p.value;
      } else if (PyDict_Check(p.parent.ptr())) {
        if (PyDict_SetItem(p.parent.ptr(), p.key.ptr(), p.original.ptr())) PyErr_Clear();
      } else if (PyList_SetItem(p.parent.ptr(), p.key.cast<Py_ssize_t>(),
                                py::object(p.original).release().ptr())) {
        PyErr_Clear();
      }
    }
  }
  Swap(const Swap&) = delete;

 private:
  std::vector<Place> places_;
};

// --- traces --------------------------------------------------------------------------------------

// What one trace of a Python function gave.
struct Entry {
  std::unique_ptr<Traced> graph;  // of a trace with sizes
  py::object calls;               // of one without: gives the results for inputs of any sizes
  py::object returned;            // its structure, without its arrays
  size_t results = 0;  // arrays of what is returned; those of the captured outputs follow
  size_t captured = 0;
  uint64_t used = 0;
  bool origins = false;  // whether its nodes know the lines that built them
  bool closed = true;    // whether it uses nothing that belongs to a transform around it
};

// What is passed to one call.
struct Call {
  py::handle fun, inputs, outputs;
  const py::tuple& args;
  const py::dict& kwargs;

  // `own`: how many of the arrays are arguments; the captured inputs follow.
  Form form(bool sizes, size_t& own) const {
    Form out(sizes);
    out.word(current_device());
    out.add(args, "arguments");
    out.add(kwargs, "arguments");
    own = out.arrays().size();
    out.add(inputs, nullptr);
    return out;
  }
};

// The traces of one function by form; one called with ever new forms keeps those used last.
class Kept {
 public:
  std::shared_ptr<Entry> find(const Form& form, size_t captured) const {
    auto found = entries_.find(form.words());
    const bool recording = origin_hook.load(std::memory_order_relaxed) != nullptr;
    // A recording is to show the function's own lines, which a trace made before it does not know.
    if (found == entries_.end() || found->second->captured != captured ||
        (recording && !found->second->origins))
      return nullptr;
    return found->second;
  }

  void keep(const Form& form, const std::shared_ptr<Entry>& entry) {
    if (!entry->closed) return;
    constexpr size_t kMost = 64;
    if (entries_.size() >= kMost && !entries_.count(form.words())) {
      auto oldest = entries_.begin();
      for (auto it = entries_.begin(); it != entries_.end(); ++it)
        if (it->second->used < oldest->second->used) oldest = it;
      entries_.erase(oldest);
    }
    entries_[form.words()] = entry;
  }

 private:
  std::unordered_map<std::vector<int64_t>, std::shared_ptr<Entry>, HashWords> entries_;
};

// What a recording saw of one compiled function.
struct Seen {
  std::string function, file;
  int line = 0;
  bool shapeless = false;
  int64_t calls = 0, traced = 0;
  std::unordered_set<std::vector<int64_t>, HashWords> forms;
};

// Those of the recording that is on, in the order of their first calls. Under the interpreter lock.
std::vector<std::shared_ptr<Seen>>& all_seen() {
  static auto* all = new std::vector<std::shared_ptr<Seen>>;
  return *all;
}

std::shared_ptr<Seen> first_seen(py::handle fun, bool shapeless) {
  auto seen = std::make_shared<Seen>();
  py::object name = py::getattr(fun, "__qualname__", py::type::of(fun).attr("__qualname__"));
  seen->function = py::str(name);
  py::object code = py::getattr(fun, "__code__", py::none());
  if (!code.is_none()) {
    seen->file = py::str(code.attr("co_filename"));
    seen->line = code.attr("co_firstlineno").cast<int>();
  }
  seen->shapeless = shapeless;
  all_seen().push_back(seen);
  return seen;
}

py::list take_seen() {
  py::list out;
  for (const auto& s : std::exchange(all_seen(), {})) {
    py::dict row;
    row["function"] = s->function;
    row["file"] = s->file;
    row["line"] = s->line;
    row["shapeless"] = s->shapeless;
    row["calls"] = s->calls;
    row["traced"] = s->traced;
    row["forms"] = s->forms.size();
    out.append(row);
  }
  return out;
}

// The traces of one function. It holds no Python object of the program's but types of named tuples,
// so it is in no cycle that the collector would have to see. (A trace without sizes also holds the
// constants of its calls.)
class Traces {
 public:
  // `make_calls` makes what keeps the calls of a trace without sizes; None: traces have sizes.
  explicit Traces(py::object make_calls) : make_calls_(std::move(make_calls)) {}

  py::object call(py::handle fun, py::handle inputs, py::handle outputs, const py::tuple& args,
                  const py::dict& kwargs) {
    // Inside of a trace without sizes the function's calls are part of that.
    if (watcher()) return py::reinterpret_borrow<py::object>(fun)(*args, **kwargs);
    const Call now{fun, inputs, outputs, args, kwargs};
    size_t own = 0;
    const Form form = now.form(true, own);
    const auto seen = origin_hook.load(std::memory_order_relaxed) ? note(fun, form) : nullptr;
    const size_t before = traced_;
    try {
      py::object out = kept(now, form, own);
      if (seen) seen->traced += static_cast<int64_t>(traced_ - before);
      return out;
    } catch (...) {
      if (seen) seen->traced += static_cast<int64_t>(traced_ - before);
      throw;
    }
  }

  size_t traced() const { return traced_; }

 private:
  // Counts a call of the recording that is on.
  std::shared_ptr<Seen> note(py::handle fun, const Form& form) {
    std::shared_ptr<Seen> seen = seen_.lock();
    if (!seen) seen_ = seen = first_seen(fun, !make_calls_.is_none());
    ++seen->calls;
    seen->forms.insert(form.words());
    return seen;
  }

  // The results, from a trace that is kept, or of one that is made now.
  py::object kept(const Call& now, const Form& form, size_t own) {
    const size_t captured = leaves_of(now.outputs).size();
    std::shared_ptr<Entry> entry = exact_.find(form, captured);
    if (!entry && make_calls_.is_none()) {
      entry = trace(now, form, own);
      exact_.keep(form, entry);
    } else if (!entry) {
      // Sizes that come once are worth no graph of their own.
      const std::shared_ptr<Entry> whole = open(now, captured);
      exact_.keep(form, awaited(*whole));
      py::tuple made = whole->calls(form.arrays(), whole->returned);
      return finished(now, *whole, made[0].cast<Arrays>(), made[1]);
    } else if (!entry->graph) {
      entry = sized(*open(now, captured), form);
      exact_.keep(form, entry);
    }
    entry->used = ++clock_;
    return finished(now, *entry, (*entry->graph)(form.arrays()), entry->returned);
  }

  // Writes the captured outputs back and gives what the function returned.
  static py::object finished(const Call& now, const Entry& entry, Arrays results,
                             py::handle returned) {
    std::vector<Place> places = places_in(now.outputs);
    for (size_t i = 0; i < places.size(); ++i) put(places[i], results.at(entry.results + i));
    results.resize(entry.results);
    return rebuild(returned, results);
  }

  // Runs the function on stand-ins: what it gave, and then the captured outputs.
  Arrays run(const Call& now, const Arrays& stand_ins, size_t own, Entry& entry) {
    TraceScope scope;
    py::object inside =
        rebuild(py::make_tuple(now.args, now.kwargs),
                Arrays(stand_ins.begin(), stand_ins.begin() + static_cast<int64_t>(own)));
    Swap swapped(now.inputs, stand_ins, own);
    py::object returned = py::reinterpret_borrow<py::object>(now.fun)(
        *inside[py::int_(0)].cast<py::tuple>(), **inside[py::int_(1)].cast<py::dict>());
    Arrays results = leaves_of(returned);
    entry.results = results.size();
    Arrays state = leaves_of(now.outputs);
    entry.captured = state.size();
    results.insert(results.end(), state.begin(), state.end());
    entry.returned = rebuild(returned, Arrays(entry.results, make_scalar(0, Dtype::bool_)));
    entry.origins = origin_hook.load(std::memory_order_relaxed) != nullptr;
    ++traced_;
    return results;
  }

  std::shared_ptr<Entry> trace(const Call& now, const Form& form, size_t own) {
    auto entry = std::make_shared<Entry>();
    Arrays stand_ins;
    for (const Array& x : form.arrays()) stand_ins.push_back(open_input(x));
    Arrays results = run(now, stand_ins, own, *entry);
    entry->graph = std::make_unique<Traced>(stand_ins, results);
    entry->closed = entry->graph->closed();
    return entry;
  }

  std::shared_ptr<Entry> trace_calls(const Call& now, const Form& form, size_t own) {
    auto entry = std::make_shared<Entry>();
    entry->calls = make_calls_();
    Arrays stand_ins = entry->calls.attr("open")(form.arrays()).cast<Arrays>();
    py::object done = entry->calls.attr("close");
    try {
      done(run(now, stand_ins, own, *entry));
    } catch (...) {
      entry->calls.attr("stop")();
      throw;
    }
    entry->closed = entry->calls.attr("closed").cast<bool>();
    return entry;
  }

  // The trace without sizes for this call; the function itself runs only if there is none yet.
  std::shared_ptr<Entry> open(const Call& now, size_t captured) {
    size_t own = 0;
    const Form form = now.form(false, own);
    std::shared_ptr<Entry> entry = open_.find(form, captured);
    if (!entry) {
      entry = trace_calls(now, form, own);
      open_.keep(form, entry);
    }
    entry->used = ++clock_;
    return entry;
  }

  // What is known of a trace with sizes without making it.
  std::shared_ptr<Entry> awaited(const Entry& whole) {
    auto entry = std::make_shared<Entry>();
    entry->results = whole.results;
    entry->captured = whole.captured;
    entry->origins = whole.origins;
    entry->closed = whole.closed;
    entry->used = ++clock_;
    return entry;
  }

  // The trace with the sizes of a call, from one without.
  std::shared_ptr<Entry> sized(const Entry& whole, const Form& exact) {
    std::shared_ptr<Entry> entry = awaited(whole);
    Arrays inputs;
    for (const Array& x : exact.arrays()) inputs.push_back(open_input(x));
    TraceScope scope;
    py::tuple made = whole.calls(inputs, whole.returned);
    entry->returned = made[1];
    entry->graph = std::make_unique<Traced>(inputs, made[0].cast<Arrays>());
    entry->closed &= entry->graph->closed();
    return entry;
  }

  py::object make_calls_;
  Kept exact_, open_;
  uint64_t clock_ = 0;
  size_t traced_ = 0;
  std::weak_ptr<Seen> seen_;  // by the recording that is on
};

}  // namespace

void init_compile(py::module_& m) {
  py::class_<Traces>(m, "_Traces", "The traces of one compiled function.")
      .def(py::init<py::object>(), py::arg("make_calls") = py::none())
      .def("__call__", &Traces::call, py::arg("fun"), py::arg("inputs"), py::arg("outputs"),
           py::arg("args"), py::arg("kwargs"),
           "Calls the function, or builds again what it built for arguments of this form.")
      .def_property_readonly("traced", &Traces::traced, "How often the function itself ran.");
  m.def("_take_compiled", &take_seen);
}

}  // namespace lamina::python
