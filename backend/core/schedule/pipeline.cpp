// The passes in order. Each is named, timed, and says how much it changed.
#include <atomic>

#include "base/clock.h"
#include "schedule/plan.h"

namespace lamina::schedule {

Options& options() {
  static Options o;
  return o;
}

uint64_t next_plan_id() {
  static std::atomic<uint64_t> next{1};
  return next.fetch_add(1, std::memory_order_relaxed);
}

PlanFamily::~PlanFamily() {
  if (device != kCpu) device_of(device).forget_plan(id);
}

bool runs_on(const Device& device, const Primitive& primitive, const Shape* first) {
  if (primitive.kind != Kind::call || !device.text_traits()) return true;
  return primitive.text && (!primitive.text_pays || !first || primitive.text_pays(*first));
}

namespace {

void check_placement(const Ir& ir, const Device& device) {
  for (const IrNode& n : ir.nodes) {
    bool dtype = device.info().dtypes >> static_cast<int>(n.dtype) & 1;
    bool op =
        n.role != Role::compute ||
        runs_on(device, *n.primitive,
                n.inputs.empty() ? nullptr : &ir.nodes[static_cast<size_t>(n.inputs[0])].shape);
    if ((!dtype || !op) && n.role != Role::scalar) throw NotOnDevice{n.source};
  }
}

}  // namespace

std::unique_ptr<Plan> make_plan(const std::vector<OrderedNode>& order, const Hash128& key,
                                DeviceId on, const Plan* like) {
  Device& device = device_of(on);
  auto plan = std::make_unique<Plan>();
  plan->id = next_plan_id();
  plan->family = std::make_shared<PlanFamily>(plan->id, on);
  plan->key = key;
  plan->device = on;
  auto timed = [&](const char* name, auto&& pass) {
    int64_t t0 = now_ns();
    int changed = pass();
    plan->passes.push_back({name, static_cast<double>(now_ns() - t0) * 1e-3, changed});
  };
  Ir& ir = plan->ir;
  timed("import", [&] {
    ir = import_order(order);
    if (on != kCpu) check_placement(ir, device);
    plan->source.imported = ir;
    for (const OrderedNode& o : order) plan->source.stamps.push_back(o.node->local_hash);
    return static_cast<int>(ir.nodes.size());
  });
  timed("merge_common", [&] { return merge_common(ir); });
  timed("drop_dead", [&] { return drop_dead(ir); });
  timed("insert_copies", [&] { return insert_copies(ir, device.text_traits() != nullptr); });
  timed("elide_update_copies", [&] { return options().donate ? elide_update_copies(ir) : 0; });
  timed("drop_dead", [&] { return drop_dead(ir); });
  if (options().verify) verify(ir);
  finalise(ir);
  std::optional<Fusion> fusion;
  timed(like ? "refit" : "fuse", [&] {
    FuseOptions fuse_options;
    fuse_options.enabled = options().fuse;
    fuse_options.max_arguments = device.info().max_kernel_args;
    fuse_options.panels = device.info().panels;
    fuse_options.text = device.text_traits();
    fusion = like ? refit(ir, like->ir, like->fusion, fuse_options.text) : fuse(ir, fuse_options);
    return static_cast<int>(fusion ? fusion->groups.size() : 0);
  });
  if (!fusion) return nullptr;
  plan->fusion = std::move(*fusion);
  if (options().verify) verify(ir, plan->fusion);
  timed("lower", [&] {
    lower(*plan, device);
    return static_cast<int>(plan->steps.size());
  });
  if (options().verify && ideal_bytes(*plan) > plan->traffic.fused)
    throw InternalError("plan: it moves " + std::to_string(plan->traffic.fused) +
                        " bytes, and the least possible would be " +
                        std::to_string(ideal_bytes(*plan)));
  timed("memory", [&] {
    plan_memory(*plan);
    return static_cast<int>(plan->slots.size());
  });
  timed("join_launches", [&] { return join_launches(*plan); });
  timed("find_transfers", [&] { return find_transfers(*plan); });
  timed("compile", [&] {
    int kernels = 0;
    for (Step& s : plan->steps) {
      for (KernelRun& run : s.runs) {
        run.compiled = device.compile(run.kernel);
        ++kernels;
      }
      kernels += s.call && s.call->compiled;
    }
    return kernels;
  });
  return plan;
}

}  // namespace lamina::schedule
