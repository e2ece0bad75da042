#include "random_kernel.h"

#include <cmath>
#include <cstring>
#include <memory>

#include "check.h"
#include "devices/cpu/blocks_isa.h"
#include "kernels/formulas.h"

namespace lamina::test {

namespace {

using Number = std::complex<double>;

// One lane of the plainest table stands for what a formula means: the tests of the rows, in Python,
// hold the formulas themselves against NumPy.
const cpu::BlockTable& plain() {
  static const auto table = [] {
    auto filled = std::make_unique<cpu::BlockTable>();
    cpu::baseline::fill_float(*filled);
    cpu::baseline::fill_integer(*filled);
    cpu::baseline::fill_movement(*filled);
    return filled;
  }();
  return *table;
}

constexpr double kLargest = 1e4;    // of an inexact value: beyond it, rounding is all there is
constexpr double kRounding = 2e-6;  // relative, of one float32 formula

template <class T>
Scalar scalar_of(T value, double error = 0) {
  Scalar out;
  std::memcpy(out.bytes, &value, sizeof value);
  out.error = error;
  return out;
}
template <class T>
T value_of(const void* bytes) {
  T out;
  std::memcpy(&out, bytes, sizeof out);
  return out;
}

// To, from a value of another type, as C converts; halves by way of float.
template <class To, class From>
To converted(From x) {
  if constexpr (std::is_same_v<From, complex64_t>) {
    if constexpr (std::is_same_v<To, complex64_t>) return x;
    if constexpr (std::is_same_v<To, bool>) return x != complex64_t(0);
    return converted<To>(x.real());
  } else if constexpr (std::is_same_v<To, complex64_t>) {
    return {converted<float>(x), 0};
  } else if constexpr (std::is_same_v<To, bool>) {
    return x != From(0);
  } else if constexpr (sizeof(To) == 2 && !std::is_integral_v<To>) {
    return To(static_cast<float>(x));
  } else {
    return static_cast<To>(x);
  }
}

// Small values, many of them equal; halves and quarters where they can be held.
Scalar small_value(Random& random, Dtype d) {
  return dispatch(d, [&](auto t) {
    using T = decltype(t);
    int64_t quarters = random.within(is_unsigned(d) || d == Dtype::bool_ ? 0 : -16, 16);
    if constexpr (std::is_same_v<T, complex64_t>)
      return scalar_of(T(0.25f * static_cast<float>(quarters),
                         0.25f * static_cast<float>(random.within(-16, 16))));
    else if constexpr (std::is_same_v<T, bool>)
      return scalar_of(quarters > 8);
    else if constexpr (std::is_integral_v<T>)
      return scalar_of(static_cast<T>(quarters));
    else
      return scalar_of(T(0.25f * static_cast<float>(quarters)));
  });
}

// A stored value as a kernel loads it.
Scalar loaded(const void* bytes, Dtype d) {
  return dispatch(d, [&](auto t) {
    using T = decltype(t);
    if constexpr (sizeof(T) == 2 && !std::is_integral_v<T>)
      return scalar_of(static_cast<float>(value_of<T>(bytes)));
    else
      return scalar_of(value_of<T>(bytes));
  });
}

Scalar shifted(const Scalar& s, Dtype d, Number by) {
  Number x = number(s, d) + by;
  if (d == Dtype::complex64)
    return scalar_of(complex64_t(static_cast<float>(x.real()), static_cast<float>(x.imag())));
  if (d == Dtype::float64) return scalar_of(x.real());
  return scalar_of(static_cast<float>(x.real()));
}

bool tame(const Scalar& s, Dtype d, double allowed) {
  if (!is_inexact(d)) return true;
  double size = std::abs(number(s, d));
  return size <= kLargest && s.error <= allowed * (1 + size);  // not so for NaN
}

class Maker {
 public:
  Maker(Random& random, RandomKernel& out) : random_(random), out_(out), k_(out.kernel) {
    choose_domain();
    points_ = element_count(k_.domain);
    add_load();
    for (int i = static_cast<int>(random_.within(0, 3)); i > 0; --i) add_source();
    bool reduced = k_.kind == KernelKind::map;
    for (int tries = 0, left = static_cast<int>(random_.within(1, 9)); tries < 400; ++tries) {
      if (left <= 0 && reduced) break;
      bool reduce = k_.kind != KernelKind::map && random_.once_in(reduced ? 5 : 2);
      if (reduce               ? add_reduce()
          : random_.once_in(4) ? add_cast()
          : random_.once_in(5) ? add_source()
                               : add_op())
        --left, reduced |= reduce;
    }
    for (int i = static_cast<int>(random_.within(1, 3)); i > 0 || stores_ == 0; --i) add_store();
  }

 private:
  void choose_domain() {
    k_.kind = static_cast<KernelKind>(random_.below(3));
    int64_t room = random_.once_in(15) ? 20000 : 1500;
    int rank = static_cast<int>(random_.within(k_.kind == KernelKind::map ? 0 : 1, 4));
    for (int axis = 0; axis < rank; ++axis) {
      int64_t size = random_.once_in(3) ? random_.within(1, 300) : random_.within(1, 9);
      size = std::clamp<int64_t>(size, 1, std::max<int64_t>(room, 1));
      room /= size;
      k_.domain.push_back(size);
    }
    if (k_.kind == KernelKind::row) {
      for (int64_t axis = random_.below(rank); axis < rank; ++axis) k_.reduced |= 1u << axis;
    } else if (k_.kind == KernelKind::reduce) {
      k_.reduced = static_cast<uint32_t>(random_.within(1, (1 << rank) - 1));
    }
  }

  uint32_t every() const { return (1u << k_.domain.size()) - 1; }
  Dtype dtype(int value) const {
    return compute_dtype(k_.instrs[static_cast<size_t>(value)].dtype);
  }

  bool push(Instr in, std::vector<Scalar> values, bool after_reduce) {
    // An axis of one element does not vary.
    for (size_t axis = 0; axis < k_.domain.size(); ++axis)
      if (k_.domain[axis] == 1) in.mask &= ~(1u << axis);
    k_.instrs.push_back(in);
    values_.push_back(std::move(values));
    after_reduce_.push_back(after_reduce);
    return true;
  }

  // Strides of a block in some order of the chosen axes, perhaps with gaps or backwards.
  KernelArg some_layout(uint32_t axes, int64_t* reach) {
    KernelArg arg{};
    arg.strides = Strides(k_.domain.size(), 0);
    int64_t step = random_.once_in(3) ? 2 : 1;
    std::vector<int> order = random_.permutation(static_cast<int>(k_.domain.size()));
    if (random_.once_in(2)) std::sort(order.begin(), order.end(), std::greater<>());
    for (int axis : order) {
      if (!(axes >> axis & 1)) continue;
      bool back = random_.once_in(6);
      arg.strides[static_cast<size_t>(axis)] = back ? -step : step;
      if (back) arg.offset += step * (k_.domain[static_cast<size_t>(axis)] - 1);
      step *= k_.domain[static_cast<size_t>(axis)];
    }
    arg.offset += random_.once_in(2) ? random_.below(5) : 0;
    *reach = arg.offset + step + 1;
    return arg;
  }

  uint32_t mask_of(const Strides& strides) const {
    uint32_t mask = 0;
    for (size_t axis = 0; axis < strides.size(); ++axis)
      if (strides[axis] != 0) mask |= 1u << axis;
    return mask;
  }

  bool add_source() {
    int64_t kind = random_.below(6);
    return kind == 0 ? add_scalar() : kind == 1 ? add_iota() : add_load();
  }

  bool add_load() {
    int64_t reach = 0;
    uint32_t axes =
        random_.once_in(2) ? every() : static_cast<uint32_t>(random_.below(every() + 1));
    KernelArg arg = some_layout(axes, &reach);
    arg.dtype = static_cast<Dtype>(random_.below(kDtypeCount));
    size_t item = static_cast<size_t>(itemsize(arg.dtype));
    std::vector<unsigned char> buffer(static_cast<size_t>(reach) * item);
    for (int64_t i = 0; i < reach; ++i)
      std::memcpy(buffer.data() + static_cast<size_t>(i) * item,
                  small_value(random_, arg.dtype).bytes, item);
    std::vector<Scalar> values;
    each_index(k_.domain, [&](const Shape& at) {
      int64_t element = place(at, arg.strides, arg.offset);
      values.push_back(loaded(buffer.data() + static_cast<size_t>(element) * item, arg.dtype));
    });
    add_argument(arg, std::move(buffer));
    return push({.code = Code::load,
                 .dtype = compute_dtype(arg.dtype),
                 .index = static_cast<uint16_t>(k_.args.size() - 1),
                 .mask = mask_of(arg.strides)},
                std::move(values), false);
  }

  void add_argument(const KernelArg& arg, std::vector<unsigned char> buffer) {
    k_.args.push_back(arg);
    out_.buffer_of.push_back(static_cast<int>(out_.memory.size()));
    out_.memory.push_back(std::move(buffer));
    out_.expected.emplace_back();
  }

  bool add_scalar() {
    Dtype d = static_cast<Dtype>(random_.below(kDtypeCount));
    Scalar value = small_value(random_, d);
    ScalarValue given;
    std::memcpy(given.bytes, value.bytes, sizeof given.bytes);
    out_.scalars.push_back(given);
    k_.scalars.push_back(d);
    return push({.code = Code::scalar,
                 .dtype = compute_dtype(d),
                 .index = static_cast<uint16_t>(k_.scalars.size() - 1)},
                std::vector<Scalar>(static_cast<size_t>(points_), loaded(value.bytes, d)), false);
  }

  bool add_iota() {
    Dtype d = compute_dtype(static_cast<Dtype>(random_.below(kDtypeCount)));
    if (!plain().iota[static_cast<int>(d)]) return false;
    IotaMap map{Strides(k_.domain.size(), 0), random_.within(-3, 3)};
    for (int64_t& s : map.strides) s = random_.within(-2, 3);
    std::vector<Scalar> values;
    each_index(k_.domain, [&](const Shape& at) {
      int64_t n = place(at, map.strides, map.offset);
      values.push_back(dispatch(d, [&](auto t) { return scalar_of(converted<decltype(t)>(n)); }));
    });
    k_.iotas.push_back(map);
    return push({.code = Code::iota,
                 .dtype = d,
                 .index = static_cast<uint16_t>(k_.iotas.size() - 1),
                 .mask = mask_of(map.strides)},
                std::move(values), false);
  }

  std::vector<int> values_of(Dtype d) const {
    std::vector<int> out;
    for (int i = 0; i < static_cast<int>(k_.instrs.size()); ++i)
      if (dtype(i) == d) out.push_back(i);
    return out;
  }

  bool add_op() {
    auto id = static_cast<uint16_t>(random_.below(static_cast<int64_t>(formulas().size())));
    int arity = formulas()[id].arity;
    // By a value there is, so that its dtype has one.
    Dtype d = dtype(static_cast<int>(random_.below(static_cast<int64_t>(k_.instrs.size()))));
    cpu::OpLoop loop = plain().op[id][static_cast<int>(d)][0];
    if (!loop) return false;
    Instr in{.code = Code::op, .dtype = plain().result[id][static_cast<int>(d)], .op = id};
    std::vector<Dtype> types;
    bool after = false;
    for (int s = 0; s < arity; ++s) {
      types.push_back(arity == 3 && s == 0 ? Dtype::bool_ : d);
      std::vector<int> choices = values_of(types.back());
      if (choices.empty()) return false;
      in.src[s] = random_.of(choices);
      in.mask |= k_.instrs[static_cast<size_t>(in.src[s])].mask;
      after |= after_reduce_[static_cast<size_t>(in.src[s])];
    }
    if (k_.kind == KernelKind::reduce && after && (in.mask & k_.reduced)) return false;
    std::vector<Scalar> values;
    for (int64_t point = 0; point < points_; ++point) {
      values.push_back(applied(loop, in, types, static_cast<size_t>(point)));
      if (!tame(values.back(), in.dtype, 1e-3)) return false;
      if (!is_inexact(in.dtype) && values.back().error > 0) return false;
    }
    return push(in, std::move(values), after);
  }

  // The formula of one point, and how far it moves when its inputs move as far as they are unsure.
  Scalar applied(cpu::OpLoop loop, const Instr& in, const std::vector<Dtype>& types, size_t point) {
    Scalar sources[3];
    const void* at[3] = {};
    for (size_t s = 0; s < types.size(); ++s) {
      sources[s] = values_[static_cast<size_t>(in.src[s])][point];
      at[s] = sources[s].bytes;
    }
    Scalar out;
    loop(out.bytes, at, 1);
    if (!is_inexact(types.back())) return out;
    Number centre = number(out, in.dtype);
    out.error = is_inexact(in.dtype) ? kRounding * std::abs(centre) : 0;
    for (size_t s = 0; s < types.size(); ++s) {
      if (!is_inexact(types[s])) continue;
      double step = sources[s].error;
      if (is_inexact(in.dtype)) step += 5e-7 * std::abs(number(sources[s], types[s]));
      if (step == 0) continue;
      for (Number by : {Number(step), Number(-step), Number(0, step), Number(0, -step)}) {
        if (by.imag() != 0 && types[s] != Dtype::complex64) continue;
        Scalar moved = shifted(sources[s], types[s], by), result;
        at[s] = moved.bytes;
        loop(result.bytes, at, 1);
        double change = std::abs(number(result, in.dtype) - centre);
        out.error = std::max(out.error, change == change ? 2 * change : 1e30);
      }
      at[s] = sources[s].bytes;
    }
    return out;
  }

  bool add_cast() {
    int source = static_cast<int>(random_.below(static_cast<int64_t>(k_.instrs.size())));
    Dtype from = dtype(source), to = static_cast<Dtype>(random_.below(kDtypeCount));
    std::vector<Scalar> values;
    for (const Scalar& s : values_[static_cast<size_t>(source)]) {
      Number x = number(s, from);
      // Conversions that C leaves open, and those that a rounding error decides.
      bool narrow = is_integer(to) && is_inexact(from);
      if (narrow && (std::abs(x) > 100 || (is_unsigned(to) && x.real() < 0))) return false;
      if (s.error > 0 && (!is_inexact(to) || compute_dtype(to) != to)) return false;
      if (std::abs(x) > kLargest && is_inexact(to)) return false;
      Scalar value = dispatch(from, [&](auto f) {
        auto v = value_of<decltype(f)>(s.bytes);
        return dispatch(to, [&](auto t) { return scalar_of(converted<decltype(t)>(v)); });
      });
      value = loaded(value.bytes, to);  // halves live as float
      value.error = s.error > 0 ? s.error + kRounding * std::abs(x) : 0;
      values.push_back(value);
    }
    Instr in{.code = Code::cast, .dtype = to};
    in.src[0] = source;
    in.mask = k_.instrs[static_cast<size_t>(source)].mask;
    return push(in, std::move(values), after_reduce_[static_cast<size_t>(source)]);
  }

  bool add_reduce();
  bool reduce_group(ReduceOp op, Dtype d, const std::vector<const Scalar*>& group, Scalar* out);
  void add_store();
  bool share(KernelArg& arg, int value, uint32_t axes);

  Random& random_;
  RandomKernel& out_;
  Kernel& k_;
  int64_t points_ = 1;
  int stores_ = 0;
  std::vector<std::vector<Scalar>> values_;
  std::vector<bool> after_reduce_;
};

// The points of each group of a reduction, in ascending order.
std::vector<std::vector<int64_t>> groups_of(const Kernel& k, std::vector<int64_t>* group_of) {
  Strides strides(k.domain.size(), 0);
  int64_t count = 1;
  for (size_t axis = k.domain.size(); axis-- > 0;) {
    if (k.reduced >> axis & 1) continue;
    strides[axis] = count;
    count *= k.domain[axis];
  }
  std::vector<std::vector<int64_t>> groups(static_cast<size_t>(count));
  int64_t point = 0;
  each_index(k.domain, [&](const Shape& at) {
    int64_t group = place(at, strides, 0);
    group_of->push_back(group);
    groups[static_cast<size_t>(group)].push_back(point++);
  });
  return groups;
}

bool Maker::add_reduce() {
  int source = static_cast<int>(random_.below(static_cast<int64_t>(k_.instrs.size())));
  if (k_.kind == KernelKind::reduce && after_reduce_[static_cast<size_t>(source)]) return false;
  Dtype d = dtype(source);
  auto op = static_cast<ReduceOp>(random_.below(8));
  bool arg = op >= ReduceOp::argmin;
  const auto& table = plain();
  int row = static_cast<int>(op) - (arg ? static_cast<int>(ReduceOp::argmin) : 0);
  if (arg ? !table.arg_rows[row][static_cast<int>(d)]
          : !table.reduce_rows[row][static_cast<int>(d)])
    return false;
  std::vector<int64_t> group_of;
  std::vector<Scalar> results;
  for (const auto& group : groups_of(k_, &group_of)) {
    std::vector<const Scalar*> members;
    for (int64_t p : group)
      members.push_back(&values_[static_cast<size_t>(source)][static_cast<size_t>(p)]);
    results.emplace_back();
    if (!reduce_group(op, d, members, &results.back())) return false;
  }
  std::vector<Scalar> values;
  for (int64_t group : group_of) values.push_back(results[static_cast<size_t>(group)]);
  Instr in{.code = Code::reduce, .dtype = arg ? Dtype::uint32 : d, .op = static_cast<uint16_t>(op)};
  in.src[0] = source;
  in.mask = k_.instrs[static_cast<size_t>(source)].mask & ~k_.reduced;
  return push(in, std::move(values), true);
}

template <class T>
bool before(T a, T b) {
  if constexpr (std::is_same_v<T, complex64_t>)
    return a.real() < b.real() || (a.real() == b.real() && a.imag() < b.imag());
  else
    return a < b;
}

bool Maker::reduce_group(ReduceOp op, Dtype d, const std::vector<const Scalar*>& group,
                         Scalar* out) {
  double error = 0, size = 0, largest = 1, smallest = 1;
  for (const Scalar* s : group) {
    double x = std::abs(number(*s, d));
    error += s->error;
    size += x;
    largest *= std::max(x + s->error, 1.0);
    smallest *= std::min(x, 1.0);
  }
  bool orders = op >= ReduceOp::argmin || op == ReduceOp::min || op == ReduceOp::max;
  if (is_inexact(d) && orders && error > 0 && (op >= ReduceOp::argmin || is_complex(d)))
    return false;
  if (is_inexact(d) && op == ReduceOp::prod && (largest > 1e30 || smallest < 1e-30 || error > 0))
    return false;
  *out = dispatch(d, [&](auto t) {
    using T = decltype(t);
    T best = value_of<T>(group[0]->bytes);
    uint32_t at = 0;
    Number sum = 0, product = 1;
    uint64_t wrapped = 0, times = 1;
    for (size_t i = 0; i < group.size(); ++i) {
      T x = value_of<T>(group[i]->bytes);
      bool smaller = op == ReduceOp::min || op == ReduceOp::argmin || op == ReduceOp::all;
      if (smaller ? before(x, best) : before(best, x)) best = x, at = static_cast<uint32_t>(i);
      sum += number(*group[i], d);
      product *= number(*group[i], d);
      if constexpr (std::is_integral_v<T>) {
        wrapped += static_cast<uint64_t>(x);
        times *= static_cast<uint64_t>(x);
      }
    }
    if (op >= ReduceOp::argmin) return scalar_of(at);
    if (op != ReduceOp::sum && op != ReduceOp::prod) return scalar_of(best, error);
    if constexpr (std::is_same_v<T, bool>) {
      return scalar_of(op == ReduceOp::sum ? wrapped != 0 : times != 0);
    } else if constexpr (std::is_integral_v<T>) {
      return scalar_of(static_cast<T>(op == ReduceOp::sum ? wrapped : times));
    } else {
      Number total = op == ReduceOp::sum ? sum : product;
      double unsure = op == ReduceOp::sum
                          ? error + kRounding * size
                          : kRounding * std::abs(total) * static_cast<double>(group.size());
      if constexpr (std::is_same_v<T, complex64_t>)
        return scalar_of(complex64_t(total), unsure);
      else
        return scalar_of(static_cast<T>(total.real()), unsure);
    }
  });
  return tame(*out, op >= ReduceOp::argmin ? Dtype::uint32 : d, 1e-2);
}

// Takes the memory of an input that is read for the last time when the value is made, as the plan
// does: the same layout, and nobody else there.
bool Maker::share(KernelArg& arg, int value, uint32_t axes) {
  for (size_t a = 0; a < k_.args.size(); ++a) {
    const KernelArg& input = k_.args[a];
    if (input.output || itemsize(input.dtype) != itemsize(arg.dtype)) continue;
    if (mask_of(input.strides) != axes) continue;
    int loads = 0, load = -1, users = 0;
    for (int b : out_.buffer_of) users += b == out_.buffer_of[a];
    for (size_t i = 0; i < k_.instrs.size(); ++i)
      if (k_.instrs[i].code == Code::load && k_.instrs[i].index == a)
        ++loads, load = static_cast<int>(i);
    bool free = loads == 1 && users == 1 && load <= value;
    for (size_t i = static_cast<size_t>(value) + 1; i < k_.instrs.size(); ++i)
      for (int32_t s : k_.instrs[i].src) free &= s != load;
    if (!free) continue;
    arg.strides = input.strides;
    arg.offset = input.offset;
    k_.args.push_back(arg);
    out_.buffer_of.push_back(out_.buffer_of[a]);
    out_.expected.emplace_back();
    return true;
  }
  return false;
}

void Maker::add_store() {
  int value = static_cast<int>(random_.below(static_cast<int64_t>(k_.instrs.size())));
  if (k_.instrs[static_cast<size_t>(value)].code == Code::store) return;
  if (k_.instrs[static_cast<size_t>(value)].code == Code::store) return;
  Dtype d = dtype(value);
  bool whole =
      k_.kind == KernelKind::map || (k_.instrs[static_cast<size_t>(value)].mask & k_.reduced);
  if (k_.kind == KernelKind::row && random_.once_in(2)) whole = true;
  uint32_t axes = whole ? every() : every() & ~k_.reduced;
  int64_t reach = 0;
  KernelArg arg = some_layout(axes, &reach);
  arg.output = true;
  arg.dtype = d != Dtype::float32 || random_.once_in(2) ? d
              : random_.once_in(2)                      ? Dtype::float16
                                                        : Dtype::bfloat16;
  if (k_.kind == KernelKind::reduce || random_.once_in(2) || !share(arg, value, axes))
    add_argument(
        arg, std::vector<unsigned char>(static_cast<size_t>(reach * itemsize(arg.dtype)), 0xa5));
  const KernelArg& placed = k_.args.back();
  double grain = arg.dtype == Dtype::float16 ? 1e-3 : arg.dtype == Dtype::bfloat16 ? 8e-3 : 0;
  int64_t point = 0;
  each_index(k_.domain, [&](const Shape& at) {
    const Scalar& s = values_[static_cast<size_t>(value)][static_cast<size_t>(point++)];
    for (size_t axis = 0; axis < at.size(); ++axis)
      if (!(axes >> axis & 1) && at[axis] != 0) return;
    Number x = number(s, d);
    double error = s.error > 0 ? s.error + grain * std::abs(x) : 0;
    Scalar stored = dispatch(d, [&](auto f) {
      auto v = value_of<decltype(f)>(s.bytes);
      return dispatch(arg.dtype, [&](auto t) { return scalar_of(converted<decltype(t)>(v)); });
    });
    stored.error = error;
    out_.expected.back().push_back({place(at, placed.strides, placed.offset), stored});
  });
  Instr in{.code = Code::store, .dtype = d, .index = static_cast<uint16_t>(k_.args.size() - 1)};
  in.src[0] = value;
  in.mask = axes;
  push(in, {}, false);
  ++stores_;
}

}  // namespace

Number number(const Scalar& s, Dtype d) {
  return dispatch(d, [&](auto t) -> Number {
    using T = decltype(t);
    T v = value_of<T>(s.bytes);
    if constexpr (std::is_same_v<T, complex64_t>)
      return {v.real(), v.imag()};
    else
      return static_cast<double>(v);
  });
}

RandomKernel::RandomKernel(uint64_t seed) {
  Random random(seed);
  Maker(random, *this);
}

void RandomKernel::check(const std::vector<std::vector<unsigned char>>& after) const {
  std::vector<std::vector<unsigned char>> rest = after;
  for (size_t a = 0; a < kernel.args.size(); ++a) {
    Dtype d = kernel.args[a].dtype;
    size_t item = static_cast<size_t>(itemsize(d)), b = static_cast<size_t>(buffer_of[a]);
    for (const Expected& e : expected[a]) {
      size_t byte = static_cast<size_t>(e.element) * item;
      const unsigned char* got = after[b].data() + byte;
      Scalar there;
      std::memcpy(there.bytes, got, item);
      NOTE("argument " + std::to_string(a) + " element " + std::to_string(e.element));
      if (!is_inexact(d) || e.value.error == 0) {
        CHECK_EQ(number(there, d), number(e.value, d));
      } else {
        double apart = std::abs(number(there, d) - number(e.value, d));
        if (!(apart <= e.value.error)) CHECK_EQ(number(there, d), number(e.value, d));
      }
      std::memcpy(rest[b].data() + byte, memory[b].data() + byte, item);
    }
  }
  CHECK(rest == memory);
}

}  // namespace lamina::test
