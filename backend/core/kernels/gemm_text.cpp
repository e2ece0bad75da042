#include "kernels/gemm_text.h"

#include <algorithm>

#include "kernels/spell.h"

namespace lamina {
namespace {

constexpr int64_t kTile = 64, kDepth = 16, kEdge = 4;
constexpr int64_t kPitch = kTile + 4;  // of a tile's lines in threadgroup memory

int64_t tiles(int64_t n) { return (n + kTile - 1) / kTile; }

std::string text(int64_t n) { return std::to_string(n); }

// A tile of 64 x 64 results in registers: 256 threads with 4 x 4 each.
constexpr const char* kRegisterSums = R"(
  const uint tx = thread_id % 16, ty = thread_id / 16;
  $T sum[4][4];
  UNROLL
  for (uint i = 0; i < 4; ++i)
    UNROLL
    for (uint j = 0; j < 4; ++j) sum[i][j] = $zero;
)";
constexpr const char* kRegisterSteps = R"(
    UNROLL
    for (uint kk = 0; kk < 16; ++kk) {
      $T x[4], y[4];
      UNROLL
      for (uint i = 0; i < 4; ++i) {
        x[i] = a_tile[kk * 68 + ty * 4 + i];
        y[i] = b_tile[kk * 68 + tx * 4 + i];
      }
      UNROLL
      for (uint i = 0; i < 4; ++i)
        UNROLL
        for (uint j = 0; j < 4; ++j) sum[i][j] = $fma;
    }
)";
constexpr const char* kRegisterStore = R"(
  for (uint i = 0; i < 4; ++i)
    for (uint j = 0; j < 4; ++j) {
      const uint row = row0 + ty * 4 + i, col = col0 + tx * 4 + j;
      if (row < $rows && col < $cols) $store(sum[i][j]);
    }
)";

// The same tile in 8 x 8 matrices of the SIMD-groups: four of them with 32 x 32 each.
constexpr const char* kMatrixSums = R"(
  const uint left = simd % 2 * 32, top = simd / 2 * 32;
  simdgroup_float8x8 sum[4][4];
  UNROLL
  for (uint i = 0; i < 4; ++i)
    UNROLL
    for (uint j = 0; j < 4; ++j) sum[i][j] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
)";
constexpr const char* kMatrixSteps = R"(
    UNROLL
    for (uint kk = 0; kk < 16; kk += 8) {
      simdgroup_float8x8 x[4], y[4];
      UNROLL
      for (uint i = 0; i < 4; ++i) {
        simdgroup_load(x[i], a_tile + kk * 68 + top + i * 8, 68, ulong2(0, 0), true);
        simdgroup_load(y[i], b_tile + kk * 68 + left + i * 8, 68);
      }
      UNROLL
      for (uint i = 0; i < 4; ++i)
        UNROLL
        for (uint j = 0; j < 4; ++j)
          simdgroup_multiply_accumulate(sum[i][j], x[i], y[j], sum[i][j]);
    }
)";
constexpr const char* kMatrixStore = R"(
  SHARED(float, out_tile, 64 * 64);
  UNROLL
  for (uint i = 0; i < 4; ++i)
    UNROLL
    for (uint j = 0; j < 4; ++j)
      simdgroup_store(sum[i][j], out_tile + (top + i * 8) * 64 + left + j * 8, 64);
  BARRIER();
  for (uint at = thread_id; at < 64 * 64; at += 128) {
    const uint row = row0 + at / 64, col = col0 + at % 64;
    if (row < $rows && col < $cols) $store(out_tile[at]);
  }
)";

void replace(std::string& s, const std::string& what, const std::string& with) {
  for (size_t at = s.find(what); at != std::string::npos; at = s.find(what, at + with.size()))
    s.replace(at, what.size(), with);
}

class GemmWriter {
 public:
  GemmWriter(const GemmText& g, const TextTraits& traits)
      : g_(g),
        traits_(traits),
        unit_(traits, g.name),
        sum_(g.a_dtype == Dtype::complex64 ? Dtype::complex64 : compute_dtype(g.a_dtype)),
        matrices_(traits.dialect == Dialect::msl && traits.simd_matrices && sum_ == Dtype::float32),
        threads_(matrices_ ? 128 : 256) {
    const int64_t groups = tiles(g.rows) * tiles(g.cols) * g.batch, wanted = traits.cores * 2;
    if (g.may_split && groups < wanted && g.depth >= 1024)
      parts_ = std::clamp<int64_t>(wanted / groups, 1, g.depth / 256);
  }

  TextProgram write() {
    TextProgram program;
    program.launches.push_back(tile_launch());
    if (parts_ == 1) return program;
    program.temporaries.push_back(parts_ * g_.out_size * itemsize(sum_));
    program.launches.push_back(add_parts());
    return program;
  }

 private:
  TextKernel tile_launch() {
    unit_.buffer("a", text_type(g_.a_dtype), g_.a_operand, false, itemsize(g_.a_dtype));
    unit_.buffer("b", text_type(g_.b_dtype), g_.b_operand, false, itemsize(g_.b_dtype));
    Dtype out = parts_ > 1 ? sum_ : g_.out_dtype;
    unit_.buffer("out", text_type(out), parts_ > 1 ? -1 : g_.out_operand, true, itemsize(out));
    for (const GemmText::Operand& o : g_.more)
      unit_.buffer(o.name, text_type(o.dtype), o.operand, false, itemsize(o.dtype));
    declare_functions();
    const std::string rows = "uint(" + unit_.field("rows", g_.rows) + ")";
    const std::string cols = "uint(" + unit_.field("cols", g_.cols) + ")";
    std::string body = place(rows, cols);
    body += matrices_ ? kMatrixSums : kRegisterSums;
    body += "  for (uint k0 = begin; k0 < end; k0 += 16) {\n" + load("a", "row", rows) +
            load("b", "col", cols) + "    BARRIER();";
    body += matrices_ ? kMatrixSteps : kRegisterSteps;
    body += "    BARRIER();\n  }";
    body += matrices_ ? kMatrixStore : kRegisterStore;
    const std::string part = parts_ > 1 ? "part * " + std::string(g_.wide ? "long" : "int") + "(" +
                                              unit_.field("out_size", g_.out_size, g_.wide) + ") + "
                                        : "";
    // `store(x)` becomes an assignment of x converted.
    for (std::string x : {"sum[i][j]", "out_tile[at]"})
      replace(body, "$store(" + x + ")",
              "out[" + part + "out_at(p, z, row, col)] = " + spell_store({x, sum_}, out));
    replace(body, "$rows", rows);
    replace(body, "$cols", cols);
    replace(body, "$T", text_type(sum_));
    replace(body, "$zero", spell_identity(ReduceOp::sum, sum_));
    replace(body, "$fma",
            sum_ == Dtype::complex64 ? "complex_add(sum[i][j], complex_multiply(x[i], y[j]))"
                                     : "fma(x[i], y[j], sum[i][j])");
    const int64_t groups = tiles(g_.rows) * tiles(g_.cols) * g_.batch * parts_;
    return unit_.finish(body, {groups, 1, 1}, threads_);
  }

  void declare_functions() {
    const std::string value = text_type(sum_), index = g_.wide ? "long" : "int";
    auto element = [&](const char* of, Dtype d, const char* places, const std::string& text) {
      unit_.declare("inline " + value + " " + of + "_at(device const " + text_type(d) + "* " + of +
                    more(true) + ", constant Block& p, uint z, " + places + ") {\n" + text + "}\n");
    };
    element("a", g_.a_dtype, "uint row, uint k", g_.a_at(unit_));
    element("b", g_.b_dtype, "uint k, uint col", g_.b_at(unit_));
    unit_.declare("inline " + index + " out_at(constant Block& p, uint z, uint row, uint col) {\n" +
                  g_.out_at(unit_) + "}\n");
  }

  // The further operands as parameters, or as arguments.
  std::string more(bool parameters) const {
    std::string out;
    for (const GemmText::Operand& o : g_.more)
      out += ", " + (parameters ? "device const " + std::string(text_type(o.dtype)) + "* " : "") +
             o.name;
    return out;
  }

  // Which tile, and which part of the depth, the threadgroup has.
  std::string place(const std::string&, const std::string&) {
    const std::string across = unit_.word("across", static_cast<uint32_t>(tiles(g_.cols)));
    const std::string down = unit_.word("down", static_cast<uint32_t>(tiles(g_.rows)));
    const std::string depth = unit_.word("depth", static_cast<uint32_t>(g_.depth));
    std::string out = "  const uint col0 = group_id.x % " + across + " * 64, rest = group_id.x / " +
                      across + ";\n  const uint row0 = rest % " + down + " * 64, layer = rest / " +
                      down + ";\n";
    if (g_.depth_at) {
      out += "  const uint z = layer;\n" + g_.depth_at(unit_);
    } else if (parts_ == 1) {
      out += "  const uint z = layer, begin = 0, end = " + depth + ";\n";
    } else {
      int64_t chunk = (g_.depth + parts_ - 1) / parts_;
      chunk = (chunk + kDepth - 1) / kDepth * kDepth;
      const std::string parts = unit_.word("parts", static_cast<uint32_t>(parts_));
      const std::string c = unit_.word("chunk", static_cast<uint32_t>(chunk));
      out += "  const uint z = layer / " + parts + ", part = layer % " + parts + ";\n";
      out +=
          "  const uint begin = part * " + c + ", end = min(begin + " + c + ", " + depth + ");\n";
    }
    const std::string type = text_type(sum_);
    return out + "  SHARED(" + type + ", a_tile, " + text(kDepth * kPitch) + ");\n  SHARED(" +
           type + ", b_tile, " + text(kDepth * kPitch) + ");";
  }

  // A tile of one factor goes to threadgroup memory, neighbours in memory by neighbouring threads.
  std::string load(const std::string& of, const std::string& line, const std::string& limit) {
    bool along = of == "a" ? g_.a_along_depth : g_.b_along_depth;
    std::string out = "    UNROLL\n    for (uint e = 0; e < " + text(kTile * kDepth / threads_) +
                      "; ++e) {\n      const uint at = thread_id + e * " + text(threads_) + ";\n";
    out += along ? "      const uint kk = at % 16, line = at / 16;\n"
                 : "      const uint kk = at / 64, line = at % 64;\n";
    out += "      const uint " + line + " = " + line + "0 + line, k = k0 + kk;\n";
    std::string call = of == "a" ? "a_at(a" : "b_at(b";
    call += more(false) + (of == "a" ? ", p, z, row, k)" : ", p, z, k, col)");
    return out + "      " + of + "_tile[kk * " + text(kPitch) + " + line] = " + line + " < " +
           limit + " && k < end ? " + call + " : " + spell_identity(ReduceOp::sum, sum_) +
           ";\n    }\n";
  }

  TextKernel add_parts() {
    Kernel k;
    k.kind = KernelKind::reduce;
    k.domain = {parts_, g_.out_size};
    k.reduced = 1;
    k.args = {{sum_, false, {g_.out_size, 1}, 0}, {g_.out_dtype, true, {0, 1}, 0}};
    k.instrs = {{.code = Code::load, .dtype = sum_, .mask = 3},
                {.code = Code::reduce,
                 .dtype = sum_,
                 .op = static_cast<uint16_t>(ReduceOp::sum),
                 .src = {0, -1, -1},
                 .mask = 2},
                {.code = Code::store, .dtype = sum_, .index = 1, .src = {1, -1, -1}, .mask = 2}};
    TextTraits plain = traits_;
    plain.cores = 0;  // parts of parts would need temporaries of their own
    TextKernel launch = std::move(write_text(k, plain).launches[0]);
    for (TextKernel::Bind& b : launch.buffers) b.operand = b.operand == 0 ? -1 : g_.out_operand;
    return launch;
  }

  const GemmText& g_;
  const TextTraits& traits_;
  Unit unit_;
  Dtype sum_;
  bool matrices_;
  int64_t threads_;
  int64_t parts_ = 1;
};

}  // namespace

TextProgram write_gemm(const GemmText& gemm, const TextTraits& traits) {
  return GemmWriter(gemm, traits).write();
}

}  // namespace lamina
