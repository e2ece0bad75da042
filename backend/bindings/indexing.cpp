// x[index], x[index] = value and x.at[index].op(value), by NumPy's rules.
//
// Every index becomes a slice of x, a reshape (integers drop axes, None adds them) and at most one
// gather or scatter over what is left. Masks become integer indices, which evaluates them; an
// assignment whose value does not depend on how many elements are chosen becomes a select instead
// and stays lazy.
#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "convert.h"
#include "execute/evaluate.h"
#include "ops/ops.h"

namespace lamina::python {

namespace {

struct Item {
  enum Kind : uint8_t { range, integer, none, ellipsis, picks, mask } kind;
  int64_t value = 0;          // of an integer
  PyObject* slice = nullptr;  // of a range; nullptr: the whole axis
  Array array = {};

  // Axes of x that it stands for.
  int64_t axes() const {
    return kind == none || kind == ellipsis ? 0 : kind == mask ? array.ndim() : 1;
  }
};

Item array_item(Array a) {
  if (a.dtype() == Dtype::bool_) return {Item::mask, 0, nullptr, std::move(a)};
  if (a.size() == 0 && a.dtype() == Dtype::float32) a = zeros(a.shape(), Dtype::int32);  // []
  if (!is_integer(a.dtype()))
    throw IndexError(
        std::string("index: arrays used as indices must hold integers or booleans, not ") +
        name_of(a.dtype()));
  return {Item::picks, 0, nullptr, std::move(a)};
}

Item parse_item(PyObject* o) {
  if (PySlice_Check(o)) return {Item::range, 0, o};
  if (is_array(o)) return array_item(array_of(o));
  if (o == Py_None) return {Item::none};
  if (o == Py_Ellipsis) return {Item::ellipsis};
  if (PyBool_Check(o)) return {Item::mask, 0, nullptr, make_scalar_int(o == Py_True, Dtype::bool_)};
  // NumPy's arrays of one element have __index__ too, but are arrays here.
  bool typed = PyObject_HasAttrString(o, "dtype") || PyObject_HasAttrString(o, "__dlpack__");
  if (PyIndex_Check(o) && !PyObject_HasAttrString(o, "__array_interface__")) {
    int64_t i = PyNumber_AsSsize_t(o, PyExc_IndexError);
    if (i == -1 && PyErr_Occurred()) throw py::error_already_set();
    return {Item::integer, i};
  }
  if (typed || PyList_Check(o) || PyTuple_Check(o)) {
    Array a = to_array(o);
    bool scalar = a.ndim() == 0 && is_integer(a.dtype()) && PyIndex_Check(o);
    return scalar ? Item{Item::integer, PyNumber_AsSsize_t(o, PyExc_IndexError)}
                  : array_item(std::move(a));
  }
  throw IndexError(std::string("index: cannot index with ") + Py_TYPE(o)->tp_name +
                   "\nUse integers, slices, arrays of integers or booleans, None and ...");
}

// One item per axis of x, besides None and masks: the ellipsis is written out.
std::vector<Item> parse(const Array& x, PyObject* index) {
  std::vector<Item> items;
  if (PyTuple_Check(index)) {
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(index); ++i)
      items.push_back(parse_item(PyTuple_GET_ITEM(index, i)));
  } else {
    items.push_back(parse_item(index));
  }
  int64_t used = 0;
  auto at = items.end();
  for (auto i = items.begin(); i != items.end(); ++i) {
    used += i->axes();
    if (i->kind != Item::ellipsis) continue;
    if (at != items.end()) throw IndexError("index: more than one ellipsis (...)");
    at = i;
  }
  if (used > x.ndim())
    throw IndexError("index: too many indices: " + std::to_string(used) +
                     " for an array with shape " + to_string(x.shape()));
  if (at == items.end()) {
    items.push_back({Item::ellipsis});
    at = items.end() - 1;
  }
  size_t place = static_cast<size_t>(at - items.begin());
  items.insert(items.begin() + static_cast<int64_t>(place) + 1,
               static_cast<size_t>(x.ndim() - used), Item{Item::range});
  return items;
}

// What an index selects. Selected elements are slice(x, start, stop, step), reshaped to `view`;
// there `indices` pick along the axes `indexed`.
struct Selection {
  Shape start, stop, step;  // per axis of x
  Shape sizes;              // of that slice
  bool whole = true;        // the slice is all of x
  Shape view;
  std::vector<int64_t> source;  // the axis of x behind each axis of `view`, -1 for none
  Axes indexed;
  Arrays indices;
  Shape points;       // the indices' common shape
  int64_t place = 0;  // its position among the other axes of the result
  Shape result;
};

void add_range(Selection& s, int64_t size, PyObject* slice) {
  Py_ssize_t start = 0, stop = size, step = 1;
  if (slice && PySlice_Unpack(slice, &start, &stop, &step) < 0) throw py::error_already_set();
  int64_t n = PySlice_AdjustIndices(size, &start, &stop, step);
  // One way to write each range, so that equal programs have equal plans.
  if (n == 0) start = 0;
  if (n <= 1) step = 1;
  s.start.push_back(start);
  s.step.push_back(step);
  s.stop.push_back(n == 0 ? 0 : start + (n - 1) * step + (step > 0 ? 1 : -1));
  s.sizes.push_back(n);
  s.whole &= n == size && start == 0 && step == 1;
}

void add_integer(Selection& s, int64_t size, int64_t i) {
  int64_t at = i < 0 ? i + size : i;
  if (at < 0 || at >= size)
    throw IndexError("index: index " + std::to_string(i) + " is out of bounds for axis " +
                     std::to_string(s.sizes.size()) + " with size " + std::to_string(size));
  s.start.push_back(at);
  s.stop.push_back(at + 1);
  s.step.push_back(1);
  s.sizes.push_back(1);
  s.whole &= size == 1;
}

void add_view_axis(Selection& s, int64_t size, int64_t source) {
  s.view.push_back(size);
  s.source.push_back(source);
}

void add_index(Selection& s, int64_t size, int64_t source, Array index) {
  s.indexed.push_back(static_cast<int64_t>(s.view.size()));
  add_view_axis(s, size, source);
  auto both = broadcast_shapes(s.points, index.shape());
  if (!both)
    throw IndexError("index: index shapes do not broadcast: " + to_string(s.points) + " and " +
                     to_string(index.shape()));
  s.points = *both;
  s.indices.push_back(std::move(index));
}

void check_mask(const Array& x, const Array& mask, int64_t axis) {
  Shape part(x.shape().begin() + axis, x.shape().begin() + axis + mask.ndim());
  if (part != mask.shape())
    throw IndexError("index: a mask of shape " + to_string(mask.shape()) + " does not fit axes " +
                     to_string(part) + " of an array with shape " + to_string(x.shape()));
}

// The positions of the true elements, one index array per axis. Evaluates the mask.
Arrays positions(const Array& mask) {
  Array dense = contiguous(mask);
  const bool* data = view_unlocked(dense).as<bool>();
  int64_t size = dense.size(), count = std::count(data, data + size, true);
  Shape shape{count};
  Arrays out;
  std::vector<int64_t*> to;
  for (int64_t i = 0; i < mask.ndim(); ++i) {
    BufferRef buffer = Buffer::allocate(count * 8, Category::temporary, -1);
    to.push_back(static_cast<int64_t*>(buffer->data()));
    out.push_back(make_leaf({buffer, row_major_strides(shape), 0}, shape, Dtype::int64));
  }
  for (int64_t i = 0, n = 0; i < size; ++i) {
    if (!data[i]) continue;
    int64_t rest = i;
    for (size_t a = to.size(); a-- > 0;) {
      to[a][n] = a == 0 ? rest : rest % mask.shape()[a];
      rest /= mask.shape()[a];
    }
    ++n;
  }
  return out;
}

void add_mask(Selection& s, const Array& x, const Array& mask, int64_t axis) {
  if (mask.ndim() == 0) {  // a new axis of size 1, taken once or not at all
    add_index(s, 1, -1,
              zeros({static_cast<int64_t>(positions(reshape(mask, {1}))[0].size())}, Dtype::int32));
    return;
  }
  check_mask(x, mask, axis);
  for (Array& index : positions(mask)) {
    int64_t size = x.shape(axis);
    add_range(s, size, nullptr);
    add_index(s, size, axis++, std::move(index));
  }
}

Selection select_items(const Array& x, const std::vector<Item>& items) {
  Selection s;
  int64_t axis = 0, kept = 0, place = -1, last = -1;
  bool adjacent = true;
  for (size_t i = 0; i < items.size(); ++i) {
    const Item& item = items[i];
    int64_t size = item.axes() ? x.shape(axis) : 1;
    if (item.kind == Item::integer || item.kind == Item::picks || item.kind == Item::mask) {
      int64_t at = static_cast<int64_t>(i);
      if (place < 0)
        place = kept;
      else
        adjacent &= last == at - 1;
      last = at;
    }
    switch (item.kind) {
      case Item::ellipsis:
        break;
      case Item::none:
        add_view_axis(s, 1, -1);
        ++kept;
        break;
      case Item::integer:
        add_integer(s, size, item.value);
        break;
      case Item::range:
        add_range(s, size, item.slice);
        add_view_axis(s, s.sizes.back(), axis);
        ++kept;
        break;
      case Item::picks:
        add_range(s, size, nullptr);
        add_index(s, size, axis, item.array);
        break;
      case Item::mask:
        add_mask(s, x, item.array, axis);
        break;
    }
    axis += item.axes();
  }
  // Index arrays that stand apart put their axes first.
  if (!s.indices.empty()) s.place = adjacent ? place : 0;
  for (size_t a = 0; a < s.view.size(); ++a)
    if (std::find(s.indexed.begin(), s.indexed.end(), static_cast<int64_t>(a)) == s.indexed.end())
      s.result.push_back(s.view[a]);
  Shape head(s.result.begin(), s.result.begin() + s.place),
      tail(s.result.begin() + s.place, s.result.end());
  for (int64_t d : s.points) head.push_back(d);
  for (int64_t d : tail) head.push_back(d);
  s.result = head;
  return s;
}

Array sliced(const Array& x, const Selection& s) {
  return s.whole ? x : slice(x, s.start, s.stop, s.step);
}

// Shapes of `view` with size 1 on the indexed axes: one point's slice.
Shape slice_sizes(const Selection& s) {
  Shape out = s.view;
  for (int64_t a : s.indexed) out[static_cast<size_t>(a)] = 1;
  return out;
}

void check_points(const Selection& s) {
  for (int64_t a : s.indexed)
    if (s.view[static_cast<size_t>(a)] == 0)
      throw IndexError("index: an axis with size 0 has no elements to pick");
}

Array gathered(const Array& x, const Selection& s) {
  if (element_count(s.result) == 0 && element_count(s.points) == 0)
    return zeros(s.result, x.dtype());
  check_points(s);
  Array out = gather(reshape(sliced(x, s), s.view), s.indices, s.indexed, slice_sizes(s));
  // points + slice: drop the indexed axes, then move the points to their place.
  int64_t lead = static_cast<int64_t>(s.points.size());
  Axes gone, order;
  for (int64_t a : s.indexed) gone.push_back(lead + a);
  out = squeeze(out, gone);
  for (int64_t i = 0; i < s.place; ++i) order.push_back(lead + i);
  for (int64_t i = 0; i < lead; ++i) order.push_back(i);
  for (int64_t i = lead + s.place; i < out.ndim(); ++i) order.push_back(i);
  return s.place == 0 ? out : transpose(out, order);
}

// --- assignment
// ------------------------------------------------------------------------------------

enum class Join : uint8_t { set, add, subtract, multiply, divide, maximum, minimum };

Join join_of(const std::string& op) {
  static const char* names[] = {"set",    "add",     "subtract", "multiply",
                                "divide", "maximum", "minimum"};
  for (int i = 0; i < 7; ++i)
    if (op == names[i]) return static_cast<Join>(i);
  throw ValueError("at: no operation '" + op + "'");
}

Array joined(Join how, const Array& x, const Array& v) {
  switch (how) {
    case Join::set:
      return v;
    case Join::add:
      return add(x, v);
    case Join::subtract:
      return subtract(x, v);
    case Join::multiply:
      return multiply(x, v);
    case Join::divide:
      return astype(divide(x, v), x.dtype());
    case Join::maximum:
      return maximum(x, v);
    default:
      return minimum(x, v);
  }
}

// v without leading axes of size 1 that the target does not have; checked against it.
Array fitted(const Array& v, const Shape& target) {
  Shape shape = v.shape();
  size_t extra = 0;
  while (shape.size() - extra > target.size() && shape[extra] == 1) ++extra;
  shape = Shape(shape.begin() + static_cast<int64_t>(extra), shape.end());
  auto both = broadcast_shapes(shape, target);
  if (!both || *both != target)
    throw ShapeError("index: a value of shape " + to_string(v.shape()) +
                     " does not broadcast to the selected shape " + to_string(target));
  return reshape(v, shape);
}

Array write_slice(const Array& x, const Selection& s, const Array& value, Join how) {
  Array v = fitted(value, s.result);
  // The value's axes under the axes of x that they belong to.
  Shape shape(x.shape().size(), 1);
  size_t missing = s.view.size() - v.shape().size();
  for (size_t a = missing; a < s.view.size(); ++a)
    if (s.source[a] >= 0) shape[static_cast<size_t>(s.source[a])] = v.shape()[a - missing];
  v = reshape(v, shape);
  if (how != Join::set) v = joined(how, sliced(x, s), v);
  return s.whole ? broadcast_to(v, x.shape()) : slice_update(x, v, s.start, s.stop, s.step);
}

// The value as scatter's updates: points + slice.
Array updates(const Selection& s, const Array& value) {
  Array v = fitted(value, s.result);
  Shape shape(s.result.size() - v.shape().size(), 1);
  for (int64_t d : v.shape()) shape.push_back(d);
  int64_t lead = static_cast<int64_t>(s.points.size()), rank = static_cast<int64_t>(shape.size());
  Axes order(static_cast<size_t>(lead));
  std::iota(order.begin(), order.end(), s.place);
  for (int64_t i = 0; i < rank; ++i)
    if (i < s.place || i >= s.place + lead) order.push_back(i);
  v = reshape(v, shape);
  if (s.place != 0) v = transpose(v, order);
  Shape spread(v.shape().begin(), v.shape().begin() + lead), full = s.points;
  int64_t next = lead;
  for (size_t a = 0; a < s.view.size(); ++a) {
    bool picked =
        std::find(s.indexed.begin(), s.indexed.end(), static_cast<int64_t>(a)) != s.indexed.end();
    spread.push_back(picked ? 1 : v.shape(next++));
  }
  for (int64_t d : slice_sizes(s)) full.push_back(d);
  return broadcast_to(reshape(v, spread), full);
}

Array write_points(const Array& x, const Selection& s, const Array& value, Join how) {
  Array u = updates(s, value);
  if (u.size() == 0) return x;
  check_points(s);
  Array part = sliced(x, s), base = reshape(part, s.view), out;
  switch (how) {
    case Join::set:
      out = scatter(base, s.indices, u, s.indexed, ScatterMode::set);
      break;
    case Join::add:
      out = scatter(base, s.indices, u, s.indexed, ScatterMode::add);
      break;
    case Join::subtract:
      out = scatter(base, s.indices, negative(u), s.indexed, ScatterMode::add);
      break;
    case Join::multiply:
      out = scatter(base, s.indices, u, s.indexed, ScatterMode::multiply);
      break;
    case Join::maximum:
      out = scatter(base, s.indices, u, s.indexed, ScatterMode::max);
      break;
    case Join::minimum:
      out = scatter(base, s.indices, u, s.indexed, ScatterMode::min);
      break;
    case Join::divide:
      out = astype(
          divide(base, scatter(ones_like(base), s.indices, u, s.indexed, ScatterMode::multiply)),
          x.dtype());
  }
  out = reshape(out, part.shape());
  return s.whole ? out : slice_update(x, out, s.start, s.stop, s.step);
}

// The one mask among whole axes, if the value means the same for every element it chooses: a
// select.
Array write_masked(const Array& x, const std::vector<Item>& items, const Array& value, Join how) {
  const Item* mask = nullptr;
  int64_t before = 0;
  for (const Item& i : items) {
    bool whole = i.kind == Item::ellipsis || (i.kind == Item::range && !i.slice);
    if (i.kind == Item::mask && !mask && i.array.ndim() > 0)
      mask = &i;
    else if (!whole)
      return Array();
    if (!mask && i.kind == Item::range) ++before;
  }
  if (!mask) return Array();
  check_mask(x, mask->array, before);
  int64_t after = x.ndim() - before - mask->array.ndim();
  if (value.ndim() > after) return Array();
  Array v = fitted(value, Shape(x.shape().end() - after, x.shape().end()));
  Shape shape = mask->array.shape();
  for (int64_t i = 0; i < after; ++i) shape.push_back(1);
  return select(reshape(mask->array, shape), joined(how, x, v), x);
}

Array write(const Array& x, py::handle index, const Array& value, Join how) {
  std::vector<Item> items = parse(x, index.ptr());
  Array v = astype(value, x.dtype());
  if (Array out = write_masked(x, items, v, how)) return out;
  Selection s = select_items(x, items);
  return s.indices.empty() ? write_slice(x, s, v, how) : write_points(x, s, v, how);
}

}  // namespace

Array get_item(const Array& x, py::handle index) {
  Selection s = select_items(x, parse(x, index.ptr()));
  return s.indices.empty() ? reshape(sliced(x, s), s.view) : gathered(x, s);
}

Array set_item(const Array& x, py::handle index, const Array& value) {
  return write(x, index, value, Join::set);
}

Array scatter_item(const Array& x, py::handle index, const Array& value, const std::string& op) {
  return write(x, index, value, join_of(op));
}

}  // namespace lamina::python
