// One command queue: takes launches in order, decides barriers, fences and where command buffers
// end, and knows what has completed and what has failed.
//
// Used by one thread at a time; completions come on threads of the system's. A failed command
// buffer fails its own ticket, however often that is asked for, and no other: the caller knows
// which launches needed its results.
#pragma once

#include <array>
#include <atomic>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <unordered_set>
#include <vector>

#include "devices/metal/chips.h"
#include "devices/metal/hazards.h"
#include "devices/metal/memory.h"
#include "devices/metal/pipelines.h"
#include "devices/metal/products.h"

namespace lamina::metal {

// A buffer of a launch: where it is bound, and which bytes from there it may touch.
struct Binding {
  Place place;
  int64_t first = 0;         // bytes from `place`; negative where strides run backwards
  int64_t last = INT64_MAX;  // one past; clipped to the block
  bool written = false;
};

struct Launch {
  PipelineRef pipeline;
  std::span<const Binding> buffers;
  std::span<const unsigned char> block;  // constants, bound after the buffers
  std::array<int64_t, 3> groups{1, 1, 1};
  std::array<int, 3> threads{1, 1, 1};
  std::array<int64_t, 3> grid{0, 0, 0};  // as TextKernel's: threads in all, or zero
  int64_t threadgroup_bytes = 0;
  int64_t bytes = 0, flops = 0;  // what it should cost
  uint64_t tag = 0;              // comes back with its time
};

// One product of the system's matrix library.
struct ProductLaunch {
  std::shared_ptr<const Product> product;
  Binding left, right, result;
  MatrixPlace places[3];  // of left, right and result; their buffers are filled in
  int64_t bytes = 0, flops = 0;
  uint64_t tag = 0;
};

// When a launch ran, on now_ns()'s clock: by the counters of its encoder or, where the chip has
// none, by the command buffer it then has to itself.
struct Span {
  enum class Source : uint8_t { counters, command_buffer };
  Source source;
  uint64_t tag;  // of the launch
  int64_t t0, t1;
};

struct QueueCounts {
  int64_t command_buffers = 0, encoders = 0, launches = 0, barriers = 0, fence_waits = 0;
  int64_t products = 0;  // of the launches
  int64_t flops = 0;     // that they were said to take
  // Where the time of a launch came from, or that it has none: the system gave no samples, or the
  // command buffer failed.
  int64_t times_of_counters = 0, times_of_command_buffers = 0, times_missing = 0;
};

class Queue {
 public:
  struct Options {
    bool track = true;             // off only in the test that shows that tests would notice
    int64_t patience_ms = 60'000;  // without any completion, before the device counts as lost
  };

  Queue(Host& host, Memory& memory, const Chip& chip) : Queue(host, memory, chip, Options()) {}
  Queue(Host& host, Memory& memory, const Chip& chip, Options options);
  ~Queue();  // waits; drops failures
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;

  // Throws before anything is encoded: DeviceError where the device cannot run it, OutOfMemory.
  // Returns the ticket to wait for: the number of its command buffer.
  uint64_t launch(const Launch& launch);
  // The same for a product, whose encoder no fence reaches: events order it after all that its
  // command buffer has before it, and before all that comes after.
  uint64_t multiply(const ProductLaunch& launch);
  // Sends off what has been encoded. Returns the last ticket given out.
  uint64_t commit();
  // Returns when the ticket's work is done; commits it first if need be. Throws what went wrong.
  void wait(uint64_t ticket);
  // Waits as wait() does, and throws nothing: a failure stays with its ticket.
  void settle(uint64_t ticket);
  // Why one of these tickets failed, the first that did, or null. REQUIRES settle(last).
  std::exception_ptr failure_of(uint64_t first, uint64_t last);
  // Waits for everything; throws what has not been thrown yet.
  void synchronize();
  // Whether its command buffer has ended, well or not. Asks nothing of the GPU.
  bool done(uint64_t ticket);
  uint64_t last_ticket() const { return last_ticket_; }
  // Any thread: the command buffers up to this ticket were seen to have ended.
  uint64_t ended() const { return ended_; }

  // Whether what is under way may conflict with this access by the CPU.
  bool touches(const Access& access) const;

  // The launches from here on wait for the other queue's ticket, on the GPU.
  void wait_for(Queue& other, uint64_t ticket);

  // Keeps something alive until what has been encoded so far is done.
  void keep(std::shared_ptr<const void> object);
  // Runs on the thread that uses the queue, at one of its later calls or in the destructor, once
  // the ticket's work is done.
  void when_done(uint64_t ticket, std::function<void()> call);

  // From the next launch on each has a time.
  void set_timed(bool timed);
  // Of everything committed so far; waits for it.
  std::vector<Span> take_times();

  Handle handle() const { return queue_; }
  const QueueCounts& counts() const { return counts_; }
  // Command buffers committed whose completion has not been taken in.
  size_t in_flight() const { return flights_.size(); }

 private:
  struct Encoder;
  struct Flight;
  struct Shared;
  struct Failed {
    uint64_t first, last;  // tickets
    std::exception_ptr error;
    bool told;
  };

  void check(const Launch& launch) const;
  void begin();
  void make_room(int64_t bytes, int64_t flops);
  std::vector<Access> take_in(std::span<const Binding> buffers);
  void count(int64_t bytes, int64_t flops, uint64_t tag);
  void begin_encoder(const std::string& name);
  void stand_in_line();
  void end_encoder();
  void order(std::span<const Access> accesses);
  bool encode(const Launch& launch, std::span<const Access> accesses);
  BoundBuffer spill(std::span<const unsigned char> block);
  bool full() const;
  void reap();
  void land(Flight& flight);
  void has_ended(uint64_t ticket);
  void take_time(Flight& flight);
  void run_calls();
  bool settled(uint64_t ticket);
  void await(uint64_t ticket);
  void await_completions();
  void give_up();
  void leave_to_device();
  std::exception_ptr error_of(const Failure& failure, const Flight& flight) const;

  Host& host_;
  Memory& memory_;
  const Chip chip_;
  const Options options_;
  Handle queue_;
  Handle event_;
  Handle order_event_ = nullptr;  // made at the first product
  uint64_t order_value_ = 0;
  std::shared_ptr<Shared> shared_;
  std::unique_ptr<Flight> current_;              // being encoded
  std::deque<std::unique_ptr<Flight>> flights_;  // committed, oldest first
  std::vector<Handle> fences_;                   // free
  std::vector<Handle> samples_;                  // free
  std::vector<std::pair<uint64_t, std::function<void()>>> calls_;
  std::vector<Failed> failed_;
  std::vector<Span> times_;
  std::atomic<uint64_t> last_ticket_ = 0;  // read by threads that release memory
  std::atomic<uint64_t> ended_ = 0;        // read by threads that ask what memory is in use
  double correction_ = 1;                  // measured over estimated time
  bool timed_ = false;
  bool lost_ = false;      // it has been given up: what it may touch is never freed
  bool detailed_ = false;  // after a failure, errors name the encoder
  QueueCounts counts_;
};

}  // namespace lamina::metal
