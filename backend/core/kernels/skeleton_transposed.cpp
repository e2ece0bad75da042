// Elementwise kernels that read along one axis and write along another. A threadgroup takes a
// square: the arguments that are contiguous across the results' innermost axis are read
// along their own and turned in threadgroup memory, so that both sides move whole lines.
#include <algorithm>

#include "kernels/elements.h"
#include "kernels/skeletons.h"

namespace lamina {
namespace {

// Shorter axes do not pay.
constexpr int64_t kLeastLine = 16;

bool turned(const Kernel& k, const KernelArg& a, int axis) {
  const size_t inner = k.domain.size() - 1;
  return !a.output && a.strides[static_cast<size_t>(axis)] == 1 && a.strides[inner] != 1 &&
         a.strides[inner] != 0;
}

// The largest side, of those tried, at which all that is turned fits a threadgroup's memory; else
// 0.
int64_t fitting_square(const Kernel& k, const TextTraits& traits, int axis) {
  int64_t bytes = 0;
  for (const KernelArg& a : k.args)
    if (turned(k, a, axis)) bytes += itemsize(a.dtype);
  if (bytes == 0) return 0;
  for (int64_t side = traits.square; side >= 32; side /= 2)
    if (side * (side + 1) * bytes <= traits.threadgroup_bytes) return side;
  return 0;
}

class TransposedWriter : Elements {
 public:
  TransposedWriter(const Kernel& kernel, const TextTraits& traits, int axis)
      : Elements(kernel, traits, entry_name(kernel)),
        stage_(kernel, "element", stores()),
        axis_(static_cast<size_t>(axis)),
        square_(fitting_square(kernel, traits, axis)),
        threads_(std::max(256, traits.wide_threads / 2)) {
    packed_.assign(kernel.args.size(), false);
  }

  TextKernel write() {
    buffers([](int a) { return a; });
    unit_.declare(header_comment(k_));
    unit_.declare(stage_.text());
    auto squares = [&](size_t d) { return (k_.domain[d] + square_ - 1) / square_; };
    int64_t groups = squares(axis_) * squares(inner());
    std::vector<size_t> outer;
    for (size_t d = 0; d < k_.domain.size(); ++d)
      if (d != axis_ && d != inner()) outer.push_back(d), groups *= k_.domain[d];
    std::string body = corner("across", squares(inner()), "group_id.x");
    body += corner("down", squares(axis_), "across_rest");
    if (!outer.empty()) body += places_.split("down_rest", outer, "  ", 1);
    body += read_squares() + "  BARRIER();\n" + results();
    return unit_.finish(body, {groups, 1, 1}, threads_);
  }

 private:
  std::string name(size_t d) const { return "i" + std::to_string(d); }
  std::string size(size_t d) { return unit_.field("size" + std::to_string(d), k_.domain[d]); }

  // Where the square starts along an axis; <word>_rest goes on with what lies outside.
  std::string corner(const std::string& word, int64_t squares, const std::string& from) {
    std::string n = unit_.word("squares_" + word, static_cast<uint32_t>(squares));
    return "  const int " + word + " = int(" + from + " % " + n + ") * " + std::to_string(square_) +
           ";\n  const uint " + word + "_rest = " + from + " / " + n + ";\n";
  }
  // The lines of the square, one for each SIMD-group at a time, where the thread's element lies
  // within the domain.
  std::string each_line(size_t line, size_t along, const std::string& text) {
    std::string line_corner = line == axis_ ? "down" : "across";
    std::string along_corner = along == axis_ ? "down" : "across";
    const std::string side = std::to_string(square_);
    return "  UNROLL\n  for (int j0 = 0; j0 < " + side +
           "; j0 += " + std::to_string(threads_ / 32) + ") {\n  UNROLL\n  for (int k0 = 0; k0 < " +
           side +
           "; k0 += 32) {\n    const int j = j0 + int(simd), k = k0 + int(lane);\n    const int " +
           name(line) + " = " + line_corner + " + j, " + name(along) + " = " + along_corner +
           " + k;\n    if (" + name(line) + " < " + size(line) + " && " + name(along) + " < " +
           size(along) + ") {\n" + text + "    }\n  }\n  }\n";
  }
  AxisNames axes() const {
    return [this](size_t d) { return name(d); };
  }

  std::string read_squares() {
    std::string out, text;
    for (int a = 0; a < static_cast<int>(k_.args.size()); ++a) {
      if (!turned(k_, arg(a), static_cast<int>(axis_))) continue;
      out += std::string("  SHARED(") + text_type(arg(a).dtype) + ", square_" + x_name(a) + ", " +
             std::to_string(square_ * (square_ + 1)) + ");\n";
      text += "      square_" + x_name(a) + "[j * " + std::to_string(square_ + 1) +
              " + k] = " + element_at(a, axes()) + ";\n";
    }
    return out + each_line(inner(), axis_, text);
  }

  std::string results() {
    auto element = [&](int a) {
      if (!turned(k_, arg(a), static_cast<int>(axis_))) return element_at(a, axes());
      return "square_" + x_name(a) + "[k * " + std::to_string(square_ + 1) + " + j]";
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
  int64_t square_;  // its side
  int threads_;     // of a threadgroup
};

}  // namespace

int transposed_axis(const Kernel& kernel, const TextTraits& traits) {
  const size_t rank = kernel.domain.size();
  if (rank < 2 || traits.simd_width != 32 || !fits_int(kernel, traits)) return -1;
  if (kernel.domain[rank - 1] < kLeastLine || element_count(kernel.domain) < (1 << 14)) return -1;
  for (const KernelArg& a : kernel.args)
    if (a.output && a.strides[rank - 1] != 1) return -1;
  for (size_t d = 0; d + 1 < rank; ++d) {
    if (kernel.domain[d] < kLeastLine) continue;
    if (fitting_square(kernel, traits, static_cast<int>(d))) return static_cast<int>(d);
  }
  return -1;
}

TextProgram write_transposed_map(const Kernel& kernel, const TextTraits& traits, int axis) {
  TextProgram program;
  program.launches.push_back(TransposedWriter(kernel, traits, axis).write());
  return program;
}

}  // namespace lamina
