#include "ops/linalg/matrix_launch.h"

#include <algorithm>
#include <bit>

namespace lamina::text {
namespace {

// Threadgroup memory that a group's matrices may take: several groups share a core's.
constexpr int64_t kSharedBytes = 16384, kLeastShared = 512;
// Elements of a step that a thread is worth having for.
constexpr int64_t kEach = 4;

constexpr const char* kReal = R"(
inline Number number(Real x) { return x; }
inline Real real_of(Number a) { return a; }
inline Real imaginary_of(Number a) { return Real(0); }
inline Number conjugate_of(Number a) { return a; }
inline Number plus(Number a, Number b) { return a + b; }
inline Number minus(Number a, Number b) { return a - b; }
inline Number times(Number a, Number b) { return a * b; }
inline Number over(Number a, Number b) { return a / b; }
inline Number scaled(Number a, Real by) { return a * by; }
inline Number with_product(Number c, Number a, Number b) { return fma(a, b, c); }
inline Number less_product(Number c, Number a, Number b) { return fma(-a, b, c); }
inline Real size_of(Number a) { return fabs(a); }
inline Real size2_of(Number a) { return a * a; }
inline Real extent_of(Number a) { return fabs(a); }
inline Real spread_of(Number a) { return fabs(a); }
inline Number shifted(Number a, int by) { return ldexp(a, by); }
)";

constexpr const char* kComplex = R"(
inline Number number(Real x) { return COMPLEX(x, 0.0f); }
inline Real real_of(Number a) { return a.x; }
inline Real imaginary_of(Number a) { return a.y; }
inline Number conjugate_of(Number a) { return COMPLEX(a.x, -a.y); }
inline Number plus(Number a, Number b) { return COMPLEX(a.x + b.x, a.y + b.y); }
inline Number minus(Number a, Number b) { return COMPLEX(a.x - b.x, a.y - b.y); }
inline Number times(Number a, Number b) { return complex_multiply(a, b); }
inline Number over(Number a, Number b) { return complex_divide(a, b); }
inline Number scaled(Number a, Real by) { return COMPLEX(a.x * by, a.y * by); }
inline Number with_product(Number c, Number a, Number b) {
  return COMPLEX(fma(a.x, b.x, fma(-a.y, b.y, c.x)), fma(a.x, b.y, fma(a.y, b.x, c.y)));
}
inline Number less_product(Number c, Number a, Number b) {
  return with_product(c, COMPLEX(-a.x, -a.y), b);
}
inline Real size_of(Number a) { return complex_abs(a); }
inline Real size2_of(Number a) { return fma(a.x, a.x, a.y * a.y); }
// The larger part, and the sum of both: as good as the size for scaling, and for choosing.
inline Real extent_of(Number a) { return fmax(fabs(a.x), fabs(a.y)); }
inline Real spread_of(Number a) { return fabs(a.x) + fabs(a.y); }
inline Number shifted(Number a, int by) { return COMPLEX(ldexp(a.x, by), ldexp(a.y, by)); }
inline Number lane_total(Number v) {
  UNROLL
  for (uint d = 16; d > 0; d /= 2) v = plus(v, lane_xor(v, d));
  return v;
}
)";

constexpr const char* kLanes = R"(
template <typename T>
inline T lane_total(T v) {
  UNROLL
  for (uint d = 16; d > 0; d /= 2) v += lane_xor(v, d);
  return v;
}
// The largest of the lanes' best, and where it stands, for all of them.
#define BEST_OF_LANES(best, at) \
  UNROLL \
  for (uint d = 16; d > 0; d /= 2) { \
    const Real lane_best = lane_xor(best, d); \
    const uint lane_at = lane_xor(at, d); \
    if (takes_max(lane_best, lane_at, best, at)) { \
      best = lane_best; \
      at = lane_at; \
    } \
  }
inline Real lane_high(Real v) {
  UNROLL
  for (uint d = 16; d > 0; d /= 2) v = fmax(v, lane_xor(v, d));
  return v;
}
inline uint lane_last(uint v) {
  UNROLL
  for (uint d = 16; d > 0; d /= 2) v = max(v, lane_xor(v, d));
  return v;
}
)";

int threads_for(int64_t step, int most) {
  const auto wanted = static_cast<int64_t>(
      std::bit_ceil(static_cast<uint64_t>(std::max<int64_t>(1, step / kEach))));
  return static_cast<int>(std::clamp<int64_t>(wanted, 32, most));
}

}  // namespace

MatrixLaunch::MatrixLaunch(const TextTraits& traits, const std::string& name, const TensorView& a,
                           int64_t step, int64_t across)
    : unit_(traits, name),
      matrices_(element_count(Shape(a.shape.begin(), a.shape.end() - 2))),
      threads_(threads_for(step, std::min(traits.wide_threads, traits.max_threads))),
      shared_left_(std::min(kSharedBytes, traits.threadgroup_bytes)),
      batch_(a.shape.begin(), a.shape.end() - 2) {
  check_dtype(name.c_str(), a.dtype, traits);
  const Dtype d = a.dtype;
  const std::string real = d == Dtype::float64 ? "double" : "float";
  unit_.declare("#define THREADS " + std::to_string(threads_) + "u\n#define SIMDS " +
                std::to_string(threads_ / 32) + "u\n");
  unit_.declare(std::string("typedef ") + text_type(d) + " Number;\ntypedef " + real + " Real;\n" +
                (d == Dtype::complex64 ? kComplex : kReal) + kLanes);
  const auto side = std::bit_ceil(static_cast<uint64_t>(std::clamp<int64_t>(across, 1, 32)));
  const std::string shift = unit_.field("shift", std::countr_zero(side));
  opening_ = "  const uint matrix = group_id.x;\n  const uint COLUMNS = 1u << uint(" + shift + ")" +
             ", ROWS = THREADS >> uint(" + shift +
             ");\n  const uint column = thread_id & (COLUMNS - 1), " + "row = thread_id >> uint(" +
             shift + ");\n";
}

void MatrixLaunch::view(const std::string& name, const TensorView& v, int operand) {
  unit_.buffer(name + "_data", text_type(v.dtype), operand, false, itemsize(v.dtype));
  wide_ = wide_ || needs_long(unit_.traits(), {&v});
  view_names_.push_back(name);
  views_.push_back(v);
}

void MatrixLaunch::result(const std::string& name, const std::string& type, int64_t itemsize,
                          int operand, int64_t count) {
  unit_.buffer(name + "_data", type, operand, true, itemsize);
  opening_ += "  device " + type + "* " + name + " = " + name + "_data + ulong(matrix) * ulong(" +
              unit_.field(name + "_count", count, true) + ");\n";
}

void MatrixLaunch::memory(const std::string& name, const std::string& type, int64_t itemsize,
                          int64_t count) {
  // Sizes are text here: a few of them, four to an octave.
  const int64_t least = kLeastShared / itemsize;
  const int64_t step = std::max(
      least,
      static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(std::max<int64_t>(1, count)))) / 8);
  const int64_t room = std::max(least, (count + step - 1) / step * step);
  if (room * itemsize <= shared_left_) {
    shared_left_ -= room * itemsize;
    shared_ += "  SHARED(" + type + ", " + name + ", " + std::to_string(room) + ");\n";
    return;
  }
  program_.temporaries.push_back(std::max<int64_t>(1, matrices_ * count) * itemsize);
  result(name, type, itemsize, -static_cast<int>(program_.temporaries.size()), count);
}

std::string MatrixLaunch::size(const std::string& name, int64_t value) {
  return "  const uint " + name + " = uint(" + unit_.field(name, value) + ");\n";
}

std::string MatrixLaunch::flag(const std::string& name, bool value) {
  return unit_.field(name, value) + " != 0";
}

TextProgram MatrixLaunch::finish(const std::string& body, std::vector<FaultFn> faults) {
  if (matrices_ == 0) return std::move(program_);
  std::vector<Strides> strides;
  for (const TensorView& v : views_) {
    const size_t rank = v.shape.size();
    strides.emplace_back(v.strides.begin(), v.strides.begin() + static_cast<int64_t>(rank - 2));
  }
  Walk walk(unit_, "b", batch_, strides, wide_);
  const std::string index = wide_ ? "long" : "int";
  std::string lines = shared_ + opening_;
  lines += walk.split(wide_ ? "ulong(matrix)" : "matrix", "  ");
  for (size_t k = 0; k < views_.size(); ++k) {
    const TensorView& v = views_[k];
    const size_t rank = v.shape.size();
    const std::string &name = view_names_[k], start = name + "_start";
    lines += "  device const " + std::string(text_type(v.dtype)) + "* " + start + " = " + name +
             "_data + " + walk.index(k) + ";\n";
    unit_.declare("#define " + name + "(i, j) " + start + "[" + index + "(i) * " +
                  unit_.field(name + "_row", v.strides[rank - 2], wide_) + " + " + index +
                  "(j) * " + unit_.field(name + "_column", v.strides[rank - 1], wide_) + "]\n");
  }
  if (!faults.empty()) {
    unit_.faults();
    unit_.declare(
        "#define note(k, at) note_fault(faults, k, (ulong(matrix) << 32) | ulong(uint(at)))\n");
  }
  program_.faults = std::move(faults);
  program_.launches.push_back(unit_.finish(lines + body, {matrices_, 1, 1}, threads_));
  return std::move(program_);
}

}  // namespace lamina::text
