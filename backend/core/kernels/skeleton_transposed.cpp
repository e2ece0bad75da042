// Elementwise kernels that read along one axis and write along another. A threadgroup takes a
// square of 32 x 32: the arguments that are contiguous across the results' innermost axis are read
// along their own and turned in threadgroup memory, so that both sides move whole lines.
#include "kernels/elements.h"
#include "kernels/skeletons.h"

namespace lamina {
namespace {

constexpr int64_t kSquare = 32;
constexpr int kThreads = 256;

bool turned(const Kernel& k, const KernelArg& a, int axis) {
  const size_t inner = k.domain.size() - 1;
  return !a.output && a.strides[static_cast<size_t>(axis)] == 1 && a.strides[inner] != 1 &&
         a.strides[inner] != 0;
}

class TransposedWriter : Elements {
 public:
  TransposedWriter(const Kernel& kernel, const TextTraits& traits, int axis)
      : Elements(kernel, traits, entry_name(kernel)),
        stage_(kernel, "element", stores()),
        axis_(static_cast<size_t>(axis)) {
    packed_.assign(kernel.args.size(), false);
  }

  TextKernel write() {
    buffers([](int a) { return a; });
    unit_.declare(header_comment(k_));
    unit_.declare(stage_.text());
    auto squares = [&](size_t d) { return (k_.domain[d] + kSquare - 1) / kSquare; };
    int64_t groups = squares(axis_) * squares(inner());
    std::vector<size_t> outer;
    for (size_t d = 0; d < k_.domain.size(); ++d)
      if (d != axis_ && d != inner()) outer.push_back(d), groups *= k_.domain[d];
    std::string body = corner("across", squares(inner()), "group_id.x");
    body += corner("down", squares(axis_), "across_rest");
    if (!outer.empty()) body += places_.split("down_rest", outer, "  ", 1);
    body += read_squares() + "  BARRIER();\n" + results();
    return unit_.finish(body, {groups, 1, 1}, kThreads);
  }

 private:
  std::string name(size_t d) const { return "i" + std::to_string(d); }
  std::string size(size_t d) { return unit_.field("size" + std::to_string(d), k_.domain[d]); }

  // Where the square starts along an axis; <word>_rest goes on with what lies outside.
  std::string corner(const std::string& word, int64_t squares, const std::string& from) {
    std::string n = unit_.word("squares_" + word, static_cast<uint32_t>(squares));
    return "  const int " + word + " = int(" + from + " % " + n + ") * 32;\n  const uint " + word +
           "_rest = " + from + " / " + n + ";\n";
  }
  // The 32 lines of the square, four at a time for the 8 SIMD-groups, where the thread's element
  // lies within the domain.
  std::string each_line(size_t line, size_t along, const std::string& text) {
    std::string line_corner = line == axis_ ? "down" : "across";
    std::string along_corner = along == axis_ ? "down" : "across";
    return "  UNROLL\n  for (int j = 0; j < 32; j += 8) {\n    const int " + name(line) + " = " +
           line_corner + " + j + int(simd), " + name(along) + " = " + along_corner +
           " + int(lane);\n    if (" + name(line) + " < " + size(line) + " && " + name(along) +
           " < " + size(along) + ") {\n" + text + "    }\n  }\n";
  }
  AxisNames axes() const {
    return [this](size_t d) { return name(d); };
  }

  std::string read_squares() {
    std::string out, text;
    for (int a = 0; a < static_cast<int>(k_.args.size()); ++a) {
      if (!turned(k_, arg(a), static_cast<int>(axis_))) continue;
      out += std::string("  SHARED(") + text_type(arg(a).dtype) + ", square_" + x_name(a) +
             ", 32 * 33);\n";
      text += "      square_" + x_name(a) + "[(j + simd) * 33 + lane] = " + element_at(a, axes()) +
              ";\n";
    }
    return out + each_line(inner(), axis_, text);
  }

  std::string results() {
    auto element = [&](int a) {
      if (!turned(k_, arg(a), static_cast<int>(axis_))) return element_at(a, axes());
      return "square_" + x_name(a) + "[lane * 33 + j + simd]";
    };
    std::string text;
    for (int s : stage_.results()) text += "      " + out_type(s) + " " + y_name(s) + ";\n";
    text += "      " +
            stage_.call([&](int i) { return input(i, element, axes()); },
                        [&](int s) { return y_name(s); }) +
            "\n";
    for (int s : stage_.results())
      text += "      " + element_at(instr(s).index, axes()) + " = " + y_name(s) + ";\n";
    return each_line(axis_, inner(), text);
  }

  Stage stage_;
  size_t axis_;
};

}  // namespace

int transposed_axis(const Kernel& kernel, const TextTraits& traits) {
  const size_t rank = kernel.domain.size();
  if (rank < 2 || traits.simd_width != 32 || !fits_int(kernel, traits)) return -1;
  if (kernel.domain[rank - 1] < kSquare / 2 || element_count(kernel.domain) < (1 << 14)) return -1;
  for (const KernelArg& a : kernel.args)
    if (a.output && a.strides[rank - 1] != 1) return -1;
  for (size_t d = 0; d + 1 < rank; ++d) {
    if (kernel.domain[d] < kSquare / 2) continue;
    int64_t bytes = 0;
    for (const KernelArg& a : kernel.args)
      if (turned(kernel, a, static_cast<int>(d)))
        bytes += kSquare * (kSquare + 1) * itemsize(a.dtype);
    if (bytes > 0 && bytes <= traits.threadgroup_bytes) return static_cast<int>(d);
  }
  return -1;
}

TextProgram write_transposed_map(const Kernel& kernel, const TextTraits& traits, int axis) {
  TextProgram program;
  program.launches.push_back(TransposedWriter(kernel, traits, axis).write());
  return program;
}

}  // namespace lamina
