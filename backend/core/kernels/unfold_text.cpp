#include "kernels/unfold_text.h"

#include "kernels/copy_text.h"
#include "kernels/unit.h"
#include "kernels/walk.h"

namespace lamina {

namespace {

using Extent = LibraryConvolution::Extent;

int64_t volume(const Extent& e) { return e[0] * e[1] * e[2]; }

bool is_gradient(const LibraryConvolution& c) {
  return c.kind == LibraryConvolution::Kind::input_gradient;
}
// What is read, and what its positions are asked for.
const Extent& source_size(const LibraryConvolution& c) { return is_gradient(c) ? c.out : c.in; }
const Extent& row_size(const LibraryConvolution& c) { return is_gradient(c) ? c.in : c.out; }
int64_t source_channels(const LibraryConvolution& c) {
  return is_gradient(c) ? c.filters : c.channels;
}

// Lines that give x<d>, the source's position along an axis that row position y<d> meets at tap
// t<d>, and say whether it is inside.
std::string position_lines(Unit& unit, const LibraryConvolution& c, size_t d) {
  const std::string n = std::to_string(d), x = "x" + n;
  const std::string tap =
      (c.flip ? "(" + unit.field("last_tap" + n, c.kernel[d] - 1) + " - t" + n + ")" : "t" + n) +
      " * " + unit.field("dilation" + n, c.dilation[d]);
  const std::string pad = unit.field("pad" + n, c.pad[d]);
  const std::string limit = unit.field("size" + n, source_size(c)[d]);
  const std::string step = c.stride[d] == 1 ? "" : unit.field("step" + n, c.stride[d]);
  const std::string y = "y" + n;
  if (!is_gradient(c))
    return "  const int " + x + " = " + y + (step.empty() ? "" : " * " + step) + " + " + tap +
           " - " + pad + ";\n  inside = inside && " + x + " >= 0 && " + x + " < " + limit + ";\n";
  const std::string whole = y + " + " + pad + " - " + tap;
  if (step.empty())
    return "  const int " + x + " = " + whole + ";\n  inside = inside && " + x + " >= 0 && " + x +
           " < " + limit + ";\n";
  return "  const int wide_" + x + " = " + whole + ", " + x + " = wide_" + x + " / " + step +
         ";\n  inside = inside && wide_" + x + " >= 0 && " + x + " * " + step + " == wide_" + x +
         " && " + x + " < " + limit + ";\n";
}

}  // namespace

UnfoldedPart whole_unfolded(const LibraryConvolution& c) {
  return {0, c.batch * volume(row_size(c)), 0, volume(c.kernel) * source_channels(c)};
}

int64_t unfolded_word(const LibraryConvolution& c, int64_t vector_bytes) {
  int64_t word = 1;
  while (word * 2 * itemsize(c.dtype) <= vector_bytes && source_channels(c) % (word * 2) == 0)
    word *= 2;
  return word;
}

TextKernel unfold_launch(const LibraryConvolution& c, const UnfoldedPart& part, int source,
                         int matrix, const TextTraits& traits) {
  int64_t word = unfolded_word(c, traits.vector_bytes);
  while (part.columns % word || part.first_column % word) word /= 2;
  const int64_t bytes = word * itemsize(c.dtype), columns = part.columns / word;
  const int64_t items = part.rows * columns;
  const size_t first = 3 - static_cast<size_t>(c.spatial);
  Unit unit(traits, is_gradient(c) ? "unfold_gradient" : "unfold");
  const std::string type = word_type(bytes);
  unit.buffer("source", type, source, false, bytes);
  unit.buffer("matrix", type, matrix, true, bytes);
  unit.declare("// matrix[position, (tap, channel)] = source[position and tap, channel]\n");
  std::string body =
      item_lines(unit, items, false) + "  uint row = item;\n  uint tap = uint(" +
      "next_index(row, " + unit.divisor("_column", columns, false) + ")) + " +
      unit.word("first_column", static_cast<uint32_t>(part.first_column / word)) +
      ";\n  row += " + unit.word("first_row", static_cast<uint32_t>(part.first_row)) + ";\n";
  auto split = [&](const std::string& name, const std::string& from, int64_t size) {
    body += "  const int " + name + " = next_index(" + from + ", " +
            unit.divisor("_" + name, size, false) + ");\n";
  };
  split("channel", "tap", source_channels(c) / word);
  std::string at = "int(row)", inside;
  for (size_t d = 3; d-- > first;) {
    const std::string n = std::to_string(d);
    split("t" + n, "tap", c.kernel[d]);
    split("y" + n, "row", row_size(c)[d]);
    inside += position_lines(unit, c, d);
  }
  for (size_t d = first; d < 3; ++d)
    at = "(" + at + ") * " + unit.field("size" + std::to_string(d), source_size(c)[d]) + " + x" +
         std::to_string(d);
  at = "(" + at + ") * " + unit.field("channels", source_channels(c) / word) + " + channel";
  body += "  bool inside = true;\n" + inside + "  " + type +
          " value = {};\n  if (inside) value = source[" + at + "];\n  matrix[item] = value;\n";
  return unit.finish(body, item_groups(items), kItemThreads);
}

TextKernel turned_weight_launch(const LibraryConvolution& c, int weight, int turned,
                                const TextTraits& traits) {
  const int64_t taps = volume(c.kernel);
  const Shape shape{taps, c.filters, c.channels};
  const Strides from{c.channels, taps * c.channels, 1};
  return copy_launch(shape, {weight, c.dtype, from}, {turned, c.dtype, row_major_strides(shape)},
                     traits);
}

}  // namespace lamina
