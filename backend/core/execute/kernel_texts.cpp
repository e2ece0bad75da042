#include "execute/kernel_texts.h"

#include "execute/plan_cache.h"
#include "graph/primitive.h"

namespace lamina {

using namespace schedule;

namespace {

TensorView view_of(const Operand& o) {
  return {nullptr, o.dtype, o.layout.shape, o.layout.strides};
}

StepText call_text(const CallRun& call, const TextTraits& traits) {
  StepText out;
  if (!call.primitive->text) {
    out.on_cpu = true;
    return out;
  }
  std::vector<TensorView> in;
  for (const Operand& o : call.inputs) in.push_back(view_of(o));
  std::vector<TensorView> results{view_of(call.output)};
  for (const Operand& o : call.further) results.push_back(view_of(o));
  std::optional<TextEpilogue> epilogue;
  if (call.epilogue && call.panel_rows == 0) epilogue.emplace(text_epilogue(*call.epilogue));
  out.program =
      call.primitive->text({&call.params, in, results, epilogue ? &*epilogue : nullptr}, traits);
  return out;
}

}  // namespace

std::vector<StepText> kernel_texts(uint64_t id, const TextTraits& traits) {
  std::vector<StepText> out;
  std::shared_ptr<Plan> plan = plan_by_id(id);
  if (!plan) return out;
  for (size_t s = 0; s < plan->steps.size(); ++s) {
    const Step& step = plan->steps[s];
    auto add = [&](StepText text) {
      text.step = static_cast<int>(s);
      text.name = step.name;
      out.push_back(std::move(text));
    };
    if (step.call) add(call_text(*step.call, traits));
    if (step.call && step.call->panel_rows > 0)
      add({.program = write_text(step.call->epilogue->kernel, traits)});
    for (const KernelRun& run : step.runs) add({.program = write_text(run.kernel, traits)});
  }
  return out;
}

}  // namespace lamina
