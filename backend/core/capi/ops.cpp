// Operations by name: every elementwise row, what stands in the table below, and what programs
// have registered.
#include <algorithm>

#include "base/error.h"
#include "capi/functions.h"
#include "capi/handles.h"
#include "capi/params.h"
#include "capi/status.h"
#include "ops/ops.h"

namespace lamina::capi {

namespace {

using Reader = Params::Reader;

// An operation with parameters. `build` reads them in the order of `fields`.
struct NamedOp {
  const char* name;
  int inputs;  // -1: any number
  std::vector<CustomField> fields;
  Arrays (*build)(const Arrays& in, Reader r);
};

CustomField integer(const char* name) { return {name, FieldKind::integer}; }
CustomField integer(const char* name, int64_t value) {
  return {name, FieldKind::integer, false, Params().add(value)};
}
CustomField real(const char* name) { return {name, FieldKind::real}; }
CustomField flag(const char* name) { return {name, FieldKind::boolean, false, Params().add(0)}; }
CustomField dtype(const char* name) { return {name, FieldKind::dtype}; }
CustomField ints(const char* name) { return {name, FieldKind::ints}; }
// Empty: every axis.
CustomField axes() { return {"axes", FieldKind::ints, false, Params().add_ints({})}; }

Axes axes_or_all(Reader& r, const Array& x) {
  Shape given = r.ints();
  return given.empty() ? all_axes(x) : Axes(given.begin(), given.end());
}

template <Array (*F)(const Array&, const Axes&, bool)>
NamedOp reduction(const char* name) {
  return {name, 1, {axes(), flag("keepdims")}, [](const Arrays& in, Reader r) -> Arrays {
            Axes over = axes_or_all(r, in[0]);
            return {F(in[0], over, r.integer() != 0)};
          }};
}
template <ReduceOp O>
NamedOp arg_reduction(const char* name) {
  return {name, 1, {integer("axis"), flag("keepdims")}, [](const Arrays& in, Reader r) -> Arrays {
            int64_t axis = r.integer();
            return {reduce(O, in[0], {axis}, r.integer() != 0)};
          }};
}
template <ScanOp O>
NamedOp scanning(const char* name) {
  return {name,
          1,
          {integer("axis"), flag("reverse"), flag("exclusive")},
          [](const Arrays& in, Reader r) -> Arrays {
            int64_t axis = r.integer();
            bool reverse = r.integer() != 0;
            return {scan(O, in[0], axis, reverse, r.integer() == 0)};
          }};
}
template <Array (*F)(const Array&, int64_t)>
NamedOp along_axis(const char* name) {
  return {name, 1, {integer("axis", -1)}, [](const Arrays& in, Reader r) -> Arrays {
            return {F(in[0], r.integer())};
          }};
}
template <Array (*F)(const Array&, const Axes&)>
NamedOp over_axes(const char* name) {
  return {name, 1, {ints("axes")}, [](const Arrays& in, Reader r) -> Arrays {
            Shape a = r.ints();
            return {F(in[0], Axes(a.begin(), a.end()))};
          }};
}

Dtype dtype_in(Reader& r) { return dtype_from("op", static_cast<lamina_dtype>(r.integer())); }

std::vector<NamedOp> shaping() {
  return {
      {"astype",
       1,
       {dtype("dtype")},
       [](const Arrays& in, Reader r) -> Arrays { return {astype(in[0], dtype_in(r))}; }},
      {"reshape",
       1,
       {ints("shape")},
       [](const Arrays& in, Reader r) -> Arrays { return {reshape(in[0], r.ints())}; }},
      {"broadcast_to",
       1,
       {ints("shape")},
       [](const Arrays& in, Reader r) -> Arrays { return {broadcast_to(in[0], r.ints())}; }},
      over_axes<transpose>("transpose"),
      over_axes<expand_dims>("expand_dims"),
      over_axes<squeeze>("squeeze"),
      {"swapaxes",
       1,
       {integer("axis1"), integer("axis2")},
       [](const Arrays& in, Reader r) -> Arrays {
         int64_t a = r.integer();
         return {swapaxes(in[0], a, r.integer())};
       }},
      {"slice",
       1,
       {ints("start"), ints("stop"), ints("step")},
       [](const Arrays& in, Reader r) -> Arrays {
         Shape start = r.ints(), stop = r.ints(), step = r.ints();
         size_t rank = in[0].shape().size();
         if (start.size() != rank || stop.size() != rank || step.size() != rank)
           throw ShapeError("slice: start, stop and step need an entry for each axis of " +
                            to_string(in[0].shape()));
         return {slice(in[0], start, stop, step)};
       }},
      {"concatenate",
       -1,
       {integer("axis", 0)},
       [](const Arrays& in, Reader r) -> Arrays { return {concatenate(in, r.integer())}; }},
      {"stack",
       -1,
       {integer("axis", 0)},
       [](const Arrays& in, Reader r) -> Arrays { return {stack(in, r.integer())}; }},
      {"contiguous", 1, {}, [](const Arrays& in, Reader) -> Arrays { return {contiguous(in[0])}; }},
      {"stop_gradient",
       1,
       {},
       [](const Arrays& in, Reader) -> Arrays { return {stop_gradient(in[0])}; }},
  };
}

std::vector<NamedOp> folding() {
  return {
      reduction<sum>("sum"),
      reduction<prod>("prod"),
      reduction<max>("max"),
      reduction<min>("min"),
      reduction<all>("all"),
      reduction<any>("any"),
      reduction<mean>("mean"),
      reduction<logsumexp>("logsumexp"),
      arg_reduction<ReduceOp::argmin>("argmin"),
      arg_reduction<ReduceOp::argmax>("argmax"),
      scanning<ScanOp::sum>("cumsum"),
      scanning<ScanOp::prod>("cumprod"),
      scanning<ScanOp::max>("cummax"),
      scanning<ScanOp::min>("cummin"),
      along_axis<sort>("sort"),
      along_axis<argsort>("argsort"),
      {"softmax",
       1,
       {axes(), flag("precise")},
       [](const Arrays& in, Reader r) -> Arrays {
         Axes over = axes_or_all(r, in[0]);
         return {softmax(in[0], over, r.integer() != 0)};
       }},
      {"matmul", 2, {}, [](const Arrays& in, Reader) -> Arrays { return {matmul(in[0], in[1])}; }},
      {"take",
       2,
       {integer("axis")},
       [](const Arrays& in, Reader r) -> Arrays { return {take(in[0], in[1], r.integer())}; }},
      {"take_along_axis",
       2,
       {integer("axis")},
       [](const Arrays& in, Reader r) -> Arrays {
         return {take_along_axis(in[0], in[1], r.integer())};
       }},
      {"arange",
       0,
       {real("start"), real("stop"), real("step"), dtype("dtype")},
       [](const Arrays&, Reader r) -> Arrays {
         double start = r.real(), stop = r.real(), step = r.real();
         return {arange(start, stop, step, dtype_in(r))};
       }},
  };
}

const NamedOp* find_op(const std::string& name) {
  static const auto* table = [] {
    auto* all = new std::vector<NamedOp>(shaping());
    for (NamedOp& o : folding()) all->push_back(std::move(o));
    return all;
  }();
  for (const NamedOp& o : *table)
    if (name == o.name) return &o;
  return nullptr;
}

void check_count(const std::string& name, int wanted, size_t given) {
  if (wanted >= 0 && given != static_cast<size_t>(wanted))
    throw ValueError(name + ": takes " + std::to_string(wanted) + " arrays, got " +
                     std::to_string(given));
}

Arrays run(const std::string& name, const Arrays& in, const lamina_param* params, size_t count) {
  if (const CustomPrimitive* p = find_custom(name))
    return apply(*p, params_from(name, p->fields, params, count), in);
  if (const NamedOp* o = find_op(name)) {
    check_count(name, o->inputs, in.size());
    Params values = params_from(name, o->fields, params, count);
    return o->build(in, values.read());
  }
  const Primitive* row = find_primitive(name == "where" ? "select" : name);
  if (!row || row->kind != Kind::elementwise)
    throw ValueError("op: there is no operation named " + name);
  check_count(name, formulas()[static_cast<size_t>(row->formula)].arity, in.size());
  params_from(name, {}, params, count);
  return {elementwise(static_cast<uint16_t>(row->formula), in)};
}

}  // namespace

lamina_status op(const char* name, const lamina_array* inputs, size_t input_count,
                 const lamina_param* params, size_t param_count, lamina_array* results,
                 size_t capacity) {
  return guarded([&] {
    if (!name) throw ValueError("op: the name is null");
    require_graph(name);
    Arrays in;
    for (size_t i = 0; i < input_count; ++i) in.push_back(borrow(name, inputs[i]));
    Arrays out = run(name, in, params, param_count);
    if (out.size() > capacity)
      throw ValueError(std::string(name) + ": gives " + std::to_string(out.size()) +
                       " results, there is room for " + std::to_string(capacity));
    for (size_t i = 0; i < out.size(); ++i) results[i] = give(out[i]);
  });
}

}  // namespace lamina::capi
