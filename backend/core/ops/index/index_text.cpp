#include "ops/index/index_text.h"

#include "base/error.h"
#include "graph/params.h"
#include "kernels/walk.h"
#include "ops/index/index_positions.h"

namespace lamina::text {
namespace {

const Params& params_of(const TextCall& c) { return *static_cast<const Params*>(c.params); }

}  // namespace

void declare_index(Unit& unit, size_t k, const TensorView& index, int operand) {
  unit.buffer("index" + std::to_string(k), text_type(index.dtype), operand, false,
              itemsize(index.dtype));
}

std::string position_lines(Unit& unit, size_t k, const std::string& element, Dtype dtype,
                           int64_t size, int64_t extent, bool wide, const std::string& indent) {
  const std::string name = "at" + std::to_string(k), type = wide ? "long" : "int";
  std::string n = unit.field("size" + std::to_string(k), size, wide);
  std::string out, fits = "false", place = element;
  if (is_signed(dtype)) {
    // In 64 bits, so that no index wraps into range.
    place = "wide" + std::to_string(k);
    out = indent + "long " + place + " = long(" + element + ");\n";
    out += indent + "if (" + place + " < 0) " + place + " += " + n + ";\n";
    fits = place + " >= 0 && " + place +
           " <= " + unit.field("last" + std::to_string(k), size - extent, wide);
  } else if (size >= extent) {
    fits = "ulong(" + element + ") <= ulong(" +
           unit.field("last" + std::to_string(k), size - extent, wide) + ")";
  }
  out += indent + "inside = " + (fits == "false" ? "" : "inside && ") + fits + ";\n";
  if (unit.traits().bounds) {
    unit.faults();
    out += indent + "if (!(" + fits + ")) note_fault(faults, " + std::to_string(k) + ", ulong(" +
           (is_signed(dtype) ? "long(" + element + ")" : element) + "));\n";
  }
  return out + indent + "const " + type + " " + name + " = " + type + "(" + place + ");\n";
}

std::vector<FaultFn> index_faults(const char* op, const TextCall& call, size_t before,
                                  const Axes& axes, const Shape& target, const TextTraits& traits) {
  std::vector<FaultFn> out;
  for (size_t k = 0; traits.bounds && k < axes.size(); ++k)
    out.push_back([op, axis = axes[k], size = target[static_cast<size_t>(axes[k])],
                   negative = is_signed(call.in[before + k].dtype)](uint64_t index) {
      throw IndexError(
          std::string(op) + ": index " +
          (negative ? std::to_string(static_cast<int64_t>(index)) : std::to_string(index)) +
          " is out of bounds for axis " + std::to_string(axis) + " with size " +
          std::to_string(size));
    });
  return out;
}

TextProgram gather(const TextCall& call, const TextTraits& traits) {
  Params::Reader r = params_of(call).read();
  const Axes axes = r.ints();
  Shape slice = r.ints();
  const TensorView &src = call.in[0], &out = call.out[0];
  TextProgram program;
  // Of a slice without elements the indices are still looked at, if they are asked to be.
  const bool looks_only = out.size() == 0;
  if (looks_only && !traits.bounds) return program;
  // Slices whose rows lie whole are moved in words of up to 16 bytes.
  Strides strides = src.strides;
  int64_t word = itemsize(src.dtype);
  auto doubles = [&] {
    if (slice.empty() || strides.back() != 1 || slice.back() % 2) return false;
    for (size_t d = 0; d + 1 < strides.size(); ++d)
      if (strides[d] % 2) return false;
    for (int64_t a : axes)
      if (a + 1 == static_cast<int64_t>(slice.size())) return false;
    return true;
  };
  while (word * 2 <= traits.vector_bytes && doubles()) {
    word *= 2;
    slice.back() /= 2;
    for (size_t d = 0; d + 1 < strides.size(); ++d) strides[d] /= 2;
  }
  Shape points(out.shape.begin(), out.shape.end() - static_cast<int64_t>(slice.size()));
  const int64_t length = element_count(slice);
  const int64_t items = element_count(points) * (looks_only ? 1 : length);
  if (items == 0) return program;
  bool wide = needs_long(traits, {&src, &out}, items);
  for (const TensorView& i : call.in.subspan(1)) wide |= needs_long(traits, {&i});
  Unit unit(traits, "gather");
  const std::string type = word_type(word), index = wide ? "long" : "int";
  unit.buffer("source", type, 0, false, word);
  std::vector<Strides> index_strides;
  for (size_t k = 0; k + 1 < call.in.size(); ++k) {
    const TensorView& i = call.in[k + 1];
    declare_index(unit, k, i, static_cast<int>(k) + 1);
    index_strides.push_back(broadcast_layout({i.shape, i.strides, 0}, points).strides);
  }
  unit.buffer("out", type, static_cast<int>(call.in.size()), true, word);
  unit.declare("// out[i.., s..] = source[index[i..] + s..]\n");
  Walk point(unit, "i", points, index_strides, wide), part(unit, "s", slice, {strides}, wide);
  std::string body = item_lines(unit, items, wide);
  std::string count = wide ? "ulong" : "uint";
  body += "  " + count + " i = item;\n";
  if (length > 1)
    body += "  const " + index + " s = " + (wide ? "next_index_wide(i, " : "next_index(i, ") +
            unit.divisor("_slice", length, wide) + ");\n" + part.split("s", "  ");
  body += point.split("i", "  ") + "  bool inside = true;\n";
  std::vector<std::string> terms;
  if (length > 1) terms.push_back(part.index(0));
  for (size_t k = 0; k < axes.size(); ++k) {
    const auto axis = static_cast<size_t>(axes[k]);
    std::string element = "index" + std::to_string(k) + "[" + point.index(k) + "]";
    body += position_lines(unit, k, element, call.in[k + 1].dtype, src.shape[axis],
                           std::max<int64_t>(slice[axis], 1), wide, "  ");
    terms.push_back("at" + std::to_string(k) + " * " +
                    unit.field("stride" + std::to_string(k), strides[axis], wide));
  }
  if (!looks_only)
    body += "  " + type + " value = {};\n  if (inside) value = source[" + joined_sum(terms) +
            "];\n  out[item] = value;\n";
  program.faults = index_faults("take", call, 1, axes, src.shape, traits);
  program.launches.push_back(unit.finish(body, item_groups(items), kItemThreads));
  return program;
}

TextProgram take_along_axis(const TextCall& call, const TextTraits& traits) {
  const int64_t axis = params_of(call).read().integer();
  const TensorView &src = call.in[0], &indices = call.in[1], &out = call.out[0];
  TextProgram program;
  if (out.size() == 0) return program;
  const bool wide = needs_long(traits, {&src, &indices, &out});
  Unit unit(traits, "take_along_axis");
  const std::string type = word_type(itemsize(src.dtype));
  unit.buffer("source", type, 0, false, itemsize(src.dtype));
  declare_index(unit, 0, indices, 1);
  unit.buffer("out", type, 2, true, itemsize(src.dtype));
  Walk walk(unit, "i", out.shape, {zeroed_axis(src.strides, axis), indices.strides}, wide);
  std::string body = item_lines(unit, out.size(), wide) + walk.split("item", "  ");
  body += "  bool inside = true;\n" +
          position_lines(unit, 0, "index0[" + walk.index(1) + "]", indices.dtype,
                         src.shape[static_cast<size_t>(axis)], 1, wide, "  ");
  body +=
      "  " + type + " value = {};\n  if (inside) value = source[" +
      joined_sum({walk.index(0),
                  "at0 * " + unit.field("stride0", src.strides[static_cast<size_t>(axis)], wide)}) +
      "];\n  out[item] = value;\n";
  program.faults = index_faults("take_along_axis", call, 1, {axis}, src.shape, traits);
  program.launches.push_back(unit.finish(body, item_groups(out.size()), kItemThreads));
  return program;
}

}  // namespace lamina::text
