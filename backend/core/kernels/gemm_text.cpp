#include "kernels/gemm_text.h"

#include <algorithm>

#include "kernels/epilogue_text.h"
#include "kernels/spell.h"

namespace lamina {
namespace {

// Of the depth, what a part has at least.
constexpr int64_t kLeastPart = 256, kLeastRegisterPart = 64;
constexpr int64_t kGap = 4;  // between a tile's lines in threadgroup memory

int64_t tiles(int64_t n, int64_t tile) { return (n + tile - 1) / tile; }

std::string text(int64_t n) { return std::to_string(n); }

// A tile of results in registers: I x J for each of 16 x 16 threads. The next step's elements are
// on their way while this one's are multiplied.
constexpr GemmTile kRegisterTile{64, 64, 16}, kSmallRegisterTile{32, 32, 32};
constexpr const char* kRegisterSums = R"(
  const uint tx = thread_id % 16, ty = thread_id / 16;
  $T sum[$I][$J], next_a[$M * $K / 256], next_b[$K * $N / 256];
  UNROLL
  for (uint i = 0; i < $I; ++i)
    UNROLL
    for (uint j = 0; j < $J; ++j) sum[i][j] = $zero;
)";
constexpr const char* kRegisterSteps = R"(
    UNROLL
    for (uint kk = 0; kk < $K; ++kk) {
      $T x[$I], y[$J];
      UNROLL
      for (uint i = 0; i < $I; ++i) x[i] = a_tile[kk * $P + ty * $I + i];
      UNROLL
      for (uint j = 0; j < $J; ++j) y[j] = b_tile[kk * $Q + tx * $J + j];
      UNROLL
      for (uint i = 0; i < $I; ++i)
        UNROLL
        for (uint j = 0; j < $J; ++j) sum[i][j] = $fma;
    }
)";
constexpr const char* kRegisterStore = R"(
  for (uint i = 0; i < $I; ++i)
    for (uint j = 0; j < $J; ++j) {
      const uint row = row0 + ty * $I + i, col = col0 + tx * $J + j;
      if (row < $rows && col < $cols) $store(sum[i][j]);
    }
)";

// A tile of M x N in 8 x 8 matrices of the SIMD-groups: a quarter for each of four, I x J matrices.
constexpr const char* kMatrixSums = R"(
  const uint left = simd % 2 * ($J * 8), top = simd / 2 * ($I * 8);
  simdgroup_float8x8 sum[$I][$J];
  UNROLL
  for (uint i = 0; i < $I; ++i)
    UNROLL
    for (uint j = 0; j < $J; ++j) sum[i][j] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
)";
constexpr const char* kMatrixSteps = R"(
    UNROLL
    for (uint kk = 0; kk < $K; kk += 8) {
      simdgroup_float8x8 x[$I], y[$J];
      UNROLL
      for (uint i = 0; i < $I; ++i)
        simdgroup_load(x[i], a_tile + kk * $P + top + i * 8, $P, ulong2(0, 0), true);
      UNROLL
      for (uint j = 0; j < $J; ++j) simdgroup_load(y[j], b_tile + kk * $Q + left + j * 8, $Q);
      UNROLL
      for (uint i = 0; i < $I; ++i)
        UNROLL
        for (uint j = 0; j < $J; ++j)
          simdgroup_multiply_accumulate(sum[i][j], x[i], y[j], sum[i][j]);
    }
)";
constexpr const char* kMatrixStore = R"(
  SHARED(float, out_tile, $M * $N);
  UNROLL
  for (uint i = 0; i < $I; ++i)
    UNROLL
    for (uint j = 0; j < $J; ++j)
      simdgroup_store(sum[i][j], out_tile + (top + i * 8) * $N + left + j * 8, $N);
  BARRIER();
  for (uint at = thread_id; at < $M * $N; at += 128) {
    const uint row = row0 + at / $N, col = col0 + at % $N;
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
        unit_(traits, g.epilogue ? g.name + "_" + epilogue_name(*g.epilogue) : g.name),
        sum_(g.a_dtype == Dtype::complex64 ? Dtype::complex64 : compute_dtype(g.a_dtype)),
        matrices_(traits.dialect == Dialect::msl && traits.simd_matrices && sum_ == Dtype::float32),
        threads_(matrices_ ? 128 : 256) {
    const int64_t wanted = traits.cores * 2;
    const GemmTile &large = matrices_ ? traits.tile : kRegisterTile,
                   &small = matrices_ ? traits.small_tile : kSmallRegisterTile;
    tile_ = count(large) < wanted ? small : large;
    const int64_t groups = count(tile_), least = matrices_ ? kLeastPart : kLeastRegisterPart;
    if (g.may_split && groups < wanted && g.depth >= 1024)
      parts_ = std::clamp<int64_t>(wanted / groups, 1, g.depth / least);
    if (g.epilogue) epilogue_.emplace(*g.epilogue, unit_);
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
  int64_t count(const GemmTile& t) const {
    return tiles(g_.rows, t.rows) * tiles(g_.cols, t.cols) * g_.batch;
  }

  TextKernel tile_launch() {
    unit_.buffer("a", text_type(g_.a_dtype), g_.a_operand, false, itemsize(g_.a_dtype));
    unit_.buffer("b", text_type(g_.b_dtype), g_.b_operand, false, itemsize(g_.b_dtype));
    const bool fused = g_.epilogue && parts_ == 1;
    Dtype out = parts_ > 1 ? sum_ : g_.out_dtype;
    if (fused)
      epilogue_->buffers(2);
    else
      unit_.buffer("out", text_type(out), parts_ > 1 ? -1 : g_.out_operand, true, itemsize(out));
    for (const GemmText::Operand& o : g_.more)
      unit_.buffer(o.name, text_type(o.dtype), o.operand, false, itemsize(o.dtype));
    declare_functions(fused);
    const std::string rows = "uint(" + unit_.field("rows", g_.rows) + ")";
    const std::string cols = "uint(" + unit_.field("cols", g_.cols) + ")";
    std::string body = place();
    body += matrices_ ? kMatrixSums : kRegisterSums;
    const char* loop = "  for (uint k0 = begin; k0 < end; k0 += $K) {\n";
    if (matrices_) {
      body += loop + load("a", "row", rows, "k0", placed("a")) +
              load("b", "col", cols, "k0", placed("b")) + "    BARRIER();" + kMatrixSteps;
    } else {
      auto fetched = [&](const char* from) {
        return load("a", "row", rows, from, "next_a[e]") +
               load("b", "col", cols, from, "next_b[e]");
      };
      body += fetched("begin") + loop + put("a") + put("b") + "    BARRIER();\n" +
              fetched("k0 + $K") + kRegisterSteps;
    }
    body += "    BARRIER();\n  }";
    body += matrices_ ? kMatrixStore : kRegisterStore;
    const std::string part = parts_ > 1 ? "part * " + std::string(g_.wide ? "long" : "int") + "(" +
                                              unit_.field("out_size", g_.out_size, g_.wide) + ") + "
                                        : "";
    // `store(x)` becomes an assignment of x converted, or what the epilogue makes of it.
    for (std::string x : {"sum[i][j]", "out_tile[at]"})
      replace(body, "$store(" + x + ")",
              fused ? epilogue_->call(x, "z, row, col")
                    : "out[" + part + "out_at(p, z, row, col)] = " + spell_store({x, sum_}, out));
    replace(body, "$rows", rows);
    replace(body, "$cols", cols);
    const std::pair<const char*, int64_t> sizes[] = {
        {"$M", tile_.rows},        {"$N", tile_.cols},        {"$K", tile_.depth},
        {"$P", tile_.rows + kGap}, {"$Q", tile_.cols + kGap}, {"$I", tile_.rows / 16},
        {"$J", tile_.cols / 16}};
    for (const auto& [name, size] : sizes) replace(body, name, text(size));
    replace(body, "$T", text_type(sum_));
    replace(body, "$zero", spell_identity(ReduceOp::sum, sum_));
    replace(body, "$fma",
            sum_ == Dtype::complex64 ? "complex_add(sum[i][j], complex_multiply(x[i], y[j]))"
                                     : "fma(x[i], y[j], sum[i][j])");
    return unit_.finish(body, {count(tile_) * parts_, 1, 1}, threads_);
  }

  void declare_functions(bool fused) {
    const std::string value = text_type(sum_), index = g_.wide ? "long" : "int";
    auto element = [&](const char* of, Dtype d, const char* places, const std::string& text) {
      unit_.declare("inline " + value + " " + of + "_at(device const " + text_type(d) + "* " + of +
                    more(true) + ", constant Block& p, uint z, " + places + ") {\n" + text + "}\n");
    };
    element("a", g_.a_dtype, "uint row, uint k", g_.a_at(unit_));
    element("b", g_.b_dtype, "uint k, uint col", g_.b_at(unit_));
    if (fused) return epilogue_->declare(sum_, "uint z, uint row, uint col", result_places());
    unit_.declare("inline " + index + " out_at(constant Block& p, uint z, uint row, uint col) {\n" +
                  g_.out_at(unit_) + "}\n");
  }

  std::vector<EpilogueText::Coordinate> result_places() const {
    EpilogueText::Coordinate z{g_.batch, "z"}, row{g_.rows, "row"}, col{g_.cols, "col"};
    if (g_.batch_in_columns) std::swap(z, row);
    return {z, row, col};
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
  std::string place() {
    auto in_tiles = [&](const char* name, int64_t n, int64_t tile) {
      return unit_.word(name, static_cast<uint32_t>(tiles(n, tile)));
    };
    const std::string across = in_tiles("across", g_.cols, tile_.cols);
    const std::string down = in_tiles("down", g_.rows, tile_.rows);
    const std::string depth = unit_.word("depth", static_cast<uint32_t>(g_.depth));
    std::string out = "  const uint col0 = group_id.x % " + across + " * $N, rest = group_id.x / " +
                      across + ";\n  const uint row0 = rest % " + down + " * $M, layer = rest / " +
                      down + ";\n";
    if (g_.depth_at) {
      out += "  const uint z = layer;\n" + g_.depth_at(unit_);
    } else if (parts_ == 1) {
      out += "  const uint z = layer, begin = 0, end = " + depth + ";\n";
    } else {
      int64_t chunk = (g_.depth + parts_ - 1) / parts_;
      chunk = tiles(chunk, tile_.depth) * tile_.depth;
      const std::string parts = unit_.word("parts", static_cast<uint32_t>(parts_));
      const std::string c = unit_.word("chunk", static_cast<uint32_t>(chunk));
      out += "  const uint z = layer / " + parts + ", part = layer % " + parts + ";\n";
      out +=
          "  const uint begin = part * " + c + ", end = min(begin + " + c + ", " + depth + ");\n";
    }
    const std::string type = text_type(sum_);
    return out + "  SHARED(" + type + ", a_tile, " + text(tile_.depth * (tile_.rows + kGap)) +
           ");\n  SHARED(" + type + ", b_tile, " + text(tile_.depth * (tile_.cols + kGap)) + ");";
  }

  // The elements of a factor's tile that a thread moves, neighbours in memory by neighbouring
  // threads: `kk` of the depth and `line` of the tile.
  std::string moved(const std::string& of, const std::string& text_of_one) {
    const bool along = of == "a" ? g_.a_along_depth : g_.b_along_depth;
    const std::string lines = of == "a" ? "$M" : "$N";
    return "    UNROLL\n    for (uint e = 0; e < " + lines + " * $K / " + text(threads_) +
           "; ++e) {\n      const uint at = thread_id + e * " + text(threads_) + ";\n" +
           (along ? "      const uint kk = at % $K, line = at / $K;\n"
                  : "      const uint kk = at / " + lines + ", line = at % " + lines + ";\n") +
           text_of_one + "    }\n";
  }
  std::string placed(const std::string& of) {
    return of + "_tile[kk * " + (of == "a" ? "$P" : "$Q") + " + line]";
  }
  // From memory to threadgroup memory, or to the thread's own until it is put there.
  std::string load(const std::string& of, const std::string& line, const std::string& limit,
                   const std::string& from, const std::string& to) {
    const std::string call = (of == "a" ? "a_at(a" : "b_at(b") + more(false) +
                             (of == "a" ? ", p, z, row, k)" : ", p, z, k, col)");
    return moved(of, "      const uint " + line + " = " + line + "0 + line, k = " + from +
                         " + kk;\n      " + to + " = " + line + " < " + limit + " && k < end ? " +
                         call + " : " + spell_identity(ReduceOp::sum, sum_) + ";\n");
  }
  std::string put(const std::string& of) {
    return moved(of, "      " + placed(of) + " = next_" + of + "[e];\n");
  }

  // The parts' sum, and the epilogue of it.
  TextKernel add_parts() {
    if (!g_.epilogue) return add_parts({g_.out_size}, nullptr);
    return add_parts(g_.epilogue->kernel.domain, g_.epilogue);
  }
  TextKernel add_parts(const Shape& results, const TextEpilogue* epilogue) {
    Kernel k;
    k.kind = KernelKind::reduce;
    k.domain = {parts_};
    Strides part{g_.out_size}, place{0};
    std::vector<int> axes;
    for (int64_t n : results)
      axes.push_back(static_cast<int>(k.domain.size())), k.domain.push_back(n);
    for (int64_t s : row_major_strides(results)) part.push_back(s), place.push_back(s);
    k.reduced = 1;
    const uint32_t all = (2u << results.size()) - 1;
    k.args = {{sum_, false, part, 0}, {g_.out_dtype, true, place, 0}};
    k.instrs = {
        {.code = Code::load, .dtype = sum_, .mask = all},
        {.code = Code::reduce,
         .dtype = sum_,
         .op = static_cast<uint16_t>(ReduceOp::sum),
         .src = {0, -1, -1},
         .mask = all - 1},
        {.code = Code::store, .dtype = sum_, .index = 1, .src = {1, -1, -1}, .mask = all - 1}};
    if (epilogue) k = with_epilogue(k, *epilogue, axes);
    TextTraits plain = traits_;
    plain.cores = 0;  // parts of parts would need temporaries of their own
    TextKernel launch = std::move(write_text(k, plain).launches[0]);
    const int further = epilogue ? 1 : g_.out_operand - 1;
    for (TextKernel::Bind& b : launch.buffers)
      b.operand = b.operand == 0 ? -1 : b.operand + further;
    return launch;
  }

  const GemmText& g_;
  const TextTraits& traits_;
  Unit unit_;
  Dtype sum_;
  bool matrices_;
  int64_t threads_;
  GemmTile tile_;
  int64_t parts_ = 1;
  std::optional<EpilogueText> epilogue_;
};

}  // namespace

TextProgram write_gemm(const GemmText& gemm, const TextTraits& traits) {
  return GemmWriter(gemm, traits).write();
}

}  // namespace lamina
