#include "devices/soft_metal/runtime.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include "base/clock.h"
#include "base/thread_pool.h"
#include "devices/soft_metal/machine.h"
#include "devices/soft_metal/module.h"
#include "devices/soft_metal/pipeline.h"

namespace lamina::soft_metal {
namespace {

constexpr int64_t kGap = 64;  // between stretches of threadgroup memory
std::atomic<int64_t> fail_in[3] = {-1, -1, -1};

int64_t rounded(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

bool flag(const char* name, bool otherwise) {
  const char* text = std::getenv(name);
  return text ? std::strcmp(text, "0") != 0 : otherwise;
}

[[noreturn]] void violate(Rule rule, const Dispatch& d, const Argument* a,
                          const std::string& what) {
  std::string where = d.pipeline ? "kernel `" + d.pipeline->name() + "`: " : "";
  if (a)
    where += (a->space == Space::threadgroup ? "threadgroup memory " : "buffer ") +
             std::to_string(a->index) + " `" + a->name + "`: ";
  RuleError error(rule, "soft_metal: " + where + what);
  if (d.pipeline) error.kernel = d.pipeline->name();
  if (a && a->space != Space::threadgroup) error.buffer = a->index;
  throw error;
}

void validate_buffer(const Dispatch& d, const Argument& a) {
  const Binding& b = d.buffers[static_cast<size_t>(a.index)];
  if (!b.data)
    violate(Rule::buffer_unbound, d, &a,
            "nothing is bound\n  call setBuffer or setBytes for index " + std::to_string(a.index) +
                " before the dispatch");
  if (b.offset < 0 || b.offset >= b.bytes)
    violate(Rule::buffer_offset, d, &a,
            "offset " + std::to_string(b.offset) + " is outside of the buffer of " +
                std::to_string(b.bytes) + " bytes\n  bind an offset below its length");
  int64_t unit = a.space == Space::constant
                     ? limits().constant_alignment
                     : std::clamp<int64_t>(a.alignment, 1, limits().max_alignment);
  if (!b.inlined && b.offset % unit != 0)
    violate(Rule::buffer_alignment, d, &a,
            "offset " + std::to_string(b.offset) + " is not a multiple of " + std::to_string(unit) +
                ", as `" + a.type + "` needs\n  align what is bound");
  if (a.reference && b.bytes - b.offset < a.element_bytes)
    violate(Rule::buffer_short, d, &a,
            std::to_string(b.bytes - b.offset) + " bytes are bound, `" + a.type + "` has " +
                std::to_string(a.element_bytes) + "\n  bind the whole structure");
}

int64_t threadgroup_total(const Dispatch& d) {
  int64_t total = d.pipeline->static_threadgroup_bytes();
  for (int64_t n : d.threadgroup_bytes) total += n;
  return total;
}

void validate_threadgroup(const Dispatch& d) {
  for (const Argument& a : d.pipeline->arguments())
    if (a.space == Space::threadgroup && d.threadgroup_bytes[static_cast<size_t>(a.index)] <= 0)
      violate(
          Rule::threadgroup_length, d, &a,
          "has no length\n  call setThreadgroupMemoryLength for index " + std::to_string(a.index));
  int64_t total = threadgroup_total(d);
  if (total > limits().threadgroup_bytes)
    violate(Rule::threadgroup_total, d, nullptr,
            "threadgroup memory: " + std::to_string(d.pipeline->static_threadgroup_bytes()) +
                " bytes static and " +
                std::to_string(total - d.pipeline->static_threadgroup_bytes()) + " dynamic, over " +
                std::to_string(limits().threadgroup_bytes) + "\n  use smaller tiles");
}

void validate_sizes(const Dispatch& d) {
  int64_t size = 1;
  bool positive = true, empty = false;
  for (size_t i = 0; i < 3; ++i) {
    size *= d.group[i];
    positive &= d.group[i] > 0;
    empty |= d.grid[i] == 0;
  }
  std::string text = "threadgroup of " + std::to_string(d.group[0]) + " x " +
                     std::to_string(d.group[1]) + " x " + std::to_string(d.group[2]);
  if (!positive) violate(Rule::group_size, d, nullptr, text + ": every side must be at least 1");
  int most = std::min(limits().max_threads, d.pipeline->max_threads());
  if (size > most)
    violate(Rule::group_size, d, nullptr,
            text + " = " + std::to_string(size) + " threads, over the pipeline's " +
                std::to_string(most) +
                "\n  read maxTotalThreadsPerThreadgroup and use smaller groups");
  if (empty)
    violate(Rule::empty_grid, d, nullptr, "the grid has no threads\n  leave the dispatch out");
  for (size_t i = 0; i < 3; ++i) {
    int64_t threads = d.grid_in_threads ? d.grid[i] : d.grid[i] * d.group[i];
    if (d.grid[i] < 0 || threads >= int64_t{1} << 32)
      violate(
          Rule::grid_size, d, nullptr,
          "the grid has " + std::to_string(threads) +
              " threads along one axis, positions have 32 bits\n  spread it over the other axes");
  }
}

void prepare_threadgroup(Launch& l) {
  int64_t at = 0;
  auto place = [&](int64_t bytes, int64_t alignment, const std::string& name) {
    l.threadgroup_granule = std::clamp<int64_t>(alignment, 1, l.threadgroup_granule);
    at = rounded(at, std::max<int64_t>(alignment, 16));
    l.stretches.push_back({at, bytes, name});
    at += bytes + kGap;
    return static_cast<uint64_t>(l.stretches.back().at);
  };
  for (const KernelInfo::Variable& v : l.kernel->variables) place(v.bytes, v.alignment, v.name);
  for (const Argument& a : l.kernel->arguments)
    if (a.space == Space::threadgroup)
      l.dynamic_at[a.index] =
          place(l.dispatch->threadgroup_bytes[static_cast<size_t>(a.index)], a.alignment, a.name);
}

void prepare_grid(Launch& l) {
  const Dispatch& d = *l.dispatch;
  for (size_t i = 0; i < 3; ++i) {
    l.group[i] = d.group[i];
    l.groups[i] = d.grid_in_threads ? (d.grid[i] + d.group[i] - 1) / d.group[i] : d.grid[i];
    l.threads[i] = d.grid_in_threads ? d.grid[i] : d.grid[i] * d.group[i];
  }
}

Machine& machine(int thread) {
  static auto* machines =
      new std::vector<std::unique_ptr<Machine>>(static_cast<size_t>(std::max(thread_count(), 1)));
  auto& m = (*machines)[static_cast<size_t>(thread)];
  if (!m) m = std::make_unique<Machine>();
  return *m;
}

// One dispatch at a time: the places of memory and the machines are the process's.
std::mutex& running() {
  static auto* mutex = new std::mutex;
  return *mutex;
}

// How many threads are at a launch's threadgroups, for the one that waits for the others.
class Busy {
 public:
  class One {
   public:
    explicit One(Busy& busy) : busy_(busy) { busy_.count_.fetch_add(1); }
    ~One() {
      if (busy_.count_.fetch_sub(1) != 1) return;
      std::lock_guard lock(busy_.mutex_);
      busy_.none_.notify_all();
    }

   private:
    Busy& busy_;
  };
  void wait_and_ask(Launch& l) {
    std::unique_lock lock(mutex_);
    while (!none_.wait_for(lock, kAsk, [this] { return count_.load() == 0; })) {
      lock.unlock();
      l.asked_to_stop();
      lock.lock();
    }
  }

 private:
  static constexpr std::chrono::milliseconds kAsk{5};
  std::atomic<int> count_{0};
  std::mutex mutex_;
  std::condition_variable none_;
};

// Every thread takes threadgroups until there are none; the one that called then stays until the
// others have ended theirs, since only it can hear of an interrupt.
Counts run_groups(Launch& l) {
  const int64_t count = l.group_count();
  // Small work is not worth waking others for.
  const int64_t grain = std::max<int64_t>(1, 256 / l.group_size());
  const int64_t threads = count <= grain ? 1 : thread_count();
  // Four pieces a thread even out those that take longer.
  const int64_t piece = std::max(grain, (count + threads * 4 - 1) / (threads * 4));
  std::vector<Counts> counts(static_cast<size_t>(thread_count()));
  std::atomic<int64_t> next{0};
  Busy busy;
  parallel_for(threads, 1, [&](int64_t, int64_t, int thread) {
    {
      Busy::One one(busy);
      for (int64_t at; (at = next.fetch_add(piece)) < count;)
        machine(thread).run(l, at, std::min(at + piece, count),
                            counts[static_cast<size_t>(thread)]);
    }
    if (threads > 1 && pthread_equal(pthread_self(), l.caller)) busy.wait_and_ask(l);
  });
  Counts total;
  for (const Counts& c : counts) total += c;
  return total;
}

Counts execute(const Dispatch& dispatch, std::vector<Touched>* touched) {
  const PipelineOf& p = pipeline_of(*dispatch.pipeline);
  std::lock_guard lock(running());
  Memory memory(dispatch, p.options().check);
  Launch l;
  l.dispatch = &dispatch;
  l.kernel = &p.kernel();
  l.module = &p.module();
  l.memory = &memory;
  l.name = p.name();
  l.check = p.options().check;
  l.count = p.options().check && p.options().count;
  l.seed = p.options().seed;
  prepare_grid(l);
  prepare_threadgroup(l);
  if (static_cast<uint64_t>(l.group_count()) >=
      kThreadNumbers / static_cast<uint64_t>(l.group_size()))
    for (Region& r : memory.regions()) r.cells = nullptr;
  l.caller = pthread_self();
  int64_t start = now_ns();
  Counts total = run_groups(l);
  total.nanoseconds = now_ns() - start;
  if (l.interrupted) throw Interrupted("evaluation interrupted in kernel `" + l.name + "`");
  memory.copy_back();
  if (l.error) throw *l.error;
  if (touched) *touched = memory.touched();
  return total;
}

}  // namespace

const Limits& limits() {
  static const Limits limits;
  return limits;
}

const char* name_of(Rule rule) {
  static const char* names[] = {"compile",
                                "function_not_found",
                                "constant_missing",
                                "constant_type",
                                "static_threadgroup",
                                "no_pipeline",
                                "buffer_index",
                                "buffer_unbound",
                                "buffer_offset",
                                "buffer_alignment",
                                "buffer_short",
                                "inline_bytes",
                                "threadgroup_length",
                                "threadgroup_total",
                                "group_size",
                                "empty_grid",
                                "grid_size",
                                "out_of_bounds",
                                "write_to_constant",
                                "data_race",
                                "divergent_barrier",
                                "divergent_matrix",
                                "uninitialised",
                                "nonuniform_argument",
                                "missing_barrier",
                                "private_memory",
                                "injected"};
  static_assert(std::size(names) == static_cast<size_t>(Rule::injected) + 1);
  return names[static_cast<size_t>(rule)];
}

Options default_options() {
  Options o;
  o.check = flag("LAMINA_SOFT_METAL_CHECK", true);
  o.count = flag("LAMINA_SOFT_METAL_COUNT", true);
  if (const char* seed = std::getenv("LAMINA_SOFT_METAL_SEED"))
    o.seed = std::strtoull(seed, nullptr, 10);
  return o;
}

void fail_at(Stage stage, int64_t n) { fail_in[static_cast<size_t>(stage)] = n; }

void maybe_fail(Stage stage) {
  auto& left = fail_in[static_cast<size_t>(stage)];
  if (left.load(std::memory_order_relaxed) < 0 || left.fetch_sub(1) != 0) return;
  static const char* names[] = {"library", "pipeline", "dispatch"};
  throw RuleError(Rule::injected, std::string("soft_metal: a test asked this ") +
                                      names[static_cast<size_t>(stage)] + " to fail");
}

void bind(Dispatch& dispatch, int index, const Binding& binding) {
  if (index < 0 || index >= limits().max_buffers)
    violate(Rule::buffer_index, dispatch, nullptr,
            "buffer index " + std::to_string(index) +
                " is not in 0 to 30\n  put several arguments into one buffer");
  if (binding.inlined && (binding.bytes < 1 || binding.bytes > limits().max_inline_bytes))
    violate(Rule::inline_bytes, dispatch, nullptr,
            "setBytes of " + std::to_string(binding.bytes) + " bytes at index " +
                std::to_string(index) + ": 1 to 4095 go in line\n  use a buffer");
  dispatch.buffers[static_cast<size_t>(index)] = binding;
}

void set_threadgroup_bytes(Dispatch& dispatch, int index, int64_t bytes) {
  if (index < 0 || index >= limits().max_buffers)
    violate(Rule::buffer_index, dispatch, nullptr,
            "threadgroup memory index " + std::to_string(index) + " is not in 0 to 30");
  if (bytes < 0 || bytes % limits().threadgroup_granule != 0)
    violate(Rule::threadgroup_length, dispatch, nullptr,
            "threadgroup memory " + std::to_string(index) + ": " + std::to_string(bytes) +
                " bytes is not a multiple of 16\n  round it up");
  dispatch.threadgroup_bytes[static_cast<size_t>(index)] = bytes;
}

void validate(const Dispatch& d) {
  if (!d.pipeline)
    violate(Rule::no_pipeline, d, nullptr,
            "a dispatch without a pipeline\n  call setComputePipelineState first");
  validate_sizes(d);
  for (const Argument& a : d.pipeline->arguments())
    if (a.space != Space::threadgroup) validate_buffer(d, a);
  validate_threadgroup(d);
}

Counts run(const Dispatch& dispatch) { return run(dispatch, nullptr); }

Counts run(const Dispatch& dispatch, std::vector<Touched>* touched) {
  maybe_fail(Stage::dispatch);
  validate(dispatch);
  return execute(dispatch, touched);
}

Counts Encoder::dispatch(const Dispatch& d) {
  maybe_fail(Stage::dispatch);
  validate(d);
  std::vector<Touched> touched;
  bool look = concurrent_ && pipeline_of(*d.pipeline).options().check;
  Counts counts = execute(d, look ? &touched : nullptr);
  std::vector<Use> uses;
  for (const Touched& t : touched) {
    const Argument* argument = nullptr;
    for (const Argument& a : d.pipeline->arguments())
      if (a.space != Space::threadgroup && a.index == t.binding) argument = &a;
    for (const Use& u : used_) {
      if ((!u.written && !t.written) || t.begin >= u.end || u.begin >= t.end) continue;
      violate(Rule::missing_barrier, d, argument,
              std::string(t.written ? "writes" : "reads") + " what kernel `" + u.kernel + "` " +
                  (u.written ? "wrote" : "read") + " as `" + u.argument +
                  "` in the same concurrent encoder\n  call memoryBarrierWithScope: between them");
    }
    uses.push_back({t.begin, t.end, t.written, d.pipeline->name(), argument ? argument->name : ""});
  }
  used_.insert(used_.end(), uses.begin(), uses.end());
  return counts;
}

void Encoder::barrier(const std::vector<std::pair<const void*, int64_t>>& resources) {
  std::erase_if(used_, [&](const Use& u) {
    for (const auto& [data, bytes] : resources) {
      const char* begin = static_cast<const char*>(data);
      if (u.begin >= begin && u.end <= begin + bytes) return true;
    }
    return false;
  });
}

}  // namespace lamina::soft_metal
