#include "convert.h"

#include <pybind11/numpy.h>

#include <cmath>
#include <cstring>

#include "base/error.h"
#include "execute/evaluate.h"
#include "ops/copy/copy_cpu.h"
#include "ops/ops.h"
#include "printing.h"
#include "watch.h"

namespace lamina::python {

namespace {

// What a Python scalar is to promotion: only its kind, not a dtype of its own.
enum class Weak : uint8_t { none, boolean, integer, real, complex };

Weak weak_kind(PyObject* o) {
  if (PyBool_Check(o)) return Weak::boolean;
  if (PyFloat_Check(o)) return Weak::real;
  if (PyLong_Check(o)) return Weak::integer;
  if (PyComplex_Check(o)) return Weak::complex;
  // One that a program kept from a trace; conversions ask it for its value.
  switch (number_kind(o)) {
    case FollowsSizes::whole:
      return Weak::integer;
    case FollowsSizes::real:
      return Weak::real;
    default:
      return Weak::none;
  }
}

// `weak`: the number stands beside an array whose dtype it takes, so it must be one of that
// dtype's. Where the program names the dtype itself, negative numbers wrap into unsigned ones, as
// in C.
Array integer_scalar(PyObject* o, Dtype d, bool weak) {
  int overflow = 0;
  int64_t v = PyLong_AsLongLongAndOverflow(o, &overflow);
  bool wraps = false;
  if (overflow > 0 && d == Dtype::uint64) {
    uint64_t u = PyLong_AsUnsignedLongLong(o);
    if (!PyErr_Occurred()) return make_scalar_uint(u, d);
    PyErr_Clear();
  }
  if (overflow) wraps = is_integer(d);
  if (!overflow && is_integer(d) && itemsize(d) < 8) {
    int64_t bits = itemsize(d) * 8;
    int64_t low = is_unsigned(d) ? 0 : -(int64_t{1} << (bits - 1));
    int64_t high = is_unsigned(d) ? (int64_t{1} << bits) - 1 : (int64_t{1} << (bits - 1)) - 1;
    wraps = v > high || (v < low && (weak || !is_unsigned(d)));
  }
  if (wraps)
    throw ValueError("array: " + std::string(py::str(py::handle(o))) + " does not fit " +
                     name_of(d));
  if (overflow) return make_scalar(PyFloat_AsDouble(o), d);
  return make_scalar_int(v, d);
}

Array typed(PyObject* o, Weak kind, Dtype d, bool weak = false) {
  switch (kind) {
    case Weak::boolean:
      return make_scalar_int(o == Py_True, d);
    case Weak::integer:
      return integer_scalar(o, d, weak);
    case Weak::real: {
      double v = PyFloat_AsDouble(o);
      if (is_integer(d)) return make_scalar_int(static_cast<int64_t>(v), d);
      return make_scalar(v, d);
    }
    default: {
      Py_complex c = PyComplex_AsCComplex(o);
      if (d != Dtype::complex64) return make_scalar(c.real, d);
      return make_scalar_complex({static_cast<float>(c.real), static_cast<float>(c.imag)});
    }
  }
}

Dtype own_dtype(PyObject* o, Weak kind) {
  switch (kind) {
    case Weak::boolean:
      return Dtype::bool_;
    case Weak::real:
      return Dtype::float32;
    case Weak::complex:
      return Dtype::complex64;
    default:
      break;
  }
  int overflow = 0;
  int64_t v = PyLong_AsLongLongAndOverflow(o, &overflow);
  return overflow || v > INT32_MAX || v < INT32_MIN ? Dtype::int64 : Dtype::int32;
}

Dtype beside(PyObject* o, Weak kind, Dtype other) {
  switch (kind) {
    case Weak::boolean:
      return other;
    case Weak::integer:
      return other == Dtype::bool_ ? own_dtype(o, kind) : other;
    case Weak::real:
      return is_inexact(other) ? other : Dtype::float32;
    default:
      return Dtype::complex64;
  }
}

bool numpy_scalar(PyObject* o) {
  static PyObject* generic =
      py::object(py::module_::import("numpy").attr("generic")).release().ptr();
  return PyObject_IsInstance(o, generic) == 1;
}

// --- nested sequences
// ------------------------------------------------------------------------------

struct Nested {
  Shape shape;
  std::vector<PyObject*> leaves;  // borrowed
  bool arrays = false;
  Weak kind = Weak::none;
};

void walk(PyObject* o, size_t depth, Nested& out) {
  bool sequence = PyList_Check(o) || PyTuple_Check(o);
  if (!sequence) {
    if (depth != out.shape.size() && !out.arrays)
      throw ValueError("array: the nested sequence is ragged at depth " + std::to_string(depth));
    Weak k = weak_kind(o);
    if (k == Weak::none) {
      if (!is_array(o) && !numpy_scalar(o) && !PyObject_HasAttrString(o, "__array__") &&
          !PyObject_HasAttrString(o, "__dlpack__"))
        throw DtypeError(std::string("array: cannot make an array from ") + Py_TYPE(o)->tp_name);
      out.arrays = true;
    }
    out.kind = std::max(out.kind, k);
    out.leaves.push_back(o);
    return;
  }
  Py_ssize_t n = PySequence_Fast_GET_SIZE(o);
  if (depth == out.shape.size() && (out.leaves.empty() || out.arrays))
    out.shape.push_back(n);
  else if (depth == out.shape.size())
    throw ValueError("array: the nested sequence is ragged at depth " + std::to_string(depth));
  else if (out.shape[depth] != n)
    throw ValueError("array: the nested sequence is ragged: lengths " +
                     std::to_string(out.shape[depth]) + " and " + std::to_string(n) + " at depth " +
                     std::to_string(depth));
  for (Py_ssize_t i = 0; i < n; ++i) {
    PyObject* item = PySequence_Fast_GET_ITEM(o, i);
    walk(item, depth + 1, out);
  }
}

Array from_sequence(PyObject* o, std::optional<Dtype> dtype) {
  // A sequence that holds arrays is stacked level by level.
  Nested nested;
  walk(o, 0, nested);
  if (nested.arrays) {
    Arrays parts;
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(o); ++i)
      parts.push_back(to_array(PySequence_Fast_GET_ITEM(o, i), dtype));
    if (!dtype) {
      Dtype d = parts[0].dtype();
      for (const Array& p : parts) d = promote(d, p.dtype());
      for (Array& p : parts) p = astype(p, d);
    }
    return stack(parts, 0);
  }
  Dtype d = dtype.value_or(Dtype::float32);
  if (!dtype && !nested.leaves.empty()) {
    d = own_dtype(nested.leaves[0], nested.kind == Weak::integer ? Weak::boolean : nested.kind);
    if (nested.kind == Weak::integer) {
      d = Dtype::int32;
      for (PyObject* leaf : nested.leaves) d = promote(d, own_dtype(leaf, Weak::integer));
    }
  }
  int64_t item = itemsize(d);
  BufferRef buffer =
      Buffer::allocate(static_cast<int64_t>(nested.leaves.size()) * item, Category::input, -1);
  char* at = static_cast<char*>(buffer->data());
  for (PyObject* leaf : nested.leaves) {
    Array s = typed(leaf, weak_kind(leaf), d);
    std::memcpy(at, s.node()->literal.bytes, static_cast<size_t>(item));
    at += item;
  }
  return make_leaf({buffer, row_major_strides(nested.shape), 0}, nested.shape, d);
}

// --- NumPy and buffers
// -----------------------------------------------------------------------------

std::optional<Dtype> dtype_of_numpy(const py::dtype& d) {
  char kind = d.kind();
  switch (kind) {
    case 'b':
      return Dtype::bool_;
    case 'i':
    case 'u': {
      static const Dtype s[] = {Dtype::int8, Dtype::int16, Dtype::int32, Dtype::int64};
      static const Dtype u[] = {Dtype::uint8, Dtype::uint16, Dtype::uint32, Dtype::uint64};
      int log = d.itemsize() == 1 ? 0 : d.itemsize() == 2 ? 1 : d.itemsize() == 4 ? 2 : 3;
      return kind == 'i' ? s[log] : u[log];
    }
    case 'f':
      if (d.itemsize() == 2) return Dtype::float16;
      if (d.itemsize() == 4) return Dtype::float32;
      if (d.itemsize() == 8) return Dtype::float64;
      return std::nullopt;
    case 'c':
      return d.itemsize() == 8 ? std::optional(Dtype::complex64) : std::nullopt;
    default:
      return std::nullopt;
  }
}

Array from_numpy(py::array a, std::optional<Dtype> dtype) {
  std::optional<Dtype> own = dtype_of_numpy(a.dtype());
  if (!own && a.dtype().kind() == 'c') {
    a = a.attr("astype")("complex64");
    own = Dtype::complex64;
  }
  if (!own) {
    // ml_dtypes' bfloat16 has no kind of its own.
    std::string name = py::str(a.dtype().attr("name"));
    if (name != "bfloat16") throw DtypeError("array: NumPy dtype " + name + " is not supported");
    a = a.attr("view")("uint16");
    return bitcast(from_numpy(a, std::nullopt), Dtype::bfloat16);
  }
  // As in MLX, double precision is only kept when asked for.
  Dtype want = dtype.value_or(*own == Dtype::float64 ? Dtype::float32 : *own);
  if (!a.dtype().attr("isnative").cast<bool>())
    a = a.attr("astype")(a.dtype().attr("newbyteorder")("="));
  Shape shape;
  Strides strides;
  bool fits = true;
  for (py::ssize_t i = 0; i < a.ndim(); ++i) {
    shape.push_back(a.shape(i));
    strides.push_back(a.strides(i) / a.itemsize());
    fits &= a.strides(i) % a.itemsize() == 0;
  }
  if (!fits) return from_numpy(py::array(a.attr("copy")()), dtype);
  // The caller may go on writing to its array, so the elements are copied once here; adoption
  // without a copy is asarray's, where the user asks for it.
  int64_t bytes = element_count(shape) * itemsize(*own);
  BufferRef buffer = Buffer::allocate(bytes, Category::input, -1);
  TensorView src{const_cast<void*>(a.data()), *own, shape, strides};
  TensorView dst{buffer->data(), *own, shape, row_major_strides(shape)};
  cpu::copy(src, dst);
  return astype(make_leaf({buffer, row_major_strides(shape), 0}, shape, *own), want);
}

}  // namespace

Array weak_scalar(PyObject* o, const Array* like) {
  Weak kind = weak_kind(o);
  if (kind == Weak::none) return Array();
  return typed(o, kind, like ? beside(o, kind, like->dtype()) : own_dtype(o, kind),
               like != nullptr);
}

Array to_array(py::handle h, std::optional<Dtype> dtype) {
  PyObject* o = h.ptr();
  if (is_array(o)) return dtype ? astype(array_of(o), *dtype) : array_of(o);
  if (Weak kind = weak_kind(o); kind != Weak::none && !numpy_scalar(o))
    return typed(o, kind, dtype.value_or(own_dtype(o, kind)));
  if (PyList_Check(o) || PyTuple_Check(o)) return from_sequence(o, dtype);
  if (py::isinstance<py::array>(h)) return from_numpy(py::reinterpret_borrow<py::array>(h), dtype);
  if (PyObject_HasAttrString(o, "__mlx_array__")) return to_array(h.attr("__mlx_array__")(), dtype);
  if (PyObject_HasAttrString(o, "__dlpack__")) {
    Array x = from_dlpack(h, true);
    return dtype ? astype(x, *dtype) : x;
  }
  if (numpy_scalar(o) || PyObject_CheckBuffer(o) || PyObject_HasAttrString(o, "__array__")) {
    // NumPy takes bytes for text.
    py::object source = PyBytes_Check(o) || PyByteArray_Check(o)
                            ? py::reinterpret_steal<py::object>(PyMemoryView_FromObject(o))
                            : py::reinterpret_borrow<py::object>(h);
    py::array a = py::array::ensure(source);
    if (a) return from_numpy(a, dtype);
    PyErr_Clear();
  }
  throw DtypeError(std::string("array: cannot make an array from ") + Py_TYPE(o)->tp_name);
}

namespace {

// NumPy's arrays and scalars beside an array take its dtype, as in MLX, unless they are of a higher
// kind: floats stay floats beside integers.
Array beside_array(PyObject* o, const Array& like) {
  Array x = to_array(o);
  auto kind = [](Dtype d) {
    return d == Dtype::bool_ ? 0 : is_integer(d) ? 1 : d == Dtype::complex64 ? 3 : 2;
  };
  return kind(x.dtype()) <= kind(like.dtype()) ? astype(x, like.dtype()) : x;
}

}  // namespace

Array operand(PyObject* o, const Array* like) {
  if (is_array(o)) return array_of(o);
  if (Array s = weak_scalar(o, like)) return s;
  if (like && (numpy_scalar(o) || py::isinstance<py::array>(o))) return beside_array(o, *like);
  return to_array(o);
}

std::optional<std::pair<Array, Array>> operands(PyObject* a, PyObject* b) {
  auto convert = [](PyObject* o, const Array* like) -> Array {
    if (is_array(o) || weak_kind(o) != Weak::none || numpy_scalar(o) ||
        py::isinstance<py::array>(o) || PyList_Check(o) || PyTuple_Check(o) ||
        PyObject_HasAttrString(o, "__dlpack__") || PyObject_HasAttrString(o, "__mlx_array__"))
      return operand(o, like);
    return Array();
  };
  Array x = convert(a, is_array(b) ? &array_of(b) : nullptr);
  if (!x) return std::nullopt;
  Array y = convert(b, &x);
  if (!y) return std::nullopt;
  return std::pair{x, y};
}

// --- out
// ---------------------------------------------------------------------------------------------

namespace {

py::object element(const void* p, Dtype d) {
  return dispatch(d, [&](auto t) -> py::object {
    using T = decltype(t);
    T v;
    std::memcpy(&v, p, sizeof v);
    if constexpr (std::is_same_v<T, bool>)
      return py::bool_(v);
    else if constexpr (std::is_integral_v<T>)
      return py::int_(v);
    else if constexpr (std::is_same_v<T, complex64_t>)
      return py::cast(std::complex<double>(v.real(), v.imag()));
    else
      return py::float_(static_cast<double>(v));
  });
}

py::object list_of(const TensorView& v, size_t axis, const char* at) {
  if (axis == v.shape.size()) return element(at, v.dtype);
  py::list out(static_cast<size_t>(v.shape[axis]));
  int64_t step = v.strides[axis] * itemsize(v.dtype);
  for (int64_t i = 0; i < v.shape[axis]; ++i)
    out[static_cast<size_t>(i)] = list_of(v, axis + 1, at + i * step);
  return out;
}

}  // namespace

py::object to_list(const Array& x) {
  TensorView v = view_unlocked(x);
  return list_of(v, 0, static_cast<const char*>(v.data));
}

py::object to_scalar(const Array& x) {
  if (x.size() != 1)
    throw ValueError("item: only an array with one element has an item, this one has shape " +
                     to_string(x.shape()));
  TensorView v = view_unlocked(x);
  return element(v.data, v.dtype);
}

py::object to_numpy(const Array& x) {
  if (x.dtype() == Dtype::bfloat16) return to_numpy(astype(x, Dtype::float32));
  TensorView v = view_unlocked(x);
  std::vector<py::ssize_t> shape(v.shape.begin(), v.shape.end()), strides;
  for (int64_t s : v.strides) strides.push_back(s * itemsize(v.dtype));
  if (x.node()->scalar || element_count(v.shape) == 0)
    return py::array(py::dtype(name_of(v.dtype)), shape, v.data ? v.data : nullptr);
  py::object owner = py::reinterpret_steal<py::object>(wrap(x));
  return py::array(py::dtype(name_of(v.dtype)), shape, strides, v.data, owner);
}

std::atomic<int> print_precision{-1};

namespace {

std::string real_number(double v, bool sign) {
  if (std::isnan(v)) return sign ? "+nan" : "nan";
  // The longest: 309 digits, a point, and the decimals asked for, at most 64.
  char buf[400];
  const int precision = print_precision.load(std::memory_order_relaxed);
  if (precision < 0)
    std::snprintf(buf, sizeof buf, sign ? "%+g" : "%g", v);
  else
    std::snprintf(buf, sizeof buf, sign ? "%+.*f" : "%.*f", precision, v);
  return buf;
}

std::string number(const void* p, Dtype d) {
  char buf[64];
  std::string real;
  dispatch(d, [&](auto t) {
    using T = decltype(t);
    T v;
    std::memcpy(&v, p, sizeof v);
    if constexpr (std::is_same_v<T, bool>)
      std::snprintf(buf, sizeof buf, "%s", v ? "True" : "False");
    else if constexpr (std::is_integral_v<T> && std::is_unsigned_v<T>)
      std::snprintf(buf, sizeof buf, "%llu", static_cast<unsigned long long>(v));
    else if constexpr (std::is_integral_v<T>)
      std::snprintf(buf, sizeof buf, "%lld", static_cast<long long>(v));
    else if constexpr (std::is_same_v<T, complex64_t>)
      real = real_number(static_cast<double>(v.real()), false) +
             real_number(static_cast<double>(v.imag()), true) + "j";
    else
      real = real_number(static_cast<double>(v), false);
  });
  return real.empty() ? buf : real;
}

void print_axis(const TensorView& v, size_t axis, const char* at, std::string& out) {
  if (axis == v.shape.size()) {
    out += number(at, v.dtype);
    return;
  }
  out += '[';
  int64_t n = v.shape[axis], step = v.strides[axis] * itemsize(v.dtype);
  for (int64_t i = 0; i < n; ++i) {
    if (i > 0) out += axis + 1 == v.shape.size() ? ", " : ",\n" + std::string(axis + 7, ' ');
    if (n > 6 && i == 3) {
      out += "...";
      i = n - 4;
      continue;
    }
    print_axis(v, axis + 1, at + i * step, out);
  }
  out += ']';
}

}  // namespace

std::string to_repr(const Array& x) {
  TensorView v = view_unlocked(x);
  std::string out = "array(";
  print_axis(v, 0, static_cast<const char*>(v.data), out);
  return out + ", dtype=" + name_of(v.dtype) + ")";
}

}  // namespace lamina::python
