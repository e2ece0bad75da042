// Registered primitives as Python callables.
#include <pybind11/stl.h>

#include <optional>

#include "base/error.h"
#include "capi/load.h"
#include "convert.h"
#include "custom/custom.h"
#include "module.h"
#include "stream.h"

namespace lamina::python {

namespace {

const char* kind_name(FieldKind kind) {
  switch (kind) {
    case FieldKind::integer:
      return "int";
    case FieldKind::real:
      return "float";
    case FieldKind::boolean:
      return "bool";
    case FieldKind::dtype:
      return "Dtype";
    default:
      return "sequence of ints";
  }
}

void add_value(Params& to, const CustomPrimitive& p, const CustomField& field, py::handle value) {
  auto wrong = [&] {
    return py::type_error(p.name + ": " + field.name + " must be a " + kind_name(field.kind) +
                          ", got " + std::string(py::repr(value)));
  };
  switch (field.kind) {
    case FieldKind::integer:
      if (!PyIndex_Check(value.ptr()) || PyBool_Check(value.ptr())) throw wrong();
      to.add(int_from(value));
      break;
    case FieldKind::real: {
      double v = PyFloat_AsDouble(value.ptr());
      if (v == -1 && PyErr_Occurred()) {
        PyErr_Clear();
        throw wrong();
      }
      to.add_real(v);
      break;
    }
    case FieldKind::boolean:
      if (!PyBool_Check(value.ptr())) throw wrong();
      to.add(value.ptr() == Py_True);
      break;
    case FieldKind::dtype:
      to.add(static_cast<int64_t>(dtype_from(value)));
      break;
    case FieldKind::ints:
      to.add_ints(shape_from(value));
      break;
  }
}

Params params_from(const CustomPrimitive& p, const py::kwargs& given) {
  Params out;
  size_t used = 0;
  for (const CustomField& f : p.fields) {
    if (given.contains(f.name.c_str())) {
      add_value(out, p, f, given[f.name.c_str()]);
      ++used;
    } else if (f.required) {
      throw py::type_error(p.name + ": " + f.name + " is missing");
    } else {
      for (int64_t w : f.value.words()) out.add(w);
    }
  }
  if (used == given.size()) return out;
  for (auto item : given) {
    std::string name = py::cast<std::string>(item.first), names;
    bool known = name == "stream";
    for (const CustomField& f : p.fields) {
      known |= f.name == name;
      names += (names.empty() ? "" : ", ") + f.name;
    }
    if (!known)
      throw py::type_error(p.name + ": no parameter is named " + name +
                           "; there are: " + (names.empty() ? "none" : names));
  }
  return out;
}

py::object call(const CustomPrimitive& p, py::args args, py::kwargs kwargs) {
  std::optional<DeviceScope> scope;
  if (kwargs.contains("stream") && !kwargs["stream"].is_none())
    scope.emplace(device_from(kwargs["stream"]));
  Arrays in;
  for (py::handle a : args) in.push_back(to_array(a));
  Arrays out = apply(p, params_from(p, kwargs), in);
  if (out.size() == 1) return py::cast(out[0]);
  py::tuple all(out.size());
  for (size_t i = 0; i < out.size(); ++i) all[i] = py::cast(out[i]);
  return py::object(all);
}

std::string signature(const CustomPrimitive& p) {
  std::string out = p.name + "(";
  for (int i = 0; i < p.inputs; ++i) out += std::string(i ? ", " : "") + "x" + std::to_string(i);
  if (p.inputs < 0) out += "*arrays";
  for (const CustomField& f : p.fields)
    out += ", " + f.name + ": " + kind_name(f.kind) + (f.required ? "" : " = default");
  return out + ")";
}

// A registered primitive; primitives live as long as the process.
struct Handle {
  const CustomPrimitive* primitive;
};

}  // namespace

void init_primitives(py::module_& m) {
  py::class_<Handle>(m, "_Primitive",
                     "An operation that a shared library has registered; called with arrays, and "
                     "with its parameters by keyword.")
      .def("__call__", [](const Handle& h, py::args a,
                          py::kwargs k) { return call(*h.primitive, std::move(a), std::move(k)); })
      .def("__repr__",
           [](const Handle& h) { return "<primitive " + signature(*h.primitive) + ">"; })
      .def_property_readonly("name", [](const Handle& h) { return h.primitive->name; })
      .def_property_readonly("signature", [](const Handle& h) { return signature(*h.primitive); })
      .def_property_readonly("doc", [](const Handle& h) { return h.primitive->doc; });
  m.def("_primitive", [](const std::string& name) {
    const CustomPrimitive* p = find_custom(name);
    if (!p) throw ValueError("primitives: no primitive is named " + name);
    return Handle{p};
  });
  m.def("_primitive_names", custom_names);
  m.def("_load_primitives", capi::load_plugin, py::arg("path"));
}

}  // namespace lamina::python
