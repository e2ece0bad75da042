#include "devices/cpu/compile.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <string>

#include "base/error.h"
#include "devices/cpu/registers.h"
#include "devices/cpu/tiled_domain.h"

namespace lamina::cpu {
namespace {

// Registers beyond this spill out of the first-level cache with what streams past them.
constexpr int64_t kScratch = 32 << 10;

// In the order they run.
enum Part : int { kOnce, kEnter, kBody, kLeave };

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
    survey();
    for (size_t i = 0; i < kernel_.instrs.size(); ++i) emit(static_cast<int>(i));
    for (int i : stores_) emit_store(i);
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

  // ---- what depends on what
  void survey() {
    int count = static_cast<int>(kernel_.instrs.size());
    values_.resize(count);
    part_.assign(count, kEnter);
    stored_by_.assign(count, -1);
    after_reduce_.assign(count, false);
    last_read_.assign(kernel_.args.size(), -1);
    std::vector<int> users(count, 0), stored(count, 0);
    for (int i = 0; i < count; ++i) {
      const Instr& in = kernel_.instrs[i];
      for (int32_t s : in.src) {
        if (s < 0) continue;
        if (after_reduce_[s]) after_reduce_[i] = true;
        s = root_[s];
        ++users[s];
        const Instr& from = kernel_.instrs[s];
        int when = in.code == Code::store ? count : i;  // stores come last
        if (from.code == Code::load)
          last_read_[from.index] = std::max(last_read_[from.index], when);
      }
      root_.push_back(same_value(in) ? root_[in.src[0]] : i);
      if (in.code == Code::reduce) after_reduce_[i] = true;
      part_[i] = part_of(i);
      if (in.code == Code::store) {
        stores_.push_back(i);
        ++stored[root_[in.src[0]]];
        if (stored_by_[in.src[0]] < 0) stored_by_[in.src[0]] = i;
      }
    }
    // A load that is stored as it is must be read before any other store: see emit_load.
    for (int i = 0; i < count; ++i) copied_.push_back(stored[i] > 0 && stores_.size() > 1);
    for (int i = 0; i < count; ++i) only_stored_.push_back(users[i] == 1 && stored[i] == 1);
  }

  // A cast to the dtype the value has already.
  bool same_value(const Instr& in) const {
    return in.code == Code::cast && compute_dtype(kernel_.instrs[in.src[0]].dtype) == in.dtype;
  }

  Part part_of(int i) const {
    const Instr& in = kernel_.instrs[i];
    uint32_t mask = domain_.mask[i];
    if (kernel_.kind == KernelKind::reduce) {
      if (after_reduce_[i]) return kLeave;
      if (mask & domain_.reduced) return kBody;
      if (in.code == Code::store) return kLeave;
    }
    if (after_reduce_[i] || in.code == Code::store || (looped_ & ~domain_.reduced) == 0)
      return kEnter;
    return (mask & looped_) == 0 && !repacked(lanes_of(mask)) ? kOnce : kEnter;
  }

  // Whether lanes lie elsewhere in a cut tile: its lines are shorter, so each starts sooner. Fewer
  // lines, or one shorter line, are the beginning of what a whole tile holds.
  bool repacked(Lanes lanes) const { return lanes == Lanes::full && tiling_.n.cut; }

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
    if (dtype == arg.dtype && !copied_[i]) {
      bool rows = has_rows(levels, lanes);
      if (dense(levels) || (rows && !only_stored_[i])) {
        values_[i] = {in.index, lanes, dtype, false, 0};
        if (!dense(levels)) {
          values_[i].pitched = true;
          values_[i].pitch = levels[0].stride * itemsize(dtype);
        }
        return;
      }
    }
    values_[i] = destination(i, lanes, dtype, false);
    steps_[part_[i]].push_back(load_step(in.index, values_[i], levels));
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
    steps_[part_[i]].push_back(step);
  }

  void emit_op(int i) {
    const Instr& in = kernel_.instrs[i];
    int arity = 0;
    while (arity < 3 && in.src[arity] >= 0) ++arity;
    Dtype key = values_[in.src[arity == 3 ? 1 : 0]].dtype;
    const OpLoop* variants = table_.op[in.op][static_cast<int>(key)];
    emit_lanes(i, variants, arity, compute_dtype(in.dtype));
  }

  void emit_cast(int i) {
    const Instr& in = kernel_.instrs[i];
    Dtype from = values_[in.src[0]].dtype;
    if (same_value(in)) {
      values_[i] = values_[in.src[0]];
      return;
    }
    OpLoop loop = table_.cast[static_cast<int>(from)][static_cast<int>(in.dtype)];
    OpLoop variants[8] = {loop, nullptr};
    emit_lanes(i, variants, 1, compute_dtype(in.dtype));
  }

  // An op over lanes: one call over the tile if every source is dense or a scalar, else row by row.
  void emit_lanes(int i, const OpLoop* variants, int arity, Dtype dtype) {
    const Instr& in = kernel_.instrs[i];
    Lanes lanes = lanes_of(domain_.mask[i]);
    Value src[3];
    bool mixed = false;
    for (int k = 0; k < arity; ++k) {
      src[k] = values_[in.src[k]];
      bool partial = src[k].lanes != lanes && src[k].lanes != Lanes::one;
      if (partial && program_->n < kRowCall) {
        src[k] = spread(in.src[k], lanes);
        partial = false;
      }
      mixed |= partial || src[k].pitched;
    }
    values_[i] = destination(i, lanes, dtype, true);
    mixed |= values_[i].pitched;
    int variant = 0;
    for (int k = 0; k < arity; ++k) {
      bool single = mixed ? !has(src[k].lanes, Lanes::row) : src[k].lanes == Lanes::one;
      if (single && lanes != Lanes::one && arity > 1) variant |= 1 << k;
    }
    // Not every mix of single sources has a loop: repeat them over the lanes until one fits.
    for (int k = 0; k < arity && !variants[variant]; ++k) {
      if (!(variant >> k & 1)) continue;
      src[k] = spread(in.src[k], lanes);
      variant &= ~(1 << k);
    }
    Step step{mixed ? Step::Kind::rows : Step::Kind::flat, lanes};
    step.arity = static_cast<uint8_t>(arity);
    step.dst = values_[i].slot;
    for (int k = 0; k < arity; ++k) step.src[k] = src[k].slot;
    step.run.op = need(variants[variant], "op");
    if (mixed) {
      step.side = static_cast<uint32_t>(program_->pitches.size());
      program_->pitches.push_back(pitch_of(values_[i]));
      for (int k = 0; k < 3; ++k)
        program_->pitches.push_back(k < arity ? pitch_of(src[k]) : Pitch{});
    }
    steps_[part_[i]].push_back(step);
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
    int store = stored_by_[i];
    if (store >= 0 && part_[store] == part_[i]) {
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
      if (kernel_.args[a].output || last_read_[a] <= i) continue;
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
    Value v = packed(in.src[0], part_[i]);
    if (v.lanes != lanes) v = spread(in.src[0], lanes);
    v = converted(v, compute_dtype(arg.dtype), part_[i]);
    Step step{Step::Kind::store, lanes};
    step.dst = in.index;
    step.src[0] = v.slot;
    step.item = static_cast<int32_t>(itemsize(arg.dtype));
    step.width = static_cast<int32_t>(itemsize(v.dtype));
    step.run.store = table_.store[static_cast<int>(arg.dtype)];
    set_walk(step, walk(domain_.arg_strides[in.index], lanes));
    late_[part_[i]].push_back(step);
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
    if (from.lanes == lanes) return packed(v, part_[v]);
    Lanes added = without(lanes, from.lanes);
    Part part = part_[v];
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
  uint32_t looped_ = 0;        // axes along which tiles move
  std::vector<Value> values_;  // per instruction
  std::vector<Part> part_;
  std::vector<int> stored_by_;  // first store of the value, -1
  std::vector<int> stores_;
  std::vector<int> written_;  // stores done by their value's own step
  std::vector<int> root_;     // the instruction whose value this one passes on
  std::vector<bool> after_reduce_;
  std::vector<bool> copied_;  // loads that must be taken to a register
  std::vector<bool> only_stored_;
  std::vector<int> last_read_;  // per argument: last instruction reading a load of it
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
  int64_t lanes = 2048;
  for (;;) {
    std::unique_ptr<Program> program = Builder(kernel, domain, lanes).build();
    if (program->scratch <= kScratch || lanes <= 256) return program;
    lanes /= 2;
  }
}

}  // namespace lamina::cpu
