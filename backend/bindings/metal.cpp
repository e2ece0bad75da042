// What the Metal device offers beyond any device: capture, wired memory, figures.
#include "devices/metal/metal.h"

#include <pybind11/stl.h>

#include "execute/alone.h"
#include "module.h"

namespace lamina::python {

namespace {

py::dict figures() {
  metal::Figures f;
  alone([&] { f = metal::figures(); });
  py::dict d;
  d["name"] = f.facts.name;
  d["architecture"] = f.facts.architecture;
  d["generation"] = f.chip.generation;
  d["size"] = std::string(1, f.chip.size);
  d["macos"] = f.facts.os_major;
  py::dict times;
  times["counters"] = f.queue.times_of_counters;
  times["command_buffers"] = f.queue.times_of_command_buffers;
  times["none"] = f.queue.times_missing;
  d["kernel_times"] = times;
  d["residency_sets"] = f.facts.residency_sets;
  d["command_buffers"] = f.queue.command_buffers;
  d["encoders"] = f.queue.encoders;
  d["launches"] = f.queue.launches;
  d["flops"] = f.queue.flops;
  d["barriers"] = f.queue.barriers;
  d["fence_waits"] = f.queue.fence_waits;
  d["in_flight"] = f.in_flight;
  d["libraries"] = f.libraries;
  d["pipelines"] = f.pipelines;
  d["pipelines_found"] = f.pipelines_found;
  d["wired"] = f.wired;
  return d;
}

}  // namespace

void init_metal(py::module_& m) {
  m.def("_metal_figures", figures,
        "What the Metal device is and has done; DeviceError where there is none.");
  m.def(
      "_metal_set_wired_limit",
      [](int64_t bytes) {
        int64_t before = 0;
        alone([&] { before = metal::set_wired_limit(bytes); });
        return before;
      },
      py::arg("bytes"), "Most bytes the system is asked to keep resident; returns the one before.");
  m.def(
      "_metal_start_capture",
      [](const std::string& path) { alone([&] { metal::start_capture(path); }); }, py::arg("path"),
      "Records GPU work into a new .gputrace document.");
  m.def(
      "_metal_stop_capture", [] { alone([] { metal::stop_capture(); }); }, "Ends the recording.");
}

}  // namespace lamina::python
