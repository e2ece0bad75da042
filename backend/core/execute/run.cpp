#include "execute/run.h"

#include <cstring>
#include <optional>

#include "base/error.h"
#include "base/interrupt.h"
#include "base/thread_pool.h"
#include "devices/device.h"
#include "execute/evaluate.h"
#include "execute/in_flight.h"
#include "execute/mirror.h"
#include "trace/trace.h"

namespace lamina {

using namespace schedule;

uint64_t next_run_id() {
  static std::atomic<uint64_t> next{1};
  return next.fetch_add(1, std::memory_order_relaxed);
}

namespace {

constexpr int64_t kPollInterval = 5'000'000;  // ns between questions to the interrupt hook
// Plans that last longer than waiting for them alone costs, which is about a launch: of so many
// steps, bytes or operations.
constexpr size_t kLongSteps = 8;
constexpr int64_t kLongBytes = int64_t{1} << 30, kLongFlops = 100'000'000'000;

class Runner {
 public:
  Runner(Plan& plan, const std::vector<OrderedNode>& order, Run& run, std::vector<Value>& values)
      : plan_(plan),
        order_(order),
        run_(run),
        values_(values),
        data_(plan.slots.size()),
        device_(device_of(plan.device)),
        recording_(trace::enabled()) {}

  void bind() {
    values_.resize(plan_.slots.size());
    if (plan_.arena_bytes > 0)
      arena_ = Buffer::allocate(plan_.arena_bytes, Category::arena, -1, plan_.device);
    for (size_t s = 0; s < plan_.slots.size(); ++s) bind_slot(static_cast<int>(s));
    if (recording_) {
      const int64_t start = now_ns();
      run_.origins.reserve(order_.size());
      for (const OrderedNode& o : order_) run_.origins.push_back(o.node->origin);
      run_.recorder_ns += now_ns() - start;
      if (arena_) emit_bind(arena_, -1, 2);
    }
  }

  void steps(Failure& failure) {
    const bool timed = recording_ && plan_.device != kCpu;
    device_.begin_plan(plan_.family->id, timed);
    if (run_.awaited == Awaited::device && !timed && plan_.device != kCpu)
      fences_.resize(plan_.slots.size());
    try {
      walk(failure);
    } catch (...) {
      device_.abandon_plan();
      throw;
    }
    end_plan(failure, timed);
    if (timed) emit_device_times();
  }

 private:
  void walk(Failure& failure) {
    int64_t polled = 0;
    for (at_ = 0; at_ < plan_.steps.size(); ++at_) {
      const Step& step = plan_.steps[at_];
      if (!late_.empty()) await_operands(&step, failure);
      int64_t t0 = 0;
      if (recording_ || plan_.steps.size() > 8) {
        t0 = now_ns();
        if (polled == 0) polled = t0;
        if (t0 - polled > kPollInterval) {
          polled = t0;
          ask_for_interrupt();
        }
      }
      try {
        device_.begin_step(step.flops);
        step.call ? run_call(*step.call) : run_kernels(step);
        device_.end_step();
        if (!fences_.empty()) fence(step);
      } catch (const Interrupted& e) {
        stopped_within(step, e, failure);
      } catch (...) {
        failure.poisons = true;
        add_nodes(step, failure);
        add_overwritten(failure);
        throw;
      }
      if (recording_ && plan_.device == kCpu)
        emit_launch(at_, t0, now_ns());
      else if (recording_)
        issued_.push_back({t0, now_ns()});
    }
    if (!late_.empty()) await_operands(nullptr, failure);
  }

  // A device may tell only here that its work has failed, and not of which step: all of it is lost.
  // Or later, and then the buffers that it writes know.
  void end_plan(Failure& failure, bool wait) {
    try {
      std::shared_ptr<Work> work = device_.end_plan(!wait && is_awaited());
      if (!work) return forget_earlier();
      std::shared_ptr<Pending> pending = take_off(std::move(work), std::move(reads_));
      if (wait) return pending->wait();
      run_.in_flight = true;
      for (size_t s = 0; s < values_.size(); ++s) {
        if (!writes(s)) continue;
        const uint64_t fence =
            fences_.empty() ? 0 : fences_[static_cast<size_t>(root(static_cast<int>(s)))];
        values_[s].buffer->set_pending(fence ? behind(pending, fence) : pending);
      }
    } catch (...) {
      failure.poisons = true;
      for (const Step& step : plan_.steps) add_nodes(step, failure);
      add_overwritten(failure);
      throw;
    }
  }

  // Whether its results are worth waiting for apart from what the device is given next.
  bool is_awaited() const {
    if (run_.awaited != Awaited::program) return run_.awaited == Awaited::device;
    if (plan_.steps.size() >= kLongSteps) return true;
    int64_t bytes = 0, flops = 0;
    for (const Step& s : plan_.steps) bytes += s.reads + s.writes, flops += s.flops;
    return bytes >= kLongBytes || flops >= kLongFlops;
  }

  // What has been written over in order is no longer there when what wrote it before has ended.
  void forget_earlier() {
    if (plan_.device == kCpu) return;
    for (size_t s = 0; s < values_.size(); ++s)
      if (writes(s) && values_[s].buffer->pending()) values_[s].buffer->set_pending(nullptr);
  }

  // Behind the step, for whoever waits for a result of it; the end of the plan is a fence anyway.
  void fence(const Step& step) {
    const bool last = at_ + 1 == plan_.steps.size();
    std::optional<uint64_t> fence;
    each_operand(step, [&](int s, bool written) {
      if (!written || !is_result(s)) return;
      if (!fence) fence = last ? 0 : device_.fence();
      fences_[static_cast<size_t>(root(s))] = *fence;
    });
  }
  // Memory of its own, or of a leaf that was donated.
  bool is_result(int s) const {
    return plan_.slots[static_cast<size_t>(root(s))].storage != Storage::arena;
  }

  // Of leaves that another device still wrote when the plan was bound, those that a step reads;
  // null: those that none has read. If they are lost or cannot be copied, nothing of this plan is:
  // it may be run again.
  void await_operands(const Step* step, Failure& failure) {
    auto arrive = [&](int s, bool) {
      if (std::erase(late_, s)) bind_leaf(s);
    };
    try {
      if (step) return each_operand(*step, arrive);
      while (!late_.empty()) arrive(late_.back(), false);
    } catch (...) {
      add_overwritten(failure);
      failure.poisons = !failure.nodes.empty();
      throw;
    }
  }

  bool writes(size_t s) const {
    const Storage storage = plan_.slots[s].storage;
    return values_[s].buffer && storage != Storage::leaf;
  }

  void add_nodes(const Step& step, Failure& failure) const {
    for (int g : step.groups)
      for (int n : plan_.fusion.groups[static_cast<size_t>(g)].nodes) failure.nodes.push_back(n);
  }

  // What the device measured; what the CPU saw where it measures nothing. And by what it was
  // measured, for each stretch of launches, where that is not the CPU's clock around them.
  void emit_device_times() {
    std::vector<StepTime> times = device_.take_step_times();
    if (times.size() != plan_.steps.size()) times = issued_;
    for (size_t i = 0; i < times.size(); ++i) {
      if (times[i].clock == Clock::none) times[i] = {issued_[i].t0, issued_[i].t1, Clock::none};
      emit_launch(i, times[i].t0, times[i].t1);
    }
    for (size_t i = 0, n = 0; i < times.size(); i += n) {
      const Clock clock = times[i].clock;
      for (n = 1; i + n < times.size() && times[i + n].clock == clock;) ++n;
      if (clock != Clock::host)
        trace::instant(trace::EventKind::timed, run_.id, static_cast<int64_t>(plan_.id),
                       static_cast<int64_t>(i), static_cast<int64_t>(n),
                       static_cast<int64_t>(clock));
    }
  }

  void emit_launch(size_t step, int64_t t0, int64_t t1) {
    trace::span(trace::EventKind::launch, run_.id, t0, t1, static_cast<int64_t>(plan_.id),
                static_cast<int64_t>(step), plan_.steps[step].reads, plan_.steps[step].writes);
  }

  Node& node_at(int position) { return *order_[static_cast<size_t>(position)].node; }

  void bind_slot(int s) {
    const Slot& slot = plan_.slots[static_cast<size_t>(s)];
    Value& v = values_[static_cast<size_t>(s)];
    switch (slot.storage) {
      case Storage::leaf: {
        const Node& n = node_at(slot.position);
        v = {n.value.buffer, {}, n.value.offset};
        if (plan_.device == kCpu && v.buffer->device() != kCpu && v.buffer->pending())
          late_.push_back(s);
        else
          bind_leaf(s);
        break;
      }
      case Storage::output: {
        const IrNode& ir = plan_.ir.nodes[static_cast<size_t>(slot.node)];
        Category c = ir.source >= 0 ? node_at(ir.source).category : Category::temporary;
        v = {Buffer::allocate(slot.bytes, c == Category::temporary ? Category::output : c,
                              slot.node, plan_.device),
             {},
             0};
        data_[static_cast<size_t>(s)] = v.buffer->data();
        if (recording_) emit_bind(v.buffer, slot.node, 1);
        break;
      }
      case Storage::arena:
        v = {arena_, {}, 0};
        data_[static_cast<size_t>(s)] =
            arena_ ? static_cast<char*>(arena_->data()) + slot.offset : nullptr;
        break;
      case Storage::shared: {
        // The donor may come later in the list: bind it first, once.
        if (!data_[static_cast<size_t>(slot.donor)]) bind_slot(slot.donor);
        v = values_[static_cast<size_t>(slot.donor)];
        if (int leaf = root(s); plan_.slots[static_cast<size_t>(leaf)].storage == Storage::leaf)
          node_at(plan_.slots[static_cast<size_t>(leaf)].position).value.buffer->drop_mirrors();
        data_[static_cast<size_t>(s)] = data_[static_cast<size_t>(slot.donor)];
        break;
      }
    }
  }

  void bind_leaf(int s) {
    const Slot& slot = plan_.slots[static_cast<size_t>(s)];
    Value& v = values_[static_cast<size_t>(s)];
    read(v.buffer);
    data_[static_cast<size_t>(s)] =
        static_cast<char*>(v.buffer->data()) + v.offset * itemsize(node_at(slot.position).dtype);
    if (recording_) emit_bind(v.buffer, slot.node, 0);
  }

  // The device that wrote it last may still be at it: this one waits for another's work, and stands
  // in line behind its own.
  void read(BufferRef& buffer) {
    if (buffer->device() != plan_.device) {
      buffer = copy_on(buffer, plan_.device, run_.id);
      if (buffer->device() != plan_.device) reads_.memory.push_back(buffer);
    } else if (buffer->pending()) {
      reads_.after.push_back(buffer->pending());
    }
  }

  void emit_bind(const BufferRef& buffer, int node, int64_t role) {
    trace::instant(trace::EventKind::bind, run_.id, static_cast<int64_t>(buffer->id()), node, role,
                   static_cast<int64_t>(buffer->category()));
  }

  ScalarValue scalar(const ScalarSource& s) {
    return s.position < 0 ? s.constant : node_at(s.position).literal;
  }

  void fill(const KernelRun& run, std::vector<void*>& buffers, std::vector<ScalarValue>& scalars) {
    for (int s : run.slots) buffers.push_back(s < 0 ? nullptr : data_[static_cast<size_t>(s)]);
    for (const ScalarSource& s : run.scalars) scalars.push_back(scalar(s));
  }

  void run_kernels(const Step& step) {
    buffers_.clear();
    scalars_.clear();
    if (step.runs.size() == 1) {
      fill(step.runs[0], buffers_, scalars_);
      device_.launch(*step.runs[0].compiled, buffers_.data(), scalars_.data());
      return;
    }
    std::vector<std::pair<size_t, size_t>> starts;
    for (const KernelRun& run : step.runs) {
      starts.push_back({buffers_.size(), scalars_.size()});
      fill(run, buffers_, scalars_);
    }
    std::vector<Device::Instance> instances;
    for (size_t i = 0; i < step.runs.size(); ++i)
      instances.push_back({step.runs[i].compiled.get(), buffers_.data() + starts[i].first,
                           scalars_.data() + starts[i].second});
    device_.launch_many(instances);
  }

  TensorView view(const Operand& o, ScalarValue& literal) {
    TensorView v{nullptr, o.dtype, o.layout.shape, o.layout.strides};
    if (o.slot >= 0) {
      v.data = static_cast<char*>(data_[static_cast<size_t>(o.slot)]) +
               o.layout.offset * itemsize(o.dtype);
    } else {
      literal = scalar(o.scalar);
      v.data = literal.bytes;
    }
    return v;
  }

  void run_call(const CallRun& call) {
    std::vector<ScalarValue> literals(call.inputs.size());
    std::vector<TensorView> in;
    for (size_t i = 0; i < call.inputs.size(); ++i) in.push_back(view(call.inputs[i], literals[i]));
    if (call.epilogue) return call.compiled ? run_fused(call, in) : run_panels(call, in);
    ScalarValue unused;
    std::vector<TensorView> out{view(call.output, unused)};
    for (const Operand& o : call.further) out.push_back(view(o, unused));
    if (!call.compiled) return device_.call(call.primitive->call, {&call.params, in, out});
    buffers_.clear();
    for (const TensorView& v : in) buffers_.push_back(v.data);
    for (const TensorView& v : out) buffers_.push_back(v.data);
    device_.launch(*call.compiled, buffers_.data(), nullptr);
  }

  void run_fused(const CallRun& call, const std::vector<TensorView>& in) {
    buffers_.clear();
    scalars_.clear();
    for (const TensorView& v : in) buffers_.push_back(v.data);
    for (int s : call.epilogue->slots)
      if (s >= 0) buffers_.push_back(data_[static_cast<size_t>(s)]);
    for (const ScalarSource& s : call.epilogue->scalars) scalars_.push_back(scalar(s));
    device_.launch(*call.compiled, buffers_.data(), scalars_.data());
  }

  void run_panels(const CallRun& call, const std::vector<TensorView>& in) {
    const Shape& shape = call.output.layout.shape;
    const int64_t rows = shape[0], panels = (rows + call.panel_rows - 1) / call.panel_rows;
    const int64_t row_bytes =
        element_count(shape) / std::max<int64_t>(rows, 1) * itemsize(call.output.dtype);
    std::vector<ScalarValue> scalars;
    std::vector<void*> whole;
    fill(*call.epilogue, whole, scalars);
    parallel_for(panels, 1, [&](int64_t begin, int64_t end, int) {
      thread_local std::vector<std::max_align_t> memory;
      size_t words =
          static_cast<size_t>(row_bytes * call.panel_rows) / sizeof(std::max_align_t) + 8;
      if (memory.size() < words) memory.resize(words);
      void* panel = reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(memory.data()) + 63) &
                                            ~uintptr_t{63});
      for (int64_t p = begin; p < end; ++p)
        run_panel(call, in, whole, scalars, p * call.panel_rows, panel);
    });
  }

  void run_panel(const CallRun& call, std::vector<TensorView> in, std::vector<void*> buffers,
                 const std::vector<ScalarValue>& scalars, int64_t row, void* panel) {
    TensorView out{panel, call.output.dtype, call.output.layout.shape, call.output.layout.strides};
    out.shape[0] = std::min(call.panel_rows, out.shape[0] - row);
    const uint32_t splits =
        out.shape.size() > 2 ? call.primitive->splits_batch : call.primitive->splits_rows;
    for (size_t i = 0; i < in.size(); ++i) {
      if (!(splits >> i & 1)) continue;
      in[i].shape[0] = out.shape[0];
      in[i].data = static_cast<char*>(in[i].data) + row * in[i].strides[0] * itemsize(in[i].dtype);
    }
    device_.call(call.primitive->call, {&call.params, in, {&out, 1}});
    bool tail = out.shape[0] != call.epilogue->kernel.domain[0];
    const KernelRun& run = tail ? *call.tail_epilogue : *call.epilogue;
    for (size_t i = 0; i < buffers.size(); ++i) {
      const KernelArg& arg = run.kernel.args[i];
      if (run.slots[i] == kPanel)
        buffers[i] = panel;
      else
        buffers[i] = static_cast<char*>(buffers[i]) + row * arg.strides[0] * itemsize(arg.dtype);
    }
    device_.launch(*run.compiled, buffers.data(), scalars.data());
  }

  void ask_for_interrupt() {
    InterruptHook hook = interrupt_hook.load(std::memory_order_relaxed);
    if (!hook || !hook()) return;
    // Once a donated input is overwritten there is no way back: the evaluation runs to its end and
    // the interrupt is delivered there.
    for (size_t s = 0; s < plan_.slots.size(); ++s)
      if (overwritten(s)) {
        run_.interrupted = true;
        return;
      }
    throw Interrupted("evaluation interrupted; the arrays stay unevaluated");
  }

  // The device has stopped in the middle of a step: what that was to write over counts as gone.
  [[noreturn]] void stopped_within(const Step& step, const Interrupted& e, Failure& failure) {
    ++at_;
    bool lost = false;
    for (size_t s = 0; s < plan_.slots.size(); ++s) lost |= overwritten(s);
    if (!lost) throw Interrupted(std::string(e.what()) + "; the arrays stay unevaluated");
    failure.poisons = true;
    add_nodes(step, failure);
    add_overwritten(failure);
    throw Interrupted(std::string(e.what()) +
                      "; it had begun to write over its inputs: what it computes is lost");
  }

  // Whether a leaf's memory has been handed to an output of a step that has run.
  bool overwritten(size_t s) const {
    const Slot& slot = plan_.slots[s];
    if (slot.storage != Storage::shared || slot.first >= static_cast<int>(at_)) return false;
    return plan_.slots[static_cast<size_t>(root(static_cast<int>(s)))].storage == Storage::leaf;
  }

  int root(int s) const {
    while (plan_.slots[static_cast<size_t>(s)].storage == Storage::shared)
      s = plan_.slots[static_cast<size_t>(s)].donor;
    return s;
  }

  void add_overwritten(Failure& failure) const {
    for (size_t s = 0; s < plan_.slots.size(); ++s) {
      if (!overwritten(s)) continue;
      int r = root(static_cast<int>(s));
      failure.nodes.push_back(plan_.slots[static_cast<size_t>(r)].node);
    }
  }

  Plan& plan_;
  const std::vector<OrderedNode>& order_;
  Run& run_;
  std::vector<Value>& values_;
  std::vector<void*> data_;
  // By slot whose memory is a result's, 0: the plan's end; empty where nobody asks for them.
  std::vector<uint64_t> fences_;
  std::vector<int> late_;  // leaves that are bound when a step reads them
  Device& device_;
  BufferRef arena_;
  Reads reads_;
  std::vector<StepTime> issued_;  // of each step: when it was handed over
  std::vector<void*> buffers_;
  std::vector<ScalarValue> scalars_;
  bool recording_;
  size_t at_ = 0;
};

}  // namespace

void run_plan(Plan& plan, const std::vector<OrderedNode>& order, Run& run,
              std::vector<Value>& values, Failure& failure) {
  try {
    Runner runner(plan, order, run, values);
    runner.bind();
    runner.steps(failure);
  } catch (...) {
    failure.error = std::current_exception();
    values.clear();
  }
}

}  // namespace lamina
