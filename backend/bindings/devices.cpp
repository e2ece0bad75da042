// Devices, the choice of one, and their memory.
#include <pybind11/stl.h>

#include "base/error.h"
#include "devices/cuda/cuda.h"
#include "devices/cuda/nvrtc.h"
#include "devices/pool.h"
#include "devices/registry.h"
#include "execute/evaluate.h"
#include "module.h"
#include "stream.h"

namespace lamina::python {

// What a program gave for a number of bytes: anything, so that what is none is told by name.
struct Bytes : py::object {
  static bool taken(PyObject* o) { return o != nullptr; }
  PYBIND11_OBJECT_DEFAULT(Bytes, object, taken)
};

}  // namespace lamina::python

template <>
struct pybind11::detail::handle_type_name<lamina::python::Bytes> {
  static constexpr auto name = const_name("int");
};

namespace lamina::python {

namespace {

// The pool a call is about: the given device's, else the one that operations run on.
Pool& pool_for(const char* op, const py::object& device) {
  if (device.is_none()) return device_of(current_device()).pool();
  if (!py::hasattr(device, "_lamina_device"))
    throw py::type_error(std::string(op) + ": device must be a Device, DeviceType or Stream, got " +
                         std::string(py::str(py::repr(device))));
  return device_of(device_from(device)).pool();
}

int64_t bytes_from(const std::string& op, const Bytes& given) {
  const std::string got = ", got " + std::string(py::str(py::repr(given)));
  if (PyBool_Check(given.ptr()) || !PyIndex_Check(given.ptr()))
    throw py::type_error(op + ": the limit must be a whole number of bytes" + got);
  auto whole = py::reinterpret_steal<py::object>(PyNumber_Index(given.ptr()));
  if (!whole) throw py::error_already_set();
  int overflow = 0;
  const int64_t n = PyLong_AsLongLongAndOverflow(whole.ptr(), &overflow);
  if (overflow > 0) throw ValueError(op + ": the limit must fit 64 bits (below 2^63)" + got);
  if (n < 0) throw ValueError(op + ": the limit must not be negative" + got);
  return n;
}

template <class F>
void define_query(py::module_& m, const char* name, F f, const char* doc) {
  m.def(
      name, [f, name](const py::object& device) { return f(pool_for(name, device)); },
      py::kw_only(), py::arg("device") = py::none(), doc);
}

template <class F>
void define_limit(py::module_& m, const char* name, F f, const char* doc) {
  m.def(
      name,
      [f, name](const Bytes& n, const py::object& device) {
        Pool& pool = pool_for(name, device);
        return f(pool, bytes_from(name, n));
      },
      py::arg("limit"), py::kw_only(), py::arg("device") = py::none(), doc);
}

void define_memory(py::module_& m) {
  define_query(
      m, "get_active_memory", [](Pool& p) { return p.active(); },
      "Bytes of live buffers of the default device, or of `device`.");
  define_query(
      m, "get_peak_memory", [](Pool& p) { return p.peak(); }, "Most bytes of live buffers so far.");
  define_query(
      m, "get_cache_memory", [](Pool& p) { return p.cache(); }, "Bytes kept for reuse.");
  define_query(
      m, "get_memory_limit", [](Pool& p) { return p.limit(); }, "Bytes lamina may use.");
  define_query(
      m, "reset_peak_memory", [](Pool& p) { p.reset_peak(); }, "Peak memory counts from now.");
  define_limit(
      m, "set_memory_limit", [](Pool& p, int64_t n) { return p.set_limit(n); },
      "Sets the limit in bytes; returns the one before.");
  define_limit(
      m, "set_cache_limit", [](Pool& p, int64_t n) { return p.set_cache_limit(n); },
      "Sets the cache's limit in bytes; returns the one before.");
  m.def("_bytes", bytes_from, py::arg("op"), py::arg("limit"),
        "The limit as a number; an error in the name of `op` where it is none.");
  m.def(
      "clear_cache",
      [] {
        for (Device* d : open_devices()) d->pool().clear_cache();
      },
      "Gives the cached memory of every device back to the system.");
  m.def("_memory", [] {
    int64_t active = 0, peak = 0, cache = 0, limit = 0;
    for (Device* d : open_devices()) {
      active += d->pool().active();
      peak += d->pool().peak();
      cache += d->pool().cache();
      limit += d->pool().limit();
    }
    py::dict d;
    d["active"] = active;
    d["peak"] = peak;
    d["cache"] = cache;
    d["limit"] = limit;
    return d;
  });
  m.def(
      "_fail_allocation",
      [](int64_t n, const py::object& device) { pool_for("_fail_allocation", device).fail_at(n); },
      py::arg("n"), py::kw_only(), py::arg("device") = py::none(),
      "The n-th allocation from now fails (0: the next); -1: none does.");
}

void define_cuda(py::module_& m) {
  m.def("_cuda_figures", [] {
    cuda::Figures f = cuda::figures();
    py::dict d;
    d["launches"] = f.launches;
    d["graphs"] = f.graphs;
    d["graph_launches"] = f.graph_launches;
    d["updates"] = f.updates;
    d["compiled"] = f.compiled;
    d["in_memory"] = f.in_memory;
    d["on_disk"] = f.on_disk;
    return d;
  });
  m.def(
      "_cuda_compile",
      [](const std::string& name, const std::string& source, int capability) {
        TextKernel kernel;
        kernel.name = name;
        kernel.source = source;
        return py::bytes(cuda::compile(kernel, cuda::target_for(capability)));
      },
      py::arg("name"), py::arg("source"), py::arg("capability"),
      "Machine code of a CUDA text, without a GPU; DeviceError with the compiler's messages.");
}

}  // namespace

DeviceId device_from(py::handle o) {
  static PyObject* name = PyUnicode_InternFromString("_lamina_device");
  PyObject* id = PyObject_GetAttr(o.ptr(), name);
  if (!id) {
    if (!PyErr_ExceptionMatches(PyExc_AttributeError)) throw py::error_already_set();
    PyErr_Clear();
    throw py::type_error(std::string("stream: expected a Device, DeviceType or Stream, got ") +
                         Py_TYPE(o.ptr())->tp_name);
  }
  return py::reinterpret_steal<py::object>(id).cast<DeviceId>();
}

void wait_unlocked() {
  if (!devices_have_work()) return;
  py::gil_scoped_release release;
  wait_for_devices();
}

void wait_for_unlocked(std::span<const Array> roots) {
  if (!must_wait_for(roots)) return;
  py::gil_scoped_release release;
  wait_for(roots);
}

void init_devices(py::module_& m) {
  define_memory(m);
  define_cuda(m);
  m.def("_device_names", device_names, "Every device this build knows, by number.");
  m.def(
      "_device_named",
      [](const std::string& name) {
        DeviceId id = device_named(name);
        device_of(id);
        return id;
      },
      py::arg("name"), "The device's number; DeviceError where it does not open.");
  m.def(
      "_library_folders",
      [](const std::vector<std::string>& folders) { library_folders() = folders; },
      py::arg("folders"), "Where to look for the libraries of devices first.");
  m.def("_gpu", gpu_device, "The number of the device that mx.gpu means; DeviceError if none.");
  m.def("_default_device", default_device);
  m.def("_set_default_device", set_default_device, py::arg("device"));
  m.def("_current_device", current_device, "The innermost scope's device, else the default.");
  m.def("_swap_device_scope", swap_device_scope, py::arg("device"),
        "Enters a device on this thread, or leaves it with what entering returned.");
  m.def(
      "_device_of", [](const Array& x) { return x.node()->device; }, py::arg("array"),
      "The device the array's operation was built for.");
  m.def(
      "_lies_on",
      [](const Array& x) {
        const Node& n = *x.node();
        return n.ready() && !n.scalar ? n.value.buffer->device() : kCpu;
      },
      py::arg("array"), "The device whose memory an evaluated array is in.");
  m.def("_wait_for_devices", wait_unlocked, "Returns when every device has done its work.");
  m.def(
      "_device_info",
      [](DeviceId id) {
        const DeviceInfo& info = device_of(id).info();
        py::dict d;
        d["name"] = info.name;
        d["device_name"] = info.detail;
        d["architecture"] = info.architecture;
        d["memory_size"] = info.memory_bytes;
        d["unified"] = info.unified;
        py::list lacks;
        for (int i = 0; i < kDtypeCount; ++i)
          if (!(info.dtypes >> i & 1)) lacks.append(name_of(static_cast<Dtype>(i)));
        d["lacks"] = lacks;
        return d;
      },
      py::arg("device"), "What the device is.");
}

}  // namespace lamina::python
