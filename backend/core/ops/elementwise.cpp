// Rows of the elementwise family become primitives here; the formulas stand in unary.h, binary.h
// and ternary.h.
#include "base/error.h"
#include "graph/primitive.h"
#include "ops/binary.h"
#include "ops/ops.h"
#include "ops/rules.h"
#include "ops/ternary.h"
#include "ops/unary.h"

namespace lamina {

namespace {

template <class P>
Array call_partial(const Arrays& in, const Array& y) {
  P partial{};
  if constexpr (std::is_invocable_v<P, const Array&, const Array&, const Array&, const Array&>)
    return partial(in[0], in[1], in[2], y);
  else if constexpr (std::is_invocable_v<P, const Array&, const Array&, const Array&>)
    return partial(in[0], in[1], y);
  else
    return partial(in[0], y);
}

template <class P>
constexpr PartialFn partial_fn() {
  if constexpr (std::is_same_v<P, NoPartial>)
    return nullptr;
  else
    return &call_partial<P>;
}

std::vector<const Primitive*>& by_formula() {
  static auto* rows = new std::vector<const Primitive*>;
  return *rows;
}

// Of complex numbers these rows are linear over the reals only: no single factor is their
// derivative. `forward` maps a tangent, `reverse` is its adjoint under Re(conj(a) b). x is complex.
struct RealLinear {
  const char* name;
  Array (*forward)(const Array& x, const Array& y, const Array& t);
  Array (*reverse)(const Array& x, const Array& y, const Array& ct);
};

// The part of t across the direction y, over the length of x: how x / |x| turns.
Array turning(const Array& x, const Array& y, const Array& t) {
  Array length = abs(x);
  Array across = t - y * real(conjugate(y) * t);
  return select(equal(length, scalar_like(0, length)), zeros_like(t), across / length);
}

constexpr RealLinear kRealLinear[] = {
    {"abs",
     [](const Array& x, const Array&, const Array& t) { return real(conjugate(sign(x)) * t); },
     [](const Array& x, const Array&, const Array& ct) { return sign(x) * ct; }},
    {"sign", turning, turning},
    {"real", [](const Array&, const Array&, const Array& t) { return real(t); },
     [](const Array&, const Array&, const Array& ct) { return astype(ct, Dtype::complex64); }},
    {"imag", [](const Array&, const Array&, const Array& t) { return imag(t); },
     [](const Array&, const Array&, const Array& ct) {
       return ct * make_scalar_complex({0, 1});
     }},
    {"conjugate", [](const Array&, const Array&, const Array& t) { return conjugate(t); },
     [](const Array&, const Array&, const Array& ct) { return conjugate(ct); }},
};

template <size_t I = 0>
void define_real_linear(Primitive& p) {
  if constexpr (I < std::size(kRealLinear)) {
    if (p.name != kRealLinear[I].name) return define_real_linear<I + 1>(p);
    p.vjp = [](const Node& n, const Array& y, const Array& ct, const std::vector<bool>&) -> Arrays {
      return {kRealLinear[I].reverse(n.inputs[0], y, ct)};
    };
    p.jvp = [](const Node& n, const Array& y, const Arrays& t) {
      return kRealLinear[I].forward(n.inputs[0], y, t[0]);
    };
  }
}

struct Definer {
  template <class F, class... Partials>
  void row(const RowInfo& info, F, Partials...) {
    Primitive p{.name = info.name, .kind = Kind::elementwise, .doc = info.doc};
    p.formula = static_cast<int>(by_formula().size());
    p.partials = {partial_fn<Partials>()...};
    p.nondifferentiable = info.nondifferentiable;
    if (info.accepts == Accepts::selection) {
      // Picking, unlike multiplying by 0 and 1, keeps infinities of the branch not taken out.
      p.partials.clear();
      p.vjp = [](const Node& n, const Array&, const Array& ct,
                 const std::vector<bool>& wanted) -> Arrays {
        Array none = scalar_like(0, ct);
        Arrays out(3);
        if (wanted[1]) out[1] = unbroadcast(select(n.inputs[0], ct, none), n.inputs[1].shape());
        if (wanted[2]) out[2] = unbroadcast(select(n.inputs[0], none, ct), n.inputs[2].shape());
        return out;
      };
      p.jvp = [](const Node& n, const Array&, const Arrays& t) {
        Array none = make_scalar(0, n.dtype);
        return broadcast_to(select(n.inputs[0], t[1] ? t[1] : none, t[2] ? t[2] : none), n.shape);
      };
    }
    define_real_linear(p);
    by_formula().push_back(&define(std::move(p)));
  }
};

const bool defined = [] {
  Definer definer;
  unary_rows(definer);
  binary_rows(definer);
  ternary_rows(definer);
  return true;
}();

bool accepts(Types types, Dtype d) {
  if (d == Dtype::bool_) return types & kBool;
  if (is_integer(d)) return types & kInteger;
  return types & (is_complex(d) ? kComplex : kFloating);
}

// The dtype a row computes in, given its inputs' common dtype. Throws DtypeError.
Dtype computed_in(const Formula& f, Dtype common) {
  Dtype d = common;
  if (f.info.accepts == Accepts::inexact) d = at_least_float(d);
  if (f.info.accepts == Accepts::boolean) d = Dtype::bool_;
  if (f.info.accepts == Accepts::integral && !is_integer(d) && d != Dtype::bool_)
    throw DtypeError(std::string(f.info.name) + ": needs integers or booleans, got " + name_of(d));
  if (!accepts(f.info.types, d)) {
    // Among numbers a boolean is one; alone it is none.
    if (d == Dtype::bool_ && f.arity == 1)
      throw DtypeError(std::string(f.info.name) +
                       ": booleans are not supported\nUse logical_not, or cast to integers");
    if (d == Dtype::bool_ && accepts(f.info.types, Dtype::int32))
      return f.info.accepts == Accepts::integral ? Dtype::uint8 : Dtype::int32;
    if (accepts(f.info.types, at_least_float(d))) return at_least_float(d);
    throw DtypeError(std::string(f.info.name) + ": dtype " + name_of(d) + " is not supported");
  }
  return d;
}

Dtype given(const Formula& f, Dtype d) {
  switch (f.info.gives) {
    case Gives::boolean:
      return Dtype::bool_;
    case Gives::real:
      return d == Dtype::complex64 ? Dtype::float32 : d;
    default:
      return d;
  }
}

}  // namespace

Array elementwise(uint16_t formula, Arrays in) {
  const Formula& f = formulas()[formula];
  const bool selection = f.info.accepts == Accepts::selection;
  Dtype common = in[selection].dtype();
  for (size_t i = selection + 1; i < in.size(); ++i) common = promote(common, in[i].dtype());
  Dtype d = computed_in(f, common);
  Shape shape = in[0].shape();
  for (size_t i = 0; i < in.size(); ++i) {
    if (i > 0 && !(in[i].shape() == shape)) {
      auto both = broadcast_shapes(shape, in[i].shape());
      if (!both) {
        std::string text;
        for (size_t k = 0; k < in.size(); ++k)
          text += (k ? " and " : "") + to_string(in[k].shape());
        throw ShapeError((selection ? "where" : std::string(f.info.name)) +
                         ": shapes do not broadcast: " + text);
      }
      shape = *both;
    }
    Dtype want = selection && i == 0 ? Dtype::bool_ : d;
    if (in[i].dtype() != want) in[i] = astype(in[i], want);
  }
  return make_node(*by_formula()[formula], {}, std::move(in), std::move(shape), given(f, d));
}

#define LAMINA_UNARY(NAME)                        \
  Array NAME(const Array& x) {                    \
    static const uint16_t id = formula_id(#NAME); \
    return elementwise(id, {x});                  \
  }
#define LAMINA_BINARY(NAME)                       \
  Array NAME(const Array& x, const Array& y) {    \
    static const uint16_t id = formula_id(#NAME); \
    return elementwise(id, {x, y});               \
  }
#include "ops/named.def"
#undef LAMINA_UNARY
#undef LAMINA_BINARY

Array select(const Array& condition, const Array& x, const Array& y) {
  static const uint16_t id = formula_id("select");
  return elementwise(id, {condition, x, y});
}

Array scalar_like(double value, const Array& like) {
  Dtype d = like.dtype();
  bool whole = value == static_cast<double>(static_cast<int64_t>(value));
  if (!is_inexact(d) && (!whole || d == Dtype::bool_)) d = whole ? Dtype::int32 : Dtype::float32;
  return make_scalar(value, d);
}

Array operator+(const Array& a, const Array& b) { return add(a, b); }
Array operator-(const Array& a, const Array& b) { return subtract(a, b); }
Array operator*(const Array& a, const Array& b) { return multiply(a, b); }
Array operator/(const Array& a, const Array& b) { return divide(a, b); }

// A repeated scalar stays one: derivative rules build constants such as -ones_like(x).
static Array scaled_constant(const Array& a, double by) {
  const Node* n = a.node();
  if (n->ready() || n->primitive->name != "broadcast_to" || !n->inputs[0].node()->scalar ||
      !is_floating(n->dtype) || n->inputs[0].node()->tracer)
    return Array();
  double v = 0;
  dispatch(n->dtype, [&](auto t) {
    using T = decltype(t);
    if constexpr (!std::is_same_v<T, complex64_t>)
      v = static_cast<double>(*reinterpret_cast<const T*>(n->inputs[0].node()->literal.bytes));
  });
  return full(n->shape, v * by, n->dtype);
}

Array operator-(const Array& a) {
  Array c = scaled_constant(a, -1);
  return c ? c : negative(a);
}
Array operator+(const Array& a, double b) { return add(a, scalar_like(b, a)); }
Array operator-(const Array& a, double b) { return subtract(a, scalar_like(b, a)); }
Array operator*(const Array& a, double b) {
  Array c = scaled_constant(a, b);
  return c ? c : multiply(a, scalar_like(b, a));
}
Array operator/(const Array& a, double b) { return divide(a, scalar_like(b, a)); }
Array operator+(double a, const Array& b) { return add(scalar_like(a, b), b); }
Array operator-(double a, const Array& b) { return subtract(scalar_like(a, b), b); }
Array operator*(double a, const Array& b) { return multiply(scalar_like(a, b), b); }
Array operator/(double a, const Array& b) { return divide(scalar_like(a, b), b); }

// --- casts, counting ---------------------------------------------------------------------------

static const Primitive& cast_row = define(
    {.name = "astype",
     .kind = Kind::cast,
     .doc = "Elements converted to another dtype.",
     .vjp = [](const Node& n, const Array&, const Array& ct, const std::vector<bool>&) -> Arrays {
       Dtype from = n.inputs[0].dtype();
       // Real input of a complex result: only the real part of the cotangent reaches it.
       return {astype(is_complex(ct.dtype()) && !is_complex(from) ? real(ct) : ct, from)};
     },
     .jvp = [](const Node& n, const Array&, const Arrays& t) { return astype(t[0], n.dtype); },
     .vmap = [](const Node& n, const Arrays& in, const std::vector<bool>&,
                int64_t) { return astype(in[0], n.dtype); }});

Array astype(const Array& x, Dtype dtype) {
  if (x.dtype() == dtype) return x;
  if (x.node()->scalar && !x.node()->tracer) {
    Array out;
    dispatch(x.dtype(), [&](auto t) {
      using T = decltype(t);
      const T v = *reinterpret_cast<const T*>(x.node()->literal.bytes);
      if constexpr (std::is_same_v<T, complex64_t>)
        out =
            dtype == Dtype::bool_ ? make_scalar_int(v != T{}, dtype) : make_scalar(v.real(), dtype);
      else if constexpr (std::is_same_v<T, uint64_t>)
        out = make_scalar_uint(v, dtype);
      else if constexpr (std::is_integral_v<T>)
        out = make_scalar_int(static_cast<int64_t>(v), dtype);
      else
        out = make_scalar(static_cast<double>(v), dtype);
    });
    return out;
  }
  return make_node(cast_row, {}, {x}, x.shape(), dtype);
}

Array duplicate(const Array& x) {
  if (x.node()->scalar && !x.node()->tracer) return x;
  return make_node(cast_row, {}, {x}, x.shape(), x.dtype());
}

static const Primitive& iota_row = define({.name = "iota",
                                           .kind = Kind::iota,
                                           .doc = "0, 1, 2, ... along one axis.",
                                           .nondifferentiable = "it has no inputs"});

Array iota(int64_t n, Dtype dtype) { return make_node(iota_row, {}, {}, {n}, dtype); }

}  // namespace lamina
