// Holds a resized plan against one made anew, part by part.
#include <cstring>

#include "base/error.h"
#include "schedule/plan.h"

namespace lamina::schedule {

namespace {

class Comparison {
 public:
  Comparison(const Plan& resized, const Plan& fresh) : a_(resized), b_(fresh) {}

  void run() {
    nodes();
    groups();
    slots();
    transfers();
    steps();
    need(a_.bindings.size() == b_.bindings.size(), "bindings");
    for (size_t i = 0; i < a_.bindings.size(); ++i) {
      const Binding &x = a_.bindings[i], &y = b_.bindings[i];
      need(x.position == y.position && x.slot == y.slot && x.strides == y.strides &&
               x.offset == y.offset,
           "binding", i);
    }
    need(a_.arena_bytes == b_.arena_bytes && a_.output_bytes == b_.output_bytes &&
             a_.input_bytes == b_.input_bytes && a_.peak_bytes == b_.peak_bytes,
         "bytes of memory");
    need(a_.traffic.unfused == b_.traffic.unfused && a_.traffic.fused == b_.traffic.fused &&
             ideal_bytes(a_) == ideal_bytes(b_),
         "traffic");
    need(a_.overwrites_leaves == b_.overwrites_leaves, "donation of leaves");
  }

 private:
  void need(bool same, const char* what, size_t at = 0) const {
    if (!same)
      throw InternalError("resized plan: " + std::string(what) + " " + std::to_string(at) +
                          " is not that of a plan made anew");
  }

  void nodes() const {
    need(a_.ir.nodes.size() == b_.ir.nodes.size(), "nodes");
    for (size_t i = 0; i < a_.ir.nodes.size(); ++i) {
      const IrNode &x = a_.ir.nodes[i], &y = b_.ir.nodes[i];
      need(x.role == y.role && x.inputs == y.inputs && x.into == y.into, "node", i);
      need(x.shape == y.shape && x.params == y.params && x.layout == y.layout, "size of node", i);
      const auto &at = a_.ir.resolved[i], &bt = b_.ir.resolved[i];
      need(at->base == bt->base && at->layout == bt->layout, "access of node", i);
    }
  }

  void groups() const {
    need(a_.fusion.groups.size() == b_.fusion.groups.size(), "groups");
    for (size_t g = 0; g < a_.fusion.groups.size(); ++g) {
      const Group &x = a_.fusion.groups[g], &y = b_.fusion.groups[g];
      need(x.nodes == y.nodes && x.stored == y.stored, "group", g);
      need(x.domain == y.domain && x.reduced == y.reduced && x.maps == y.maps, "domain of group",
           g);
    }
  }

  void slots() const {
    need(a_.slots.size() == b_.slots.size(), "slots");
    for (size_t i = 0; i < a_.slots.size(); ++i) {
      const Slot &x = a_.slots[i], &y = b_.slots[i];
      need(x.storage == y.storage && x.node == y.node && x.position == y.position &&
               x.donor == y.donor,
           "slot", i);
      need(x.bytes == y.bytes && x.offset == y.offset && x.first == y.first && x.last == y.last,
           "place of slot", i);
    }
  }

  void transfers() const {
    need(a_.transfers.size() == b_.transfers.size(), "transfers");
    for (size_t i = 0; i < a_.transfers.size(); ++i) {
      const Transfer &x = a_.transfers[i], &y = b_.transfers[i];
      need(x.slot == y.slot && x.from == y.from && x.bytes == y.bytes && x.before == y.before,
           "transfer", i);
    }
  }

  static bool same_scalar(const ScalarSource& x, const ScalarSource& y) {
    return x.position == y.position && x.dtype == y.dtype &&
           std::memcmp(x.constant.bytes, y.constant.bytes, sizeof x.constant.bytes) == 0;
  }

  void runs(const KernelRun& x, const KernelRun& y, size_t step) const {
    need(to_text(x.kernel) == to_text(y.kernel), "kernel of step", step);
    need(x.slots == y.slots && x.kernel.args.size() == y.kernel.args.size(), "arguments of step",
         step);
    for (size_t i = 0; i < x.kernel.args.size(); ++i)
      need(x.kernel.args[i].strides == y.kernel.args[i].strides &&
               x.kernel.args[i].offset == y.kernel.args[i].offset,
           "arguments of step", step);
    need(x.scalars.size() == y.scalars.size(), "scalars of step", step);
    for (size_t i = 0; i < x.scalars.size(); ++i)
      need(same_scalar(x.scalars[i], y.scalars[i]), "scalars of step", step);
  }

  void operands(const Operand& x, const Operand& y, size_t step) const {
    need(x.slot == y.slot && x.dtype == y.dtype && x.layout == y.layout &&
             same_scalar(x.scalar, y.scalar),
         "operands of step", step);
  }

  void calls(const CallRun& x, const CallRun& y, size_t step) const {
    need(x.primitive == y.primitive && x.params == y.params && x.panel_rows == y.panel_rows &&
             x.inputs.size() == y.inputs.size() && x.further.size() == y.further.size(),
         "call of step", step);
    for (size_t i = 0; i < x.inputs.size(); ++i) operands(x.inputs[i], y.inputs[i], step);
    operands(x.output, y.output, step);
    for (size_t i = 0; i < x.further.size(); ++i) operands(x.further[i], y.further[i], step);
    need(x.epilogue.has_value() == y.epilogue.has_value() &&
             x.tail_epilogue.has_value() == y.tail_epilogue.has_value(),
         "epilogue of step", step);
    if (x.epilogue) runs(*x.epilogue, *y.epilogue, step);
    if (x.tail_epilogue) runs(*x.tail_epilogue, *y.tail_epilogue, step);
  }

  void steps() const {
    need(a_.steps.size() == b_.steps.size(), "launches");
    for (size_t s = 0; s < a_.steps.size(); ++s) {
      const Step &x = a_.steps[s], &y = b_.steps[s];
      need(x.groups == y.groups && x.name == y.name && x.runs.size() == y.runs.size() &&
               x.call.has_value() == y.call.has_value(),
           "step", s);
      need(x.reads == y.reads && x.writes == y.writes && x.flops == y.flops, "traffic of step", s);
      for (size_t k = 0; k < x.runs.size(); ++k) runs(x.runs[k], y.runs[k], s);
      if (x.call) calls(*x.call, *y.call, s);
    }
  }

  const Plan &a_, &b_;
};

}  // namespace

void require_same(const Plan& resized, const Plan& fresh) { Comparison(resized, fresh).run(); }

}  // namespace lamina::schedule
