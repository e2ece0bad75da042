// DLPack, versions 0 and 1: memory out and in without a copy.
#include <functional>
#include <memory>

#include "base/error.h"
#include "convert.h"
#include "lent.h"
#include "ops/copy/copy_cpu.h"
#include "ops/ops.h"

namespace lamina::python {

namespace {

struct DLDevice {
  int32_t type, id;
};
struct DLDataType {
  uint8_t code, bits;
  uint16_t lanes;
};
struct DLTensor {
  void* data;
  DLDevice device;
  int32_t ndim;
  DLDataType dtype;
  int64_t* shape;
  int64_t* strides;
  uint64_t byte_offset;
};
struct DLManagedTensor {
  DLTensor tensor;
  void* context;
  void (*deleter)(DLManagedTensor*);
};
struct DLPackVersion {
  uint32_t major, minor;
};
struct DLManagedTensorVersioned {
  DLPackVersion version;
  void* context;
  void (*deleter)(DLManagedTensorVersioned*);
  uint64_t flags;
  DLTensor tensor;
};
constexpr uint64_t kReadOnly = 1, kCopied = 2;
enum : uint8_t { kInt = 0, kUint = 1, kFloat = 2, kBfloat = 4, kComplex = 5, kBool = 6 };

DLDataType dl_type(Dtype d) {
  uint8_t bits = static_cast<uint8_t>(itemsize(d) * 8);
  if (d == Dtype::bool_) return {kBool, 8, 1};
  if (is_unsigned(d)) return {kUint, bits, 1};
  if (is_signed(d)) return {kInt, bits, 1};
  if (d == Dtype::bfloat16) return {kBfloat, 16, 1};
  return {d == Dtype::complex64 ? kComplex : kFloat, bits, 1};
}

Dtype dtype_of_dl(DLDataType t) {
  for (int d = 0; d < kDtypeCount; ++d) {
    DLDataType own = dl_type(static_cast<Dtype>(d));
    if (own.code == t.code && own.bits == t.bits && t.lanes == 1) return static_cast<Dtype>(d);
  }
  throw DtypeError("from_dlpack: element type with code " + std::to_string(t.code) + " and " +
                   std::to_string(t.bits) + " bits is not supported");
}

template <class Managed>
constexpr const char* kName = "dltensor";
template <>
constexpr const char* kName<DLManagedTensorVersioned> = "dltensor_versioned";
template <class Managed>
constexpr const char* kUsed = "used_dltensor";
template <>
constexpr const char* kUsed<DLManagedTensorVersioned> = "used_dltensor_versioned";

template <class Managed>
struct Exported {
  Managed managed{};
  std::unique_ptr<Lent> lent;
};

template <class Managed>
py::object capsule_of(std::unique_ptr<Lent> lent, uint64_t flags) {
  auto e = std::make_unique<Exported<Managed>>();
  e->lent = std::move(lent);
  const TensorView& v = e->lent->view();
  Managed& m = e->managed;
  m.tensor = {v.data,
              {1, 0},
              static_cast<int32_t>(v.shape.size()),
              dl_type(v.dtype),
              const_cast<int64_t*>(v.shape.data()),
              const_cast<int64_t*>(v.strides.data()),
              0};
  if constexpr (std::is_same_v<Managed, DLManagedTensorVersioned>) {
    m.version = {1, 0};
    m.flags = flags;
  }
  m.context = e.get();
  m.deleter = [](Managed* done) { delete static_cast<Exported<Managed>*>(done->context); };
  PyObject* capsule = PyCapsule_New(&m, kName<Managed>, [](PyObject* o) {
    if (!PyCapsule_IsValid(o, kName<Managed>)) return;  // taken over by the consumer
    auto* kept = static_cast<Managed*>(PyCapsule_GetPointer(o, kName<Managed>));
    kept->deleter(kept);
  });
  if (!capsule) throw py::error_already_set();
  e.release();
  return py::reinterpret_steal<py::object>(capsule);
}

// What a producer handed over.
struct Taken {
  DLTensor tensor;
  std::function<void()> release;
  bool writable;
};

template <class Managed>
Taken take(py::handle capsule, bool writable) {
  auto* m = static_cast<Managed*>(PyCapsule_GetPointer(capsule.ptr(), kName<Managed>));
  if (!m) throw py::error_already_set();
  if constexpr (std::is_same_v<Managed, DLManagedTensorVersioned>) {
    if (m->version.major > 1)
      throw ValueError("from_dlpack: the capsule is of DLPack " + std::to_string(m->version.major) +
                       "." + std::to_string(m->version.minor) + ", known are 0 and 1");
    writable = !(m->flags & kReadOnly);
  }
  if (m->tensor.device.type != 1)
    throw DeviceError("from_dlpack: the data is on device type " +
                      std::to_string(m->tensor.device.type) +
                      ", not in CPU memory\nMove it to the CPU first");
  dtype_of_dl(m->tensor.dtype);
  PyCapsule_SetName(capsule.ptr(), kUsed<Managed>);
  return {m->tensor,
          [m] {
            if (m->deleter) m->deleter(m);
          },
          writable};
}

Taken taken_from(py::handle o) {
  py::object capsule;
  if (PyCapsule_CheckExact(o.ptr())) {
    capsule = py::reinterpret_borrow<py::object>(o);
  } else {
    try {
      capsule = o.attr("__dlpack__")(py::arg("max_version") = py::make_tuple(1, 0));
    } catch (py::error_already_set& e) {
      if (!e.matches(PyExc_TypeError)) throw;
      capsule = o.attr("__dlpack__")();  // a producer that knows no versions
    }
  }
  if (PyCapsule_IsValid(capsule.ptr(), kName<DLManagedTensorVersioned>))
    return take<DLManagedTensorVersioned>(capsule, false);
  // Version 0 cannot say that memory is read-only; NumPy gives none then.
  if (PyCapsule_IsValid(capsule.ptr(), kName<DLManagedTensor>))
    return take<DLManagedTensor>(capsule,
                                 py::isinstance(o, py::module_::import("numpy").attr("ndarray")));
  throw ValueError("from_dlpack: not a DLPack capsule, or one that was already used");
}

bool asks_for_version(py::handle max_version) {
  return !max_version.is_none() && max_version.cast<std::pair<int, int>>().first >= 1;
}

}  // namespace

py::object to_dlpack(py::handle self, py::handle max_version, py::handle dl_device,
                     std::optional<bool> copy) {
  if (!dl_device.is_none() && dl_device.cast<std::pair<int, int>>() != std::pair{1, 0})
    throw py::buffer_error("__dlpack__: dl_device is " + std::string(py::str(dl_device)) +
                           ", arrays are given in CPU memory, (1, 0)");
  const bool versioned = asks_for_version(max_version);
  auto lent = std::make_unique<Lent>(self.ptr());
  uint64_t flags = lent->refusal() ? kReadOnly : 0;
  // Who asks without a version cannot be told that the memory is read-only.
  if (copy.value_or(false) || (lent->refusal() && !versioned)) {
    if (copy.has_value() && !*copy)
      throw py::buffer_error("__dlpack__: its memory is read-only: " +
                             std::string(lent->refusal()) + "\nAsk for a copy, or for version 1");
    TensorView from = lent->view();
    BufferRef to = Buffer::allocate(lent->array().nbytes(), Category::input, -1);
    cpu::copy(from, {to->data(), from.dtype, from.shape, row_major_strides(from.shape)});
    py::object own = py::reinterpret_steal<py::object>(
        wrap(make_leaf({to, row_major_strides(from.shape), 0}, from.shape, from.dtype)));
    lent = std::make_unique<Lent>(own.ptr());
    flags = kCopied;
  }
  return versioned ? capsule_of<DLManagedTensorVersioned>(std::move(lent), flags)
                   : capsule_of<DLManagedTensor>(std::move(lent), 0);
}

Array from_dlpack(py::handle o, std::optional<bool> copy) {
  Taken taken = taken_from(o);
  const DLTensor& t = taken.tensor;
  const Dtype d = dtype_of_dl(t.dtype);
  Shape shape(t.shape, t.shape + t.ndim);
  Strides strides = t.strides ? Strides(t.strides, t.strides + t.ndim) : row_major_strides(shape);
  char* data = static_cast<char*>(t.data) + t.byte_offset;
  bool fits = reinterpret_cast<uintptr_t>(data) % static_cast<size_t>(itemsize(d)) == 0;
  int64_t reach = 0;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (strides[i] < 0) fits = false;  // an adopted block starts at its first element
    if (shape[i] > 0) reach += (shape[i] - 1) * strides[i];
  }
  if (fits && !copy.value_or(false)) {
    BufferRef buffer =
        Buffer::adopt(data, (reach + 1) * itemsize(d), Category::input, std::move(taken.release),
                      taken.writable ? Buffer::Writers::anyone : Buffer::Writers::owner);
    return make_leaf({buffer, strides, 0}, shape, d);
  }
  if (copy.has_value() && !*copy) {
    taken.release();
    throw ValueError(
        "from_dlpack: memory with negative strides, or not aligned to its elements, cannot be "
        "adopted without a copy\nPass copy=None");
  }
  BufferRef buffer = Buffer::allocate(element_count(shape) * itemsize(d), Category::input, -1);
  cpu::copy({data, d, shape, strides}, {buffer->data(), d, shape, row_major_strides(shape)});
  taken.release();
  return make_leaf({buffer, row_major_strides(shape), 0}, shape, d);
}

}  // namespace lamina::python
