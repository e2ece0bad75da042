// Evaluation, memory and what the machine is.
#include <pybind11/stl.h>

#include <unordered_map>
#include <unordered_set>

#include "base/error.h"
#include "base/interrupt.h"
#include "base/thread_pool.h"
#include "convert.h"
#include "devices/counting/counting.h"
#include "devices/cpu/blocks.h"
#include "devices/device.h"
#include "devices/pool.h"
#include "devices/text_device.h"
#include "execute/evaluate.h"
#include "graph/primitive.h"
#include "module.h"
#include "ops/matmul/matmul_cpu.h"
#include "printing.h"
#include "schedule/plan.h"
#include "stream.h"
#include "trees.h"

namespace lamina::python {

namespace {

Arrays gather(const char* op, const py::args& args) {
  Arrays roots;
  for (py::handle a : args) {
    bool known = is_array(a.ptr()) || PyDict_Check(a.ptr()) || PyList_Check(a.ptr()) ||
                 PyTuple_Check(a.ptr());
    if (!known && !a.is_none() && !PyFloat_Check(a.ptr()) && !PyLong_Check(a.ptr()) &&
        !PyUnicode_Check(a.ptr()))
      throw py::type_error(
          std::string(op) +
          std::string(": expected arrays or nested lists, tuples and dicts of them, got ") +
          Py_TYPE(a.ptr())->tp_name);
    for (Array& x : leaves_of(a)) roots.push_back(std::move(x));
  }
  return roots;
}

void py_eval(const py::args& args) {
  Arrays roots = gather("eval", args);
  evaluate_unlocked(roots);
  wait_for_unlocked(roots);
}

void py_async_eval(const py::args& args) { evaluate_unlocked(gather("async_eval", args), true); }

bool interrupted() {
  py::gil_scoped_acquire gil;
  if (PyErr_CheckSignals() == 0) return false;
  PyErr_Clear();
  return true;
}

py::dict primitive_row(const Primitive& p) {
  py::dict d;
  static const char* kinds[] = {"elementwise", "cast",        "iota",   "reduce", "view",  "alias",
                                "composite",   "concatenate", "update", "call",   "custom"};
  d["name"] = p.name;
  d["kind"] = kinds[static_cast<int>(p.kind)];
  d["doc"] = p.doc;
  if (p.kind == Kind::call) d["text"] = p.text != nullptr;
  d["differentiable"] = p.vjp != nullptr || !p.partials.empty();
  d["jvp"] = p.jvp != nullptr || !p.partials.empty();
  // Elementwise rows need no rule: what is batched has one axis more.
  d["vmap"] = p.vmap != nullptr || p.kind == Kind::elementwise;
  d["nondifferentiable"] =
      p.nondifferentiable ? py::object(py::str(p.nondifferentiable)) : py::none();
  if (p.formula < 0) return d;
  const Formula& f = formulas()[static_cast<size_t>(p.formula)];
  d["arity"] = f.arity;
  d["numpy"] = f.info.numpy ? f.info.numpy : "";
  d["expr"] = f.expr;
  d["types"] = static_cast<int>(f.info.types);
  d["accepts"] = static_cast<int>(f.info.accepts);
  d["gives"] = static_cast<int>(f.info.gives);
  d["domain"] = py::make_tuple(f.info.low, f.info.high);
  d["flops"] = f.info.flops;
  return d;
}

// How devices that compile text write it, from the next plan on.
void define_texts(py::module_& m) {
  // Traits of one device's texts, for the plans made from now on; each returns what it was.
  using Setter = int64_t (TextDevice::*)(int64_t);
  auto trait = [&](const char* name, Setter set, const char* doc) {
    m.def(
        name,
        [set](int device, int64_t value) {
          clear_plan_cache();
          auto& d = dynamic_cast<TextDevice&>(device_of(static_cast<DeviceId>(device)));
          return (d.*set)(value);
        },
        py::arg("device"), py::arg("value"), doc);
  };
  trait("_epilogue_work", &TextDevice::set_epilogue_work,
        "Up to how many multiplications a product takes an elementwise group along; returns what "
        "it was. For devices that compile text.");
  trait("_index_limit", &TextDevice::set_index_limit,
        "Offsets from which on texts count in 64 bits; returns what it was. For devices that "
        "compile text.");
  m.def(
      "_check_bounds",
      [](std::optional<bool> on) {
        const bool before = checks_bounds();
        if (on && *on != before) {
          checks_bounds() = *on;
          clear_plan_cache();
        }
        return before;
      },
      py::arg("on") = py::none(),
      "Whether devices that compile text look at computed indices; returns what it was before.");
}

void define_testing(py::module_& m) {
  m.def(
      "_registry",
      [] {
        py::list out;
        for (const Primitive* p : registry()) out.append(primitive_row(*p));
        return out;
      },
      "Every primitive's row.");
  m.def("_registry_verify", registry_verify, "Missing fields of the rows, one line each.");
  m.def(
      "_options",
      [](std::optional<bool> fuse, std::optional<bool> donate, std::optional<bool> verify) {
        auto& o = schedule::options();
        if (fuse) o.fuse = *fuse;
        if (donate) o.donate = *donate;
        if (verify) o.verify = *verify;
        py::dict d;
        d["fuse"] = o.fuse;
        d["donate"] = o.donate;
        d["verify"] = o.verify;
        return d;
      },
      py::arg("fuse") = py::none(), py::arg("donate") = py::none(), py::arg("verify") = py::none(),
      "Scheduler switches; returns them as they are now.");
  m.def("_plan_cache", [] {
    PlanCacheStats s = plan_cache_stats();
    py::dict d;
    d["hits"] = s.hits;
    d["resized"] = s.resized;
    d["misses"] = s.misses;
    d["plans"] = s.plans;
    return d;
  });
  m.def("_clear_plan_cache", clear_plan_cache);
  m.def(
      "_count_traffic",
      [](bool on) {
        clear_plan_cache();
        take_counts();
        set_counting(on);
      },
      py::arg("on"), "Switches to the device that counts the bytes each launch touches, or back.");
  m.def(
      "_counted_traffic",
      [] {
        py::list out;
        for (const CountedLaunch& c : take_counts()) out.append(py::make_tuple(c.reads, c.writes));
        return out;
      },
      "(bytes read, bytes written) of every launch since the last call.");
  m.def("_describe", [](const Array& a) { return describe(*a.node()); });
  m.def("_is_evaluated", [](const Array& a) { return a.node()->ready(); });
  m.def("_refs", [](const Array& a) { return a.node()->refs.load(); });
}

int64_t buffer_size(const py::args& args) {
  std::unordered_set<const Buffer*> seen;
  int64_t bytes = 0;
  for (const Array& x : leaves_of(args)) {
    const Node& n = *x.node();
    if (!n.ready())
      throw ValueError("get_array_buffer_size: an array of shape " + to_string(x.shape()) +
                       " has no buffer before it is evaluated\nCall mx.eval on it first");
    // A scalar's value lies in its node.
    if (!n.scalar && seen.insert(n.value.buffer.get()).second) bytes += n.value.buffer->bytes();
  }
  return bytes;
}

// The unevaluated graph behind the roots, inputs first: (identity, primitive or None for data,
// positions of inputs, dtype, shape).
py::list graph_behind(const std::vector<Array>& roots) {
  py::list out;
  std::unordered_map<const Node*, int64_t> position;
  std::vector<std::pair<Node*, size_t>> stack;
  for (const Array& root : roots) {
    stack.push_back({root.node(), 0});
    while (!stack.empty()) {
      auto& [n, next] = stack.back();
      if (position.count(n)) {
        stack.pop_back();
        continue;
      }
      if (!n->ready() && next < n->inputs.size()) {
        Node* in = n->inputs[next++].node();
        if (!position.count(in)) stack.push_back({in, 0});
        continue;
      }
      Node* done = n;
      stack.pop_back();
      py::list inputs;
      if (!done->ready())
        for (const Array& in : done->inputs) inputs.append(position.at(in.node()));
      py::object name = done->ready() ? py::none() : py::object(py::str(done->primitive->name));
      position.emplace(done, static_cast<int64_t>(position.size()));
      out.append(py::make_tuple(reinterpret_cast<uintptr_t>(done), name, inputs,
                                name_of(done->dtype), to_string(done->shape)));
    }
  }
  return out;
}

void define_graphs(py::module_& m) {
  m.def("get_array_buffer_size", buffer_size,
        "Bytes of the buffers behind evaluated arrays and trees of them, each counted once.");
  m.def("_graph", graph_behind, py::arg("roots"));
  m.def("_node_identity", [](const Array& x) { return reinterpret_cast<uintptr_t>(x.node()); });
  m.def("_set_print_precision", [](int precision) { print_precision.store(precision); });
}

void define_categories(py::module_& m) {
  m.def(
      "_set_category",
      [](const Array& a, int category) {
        Node& n = *a.node();
        n.category = static_cast<Category>(category);
        if (n.ready() && n.value.buffer)
          n.value.buffer->set_category(static_cast<Category>(category));
      },
      py::arg("array"), py::arg("category"),
      "What the array's memory is for, for the memory view.");
}

}  // namespace

void init_runtime(py::module_& m) {
  m.def("eval", py_eval, "Evaluates arrays, and arrays in nested lists, tuples and dicts.");
  m.def("async_eval", py_async_eval,
        "Evaluates; work of a GPU may go on when the call returns. On the CPU it is done then.");
  define_categories(m);
  define_graphs(m);
  define_testing(m);
  define_texts(m);
  m.def("_machine", [] {
    py::dict d;
    d["isa"] = cpu::blocks().isa;
    d["threads"] = thread_count();
    d["cpu"] = cpu_device().info().detail;
    d["memory"] = cpu_device().info().memory_bytes;
    return d;
  });
  interrupt_hook.store(interrupted);
}

}  // namespace lamina::python
