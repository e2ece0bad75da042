// Operations with arguments of their own, one definition each; no logic beyond argument forms.
#include "ops/ops.h"

#include <pybind11/stl.h>

#include "base/error.h"
#include "convert.h"
#include "module.h"
#include "stream.h"

namespace lamina::python {

namespace {

using py::arg;
const auto no_stream = [] { return py::arg("stream") = py::none(); };
const auto rest = py::kw_only();

Array like(py::handle o) { return to_array(o); }

template <class F>
void define_reduction(py::module_& m, const char* name, F f, const char* doc) {
  m.def(
      name,
      [f](const Array& a, py::object axis, bool keepdims, OnStream) {
        return f(a, axes_from(axis, a), keepdims);
      },
      arg("a"), py::pos_only(), arg("axis") = py::none(), arg("keepdims") = false, rest,
      no_stream(), doc);
}

template <class F>
void define_spread(py::module_& m, const char* name, F f, const char* doc) {
  m.def(
      name,
      [f](const Array& a, py::object axis, bool keepdims, int64_t ddof, OnStream) {
        return f(a, axes_from(axis, a), keepdims, ddof);
      },
      arg("a"), py::pos_only(), arg("axis") = py::none(), arg("keepdims") = false, arg("ddof") = 0,
      rest, no_stream(), doc);
}

Array arg_reduce(ReduceOp op, const Array& a, const py::object& axis, bool keepdims) {
  if (!axis.is_none()) return reduce(op, a, {int_from(axis)}, keepdims);
  Array flat = reduce(op, reshape(a, {-1}), {0}, false);
  return keepdims ? reshape(flat, Shape(static_cast<size_t>(a.ndim()), 1)) : flat;
}

void define_arg_reduction(py::module_& m, const char* name, ReduceOp op, const char* doc) {
  m.def(
      name,
      [op](const Array& a, py::object axis, bool keepdims, OnStream) {
        return arg_reduce(op, a, axis, keepdims);
      },
      arg("a"), py::pos_only(), arg("axis") = py::none(), arg("keepdims") = false, rest,
      no_stream(), doc);
}

Array along(const Array& a, const py::object& axis, int64_t& out) {
  if (axis.is_none()) {
    out = 0;
    return reshape(a, {-1});
  }
  out = int_from(axis);
  return a;
}

void define_scan(py::module_& m, const char* name, ScanOp op, bool typed, const char* doc) {
  auto run = [op](const Array& a, py::object axis, bool reverse, bool inclusive) {
    int64_t at = 0;
    Array x = along(a, axis, at);
    return scan(op, x, at, reverse, inclusive);
  };
  if (typed) {
    m.def(
        name,
        [run](const Array& a, py::object axis, bool reverse, bool inclusive, py::object dtype,
              OnStream) {
          return run(dtype.is_none() ? a : astype(a, dtype_from(dtype)), axis, reverse, inclusive);
        },
        arg("a"), py::pos_only(), arg("axis") = py::none(), rest, arg("reverse") = false,
        arg("inclusive") = true, arg("dtype") = py::none(), no_stream(), doc);
  } else {
    m.def(
        name,
        [run](const Array& a, py::object axis, bool reverse, bool inclusive, OnStream) {
          return run(a, axis, reverse, inclusive);
        },
        arg("a"), py::pos_only(), arg("axis") = py::none(), rest, arg("reverse") = false,
        arg("inclusive") = true, no_stream(), doc);
  }
}

void define_reductions(py::module_& m) {
  define_reduction(m, "sum", lamina::sum, "Sum over axes.");
  define_reduction(m, "prod", lamina::prod, "Product over axes.");
  define_reduction(m, "max", lamina::max, "Largest element over axes.");
  define_reduction(m, "min", lamina::min, "Smallest element over axes.");
  define_reduction(m, "all", lamina::all, "Whether every element over axes is true.");
  define_reduction(m, "any", lamina::any, "Whether some element over axes is true.");
  define_reduction(m, "mean", lamina::mean, "Mean over axes.");
  define_reduction(m, "logsumexp", lamina::logsumexp,
                   "log(sum(exp(a))) over axes, without overflow.");
  define_spread(m, "var", lamina::var, "Variance over axes.");
  define_spread(
      m, "std",
      [](const Array& a, const Axes& axes, bool keep, int64_t ddof) {
        return sqrt(lamina::var(a, axes, keep, ddof));
      },
      "Standard deviation over axes.");
  define_arg_reduction(m, "argmax", ReduceOp::argmax, "Index of the largest element, uint32.");
  define_arg_reduction(m, "argmin", ReduceOp::argmin, "Index of the smallest element, uint32.");
  define_scan(m, "cumsum", ScanOp::sum, true, "Running sum along an axis.");
  define_scan(m, "cumprod", ScanOp::prod, true, "Running product along an axis.");
  define_scan(m, "cummax", ScanOp::max, false, "Running maximum along an axis.");
  define_scan(m, "cummin", ScanOp::min, false, "Running minimum along an axis.");
  define_scan(m, "logcumsumexp", ScanOp::logaddexp, false,
              "Running log of the sum of exponentials.");
  m.def(
      "softmax",
      [](const Array& a, py::object axis, bool precise, OnStream) {
        return softmax(a, axes_from(axis, a), precise);
      },
      arg("a"), py::pos_only(), arg("axis") = py::none(), rest, arg("precise") = false, no_stream(),
      "exp(a) / sum(exp(a)) over axes.");
}

void define_views(py::module_& m) {
  m.def(
      "reshape",
      [](const Array& a, py::object shape, OnStream) { return reshape(a, shape_from(shape)); },
      arg("a"), py::pos_only(), arg("shape"), rest, no_stream(),
      "The same elements under another shape.");
  m.def(
      "flatten",
      [](const Array& a, int64_t start, int64_t end, OnStream) { return flatten(a, start, end); },
      arg("a"), py::pos_only(), arg("start_axis") = 0, arg("end_axis") = -1, rest, no_stream(),
      "Axes merged into one.");
  m.def(
      "unflatten",
      [](const Array& a, int64_t axis, py::object shape, OnStream) {
        return unflatten(a, axis, shape_from(shape));
      },
      arg("a"), py::pos_only(), arg("axis"), arg("shape"), rest, no_stream(),
      "One axis split into several.");
  m.def(
      "squeeze",
      [](const Array& a, py::object axis, OnStream) {
        Axes axes;
        if (!axis.is_none())
          axes = shape_from(axis);
        else
          for (int64_t i = 0; i < a.ndim(); ++i)
            if (a.shape(i) == 1) axes.push_back(i);
        return squeeze(a, axes);
      },
      arg("a"), py::pos_only(), arg("axis") = py::none(), rest, no_stream(),
      "Size-1 axes removed.");
  m.def(
      "expand_dims",
      [](const Array& a, py::object axis, OnStream) { return expand_dims(a, shape_from(axis)); },
      arg("a"), py::pos_only(), arg("axis"), rest, no_stream(), "Size-1 axes added.");
  auto transposed = [](const Array& a, py::object axes, OnStream) {
    return axes.is_none() ? transpose(a) : transpose(a, shape_from(axes));
  };
  for (const char* name : {"transpose", "permute_dims"})
    m.def(name, transposed, arg("a"), py::pos_only(), arg("axes") = py::none(), rest, no_stream(),
          "Axes in another order.");
  m.def(
      "swapaxes", [](const Array& a, int64_t x, int64_t y, OnStream) { return swapaxes(a, x, y); },
      arg("a"), py::pos_only(), arg("axis1"), arg("axis2"), rest, no_stream(),
      "Two axes exchanged.");
  m.def(
      "moveaxis", [](const Array& a, int64_t x, int64_t y, OnStream) { return moveaxis(a, x, y); },
      arg("a"), py::pos_only(), arg("source"), arg("destination"), rest, no_stream(),
      "One axis moved.");
  m.def(
      "broadcast_to",
      [](py::object a, py::object shape, OnStream) {
        return broadcast_to(like(a), shape_from(shape));
      },
      arg("a"), py::pos_only(), arg("shape"), rest, no_stream(),
      "Elements repeated to a larger shape.");
}

void define_strided(py::module_& m) {
  m.def(
      "as_strided",
      [](const Array& a, py::object shape, py::object strides, int64_t offset, OnStream) {
        Shape s = shape.is_none() ? a.shape() : shape_from(shape);
        return as_strided(
            a, s, strides.is_none() ? row_major_strides(s) : Strides(shape_from(strides)), offset);
      },
      arg("a"), py::pos_only(), arg("shape") = py::none(), arg("strides") = py::none(),
      arg("offset") = 0, rest, no_stream(), "The row-major elements read with any strides.");
  m.def(
      "view",
      [](py::object a, py::object dtype, OnStream) { return bitcast(like(a), dtype_from(dtype)); },
      arg("a"), arg("dtype"), no_stream(), "The same bytes as another dtype.");
  m.def(
      "contiguous", [](const Array& a, bool, OnStream) { return contiguous(a); }, arg("a"),
      py::pos_only(), arg("allow_col_major") = false, rest, no_stream(),
      "The same value in row-major memory.");
  m.def(
      "diagonal",
      [](const Array& a, int64_t k, int64_t x, int64_t y, OnStream) {
        return diagonal(a, k, x, y);
      },
      arg("a"), arg("offset") = 0, arg("axis1") = 0, arg("axis2") = 1, no_stream(),
      "A diagonal of two axes.");
  m.def(
      "flip", [](const Array& a, py::object axis, OnStream) { return flip(a, axes_from(axis, a)); },
      arg("a"), py::pos_only(), arg("axis") = py::none(), rest, no_stream(), "Axes reversed.");
  m.def(
      "stop_gradient", [](const Array& a, OnStream) { return stop_gradient(a); }, arg("a"),
      py::pos_only(), rest, no_stream(), "The same value, constant to derivatives.");
  m.def(
      "depends",
      [](py::object inputs, py::object dependencies) -> py::object {
        auto arrays = [](const py::object& given, const char* name) -> Arrays {
          if (is_array(given.ptr())) return {array_of(given.ptr())};
          Arrays out;
          bool listed = py::isinstance<py::list>(given) || py::isinstance<py::tuple>(given);
          for (py::handle item : listed ? given : py::object(py::make_tuple(given))) {
            if (!is_array(item.ptr()))
              throw py::type_error("depends: " + std::string(name) +
                                   " must be an array or a list of arrays, got " +
                                   (listed ? "a list with " : "") + Py_TYPE(item.ptr())->tp_name);
            out.push_back(array_of(item.ptr()));
          }
          return out;
        };
        Arrays after = arrays(dependencies, "dependencies");
        if (is_array(inputs.ptr())) return py::cast(depends(array_of(inputs.ptr()), after));
        py::list out;
        for (const Array& x : arrays(inputs, "inputs")) out.append(depends(x, after));
        return out;
      },
      arg("inputs"), arg("dependencies"), "inputs, evaluated after the dependencies.");
  m.def("_slice", [](const Array& a, py::object start, py::object stop, py::object step) {
    return slice(a, shape_from(start), shape_from(stop), shape_from(step));
  });
  m.def("_slice_update",
        [](const Array& a, const Array& u, py::object start, py::object stop, py::object step) {
          return slice_update(a, u, shape_from(start), shape_from(stop), shape_from(step));
        });
  m.def("_copy", [](const Array& a) { return copy(a); });
}

void define_creation(py::module_& m) {
  m.def("_full", [](py::object shape, py::object value, py::object dtype) {
    Array v = to_array(value);
    return full(shape_from(shape), v, dtype.is_none() ? v.dtype() : dtype_from(dtype));
  });
  for (auto [name, value] : {std::pair{"zeros", 0.0}, {"ones", 1.0}, {"empty", 0.0}})
    m.def(
        name,
        [v = value](py::object shape, py::object dtype, OnStream) {
          return full(shape_from(shape), v, optional_dtype(dtype).value_or(Dtype::float32));
        },
        arg("shape"), arg("dtype") = dtype_object(Dtype::float32), rest, no_stream(),
        "An array of one value.");
  for (auto [name, value] : {std::pair{"zeros_like", 0.0}, {"ones_like", 1.0}, {"empty_like", 0.0}})
    m.def(
        name,
        [v = value](const Array& a, py::object dtype, OnStream) {
          return full(a.shape(), v, optional_dtype(dtype).value_or(a.dtype()));
        },
        arg("a"), py::pos_only(), arg("dtype") = py::none(), rest, no_stream(),
        "One value in the shape of a.");
  m.def("_arange", [](double start, double stop, double step, py::object dtype) {
    return arange(start, stop, step, dtype_from(dtype));
  });
  m.def("_linspace", [](double start, double stop, int64_t num, bool endpoint, py::object dtype) {
    return linspace(start, stop, num, endpoint, dtype_from(dtype));
  });
  m.def(
      "eye",
      [](int64_t n, std::optional<int64_t> cols, int64_t k, py::object dtype, OnStream) {
        return eye(n, cols.value_or(n), k, optional_dtype(dtype).value_or(Dtype::float32));
      },
      arg("n"), arg("m") = py::none(), arg("k") = 0, arg("dtype") = dtype_object(Dtype::float32),
      rest, no_stream(), "Ones on a diagonal.");
  m.def("_tri", [](int64_t n, int64_t cols, int64_t k, py::object dtype) {
    return tri(n, cols, k, dtype_from(dtype));
  });
  m.def(
      "random_bits",
      [](py::object shape, int64_t width, const Array& key) {
        return random_bits(shape_from(shape), width, key);
      },
      arg("shape"), arg("width"), arg("key"), "Uniform random bits of `width` bytes a value.");
}

void define_joins(py::module_& m) {
  m.def("_concatenate",
        [](const Arrays& arrays, int64_t axis) { return concatenate(arrays, axis); });
  m.def("_stack", [](const Arrays& arrays, int64_t axis) { return stack(arrays, axis); });
  m.def("_split", [](const Array& a, py::object indices, int64_t axis) {
    return split(a, shape_from(indices), axis);
  });
  m.def("_pad",
        [](const Array& a, py::object axes, py::object low, py::object high, const Array& value) {
          return pad(a, shape_from(axes), shape_from(low), shape_from(high), value);
        });
  m.def("_repeat",
        [](const Array& a, int64_t repeats, int64_t axis) { return repeat(a, repeats, axis); });
  m.def("_tile", [](const Array& a, py::object reps) { return tile(a, shape_from(reps)); });
  m.def("_roll", [](const Array& a, int64_t shift, int64_t axis) { return roll(a, shift, axis); });
}

void define_indexing(py::module_& m) {
  m.def(
      "take",
      [](const Array& a, py::object indices, py::object axis, OnStream) {
        Array i = to_array(indices);
        int64_t at = 0;
        Array x = along(a, axis, at);
        return take(x, i, at);
      },
      arg("a"), py::pos_only(), arg("indices"), arg("axis") = py::none(), rest, no_stream(),
      "Slices picked along an axis.");
  m.def(
      "take_along_axis",
      [](const Array& a, const Array& indices, py::object axis, OnStream) {
        int64_t at = 0;
        Array x = along(a, axis, at);
        return take_along_axis(x, axis.is_none() ? reshape(indices, {-1}) : indices, at);
      },
      arg("a"), py::pos_only(), arg("indices"), arg("axis") = -1, rest, no_stream(),
      "Elements picked by an index array of the same rank.");
  m.def(
      "put_along_axis",
      [](const Array& a, const Array& indices, py::object values, py::object axis, OnStream) {
        Array v =
            astype(weak_scalar(values.ptr(), &a) ? weak_scalar(values.ptr(), &a) : to_array(values),
                   a.dtype());
        if (!axis.is_none()) return put_along_axis(a, indices, v, int_from(axis), ScatterMode::set);
        Array flat = put_along_axis(reshape(a, {-1}), reshape(indices, {-1}),
                                    v.ndim() ? reshape(v, {-1}) : v, 0, ScatterMode::set);
        return reshape(flat, a.shape());
      },
      arg("a"), py::pos_only(), arg("indices"), arg("values"), arg("axis") = py::none(), rest,
      no_stream(), "A copy with elements at an index array of the same rank replaced.");
  m.def("_gather", [](const Array& a, const Arrays& indices, py::object axes, py::object sizes) {
    return gather(a, indices, shape_from(axes), shape_from(sizes));
  });
  m.def("_scatter", [](const Array& a, const Arrays& indices, const Array& updates, py::object axes,
                       int64_t mode) {
    return scatter(a, indices, updates, shape_from(axes), static_cast<ScatterMode>(mode));
  });
}

void define_sorts(py::module_& m) {
  auto sorts = [&m](const char* name, auto f, const char* doc) {
    m.def(
        name,
        [f](const Array& a, py::object axis, OnStream) {
          int64_t at = 0;
          Array x = along(a, axis, at);
          return f(x, at);
        },
        arg("a"), py::pos_only(), arg("axis") = -1, rest, no_stream(), doc);
  };
  sorts(
      "sort", [](const Array& x, int64_t a) { return lamina::sort(x, a); },
      "Ascending along an axis, NaN last.");
  sorts(
      "argsort", [](const Array& x, int64_t a) { return lamina::argsort(x, a); },
      "Indices that sort along an axis.");
  auto partitions = [&m](const char* name, auto f, const char* doc) {
    m.def(
        name,
        [f](const Array& a, int64_t kth, py::object axis, OnStream) {
          int64_t at = 0;
          Array x = along(a, axis, at);
          return f(x, kth, at);
        },
        arg("a"), py::pos_only(), arg("kth"), arg("axis") = -1, rest, no_stream(), doc);
  };
  partitions(
      "partition", [](const Array& x, int64_t k, int64_t a) { return lamina::partition(x, k, a); },
      "Smaller elements before the k-th, larger after it.");
  partitions(
      "argpartition",
      [](const Array& x, int64_t k, int64_t a) { return lamina::argpartition(x, k, a); },
      "Indices that partition around the k-th element.");
  m.def(
      "searchsorted",
      [](const Array& sorted, py::object values, const std::string& side, OnStream) {
        if (side != "left" && side != "right")
          throw ValueError("searchsorted: side must be 'left' or 'right', got '" + side + "'");
        Array s = weak_scalar(values.ptr(), &sorted);
        return searchsorted(sorted, s ? s : to_array(values), side == "right");
      },
      arg("sorted_sequence"), arg("values"), py::pos_only(), arg("side") = "left", rest,
      no_stream(), "Where values would stand in a sorted array.");
}

void define_linear(py::module_& m) {
  m.def(
      "matmul", [](const Array& a, const Array& b, OnStream) { return matmul(a, b); }, arg("a"),
      arg("b"), py::pos_only(), rest, no_stream(), "Matrix product over the last two axes.");
  m.def(
      "addmm",
      [](const Array& c, const Array& a, const Array& b, double alpha, double beta, OnStream) {
        Array p = matmul(a, b);
        if (alpha != 1) p = p * alpha;
        return add(p, beta == 1 ? c : c * beta);
      },
      arg("c"), arg("a"), arg("b"), py::pos_only(), arg("alpha") = 1.0, arg("beta") = 1.0, rest,
      no_stream(), "alpha * (a @ b) + beta * c, the sum fused into the product's kernel.");
  m.def("_conv_general", [](const Array& x, const Array& w, py::object stride, py::object low,
                            py::object high, py::object kernel_dilation, py::object input_dilation,
                            int64_t groups, bool flip) {
    return conv_general(x, w,
                        {shape_from(stride), shape_from(low), shape_from(high),
                         shape_from(kernel_dilation), shape_from(input_dilation), groups, flip});
  });
  auto optional_array = [](const py::object& o, const char* what) {
    if (o.is_none()) return Array();
    if (is_array(o.ptr())) return array_of(o.ptr());
    throw py::type_error(std::string(what) + " must be an array or None, got " +
                         std::string(py::repr(o)));
  };
  m.def(
      "rms_norm",
      [optional_array](const Array& x, py::object w, double eps, OnStream) {
        return rms_norm(x, optional_array(w, "rms_norm: weight"), eps);
      },
      arg("x"), arg("weight"), arg("eps"), rest, no_stream(),
      "x / sqrt(mean(x^2) + eps) over the last axis, times a weight.");
  m.def(
      "layer_norm",
      [optional_array](const Array& x, py::object w, py::object b, double eps, OnStream) {
        return layer_norm(x, optional_array(w, "layer_norm: weight"),
                          optional_array(b, "layer_norm: bias"), eps);
      },
      arg("x"), arg("weight"), arg("bias"), arg("eps"), rest, no_stream(),
      "(x - mean) / sqrt(variance + eps) over the last axis, times a weight plus a bias.");
}

}  // namespace

Axes axes_from(py::handle o, const Array& x) {
  return o.is_none() ? all_axes(x) : Axes(shape_from(o));
}

void init_ops(py::module_& m) {
  m.def(
      "astype",
      [](const Array& a, py::object dtype, OnStream) { return astype(a, dtype_from(dtype)); },
      arg("a"), arg("dtype"), py::pos_only(), rest, no_stream(),
      "Elements converted to another dtype.");
  define_reductions(m);
  define_views(m);
  define_strided(m);
  define_creation(m);
  define_joins(m);
  define_indexing(m);
  define_sorts(m);
  define_linear(m);
}

}  // namespace lamina::python
