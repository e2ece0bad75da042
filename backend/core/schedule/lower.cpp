// Fusion groups become kernels; nodes that need memory become slots.
#include <algorithm>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "base/thread_pool.h"
#include "schedule/traffic.h"

namespace lamina::schedule {

namespace {

int64_t slot_bytes(const IrNode& n) {
  return n.role == Role::data ? touched_bytes(n.shape, n.layout.strides, itemsize(n.dtype))
                              : n.bytes();
}

class Slots {
 public:
  explicit Slots(Plan& plan) : plan_(plan), of_(plan.ir.nodes.size(), -1) {
    for (size_t s = 0; s < plan.slots.size(); ++s)
      of_[static_cast<size_t>(plan.slots[s].node)] = static_cast<int>(s);
  }

  // The slot of a node with memory of its own.
  int of(int node) {
    int& slot = of_[static_cast<size_t>(node)];
    if (slot >= 0) return slot;
    const IrNode& n = plan_.ir.nodes[static_cast<size_t>(node)];
    Slot s;
    s.node = node;
    s.position = n.position;
    s.bytes = slot_bytes(n);
    s.storage = n.role == Role::data ? Storage::leaf : Storage::arena;
    if (n.in_place_of >= 0) {
      s.storage = Storage::shared;
      s.donor = of(n.in_place_of);
    }
    slot = static_cast<int>(plan_.slots.size());
    plan_.slots.push_back(s);
    return slot;
  }

 private:
  Plan& plan_;
  std::vector<int> of_;
};

// Writes one group's nodes down as a kernel.
class Emitter {
 public:
  Emitter(Plan& plan, Slots& slots, const Group& group)
      : ir_(plan.ir), slots_(slots), group_(group) {
    // About one argument and two instructions a node.
    known_.reserve(group.nodes.size() * 2);
    out_.kernel.args.reserve(group.nodes.size());
    out_.kernel.instrs.reserve(group.nodes.size() * 2);
  }

  KernelRun run() {
    Kernel& k = out_.kernel;
    k.kind = group_.kind == GroupKind::reduce ? KernelKind::reduce
             : group_.kind == GroupKind::row  ? KernelKind::row
                                              : KernelKind::map;
    k.domain = group_.domain;
    k.reduced = group_.kind == GroupKind::call ? 0 : group_.reduced;
    std::vector<int> stored = group_.stored;
    std::sort(stored.begin(), stored.end());
    for (int s : stored) {
      const Layout& map = group_.maps.at(s)[0];
      int value = emit(s, map);
      const IrNode& n = node(s);
      int target = n.into;
      Layout place = target >= 0 ? composed(n.layout, map) : map;
      int arg = add_arg({n.dtype, true, place.strides, place.offset},
                        slots_.of(target >= 0 ? target : s));
      push({.code = Code::store,
            .dtype = k.instrs[static_cast<size_t>(value)].dtype,
            .index = static_cast<uint16_t>(arg),
            .src = {value, -1, -1},
            .mask = mask_of(place.strides)});
    }
    if (group_.prologue) emit_call_input();
    return std::move(out_);
  }

 private:
  void emit_call_input() {
    const IrNode& call = node(group_.call);
    const Layout& map = group_.maps.at(group_.call)[0];
    const int value = emit_input(call, 0, map);
    const int arg =
        add_arg({node(call.inputs[0]).dtype, true, map.strides, map.offset}, kCallInput);
    push({.code = Code::store,
          .dtype = out_.kernel.instrs[static_cast<size_t>(value)].dtype,
          .index = static_cast<uint16_t>(arg),
          .src = {value, -1, -1},
          .mask = mask_of(map.strides)});
  }

  struct Known {
    int node;
    Layout map;
    int value;
  };

  const IrNode& node(int i) const { return ir_.nodes[static_cast<size_t>(i)]; }

  static Layout composed(const Layout& inner, const Layout& outer) {
    auto out = compose(inner, outer);
    if (!out) throw DoesNotCompose("lowering: an index map that fusion accepted does not compose");
    return std::move(*out);
  }

  uint32_t mask_of(const Strides& strides) const {
    uint32_t mask = 0;
    for (size_t d = 0; d < strides.size(); ++d)
      if (strides[d] != 0 && group_.domain[d] != 1) mask |= 1u << d;
    return mask;
  }

  int push(const Instr& i) {
    out_.kernel.instrs.push_back(i);
    return static_cast<int>(out_.kernel.instrs.size()) - 1;
  }

  int add_arg(const KernelArg& arg, int slot) {
    auto& args = out_.kernel.args;
    for (size_t i = 0; i < args.size() && !arg.output; ++i)
      if (!args[i].output && out_.slots[i] == slot && args[i].dtype == arg.dtype &&
          args[i].strides == arg.strides && args[i].offset == arg.offset)
        return static_cast<int>(i);
    args.push_back(arg);
    out_.slots.push_back(slot);
    return static_cast<int>(args.size()) - 1;
  }

  // The value of node i at every point of the domain under `map`.
  int emit(int i, Layout map) {
    for (size_t d = 0; d < map.shape.size(); ++d)
      if (map.shape[d] == 1) map.strides[d] = 0;
    for (const Known& k : known_)
      if (k.node == i && k.map == map) return k.value;
    int value = emit_new(i, map);
    known_.push_back({i, map, value});
    return value;
  }

  int emit_new(int i, const Layout& map) {
    const IrNode& n = node(i);
    Dtype d = compute_dtype(n.dtype);
    if (n.role == Role::scalar) return emit_scalar(n, d);
    if (n.is(Kind::iota)) {
      out_.kernel.iotas.push_back({map.strides, map.offset});
      return push({.code = Code::iota,
                   .dtype = d,
                   .index = static_cast<uint16_t>(out_.kernel.iotas.size() - 1),
                   .mask = mask_of(map.strides)});
    }
    bool inside = group_.maps.count(i) > 0;
    if (!inside || i == group_.call) {
      int arg = add_arg({n.dtype, false, map.strides, map.offset}, inside ? kPanel : slots_.of(i));
      return push({.code = Code::load,
                   .dtype = d,
                   .index = static_cast<uint16_t>(arg),
                   .mask = mask_of(map.strides)});
    }
    if (n.is(Kind::reduce)) return emit_reduce(n);
    return emit_elementwise(n, map, d);
  }

  int emit_scalar(const IrNode& n, Dtype d) {
    ScalarSource s;
    s.dtype = n.dtype;
    s.position = n.position;
    if (n.position < 0) {
      int64_t bits = n.params.words()[0];
      std::memcpy(s.constant.bytes, &bits, sizeof bits);
    }
    out_.scalars.push_back(s);
    out_.kernel.scalars.push_back(n.dtype);
    return push({.code = Code::scalar,
                 .dtype = d,
                 .index = static_cast<uint16_t>(out_.scalars.size() - 1)});
  }

  int emit_input(const IrNode& n, size_t k, const Layout& map) {
    const Access& a = *ir_.resolved[static_cast<size_t>(n.inputs[k])];
    const Shape& space = n.is(Kind::elementwise) ? n.shape : node(n.inputs[k]).shape;
    return emit(a.base, composed(broadcast_layout(a.layout, space), map));
  }

  int emit_reduce(const IrNode& n) {
    int src = emit_input(n, 0, Layout::row_major(group_.domain));
    const Instr& s = out_.kernel.instrs[static_cast<size_t>(src)];
    return push({.code = Code::reduce,
                 .dtype = compute_dtype(n.dtype),
                 .op = static_cast<uint16_t>(n.primitive->reduce_op),
                 .src = {src, -1, -1},
                 .mask = s.mask & ~group_.reduced});
  }

  int emit_elementwise(const IrNode& n, const Layout& map, Dtype d) {
    Instr out{.code = Code::op, .dtype = d};
    for (size_t k = 0; k < n.inputs.size(); ++k) {
      out.src[k] = emit_input(n, k, map);
      out.mask |= out_.kernel.instrs[static_cast<size_t>(out.src[k])].mask;
    }
    if (n.role != Role::compute) return out.src[0];
    if (n.is(Kind::cast)) {
      // To float16 or bfloat16 the value is rounded; from them it already is float32.
      Dtype from = out_.kernel.instrs[static_cast<size_t>(out.src[0])].dtype;
      if (from == n.dtype) return out.src[0];
      out.code = Code::cast;
      out.dtype = n.dtype;
      return push(out);
    }
    out.op = static_cast<uint16_t>(n.primitive->formula);
    return push(out);
  }

  const Ir& ir_;
  Slots& slots_;
  const Group& group_;
  KernelRun out_;
  std::vector<Known> known_;
};

}  // namespace

std::string group_name(const Plan& plan, size_t group) {
  const Group& g = plan.fusion.groups[group];
  static const char* kinds[] = {"map", "reduce", "row", "call"};
  std::string out = kinds[static_cast<int>(g.kind)];
  int shown = 0;
  for (int i : g.nodes) {
    const IrNode& n = plan.ir.nodes[static_cast<size_t>(i)];
    std::string name = n.role == Role::compute ? n.primitive->name
                       : n.role == Role::piece ? "write"
                                               : "copy";
    out += (shown ? "+" : " ") + name;
    if (++shown == 4 && g.nodes.size() > 5) {
      out += "+" + std::to_string(g.nodes.size() - 4) + " more";
      break;
    }
  }
  return out;
}

namespace {

Operand operand(Plan& plan, Slots& slots, int input) {
  Access a = *access(plan.ir, input);
  const IrNode& b = plan.ir.nodes[static_cast<size_t>(a.base)];
  Operand out;
  out.dtype = plan.ir.nodes[static_cast<size_t>(input)].dtype;
  out.layout = a.layout;
  if (b.role == Role::scalar) {
    out.scalar.position = b.position;
    out.scalar.dtype = b.dtype;
    if (b.position < 0) std::memcpy(out.scalar.constant.bytes, &b.params.words()[0], 8);
  } else {
    out.slot = slots.of(a.base);
  }
  return out;
}

Operand call_input(const Plan& plan, int input) {
  const IrNode& n = plan.ir.nodes[static_cast<size_t>(input)];
  return {kCallInput, {}, n.dtype, Layout::row_major(n.shape)};
}

void make_call(Plan& plan, Slots& slots, const Group& g, Step& step) {
  const IrNode& n = plan.ir.nodes[static_cast<size_t>(g.call)];
  CallRun* call = &step.call.emplace();
  call->primitive = n.primitive;
  call->params = n.params;
  for (int in : n.inputs)
    call->inputs.push_back(g.prologue ? call_input(plan, in) : operand(plan, slots, in));
  count_operands(plan, g, step);
  call->output.dtype = n.dtype;
  call->output.layout = Layout::row_major(n.shape);
  if (g.nodes.size() == 1) {
    call->output.slot = slots.of(g.call);
    step.writes += n.bytes();
  }
  // Results stand behind their call, though passes may have put other nodes between.
  for (size_t i = static_cast<size_t>(g.call), left = static_cast<size_t>(n.primitive->results);
       --left > 0;) {
    auto mine = [&](const IrNode& r) { return r.role == Role::result && r.inputs[0] == g.call; };
    while (!mine(plan.ir.nodes.at(++i))) continue;
    const IrNode& r = plan.ir.nodes[i];
    call->further.push_back(
        {slots.of(static_cast<int>(i)), {}, r.dtype, Layout::row_major(r.shape)});
    step.writes += r.bytes();
  }
}

void compile_call(CallRun& call, Device& device) {
  auto view = [](const Operand& o) {
    return TensorView{nullptr, o.dtype, o.layout.shape, o.layout.strides};
  };
  std::vector<TensorView> in;
  for (const Operand& o : call.inputs) in.push_back(view(o));
  std::vector<TensorView> out{view(call.output)};
  for (const Operand& o : call.further) out.push_back(view(o));
  std::optional<TextEpilogue> epilogue;
  if (call.epilogue) epilogue.emplace(text_epilogue(*call.epilogue));
  call.compiled = device.compile_call(call.primitive->text, {&call.params, in, out},
                                      epilogue ? &*epilogue : nullptr);
}

// Rows of the call's result per panel: about 512 KiB, so that it stays in the second-level cache. A
// call packs its other factor for each panel anew, so panels of a matrix have 64 rows or more, and
// two for each core where that leaves enough.
int64_t choose_panel(const IrNode& call) {
  const int64_t rows = std::max<int64_t>(1, call.shape[0]);
  const int64_t row_bytes = std::max<int64_t>(1, call.bytes() / rows);
  const int64_t least = call.shape.size() > 2 ? 1 : 64;
  const int64_t share = rows / (2 * std::max(1, thread_count()));
  const int64_t panel = std::min((512 << 10) / row_bytes, share);
  return std::min(rows, std::max(panel, least));
}

void make_epilogue(Plan& plan, Slots& slots, const Group& g, Device& device, Step& step) {
  CallRun& call = *step.call;
  KernelRun whole = Emitter(plan, slots, g).run();
  count_traffic(plan, whole, step);
  if (device.text_traits()) {
    call.epilogue = std::move(whole);
    return;
  }
  int64_t rows = g.domain[0];
  call.panel_rows = choose_panel(plan.ir.nodes[static_cast<size_t>(g.call)]);
  auto panel_of = [&](int64_t n) {
    KernelRun run = whole;
    run.kernel.domain[0] = n;
    run.compiled = device.compile(run.kernel);
    return run;
  };
  call.epilogue = panel_of(std::min(call.panel_rows, rows));
  if (rows % call.panel_rows) call.tail_epilogue = panel_of(rows % call.panel_rows);
}

void lower_group(Plan& plan, Slots& slots, const Group& group, Device& device, Step& step) {
  if (group.call < 0) {
    step.runs.push_back(Emitter(plan, slots, group).run());
    count_traffic(plan, step.runs.back(), step);
    return;
  }
  make_call(plan, slots, group, step);
  if (group.nodes.size() > 1) make_epilogue(plan, slots, group, device, step);
  if (!device.text_traits()) return;
  compile_call(*step.call, device);
  count_passes(plan, group, step);
}

// Whether what was compiled for a serves b.
bool same_kernel(const Kernel& a, const Kernel& b) {
  auto same_arg = [](const KernelArg& x, const KernelArg& y) {
    return x.dtype == y.dtype && x.output == y.output && x.offset == y.offset &&
           x.strides == y.strides;
  };
  auto same_iota = [](const IotaMap& x, const IotaMap& y) {
    return x.offset == y.offset && x.strides == y.strides;
  };
  auto same_instr = [](const Instr& x, const Instr& y) {
    return x.code == y.code && x.dtype == y.dtype && x.op == y.op && x.index == y.index &&
           std::equal(x.src, x.src + 3, y.src) && x.mask == y.mask;
  };
  return a.kind == b.kind && a.reduced == b.reduced && a.domain == b.domain &&
         a.scalars == b.scalars && std::ranges::equal(a.args, b.args, same_arg) &&
         std::ranges::equal(a.iotas, b.iotas, same_iota) &&
         std::ranges::equal(a.instrs, b.instrs, same_instr);
}

}  // namespace

TextEpilogue text_epilogue(const KernelRun& epilogue) {
  auto argument = [&](int slot) {
    auto at = std::find(epilogue.slots.begin(), epilogue.slots.end(), slot);
    return at == epilogue.slots.end() ? -1 : static_cast<int>(at - epilogue.slots.begin());
  };
  return {epilogue.kernel, argument(kPanel), argument(kCallInput)};
}

void lower(Plan& plan, Device& device) {
  Slots slots(plan);
  for (size_t g = 0; g < plan.fusion.groups.size(); ++g) {
    const Group& group = plan.fusion.groups[g];
    Step step;
    step.groups = {static_cast<int>(g)};
    step.name = group_name(plan, g);
    lower_group(plan, slots, group, device, step);
    plan.steps.push_back(std::move(step));
  }
  for (size_t p = 0; p < plan.ir.of_position.size(); ++p) {
    int i = plan.ir.of_position[p];
    if (i < 0 || !plan.ir.nodes[static_cast<size_t>(i)].output) continue;
    Access a = *access(plan.ir, i);
    if (plan.ir.nodes[static_cast<size_t>(a.base)].role == Role::scalar) continue;
    plan.bindings.push_back(
        {static_cast<int>(p), slots.of(a.base), a.layout.strides, a.layout.offset});
  }
  for (const IrNode& n : plan.ir.nodes) plan.source.unfused.push_back(unfused_bytes(plan, n));
  total_traffic(plan);
}

void lower_again(Plan& plan, const std::vector<uint8_t>& changes,
                 const std::vector<int>& changed_groups, Device& device) {
  auto changed = [&](int i) { return changes[static_cast<size_t>(i)] != kUnchanged; };
  Slots slots(plan);
  for (Slot& s : plan.slots)
    if (changed(s.node)) s.bytes = slot_bytes(plan.ir.nodes[static_cast<size_t>(s.node)]);
  for (int g : changed_groups) {
    Step& step = plan.steps[static_cast<size_t>(g)];
    Step before = std::exchange(step, {});
    step.groups = std::move(before.groups);
    step.name = std::move(before.name);
    lower_group(plan, slots, plan.fusion.groups[static_cast<size_t>(g)], device, step);
    for (size_t k = 0; k < step.runs.size(); ++k) {
      KernelRun &now = step.runs[k], &was = before.runs[k];
      now.compiled =
          same_kernel(now.kernel, was.kernel) ? was.compiled : device.compile(now.kernel);
    }
  }
  for (Binding& b : plan.bindings) {
    int i = plan.ir.of_position[static_cast<size_t>(b.position)];
    const Layout& layout = plan.ir.resolved[static_cast<size_t>(i)]->layout;
    b.strides = layout.strides;
    b.offset = layout.offset;
  }
  for (size_t i = 0; i < plan.ir.nodes.size(); ++i) {
    const IrNode& n = plan.ir.nodes[i];
    if (changes[i] || std::any_of(n.inputs.begin(), n.inputs.end(), changed))
      plan.source.unfused[i] = unfused_bytes(plan, n);
  }
  total_traffic(plan);
}

}  // namespace lamina::schedule
