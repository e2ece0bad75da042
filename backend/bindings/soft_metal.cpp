// The software Metal, by itself: libraries from source, pipelines, dispatches on NumPy's memory.
#include "base/interrupt.h"
#include "devices/soft_metal/device.h"
#include "devices/soft_metal/runtime.h"

#include <pybind11/stl.h>

#include "module.h"

namespace lamina::python {
namespace {

using namespace soft_metal;

Options options_from(py::object check, py::object count, py::object seed) {
  Options o = default_options();
  if (!check.is_none()) o.check = check.cast<bool>();
  if (!count.is_none()) o.count = count.cast<bool>();
  if (!seed.is_none()) o.seed = seed.cast<uint64_t>();
  return o;
}

std::array<int64_t, 3> triple(const py::handle& value) {
  std::array<int64_t, 3> out{1, 1, 1};
  if (py::isinstance<py::int_>(value)) {
    out[0] = value.cast<int64_t>();
    return out;
  }
  py::sequence s = py::reinterpret_borrow<py::sequence>(value);
  if (s.size() < 1 || s.size() > 3)
    throw ValueError("soft_metal: a grid has 1 to 3 sides: " + py::repr(value).cast<std::string>());
  for (size_t i = 0; i < s.size(); ++i) out[i] = s[i].cast<int64_t>();
  return out;
}

ConstantValues constants_from(const py::dict& dict) {
  ConstantValues out;
  for (auto [key, value] : dict) {
    auto pair = value.cast<std::pair<std::string, std::string>>();
    ConstantValue v{pair.first, {pair.second.begin(), pair.second.end()}};
    if (py::isinstance<py::int_>(key))
      out.by_index[key.cast<int>()] = v;
    else
      out.by_name[key.cast<std::string>()] = v;
  }
  return out;
}

// What a dispatch binds, and what keeps it alive.
struct Bound {
  Dispatch dispatch;
  std::vector<Py_buffer> views;
  std::vector<std::string> inlined;
  ~Bound() {
    for (Py_buffer& v : views) PyBuffer_Release(&v);
  }
};

void fill(Bound& b, const std::shared_ptr<Pipeline>& pipeline, const py::dict& buffers,
          const py::object& grid, const py::object& group, const py::dict& threadgroup,
          const py::dict& offsets, bool in_threads) {
  Dispatch& d = b.dispatch;
  d.interrupted = interrupt_hook.load(std::memory_order_relaxed);
  d.pipeline = pipeline;
  d.grid = triple(grid);
  d.group = triple(group);
  d.grid_in_threads = in_threads;
  b.inlined.reserve(buffers.size());
  b.views.reserve(buffers.size());
  for (auto [key, value] : buffers) {
    int index = key.cast<int>();
    Binding binding;
    if (py::isinstance<py::bytes>(value)) {
      b.inlined.push_back(value.cast<std::string>());
      binding.data = b.inlined.back().data();
      binding.bytes = static_cast<int64_t>(b.inlined.back().size());
      binding.inlined = true;
    } else {
      Py_buffer view;
      if (PyObject_GetBuffer(value.ptr(), &view, PyBUF_C_CONTIGUOUS) != 0)
        throw py::error_already_set();
      b.views.push_back(view);
      binding.data = view.buf;
      binding.bytes = view.len;
    }
    if (offsets.contains(key)) binding.offset = offsets[key].cast<int64_t>();
    bind(d, index, binding);
    bool written = false;
    for (const Argument& a : pipeline->arguments())
      written |= a.space != Space::threadgroup && a.index == index && a.written;
    if (written && !binding.inlined && b.views.back().readonly)
      throw ValueError("soft_metal: kernel `" + pipeline->name() + "` writes buffer " +
                       std::to_string(index) + ", which is read-only");
  }
  for (auto [key, value] : threadgroup)
    set_threadgroup_bytes(d, key.cast<int>(), value.cast<int64_t>());
}

py::dict counts_dict(const Counts& counts) {
  py::dict out;
#define LAMINA_COUNT(name, meaning) out[#name] = counts.name;
  LAMINA_SOFT_METAL_COUNTS(LAMINA_COUNT)
#undef LAMINA_COUNT
  return out;
}

py::list arguments_list(const Pipeline& p) {
  static const char* spaces[] = {"device", "constant", "threadgroup"};
  py::list out;
  for (const Argument& a : p.arguments()) {
    py::dict d;
    d["name"] = a.name;
    d["type"] = a.type;
    d["space"] = spaces[static_cast<size_t>(a.space)];
    d["index"] = a.index;
    d["written"] = a.written;
    d["element_bytes"] = a.element_bytes;
    d["alignment"] = a.alignment;
    out.append(d);
  }
  return out;
}

void init_pipeline(py::module_& m) {
  py::class_<Pipeline, std::shared_ptr<Pipeline>>(m, "MetalPipeline", "One kernel, ready to run.")
      .def_property_readonly("name", &Pipeline::name)
      .def_property_readonly("arguments", &arguments_list)
      .def_property_readonly("max_threads", &Pipeline::max_threads)
      .def_property_readonly("static_threadgroup_bytes", &Pipeline::static_threadgroup_bytes)
      .def_property_readonly("communicates", &Pipeline::communicates)
      .def_property_readonly("compile_ms", &Pipeline::compile_ms)
      .def(
          "run",
          [](std::shared_ptr<Pipeline> p, py::dict buffers, py::object grid, py::object group,
             py::dict threadgroup, py::dict offsets, bool in_threads) {
            Bound b;
            fill(b, p, buffers, grid, group, threadgroup, offsets, in_threads);
            py::gil_scoped_release release;
            Counts counts = run(b.dispatch);
            py::gil_scoped_acquire acquire;
            return counts_dict(counts);
          },
          py::arg("buffers"), py::arg("grid"), py::arg("group"),
          py::arg("threadgroup") = py::dict(), py::arg("offsets") = py::dict(),
          py::arg("in_threads") = true,
          "Runs a dispatch on buffers by index (NumPy arrays; bytes go in line); returns its "
          "counts.");
}

void init_library(py::module_& m) {
  py::class_<Library, std::shared_ptr<Library>>(m, "MetalLibrary", "Metal source, compiled.")
      .def(py::init([](const std::string& source, py::object check, py::object count,
                       py::object seed, std::map<std::string, std::string> macros) {
             Options o = options_from(check, count, seed);
             py::gil_scoped_release release;
             return compile_library(source, o, macros);
           }),
           py::arg("source"), py::arg("check") = py::none(), py::arg("count") = py::none(),
           py::arg("seed") = py::none(), py::arg("macros") = std::map<std::string, std::string>())
      .def_property_readonly("functions", &Library::functions)
      .def_property_readonly("compile_ms", &Library::compile_ms)
      .def(
          "pipeline",
          [](std::shared_ptr<Library> l, const std::string& name, py::dict constants,
             int max_threads) {
            ConstantValues values = constants_from(constants);
            py::gil_scoped_release release;
            return make_pipeline(l, name, values, max_threads);
          },
          py::arg("name"), py::arg("constants") = py::dict(), py::arg("max_threads") = 0,
          "The kernel of that name; constants are {index or name: (type, bytes)}.");
}

void init_encoder(py::module_& m) {
  py::class_<Encoder>(m, "MetalEncoder", "Dispatches of one encoder, serial or concurrent.")
      .def(py::init<bool>(), py::arg("concurrent") = false)
      .def(
          "dispatch",
          [](Encoder& e, std::shared_ptr<Pipeline> p, py::dict buffers, py::object grid,
             py::object group, py::dict threadgroup, py::dict offsets, bool in_threads) {
            Bound b;
            fill(b, p, buffers, grid, group, threadgroup, offsets, in_threads);
            py::gil_scoped_release release;
            Counts counts = e.dispatch(b.dispatch);
            py::gil_scoped_acquire acquire;
            return counts_dict(counts);
          },
          py::arg("pipeline"), py::arg("buffers"), py::arg("grid"), py::arg("group"),
          py::arg("threadgroup") = py::dict(), py::arg("offsets") = py::dict(),
          py::arg("in_threads") = true)
      .def("barrier", [](Encoder& e) { e.barrier(); });
}

}  // namespace

void init_soft_metal(py::module_& m) {
  init_pipeline(m);
  init_library(m);
  init_encoder(m);
  m.def("_metal_compiler_finder", [](py::function find) {
    // Kept for the life of the process: it may be asked after the interpreter has begun to end.
    auto* kept = new py::function(std::move(find));
    set_compiler_finder([kept] {
      py::gil_scoped_acquire acquire;
      return (*kept)().cast<std::string>();
    });
  });
  m.def(
      "_metal_take_counts",
      [] {
        py::dict out;
        for (const auto& [name, kernel] : take_kernel_counts()) {
          py::dict d = counts_dict(kernel.counts);
          d["launches"] = kernel.launches;
          out[py::str(name)] = d;
        }
        return out;
      },
      "What the device's kernels cost since the last call: counts by kernel.");
  m.def(
      "_metal_take_launches",
      [] {
        py::list out;
        for (const KernelLaunch& launch : take_launches()) {
          py::dict d;
          d["kernel"] = launch.kernel;
          d["t0"] = launch.t0;
          d["t1"] = launch.t1;
          d["counts"] = counts_dict(launch.counts);
          out.append(d);
        }
        return out;
      },
      "Launches of the device's kernels during a recording, since the last call.");
  m.def("_metal_compiler", &compiler, "Path of the compiler's program, empty where there is none.",
        py::call_guard<py::gil_scoped_release>());
  m.def(
      "_metal_fail_at",
      [](const std::string& stage, int64_t n) {
        if (stage == "library") return fail_at(Stage::library, n);
        if (stage == "pipeline") return fail_at(Stage::pipeline, n);
        if (stage == "dispatch") return fail_at(Stage::dispatch, n);
        throw ValueError("fail_at: stage is library, pipeline or dispatch: " + stage);
      },
      py::arg("stage"), py::arg("n"));
}

}  // namespace lamina::python
