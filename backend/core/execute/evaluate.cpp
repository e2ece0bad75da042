#include "execute/evaluate.h"

#include <algorithm>
#include <bit>
#include <mutex>

#include "base/error.h"
#include "execute/alone.h"
#include "execute/in_flight.h"
#include "execute/mirror.h"
#include "execute/placement.h"
#include "execute/plan_cache.h"
#include "execute/run.h"
#include "graph/primitive.h"
#include "trace/trace.h"

namespace lamina {

using schedule::OrderedNode;
using schedule::Plan;

namespace {

std::recursive_mutex& evaluation_lock() {
  static auto* m = new std::recursive_mutex;
  return *m;
}

uint32_t visit_number = 0;
std::atomic<uint64_t> latest_plan{0};
std::atomic<uint32_t> devices_used{0};  // bit per device with work that nobody has waited for

// Inputs first; each node once; `uses` counts the references that nodes of the order hold. Returns
// the devices of what is not evaluated, a bit each.
uint32_t collect(std::span<const Array> roots, std::vector<OrderedNode>& order) {
  uint32_t devices = 0;
  const uint32_t visit = ++visit_number;
  thread_local std::vector<std::pair<Node*, size_t>> stack;
  stack.clear();
  auto enter = [&](Node* n) {
    if (n->visit == visit) {
      ++n->uses;
      return;
    }
    if (n->primitive && n->primitive == &placeholder_primitive())
      throw TraceError("eval: an input of a function that vmap or compile traces has no value: " +
                       std::string(name_of(n->dtype)) + " " + to_string(n->shape) +
                       "\nReturn what depends on it, and evaluate the result outside");
    n->visit = visit;
    n->uses = 1;
    n->position = -1;
    if (n->status.load(std::memory_order_acquire) == Status::failed)
      std::rethrow_exception(n->extra->failure);
    if (n->ready()) {
      if (n->value.buffer && n->value.buffer->pending())
        if (auto lost = n->value.buffer->pending()->failure()) std::rethrow_exception(lost);
      n->position = static_cast<int32_t>(order.size());
      order.push_back({n, false, false, {}});
    } else {
      stack.push_back({n, 0});
    }
  };
  for (const Array& root : roots) {
    enter(root.node());
    --root.node()->uses;  // being asked for is not being used
    while (!stack.empty()) {
      auto& [n, next] = stack.back();
      if (next < n->inputs.size()) {
        enter(n->inputs[next++].node());
      } else {
        n->position = static_cast<int32_t>(order.size());
        n->placed = n->device == kCpu ? kCpu : placement(*n);
        devices |= 1u << n->placed;
        order.push_back({n, false, false, {}});
        stack.pop_back();
      }
    }
  }
  return devices;
}

// A ready node that still holds its graph (a tracer) counts as data.
bool is_data(const Node& n) { return n.ready(); }

Hash128 key_of(std::vector<OrderedNode>& order, DeviceId device) {
  const bool keep = tracing();
  Hash128 h;
  for (OrderedNode& o : order) {
    Node& n = *o.node;
    uint32_t refs = n.refs.load(std::memory_order_relaxed);
    bool held = refs > static_cast<uint32_t>(n.uses);
    if (is_data(n)) {
      uint64_t tag = static_cast<uint64_t>(n.dtype) << 8 | n.shape.size() << 16;
      if (n.scalar) {
        h.add(tag | 1);
        continue;
      }
      // Another device may still read its memory without holding it.
      o.donatable = !held && !keep && n.value.buffer->use_count() == 1 &&
                    n.value.buffer->device() == device && !n.value.buffer->adopted();
      h.add(tag | 2 | (o.donatable ? 4 : 0));
      if (!reaches(device, *n.value.buffer)) {
        o.copied_from = n.value.buffer->device();
        h.add(uint64_t{*o.copied_from} << 8 | 3);
      }
      for (size_t i = 0; i < n.shape.size(); ++i) {
        h.add(static_cast<uint64_t>(n.shape[i]));
        h.add(static_cast<uint64_t>(n.value.strides[i]));
      }
      continue;
    }
    o.output = held && n.primitive->kind != Kind::custom && n.primitive->results == 1;
    uint64_t packed = n.local_hash ^ (o.output ? 0x9e3779b97f4a7c15ULL : 0);
    for (const Array& in : n.inputs)
      packed = packed * 0xd6e8feb86659fd93ULL + static_cast<uint64_t>(in.node()->position) + 1;
    h.add(n.local_hash);
    h.add(packed);
  }
  const auto& opt = schedule::options();
  h.add(uint64_t{opt.fuse} | uint64_t{opt.donate} << 1 | uint64_t{device} << 8 |
        order.size() << 16);
  return h;
}

void settle(const Plan& plan, std::vector<OrderedNode>& order, const std::vector<Value>& values) {
  const bool keep = tracing();
  for (const schedule::Binding& b : plan.bindings) {
    Node& n = *order[static_cast<size_t>(b.position)].node;
    // A call with several results has no value; what stands for its first one has.
    if (n.ready() || n.primitive->results > 1) continue;
    const Value& base = values[static_cast<size_t>(b.slot)];
    n.value = {base.buffer, b.strides, base.offset + b.offset};
    n.status.store(Status::ready, std::memory_order_release);
  }
  // Inputs go only now: dropping one may delete nodes later in the order.
  thread_local std::vector<std::vector<Array>> dropped;
  for (const schedule::Binding& b : plan.bindings) {
    Node& n = *order[static_cast<size_t>(b.position)].node;
    if (n.ready() && !(keep && n.tracer)) dropped.push_back(std::move(n.inputs)), n.inputs.clear();
  }
  dropped.clear();
}

// Positions of the order that wait for a failed step or for memory a finished step overwrote.
void poison(const Plan& plan, std::vector<OrderedNode>& order, const Failure& failure) {
  std::vector<bool> lost(plan.ir.nodes.size(), false);
  for (int i : failure.nodes) lost[static_cast<size_t>(i)] = true;
  for (size_t i = 0; i < plan.ir.nodes.size(); ++i)
    for (int in : plan.ir.nodes[i].inputs)
      if (lost[static_cast<size_t>(in)]) lost[i] = true;
  for (size_t p = 0; p < order.size(); ++p) {
    int i = plan.ir.of_position[p];
    Node& n = *order[p].node;
    if (i < 0 || !lost[static_cast<size_t>(i)] || n.leaf()) continue;
    n.rare().failure = failure.error;
    n.status.store(Status::failed, std::memory_order_release);
  }
}

void evaluate_on(DeviceId device, std::vector<OrderedNode>& order, int64_t t0, Awaited awaited) {
  const bool recording = trace::enabled();
  Hash128 key = key_of(order, device);
  Run run;
  run.id = next_run_id();
  run.awaited = awaited;
  std::shared_ptr<Plan> plan = plan_for(key, device, order, run);
  latest_plan.store(plan->id, std::memory_order_relaxed);
  if (recording) {
    const int64_t start = now_ns();
    hold_plan(plan, order);
    run.recorder_ns += now_ns() - start;
  }
  Failure failure;
  std::vector<Value> values;
  run_plan(*plan, order, run, values, failure);
  if (device != kCpu && !run.in_flight)
    devices_used.fetch_or(1u << device, std::memory_order_relaxed);
  if (failure.error) {
    if (failure.poisons) poison(*plan, order, failure);
    std::rethrow_exception(failure.error);
  }
  settle(*plan, order, values);
  if (recording && trace::enabled()) {
    const int64_t start = now_ns();
    uint64_t origins = intern_origins(*plan, run.origins);
    run.recorder_ns += now_ns() - start;
    trace::span(trace::EventKind::eval, run.id, t0, now_ns(), static_cast<int64_t>(plan->id),
                run.outcome, static_cast<int64_t>(order.size()), static_cast<int64_t>(origins));
    trace::account(run.id, run.recorder_ns);
  }
  if (run.interrupted)
    throw Interrupted(
        "evaluation interrupted; it had begun to write over its inputs and ran to its end, the "
        "arrays are evaluated");
}

void evaluate(std::span<const Array> roots, Awaited awaited) {
  bool ready = true;
  for (const Array& r : roots) ready &= r.node()->ready();
  if (ready) return;
  std::lock_guard lock(evaluation_lock());
  int64_t t0 = trace::enabled() ? now_ns() : 0;
  thread_local std::vector<OrderedNode> order_scratch;
  std::vector<OrderedNode> order = std::move(order_scratch);
  if (in_flight()) retire();
  for (;;) {
    order.clear();
    uint32_t devices = collect(roots, order);
    if (!devices) break;  // a part before this one has evaluated the rest
    if (!std::has_single_bit(devices)) {
      for (const Part& part : parts_by_device(roots, order))
        evaluate(part.arrays, part.awaited ? Awaited::device : awaited);
      break;
    }
    try {
      evaluate_on(static_cast<DeviceId>(std::countr_zero(devices)), order, t0, awaited);
      break;
    } catch (const schedule::NotOnDevice& missing) {
      Node& n = *order[static_cast<size_t>(missing.position)].node;
      if (n.leaf() || n.placed == kCpu)
        throw InternalError("evaluate: " + describe(n) + " was given to a device that lacks it");
      run_on_cpu(n);
    }
  }
  order.clear();
  order_scratch = std::move(order);
}

}  // namespace

void evaluate(std::span<const Array> roots) { evaluate(roots, Awaited::nobody); }
void evaluate_behind(std::span<const Array> roots) { evaluate(roots, Awaited::program); }

bool devices_have_work() {
  return devices_used.load(std::memory_order_relaxed) != 0 || in_flight();
}

namespace {

void synchronize_devices() {
  uint32_t devices = devices_used.exchange(0, std::memory_order_relaxed);
  for (; devices; devices &= devices - 1)
    device_of(static_cast<DeviceId>(std::countr_zero(devices))).synchronize();
}

void timed_sync(const std::function<void()>& wait) {
  std::lock_guard lock(evaluation_lock());
  int64_t t0 = trace::enabled() ? now_ns() : 0;
  wait();
  if (trace::enabled()) trace::span(trace::EventKind::sync, 0, t0, now_ns());
}

}  // namespace

void wait_for_devices() {
  if (!devices_have_work()) return;
  timed_sync([] {
    synchronize_devices();
    land_all();
  });
}

bool must_wait_for(std::span<const Array> roots) {
  return devices_used.load(std::memory_order_relaxed) != 0 ||
         std::any_of(roots.begin(), roots.end(), [](const Array& x) {
           const BufferRef& buffer = x.node()->value.buffer;
           return buffer && buffer->pends();
         });
}

void wait_for(std::span<const Array> roots) {
  if (!must_wait_for(roots)) return;
  timed_sync([&] {
    synchronize_devices();
    for (const Array& x : roots)
      if (const BufferRef& buffer = x.node()->value.buffer) settle(*buffer);
    retire();
  });
}

void alone(const std::function<void()>& call) {
  std::lock_guard lock(evaluation_lock());
  call();
}

uint64_t last_plan() { return latest_plan.load(std::memory_order_relaxed); }

TensorView tensor_view(const Array& x) {
  evaluate(x);
  Node& n = *x.node();
  TensorView v{nullptr, n.dtype, n.shape, n.value.strides};
  if (n.scalar) {
    v.data = n.literal.bytes;
    v.strides = Strides(0);
    return v;
  }
  BufferRef buffer = n.value.buffer;
  if (buffer->device() != kCpu) {
    std::lock_guard lock(evaluation_lock());
    buffer = copy_on(buffer, kCpu, 0);
    if (in_flight()) retire();
  }
  v.data = static_cast<char*>(buffer->data()) + n.value.offset * itemsize(n.dtype);
  return v;
}

bool on_host(const Array& x) {
  const Node& n = *x.node();
  return n.ready() && (n.scalar || n.value.buffer->device() == kCpu);
}

}  // namespace lamina
