#include "devices/soft_metal/machine.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <numeric>

#include "devices/soft_metal/ticks.h"

namespace lamina::soft_metal {
namespace {

constexpr size_t kPage = 4096;
// For the machine's own calls, handlers of signals, the loader.
constexpr size_t kOwn = size_t{64} << 10;
// Guards split the mapping of the stacks, and a process has 65530 mappings.
constexpr int kMaxGuards = 16384;
std::atomic<int> guards{0};
constexpr int kMaxThreads = 1024;
constexpr int kPlace = 1024;  // LM_HERE: line * 1024 + column
constexpr int kMatrix = 5;    // lm_kind_matrix
thread_local Machine* current_machine = nullptr;

void thread_entry() {
  entered_fiber();
  current_machine->thread_main();
}
void groups_entry() {
  entered_fiber();
  current_machine->groups_main();
}
// A function may begin when private_bytes are used up but for one, and take as many: its first
// block finds out. Then a page that cannot be touched.
constexpr size_t kPrivate = Limits{}.private_bytes;
constexpr size_t kStack = 2 * kPrivate + kOwn;
constexpr size_t kStep = kStack + kPage;

bool tick(bool in_kernel) {
  Machine* machine = current_machine;
  if (machine) machine->tick(in_kernel);
  return machine != nullptr;
}

uint64_t mixed(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// Place i of a permutation of [0, n) that the seed chooses.
int64_t permuted(int64_t i, int64_t n, uint64_t seed) {
  auto m = static_cast<uint64_t>(n);
  uint64_t step = mixed(seed) % m;
  while (std::gcd(step, m) != 1) step = (step + 1) % m;
  return static_cast<int64_t>(
      (static_cast<unsigned __int128>(step) * static_cast<uint64_t>(i) + mixed(seed + 1)) % m);
}

}  // namespace

bool Launch::asked_to_stop() {
  if (dispatch->interrupted && pthread_equal(pthread_self(), caller) && dispatch->interrupted()) {
    interrupted.store(true);
    stop.store(true);
  }
  return stop.load(std::memory_order_relaxed);
}

Machine& Machine::current() { return *current_machine; }

Machine::Machine()
    : threads_(kMaxThreads),
      meetings_(kMaxThreads / 16),
      turn_(kMaxThreads / 32),
      stacks_(kStep * kMaxThreads, false),
      threadgroup_(size_t{256} << 10, false),
      threadgroup_cells_((size_t{128} << 10) * sizeof(Cell), false) {
  for (int i = 0; i < kMaxThreads; ++i)
    threads_[static_cast<size_t>(i)].fiber = {
        nullptr, stacks_.data() + kStep * static_cast<size_t>(i) + kPage, kStack};
  // Far from both ends: an address near it is an index out of its bounds.
  local_base_ = threadgroup_.data() + (size_t{96} << 10);
}

// What is left of an overflow after the compiler and the blocks have looked ends the process here
// and is in nobody's memory.
void Machine::guard_stacks(uint32_t threads) {
  for (; guarded_ < threads && guards.load() < kMaxGuards; ++guarded_, guards.fetch_add(1))
    Pages::forbid(threads_[guarded_].fiber.stack - kPage, kPage);
}

// --- what stops a kernel that does not end by itself ---

// Continues a fiber until it is done, waits, or must stop; then broken_ is set. In line: behind a
// switch of stacks the processor foresees no return.
[[gnu::always_inline]] inline void Machine::enter(Fiber& fiber) {
  fiber_ = &fiber;
  private_end_ = fiber.stack + kStack - kPrivate - kPage;
  switch_fiber(main_, fiber);
  if (preempted_) [[unlikely]]
    go_on(fiber);
}

void Machine::go_on(Fiber& fiber) {
  while (std::exchange(preempted_, false)) {
    if (launch_->asked_to_stop()) {
      broken_ = true;
      let_ticks_in();
      return;
    }
    switch_fiber(main_, fiber);
  }
}

// Of this thread's own accord, or in the handler of a signal whose registers then wait on the
// fiber's stack: code of a kernel holds nothing that others could wait for.
void Machine::preempt() {
  asked_.store(false, std::memory_order_relaxed);
  preempted_ = true;
  switch_fiber(*fiber_, main_);
}

void Machine::tick(bool in_kernel) {
  if (in_kernel)
    preempt();
  else
    asked_.store(true, std::memory_order_relaxed);
}

void Machine::fail_private(const char* at) {
  fail(Rule::private_memory,
       "its calls and arrays need " + std::to_string(fiber_->stack + kStack - at) +
           " bytes of private memory, over " + std::to_string(kPrivate) +
           "\n  use loops in place of calls that nest deeply, and smaller arrays");
}

// --- threadgroups ---

void Machine::run(Launch& launch, int64_t begin, int64_t end, Counts& counts) {
  struct Current {
    explicit Current(Machine* machine) : outer(std::exchange(current_machine, machine)) {}
    ~Current() { current_machine = outer; }
    Machine* outer;
  } current(this);
  launch_ = &launch;
  counts_ = &counts;
  asked_.store(false, std::memory_order_relaxed);
  want_ticks(soft_metal::tick);
  if (launch.count) observer_.start(launch.module->blocks);
  // Threads have the same numbers in every dispatch: what an earlier one left here is not theirs.
  if (launch.check && launch.local_bytes() > 0)
    Pages::clear(threadgroup_cells_.data(),
                 static_cast<size_t>(launch.local_bytes()) * sizeof(Cell));
  begin_ = begin;
  end_ = end;
  guard_stacks(launch.kernel->communicates ? static_cast<uint32_t>(launch.group_size()) : 1);
  if (launch.kernel->communicates) {
    each_group([this] { run_fibers(); });
  } else {
    Fiber& fiber = threads_[0].fiber;
    prepare(fiber, groups_entry);
    enter(fiber);
  }
}

template <class Run>
void Machine::each_group(Run&& run) {
  const Launch& l = *launch_;
  for (int64_t i = begin_; i < end_ && !l.stop.load(std::memory_order_relaxed); ++i) {
    start_group(l.check ? permuted(i, l.group_count(), l.seed) : i);
    run();
    ++counts_->threadgroups;
    counts_->threads += size_;
    counts_->simdgroups += simds();
  }
}

void Machine::start_group(int64_t number) {
  const Launch& l = *launch_;
  group_.buffers = l.memory->buffers();
  group_.threadgroup = threadgroup_args_;
  for (size_t i = 0; i < 31; ++i)
    threadgroup_args_[i] = reinterpret_cast<uint64_t>(local_base_) + l.dynamic_at[i];
  int64_t rest = number;
  size_ = 1;
  for (int d = 0; d < 3; ++d) {
    int64_t at = rest % l.groups[d];
    rest /= l.groups[d];
    int64_t threads = std::min(l.group[d], l.threads[d] - at * l.group[d]);
    group_.group_at[d] = static_cast<uint32_t>(at);
    group_.grid_threads[d] = static_cast<uint32_t>(l.threads[d]);
    group_.grid_groups[d] = static_cast<uint32_t>(l.groups[d]);
    group_.dispatch_threads[d] = static_cast<uint32_t>(l.group[d]);
    group_.group_threads[d] = static_cast<uint32_t>(threads);
    size_ *= static_cast<uint32_t>(threads);
  }
  // Numbers of threads fit the 32 bits of a Cell; beyond, they repeat and races in device memory
  // are not looked for.
  auto group_size = static_cast<uint64_t>(l.group_size());
  first_thread_ = static_cast<uint64_t>(number) % (kThreadNumbers / group_size) * group_size;
  broken_ = false;
  random_ = mixed(l.seed + static_cast<uint64_t>(number));
  // Nothing may be taken for a sensible value: floats and halves are NaN, integers absurd.
  std::memset(local_base_, 0xff, static_cast<size_t>(l.local_bytes()));
}

// --- threads that never meet ---

void Machine::groups_main() {
  if (launch_->check)
    each_group([this] { run_loop(); });
  else
    each_group([this] { launch_->kernel->plain(&group_); });
  switch_fiber(threads_[0].fiber, main_, true);
}

void Machine::run_loop() {
  shuffle_simds();
  for (uint32_t s : simd_order_) {
    for (uint32_t lane = 0; lane < lanes_of(s); ++lane) {
      uint32_t i = running_ = s * 32 + lane;
      group_.index = i;
      group_.thread_at[0] = i % group_.group_threads[0];
      group_.thread_at[1] = i / group_.group_threads[0] % group_.group_threads[1];
      group_.thread_at[2] = i / group_.group_threads[0] / group_.group_threads[1];
      launch_->kernel->thread(&group_);
    }
    flush(s, lanes_of(s) == 32 ? ~0u : (1u << lanes_of(s)) - 1);
  }
}

// --- threads that meet ---

void Machine::run_fibers() {
  device_ = local_ = Phase();
  for (uint32_t i = 0; i < size_; ++i) {
    Thread& t = threads_[i];
    t.state = State::fresh;
    t.position[0] = i % group_.group_threads[0];
    t.position[1] = i / group_.group_threads[0] % group_.group_threads[1];
    t.position[2] = i / group_.group_threads[0] / group_.group_threads[1];
  }
  for (;;) {
    shuffle_simds();
    for (uint32_t s : simd_order_)
      while (!broken_ && advance(s)) {
      }
    if (broken_) return;
    bool all_done = true;
    for (uint32_t i = 0; i < size_; ++i) all_done &= threads_[i].state == State::done;
    if (all_done) return;
    open_barrier();
    if (broken_) return;
  }
}

void Machine::thread_main() {
  launch_->kernel->thread(&group_);
  Thread& t = threads_[running_];
  t.state = State::done;
  switch_fiber(t.fiber, main_, true);
}

// Runs the SIMD-group's lanes until each waits; then lets one set of those that meet go on. False
// when all wait at a barrier of the threadgroup or are done.
bool Machine::advance(uint32_t simd) {
  uint32_t ran = 0;
  for (uint32_t lane = 0; lane < lanes_of(simd) && !broken_; ++lane) {
    State s = threads_[simd * 32 + lane].state;
    if (s != State::fresh && s != State::ready) continue;
    resume(simd * 32 + lane);
    ran |= 1u << lane;
  }
  if (broken_) return false;
  if (ran) flush(simd, ran);
  bool waits = false;
  for (uint32_t lane = 0; lane < lanes_of(simd); ++lane) {
    State s = threads_[simd * 32 + lane].state;
    waits |= s == State::meeting || s == State::simd_barrier;
  }
  if (waits) settle(simd);
  return waits && !broken_;
}

void Machine::resume(uint32_t i) {
  Thread& t = threads_[i];
  running_ = i;
  if (t.state == State::fresh) {
    group_.index = i;
    std::copy(t.position, t.position + 3, group_.thread_at);
    prepare(t.fiber, thread_entry);
  }
  t.state = State::ready;
  enter(t.fiber);
}

// Of the lanes that wait, those furthest back in the text go first: so lanes that took different
// ways come together again where the ways do.
void Machine::settle(uint32_t simd) {
  Thread* first = nullptr;
  for (uint32_t lane = 0; lane < lanes_of(simd); ++lane) {
    Thread& t = threads_[simd * 32 + lane];
    bool waits = t.state == State::meeting || t.state == State::simd_barrier;
    if (waits && (!first || t.line < first->line)) first = &t;
  }
  Meeting* m = &meetings_[simd * 2 + (turn_[simd] ^= 1)];
  m->active = m->ready = 0;
  const Thread pattern = *first;
  uint32_t alive = 0;
  for (uint32_t lane = 0; lane < lanes_of(simd); ++lane) {
    Thread& t = threads_[simd * 32 + lane];
    if (t.state != State::done) ++alive;
    if (t.state != pattern.state || t.line != pattern.line || t.kind != pattern.kind ||
        t.bytes != pattern.bytes)
      continue;
    if (t.uniform != pattern.uniform && launch_->check) {
      running_ = simd * 32 + lane;
      set_error(Rule::nonuniform_argument,
                "line " + std::to_string(t.line / kPlace) +
                    ": the lane, delta or mask of a SIMD-group function differs between lanes: " +
                    std::to_string(pattern.uniform - 1) + " and " + std::to_string(t.uniform - 1) +
                    "\n  pass one value for all lanes, or use simd_shuffle",
                -1);
      return;
    }
    m->active |= 1u << lane;
    if (t.bytes) std::memcpy(m->value[lane], t.value, t.bytes);
    t.meeting = m;
    t.state = State::ready;
    t.kind = 0;
  }
  if (pattern.kind == kMatrix && std::popcount(m->active) != 32 && launch_->check) {
    running_ = static_cast<uint32_t>(first - threads_.data());
    set_error(Rule::divergent_matrix,
              "line " + std::to_string(pattern.line / kPlace) +
                  ": simdgroup_matrix work reached by " + std::to_string(std::popcount(m->active)) +
                  " of 32 lanes\n  all lanes of a SIMD-group must get there together; make the "
                  "threadgroup a multiple of 32 threads",
              -1);
    return;
  }
  if (pattern.state == State::simd_barrier) {
    ++counts_->simd_barriers;
    if (pattern.flags & 1) ++device_.simd[simd];
    if (pattern.flags & 2) ++local_.simd[simd];
  } else {
    ++(pattern.kind == kMatrix ? counts_->matrix_operations : counts_->simd_operations);
  }
}

// Everyone waits at a barrier or is done: it opens if all wait at the same one.
void Machine::open_barrier() {
  const Thread* waiting = nullptr;
  uint32_t count = 0, odd = 0;
  for (uint32_t i = 0; i < size_; ++i) {
    const Thread& t = threads_[i];
    if (t.state == State::barrier && !waiting) waiting = &t;
  }
  for (uint32_t i = 0; i < size_; ++i) {
    const Thread& t = threads_[i];
    if (t.state == State::barrier && t.line == waiting->line)
      ++count;
    else
      odd = i;
  }
  if (count != size_) {
    const Thread& t = threads_[odd];
    running_ = odd;
    set_error(Rule::divergent_barrier,
              "threadgroup_barrier in line " + std::to_string(waiting->line / kPlace) +
                  " reached by " + std::to_string(count) + " of " + std::to_string(size_) +
                  " threads; this one " +
                  (t.state == State::done ? std::string("has returned")
                                          : "waits in line " + std::to_string(t.line / kPlace)) +
                  "\n  every thread of the threadgroup must reach the same barrier: move it out of "
                  "the condition, or return after it",
              -1);
    return;
  }
  ++counts_->barriers;
  if (waiting->flags & 1) ++device_.group;
  if (waiting->flags & 2) ++local_.group;
  for (uint32_t i = 0; i < size_; ++i) threads_[i].state = State::ready;
}

void Machine::yield() { switch_fiber(threads_[running_].fiber, main_); }

void Machine::barrier(uint32_t flags, int line, bool simd) {
  Thread& t = threads_[running_];
  t.state = simd ? State::simd_barrier : State::barrier;
  t.line = line;
  t.kind = 0;
  t.bytes = 0;
  t.flags = flags;
  t.uniform = 0;
  yield();
}

void* Machine::meet(int kind, const void* value, uint32_t bytes, uint64_t uniform, int line) {
  Thread& t = threads_[running_];
  t.state = State::meeting;
  t.kind = kind;
  t.line = line;
  t.value = value;
  t.bytes = bytes;
  t.uniform = uniform;
  yield();
  return t.meeting;
}

void Machine::fence(uint32_t flags) {
  if (flags & 1) launch_->fenced.store(true, std::memory_order_relaxed);
}

uint64_t Machine::static_threadgroup(uint32_t which) const {
  return reinterpret_cast<uint64_t>(local_base_) +
         static_cast<uint64_t>(launch_->stretches[which].at);
}

void Machine::flush(uint32_t, uint32_t lanes) {
  if (launch_->count) observer_.flush(lanes, *counts_);
}

uint32_t Machine::lanes_of(uint32_t simd) const { return std::min(32u, size_ - simd * 32); }

void Machine::shuffle_simds() {
  simd_order_.resize(simds());
  std::iota(simd_order_.begin(), simd_order_.end(), 0);
  if (!launch_->check) return;
  for (size_t i = simd_order_.size(); i > 1; --i) {
    random_ = mixed(random_ + i);
    std::swap(simd_order_[i - 1], simd_order_[random_ % i]);
  }
}

const Calls& machine_calls() {
  static const Calls calls = {
      [](const void* at, uint64_t bytes, int write, const void* site) {
        Machine::current().access(at, bytes, write != 0, false, site);
      },
      [](uint32_t id) {
        Machine::current().block(id, static_cast<const char*>(__builtin_frame_address(0)));
      },
      [](uint32_t flags, int line) { Machine::current().barrier(flags, line, false); },
      [](uint32_t flags, int line) { Machine::current().barrier(flags, line, true); },
      [](int kind, const void* value, uint32_t bytes, uint64_t uniform, int line) {
        return Machine::current().meet(kind, value, bytes, uniform, line);
      },
      [] { return Machine::current().lane(); },
      [](uint32_t flags) { Machine::current().fence(flags); },
      [](const void* at, uint32_t bytes, int write) {
        Machine::current().access(at, bytes, write != 0, true, nullptr);
      },
      [](uint32_t which) { return Machine::current().static_threadgroup(which); },
      [] { Machine::current().inactive(); },
  };
  return calls;
}

}  // namespace lamina::soft_metal
