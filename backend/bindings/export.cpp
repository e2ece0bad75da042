// Functions as data, for mx.export_function and mx.import_function.
#include <pybind11/stl.h>

#include "base/error.h"
#include "convert.h"
#include "module.h"
#include "transforms/stored.h"

namespace lamina::python {

namespace {

py::tuple tuple_of(const Shape& shape) {
  py::tuple out(shape.size());
  for (size_t i = 0; i < shape.size(); ++i) out[i] = py::int_(shape[i]);
  return out;
}

// `fun` takes a list of arrays and gives one.
StoredGraph trace_to_store(const py::function& fun, const Arrays& examples) {
  Arrays inputs, outputs;
  for (const Array& x : examples) inputs.push_back(open_input(x));
  {
    TraceScope scope;
    outputs = fun(inputs).cast<Arrays>();
  }
  Traced traced(inputs, outputs);
  if (!traced.closed())
    throw TraceError("export_function: the function reads an array of a transform around it");
  return stored(traced, inputs);
}

// The same for a trace without sizes, which `calls` keeps.
void trace_calls(const py::object& calls, const py::function& fun, const Arrays& examples) {
  Arrays inputs = calls.attr("open")(examples).cast<Arrays>();
  TraceScope scope;
  try {
    calls.attr("close")(fun(inputs));
  } catch (...) {
    calls.attr("stop")();
    throw;
  }
}

StoredGraph graph_from(const py::list& inputs, const Arrays& constants, const py::list& steps,
                       const std::vector<int32_t>& outputs) {
  StoredGraph out;
  for (py::handle x : inputs) {
    py::tuple t = py::reinterpret_borrow<py::tuple>(x);
    out.inputs.push_back({shape_from(t[0]), dtype_from(t[1])});
  }
  out.constants = constants;
  for (py::handle s : steps) {
    py::tuple t = py::reinterpret_borrow<py::tuple>(s);
    out.steps.push_back({t[0].cast<std::string>(), t[1].cast<std::vector<int64_t>>(),
                         shape_from(t[2]), dtype_from(t[3]), t[4].cast<std::vector<int32_t>>()});
  }
  out.outputs = outputs;
  check(out);
  return out;
}

py::list inputs_of(const StoredGraph& g) {
  py::list out;
  for (const auto& [shape, dtype] : g.inputs)
    out.append(py::make_tuple(tuple_of(shape), dtype_object(dtype)));
  return out;
}

py::list steps_of(const StoredGraph& g) {
  py::list out;
  for (const StoredStep& s : g.steps)
    out.append(
        py::make_tuple(s.primitive, s.params, tuple_of(s.shape), dtype_object(s.dtype), s.inputs));
  return out;
}

Arrays call(const StoredGraph& g, const Arrays& inputs) {
  bool fits = inputs.size() == g.inputs.size();
  for (size_t i = 0; fits && i < inputs.size(); ++i)
    fits = inputs[i].shape() == g.inputs[i].first && inputs[i].dtype() == g.inputs[i].second;
  if (!fits) throw ValueError("stored function: the inputs are not those it was traced for");
  return build(g, inputs);
}

}  // namespace

void init_export(py::module_& m) {
  py::class_<StoredGraph>(m, "_StoredGraph", "A function's graph as plain data.")
      .def(py::init(&graph_from), py::arg("inputs"), py::arg("constants"), py::arg("steps"),
           py::arg("outputs"))
      .def_property_readonly("inputs", inputs_of, "(shape, dtype) of each.")
      .def_property_readonly("constants", [](const StoredGraph& g) { return g.constants; })
      .def_property_readonly("steps", steps_of, "(operation, parameters, shape, dtype, inputs).")
      .def_property_readonly("outputs", [](const StoredGraph& g) { return g.outputs; })
      .def("__call__", call, py::arg("inputs"));
  m.def("_trace_calls", trace_calls, py::arg("calls"), py::arg("fun"), py::arg("examples"));
  m.def("_trace_to_store", trace_to_store, py::arg("fun"), py::arg("examples"));
}

}  // namespace lamina::python
