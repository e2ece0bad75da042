// One thread's share of a GPU: runs threadgroups, one after another.
//
// Threads that meet (barriers, SIMD-group functions) are fibers; those that do not are calls in a
// loop. Within a SIMD-group lanes run one by one up to where they meet.
#pragma once

#include <pthread.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "devices/soft_metal/fiber.h"
#include "devices/soft_metal/memory.h"
#include "devices/soft_metal/module.h"
#include "devices/soft_metal/observer.h"

namespace lamina::soft_metal {

constexpr uint64_t kThreadNumbers = (uint64_t{1} << 32) - 2;

// A dispatch, prepared; shared by the machines that run it.
struct Launch {
  const Dispatch* dispatch = nullptr;
  const KernelInfo* kernel = nullptr;
  const Module* module = nullptr;
  Memory* memory = nullptr;
  std::string name;
  bool check = false, count = false;
  uint64_t seed = 0;
  int64_t groups[3] = {1, 1, 1};
  int64_t threads[3] = {1, 1, 1};  // of the grid
  int64_t group[3] = {1, 1, 1};    // asked for
  // Threadgroup memory: every variable and argument as a stretch of its own, gaps between.
  struct Stretch {
    int64_t at, bytes;
    std::string name;
  };
  std::vector<Stretch> stretches;  // static variables first
  uint64_t dynamic_at[31] = {};    // offsets of the dynamic arguments
  int64_t threadgroup_granule = 4;
  std::atomic<bool> fenced{false};  // a device-wide fence orders what barriers do not
  std::atomic<bool> stop{false};
  std::atomic<bool> interrupted{false};
  pthread_t caller{};  // may ask dispatch->interrupted
  std::mutex error_mutex;
  std::unique_ptr<RuleError> error;  // the first

  int64_t local_bytes() const {
    return stretches.empty() ? 0 : stretches.back().at + stretches.back().bytes;
  }
  // Whether there is an error or an interrupt.
  bool asked_to_stop();
  int64_t group_count() const { return groups[0] * groups[1] * groups[2]; }
  int64_t group_size() const { return group[0] * group[1] * group[2]; }
};

class Machine {
 public:
  Machine();
  // Runs the threadgroups [begin, end) of the launch's order. Returns early when launch.stop is
  // set.
  void run(Launch& launch, int64_t begin, int64_t end, Counts& counts);

  static Machine& current();
  void access(const void* at, uint64_t bytes, bool write, bool atomic, const void* site);
  // stack: where the calls of the thread have got to.
  void block(uint32_t id, const char* stack) {
    if (stack < private_end_) fail_private(stack);
    if (asked_.load(std::memory_order_relaxed)) preempt();
    if (launch_->count) observer_.block(id, static_cast<int>(running_ & 31));
  }
  void barrier(uint32_t flags, int line, bool simd);
  void* meet(int kind, const void* value, uint32_t bytes, uint64_t uniform, int line);
  uint32_t lane() const { return running_ & 31; }
  void fence(uint32_t flags);
  uint64_t static_threadgroup(uint32_t which) const;
  void inactive() { ++counts_->inactive_reads; }
  void thread_main();  // on a fiber
  void groups_main();  // on a fiber: groups whose threads do not meet
  void tick(bool in_kernel);

 private:
  enum class State : uint8_t { fresh, ready, meeting, simd_barrier, barrier, done };
  struct Meeting {  // struct lm_meeting of the prelude
    uint32_t active = 0, ready = 0;
    char value[32][64];
    char result[512];
  };
  struct Thread {
    Fiber fiber;
    State state = State::fresh;
    uint32_t position[3];
    int kind = 0, line = 0;
    const void* value = nullptr;
    uint32_t bytes = 0, flags = 0;
    uint64_t uniform = 0;
    Meeting* meeting = nullptr;
  };
  struct Phase {  // how often a space was ordered by barriers
    uint64_t group = 0, simd[32] = {};
  };

  void start_group(int64_t number);
  void guard_stacks(uint32_t threads);
  template <class Run>
  void each_group(Run&& run);
  void run_loop();
  void enter(Fiber& fiber);
  void go_on(Fiber& fiber);
  void preempt();
  void run_fibers();
  bool advance(uint32_t simd);
  void resume(uint32_t thread);
  void settle(uint32_t simd);
  void open_barrier();
  void yield();
  void flush(uint32_t simd, uint32_t lanes);
  uint32_t lanes_of(uint32_t simd) const;
  uint32_t simds() const { return (size_ + 31) / 32; }
  void shuffle_simds();

  void buffer_access(Region* region, const char* at, uint64_t bytes, bool write, bool atomic,
                     const void* site);
  void threadgroup_access(const char* at, uint64_t bytes, bool write, bool atomic,
                          const void* site);
  enum class Verdict : uint8_t { fine, race, unwritten };
  Verdict mark(Cell* cells, int64_t granule, int64_t from, uint64_t bytes, bool write, bool atomic,
               const Phase& phase, bool local, uint64_t& other);
  bool ordered(uint64_t cell, const Phase& phase) const;
  uint64_t stamp(const Phase& phase) const;

  // Record the error and leave the fiber for good.
  [[noreturn]] void fail(Rule rule, const std::string& what, int buffer = -1);
  void set_error(Rule rule, const std::string& what, int buffer);
  std::string where() const;
  std::string position_text(uint64_t thread) const;
  [[noreturn]] void fail_bounds(const char* at, uint64_t bytes, bool write, const std::string& what,
                                int64_t offset, int64_t length, int buffer);
  [[noreturn]] void fail_private(const char* at);
  [[noreturn]] void fail_race(const std::string& what, int64_t offset, uint64_t other, bool write,
                              int buffer);

  Launch* launch_ = nullptr;
  Counts* counts_ = nullptr;
  Group group_{};
  uint64_t threadgroup_args_[31] = {};
  uint32_t size_ = 0, running_ = 0;
  uint64_t first_thread_ = 0;    // number of the group's first thread in the dispatch
  int64_t begin_ = 0, end_ = 0;  // of the launch's threadgroups
  bool broken_ = false;
  Fiber main_;
  Fiber* fiber_ = nullptr;             // the one that runs
  const char* private_end_ = nullptr;  // how far its stack may reach
  std::atomic<bool> asked_{false};     // by a tick outside of the kernel's code
  bool preempted_ = false;
  uint32_t guarded_ = 0;  // stacks that have their guard
  std::vector<Thread> threads_;
  std::vector<uint32_t> simd_order_;
  std::vector<Meeting> meetings_;  // two a SIMD-group, in turn
  std::vector<uint8_t> turn_;
  Phase device_, local_;
  Pages stacks_, threadgroup_, threadgroup_cells_;
  char* local_base_ = nullptr;
  Observer observer_;
  uint64_t random_ = 1;
};

}  // namespace lamina::soft_metal
