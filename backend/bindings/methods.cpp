// Methods and properties of array. Those that only forward to a function of the same name are bound
// to it by the face in Python (core.py); here stand the ones that need the type itself.
#include <pybind11/stl.h>

#include "base/error.h"
#include "convert.h"
#include "graph/primitive.h"
#include "module.h"
#include "ops/ops.h"
#include "stream.h"

#include <unordered_set>

namespace lamina::python {

namespace {

template <class F, class... Extra>
void method(const char* name, F&& f, const char* doc, const Extra&... extra) {
  py::object type = py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(array_type()));
  type.attr(name) =
      py::cpp_function(std::forward<F>(f), py::name(name), py::is_method(type), doc, extra...);
}

template <class F>
void property(const char* name, F&& get, const char* doc) {
  py::object type = py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(array_type()));
  py::object make = py::module_::import("builtins").attr("property");
  type.attr(name) =
      make(py::cpp_function(std::forward<F>(get), py::name(name), py::is_method(type)), py::none(),
           py::none(), doc);
}

py::tuple shape_tuple(const Array& x) {
  py::tuple out(x.shape().size());
  for (size_t i = 0; i < x.shape().size(); ++i) out[i] = py::int_(x.shape()[i]);
  return out;
}

// Unevaluated nodes behind x, counted up to `limit`.
size_t graph_size(const Array& x, size_t limit) {
  std::unordered_set<const Node*> seen;
  std::vector<const Node*> stack{x.node()};
  while (!stack.empty() && seen.size() < limit) {
    const Node* n = stack.back();
    stack.pop_back();
    if (n->ready() || !seen.insert(n).second) continue;
    for (const Array& in : n->inputs) stack.push_back(in.node());
  }
  return seen.size();
}

std::string bytes_text(int64_t n) {
  char buf[32];
  const char* units[] = {"B", "kB", "MB", "GB", "TB"};
  double v = static_cast<double>(n);
  int u = 0;
  for (; v >= 1000 && u < 4; ++u) v /= 1000;
  std::snprintf(buf, sizeof buf, u == 0 ? "%.0f %s" : "%.1f %s", v, units[u]);
  return buf;
}

py::object at_property(py::object self) {
  return py::module_::import("lamina.core").attr("ArrayAt")(self);
}

}  // namespace

std::string to_html(const Array& x) {
  const Node& n = *x.node();
  std::string state;
  switch (n.status.load()) {
    case Status::ready:
      state = "evaluated";
      break;
    case Status::failed:
      state = "failed";
      break;
    case Status::lazy: {
      size_t size = graph_size(x, 100000);
      state = "lazy, " + std::to_string(size) + (size == 100000 ? " or more" : "") +
              (size == 1 ? " node" : " nodes") + " to evaluate";
      break;
    }
  }
  std::string cell = "<td style=\"padding:2px 10px;text-align:left\">";
  std::string out = "<table class=\"lamina-array\" style=\"border-collapse:collapse\"><tr>";
  for (const std::string& s : {std::string("<b>array</b>"), "shape " + to_string(x.shape()),
                               std::string(name_of(x.dtype())), bytes_text(x.nbytes()), state})
    out += cell + s + "</td>";
  return out + "</tr></table>";
}

void init_methods(py::module_& m) {
  property("shape", shape_tuple, "Sizes along each axis.");
  property(
      "dtype", [](const Array& x) { return dtype_object(x.dtype()); }, "Type of the elements.");
  property(
      "ndim", [](const Array& x) { return x.ndim(); }, "Number of axes.");
  property(
      "size", [](const Array& x) { return x.size(); }, "Number of elements.");
  property(
      "itemsize", [](const Array& x) { return itemsize(x.dtype()); }, "Bytes per element.");
  property(
      "nbytes", [](const Array& x) { return x.nbytes(); }, "Bytes of all elements.");
  property(
      "T", [](const Array& x) { return transpose(x); }, "Axes reversed.");
  property(
      "mT",
      [](const Array& x) {
        if (x.ndim() < 2) throw ShapeError("mT: needs 2 axes or more, got " + to_string(x.shape()));
        return swapaxes(x, -1, -2);
      },
      "Last two axes exchanged.");
  property(
      "real", [](const Array& x) { return is_complex(x.dtype()) ? real(x) : x; }, "Real part.");
  property(
      "imag", [](const Array& x) { return is_complex(x.dtype()) ? imag(x) : zeros_like(x); },
      "Imaginary part.");
  property("at", at_property, "x.at[index].add(value) and its kin: a copy with elements joined.");
  method("item", to_scalar, "The one element as a Python scalar.");
  method("tolist", to_list, "Nested lists of Python scalars.");
  method(
      "astype",
      [](const Array& x, py::object dtype, OnStream) { return astype(x, dtype_from(dtype)); },
      "Elements converted to another dtype.", py::arg("dtype"), py::arg("stream") = py::none());
  method("_repr_html_", to_html, "Shape, dtype, bytes and state, without evaluating.");
  method(
      "__dlpack_device__", [](const Array&) { return py::make_tuple(1, 0); }, "CPU memory.");
  method(
      "__dlpack__",
      [](ArrayObject self, py::object, py::object max_version, py::object dl_device,
         std::optional<bool> copy) { return to_dlpack(self.ptr, max_version, dl_device, copy); },
      "A DLPack capsule over the same memory.", py::kw_only(), py::arg("stream") = py::none(),
      py::arg("max_version") = py::none(), py::arg("dl_device") = py::none(),
      py::arg("copy") = py::none());
  method("_numpy", to_numpy, "A NumPy array over the same memory.");
  method("__copy__", duplicate, "A copy in memory of its own.");
  method(
      "__deepcopy__", [](const Array& x, py::object) { return duplicate(x); },
      "A copy in memory of its own.");
  method(
      "_handle", [](const Array& x) { return x; }, "Another handle of the same value.");
  method(
      "_scatter_item",
      [](const Array& x, py::object index, py::object value, const std::string& op) {
        Array v = weak_scalar(value.ptr(), &x);
        return scatter_item(x, index, v ? v : to_array(value), op);
      },
      "x.at[index].op(value)");
  method(
      "_become", [](ArrayObject self, const Array& x) { array_of(self.ptr) = x; },
      "Takes on the value of x.");
  m.def("_from_dlpack",
        [](py::object o, std::optional<bool> copy) { return from_dlpack(o, copy); });
  m.def("_to_array",
        [](py::object o, py::object dtype) { return to_array(o, optional_dtype(dtype)); });
}

}  // namespace lamina::python
