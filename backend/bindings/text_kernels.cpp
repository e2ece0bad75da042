// Kernels whose body is Python text: mx.fast.metal_kernel and cuda_kernel.
#include <pybind11/stl.h>

#include "base/error.h"
#include "convert.h"
#include "custom/text_kernel.h"
#include "module.h"
#include "stream.h"

namespace lamina::python {

namespace {

using Names = std::vector<std::string>;

std::string maker(const UserKernel& k) {
  return std::string(k.source().dialect == Dialect::msl ? "metal_kernel " : "cuda_kernel ") +
         k.source().name;
}

// A sequence that is no text. `what` names the argument in the error.
py::sequence sequence_of(const std::string& who, const char* what, py::handle o) {
  if (!PySequence_Check(o.ptr()) || PyUnicode_Check(o.ptr()))
    throw py::type_error(who + ": " + what + " must be a sequence, got " +
                         std::string(py::repr(o)));
  return py::reinterpret_borrow<py::sequence>(o);
}

TemplateValue template_value(const UserKernel& k, py::handle item) {
  py::object value = item[py::int_(1)];
  if (PyBool_Check(value.ptr())) return value.ptr() == Py_True;
  if (PyLong_Check(value.ptr())) return int_from(value);
  try {
    if (!py::isinstance<py::str>(value)) return dtype_from(value);
  } catch (const DtypeError&) {
    // Answered below, by the argument's name.
  }
  throw py::type_error(maker(k) + ": the template argument " +
                       item[py::int_(0)].cast<std::string>() +
                       " must be a Dtype, an int or a bool, got " + std::string(py::repr(value)));
}

std::vector<TemplateArgument> template_from(const UserKernel& k, py::handle given) {
  std::vector<TemplateArgument> out;
  if (given.is_none()) return out;
  for (py::handle item : sequence_of(maker(k), "template", given)) {
    if (!PyTuple_Check(item.ptr()) || py::len(item) != 2 ||
        !py::isinstance<py::str>(item[py::int_(0)]))
      throw py::type_error(maker(k) + ": template must be (name, value) pairs, got " +
                           std::string(py::repr(item)));
    out.push_back({item[py::int_(0)].cast<std::string>(), template_value(k, item)});
  }
  return out;
}

std::vector<ResultType> results_from(const UserKernel& k, py::handle shapes, py::handle dtypes) {
  py::sequence s = sequence_of(maker(k), "output_shapes", shapes),
               d = sequence_of(maker(k), "output_dtypes", dtypes);
  if (s.size() != d.size())
    throw ValueError(maker(k) + ": " + std::to_string(s.size()) + " output_shapes and " +
                     std::to_string(d.size()) + " output_dtypes");
  std::vector<ResultType> out;
  for (size_t i = 0; i < s.size(); ++i) out.push_back({shape_from(s[i]), dtype_from(d[i])});
  return out;
}

// Three numbers; ValueError otherwise comes from the kernel.
Shape sizes_from(const UserKernel& k, const char* what, py::handle o) {
  return shape_from(sequence_of(maker(k), what, o));
}

py::list call(const UserKernel& k, const py::object& inputs, const py::object& output_shapes,
              const py::object& output_dtypes, const py::object& grid,
              const py::object& threadgroup, const py::object& templates,
              std::optional<double> init_value, bool verbose, OnStream) {
  Arrays in;
  for (py::handle x : sequence_of(maker(k), "inputs", inputs)) in.push_back(to_array(x));
  std::vector<TemplateArgument> arguments = template_from(k, templates);
  std::vector<ResultType> results = results_from(k, output_shapes, output_dtypes);
  KernelLaunch launch{sizes_from(k, "grid", grid), sizes_from(k, "threadgroup", threadgroup),
                      init_value};
  if (verbose) py::print(k.text(in, arguments, results, launch));
  py::list out;
  for (const Array& x : k.call(in, arguments, results, launch)) out.append(py::cast(x));
  return out;
}

}  // namespace

void init_text_kernels(py::module_& m) {
  using py::arg;
  py::class_<UserKernel>(m, "_TextKernel",
                         "A kernel around a body of text; calling it launches it.")
      .def(py::init([](const std::string& name, Names inputs, Names outputs,
                       const std::string& source, const std::string& header, bool contiguous,
                       bool atomic, int64_t shared, bool cuda) {
             return UserKernel({name, cuda ? Dialect::cuda : Dialect::msl, std::move(inputs),
                                std::move(outputs), source, header, contiguous, atomic, shared});
           }),
           arg("name"), arg("input_names"), arg("output_names"), arg("source"), arg("header"),
           arg("ensure_row_contiguous"), arg("atomic_outputs"), arg("shared_memory"), arg("cuda"))
      .def("__call__", call, py::kw_only(), arg("inputs"), arg("output_shapes"),
           arg("output_dtypes"), arg("grid"), arg("threadgroup"), arg("template") = py::none(),
           arg("init_value") = py::none(), arg("verbose") = false, arg("stream") = py::none(),
           "The outputs of one launch, as a list.");
}

}  // namespace lamina::python
