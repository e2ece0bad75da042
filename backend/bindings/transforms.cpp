// Transforms over Python functions of nested lists, tuples and dicts of arrays.
#include "transforms/transforms.h"

#include <pybind11/functional.h>
#include <pybind11/stl.h>

#include <set>
#include <utility>

#include "base/error.h"
#include "convert.h"
#include "module.h"
#include "ops/ops.h"
#include "trees.h"
#include "watch.h"

namespace lamina::python {

namespace {

// Arrays a function returned: one, or a sequence of them.
Arrays results_of(const char* op, py::handle out) {
  if (is_array(out.ptr())) return {array_of(out.ptr())};
  Arrays results;
  if (PyList_Check(out.ptr()) || PyTuple_Check(out.ptr())) {
    for (py::handle item : out) {
      if (!is_array(item.ptr()))
        throw py::type_error(std::string(op) + ": the function must return arrays, got " +
                             Py_TYPE(item.ptr())->tp_name);
      results.push_back(array_of(item.ptr()));
    }
    return results;
  }
  throw py::type_error(std::string(op) +
                       ": the function must return an array or a sequence of arrays, got " +
                       Py_TYPE(out.ptr())->tp_name);
}

py::object call_with(const py::function& f, const Arrays& inputs) {
  py::tuple args(inputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) args[i] = py::cast(inputs[i]);
  return f(*args);
}

Arrays arrays_from(const char* op, const char* what, const py::sequence& in) {
  Arrays out;
  for (py::handle h : in) {
    if (!is_array(h.ptr()))
      throw py::type_error(std::string(op) + ": " + what + " must be arrays, got " +
                           Py_TYPE(h.ptr())->tp_name);
    out.push_back(array_of(h.ptr()));
  }
  return out;
}

// --- under a trace without sizes
// -------------------------------------------------------------------
// A derivative rule's nodes hold sizes, so the watcher keeps the function and the transform.

py::object callable(const std::function<Arrays(const Arrays&)>& f) {
  return py::cpp_function([f](const Arrays& in) { return f(in); });
}

std::pair<Arrays, Arrays> vjp_here(const Function& f, const Arrays& primals,
                                   const std::function<Arrays(const Arrays&)>& cotangents) {
  PyObject* to = watcher();
  if (!to) return vjp(f, primals, cotangents);
  return py::handle(to)
      .attr("vjp")(callable(f), primals, callable(cotangents))
      .cast<std::pair<Arrays, Arrays>>();
}

std::pair<Arrays, Arrays> jvp_here(const Function& f, const Arrays& primals,
                                   const Arrays& tangents) {
  PyObject* to = watcher();
  if (!to) return jvp(f, primals, tangents);
  return py::handle(to)
      .attr("jvp")(callable(f), primals, tangents)
      .cast<std::pair<Arrays, Arrays>>();
}

Arrays vmap_here(const Function& f, const Arrays& inputs, const OptionalAxes& in_axes,
                 const std::function<OptionalAxes(size_t)>& out_axes) {
  PyObject* to = watcher();
  if (!to) return vmap(f, inputs, in_axes, out_axes);
  return py::handle(to)
      .attr("vmap")(callable(f), inputs, in_axes, py::cpp_function(out_axes))
      .cast<Arrays>();
}

Arrays checkpoint_here(const Function& f, const Arrays& inputs) {
  PyObject* to = watcher();
  if (!to) return checkpoint(f, inputs);
  return py::handle(to).attr("checkpoint")(callable(f), inputs).cast<Arrays>();
}

py::tuple py_vjp(const py::function& f, const py::sequence& primals,
                 const py::sequence& cotangents) {
  Arrays cts = arrays_from("vjp", "cotangents", cotangents);
  auto [outputs, back] =
      vjp_here([&](const Arrays& in) { return results_of("vjp", call_with(f, in)); },
               arrays_from("vjp", "primals", primals), [&](const Arrays&) { return cts; });
  return py::make_tuple(py::cast(outputs), py::cast(back));
}

py::tuple py_jvp(const py::function& f, const py::sequence& primals, const py::sequence& tangents) {
  auto [outputs, out] =
      jvp_here([&](const Arrays& in) { return results_of("jvp", call_with(f, in)); },
               arrays_from("jvp", "primals", primals), arrays_from("jvp", "tangents", tangents));
  return py::make_tuple(py::cast(outputs), py::cast(out));
}

// --- grad
// -------------------------------------------------------------------------------------------

struct Wanted {
  std::vector<int64_t> positions;
  std::vector<std::string> names;
};

Wanted wanted_from(const char* op, py::object argnums, py::object argnames) {
  Wanted w;
  if (py::isinstance<py::str>(argnames))
    w.names = {argnames.cast<std::string>()};
  else if (!argnames.is_none())
    w.names = argnames.cast<std::vector<std::string>>();
  if (argnums.is_none()) {
    if (w.names.empty()) w.positions = {0};
  } else if (py::isinstance<py::int_>(argnums)) {
    w.positions = {argnums.cast<int64_t>()};
  } else {
    w.positions = argnums.cast<std::vector<int64_t>>();
  }
  for (int64_t p : w.positions)
    if (p < 0)
      throw ValueError(std::string(op) + ": argnums must not be negative, got " +
                       std::to_string(p));
  std::set<int64_t> unique(w.positions.begin(), w.positions.end());
  if (unique.size() < w.positions.size())
    throw ValueError(std::string(op) + ": argnums name an argument twice");
  if (w.positions.empty() && w.names.empty())
    throw ValueError(std::string(op) + ": argnums and argnames name no argument");
  return w;
}

py::tuple value_and_grad(const py::function& f, const Wanted& w, const char* op, py::args args,
                         py::kwargs kwargs) {
  const bool with_value = op == std::string_view("value_and_grad");
  py::list trees;
  for (int64_t p : w.positions) {
    if (p >= static_cast<int64_t>(args.size()))
      throw ValueError(std::string(op) + ": argnums " + std::to_string(p) + " but only " +
                       std::to_string(args.size()) + " positional arguments were given");
    trees.append(args[static_cast<size_t>(p)]);
  }
  for (const std::string& name : w.names) {
    if (!kwargs.contains(name.c_str()))
      throw ValueError(std::string(op) + ": no keyword argument is named " + name);
    trees.append(kwargs[name.c_str()]);
  }
  Arrays primals = leaves_of(trees);
  for (const Array& p : primals)
    if (!is_inexact(p.dtype()))
      throw DtypeError(std::string(op) + ": gradients need floating inputs, got " +
                       name_of(p.dtype()) + " " + to_string(p.shape()));
  py::object returned;
  auto run = [&](const Arrays& in) -> Arrays {
    py::object inside = rebuild(trees, in);
    py::list positional(args);
    py::dict keywords(kwargs.attr("copy")());
    size_t k = 0;
    for (int64_t p : w.positions) positional[static_cast<size_t>(p)] = inside[py::int_(k++)];
    for (const std::string& name : w.names) keywords[name.c_str()] = inside[py::int_(k++)];
    returned = f(*py::tuple(positional), **keywords);
    py::object loss = returned;
    if (with_value && PyTuple_Check(loss.ptr()) && py::len(loss) > 0) loss = loss[py::int_(0)];
    if (!is_array(loss.ptr()))
      throw DtypeError(std::string(op) + ": the function must return an array" +
                       (with_value ? ", or a tuple whose first element is one, got " : ", got ") +
                       Py_TYPE(loss.ptr())->tp_name +
                       (with_value ? "" : "\nvalue_and_grad takes functions of several results"));
    const Array& x = array_of(loss.ptr());
    if (x.size() != 1 || x.ndim() > 0)
      throw ShapeError(std::string(op) + ": the function must return a scalar, got shape " +
                       to_string(x.shape()) + "\nReduce it first, for example with mx.mean");
    return {x};
  };
  auto [outputs, grads] =
      vjp_here(run, primals, [](const Arrays& out) -> Arrays { return {ones_like(out[0])}; });
  py::list back(rebuild(trees, grads));
  py::object gradient;
  py::object positional = py::none();
  if (w.positions.size() == 1)  // as in MLX also where argnums was a list of one
    positional = back[0];
  else if (!w.positions.empty()) {
    py::list all;
    for (size_t i = 0; i < w.positions.size(); ++i) all.append(back[i]);
    positional = py::tuple(all);
  }
  if (w.names.empty()) {
    gradient = positional;
  } else {
    py::dict named;
    for (size_t i = 0; i < w.names.size(); ++i)
      named[w.names[i].c_str()] = back[w.positions.size() + i];
    gradient = py::make_tuple(positional, named);
  }
  return py::make_tuple(returned, gradient);
}

// A function that answers to the name and the description of f.
template <class Call>
py::object named_as(const py::function& f, Call&& call) {
  auto text = [&](const char* name) {
    py::object value = py::getattr(f, name, py::none());
    return py::isinstance<py::str>(value) ? value.cast<std::string>() : std::string();
  };
  py::options options;
  options.disable_function_signatures();
  std::string name = text("__name__"), doc = text("__doc__");
  return py::cpp_function(std::forward<Call>(call), py::name(name.c_str()), py::doc(doc.c_str()));
}

// --- vmap
// -------------------------------------------------------------------------------------------

// An axes specification spread over a tree's arrays: an int or None holds for the whole subtree.
void spread_axes(py::handle axes, py::handle tree, OptionalAxes& out) {
  if (axes.is_none() || PyLong_Check(axes.ptr())) {
    std::optional<int64_t> a;
    if (!axes.is_none()) a = axes.cast<int64_t>();
    out.resize(out.size() + leaves_of(tree).size(), a);
    return;
  }
  if (is_array(tree.ptr()) || !PySequence_Check(tree.ptr()) != !PySequence_Check(axes.ptr()))
    throw ValueError("vmap: the axes do not have the structure of the arguments");
  if (PyDict_Check(axes.ptr())) {
    for (auto item : py::reinterpret_borrow<py::dict>(tree)) {
      py::dict d = py::reinterpret_borrow<py::dict>(axes);
      if (!d.contains(item.first))
        throw ValueError("vmap: the axes lack the key " + std::string(py::str(item.first)));
      spread_axes(d[item.first], item.second, out);
    }
    return;
  }
  if (py::len(axes) != py::len(tree))
    throw ValueError("vmap: " + std::to_string(py::len(axes)) + " axes for " +
                     std::to_string(py::len(tree)) + " arguments");
  for (size_t i = 0; i < py::len(tree); ++i)
    spread_axes(axes[py::int_(i)], py::reinterpret_borrow<py::object>(tree)[py::int_(i)], out);
}

py::object run_vmap(const py::function& f, const py::object& in_axes, const py::object& out_axes,
                    py::args args) {
  Arrays inputs = leaves_of(args);
  OptionalAxes in;
  spread_axes(in_axes, args, in);
  py::object returned;
  auto run = [&](const Arrays& leaves) -> Arrays {
    returned = f(*py::tuple(rebuild(args, leaves)));
    return leaves_of(returned);
  };
  Arrays out = vmap_here(run, inputs, in, [&](size_t) {
    OptionalAxes axes;
    spread_axes(out_axes, returned, axes);
    return axes;
  });
  return rebuild(returned, out);
}

// --- checkpoint, custom functions
// -------------------------------------------------------------------

// Python objects inside graph nodes may die on a thread without the interpreter lock.
template <class T>
std::shared_ptr<T> hold(T value) {
  return std::shared_ptr<T>(new T(std::move(value)), [](T* p) {
    if (!Py_IsInitialized()) return;
    py::gil_scoped_acquire gil;
    delete p;
  });
}

// Arrays in positional and keyword arguments alike.
py::object run_checkpoint(const py::function& f, py::args args, py::kwargs kwargs) {
  py::tuple trees = py::make_tuple(args, kwargs);
  auto returned = hold(py::object());
  auto held = hold(py::object(trees));
  auto fun = hold(f);
  Arrays out = checkpoint_here(
      [fun, held, returned](const Arrays& leaves) -> Arrays {
        py::gil_scoped_acquire gil;
        py::object inside = rebuild(*held, leaves);
        py::object now =
            (*fun)(*inside[py::int_(0)].cast<py::tuple>(), **inside[py::int_(1)].cast<py::dict>());
        if (!*returned) *returned = now;
        return leaves_of(now);
      },
      leaves_of(trees));
  // The function outlives this call: arrays it held would count as the user's and be kept.
  py::object shape = std::exchange(*returned, py::none());
  *held = rebuild(trees, Arrays(leaves_of(trees).size(), make_scalar(0, Dtype::bool_)));
  return rebuild(shape, out);
}

class CustomFunction {
 public:
  explicit CustomFunction(py::function f) : f_(std::move(f)) {}
  py::function set_vjp(py::function f) { return vjp_ = f, f; }
  py::function set_jvp(py::function f) { return jvp_ = f, f; }
  py::function set_vmap(py::function f) { return vmap_ = f, f; }

  const py::function& function() const { return f_; }
  // The same rules for another function.
  CustomFunction with(py::function f) const {
    CustomFunction out = *this;
    out.f_ = std::move(f);
    return out;
  }

  static py::object call(const py::object& self, const py::args& args, const py::kwargs& kwargs) {
    if (PyObject* to = watcher()) return py::handle(to).attr("custom")(self, args, kwargs);
    return self.cast<CustomFunction&>()(args, kwargs);
  }

  py::object operator()(py::args args, py::kwargs kwargs) {
    auto held = hold(py::tuple(args));
    py::function f = f_;
    py::object returned;
    CustomRules rules;
    auto primals_of = [held](const Arrays& leaves) { return unwrapped(rebuild(*held, leaves)); };
    auto shape = hold(py::object());
    if (vjp_) {
      rules.vjp = [rule = hold(vjp_), primals_of, shape](const Arrays& p, const Arrays& ct,
                                                         const Arrays& out) {
        py::gil_scoped_acquire gil;
        return leaves_of((*rule)(primals_of(p), rebuild(*shape, ct), rebuild(*shape, out)));
      };
    }
    if (jvp_) {
      rules.jvp = [rule = hold(jvp_), primals_of](const Arrays& p, const Arrays& t) {
        py::gil_scoped_acquire gil;
        return leaves_of((*rule)(primals_of(p), primals_of(t)));
      };
    }
    if (vmap_) {
      rules.vmap = [rule = hold(vmap_), primals_of](const Arrays& p,
                                                    const std::vector<bool>& batched, int64_t) {
        py::gil_scoped_acquire gil;
        py::list axes;
        for (bool b : batched) axes.append(b ? py::object(py::int_(0)) : py::none());
        py::object in_axes = axes.size() == 1 ? py::object(axes[0]) : py::object(py::tuple(axes));
        py::object out = (*rule)(primals_of(p), in_axes);
        if (!PyTuple_Check(out.ptr()) || py::len(out) != 2)
          throw TraceError("custom_function: its vmap must return (outputs, out_axes)");
        Arrays results = leaves_of(out[py::int_(0)]);
        OptionalAxes to;
        spread_axes(out[py::int_(1)], out[py::int_(0)], to);
        for (size_t i = 0; i < results.size(); ++i)
          results[i] = moveaxis(results[i], to[i].value_or(0), 0);
        return results;
      };
    }
    Arrays out = custom_function(
        [&](const Arrays& leaves) {
          returned = f(*py::tuple(rebuild(args, leaves)), **kwargs);
          *shape = returned;
          return leaves_of(returned);
        },
        leaves_of(args), std::move(rules));
    // The rules outlive this call: they keep the structure only, not the arrays in it.
    Array nothing = make_scalar(0, Dtype::bool_);
    *shape = rebuild(returned, Arrays(out.size(), nothing));
    *held = py::tuple(rebuild(args, Arrays(leaves_of(args).size(), nothing)));
    return rebuild(returned, out);
  }

 private:
  static py::object unwrapped(py::object args) {
    py::tuple t = args;
    return t.size() == 1 ? py::object(t[0]) : py::object(t);
  }
  py::function f_, vjp_, jvp_, vmap_;
};

}  // namespace

void init_transforms(py::module_& m) {
  m.def("vjp", py_vjp, py::arg("fun"), py::arg("primals"), py::arg("cotangents"),
        "Outputs of fun and the products of cotangents with its Jacobian.");
  m.def("jvp", py_jvp, py::arg("fun"), py::arg("primals"), py::arg("tangents"),
        "Outputs of fun and the products of its Jacobian with tangents.");
  m.def(
      "value_and_grad",
      [](py::function f, py::object argnums, py::object argnames) {
        Wanted w = wanted_from("value_and_grad", argnums, argnames);
        return named_as(f, [f, w](py::args a, py::kwargs k) -> py::object {
          return value_and_grad(f, w, "value_and_grad", a, k);
        });
      },
      py::arg("fun"), py::arg("argnums") = py::none(), py::arg("argnames") = py::list(),
      "A function that returns fun's value and its gradient.");
  m.def(
      "grad",
      [](py::function f, py::object argnums, py::object argnames) {
        Wanted w = wanted_from("grad", argnums, argnames);
        return named_as(f, [f, w](py::args a, py::kwargs k) -> py::object {
          return value_and_grad(f, w, "grad", a, k)[1];
        });
      },
      py::arg("fun"), py::arg("argnums") = py::none(), py::arg("argnames") = py::list(),
      "A function that returns the gradient of fun.");
  m.def(
      "vmap",
      [](py::function f, py::object in_axes, py::object out_axes) {
        return named_as(
            f, [f, in_axes, out_axes](py::args a) { return run_vmap(f, in_axes, out_axes, a); });
      },
      py::arg("fun"), py::arg("in_axes") = 0, py::arg("out_axes") = 0,
      "A function that maps fun over slices of its arguments.");
  m.def(
      "checkpoint",
      [](py::function f) {
        return named_as(f, [f](py::args a, py::kwargs k) { return run_checkpoint(f, a, k); });
      },
      py::arg("fun"),
      "fun, whose backward pass computes its values again instead of keeping them.");
  py::class_<CustomFunction>(m, "custom_function", "A function with derivative rules of its own.")
      .def(py::init<py::function>(), py::arg("f"))
      .def("__call__", &CustomFunction::call)
      .def_property_readonly("_function", &CustomFunction::function)
      .def("_with", &CustomFunction::with)
      .def("vjp", &CustomFunction::set_vjp, py::arg("f"))
      .def("jvp", &CustomFunction::set_jvp, py::arg("f"))
      .def("vmap", &CustomFunction::set_vmap, py::arg("f"));
}

}  // namespace lamina::python
