#include "ops/fft/fft_pass_text.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "kernels/walk.h"

namespace lamina::text {
namespace {

constexpr double kPi = 3.14159265358979323846;

std::string text(int64_t n) { return std::to_string(n); }

std::string real(double v) {
  char out[32];
  std::snprintf(out, sizeof out, "%.9ef", v);
  return out;
}

// An angle is doubled three times: what goes over a turn tells the eighth of the circle, and within
// an eighth the functions are exact to rounding.
constexpr const char* kRoot = R"(
inline float2 root_of_unity(uint a, uint b) {
  uint eighth = 0, rest = a;
  UNROLL
  for (uint i = 0; i < 3; ++i) {
    const bool over = rest >= b - rest;
    rest = over ? rest - (b - rest) : rest + rest;
    eighth = eighth * 2 + (over ? 1u : 0u);
  }
  const bool odd = eighth % 2 == 1;
  const float angle = float(odd ? b - rest : rest) / float(b) * 0.785398163f;
  const float c = precise::cos(angle), s = precise::sin(angle);
  const bool swapped = (eighth + 1) / 2 % 2 == 1;
  const float x = swapped ? s : c, y = swapped ? c : s;
  return COMPLEX(eighth >= 2 && eighth < 6 ? -x : x, eighth < 4 ? -y : y);
}
)";

constexpr const char* kDft2 = R"(
inline void dft2(thread float2* v) {
  const float2 a = v[0];
  v[0] = complex_add(a, v[1]);
  v[1] = complex_subtract(a, v[1]);
}
)";
constexpr const char* kDft4 = R"(
inline void dft4(thread float2* v) {
  const float2 a = complex_add(v[0], v[2]), b = complex_subtract(v[0], v[2]);
  const float2 c = complex_add(v[1], v[3]), d = complex_subtract(v[1], v[3]);
  v[0] = complex_add(a, c);
  v[1] = COMPLEX(b.x + d.y, b.y - d.x);
  v[2] = complex_subtract(a, c);
  v[3] = COMPLEX(b.x - d.y, b.y + d.x);
}
)";
constexpr const char* kDft8 = R"(
inline void dft8(thread float2* v) {
  float2 a[4], b[4];
  UNROLL
  for (uint i = 0; i < 4; ++i) {
    a[i] = v[2 * i];
    b[i] = v[2 * i + 1];
  }
  dft4(a);
  dft4(b);
  const float h = 0.707106781f;
  b[1] = COMPLEX(h * (b[1].x + b[1].y), h * (b[1].y - b[1].x));
  b[2] = COMPLEX(b[2].y, -b[2].x);
  b[3] = COMPLEX(h * (b[3].y - b[3].x), -h * (b[3].x + b[3].y));
  UNROLL
  for (uint i = 0; i < 4; ++i) {
    v[i] = complex_add(a[i], b[i]);
    v[i + 4] = complex_subtract(a[i], b[i]);
  }
}
)";

// Points q and r - q are taken together: their sum meets cosines, their difference sines.
std::string odd_dft(int r) {
  std::string out =
      "inline void dft" + text(r) + "(thread float2* v) {\n  const float2 v0 = v[0];\n";
  const int half = r / 2;
  for (int q = 1; q <= half; ++q) {
    const std::string n = text(q), m = text(r - q);
    out += "  const float2 a" + n + " = complex_add(v[" + n + "], v[" + m + "]), b" + n +
           " = complex_subtract(v[" + n + "], v[" + m + "]);\n";
  }
  out += "  v[0] = COMPLEX(v0.x";
  for (int q = 1; q <= half; ++q) out += " + a" + text(q) + ".x";
  out += ", v0.y";
  for (int q = 1; q <= half; ++q) out += " + a" + text(q) + ".y";
  out += ");\n  float2 c, s;\n";
  for (int k = 1; k <= half; ++k) {
    std::string sums[4] = {"v0.x", "v0.y", "", ""};
    for (int q = 1; q <= half; ++q) {
      const double angle = 2 * kPi * (q * k % r) / r;
      const std::string n = text(q), c = real(std::cos(angle)), s = real(std::sin(angle));
      const std::string terms[4] = {c + " * a" + n + ".x", c + " * a" + n + ".y",
                                    s + " * b" + n + ".x", s + " * b" + n + ".y"};
      for (int i = 0; i < 4; ++i) sums[i] += (sums[i].empty() ? "" : " + ") + terms[i];
    }
    out += "  c = COMPLEX(" + sums[0] + ", " + sums[1] + ");\n  s = COMPLEX(" + sums[2] + ", " +
           sums[3] + ");\n  v[" + text(k) + "] = COMPLEX(c.x + s.y, c.y - s.x);\n  v[" +
           text(r - k) + "] = COMPLEX(c.x - s.y, c.y + s.x);\n";
  }
  return out + "}\n";
}

void declare_dft(Unit& unit, int radix) {
  if (radix == 2) return unit.declare(kDft2);
  if (radix % 2) return unit.declare(odd_dft(radix));
  unit.declare(kDft4);
  if (radix == 8) unit.declare(kDft8);
}

class LinesWriter {
 public:
  LinesWriter(const FftLines& l, const TextTraits& traits)
      : l_(l), traits_(traits), unit_(traits, l.name), n_(l.size), count_(count_type(l.wide)) {
    int64_t most = std::max<int64_t>(1, 1024 / n_);
    if (l.source.across || l.sink.across)
      most = std::max(most, std::min<int64_t>(16, longest_line(traits) / n_));
    // Other numbers of lines share a text.
    tile_ = l.lines == 1 ? 1 : most;
    while (threads_ < 256 && threads_ * 4 < tile_ * n_) threads_ *= 2;
  }

  TextKernel write() {
    for (const FftSide* side : {&l_.source, &l_.sink}) {
      for (const FftSide::Buffer& b : side->buffers)
        unit_.buffer(b.name, text_type(b.dtype), b.operand, b.written, itemsize(b.dtype));
      side->declare(unit_);
    }
    if (needs_roots(n_)) unit_.buffer("roots", "float2", l_.roots, false, 8);
    const std::string group = l_.wide ? "ulong(group_id.x)" : "group_id.x";
    const std::string lines = unit_.field("lines", l_.lines, l_.wide);
    std::string body = "  SHARED(float2, one, " + text(tile_ * n_) + ");\n";
    const std::vector<int> radices = fft_radices(n_);
    if (!radices.empty()) body += "  SHARED(float2, two, " + text(tile_ * n_) + ");\n";
    body += "  const " + count_ + " line0 = " + group + " * " + text(tile_) + ";\n";
    body += "  const uint here = uint(min(" + count_ + "(" + text(tile_) + "), " + count_ + "(" +
            lines + ") - line0));\n";
    const std::string source = l_.source.name + "(" + side_arguments(l_.source);
    body += each_point(l_.source.across, n_) + "    one[line * " + text(n_) + " + k] = " + source +
            "p, line0 + line, k);\n  }\n  BARRIER();\n";
    std::string from = "one", to = "two";
    int64_t done = 1;
    for (int radix : radices) {
      body += pass(radix, done, from, to);
      done *= radix;
      std::swap(from, to);
    }
    body += each_point(l_.sink.across, l_.sink.points) + "    " + l_.sink.name + "(" +
            side_arguments(l_.sink) + "p, line0 + line, k, " + from + "[line * " + text(n_) +
            " + k" + (l_.sink.points > n_ ? " % " + text(n_) : "") + "]";
    if (l_.sink.mirrors)
      body += ", " + from + "[line * " + text(n_) + " + (" + text(n_) + " - k) % " + text(n_) + "]";
    body += ");\n  }\n";
    return unit_.finish(body, {(l_.lines + tile_ - 1) / tile_, 1, 1}, static_cast<int>(threads_));
  }

 private:
  // A loop over `points` of each line, neighbours in memory by neighbouring threads.
  std::string each_point(bool across, int64_t points) const {
    const std::string step = "; at += " + text(threads_) + ") {\n";
    if (!across || tile_ == 1)
      return "  for (uint at = thread_id; at < here * " + text(points) + step +
             "    const uint line = at / " + text(points) + ", k = at % " + text(points) + ";\n";
    return "  for (uint at = thread_id; at < " + text(tile_ * points) + step +
           "    const uint line = at % " + text(tile_) + ", k = at / " + text(tile_) +
           ";\n    if (line >= here) continue;\n";
  }

  std::string pass(int radix, int64_t done, const std::string& from, const std::string& to) {
    declare_dft(unit_, radix);
    const std::string r = text(radix), each = text(n_ / radix), n = text(n_);
    const std::string all = "    UNROLL\n    for (uint q = 0; q < " + r + "; ++q) ";
    std::string out = "  for (uint at = thread_id; at < here * " + each +
                      "; at += " + text(threads_) + ") {\n    const uint line = at / " + each +
                      ", j = at % " + each + ", k = j % " + text(done) + ";\n";
    out += "    float2 v[" + r + "];\n" + all + "v[q] = " + from + "[line * " + n + " + j + q * " +
           each + "];\n";
    if (done > 1)
      out += "    UNROLL\n    for (uint q = 1; q < " + r +
             "; ++q) v[q] = complex_multiply(v[q], roots[q * k * " + text(n_ / (done * radix)) +
             "]);\n";
    out += "    dft" + r + "(v);\n    const uint base = line * " + n + " + j / " + text(done) +
           " * " + text(done * radix) + " + k;\n";
    return out + all + to + "[base + q * " + text(done) + "] = v[q];\n  }\n  BARRIER();\n";
  }

  const FftLines& l_;
  const TextTraits& traits_;
  Unit unit_;
  int64_t n_, tile_ = 1, threads_ = 32;
  std::string count_;
};

}  // namespace

std::string side_parameters(const FftSide& side) {
  std::string out;
  for (const FftSide::Buffer& b : side.buffers)
    out += std::string("device ") + (b.written ? "" : "const ") + text_type(b.dtype) + "* " +
           b.name + ", ";
  return out;
}

std::string side_arguments(const FftSide& side) {
  std::string out;
  for (const FftSide::Buffer& b : side.buffers) out += b.name + ", ";
  return out;
}

void declare_root(Unit& unit) { unit.declare(kRoot); }

std::vector<int> fft_radices(int64_t n) {
  std::vector<int> out;
  for (int radix : {8, 4, 2, 3, 5, 7, 11, 13})
    for (; n % radix == 0; n /= radix) out.push_back(radix);
  return n == 1 ? out : std::vector<int>{};
}

// Two buffers of complex numbers.
int64_t longest_line(const TextTraits& traits) {
  return std::min<int64_t>(2048, traits.threadgroup_bytes / 16);
}

bool needs_roots(int64_t size) { return fft_radices(size).size() > 1; }

TextKernel write_roots(int64_t size, int operand, const TextTraits& traits) {
  Unit unit(traits, "fft_roots");
  declare_root(unit);
  unit.buffer("roots", "float2", operand, true, 8);
  const std::string body = item_lines(unit, size, false) + "  roots[item] = root_of_unity(item, " +
                           unit.word("size", static_cast<uint32_t>(size)) + ");\n";
  return unit.finish(body, item_groups(size), kItemThreads);
}

TextKernel write_lines(const FftLines& lines, const TextTraits& traits) {
  return LinesWriter(lines, traits).write();
}

}  // namespace lamina::text
