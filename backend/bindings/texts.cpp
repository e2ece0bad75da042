// Kernels as text, for readers and tests.
#include <pybind11/stl.h>

#include <array>

#include "base/error.h"
#include "convert.h"
#include "devices/cuda/cuda.h"
#include "execute/evaluate.h"
#include "execute/kernel_texts.h"
#include "module.h"

namespace lamina::python {

namespace {

TextTraits traits_of(const std::string& dialect, int vector_bytes) {
  TextTraits traits;
  if (dialect == "cuda") {
    traits = cuda::text_traits(132);
    traits.max_buffers = 128;
  } else if (dialect != "msl") {
    throw ValueError("_kernel_texts: no dialect '" + dialect + "'\nUse 'msl' or 'cuda'");
  }
  traits.vector_bytes = vector_bytes;
  return traits;
}

py::dict launch(const TextKernel& k) {
  py::dict d;
  d["name"] = k.name;
  d["source"] = k.source;
  py::list buffers;
  for (const TextKernel::Bind& b : k.buffers)
    buffers.append(py::make_tuple(b.operand, b.written, b.alignment));
  d["buffers"] = buffers;
  d["block"] = py::bytes(reinterpret_cast<const char*>(k.block.data()), k.block.size());
  d["scalar_at"] = k.scalar_at;
  d["groups"] = k.groups;
  d["threads"] = k.threads;
  d["grid"] = k.grid;
  d["threadgroup_bytes"] = k.threadgroup_bytes;
  return d;
}

}  // namespace

void init_texts(py::module_& m) {
  m.def(
      "_kernel_texts",
      [](const std::string& dialect, int vector_bytes, int64_t index_limit,
         std::array<int64_t, 3> tile, bool simd_matrices) {
        py::list out;
        TextTraits traits = traits_of(dialect, vector_bytes);
        traits.index_limit = index_limit;
        traits.tile = traits.small_tile = {tile[0], tile[1], tile[2]};
        traits.simd_matrices = simd_matrices;
        for (const StepText& t : kernel_texts(last_plan(), traits)) {
          py::dict d;
          d["step"] = t.step;
          d["name"] = t.name;
          d["on_cpu"] = t.on_cpu;
          py::list launches;
          for (const TextKernel& k : t.program.launches) launches.append(launch(k));
          d["launches"] = launches;
          d["temporaries"] = t.program.temporaries;
          out.append(d);
        }
        return out;
      },
      py::arg("dialect"), py::arg("vector_bytes") = 16,
      py::arg("index_limit") = TextTraits().index_limit,
      py::arg("tile") = std::array<int64_t, 3>{64, 64, 16}, py::arg("simd_matrices") = true,
      "The kernels of the latest evaluation as text of a dialect, 'msl' or 'cuda'. Indices are 64 "
      "bits wide where an offset could reach `index_limit`; `tile` is of matrix products: rows, "
      "columns, depth.");
}

}  // namespace lamina::python
