#define PY_SSIZE_T_CLEAN
#include "array_type.h"

#include <structmember.h>

#include "base/error.h"
#include "base/notice.h"
#include "convert.h"
#include "execute/evaluate.h"
#include "kernels/formulas.h"
#include "ops/ops.h"
#include "watch.h"

namespace lamina::python {

namespace {

PyTypeObject* type = nullptr;

PyObject* new_array(PyTypeObject*, PyObject* args, PyObject* kwargs) {
  static const char* names[] = {"val", "dtype", nullptr};
  PyObject *value = nullptr, *dtype = Py_None;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O:array", const_cast<char**>(names), &value,
                                   &dtype))
    return nullptr;
  if (PyObject* to = watcher(); to && concerns(value)) return tell(to, "array", {value, dtype});
  return guarded([&] {
    Array x = to_array(value, optional_dtype(dtype));
    // A copy, which writes into a view of the original leave alone.
    const bool same = is_array(value) && array_of(value).node() == x.node();
    return wrap(same ? duplicate(x) : std::move(x));
  });
}

void destroy(PyObject* self) {
  auto* a = reinterpret_cast<PyArray*>(self);
  if (a->weak_references) PyObject_ClearWeakRefs(self);
  a->array.~Array();
  PyTypeObject* t = Py_TYPE(self);
  t->tp_free(self);
  Py_DECREF(t);
}

// --- operators -----------------------------------------------------------------------------------

enum Op { kAdd, kSub, kMul, kDiv, kFloorDiv, kMod, kAnd, kOr, kXor, kShl, kShr, kPow, kOps };
uint16_t op_ids[kOps];
constexpr const char* kOperators[kOps] = {"add",  "sub", "mul", "truediv", "floordiv", "mod",
                                          "and_", "or_", "xor", "lshift",  "rshift",   "pow"};
enum Compare { kLt, kLe, kEq, kNe, kGt, kGe };
uint16_t compare_ids[6];
uint16_t negative_id, invert_id, abs_id, logical_not_id, square_id;

PyObject* not_implemented() { Py_RETURN_NOTIMPLEMENTED; }

// Types that know nothing of arrays: leaving the answer to them would be a TypeError of Python's.
bool never_operand(PyObject* o) {
  return o == Py_None || PyUnicode_Check(o) || PyBytes_Check(o) || PyDict_Check(o) ||
         PyAnySet_Check(o);
}

// `name` is the operator's in Python's module `operator`.
template <class F>
PyObject* on_operands(const char* name, PyObject* a, PyObject* b, F&& f) {
  if (PyObject* to = watcher(); to && (concerns(a) || concerns(b))) return tell(to, name, {a, b});
  return guarded([&]() -> PyObject* {
    if (is_array(a) && is_array(b)) return wrap(f(array_of(a), array_of(b)));
    if (auto both = operands(a, b)) return wrap(f(both->first, both->second));
    PyObject* other = is_array(a) ? b : a;
    if (never_operand(other))
      throw DtypeError(std::string("array: no operator takes an array and ") +
                       Py_TYPE(other)->tp_name);
    return not_implemented();
  });
}

template <int K>
PyObject* binary(PyObject* a, PyObject* b) {
  return on_operands(kOperators[K], a, b, [](const Array& x, const Array& y) {
    return elementwise(op_ids[K], {x, y});
  });
}

// In place: the Python object takes on a new value; nobody else's array changes.
template <int K>
PyObject* in_place(PyObject* a, PyObject* b) {
  if (K == kDiv && !is_inexact(array_of(a).dtype()))
    return guarded([&]() -> PyObject* {
      throw DtypeError(std::string("divide: an array of ") + name_of(array_of(a).dtype()) +
                       " cannot hold quotients in place\nUse //=, or x = x / y");
    });
  PyObject* out = binary<K>(a, b);
  if (!out || out == Py_NotImplemented) return out;
  array_of(a) = array_of(out);
  Py_DECREF(out);
  Py_INCREF(a);
  return a;
}

// A literal 2 is a square: the exponent is part of the program, not a varying scalar.
Array power_of(PyObject* exponent, const Array& x, const Array& y) {
  if (PyLong_Check(exponent) && !PyBool_Check(exponent) && PyLong_AsLong(exponent) == 2 &&
      x.dtype() != Dtype::bool_)
    return elementwise(square_id, {x});
  PyErr_Clear();
  return elementwise(op_ids[kPow], {x, y});
}

PyObject* power_slot(PyObject* a, PyObject* b, PyObject* mod) {
  if (mod != Py_None) return not_implemented();
  return on_operands(kOperators[kPow], a, b,
                     [&](const Array& x, const Array& y) { return power_of(b, x, y); });
}
PyObject* power_in_place(PyObject* a, PyObject* b, PyObject* mod) {
  PyObject* out = power_slot(a, b, mod);
  if (!out || out == Py_NotImplemented) return out;
  array_of(a) = array_of(out);
  Py_DECREF(out);
  Py_INCREF(a);
  return a;
}

PyObject* matmul_slot(PyObject* a, PyObject* b) {
  return on_operands("matmul", a, b, [](const Array& x, const Array& y) { return matmul(x, y); });
}
PyObject* matmul_in_place(PyObject* a, PyObject* b) {
  PyObject* out = matmul_slot(a, b);
  if (!out || out == Py_NotImplemented) return out;
  array_of(a) = array_of(out);
  Py_DECREF(out);
  Py_INCREF(a);
  return a;
}

PyObject* negate(PyObject* a) {
  if (PyObject* to = watcher(); to && concerns(a)) return tell(to, "neg", {a});
  return guarded([&] { return wrap(elementwise(negative_id, {array_of(a)})); });
}
PyObject* positive(PyObject* a) { return wrap(array_of(a)); }
PyObject* absolute(PyObject* a) {
  if (PyObject* to = watcher(); to && concerns(a)) return tell(to, "abs", {a});
  return guarded([&] { return wrap(elementwise(abs_id, {array_of(a)})); });
}
PyObject* invert(PyObject* a) {
  if (PyObject* to = watcher(); to && concerns(a)) return tell(to, "invert", {a});
  return guarded([&] {
    bool logical = array_of(a).dtype() == Dtype::bool_;
    return wrap(elementwise(logical ? logical_not_id : invert_id, {array_of(a)}));
  });
}

PyObject* compare(PyObject* a, PyObject* b, int how) {
  if (!is_array(b) && (b == Py_None || PyUnicode_Check(b))) {
    if (how == Py_EQ) Py_RETURN_FALSE;
    if (how == Py_NE) Py_RETURN_TRUE;
  }
  static const Compare of[] = {kLt, kLe, kEq, kNe, kGt, kGe};
  static const char* names[] = {"lt", "le", "eq", "ne", "gt", "ge"};
  return on_operands(names[how], a, b, [&](const Array& x, const Array& y) {
    return elementwise(compare_ids[of[how]], {x, y});
  });
}

// --- conversions ---------------------------------------------------------------------------------

py::object scalar_of(PyObject* a, const char* what) {
  const Array& x = array_of(a);
  if (x.size() != 1)
    throw ValueError(std::string(what) +
                     ": only an array with one element converts, this one has shape " +
                     to_string(x.shape()));
  return to_scalar(x);
}

PyObject* as_float(PyObject* a) {
  return guarded([&] { return PyNumber_Float(scalar_of(a, "float").ptr()); });
}
PyObject* as_int(PyObject* a) {
  return guarded([&] { return PyNumber_Long(scalar_of(a, "int").ptr()); });
}
PyObject* as_index(PyObject* a) {
  return guarded([&]() -> PyObject* {
    if (!is_integer(array_of(a).dtype()))
      throw DtypeError(std::string("index: only integer arrays can be indices, this one is ") +
                       name_of(array_of(a).dtype()));
    if (array_of(a).ndim() > 0)
      throw DtypeError(
          "index: only an integer array with no axes is an index, this one has shape " +
          to_string(array_of(a).shape()));
    return PyNumber_Index(scalar_of(a, "index").ptr());
  });
}
int as_bool(PyObject* a) {
  PyObject* out =
      guarded([&] { return PyBool_FromLong(PyObject_IsTrue(scalar_of(a, "bool").ptr())); });
  if (!out) return -1;
  int truth = out == Py_True;
  Py_DECREF(out);
  return truth;
}

Py_ssize_t length(PyObject* a) {
  const Array& x = array_of(a);
  if (x.ndim() == 0) {
    PyErr_SetString(PyExc_TypeError, "len: an array with no axes has no length");
    return -1;
  }
  if (PyObject* to = watcher(); to && concerns(a)) {
    PyObject* told = tell(to, "length", {a});
    Py_ssize_t size = told ? PyNumber_AsSsize_t(told, PyExc_OverflowError) : -1;
    Py_XDECREF(told);
    return size;
  }
  return static_cast<Py_ssize_t>(x.shape(0));
}
PyObject* item_at(PyObject* a, PyObject* index) {
  if (PyObject* to = watcher(); to && (concerns(a) || concerns(index)))
    return tell(to, "getitem", {a, index});
  return guarded([&] { return wrap(get_item(array_of(a), index)); });
}
Array with_item(const Array& x, py::handle index, py::handle value) {
  Array v = is_array(value.ptr()) ? array_of(value.ptr()) : weak_scalar(value.ptr(), &x);
  return set_item(x, index, v ? v : to_array(value));
}
int assign_item(PyObject* a, PyObject* index, PyObject* value) {
  if (!value) {
    PyErr_SetString(PyExc_TypeError, "array: elements cannot be deleted");
    return -1;
  }
  PyObject* to = watcher();
  PyObject* done = to && (concerns(a) || concerns(index) || concerns(value))
                       ? tell(to, "with_item", {a, index, value})
                       : guarded([&] { return wrap(with_item(array_of(a), index, value)); });
  if (!done) return -1;
  array_of(a) = array_of(done);
  Py_DECREF(done);
  return 0;
}
PyObject* repr(PyObject* a) {
  return guarded([&] { return PyUnicode_FromString(to_repr(array_of(a)).c_str()); });
}
Py_hash_t hash(PyObject* a) { return static_cast<Py_hash_t>(reinterpret_cast<uintptr_t>(a) >> 4); }

PyType_Slot slots[] = {
    {Py_tp_new, reinterpret_cast<void*>(new_array)},
    {Py_tp_dealloc, reinterpret_cast<void*>(destroy)},
    {Py_tp_repr, reinterpret_cast<void*>(repr)},
    {Py_tp_hash, reinterpret_cast<void*>(hash)},
    {Py_tp_richcompare, reinterpret_cast<void*>(compare)},
    {Py_tp_doc,
     const_cast<char*>("An N-dimensional array: lazy, immutable nodes behind a mutable name.")},
    {Py_nb_add, reinterpret_cast<void*>(binary<kAdd>)},
    {Py_nb_subtract, reinterpret_cast<void*>(binary<kSub>)},
    {Py_nb_multiply, reinterpret_cast<void*>(binary<kMul>)},
    {Py_nb_true_divide, reinterpret_cast<void*>(binary<kDiv>)},
    {Py_nb_floor_divide, reinterpret_cast<void*>(binary<kFloorDiv>)},
    {Py_nb_remainder, reinterpret_cast<void*>(binary<kMod>)},
    {Py_nb_and, reinterpret_cast<void*>(binary<kAnd>)},
    {Py_nb_or, reinterpret_cast<void*>(binary<kOr>)},
    {Py_nb_xor, reinterpret_cast<void*>(binary<kXor>)},
    {Py_nb_lshift, reinterpret_cast<void*>(binary<kShl>)},
    {Py_nb_rshift, reinterpret_cast<void*>(binary<kShr>)},
    {Py_nb_power, reinterpret_cast<void*>(power_slot)},
    {Py_nb_matrix_multiply, reinterpret_cast<void*>(matmul_slot)},
    {Py_nb_inplace_add, reinterpret_cast<void*>(in_place<kAdd>)},
    {Py_nb_inplace_subtract, reinterpret_cast<void*>(in_place<kSub>)},
    {Py_nb_inplace_multiply, reinterpret_cast<void*>(in_place<kMul>)},
    {Py_nb_inplace_true_divide, reinterpret_cast<void*>(in_place<kDiv>)},
    {Py_nb_inplace_floor_divide, reinterpret_cast<void*>(in_place<kFloorDiv>)},
    {Py_nb_inplace_remainder, reinterpret_cast<void*>(in_place<kMod>)},
    {Py_nb_inplace_and, reinterpret_cast<void*>(in_place<kAnd>)},
    {Py_nb_inplace_or, reinterpret_cast<void*>(in_place<kOr>)},
    {Py_nb_inplace_xor, reinterpret_cast<void*>(in_place<kXor>)},
    {Py_nb_inplace_lshift, reinterpret_cast<void*>(in_place<kShl>)},
    {Py_nb_inplace_rshift, reinterpret_cast<void*>(in_place<kShr>)},
    {Py_nb_inplace_power, reinterpret_cast<void*>(power_in_place)},
    {Py_nb_inplace_matrix_multiply, reinterpret_cast<void*>(matmul_in_place)},
    {Py_nb_negative, reinterpret_cast<void*>(negate)},
    {Py_nb_positive, reinterpret_cast<void*>(positive)},
    {Py_nb_absolute, reinterpret_cast<void*>(absolute)},
    {Py_nb_invert, reinterpret_cast<void*>(invert)},
    {Py_nb_float, reinterpret_cast<void*>(as_float)},
    {Py_nb_int, reinterpret_cast<void*>(as_int)},
    {Py_nb_index, reinterpret_cast<void*>(as_index)},
    {Py_nb_bool, reinterpret_cast<void*>(as_bool)},
    {Py_bf_getbuffer, reinterpret_cast<void*>(get_buffer)},
    {Py_bf_releasebuffer, reinterpret_cast<void*>(release_buffer)},
    {Py_mp_length, reinterpret_cast<void*>(length)},
    {Py_mp_subscript, reinterpret_cast<void*>(item_at)},
    {Py_mp_ass_subscript, reinterpret_cast<void*>(assign_item)},
    {0, nullptr},
};

PyMemberDef members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(PyArray, weak_references), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr}};

}  // namespace

PyTypeObject* array_type() { return type; }

PyObject* wrap(Array array) {
  PyObject* self = type->tp_alloc(type, 0);
  if (!self) return nullptr;
  auto* a = reinterpret_cast<PyArray*>(self);
  new (&a->array) Array(std::move(array));
  a->weak_references = nullptr;
  return self;
}

namespace {

void tell_notices() {
  if (!any_notices()) return;
  for (const std::string& text : take_notices())
    if (PyErr_WarnEx(PyExc_RuntimeWarning, text.c_str(), 1) < 0) throw py::error_already_set();
}

}  // namespace

void evaluate_unlocked(std::span<const Array> roots, bool behind) {
  bool ready = true;
  for (const Array& r : roots) ready &= r.node()->ready();
  if (ready) return;
  {
    py::gil_scoped_release release;
    behind ? evaluate_behind(roots) : evaluate(roots);
  }
  tell_notices();
}

TensorView view_unlocked(const Array& x) {
  if (on_host(x)) return tensor_view(x);
  TensorView view;
  {
    py::gil_scoped_release release;
    view = tensor_view(x);
  }
  tell_notices();
  return view;
}

void init_array_type(py::module_& m) {
  static const char* names[kOps] = {"add",          "subtract",   "multiply",    "divide",
                                    "floor_divide", "remainder",  "bitwise_and", "bitwise_or",
                                    "bitwise_xor",  "left_shift", "right_shift", "power"};
  for (int i = 0; i < kOps; ++i) op_ids[i] = formula_id(names[i]);
  static const char* compares[6] = {"less",      "less_equal", "equal",
                                    "not_equal", "greater",    "greater_equal"};
  for (int i = 0; i < 6; ++i) compare_ids[i] = formula_id(compares[i]);
  negative_id = formula_id("negative");
  invert_id = formula_id("bitwise_invert");
  abs_id = formula_id("abs");
  logical_not_id = formula_id("logical_not");
  square_id = formula_id("square");
  std::vector<PyType_Slot> all(std::begin(slots), std::end(slots) - 1);
  all.push_back({Py_tp_members, members});
  all.push_back({0, nullptr});
  PyType_Spec spec{"lamina.core.array", sizeof(PyArray), 0, Py_TPFLAGS_DEFAULT, all.data()};
  type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
  if (!type) throw py::error_already_set();
  m.def("_with_item", with_item, "A copy of an array with the elements at an index replaced.");
  m.attr("array") = py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(type));
}

}  // namespace lamina::python
