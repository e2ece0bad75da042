#include "ops/fft/fft_text.h"

#include <bit>
#include <cmath>
#include <map>

#include "graph/params.h"
#include "kernels/programs.h"
#include "kernels/walk.h"
#include "ops/fft/fft_pass_text.h"

namespace lamina::text {
namespace {

// Lines of one call: what is known of all its launches.
class Writer {
 public:
  Writer(const TextTraits& traits, bool wide) : traits_(traits), wide_(wide) {}

  TextProgram take() { return std::move(program_); }
  const TextTraits& traits() const { return traits_; }
  bool wide() const { return wide_; }
  int temporary(int64_t points) { return add_temporary(program_, points * 8); }

  // Forward transforms of `lines` lines of n points.
  void transform(int64_t n, int64_t lines, const FftSide& source, const FftSide& sink) {
    if (!is_smooth(n)) return by_chirp(n, lines, source, sink);
    if (n > longest_line(traits_)) return by_columns(n, lines, source, sink);
    const int roots = needs_roots(n) ? roots_of(n) : 0;
    program_.launches.push_back(
        write_lines({"fft", n, lines, source, sink, roots, wide_}, traits_));
  }
  // Sinks that mirror, where the points lie in memory already.
  void mirror(int64_t n, int64_t lines, const FftSide& source, const FftSide& sink);

 private:
  int roots_of(int64_t n) {
    auto [it, is_new] = roots_.try_emplace(n, 0);
    if (!is_new) return it->second;
    it->second = temporary(n);
    program_.launches.push_back(write_roots(n, it->second, traits_));
    return it->second;
  }
  void by_columns(int64_t n, int64_t lines, const FftSide& source, const FftSide& sink);
  void by_chirp(int64_t n, int64_t lines, const FftSide& source, const FftSide& sink);

  const TextTraits& traits_;
  bool wide_;
  TextProgram program_;
  std::map<int64_t, int> roots_;
};

std::string head(const FftSide& side, bool wide, bool sink) {
  return std::string("inline ") + (sink ? "void " : "float2 ") + side.name + "(" +
         side_parameters(side) + "constant Block& p, " + count_type(wide) + " line, uint k" +
         (sink ? ", float2 v" : "") + (side.mirrors ? ", float2 w" : "") + ") {\n";
}

// Points one after the other, line by line, in a temporary.
FftSide kept(const char* name, int operand, int64_t n, bool sink, bool wide) {
  FftSide side{.name = name,
               .buffers = {{std::string(name) + "_points", Dtype::complex64, operand, sink}},
               .points = n};
  side.declare = [=](Unit& unit) {
    const std::string at = side.buffers[0].name + "[line * " + count_type(wide) + "(" +
                           unit.field(side.name + "_size", n, wide) + ") + k]";
    unit.declare(head(side, wide, sink) + "  " + (sink ? at + " = v" : "return " + at) + ";\n}\n");
  };
  return side;
}

// A side around another, whose buffers it has too.
FftSide around(const FftSide& inner, const std::string& suffix, bool sink, bool wide,
               const std::function<std::string(Unit&, const std::string& call)>& body) {
  FftSide side = inner;
  side.name = inner.name + suffix;
  side.declare = [=](Unit& unit) {
    inner.declare(unit);
    const std::string text = body(unit, inner.name + "(" + side_arguments(inner) + "p, ");
    unit.declare(head(side, wide, sink) + text + "}\n");
  };
  return side;
}

// The divisor of n that makes columns short enough: next to the root of n, or as long as may be
// where the rows must be cut again.
int64_t column_size(int64_t n, int64_t longest) {
  int64_t best = 0;
  for (int64_t a = 2; a <= longest && a * a <= n; ++a)
    if (n % a == 0) best = a;
  if (best && n / best <= longest) return best;
  for (int64_t a = longest; a > 1; --a)
    if (n % a == 0) return a;
  return best;
}

// Point i of line j's column is point j + rows * i of the line. What comes out is turned, and
// its rows are transformed in their turn (Bailey's four steps).
void Writer::by_columns(int64_t n, int64_t lines, const FftSide& source, const FftSide& sink) {
  const int64_t size = column_size(n, longest_line(traits_)), rows = n / size;
  const std::string count = count_type(wide_);
  auto field = [this](Unit& unit, const char* name, int64_t v) {
    return std::string(count_type(wide_)) + "(" + unit.field(name, v, wide_) + ")";
  };
  const int between = temporary(lines * n);
  FftSide columns = around(source, "_column", false, wide_, [=](Unit& unit, const std::string& f) {
    const std::string r = field(unit, "rows", rows);
    return "  return " + f + "line / " + r + ", uint(line % " + r + " + " + r + " * k));\n";
  });
  columns.across = true;
  FftSide turned{.name = "turned",
                 .buffers = {{"between", Dtype::complex64, between, true}},
                 .across = true,
                 .points = size};
  turned.declare = [=, this](Unit& unit) {
    declare_root(unit);
    const std::string r = field(unit, "rows", rows), s = field(unit, "columns", size);
    unit.declare(head(turned, wide_, true) + "  const " + count + " j = line % " + r +
                 ";\n  between[(line / " + r + " * " + s + " + k) * " + r +
                 " + j] = complex_multiply(v, root_of_unity(uint(j * k), " +
                 unit.word("whole", static_cast<uint32_t>(n)) + "));\n}\n");
  };
  transform(size, lines * rows, columns, turned);
  FftSide results = around(sink, "_row", true, wide_, [=](Unit& unit, const std::string& f) {
    // A sink may be around another of its kind.
    const std::string s = field(unit, (sink.name + "_columns").c_str(), size);
    return "  " + f + "line / " + s + ", uint(line % " + s + " + " + s + " * k), v);\n";
  });
  results.across = true;
  results.points = rows;
  transform(rows, lines * size, kept("between", between, rows, false, wide_), results);
}

constexpr const char* kChirp = R"(
// exp(-pi i k^2 / n)
inline float2 chirp_of(uint k, uint n) {
  return root_of_unity(uint(ulong(k) * ulong(k) % (ulong(n) * 2)), n * 2);
}
)";

// Bluestein's: points times a chirp, convolved with its conjugate by way of a longer length, times
// the chirp.
void Writer::by_chirp(int64_t n, int64_t lines, const FftSide& source, const FftSide& sink) {
  const auto m = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(2 * n - 1)));
  const int spectrum = temporary(m), product = temporary(lines * m);
  const bool wide = wide_;
  auto sizes = [n, m](Unit& unit) {
    declare_root(unit);
    unit.declare(kChirp);
    return "  const uint n = " + unit.word("chirp", static_cast<uint32_t>(n)) +
           ", m = " + unit.word("chirp_room", static_cast<uint32_t>(m)) + ";\n";
  };
  FftSide chirp{.name = "chirp"};
  chirp.declare = [=](Unit& unit) {
    const std::string lines_of = sizes(unit);
    unit.declare(
        head(chirp, wide, false) + lines_of +
        "  const uint at = k < n ? k : m - k;\n  if (at >= n) return COMPLEX(0.0f, 0.0f);\n"
        "  const float2 c = chirp_of(at, n);\n  return COMPLEX(c.x, -c.y);\n}\n");
  };
  transform(m, 1, chirp, kept("spectrum", spectrum, m, true, wide));
  FftSide padded = around(source, "_padded", false, wide, [=](Unit& unit, const std::string& f) {
    return sizes(unit) + "  if (k >= n) return COMPLEX(0.0f, 0.0f);\n  return complex_multiply(" +
           f + "line, k), chirp_of(k, n));\n";
  });
  FftSide multiplied{.name = "multiplied",
                     .buffers = {{"spectrum", Dtype::complex64, spectrum, false},
                                 {"product", Dtype::complex64, product, true}},
                     .points = m};
  multiplied.declare = [=](Unit& unit) {
    const std::string lines_of = sizes(unit);
    unit.declare(head(multiplied, wide, true) + lines_of +
                 "  product[line * m + k] = " + "complex_multiply(v, spectrum[k]);\n}\n");
  };
  transform(m, lines, padded, multiplied);
  // The inverse is a forward transform with real and imaginary parts swapped on both sides.
  FftSide back =
      around(kept("product", product, m, false, wide), "_swapped", false, wide,
             [](Unit&, const std::string& f) {
               return "  const float2 v = " + f + "line, k);\n  return COMPLEX(v.y, v.x);\n";
             });
  FftSide results = around(sink, "_chirp", true, wide, [=](Unit& unit, const std::string& f) {
    return sizes(unit) +
           "  if (k >= n) return;\n  const float2 y = complex_multiply(COMPLEX(v.y, v.x), " +
           "chirp_of(k, n));\n  const float s = 1.0f / float(m);\n  " + f +
           "line, k, COMPLEX(y.x * s, y.y * s));\n";
  });
  results.points = m;
  if (m <= longest_line(traits_)) results.points = n;
  transform(m, lines, back, results);
}

void Writer::mirror(int64_t n, int64_t lines, const FftSide& source, const FftSide& sink) {
  if (is_smooth(n) && n <= longest_line(traits_)) return transform(n, lines, source, sink);
  const int points = temporary(lines * n);
  transform(n, lines, source, kept("pairs", points, n, true, wide_));
  Unit unit(traits_, "rfft_unpack");
  unit.buffer("pairs_points", "float2", points, false, 8);
  for (const FftSide::Buffer& b : sink.buffers)
    unit.buffer(b.name, text_type(b.dtype), b.operand, b.written, itemsize(b.dtype));
  sink.declare(unit);
  const std::string count = count_type(wide_);
  const std::string each = count + "(" + unit.field("points", sink.points, wide_) + ")";
  const std::string size = unit.word("size", static_cast<uint32_t>(n));
  std::string body = item_lines(unit, lines * sink.points, wide_);
  body += "  const " + count + " line = item / " + each + ";\n  const uint k = uint(item % " +
          each + ");\n  device const float2* at = pairs_points + line * " + size + ";\n";
  body += "  " + sink.name + "(" + side_arguments(sink) + "p, line, k, at[k % " + size + "], at[(" +
          size + " - k) % " + size + "]);\n";
  program_.launches.push_back(unit.finish(body, item_groups(lines * sink.points), kItemThreads));
}

// A view as lines along its axis.
class View {
 public:
  View(const TensorView& v, int operand, int64_t axis, bool wide)
      : v_(v), operand_(operand), axis_(axis), wide_(wide) {}

  // `body` sees at(place), the element at a place along the line, as text.
  using At = std::function<std::string(const std::string&)>;
  FftSide side(const std::string& name, bool sink, int64_t points,
               const std::function<std::string(Unit&, const At&)>& body,
               bool mirrors = false) const {
    FftSide side{.name = name,
                 .buffers = {{sink ? "out" : "in", v_.dtype, operand_, sink}},
                 .across = v_.strides[static_cast<size_t>(axis_)] != 1 && v_.size() > points,
                 .mirrors = mirrors,
                 .points = points};
    side.declare = [=, v = *this](Unit& unit) {
      Shape shape = v.v_.shape;
      shape.erase(shape.begin() + v.axis_);
      Walk walk(unit, side.name, shape, {without_axis(v.v_.strides, v.axis_)}, v.wide_);
      const int64_t step = v.v_.strides[static_cast<size_t>(v.axis_)];
      const std::string index = v.wide_ ? "long" : "int", buffer = side.buffers[0].name;
      const std::string base = walk.index(0);
      const std::string scaled = step == 1 ? "" : " * " + unit.field(name + "_step", step, v.wide_);
      const At at = [=](const std::string& place) {
        return buffer + "[" + (base == "0" ? "" : base + " + ") + index + "(" + place + ")" +
               scaled + "]";
      };
      const std::string text = walk.split("line", "  ") + body(unit, at);
      unit.declare(head(side, v.wide_, sink) + text + "}\n");
    };
    return side;
  }

 private:
  TensorView v_;
  int operand_;
  int64_t axis_;
  bool wide_;
};

std::string scale_line(Unit& unit, double scale) {
  const auto bits = std::bit_cast<uint32_t>(static_cast<float>(scale));
  return "  const float scale = bits_as_float(" + unit.word("scale_bits", bits) + ");\n";
}

struct Call {
  int64_t axis, n, lines;
  double scale;
  bool inverse = false, wide;
  View in, out;
};

Call read(const TextCall& call, const TextTraits& traits, bool complex) {
  Params::Reader r = static_cast<const Params*>(call.params)->read();
  const int64_t axis = r.integer();
  const bool inverse = complex && r.integer() != 0;
  const double scale = r.real();
  const TensorView &in = call.in[0], &out = call.out[0];
  const auto a = static_cast<size_t>(axis);
  const TensorView& longer = in.shape[a] > out.shape[a] ? in : out;
  const int64_t n = longer.shape[a], lines = longer.size() / n;
  // A chirp has up to four times the points.
  const int64_t most = longer.size() * (is_smooth(n) ? 1 : 4);
  const bool wide = needs_long(traits, {&in, &out}, most);
  return {axis, n, lines, scale, inverse, wide, View(in, 0, axis, wide), View(out, 1, axis, wide)};
}

}  // namespace

TextProgram fft(const TextCall& call, const TextTraits& traits) {
  check_dtype("fft", Dtype::complex64, traits);
  if (call.out[0].size() == 0) return {};
  const Call c = read(call, traits, true);
  Writer writer(traits, c.wide);
  const FftSide source = c.in.side("source", false, c.n, [&](Unit&, const View::At& at) {
    return "  const float2 v = " + at("k") + ";\n  return " +
           (c.inverse ? "COMPLEX(v.y, v.x)" : "v") + ";\n";
  });
  const FftSide sink = c.out.side("sink", true, c.n, [&](Unit& unit, const View::At& at) {
    return scale_line(unit, c.scale) + "  " + at("k") + " = " +
           (c.inverse ? "COMPLEX(v.y * scale, v.x * scale)" : "COMPLEX(v.x * scale, v.y * scale)") +
           ";\n";
  });
  writer.transform(c.n, c.lines, source, sink);
  return writer.take();
}

TextProgram rfft(const TextCall& call, const TextTraits& traits) {
  check_dtype("rfft", Dtype::complex64, traits);
  if (call.out[0].size() == 0) return {};
  const Call c = read(call, traits, false);
  Writer writer(traits, c.wide);
  const int64_t half = c.n / 2;
  if (c.n % 2) {
    const FftSide source = c.in.side("source", false, c.n, [](Unit&, const View::At& at) {
      return "  return COMPLEX(" + at("k") + ", 0.0f);\n";
    });
    const FftSide sink = c.out.side("sink", true, c.n, [&](Unit& unit, const View::At& at) {
      return scale_line(unit, c.scale) + "  if (k > " +
             unit.word("last_point", static_cast<uint32_t>(half)) + ") return;\n  " + at("k") +
             " = COMPLEX(v.x * scale, k == 0 ? 0.0f : v.y * scale);\n";
    });
    writer.transform(c.n, c.lines, source, sink);
    return writer.take();
  }
  // Neighbouring real numbers are one complex number.
  const FftSide source = c.in.side("source", false, half, [](Unit&, const View::At& at) {
    return "  return COMPLEX(" + at("2 * k") + ", " + at("2 * k + 1") + ");\n";
  });
  const FftSide sink = c.out.side(
      "sink", true, half + 1,
      [&](Unit& unit, const View::At& at) {
        declare_root(unit);
        return scale_line(unit, c.scale) +
               "  const float2 even = COMPLEX(0.5f * (v.x + w.x), 0.5f * (v.y - w.y));\n"
               "  const float2 odd = COMPLEX(0.5f * (v.y + w.y), 0.5f * (w.x - v.x));\n"
               "  const float2 y = complex_add(even, complex_multiply(odd, root_of_unity(k, " +
               unit.word("whole_line", static_cast<uint32_t>(c.n)) + ")));\n  " + at("k") +
               " = COMPLEX(y.x * scale, y.y * scale);\n";
      },
      true);
  writer.mirror(half, c.lines, source, sink);
  return writer.take();
}

TextProgram irfft(const TextCall& call, const TextTraits& traits) {
  check_dtype("irfft", Dtype::complex64, traits);
  if (call.out[0].size() == 0) return {};
  const Call c = read(call, traits, false);
  Writer writer(traits, c.wide);
  const int64_t half = c.n / 2;
  auto n_word = [&](Unit& unit) { return unit.word("whole_line", static_cast<uint32_t>(c.n)); };
  if (c.n % 2) {
    const FftSide source = c.in.side("source", false, c.n, [&](Unit& unit, const View::At& at) {
      return "  const uint n = " + n_word(unit) +
             ";\n  const bool mirrored = k > n / 2;\n  const float2 v = " +
             at("mirrored ? n - k : k") +
             ";\n  const float y = k == 0 ? 0.0f : (mirrored ? -v.y : v.y);\n"
             "  return COMPLEX(y, v.x);\n";
    });
    const FftSide sink = c.out.side("sink", true, c.n, [&](Unit& unit, const View::At& at) {
      return scale_line(unit, c.scale) + "  " + at("k") + " = v.y * scale;\n";
    });
    writer.transform(c.n, c.lines, source, sink);
    return writer.take();
  }
  const FftSide source = c.in.side("source", false, half, [&](Unit& unit, const View::At& at) {
    declare_root(unit);
    const std::string h = unit.word("last_point", static_cast<uint32_t>(half));
    return "  const float2 a = " + at("k") + ", b = " + at(h + " - k") +
           ";\n  if (k == 0) return COMPLEX(a.x - b.x, a.x + b.x);\n"
           "  const float2 even = COMPLEX(a.x + b.x, a.y - b.y), gap = COMPLEX(a.x - b.x, a.y + "
           "b.y);\n  const float2 r = root_of_unity(k, " +
           n_word(unit) +
           ");\n  const float2 odd = complex_multiply(gap, COMPLEX(r.x, -r.y));\n"
           "  return COMPLEX(even.y + odd.x, even.x - odd.y);\n";
  });
  const FftSide sink = c.out.side("sink", true, half, [&](Unit& unit, const View::At& at) {
    return scale_line(unit, c.scale) + "  " + at("2 * k") + " = v.y * scale;\n  " +
           at("2 * k + 1") + " = v.x * scale;\n";
  });
  writer.transform(half, c.lines, source, sink);
  return writer.take();
}

}  // namespace lamina::text
