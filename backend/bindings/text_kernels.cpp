// Kernels whose body is Python text (mx.fast.metal_kernel and cuda_kernel), and those that were
// compiled elsewhere.
#include <pybind11/stl.h>

#include <algorithm>

#include "base/error.h"
#include "convert.h"
#include "custom/compiled_kernel.h"
#include "custom/text_kernel.h"
#include "devices/device.h"
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
  if (PyLong_Check(value.ptr())) {
    int overflow = 0;
    const long long n = PyLong_AsLongLongAndOverflow(value.ptr(), &overflow);
    if (!overflow) return static_cast<int64_t>(n);  // the kernel says whether it fits an int
    throw ValueError(maker(k) + ": the template argument " + item[py::int_(0)].cast<std::string>() +
                     "=" + std::string(py::str(value)) +
                     " does not fit an int (32 bits)\nPass an array of int64 among the inputs");
  }
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

// Sizes; what is none is named by the argument.
Shape sizes_from(const std::string& who, const std::string& what, py::handle o) {
  try {
    return shape_from(sequence_of(who, what.c_str(), o));
  } catch (const py::type_error&) {
    if (!PySequence_Check(o.ptr()) || PyUnicode_Check(o.ptr())) throw;
    throw py::type_error(who + ": " + what + " must be ints, got " + std::string(py::repr(o)));
  }
}

std::vector<ResultType> results_from(const std::string& who, py::handle shapes, py::handle dtypes) {
  py::sequence s = sequence_of(who, "output_shapes", shapes),
               d = sequence_of(who, "output_dtypes", dtypes);
  if (s.size() != d.size())
    throw ValueError(who + ": " + std::to_string(s.size()) + " output_shapes and " +
                     std::to_string(d.size()) + " output_dtypes");
  std::vector<ResultType> out;
  for (size_t i = 0; i < s.size(); ++i) {
    const std::string at = "[" + std::to_string(i) + "]";
    // A number is a shape of one axis, as everywhere.
    py::object shape = s[i], dtype = d[i];
    if (PyIndex_Check(shape.ptr())) shape = py::make_tuple(shape);
    ResultType r{sizes_from(who, "output_shapes" + at, shape), Dtype::bool_};
    try {
      r.dtype = dtype_from(dtype);
    } catch (const DtypeError&) {
      throw DtypeError(who + ": output_dtypes" + at + " must be a Dtype such as mx.float32, got " +
                       std::string(py::repr(dtype)));
    }
    out.push_back(std::move(r));
  }
  return out;
}

Arrays inputs_from(const std::string& who, py::handle given) {
  Arrays out;
  for (py::handle x : sequence_of(who, "inputs", given)) {
    try {
      out.push_back(to_array(x));
    } catch (const DtypeError& e) {
      throw DtypeError(who + ": inputs[" + std::to_string(out.size()) + "]: " + e.what());
    }
  }
  return out;
}

std::optional<double> init_from(const std::string& who, py::handle given) {
  if (given.is_none()) return std::nullopt;
  const double value = PyUnicode_Check(given.ptr()) ? -1 : PyFloat_AsDouble(given.ptr());
  const bool failed = PyErr_Occurred() != nullptr;
  PyErr_Clear();
  if (failed || PyUnicode_Check(given.ptr()))
    throw py::type_error(who + ": init_value must be a number, got " +
                         std::string(py::repr(given)));
  if (PyLong_Check(given.ptr()) && !py::float_(value).equal(given))
    throw ValueError(who + ": init_value=" + std::string(py::str(given)) +
                     " is no float64 exactly\nPass it as an input, and write it in the kernel");
  return value;
}

// Where it is not the CPU's: there the kernel says that it does not run.
void check_device(const std::string& who, const Arrays& in, const std::vector<ResultType>& out) {
  if (current_device() == kCpu) return;
  const uint32_t dtypes = device_of(current_device()).info().dtypes;
  auto check = [&](Dtype d) {
    if (!(dtypes >> static_cast<int>(d) & 1))
      throw DtypeError(who + ": kernels on this device have no " + name_of(d));
  };
  for (const Array& x : in) check(x.dtype());
  for (const ResultType& r : out) check(r.dtype);
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
                          const py::object& init_value, bool contiguous, OnStream) {
  const std::string who = "precompiled_cuda_kernel " + name;
  CompiledKernelCall c{.name = name,
                       .image = std::make_shared<const std::string>(image),
                       .scalars = {},
                       .grid = sizes_from(who, "grid", grid),
                       .threadgroup = sizes_from(who, "threadgroup", threadgroup),
                       .threadgroup_bytes = shared_memory,
                       .init = init_from(who, init_value),
                       .contiguous = contiguous};
  for (py::handle s : sequence_of(who, "scalars", scalars))
    c.scalars.push_back(scalar_parameter(who, s));
  const Arrays in = inputs_from(who, inputs);
  py::list out;
  for (const Array& x : call_compiled(c, in, results_from(who, output_shapes, output_dtypes)))
    out.append(py::cast(x));
  return out;
}

constexpr const char* kCallDoc =
    "__call__(self: lamina._core._TextKernel, *, inputs: object, output_shapes: object, "
    "output_dtypes: object, grid: object, threadgroup: object, template: object = None, "
    "init_value: object = None, verbose: bool = False, stream: object = None) -> list\n\n"
    "The outputs of one launch, as a list.";
constexpr const char* kRequired[] = {"inputs", "output_shapes", "output_dtypes", "grid",
                                     "threadgroup"};
constexpr const char* kOptional[] = {"template", "init_value", "verbose", "stream"};

// By hand, so that what is wrong with a call is said with the kernel's name.
void check_keywords(const std::string& who, const py::args& args, const py::kwargs& kwargs) {
  std::string takes;
  for (const char* name : kRequired) takes += std::string(name) + ", ";
  takes += "and optionally template, init_value, verbose, stream";
  if (!args.empty())
    throw py::type_error(who + ": takes keyword arguments only, got " +
                         std::string(py::repr(args[0])) + "\nThey are " + takes);
  for (const char* name : kRequired)
    if (!kwargs.contains(name))
      throw py::type_error(who + ": the argument " + name + " is missing\nIt takes " + takes);
  for (const auto& [key, value] : kwargs) {
    const auto name = key.cast<std::string>();
    auto is = [&](const char* known) { return name == known; };
    if (std::none_of(std::begin(kRequired), std::end(kRequired), is) &&
        std::none_of(std::begin(kOptional), std::end(kOptional), is))
      throw py::type_error(who + ": there is no argument " + name + "\nIt takes " + takes);
  }
}

py::list call(const UserKernel& k, const py::args& args, const py::kwargs& kwargs) {
  const std::string who = maker(k);
  check_keywords(who, args, kwargs);
  auto given = [&](const char* name) -> py::object {
    return kwargs.contains(name) ? py::object(kwargs[name]) : py::none();
  };
  std::optional<DeviceScope> scope;
  if (!given("stream").is_none()) scope.emplace(device_from(given("stream")));
  const Arrays in = inputs_from(who, given("inputs"));
  std::vector<TemplateArgument> arguments = template_from(k, given("template"));
  std::vector<ResultType> results =
      results_from(who, given("output_shapes"), given("output_dtypes"));
  check_device(who, in, results);
  KernelLaunch launch{sizes_from(who, "grid", given("grid")),
                      sizes_from(who, "threadgroup", given("threadgroup")),
                      init_from(who, given("init_value"))};
  const int verbose = PyObject_IsTrue(given("verbose").ptr());
  if (verbose < 0) throw py::error_already_set();
  if (verbose) py::print(k.text(in, arguments, results, launch));
  py::list out;
  for (const Array& x : k.call(in, arguments, results, launch)) out.append(py::cast(x));
  return out;
}

}  // namespace

void init_text_kernels(py::module_& m) {
  using py::arg;
  py::class_<UserKernel> kernel(m, "_TextKernel",
                                "A kernel around a body of text; calling it launches it.");
  kernel.def(py::init([](const std::string& name, Names inputs, Names outputs,
                         const std::string& source, const std::string& header, bool contiguous,
                         bool atomic, int64_t shared, bool cuda) {
               return UserKernel({name, cuda ? Dialect::cuda : Dialect::msl, std::move(inputs),
                                  std::move(outputs), source, header, contiguous, atomic, shared});
             }),
             arg("name"), arg("input_names"), arg("output_names"), arg("source"), arg("header"),
             arg("ensure_row_contiguous"), arg("atomic_outputs"), arg("shared_memory"),
             arg("cuda"));
  {
    py::options options;
    options.disable_function_signatures();
    kernel.def("__call__", call, kCallDoc);
  }
  m.def("_precompiled_cuda_kernel", call_precompiled, py::kw_only(), arg("name"),
        arg("compiled_source"), arg("inputs"), arg("output_shapes"), arg("output_dtypes"),
        arg("scalars"), arg("grid"), arg("threadgroup"), arg("shared_memory"), arg("init_value"),
        arg("ensure_row_contiguous"), arg("stream") = py::none(),
        "The outputs of one launch of a function of a compiled module, as a list.");
}

}  // namespace lamina::python
