#include <functional>

#include "graph/params.h"
#include "kernels/copy_text.h"
#include "kernels/spell.h"
#include "kernels/walk.h"
#include "ops/index/index_positions.h"
#include "ops/index/index_text.h"

namespace lamina::text {
namespace {

enum Mode : int64_t { kSet, kAdd, kMultiply, kMax, kMin };

// How the element that an update goes to is found, once per update item.
struct Target {
  int64_t items = 0;
  bool wide = false;
  // Writes the lines that declare `inside`, and the two indices.
  struct Lines {
    std::string text, place, update;
  };
  std::function<Lines(Unit&, const std::string& item)> lines;
  // Items whose destinations never meet other items' stand side by side: (count, stride) of them
  // and of the rest, for devices without the atomics.
  int64_t apart = 1, together = 1;
  bool apart_inner = true;
};

// What several threads may join into: its bits are one atomic word.
Dtype work_dtype(Dtype d) {
  if (itemsize(d) == 8) return d;
  if (is_floating(d)) return Dtype::float32;
  return is_signed(d) ? Dtype::int32 : Dtype::uint32;
}

const char* name_of_mode(int64_t mode) {
  static const char* const names[] = {"set", "add", "multiply", "max", "min"};
  return names[mode];
}

// join(there, update) for elements of the dtype.
std::string join_function(Dtype d, int64_t mode, bool of_bool) {
  // Of 0 and 1, or is the larger, and the smaller.
  if (of_bool && mode == kAdd) mode = kMax;
  if (of_bool && mode == kMultiply) mode = kMin;
  const ReduceOp ops[] = {ReduceOp::any, ReduceOp::sum, ReduceOp::prod, ReduceOp::max,
                          ReduceOp::min};
  std::string type = text_type(d);
  Word there{"there", d}, update{"update", d};
  return "inline " + type + " join(" + type + " there, " + type + " update) { return " +
         spell_combine(ops[mode], there, update).text + "; }\n";
}

std::string update_value(const std::string& element, Dtype d, Dtype work) {
  return spell_cast({spell_load(element, d), compute_dtype(d)}, work).text;
}

class ScatterWriter {
 public:
  ScatterWriter(const TextCall& call, const TextTraits& traits, const TensorView& updates,
                int updates_operand, Target target, int64_t mode)
      : call_(call),
        traits_(traits),
        updates_(updates),
        updates_operand_(updates_operand),
        target_(std::move(target)),
        mode_(mode),
        dtype_(updates.dtype),
        result_(static_cast<int>(call.in.size())) {}

  TextProgram write() {
    const TensorView& out = call_.out[0];
    if (out.size() == 0) return std::move(program_);
    if (mode_ == kSet) {
      set();
    } else if (itemsize(dtype_) == 8 && traits_.dialect == Dialect::msl) {
      copy(0, dtype_, result_, dtype_, call_.in[0].strides);
      if (target_.items > 0) program_.launches.push_back(in_order());
    } else {
      const Dtype work = work_dtype(dtype_);
      const bool direct = work == dtype_;
      if (!direct) program_.temporaries.push_back(out.size() * itemsize(work));
      copy(0, dtype_, direct ? result_ : -1, work, call_.in[0].strides);
      if (target_.items > 0) program_.launches.push_back(join(direct ? result_ : -1, work));
      if (!direct) copy(-1, work, result_, dtype_, out.strides);
    }
    return std::move(program_);
  }

 private:
  void copy(int from, Dtype from_dtype, int to, Dtype to_dtype, const Strides& from_strides) {
    const TensorView& out = call_.out[0];
    program_.launches.push_back(copy_launch(out.shape, {from, from_dtype, from_strides},
                                            {to, to_dtype, out.strides}, traits_));
  }

  // Of several updates of one element the last stays: each marks it with its number first.
  void set() {
    const TensorView& out = call_.out[0];
    copy(0, dtype_, result_, dtype_, call_.in[0].strides);
    if (target_.items == 0) return;
    program_.temporaries.push_back(out.size() * 4);
    Unit zero(traits_, "scatter_clear");
    zero.buffer("marks", "uint", -1, true, 4);
    const bool wide = needs_long(traits_, {}, out.size());
    program_.launches.push_back(
        zero.finish(item_lines(zero, out.size(), wide) + "  marks[item] = 0;\n",
                    item_groups(out.size()), kItemThreads));
    Unit mark(traits_, "scatter_mark");
    mark.buffer("marks", "atomic_uint", -1, true, 4, target_.items * 4);
    Target::Lines m = target_.lines(mark, "item");
    program_.launches.push_back(mark.finish(item_lines(mark, target_.items, target_.wide) + m.text +
                                                "  if (inside) atomic_raise(marks + " + m.place +
                                                ", uint(item) + 1);\n",
                                            item_groups(target_.items), kItemThreads));
    Unit write(traits_, "scatter_set");
    const std::string type = word_type(itemsize(dtype_));
    write.buffer("marks", "uint", -1, false, 4, target_.items * 4);
    write.buffer("updates", type, updates_operand_, false, itemsize(dtype_));
    write.buffer("out", type, result_, true, itemsize(dtype_), target_.items * itemsize(dtype_));
    write.declare("// The last update of an element stays.\n");
    Target::Lines w = target_.lines(write, "item");
    program_.launches.push_back(write.finish(
        item_lines(write, target_.items, target_.wide) + w.text + "  if (inside && marks[" +
            w.place + "] == uint(item) + 1) out[" + w.place + "] = updates[" + w.update + "];\n",
        item_groups(target_.items), kItemThreads));
  }

  TextKernel join(int to, Dtype work) {
    Unit unit(traits_, std::string("scatter_") + name_of_mode(mode_));
    const bool is_wide = itemsize(work) == 8, of_bool = dtype_ == Dtype::bool_;
    const std::string word = is_wide ? "ulong" : "uint", bits = is_wide ? "ulong" : "atomic_uint";
    unit.buffer("updates", text_type(dtype_), updates_operand_, false, itemsize(dtype_));
    unit.buffer("out", bits, to, true, itemsize(work), target_.items * itemsize(work));
    Target::Lines l = target_.lines(unit, "item");
    std::string value = update_value("updates[" + l.update + "]", dtype_, work);
    std::string action;
    if (mode_ == kAdd && work == Dtype::float32) {
      action = "atomic_add_float(out + " + l.place + ", " + value + ")";
    } else if (mode_ == kAdd && !is_wide && !of_bool) {
      action = "atomic_add_uint(out + " + l.place + ", uint(" + value + "))";
    } else {
      unit.declare(join_function(work, mode_, of_bool));
      const std::string type = text_type(work);
      std::string from =
          work == Dtype::uint32 || work == Dtype::uint64 ? "seen" : "bits_as_" + type + "(seen)";
      std::string back = !is_wide && work != Dtype::float32 ? "uint(" : "bits_as_" + word + "(";
      unit.declare("inline void join_at(device " + bits + "* at, " + type + " update) {\n  " +
                   word + " seen = atomic_read(at);\n  while (true) {\n    const " + word +
                   " next = " + back + "join(" + from +
                   ", update));\n    if (next == seen || exchange_if(at, seen, next)) return;\n"
                   "  }\n}\n");
      action = "join_at(out + " + l.place + ", " + value + ")";
    }
    return unit.finish(
        item_lines(unit, target_.items, target_.wide) + l.text + "  if (inside) " + action + ";\n",
        item_groups(target_.items), kItemThreads);
  }

  // Without 64-bit atomics: a thread does, in their order, all updates that may meet.
  TextKernel in_order() {
    Unit unit(traits_, std::string("scatter_") + name_of_mode(mode_) + "_in_order");
    unit.buffer("updates", text_type(dtype_), updates_operand_, false, itemsize(dtype_));
    unit.buffer("out", text_type(dtype_), result_, true, itemsize(dtype_),
                target_.items * itemsize(dtype_));
    unit.declare(join_function(dtype_, mode_, false));
    const std::string count = target_.wide ? "ulong" : "uint";
    std::string line = item_lines(unit, target_.apart, target_.wide);
    std::string together = unit.field("together", target_.together, target_.wide);
    std::string apart = unit.field("apart", target_.apart, target_.wide);
    std::string number = target_.apart_inner ? "k * " + count + "(" + apart + ") + item"
                                             : "item * " + count + "(" + together + ") + k";
    line += "  for (" + count + " k = 0; k < " + count + "(" + together + "); ++k) {\n  const " +
            count + " update = " + number + ";\n";
    Target::Lines l = target_.lines(unit, "update");
    line += l.text + "  if (inside) out[" + l.place + "] = join(out[" + l.place + "], updates[" +
            l.update + "]);\n  }\n";
    return unit.finish(line, item_groups(target_.apart), kItemThreads);
  }

  const TextCall& call_;
  const TextTraits& traits_;
  const TensorView& updates_;
  int updates_operand_;
  Target target_;
  int64_t mode_;
  Dtype dtype_;
  int result_;
  TextProgram program_;
};

}  // namespace

TextProgram scatter(const TextCall& call, const TextTraits& traits) {
  Params::Reader r = static_cast<const Params*>(call.params)->read();
  const Axes axes = r.ints();
  const int64_t mode = r.integer();
  const TensorView &updates = call.in[1], &out = call.out[0];
  check_dtype("scatter", out.dtype, traits);
  const auto lead = static_cast<int64_t>(updates.shape.size() - out.shape.size());
  const Shape points(updates.shape.begin(), updates.shape.begin() + lead);
  const Shape slice(updates.shape.begin() + lead, updates.shape.end());
  const Strides point_strides(updates.strides.begin(), updates.strides.begin() + lead);
  const Strides slice_strides(updates.strides.begin() + lead, updates.strides.end());
  const int64_t length = element_count(slice);
  Target t;
  t.items = updates.size();
  t.wide = needs_long(traits, {&updates, &out});
  for (const TensorView& i : call.in.subspan(2)) t.wide |= needs_long(traits, {&i});
  bool disjoint = true;
  for (int64_t a : axes) disjoint &= slice[static_cast<size_t>(a)] == 1;
  t.apart = disjoint ? length : 1;
  t.together = t.items / std::max<int64_t>(t.apart, 1);
  t.lines = [=](Unit& unit, const std::string& item) {
    Target::Lines l;
    std::vector<Strides> index_strides{point_strides};
    for (size_t k = 0; k < axes.size(); ++k) {
      const TensorView& i = call.in[k + 2];
      declare_index(unit, k, i, static_cast<int>(k) + 2);
      index_strides.push_back(broadcast_layout({i.shape, i.strides, 0}, points).strides);
    }
    Walk point(unit, "i", points, index_strides, t.wide);
    Walk part(unit, "s", slice, {out.strides, slice_strides}, t.wide);
    const std::string index = t.wide ? "long" : "int", count = t.wide ? "ulong" : "uint";
    l.text = "  " + count + " i = " + item + ";\n";
    if (length > 1)
      l.text += "  const " + index + " s = " + (t.wide ? "next_index_wide(i, " : "next_index(i, ") +
                unit.divisor("_slice", length, t.wide) + ");\n" + part.split("s", "  ");
    l.text += point.split("i", "  ") + "  bool inside = true;\n";
    std::vector<std::string> place;
    if (length > 1) place.push_back(part.index(0));
    for (size_t k = 0; k < axes.size(); ++k) {
      const auto axis = static_cast<size_t>(axes[k]);
      l.text +=
          position_lines(unit, k, "index" + std::to_string(k) + "[" + point.index(k + 1) + "]",
                         call.in[k + 2].dtype, out.shape[axis], slice[axis], t.wide, "  ");
      place.push_back("at" + std::to_string(k) + " * " +
                      unit.field("stride" + std::to_string(k), out.strides[axis], t.wide));
    }
    l.place = joined_sum(place);
    l.update = joined_sum({point.index(0), length > 1 ? part.index(1) : std::string()});
    return l;
  };
  TextProgram program = ScatterWriter(call, traits, updates, 1, t, mode).write();
  program.faults = index_faults("scatter", call, 2, axes, out.shape, traits);
  return program;
}

TextProgram put_along_axis(const TextCall& call, const TextTraits& traits) {
  Params::Reader r = static_cast<const Params*>(call.params)->read();
  const int64_t axis = r.integer(), mode = r.integer();
  const TensorView &indices = call.in[1], &updates = call.in[2], &out = call.out[0];
  check_dtype("put_along_axis", out.dtype, traits);
  Target t;
  t.items = updates.size();
  t.wide = needs_long(traits, {&updates, &indices, &out});
  // The axis goes last, so that updates that may meet follow each other.
  auto last = [axis](auto values) {
    auto moved = values[static_cast<size_t>(axis)];
    values.erase(values.begin() + axis);
    values.push_back(moved);
    return values;
  };
  t.together = indices.shape[static_cast<size_t>(axis)];
  t.apart = t.items / std::max<int64_t>(t.together, 1);
  t.apart_inner = false;
  t.lines = [=](Unit& unit, const std::string& item) {
    Target::Lines l;
    declare_index(unit, 0, indices, 1);
    Walk walk(unit, "i", last(indices.shape),
              {last(zeroed_axis(out.strides, axis)), last(indices.strides), last(updates.strides)},
              t.wide);
    l.text = walk.split(item, "  ") + "  bool inside = true;\n" +
             position_lines(unit, 0, "index0[" + walk.index(1) + "]", indices.dtype,
                            out.shape[static_cast<size_t>(axis)], 1, t.wide, "  ");
    l.place = joined_sum(
        {walk.index(0),
         "at0 * " + unit.field("stride0", out.strides[static_cast<size_t>(axis)], t.wide)});
    l.update = walk.index(2);
    return l;
  };
  TextProgram program = ScatterWriter(call, traits, updates, 2, t, mode).write();
  program.faults = index_faults("put_along_axis", call, 1, {axis}, out.shape, traits);
  return program;
}

}  // namespace lamina::text
