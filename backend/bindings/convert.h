// Python values in and out: scalars, nested lists, NumPy, the buffer protocol, DLPack.
#pragma once

#include <optional>

#include "array_type.h"

namespace lamina::python {

// A Python or NumPy scalar as an array that adapts to `like` by MLX's weak promotion; empty if it
// is no scalar. Throws ValueError if it does not fit the dtype.
Array weak_scalar(PyObject* o, const Array* like);
// One operand beside the array `like`, if there is one: numbers and NumPy's arrays adapt to it.
Array operand(PyObject* o, const Array* like);
// Anything array-like: array, scalar, nested sequence, buffer, DLPack. Throws TypeError otherwise.
Array to_array(py::handle o, std::optional<Dtype> dtype = std::nullopt);
// Two operands of a binary operation; nullopt where one is not array-like.
std::optional<std::pair<Array, Array>> operands(PyObject* a, PyObject* b);

py::object to_list(const Array& x);
py::object to_scalar(const Array& x);
// A NumPy array over the same memory (bfloat16: a float32 copy).
py::object to_numpy(const Array& x);
// A DLPack capsule over the memory of an array: of version 1 where `max_version` allows it.
py::object to_dlpack(py::handle self, py::handle max_version, py::handle dl_device,
                     std::optional<bool> copy);
// Adopts a producer's memory; `copy`: always, never, or where it cannot be adopted.
Array from_dlpack(py::handle o, std::optional<bool> copy);

// "array([[1, 2], ...], dtype=float32)"; evaluates.
std::string to_repr(const Array& x);
std::string to_html(const Array& x);  // never evaluates

py::object dtype_object(Dtype d);
Dtype dtype_from(py::handle o);  // a Dtype or a name; throws DtypeError
std::optional<Dtype> optional_dtype(py::handle o);
// An int of 64 bits. Throws TypeError or ValueError with the value otherwise.
int64_t int_from(py::handle o);
// int or sequence of ints.
Shape shape_from(py::handle o);
// None: every axis of x.
Axes axes_from(py::handle o, const Array& x);

Array get_item(const Array& x, py::handle index);
Array set_item(const Array& x, py::handle index, const Array& value);
// x.at[index].<op>(value)
Array scatter_item(const Array& x, py::handle index, const Array& value, const std::string& op);

}  // namespace lamina::python
