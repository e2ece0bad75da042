// The recorder's door: events out, plans and origins described.
#include "trace/trace.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <mutex>
#include <unordered_map>

#include "base/hash.h"
#include "execute/evaluate.h"
#include "module.h"
#include "schedule/plan.h"

namespace lamina::python {

namespace {

// A place in the program: interned by code object and instruction, resolved to text only on demand.
struct Origin {
  PyObject* code;  // strong
  int instruction;
  std::string module;
};

struct Origins {
  std::unordered_map<uint64_t, uint32_t> ids;
  std::vector<Origin> all{{nullptr, 0, {}}};
  std::unordered_map<PyObject*, bool> internal;  // code objects of lamina's own files
  std::string package;
  int64_t nanoseconds = 0;  // spent in current_origin, estimated from samples
  uint32_t calls = 0;
  uint32_t scope = 0;
  std::vector<std::string> scopes{""};
  std::unordered_map<std::string, uint32_t> scope_ids{{"", 0}};
};
Origins& origins() {
  static auto* o = new Origins;
  return *o;
}
thread_local std::vector<uint32_t> module_stack;

bool internal_code(PyCodeObject* code) {
  Origins& o = origins();
  auto known = o.internal.find(reinterpret_cast<PyObject*>(code));
  if (known != o.internal.end()) return known->second;
  Py_INCREF(code);  // a kept key must not be reused by another code object
  const char* file = PyUnicode_AsUTF8(code->co_filename);
  bool internal = file && !o.package.empty() && std::string(file).rfind(o.package, 0) == 0;
  o.internal.emplace(reinterpret_cast<PyObject*>(code), internal);
  return internal;
}

// One call in so many is timed: the clock would cost about as much as the rest. The first ones meet
// new places and cold caches, so they stand for themselves only.
constexpr uint32_t kTimedEvery = 16;
constexpr uint32_t kAllTimed = 256;
// What a sample may count for; longer ones saw the thread lose its processor.
constexpr int64_t kLongestSample = 20'000;

uint32_t origin_of(PyCodeObject* code, PyFrameObject* frame) {
  Origins& o = origins();
  int at = PyFrame_GetLasti(frame);
  uint32_t scope = module_stack.empty() ? 0 : module_stack.back();
  Hash128 h;
  h.add(reinterpret_cast<uintptr_t>(code));
  h.add(static_cast<uint64_t>(static_cast<uint32_t>(at)) << 32 | scope);
  auto known = o.ids.find(h.lo);
  if (known != o.ids.end()) return known->second;
  auto id = static_cast<uint32_t>(o.all.size());
  Py_INCREF(code);
  o.all.push_back({reinterpret_cast<PyObject*>(code), at, o.scopes[scope]});
  o.ids.emplace(h.lo, id);
  return id;
}

// The innermost frame outside lamina's package. Called with the interpreter lock held.
uint32_t current_origin() {
  Origins& o = origins();
  const uint32_t call = o.calls++;
  const bool timed = call < kAllTimed || call % kTimedEvery == 0;
  int64_t t0 = timed ? now_ns() : 0;
  PyThreadState* state = PyThreadState_Get();
  uint32_t id = 0;
  if (state) {
    PyFrameObject* frame = PyThreadState_GetFrame(state);
    while (frame) {
      PyCodeObject* code = PyFrame_GetCode(frame);
      if (!internal_code(code)) id = origin_of(code, frame);
      Py_DECREF(code);
      PyFrameObject* back = id ? nullptr : PyFrame_GetBack(frame);
      Py_DECREF(frame);
      frame = back;
    }
  }
  if (timed)
    o.nanoseconds +=
        call < kAllTimed ? now_ns() - t0 : std::min(now_ns() - t0, kLongestSample) * kTimedEvery;
  return id;
}

int line_of(const Origin& o) {
  return PyCode_Addr2Line(reinterpret_cast<PyCodeObject*>(o.code), o.instruction);
}

py::dict describe_origin(uint32_t id) {
  Origins& o = origins();
  bool backward = (id & kBackward) != 0;
  id &= ~kBackward;
  py::dict d;
  bool known = id > 0 && id < o.all.size();
  auto* code = known ? reinterpret_cast<PyCodeObject*>(o.all[id].code) : nullptr;
  d["file"] = known ? py::reinterpret_borrow<py::object>(code->co_filename) : py::str("");
  d["line"] = known ? line_of(o.all[id]) : 0;
  d["function"] = known ? py::reinterpret_borrow<py::object>(code->co_name) : py::str("");
  d["module"] = known ? o.all[id].module : std::string();
  d["phase"] = !known ? "" : backward ? "backward" : "forward";
  return d;
}

uint32_t scope_id(const std::string& path) {
  Origins& o = origins();
  auto [it, fresh] = o.scope_ids.emplace(path, static_cast<uint32_t>(o.scopes.size()));
  if (fresh) o.scopes.push_back(path);
  return it->second;
}

}  // namespace

void init_trace(py::module_& m) {
  m.def(
      "_trace_start",
      [](int64_t capacity) {
        origins().nanoseconds = 0;
        origins().calls = 0;
        release_held_plans();
        trace::start(capacity);
        origin_hook.store(current_origin);
      },
      py::arg("capacity_events") = 1 << 20, "Starts recording events and origins.");
  m.def(
      "_trace_stop",
      [] {
        origin_hook.store(nullptr);
        if (trace::enabled()) trace::account(0, origins().nanoseconds);
        trace::stop();
      },
      "Stops recording.");
  m.def("_trace_enabled", trace::enabled, "Whether recording is on.");
  m.def(
      "_trace_drain",
      [] {
        int64_t dropped = 0;
        std::vector<trace::Event> events = trace::drain(dropped);
        py::bytes data(reinterpret_cast<const char*>(events.data()),
                       events.size() * sizeof(trace::Event));
        return py::make_tuple(data, dropped);
      },
      "Events since the last call as packed 64-byte records, and how many were lost.");
  m.def("_event_schema", [] {
    py::list out;
    for (const trace::FieldNames& e : trace::schema()) {
      py::dict fields, d;
      static const char* letters[] = {"a", "b", "c", "d"};
      for (int i = 0; i < 4; ++i)
        if (*e.fields[i]) fields[letters[i]] = e.fields[i];
      d["id"] = e.id;
      d["name"] = std::string(e.name) == "free_" ? "free" : e.name;
      d["span"] = e.span;
      d["fields"] = fields;
      out.append(d);
    }
    return out;
  });
  m.def("_plan_describe", describe_plan, py::arg("plan"),
        "The plan as JSON text; empty if it is gone.");
  m.def("_fusion_reasons", [] {
    py::dict d;
    for (const auto& r : schedule::reason_texts())
      if (*r.code) d[r.code] = r.sentence;
    return d;
  });
  m.def("_origins", described_origins, py::arg("origins"), "Origin of every node of a plan's run.");
  m.def("_origin", describe_origin, py::arg("origin"),
        "File, line, function, module path and phase of an origin.");
  m.def("_release_plans", release_held_plans,
        "Lets go of the plans that the last recording kept to be described.");
  m.def(
      "_buffer_id",
      [](const Array& a) -> uint64_t {
        const Node& n = *a.node();
        return n.ready() && n.value.buffer ? n.value.buffer->id() : 0;
      },
      py::arg("array"), "Id of the array's memory in events; 0 while it has none.");
  m.def("_set_package", [](const std::string& path) { origins().package = path; });
  m.def("_module_scope_push",
        [](const std::string& path) { module_stack.push_back(scope_id(path)); });
  m.def("_module_scope_pop", [] {
    if (!module_stack.empty()) module_stack.pop_back();
  });
  m.def("_last_plan", last_plan);
}

}  // namespace lamina::python
