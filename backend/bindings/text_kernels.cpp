// Kernels whose body is Python text (mx.fast.metal_kernel and cuda_kernel), and those that were
// compiled elsewhere.
#include <pybind11/stl.h>

#include "base/error.h"
#include "convert.h"
#include "custom/compiled_kernel.h"
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

std::vector<ResultType> results_from(const std::string& who, py::handle shapes, py::handle dtypes) {
  py::sequence s = sequence_of(who, "output_shapes", shapes),
               d = sequence_of(who, "output_dtypes", dtypes);
  if (s.size() != d.size())
    throw ValueError(who + ": " + std::to_string(s.size()) + " output_shapes and " +
                     std::to_string(d.size()) + " output_dtypes");
  std::vector<ResultType> out;
  for (size_t i = 0; i < s.size(); ++i) out.push_back({shape_from(s[i]), dtype_from(d[i])});
  return out;
}

// Three numbers; ValueError otherwise comes from the kernel.
Shape sizes_from(const std::string& who, const char* what, py::handle o) {
  return shape_from(sequence_of(who, what, o));
}

ScalarParameter scalar_parameter(const std::string& who, py::handle value) {
  if (PyBool_Check(value.ptr())) return value.ptr() == Py_True;
  if (PyFloat_Check(value.ptr())) return static_cast<float>(PyFloat_AS_DOUBLE(value.ptr()));
  if (!PyLong_Check(value.ptr()))
    throw py::type_error(who + ": scalars must be bools, ints or floats, got " +
                         std::string(py::repr(value)) + "\nPass an array among the inputs");
  int overflow = 0;
  const long long n = PyLong_AsLongLongAndOverflow(value.ptr(), &overflow);
  if (overflow || n < INT32_MIN || n > INT32_MAX)
    throw ValueError(who + ": the scalar " + std::string(py::str(value)) +
                     " does not fit into an int of C (32 bits)\nPass an array among the inputs");
  return static_cast<int32_t>(n);
}

py::list call_precompiled(const std::string& name, const py::bytes& image, const py::object& inputs,
                          const py::object& output_shapes, const py::object& output_dtypes,
                          const py::object& scalars, const py::object& grid,
                          const py::object& threadgroup, int64_t shared_memory,
                          std::optional<double> init_value, bool contiguous, OnStream) {
  const std::string who = "precompiled_cuda_kernel " + name;
  CompiledKernelCall c{.name = name,
                       .image = std::make_shared<const std::string>(image),
                       .scalars = {},
                       .grid = sizes_from(who, "grid", grid),
                       .threadgroup = sizes_from(who, "threadgroup", threadgroup),
                       .threadgroup_bytes = shared_memory,
                       .init = init_value,
                       .contiguous = contiguous};
  for (py::handle s : sequence_of(who, "scalars", scalars))
    c.scalars.push_back(scalar_parameter(who, s));
  Arrays in;
  for (py::handle x : sequence_of(who, "inputs", inputs)) in.push_back(to_array(x));
  py::list out;
  for (const Array& x : call_compiled(c, in, results_from(who, output_shapes, output_dtypes)))
    out.append(py::cast(x));
  return out;
}

py::list call(const UserKernel& k, const py::object& inputs, const py::object& output_shapes,
              const py::object& output_dtypes, const py::object& grid,
              const py::object& threadgroup, const py::object& templates,
              std::optional<double> init_value, bool verbose, OnStream) {
  Arrays in;
  for (py::handle x : sequence_of(maker(k), "inputs", inputs)) in.push_back(to_array(x));
  std::vector<TemplateArgument> arguments = template_from(k, templates);
  std::vector<ResultType> results = results_from(maker(k), output_shapes, output_dtypes);
  KernelLaunch launch{sizes_from(maker(k), "grid", grid),
                      sizes_from(maker(k), "threadgroup", threadgroup), init_value};
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
  m.def("_precompiled_cuda_kernel", call_precompiled, py::kw_only(), arg("name"),
        arg("compiled_source"), arg("inputs"), arg("output_shapes"), arg("output_dtypes"),
        arg("scalars"), arg("grid"), arg("threadgroup"), arg("shared_memory"), arg("init_value"),
        arg("ensure_row_contiguous"), arg("stream") = py::none(),
        "The outputs of one launch of a function of a compiled module, as a list.");
}

}  // namespace lamina::python
