#include "devices/cpu/compile.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <string>

#include "base/error.h"
#include "devices/cpu/registers.h"
#include "devices/cpu/survey.h"
#include "devices/cpu/tiled_domain.h"

namespace lamina::cpu {
namespace {

// Registers beyond this spill out of the first-level cache with what streams past them.
constexpr int64_t kScratch = 32 << 10;

// Where a value is read from. Dense unless pitched; then row i is at slot + i * pitch.
struct Value {
  uint16_t slot = 0;
  Lanes lanes = Lanes::one;
  Dtype dtype = Dtype::float32;
  bool pitched = false;
  int64_t pitch = 0;
};

class Builder : private TiledDomain {
 public:
  Builder(const Kernel& kernel, const Domain& domain, int64_t lanes)
      : TiledDomain(domain, choose_tiling(kernel, domain, lanes)),
        kernel_(kernel),
        table_(blocks()),
        program_(std::make_unique<Program>()) {}

  std::unique_ptr<Program> build() {
    set_tile();
    facts_ = survey(kernel_, domain_, *this, looped_);
    values_.resize(kernel_.instrs.size());
    dots_.assign(kernel_.instrs.size(), false);
    for (size_t i = 0; i < kernel_.instrs.size(); ++i) emit(static_cast<int>(i));
    for (int i : facts_.stores) emit_store(i);
    for (int part : {kEnter, kBody, kLeave})
      std::move(late_[part].begin(), late_[part].end(), std::back_inserter(steps_[part]));
    Program& p = *program_;
    p.reduces = kernel_.kind == KernelKind::reduce;
    p.constants = static_cast<int>(p.constant_words.size() / 2);
    p.enter_cost = cost(kEnter) + cost(kLeave);
    p.body_cost = cost(kBody);
    assign_registers(p, steps_, widths_);
    return std::move(program_);
  }

 private:
  // ---- shape of the tile and its loops
  void set_tile() {
    Program& p = *program_;
    p.m = m_;
    p.n = n_;
    p.m_inner = tiling_.m.inner;
    p.n_inner = tiling_.n.inner;
    p.args = static_cast<int>(kernel_.args.size());
    p.iotas = static_cast<int>(domain_.iota_strides.size());
    p.scalars = static_cast<int>(kernel_.scalars.size());
    for (const auto& a : kernel_.args) p.start.push_back(a.offset * itemsize(a.dtype));
    for (int i = 0; i < p.iotas; ++i)
      p.start.push_back(i < static_cast<int>(kernel_.iotas.size()) ? kernel_.iotas[i].offset : 0);
    for (int axis = 0; axis < static_cast<int>(domain_.dims.size()); ++axis) add_loop(axis);
  }

  void add_loop(int axis) {
    int64_t size = domain_.dims[axis], step = 1;
    Loop loop{size, 1, Lanes::one};
    for (auto [side, cuts] :
         {std::pair(&tiling_.m, Lanes::column), std::pair(&tiling_.n, Lanes::row)}) {
      if (!side->contains(axis)) continue;
      if (side->axes[0] != axis || !side->cut) return;
      step = side->piece;
      loop.count = (size + step - 1) / step;
      loop.last = size - (loop.count - 1) * step;
      loop.cuts = cuts;
    }
    bool reduced = domain_.is_reduced(axis);
    Nest& nest = reduced ? program_->over : program_->kept;
    looped_ |= 1u << axis;
    nest.loops.push_back(loop);
    nest.tiles *= loop.count;
    nest.cuts |= loop.cuts != Lanes::one;
    for (size_t a = 0; a < kernel_.args.size(); ++a)
      nest.move.push_back(domain_.arg_strides[a][axis] * step * itemsize(kernel_.args[a].dtype));
    for (const auto& s : domain_.iota_strides) nest.move.push_back(s[axis] * step);
  }

  // ---- slots
  uint16_t new_register(Lanes lanes, int64_t width) {
    widths_.push_back({(count(lanes) * width + 63) & ~int64_t{63}, width, lanes});
    return static_cast<uint16_t>(kFirstRegister + widths_.size() - 1);
  }
  uint16_t new_constant(const void* bytes, int64_t size) {
    uint64_t words[2] = {};
    std::memcpy(words, bytes, static_cast<size_t>(size));
    auto& all = program_->constant_words;
    for (size_t i = 0; i < all.size(); i += 2)
      if (all[i] == words[0] && all[i + 1] == words[1])
        return static_cast<uint16_t>(kFirstConstant + i / 2);
    all.insert(all.end(), words, words + 2);
    return static_cast<uint16_t>(kFirstConstant + all.size() / 2 - 1);
  }
  uint16_t iota_slot(int index) const { return static_cast<uint16_t>(program_->args + index); }
  uint16_t scalar_slot(int index) const {
    return static_cast<uint16_t>(program_->args + program_->iotas + index);
  }
  Value register_value(Lanes lanes, Dtype dtype) {
    return {new_register(lanes, itemsize(dtype)), lanes, dtype, false, 0};
  }

  // ---- walks over memory
  void set_walk(Step& step, const std::vector<Level>& levels) {
    step.rank = static_cast<uint8_t>(levels.size());
    step.side = static_cast<uint32_t>(program_->levels.size());
    program_->levels.insert(program_->levels.end(), levels.begin(), levels.end());
  }

  // ---- instructions
  void emit(int i) {
    switch (kernel_.instrs[i].code) {
      case Code::load:
        emit_load(i);
        break;
      case Code::scalar:
        emit_scalar(i);
        break;
      case Code::iota:
        emit_iota(i);
        break;
      case Code::op:
        emit_op(i);
        break;
      case Code::cast:
        emit_cast(i);
        break;
      case Code::reduce:
        emit_reduce(i);
        break;
      case Code::store:
        break;  // after everything else: outputs may share memory with inputs
    }
  }

  void emit_load(int i) {
    const Instr& in = kernel_.instrs[i];
    const KernelArg& arg = kernel_.args[in.index];
    Dtype dtype = compute_dtype(arg.dtype);
    Lanes lanes = lanes_of(domain_.mask[i]);
    std::vector<Level> levels = walk(domain_.arg_strides[in.index], lanes);
    if (dtype == arg.dtype && !facts_.copied[i]) {
      bool rows = has_rows(levels, lanes);
      if (dense(levels) || (rows && !facts_.only_stored[i])) {
        values_[i] = {in.index, lanes, dtype, false, 0};
        if (!dense(levels)) {
          values_[i].pitched = true;
          values_[i].pitch = levels[0].stride * itemsize(dtype);
        }
        return;
      }
    }
    values_[i] = destination(i, lanes, dtype, false);
    steps_[facts_.part[i]].push_back(load_step(in.index, values_[i], levels));
  }

  Step load_step(int arg, const Value& to, const std::vector<Level>& levels) {
    Dtype from = kernel_.args[arg].dtype;
    Step step{Step::Kind::load, to.lanes};
    step.dst = to.slot;
    step.src[0] = static_cast<uint16_t>(arg);
    step.item = static_cast<int32_t>(itemsize(from));
    step.width = static_cast<int32_t>(itemsize(to.dtype));
    step.run.load = table_.load[static_cast<int>(from)];
    step.load_2d = table_.load_2d[static_cast<int>(from)];
    set_walk(step, levels);
    return step;
  }

  void emit_scalar(int i) {
    const Instr& in = kernel_.instrs[i];
    Dtype from = kernel_.scalars[in.index], to = compute_dtype(from);
    values_[i] = {scalar_slot(in.index), Lanes::one, to, false, 0};
    if (to != from) {
      Step step{Step::Kind::load, Lanes::one};
      step.src[0] = values_[i].slot;
      values_[i].slot = step.dst = new_register(Lanes::one, itemsize(to));
      step.item = static_cast<int32_t>(itemsize(from));
      step.width = static_cast<int32_t>(itemsize(to));
      step.run.load = table_.load[static_cast<int>(from)];
      step.load_2d = table_.load_2d[static_cast<int>(from)];
      steps_[kOnce].push_back(step);
    }
    values_[i] = converted(values_[i], compute_dtype(in.dtype), kOnce);
  }

  void emit_iota(int i) {
    const Instr& in = kernel_.instrs[i];
    Lanes lanes = lanes_of(domain_.mask[i]);
    Dtype dtype = compute_dtype(in.dtype);
    values_[i] = destination(i, lanes, dtype, false);
    Step step{Step::Kind::iota, lanes};
    step.dst = values_[i].slot;
    step.src[0] = iota_slot(in.index);
    step.width = static_cast<int32_t>(itemsize(dtype));
    step.run.op = need(table_.iota[static_cast<int>(dtype)], "iota");
    set_walk(step, walk(domain_.iota_strides[in.index], lanes));
    steps_[facts_.part[i]].push_back(step);
  }

  void emit_op(int i) {
    const Instr& in = kernel_.instrs[i];
    int user = facts_.joined_by[i];
    if (user >= 0 && kernel_.instrs[user].code == Code::reduce) {
      dots_[i] = whole_product(i);
      if (dots_[i]) return;
    } else if (user >= 0) {
      return;
    }
    std::vector<int> from;
    if (ChainLoop chain = chain_to(i, from)) {
      emit_lanes(i, from, nullptr, chain, Dtype::float32);
      return;
    }
    for (int32_t s : in.src)
      if (s >= 0) from.push_back(s);
    Dtype key = values_[from[from.size() == 3 ? 1 : 0]].dtype;
    const OpLoop* variants = table_.op[in.op][static_cast<int>(key)];
    emit_lanes(i, from, variants, nullptr, compute_dtype(in.dtype));
  }

  // Of the chain that ends with instruction i: its sources, and its loop; null if it is i alone.
  ChainLoop chain_to(int i, std::vector<int>& from) const {
    std::vector<ChainOp> ops;
    while (i >= 0) {
      const Instr& in = kernel_.instrs[i];
      int before = facts_.joins[i], side = before >= 0 && in.src[1] == before ? 1 : 0;
      ChainOp op = chain_op(in);
      if (side == 1 && op == ChainOp::subtract) op = ChainOp::subtract_from;
      ops.insert(ops.begin(), op);
      from.insert(from.begin(), in.src[1 - side]);
      if (before < 0) from.insert(from.begin(), in.src[0]);
      i = before;
    }
    if (ops.size() < 2) {
      from.clear();
      return nullptr;
    }
    ops.resize(3, ChainOp::none);
    return table_
        .chain[static_cast<int>(ops[0])][static_cast<int>(ops[1])][static_cast<int>(ops[2])];
  }

  // Whether both factors of a product lie as the product would.
  bool whole_product(int i) const {
    for (int k = 0; k < 2; ++k) {
      const Value& v = values_[kernel_.instrs[i].src[k]];
      if (v.pitched || v.lanes != lanes_of(domain_.mask[i])) return false;
    }
    return true;
  }

  void emit_cast(int i) {
    const Instr& in = kernel_.instrs[i];
    Dtype from = values_[in.src[0]].dtype;
    if (same_value(kernel_, in)) {
      values_[i] = values_[in.src[0]];
      return;
    }
    OpLoop loop = table_.cast[static_cast<int>(from)][static_cast<int>(in.dtype)];
    OpLoop variants[8] = {loop, nullptr};
    emit_lanes(i, {in.src[0]}, variants, nullptr, compute_dtype(in.dtype));
  }

  // An op over lanes: one call over the tile if every source is dense or a scalar, else row by row.
  void emit_lanes(int i, const std::vector<int>& from, const OpLoop* variants, ChainLoop chain,
                  Dtype dtype) {
    Lanes lanes = lanes_of(domain_.mask[i]);
    const int arity = static_cast<int>(from.size());
    Value src[kSources];
    bool mixed = false;
    for (int k = 0; k < arity; ++k) {
      src[k] = values_[from[k]];
      bool partial = src[k].lanes != lanes && src[k].lanes != Lanes::one;
      if (partial && program_->n < kRowCall) {
        src[k] = spread(from[k], lanes);
        partial = false;
      }
      mixed |= partial || src[k].pitched;
    }
    values_[i] = destination(i, lanes, dtype, true);
    mixed |= values_[i].pitched;
    uint8_t singles = 0;
    for (int k = 0; k < arity; ++k) {
      bool single = mixed ? !has(src[k].lanes, Lanes::row) : src[k].lanes == Lanes::one;
      if (single && lanes != Lanes::one && arity > 1) singles |= static_cast<uint8_t>(1 << k);
    }
    // Not every mix of single sources has a loop: repeat them over the lanes until one fits.
    for (int k = 0; !chain && k < arity && !variants[singles]; ++k) {
      if (!(singles >> k & 1)) continue;
      src[k] = spread(from[k], lanes);
      singles &= static_cast<uint8_t>(~(1 << k));
    }
    Step step{mixed ? Step::Kind::rows : Step::Kind::flat, lanes};
    step.arity = static_cast<uint8_t>(arity);
    step.dst = values_[i].slot;
    for (int k = 0; k < arity; ++k) step.src[k] = src[k].slot;
    step.singles = singles;
    step.chained = chain != nullptr;
    if (chain)
      step.run.chain = chain;
    else
      step.run.op = need(variants[singles], "op");
    if (mixed) {
      step.side = static_cast<uint32_t>(program_->pitches.size());
      program_->pitches.push_back(pitch_of(values_[i]));
      for (int k = 0; k < kSources; ++k)
        program_->pitches.push_back(k < arity ? pitch_of(src[k]) : Pitch{});
    }
    steps_[facts_.part[i]].push_back(step);
  }

  static Pitch pitch_of(const Value& v) {
    int64_t width = itemsize(v.dtype);
    if (v.pitched) return {v.pitch, 0};
    if (v.lanes == Lanes::full) return {0, width};
    return {v.lanes == Lanes::column ? width : 0, 0};
  }
  template <class F>
  static F need(F loop, const char* what) {
    if (!loop) throw InternalError(std::string("no block loop for this ") + what + " and dtype");
    return loop;
  }

  Value converted(Value from, Dtype to, Part part) {
    if (from.dtype == to) return from;
    Value out = register_value(from.lanes, to);
    Step step{Step::Kind::flat, from.lanes};
    step.arity = 1;
    step.dst = out.slot;
    step.src[0] = from.slot;
    step.run.op = need(table_.cast[static_cast<int>(from.dtype)][static_cast<int>(to)], "cast");
    steps_[part].push_back(step);
    return out;
  }

  // Where value i is written: its output's memory if nothing stands against it, else a register.
  Value destination(int i, Lanes lanes, Dtype dtype, bool rows_allowed) {
    int store = facts_.stored_by[i];
    if (store >= 0 && facts_.part[store] == facts_.part[i]) {
      int out = kernel_.instrs[store].index;
      std::vector<Level> levels = walk(domain_.arg_strides[out], lanes);
      bool fits = dense(levels) || (rows_allowed && has_rows(levels, lanes));
      if (fits && kernel_.args[out].dtype == dtype && lanes == stored_lanes(store) &&
          !overwrites_unread(out, i)) {
        written_.push_back(store);
        Value v{static_cast<uint16_t>(out), lanes, dtype, false, 0};
        if (!dense(levels)) v.pitched = true, v.pitch = levels[0].stride * itemsize(dtype);
        return v;
      }
    }
    return register_value(lanes, dtype);
  }

  // True if an input that may share the output's memory (same layout) is read after instruction i.
  bool overwrites_unread(int out, int i) const {
    for (size_t a = 0; a < kernel_.args.size(); ++a) {
      if (kernel_.args[a].output || facts_.last_read[a] <= i) continue;
      if (kernel_.args[a].offset == kernel_.args[out].offset &&
          domain_.arg_strides[a] == domain_.arg_strides[out])
        return true;
    }
    return false;
  }

  // Lanes a store writes: all kept ones, and reduced ones if the output varies along them.
  Lanes stored_lanes(int store) const {
    Lanes lanes = all_lanes();
    if ((domain_.mask[store] & domain_.reduced) == 0) lanes = without(lanes, reduced_lanes());
    return lanes;
  }

  void emit_store(int i) {
    const Instr& in = kernel_.instrs[i];
    if (std::find(written_.begin(), written_.end(), i) != written_.end()) return;
    const KernelArg& arg = kernel_.args[in.index];
    Lanes lanes = stored_lanes(i);
    Value v = packed(in.src[0], facts_.part[i]);
    if (v.lanes != lanes) v = spread(in.src[0], lanes);
    v = converted(v, compute_dtype(arg.dtype), facts_.part[i]);
    Step step{Step::Kind::store, lanes};
    step.dst = in.index;
    step.src[0] = v.slot;
    step.item = static_cast<int32_t>(itemsize(arg.dtype));
    step.width = static_cast<int32_t>(itemsize(v.dtype));
    step.run.store = table_.store[static_cast<int>(arg.dtype)];
    set_walk(step, walk(domain_.arg_strides[in.index], lanes));
    late_[facts_.part[i]].push_back(step);
  }

  // Value v without gaps between its rows.
  Value packed(int v, Part part) {
    if (!values_[v].pitched) return values_[v];
    // Only memory is pitched, and the slot of memory is its argument.
    int arg = values_[v].slot;
    Value out = register_value(values_[v].lanes, values_[v].dtype);
    steps_[part].push_back(load_step(arg, out, walk(domain_.arg_strides[arg], out.lanes)));
    return out;
  }

  // Value v repeated to `lanes`.
  Value spread(int v, Lanes lanes) {
    auto found = spread_.find({v, lanes});
    if (found != spread_.end()) return found->second;
    Value from = values_[v];
    if (from.lanes == lanes) return packed(v, facts_.part[v]);
    Lanes added = without(lanes, from.lanes);
    Part part = facts_.part[v];
    if (kernel_.kind == KernelKind::reduce && (added & reduced_lanes()) != Lanes::one) part = kBody;
    if (part == kOnce && repacked(lanes)) part = kEnter;
    Value out = register_value(lanes, from.dtype);
    Step step{Step::Kind::flat, lanes};
    step.arity = 1;
    step.dst = out.slot;
    step.src[0] = from.slot;
    step.width = static_cast<int32_t>(itemsize(from.dtype));
    if (from.lanes == Lanes::one) {
      step.run.op = table_.fill[static_cast<int>(from.dtype)];
    } else {
      step.kind = from.lanes == Lanes::column ? Step::Kind::column_out : Step::Kind::row_out;
    }
    steps_[part].push_back(step);
    spread_[{v, lanes}] = out;
    return out;
  }

  // ---- reductions
  void emit_reduce(int i) {
    const Instr& in = kernel_.instrs[i];
    ReduceOp op = static_cast<ReduceOp>(in.op);
    bool arg = op == ReduceOp::argmin || op == ReduceOp::argmax;
    Part part = kernel_.kind == KernelKind::reduce ? kBody : kEnter;
    Lanes red = reduced_lanes();
    if (dots_[in.src[0]]) {
      emit_dot(i, part, red);
      return;
    }
    Value src = values_[in.src[0]];
    if (!has(src.lanes, red)) src = spread(in.src[0], src.lanes | red);
    if (arg && src.pitched) src = packed(in.src[0], part);
    Dtype dtype = arg ? src.dtype : compute_dtype(in.dtype);
    if (src.dtype != dtype) {
      if (src.pitched) src = packed(in.src[0], part);
      src = converted(src, dtype, part);
    }
    Lanes lanes = without(src.lanes, red);
    Value acc = register_value(lanes, dtype);
    unsigned char identity[16] = {};
    reduce_identity(op, dtype, identity);
    fill(acc, new_constant(identity, itemsize(dtype)));
    Accumulator entry{op, dtype, lanes, acc.slot, 0, itemsize(dtype)};
    values_[i] = acc;
    Step step{Step::Kind::reduce_cols, src.lanes};
    step.dst = acc.slot;
    step.src[0] = src.slot;
    step.width = static_cast<int32_t>(itemsize(dtype));
    bool along_n = has(red, Lanes::row) || (src.lanes == Lanes::column && red == Lanes::column);
    if (arg) {
      Value index = register_value(lanes, Dtype::uint32);
      uint32_t zero = 0;
      fill(index, new_constant(&zero, 4));
      entry.index_slot = index.slot;
      values_[i] = index;
      int which = op == ReduceOp::argmin ? 0 : 1;
      step.kind = along_n ? Step::Kind::arg_rows : Step::Kind::arg_cols;
      step.src[1] = index.slot;
      step.src[2] = iota_slot(program_->iotas - 1);
      step.run.arg =
          need((along_n ? table_.arg_rows : table_.arg_cols)[which][static_cast<int>(dtype)],
               "arg reduction");
    } else {
      step.run.reduce = along_n ? table_.reduce_rows[in.op][static_cast<int>(dtype)]
                                : table_.reduce_cols[in.op][static_cast<int>(dtype)];
      need(step.run.reduce, "reduction");
      step.kind = along_n ? Step::Kind::reduce_rows : Step::Kind::reduce_cols;
      if (src.pitched) {
        step.kind = along_n ? Step::Kind::reduce_rows_pitched : Step::Kind::reduce_cols_pitched;
        step.side = static_cast<uint32_t>(program_->pitches.size());
        program_->pitches.push_back({src.pitch, 0});
        // Where the next row's accumulator is: along m if that is kept.
        program_->pitches.push_back(accumulator_pitch(red, itemsize(dtype), along_n));
      }
    }
    step.along = red;
    steps_[part].push_back(step);
    program_->accumulators.push_back(entry);
  }

  // A sum of products along the lanes.
  void emit_dot(int i, Part part, Lanes red) {
    const Instr& product = kernel_.instrs[kernel_.instrs[i].src[0]];
    const Value &x = values_[product.src[0]], &y = values_[product.src[1]];
    Value acc = register_value(without(x.lanes, red), Dtype::float32);
    fill(acc, new_constant("\0\0\0", 4));
    values_[i] = acc;
    Step step{Step::Kind::reduce_rows, x.lanes};
    step.arity = 2;
    step.dst = acc.slot;
    step.src[0] = x.slot;
    step.src[1] = y.slot;
    step.along = red;
    step.run.dot = table_.dot_rows;
    steps_[part].push_back(step);
    program_->accumulators.push_back({ReduceOp::sum, Dtype::float32, acc.lanes, acc.slot, 0, 4});
  }

  static Pitch accumulator_pitch(Lanes red, int64_t width, bool along_n) {
    if (has(red, Lanes::column)) return {0, 0};
    return along_n ? Pitch{width, 0} : Pitch{0, width};
  }

  void fill(const Value& to, uint16_t constant) {
    Step step{Step::Kind::flat, to.lanes};
    step.arity = 1;
    step.dst = to.slot;
    step.src[0] = constant;
    step.run.op = table_.fill[static_cast<int>(to.dtype)];
    steps_[kEnter].push_back(step);
  }

  int64_t cost(int part) const {
    int64_t sum = 8;
    for (const Step& s : steps_[part]) sum += count(s.lanes) + 8;
    return sum;
  }

  const Kernel& kernel_;
  const BlockTable& table_;
  std::unique_ptr<Program> program_;
  uint32_t looped_ = 0;  // axes along which tiles move
  Survey facts_;
  std::vector<Value> values_;  // per instruction
  std::vector<int> written_;   // stores done by their value's own step
  std::vector<bool> dots_;     // products that the sum of them multiplies itself
  std::map<std::pair<int, Lanes>, Value> spread_;
  std::vector<RegisterSize> widths_;
  std::vector<Step> steps_[4], late_[4];
};

}  // namespace

std::unique_ptr<Program> compile(const Kernel& kernel) {
  Domain domain = simplify(kernel);
  for (size_t axis = 0; axis < domain.dims.size(); ++axis) {
    if (domain.dims[axis] != 0 || domain.is_reduced(static_cast<int>(axis))) continue;
    auto nothing = std::make_unique<Program>();
    nothing->kept.tiles = 0;
    return nothing;
  }
  int64_t lanes = lanes_of_tile(kernel, domain);
  for (;;) {
    std::unique_ptr<Program> program = Builder(kernel, domain, lanes).build();
    if (program->scratch <= kScratch || lanes <= 256) return program;
    lanes /= 2;
  }
}

}  // namespace lamina::cpu
