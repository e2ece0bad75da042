// Joining and taking apart along an axis.
#include "base/error.h"
#include "ops/rules.h"

namespace lamina {

namespace {

Array slice_axis(const Array& x, int64_t axis, int64_t from, int64_t to) {
  Shape start(x.shape().size(), 0), stop = x.shape(), step(x.shape().size(), 1);
  start[static_cast<size_t>(axis)] = from;
  stop[static_cast<size_t>(axis)] = to;
  return slice(x, start, stop, step);
}

const Primitive& concatenate_row = define(
    {.name = "concatenate",
     .kind = Kind::concatenate,
     .doc = "Arrays side by side along an axis.",
     .fields = {{"axis", FieldKind::integer}},
     .vjp = [](const Node& n, const Array&, const Array& ct,
               const std::vector<bool>& wanted) -> Arrays {
       int64_t axis = n.params.read().integer(), at = 0;
       Arrays out(n.inputs.size());
       for (size_t i = 0; i < n.inputs.size(); ++i) {
         int64_t size = n.inputs[i].shape(axis);
         if (wanted[i]) out[i] = slice_axis(ct, axis, at, at + size);
         at += size;
       }
       return out;
     },
     .jvp =
         [](const Node& n, const Array&, const Arrays& t) {
           Arrays parts;
           for (size_t i = 0; i < t.size(); ++i)
             parts.push_back(t[i] ? t[i] : zeros_like(n.inputs[i]));
           return concatenate(parts, n.params.read().integer());
         },
     .vmap =
         [](const Node& n, const Arrays& in, const std::vector<bool>& batched, int64_t batch) {
           Arrays parts;
           for (size_t i = 0; i < in.size(); ++i)
             parts.push_back(batched_input(in[i], batched[i], batch));
           return concatenate(parts, n.params.read().integer() + 1);
         }});

}  // namespace

Array concatenate(const Arrays& arrays, int64_t axis) {
  if (arrays.empty()) throw ValueError("concatenate: needs at least one array");
  const Shape& first = arrays[0].shape();
  int64_t a = normalize_axis("concatenate", axis, arrays[0].ndim());
  Shape shape = first;
  Dtype d = arrays[0].dtype();
  shape[static_cast<size_t>(a)] = 0;
  for (const Array& x : arrays) {
    Shape rest = x.shape();
    bool fits = rest.size() == first.size();
    if (fits) rest[static_cast<size_t>(a)] = first[static_cast<size_t>(a)];
    if (!fits || !(rest == first))
      throw ShapeError("concatenate: shapes differ beside axis " + std::to_string(axis) + ": " +
                       to_string(first) + " and " + to_string(x.shape()));
    shape[static_cast<size_t>(a)] += x.shape(a);
    d = promote(d, x.dtype());
  }
  Arrays parts;
  for (const Array& x : arrays) parts.push_back(astype(x, d));
  if (parts.size() == 1) return parts[0];
  return make_node(concatenate_row, Params().add(a), std::move(parts), shape, d);
}

Array stack(const Arrays& arrays, int64_t axis) {
  if (arrays.empty()) throw ValueError("stack: needs at least one array");
  int64_t a = normalize_axis("stack", axis, arrays[0].ndim() + 1);
  Arrays parts;
  for (const Array& x : arrays) {
    if (!(x.shape() == arrays[0].shape()))
      throw ShapeError("stack: shapes differ: " + to_string(arrays[0].shape()) + " and " +
                       to_string(x.shape()));
    parts.push_back(expand_dims(x, {a}));
  }
  return concatenate(parts, a);
}

Arrays split(const Array& x, const Shape& indices, int64_t axis) {
  int64_t a = normalize_axis("split", axis, x.ndim()), n = x.shape(a), from = 0;
  Arrays out;
  for (size_t i = 0; i <= indices.size(); ++i) {
    int64_t to = i == indices.size() ? n : indices[i] < 0 ? indices[i] + n : indices[i];
    to = std::clamp<int64_t>(to, 0, n);
    out.push_back(slice_axis(x, a, std::min(from, n), std::max(from, to)));
    from = to;
  }
  return out;
}

Array repeat(const Array& x, int64_t repeats, int64_t axis) {
  if (repeats < 0)
    throw ValueError("repeat: repeats must not be negative, got " + std::to_string(repeats));
  int64_t a = normalize_axis("repeat", axis, x.ndim());
  Array wide = expand_dims(x, {a + 1});
  Shape shape = wide.shape();
  shape[static_cast<size_t>(a + 1)] = repeats;
  Shape out = x.shape();
  out[static_cast<size_t>(a)] *= repeats;
  return reshape(broadcast_to(wide, shape), out);
}

Array tile(const Array& x, Shape reps) {
  Shape shape = x.shape();
  while (reps.size() < shape.size()) reps.insert(reps.begin(), 1);
  while (shape.size() < reps.size()) shape.insert(shape.begin(), 1);
  Shape split_shape, wide, out;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (reps[i] < 0) throw ValueError("tile: negative repetitions in " + to_string(reps));
    split_shape.push_back(1);
    split_shape.push_back(shape[i]);
    wide.push_back(reps[i]);
    wide.push_back(shape[i]);
    out.push_back(reps[i] * shape[i]);
  }
  return reshape(broadcast_to(reshape(x, split_shape), wide), out);
}

Array roll(const Array& x, int64_t shift, int64_t axis) {
  int64_t a = normalize_axis("roll", axis, x.ndim()), n = x.shape(a);
  if (n == 0) return x;
  int64_t s = ((shift % n) + n) % n;
  if (s == 0) return x;
  return concatenate({slice_axis(x, a, n - s, n), slice_axis(x, a, 0, n - s)}, a);
}

}  // namespace lamina
