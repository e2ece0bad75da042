#include "schedule/traffic.h"

#include <algorithm>

namespace lamina::schedule {

int64_t touched_bytes(const Shape& domain, const Strides& strides, int64_t item) {
  int64_t n = 1, reach = 1;
  for (size_t d = 0; d < domain.size(); ++d) {
    if (domain[d] == 0) return 0;
    if (strides[d] == 0) continue;
    n *= domain[d];
    reach += (domain[d] - 1) * std::abs(strides[d]);
  }
  return std::min(n, reach) * item;
}

namespace {

GroupCost kernel_cost(const Plan& plan, const KernelRun& run) {
  GroupCost step;
  const Kernel& k = run.kernel;
  struct Read {
    int slot;
    int64_t bytes;
  };
  SmallVector<Read, 16> read;
  for (size_t i = 0; i < k.args.size(); ++i) {
    if (run.slots[i] < 0) continue;
    int64_t bytes = touched_bytes(k.domain, k.args[i].strides, itemsize(k.args[i].dtype));
    if (k.args[i].output)
      step.writes += bytes;
    else {
      auto at = std::find_if(read.begin(), read.end(),
                             [&](const Read& r) { return r.slot == run.slots[i]; });
      if (at == read.end()) {
        read.push_back({run.slots[i], 0});
        at = &read.back();
      }
      int64_t& r = at->bytes;
      r = std::min(r + bytes,
                   std::max({plan.slots[static_cast<size_t>(run.slots[i])].bytes, bytes, r}));
    }
  }
  for (const Read& r : read) step.reads += r.bytes;
  int64_t points = element_count(k.domain);
  for (const Instr& in : k.instrs) {
    int64_t n = 1;
    for (size_t d = 0; d < k.domain.size(); ++d)
      if (in.mask >> d & 1) n *= k.domain[d];
    if (in.code == Code::op) step.flops += n * formulas()[in.op].info.flops;
    if (in.code == Code::reduce) step.flops += points;
  }
  return step;
}

// Bytes of memory that a node reads alone for its input k.
int64_t read_bytes(const Plan& plan, const IrNode& n, size_t k) {
  const Access& a = *plan.ir.resolved[static_cast<size_t>(n.inputs[k])];
  const int64_t item = itemsize(plan.ir.nodes[static_cast<size_t>(a.base)].dtype);
  const int64_t all = touched_bytes(a.layout.shape, a.layout.strides, item);
  if (!n.is(Kind::call) || !n.primitive->reads) return all;
  Node node;
  stand_in(plan.ir, n, node);
  return std::min(all, n.primitive->reads(node, k) * item);
}

// Bytes of memory that a node would read alone: each part of an input once, each operand of a call.
// each(base, bytes) is called for every one.
template <class F>
void each_read(const Plan& plan, const IrNode& n, F each) {
  if (n.role != Role::compute && n.role != Role::copy && n.role != Role::piece) return;
  if (n.is(Kind::iota)) return;
  SmallVector<const Access*, 8> seen;
  for (size_t k = 0; k < n.inputs.size(); ++k) {
    const Access& a = *plan.ir.resolved[static_cast<size_t>(n.inputs[k])];
    const IrNode& b = plan.ir.nodes[static_cast<size_t>(a.base)];
    auto same = [&](const Access* s) { return s->base == a.base && s->layout == a.layout; };
    if (b.role == Role::scalar || b.is(Kind::iota)) continue;
    if (!n.is(Kind::call) && std::any_of(seen.begin(), seen.end(), same)) continue;
    seen.push_back(&a);
    each(a.base, read_bytes(plan, n, k));
  }
}

}  // namespace

void count_traffic(const Plan& plan, KernelRun& run, Step& step) {
  run.cost = kernel_cost(plan, run);
  step.reads += run.cost.reads;
  step.writes += run.cost.writes;
  step.flops += run.cost.flops;
}

void count_operands(const Plan& plan, const Group& group, Step& step) {
  const IrNode& n = plan.ir.nodes[static_cast<size_t>(group.call)];
  if (!group.prologue) each_read(plan, n, [&](int, int64_t bytes) { step.reads += bytes; });
  Node node;
  stand_in(plan.ir, n, node);
  step.flops += n.primitive->flops(node);
}

void count_passes(const Plan& plan, const Group& group, Step& step) {
  CallRun& call = *step.call;
  if (call.compiled->launches() < 2) return;
  const IrNode& n = plan.ir.nodes[static_cast<size_t>(group.call)];
  // Launches of a program's own primitive may each touch a part of what they are given.
  if (find_primitive(n.primitive->name) != n.primitive) return;
  std::vector<int64_t> operands;
  for (size_t k = 0; k < n.inputs.size(); ++k)
    operands.push_back(call.inputs[k].slot == kCallInput ? 0 : read_bytes(plan, n, k));
  if (call.epilogue) {
    const Kernel& kernel = call.epilogue->kernel;
    for (size_t a = 0; a < kernel.args.size(); ++a)
      if (call.epilogue->slots[a] >= 0)
        operands.push_back(
            touched_bytes(kernel.domain, kernel.args[a].strides, itemsize(kernel.args[a].dtype)));
  } else {
    operands.push_back(n.bytes());
    for (const Operand& o : call.further)
      operands.push_back(element_count(o.layout.shape) * itemsize(o.dtype));
  }
  const CompiledKernel::Passes passes = call.compiled->passes(operands);
  const int64_t once = step.reads + step.writes;
  step.reads = std::max(step.reads, passes.reads);
  step.writes = std::max(step.writes, passes.writes);
  call.further_passes = step.reads + step.writes - once;
}

int64_t unfused_bytes(const Plan& plan, const IrNode& n) {
  if (n.role == Role::result) return n.bytes();
  if (n.role != Role::compute && n.role != Role::copy && n.role != Role::piece) return 0;
  if (n.is(Kind::iota)) return 0;
  int64_t bytes = n.bytes();
  each_read(plan, n, [&](int, int64_t read) { bytes += read; });
  return bytes;
}

void total_traffic(Plan& plan) {
  plan.traffic = {};
  for (int64_t bytes : plan.source.unfused) plan.traffic.unfused += bytes;
  for (const Step& s : plan.steps) {
    plan.traffic.fused += s.reads + s.writes;
    if (s.call) plan.traffic.unfused += s.call->further_passes;
  }
}

GroupCost group_cost(const Step& step, size_t k) {
  if (step.call) return {step.reads, step.writes, step.flops};
  return step.runs[k].cost;
}

int64_t edge_bytes(const Plan& plan, const Edge& edge) {
  const IrNode& from = plan.ir.nodes[static_cast<size_t>(edge.from)];
  if (from.is(Kind::iota)) return 0;
  const IrNode& to = plan.ir.nodes[static_cast<size_t>(edge.to)];
  int64_t read = 0;
  each_read(plan, to, [&](int base, int64_t part) { read += base == edge.from ? part : 0; });
  // What only stands in the way of its pieces reads nothing of them.
  if (to.role == Role::assemble) read = from.bytes();
  return std::min(read, from.bytes()) + (from.role == Role::data ? 0 : from.bytes());
}

namespace {

// Bytes that a plan's steps read and write of each node's memory.
struct Moved {
  std::vector<int64_t> read, written;
};

Moved moved(const Plan& plan) {
  Moved out;
  out.read.resize(plan.ir.nodes.size());
  out.written.resize(plan.ir.nodes.size());
  auto add = [&](int slot, int64_t bytes, bool written) {
    const int node = plan.slots[static_cast<size_t>(slot)].node;
    (written ? out.written : out.read)[static_cast<size_t>(node)] += bytes;
  };
  auto kernel = [&](const KernelRun& run, const Shape& domain) {
    for (size_t i = 0; i < run.slots.size(); ++i) {
      const KernelArg& arg = run.kernel.args[i];
      if (run.slots[i] >= 0)
        add(run.slots[i], touched_bytes(domain, arg.strides, itemsize(arg.dtype)), arg.output);
    }
  };
  for (const Step& step : plan.steps) {
    for (const KernelRun& run : step.runs) kernel(run, run.kernel.domain);
    if (!step.call) continue;
    const Group& group = plan.fusion.groups[static_cast<size_t>(step.groups[0])];
    const IrNode& n = plan.ir.nodes[static_cast<size_t>(group.call)];
    for (size_t k = 0; k < n.inputs.size(); ++k)
      if (int slot = step.call->inputs[k].slot; slot >= 0) add(slot, read_bytes(plan, n, k), false);
    if (step.call->output.slot >= 0) add(step.call->output.slot, n.bytes(), true);
    for (const Operand& o : step.call->further)
      add(o.slot, element_count(o.layout.shape) * itemsize(o.dtype), true);
    if (!step.call->epilogue) continue;
    // On panels the kernel is one panel's; together they go over the group's domain.
    kernel(*step.call->epilogue, group.domain);
  }
  return out;
}

}  // namespace

int64_t ideal_bytes(const Plan& plan) {
  const std::vector<IrNode>& nodes = plan.ir.nodes;
  auto at = [](int i) { return static_cast<size_t>(i); };
  std::vector<int64_t> read(nodes.size(), 0);
  for (const IrNode& n : nodes)
    each_read(plan, n, [&](int base, int64_t part) { read[at(base)] += part; });
  // Of an array that is updated in place, what was not written just now is read where it lay.
  Moved steps = moved(plan);
  for (size_t i = nodes.size(); i-- > 0;) {
    if (nodes[i].role != Role::assemble || nodes[i].in_place_of < 0) continue;
    auto before = [&](int64_t bytes) { return std::max<int64_t>(0, bytes - steps.written[i]); };
    read[at(nodes[i].in_place_of)] += before(read[i]);
    steps.read[at(nodes[i].in_place_of)] += before(steps.read[i]);
  }
  // What is asked for of each node's memory, by views of it too.
  std::vector<int64_t> asked(nodes.size(), 0);
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (!nodes[i].output || !plan.ir.resolved[i]) continue;
    const Access& a = *plan.ir.resolved[i];
    asked[at(a.base)] +=
        touched_bytes(a.layout.shape, a.layout.strides, itemsize(nodes[at(a.base)].dtype));
  }
  int64_t bytes = 0;
  for (size_t i = 0; i < nodes.size(); ++i) {
    const IrNode& n = nodes[i];
    if (n.role == Role::data) {
      const int64_t all = touched_bytes(n.shape, n.layout.strides, itemsize(n.dtype));
      bytes += std::min({read[i], steps.read[i], all});
    } else if (n.role != Role::scalar) {
      bytes += std::min({asked[i], steps.written[i], n.bytes()});
    }
  }
  return bytes;
}

}  // namespace lamina::schedule
