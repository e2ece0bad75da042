// Attention as kernel text: softmax over the keys as they come (Milakov and Gimelshein 2018). A
// SIMD-group has a few rows, queries of the heads that share their keys, and a lane a part of the
// numbers of each head. Scores of a step lie one a lane.
#include <algorithm>

#include "kernels/spell.h"
#include "kernels/walk.h"
#include "ops/attention/attention_call.h"

namespace lamina::text {
namespace {

constexpr int64_t kSimds = 8, kThreads = kSimds * 32;
constexpr int64_t kPartKeys = 64;  // of a part of the keys, at least: one step of its SIMD-groups

std::string text(int64_t n) { return std::to_string(n); }

void replace(std::string& s, const std::string& what, const std::string& with) {
  for (size_t at = s.find(what); at != std::string::npos; at = s.find(what, at + with.size()))
    s.replace(at, what.size(), with);
}

// What 32 lanes have for each of 32 sums: lane i gets sum i.
constexpr const char* kSumOfLanes = R"(
inline float sums_by_lane(thread float* a, uint at) {
  UNROLL
  for (uint m = 16; m > 0; m /= 2)
    UNROLL
    for (uint i = 0; i < m; ++i) {
      const bool high = (at & m) != 0;
      const float kept = high ? a[i + m] : a[i], sent = high ? a[i] : a[i + m];
      a[i] = kept + lane_xor(sent, m);
    }
  return a[0];
}
)";

// $N rows with $K keys a step: $N * $K = 32. `row` of a lane is row0 + lane / $K.
constexpr const char* kSteps = R"(
  float q_row[$N][$D], o_row[$N][$V];
  UNROLL
  for (uint i = 0; i < $N; ++i) {
    const uint r = min(row0 + i, $rows - 1);
    device const $T* from = q + $q_batch + $I(head0 + r / $queries) * $q_head + $I(r % $queries) * $q_time;
    UNROLL
    for (uint c = 0; c < $D; ++c) q_row[i][c] = $q_load;
    UNROLL
    for (uint c = 0; c < $V; ++c) o_row[i][c] = 0.0f;
  }
  const uint row = min(row0 + lane / $K, $rows - 1), t = row % $queries;
  const uint limit = $limit;
  uint last = min(limit, end);
  for (uint m = 16; m > 0; m /= 2) last = max(last, lane_xor(last, m));
  last = min(last, end);
  float top = -INFINITY, total = 0.0f;
  for (uint j0 = begin; j0 < last; j0 += $stride) {
    float part[32];
    UNROLL
    for (uint j = 0; j < $K; ++j) {
      device const $T* from = k + $k_base + $I(min(j0 + j, last - 1)) * $k_time;
      float x[$D];
      $k_lines
      UNROLL
      for (uint i = 0; i < $N; ++i) {
        float sum = 0.0f;
        UNROLL
        for (uint c = 0; c < $D; ++c) sum = fma(q_row[i][c], x[c], sum);
        part[i * $K + j] = sum;
      }
    }
    const uint j = j0 + lane % $K;
    float score = sums_by_lane(part, lane) * $scale;
    $mask
    if (j >= min(limit, end)) score = -INFINITY;
    float high = score;
    UNROLL
    for (uint m = $K / 2; m > 0; m /= 2) high = fmax(high, lane_xor(high, m));
    high = fmax(high, top);
    // Nothing is taken while all scores are -inf.
    const float weight = score == -INFINITY ? 0.0f : precise::exp(score - high);
    const float less = top == high ? 1.0f : precise::exp(top - high);
    total = total * less + weight;
    top = high;
    UNROLL
    for (uint i = 0; i < $N; ++i) {
      const float by = lane_from(less, i * $K);
      UNROLL
      for (uint c = 0; c < $V; ++c) o_row[i][c] *= by;
    }
    UNROLL
    for (uint n = 0; n < $K; ++n) {
      device const $T* from = v + $v_base + $I(min(j0 + n, last - 1)) * $v_time;
      float x[$V];
      $v_lines
      UNROLL
      for (uint i = 0; i < $N; ++i) {
        const float w = lane_from(weight, i * $K + n);
        UNROLL
        for (uint c = 0; c < $V; ++c) o_row[i][c] = fma(w, x[c], o_row[i][c]);
      }
    }
  }
  UNROLL
  for (uint m = $K / 2; m > 0; m /= 2) total += lane_xor(total, m);
)";

// The SIMD-groups had the same rows and other keys: they add up in threadgroup memory.
constexpr const char* kMeet = R"(
  SHARED(float, tops, 8 * $N);
  SHARED(float, totals, 8 * $N);
  SHARED(float, sums, $N * $V * 32);
  if (lane % $K == 0) {
    tops[simd * $N + lane / $K] = top;
    totals[simd * $N + lane / $K] = total;
  }
  BARRIER();
  const float own = top;
  total = 0.0f;
  for (uint s = 0; s < 8; ++s) top = fmax(top, tops[s * $N + lane / $K]);
  for (uint s = 0; s < 8; ++s) {
    const float high = tops[s * $N + lane / $K];
    total += high == top ? totals[s * $N + lane / $K]
                         : totals[s * $N + lane / $K] * precise::exp(high - top);
  }
  const float share = own == top ? 1.0f : precise::exp(own - top);
  UNROLL
  for (uint i = 0; i < $N; ++i) {
    const float by = lane_from(share, i * $K);
    UNROLL
    for (uint c = 0; c < $V; ++c) {
      o_row[i][c] *= by;
      if (simd == 0) sums[(i * $V + c) * 32 + lane] = o_row[i][c];
    }
  }
  for (uint s = 1; s < 8; ++s) {
    BARRIER();
    if (simd != s) continue;
    UNROLL
    for (uint i = 0; i < $N; ++i)
      UNROLL
      for (uint c = 0; c < $V; ++c) sums[(i * $V + c) * 32 + lane] += o_row[i][c];
  }
  BARRIER();
  if (simd > 0) return;
  UNROLL
  for (uint i = 0; i < $N; ++i)
    UNROLL
    for (uint c = 0; c < $V; ++c) o_row[i][c] = sums[(i * $V + c) * 32 + lane];
)";

constexpr const char* kSink = R"(
  {
    const float sink = sinks[$I(batch) * $sink_batch + $I(head0 + row / $queries) * $sink_head];
    const float high = fmax(top, sink);
    total = total * precise::exp(top - high) + precise::exp(sink - high);
    const float less = precise::exp(top - high);
    UNROLL
    for (uint i = 0; i < $N; ++i) {
      const float by = lane_from(less, i * $K);
      UNROLL
      for (uint c = 0; c < $V; ++c) o_row[i][c] *= by;
    }
  }
)";

constexpr const char* kStore = R"(
  UNROLL
  for (uint i = 0; i < $N; ++i) {
    const float by = lane_from(total, i * $K);
    const uint r = row0 + i;
    if (r < $rows) {
      device $O* to = out + ($I(batch) * $I($heads * $queries) + $I(head0 * $queries + r)) * $I($width);
      UNROLL
      for (uint c = 0; c < $V; ++c) {
        const uint d = $v_place;
        if (d < $width) to[d] = $value;
      }
    }
  }
)";

// Tops, totals and sums of a part of the keys, for the launch that puts parts together.
constexpr const char* kStorePart = R"(
  UNROLL
  for (uint i = 0; i < $N; ++i) {
    const float high = lane_from(top, i * $K), all = lane_from(total, i * $K);
    const uint r = row0 + i;
    if (r < $rows) {
      const $I at = ($I(batch) * $I($heads * $queries) + $I(head0 * $queries + r)) * $I($parts) + $I(part);
      if (lane == 0) {
        tops_out[at * 2] = high;
        tops_out[at * 2 + 1] = all;
      }
      UNROLL
      for (uint c = 0; c < $V; ++c) {
        const uint d = $v_place;
        if (d < $width) sums_out[at * $I($width) + d] = o_row[i][c];
      }
    }
  }
)";

// One row a SIMD-group: row = (batch, head, query).
constexpr const char* kJoin = R"(
  const uint row = group_id.x * 8 + simd;
  if (row >= $all) return;
  const $I first = $I(row) * $I($parts);
  float top = -INFINITY, total = 0.0f;
  for (uint s = 0; s < $parts; ++s) top = fmax(top, tops_in[(first + s) * 2]);
  $sink
  for (uint s = 0; s < $parts; ++s) {
    const float high = tops_in[(first + s) * 2];
    total += tops_in[(first + s) * 2 + 1] * (high == top ? 1.0f : precise::exp(high - top));
  }
  for (uint d = lane; d < $width; d += 32) {
    float sum = 0.0f;
    for (uint s = 0; s < $parts; ++s) {
      const float high = tops_in[(first + s) * 2];
      const float by = high == top ? 1.0f : precise::exp(high - top);
      sum = fma(sums_in[(first + s) * $I($width) + d], by, sum);
    }
    out[$I(row) * $I($width) + d] = $value;
  }
)";

int64_t lanes_of(int64_t n) { return (n + 31) / 32; }

class AttentionWriter {
 public:
  AttentionWriter(const AttentionCall& c, const TextTraits& traits)
      : c_(c), traits_(traits), width_(c.v.shape[3]) {
    rows_ = c.heads() / c.groups() * c.queries();
    const int64_t most = std::max(c.q.shape[3], width_) <= 128 ? 8 : 4;
    while (tile_ < rows_ && tile_ < most) tile_ *= 2;
    const int64_t lines = c.batch() * c.groups(), tiles = (rows_ + tile_ - 1) / tile_;
    // Few rows leave SIMD-groups free to share the keys, and many keys whole threadgroups.
    apart_ = lines * ((tiles + kSimds - 1) / kSimds) < traits.cores && c.keys() > 32 / tile_;
    tiles_ = apart_ ? tiles : (tiles + kSimds - 1) / kSimds;
    const int64_t wanted = traits.cores * 2, groups = lines * tiles_;
    if (apart_ && groups < wanted && c.keys() >= 2 * kPartKeys)
      parts_ = std::clamp<int64_t>(wanted / groups, 1, c.keys() / kPartKeys);
    all_ = c.batch() * c.heads() * c.queries();
    wide_ = needs_long(traits, {&c.q, &c.k, &c.v, &c.out}, all_ * parts_ * width_);
    if (c.mask >= 0) wide_ |= needs_long(traits, {&c.mask_view});
    index_ = wide_ ? "long" : "int";
  }

  TextProgram write() {
    TextProgram program;
    program.launches.push_back(tiles());
    if (parts_ == 1) return program;
    program.temporaries = {all_ * parts_ * 8, all_ * parts_ * width_ * 4};
    program.launches.push_back(join());
    return program;
  }

 private:
  TextKernel tiles() {
    Unit unit(traits_, "attention");
    unit.declare(kSumOfLanes);
    const Loads q(*this, unit, c_.q, "q"), k(*this, unit, c_.k, "k"), v(*this, unit, c_.v, "v");
    unit.buffer("q", text_type(c_.q.dtype), 0, false, q.bytes());
    unit.buffer("k", text_type(c_.k.dtype), 1, false, k.bytes());
    unit.buffer("v", text_type(c_.v.dtype), 2, false, v.bytes());
    if (c_.mask >= 0)
      unit.buffer("mask", text_type(c_.mask_view.dtype), c_.mask, false,
                  itemsize(c_.mask_view.dtype));
    const bool sinks = c_.sinks >= 0 && parts_ == 1;
    if (sinks) unit.buffer("sinks", "float", c_.sinks, false, 4);
    std::string body = place(unit) + kSteps + (apart_ ? kMeet : "") + (sinks ? kSink : "") +
                       (parts_ > 1 ? kStorePart : kStore);
    if (parts_ > 1) {
      unit.buffer("tops_out", "float", -1, true, 4);
      unit.buffer("sums_out", "float", -2, true, 4);
    } else {
      unit.buffer("out", text_type(c_.out.dtype), c_.out_operand, true, itemsize(c_.out.dtype));
    }
    replace(body, "$q_load", q.one("from", "c"));
    replace(body, "$k_lines", k.all());
    replace(body, "$v_lines", v.all());
    replace(body, "$v_place", v.place("c"));
    for (const auto& [name, view] : {std::pair("q", &c_.q), {"k", &c_.k}, {"v", &c_.v}}) {
      const std::string n = name;
      auto stride = [&](const char* axis, size_t d) {
        return unit.field(n + "_" + axis, view->strides[d], wide_);
      };
      replace(body, "$" + n + "_batch", "$I(batch) * " + stride("batch", 0));
      replace(body, "$" + n + "_head", stride("head", 1));
      replace(body, "$" + n + "_base",
              "$I(batch) * " + stride("batch", 0) + " + $I(group) * " + stride("head", 1));
      replace(body, "$" + n + "_time", stride("time", 2));
    }
    replace(body, "$mask", mask(unit));
    const std::string ahead = unit.field("ahead", c_.keys() - c_.queries() + 1);
    replace(body, "$limit",
            c_.causal ? "uint(max(int(t) + " + ahead + ", 0))" : std::string("$keys"));
    replace(body, "$stride", text((apart_ ? kSimds : 1) * (32 / tile_)));
    sink_fields(body, unit);
    finish(body, unit);
    const int64_t groups = c_.batch() * c_.groups() * tiles_ * parts_;
    return unit.finish(body, {groups, 1, 1}, kThreads);
  }

  TextKernel join() {
    Unit unit(traits_, "attention_join");
    unit.buffer("tops_in", "float", -1, false, 4);
    unit.buffer("sums_in", "float", -2, false, 4);
    std::string body = kJoin, sink;
    if (c_.sinks >= 0) {
      unit.buffer("sinks", "float", c_.sinks, false, 4);
      sink =
          "const uint line = row / $queries;\n  const float sink = sinks[$I(line / $heads) * "
          "$sink_batch + $I(line % $heads) * $sink_head];\n  top = fmax(top, sink);\n"
          "  total = precise::exp(sink - top);";
    }
    unit.buffer("out", text_type(c_.out.dtype), c_.out_operand, true, itemsize(c_.out.dtype));
    replace(body, "$sink\n", sink + "\n");
    replace(body, "$value", spell_store({"(sum / total)", Dtype::float32}, c_.out.dtype));
    replace(body, "$all", unit.word("all", static_cast<uint32_t>(all_)));
    sink_fields(body, unit);
    finish(body, unit);
    return unit.finish(body, {(all_ + kSimds - 1) / kSimds, 1, 1}, kThreads);
  }

  void sink_fields(std::string& body, Unit& unit) const {
    if (c_.sinks < 0) return;
    replace(body, "$sink_batch", unit.field("sink_batch", c_.sinks_view.strides[0], wide_));
    replace(body, "$sink_head", unit.field("sink_head", c_.sinks_view.strides[1], wide_));
  }

  void finish(std::string& body, Unit& unit) const {
    replace(body, "$value", spell_store({"(o_row[i][c] / by)", Dtype::float32}, c_.out.dtype));
    const std::pair<const char*, int64_t> sizes[] = {{"rows", rows_},     {"queries", c_.queries()},
                                                     {"keys", c_.keys()}, {"heads", c_.heads()},
                                                     {"width", width_},   {"parts", parts_}};
    for (const auto& [name, n] : sizes)
      if (body.find(std::string("$") + name) != std::string::npos)
        replace(body, std::string("$") + name, unit.word(name, static_cast<uint32_t>(n)));
    const auto bits = std::bit_cast<uint32_t>(static_cast<float>(c_.scale));
    if (body.find("$scale") != std::string::npos)
      replace(body, "$scale", "bits_as_float(" + unit.word("scale_bits", bits) + ")");
    replace(body, "$N", text(tile_));
    replace(body, "$K", text(32 / tile_));
    replace(body, "$D", text(lanes_of(c_.q.shape[3])));
    replace(body, "$V", text(lanes_of(width_)));
    replace(body, "$I", index_);
    replace(body, "$T", text_type(c_.q.dtype));
    replace(body, "$O", text_type(c_.out.dtype));
  }

  // Which rows and keys the SIMD-group has.
  std::string place(Unit& unit) const {
    auto word = [&](const char* name, int64_t n) {
      return unit.word(name, static_cast<uint32_t>(n));
    };
    const std::string tiles = word("tiles", tiles_), groups = word("groups", c_.groups());
    std::string out = "  uint rest = group_id.x;\n";
    if (parts_ > 1) out += "  const uint part = rest % $parts;\n  rest /= $parts;\n";
    out += "  const uint tile = rest % " + tiles + ", line = rest / " + tiles +
           ";\n  const uint group = line % " + groups + ", batch = line / " + groups +
           ";\n  const uint head0 = group * " + word("each", c_.heads() / c_.groups()) + ";\n";
    if (apart_)
      out += "  const uint row0 = tile * $N;\n";
    else
      out += "  const uint row0 = (tile * 8 + simd) * $N;\n  if (row0 >= $rows) return;\n";
    std::string begin = "0", end = "$keys";
    if (parts_ > 1) {
      const std::string chunk = word("chunk", (c_.keys() + parts_ - 1) / parts_);
      begin = "part * " + chunk;
      end = "min(part * " + chunk + " + " + chunk + ", $keys)";
    }
    return out + "  const uint end = " + end + ", begin = " + begin +
           (apart_ ? " + simd * $K" : "") + ";\n";
  }

  std::string mask(Unit& unit) const {
    if (c_.mask < 0) return "";
    const TensorView& m = c_.mask_view;
    const char* axes[] = {"batch", "head", "time", "key"};
    const char* at[] = {"batch", "head0 + row / $queries", "t", "j"};
    std::vector<std::string> terms;
    for (size_t d = 0; d < 4; ++d)
      if (m.strides[d] != 0)
        terms.push_back(std::string("$I(") + at[d] + ") * " +
                        unit.field(std::string("mask_") + axes[d], m.strides[d], wide_));
    const std::string element = "mask[" + joined_sum(terms) + "]";
    if (m.dtype == Dtype::bool_) return "if (j < last && !" + element + ") score = -INFINITY;";
    return "if (j < last) score += " + spell_load(element, m.dtype) + ";";
  }

  // How a lane reads its part of a row of n numbers: packs of neighbours where they are aligned.
  class Loads {
   public:
    Loads(const AttentionWriter& w, Unit& unit, const TensorView& v, const char* name)
        : unit_(unit), v_(v), name_(name), size_(v.shape[3]), each_(lanes_of(size_)) {
      if (size_ % 32 == 0 && v.strides[3] == 1) {
        pack_ = w.traits_.vector_bytes / itemsize(v.dtype);
        while (pack_ > 1 && each_ % pack_) pack_ /= 2;
        for (size_t d = 0; d < 3; ++d)
          while (pack_ > 1 && v.shape[d] > 1 && v.strides[d] % pack_) pack_ /= 2;
      }
      pack_ = std::max<int64_t>(pack_, 1);
      if (v.strides[3] != 1)
        step_ = " * " + unit.field(std::string(name) + "_step", v.strides[3], w.wide_);
      index_ = w.index_;
    }
    int64_t bytes() const { return pack_ * itemsize(v_.dtype); }
    // Which number of the row `c` is.
    std::string place(const std::string& c) const {
      if (pack_ == 1) return "lane + 32 * " + c;
      const std::string n = text(pack_);
      return "(" + c + " / " + n + " * 32 + lane) * " + n + " + " + c + " % " + n;
    }
    std::string one(const std::string& from, const std::string& c) const {
      const std::string at = place(c),
                        element = spell_load(from + "[" + index_ + "(" + at + ")" + step_ + "]",
                                             v_.dtype);
      return size_ % 32 == 0 ? element : at + " < " + text(size_) + " ? " + element + " : 0.0f";
    }
    // x[0..each) from `from`.
    std::string all() const {
      if (pack_ == 1)
        return "UNROLL\n      for (uint c = 0; c < " + text(each_) +
               "; ++c) x[c] = " + one("from", "c") + ";";
      const std::string type =
          unit_.pack(text_type(v_.dtype), itemsize(v_.dtype), static_cast<int>(pack_));
      return "UNROLL\n      for (uint c = 0; c < " + text(each_) + "; c += " + text(pack_) +
             ") {\n        const " + type + " some = *(device const " + type +
             "*)(from + (c * 32 + lane * " + text(pack_) +
             "));\n        UNROLL\n        for (uint e = 0; e < " + text(pack_) +
             "; ++e) x[c + e] = " + spell_load("some.v[e]", v_.dtype) + ";\n      }";
    }

   private:
    Unit& unit_;
    const TensorView& v_;
    std::string name_, step_, index_;
    int64_t size_, each_, pack_ = 1;
  };

  const AttentionCall& c_;
  const TextTraits& traits_;
  int64_t width_, rows_, tile_ = 1, tiles_ = 1, parts_ = 1, all_ = 0;
  bool apart_ = false, wide_ = false;
  std::string index_;
};

}  // namespace

TextProgram attention(const TextCall& call, const TextTraits& traits) {
  const AttentionCall c(call.params, call.in, call.out);
  check_dtype("attention", c.out.dtype, traits);
  if (c.out.size() == 0) return {};
  return AttentionWriter(c, traits).write();
}

}  // namespace lamina::text
