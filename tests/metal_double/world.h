// The world behind the double of Metal: which machine it pretends to be, what it is told to get
// wrong, what it saw done wrong. One for the process; tests restart it.
#pragma once

#include <array>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace metal_double {

struct Machine {
  std::string name = "Apple M2 Max";
  std::string architecture = "applegpu_g14s";
  int family = 8;
  int os_major = 15;
  std::string os_build = "24F74";
  bool present = true;  // false: no GPU at all
  bool listed = true;   // false: only MTLCreateSystemDefaultDevice finds it
  bool stage_counters = true;
  bool may_capture = true;
  bool matrix_library = true;
  int64_t memory = int64_t{8} << 30;  // of which the working set is three quarters
  int64_t buffer_limit = int64_t{4} << 30;
  int max_threads = 1024;
  int64_t threadgroup_bytes = 32768;
  int pipeline_threads = 1024;  // what the compiler gives where nothing is asked for
  uint64_t seed = 1;            // of the order of what nothing orders
  int completion_delay_us = 0;  // at most; completions then come in random order across queues
};

// Where a failure can be injected. The n-th use from now fails, for `times` uses.
enum class Point {
  buffer,
  adopt,
  library,
  pipeline,
  queue,
  commands,
  encoder,
  fence,
  samples,
  run,
  archive,
  product,  // of the matrix library: it has none for it
  sums,     // of the matrix library: they are wrong
  tiles     // as if a compiler had broken a text with tiles: its first result is wrong
};
inline constexpr int64_t kNever = -1;  // code of `run`: the command buffer does not end
struct Injected {
  int64_t after = 0, times = 0;
  int64_t code = 0;  // run: of the command buffer's error
};

// What was done, in figures that tests compare.
struct Seen {
  int64_t command_buffers = 0, encoders = 0, dispatches = 0, barriers = 0, fence_waits = 0,
          live_objects = 0, live_buffers = 0, buffer_bytes = 0, resident_bytes = 0,
          resident_sets = 0, traces = 0, pipeline_compilations = 0, products = 0, libraries = 0,
          uncontracted = 0;  // of the libraries: their text forbids joining a product and a sum
};

// An object that command buffers use without retaining it. Its record outlives it, so that a use
// after its end is seen and not suffered.
struct Tracked {
  virtual ~Tracked() = default;
  std::string label;
  int users = 0;       // command buffers that need it and have not ended
  int64_t device = 0;  // the number of the one that made it; 0: any
  bool destroyed = false;
};
using TrackedRef = std::shared_ptr<Tracked>;

struct Storage : Tracked {
  ~Storage() override;
  char* data = nullptr;
  int64_t bytes = 0;
  bool owned = true;
};
using StorageRef = std::shared_ptr<Storage>;

// Bytes that a dispatch touched.
struct Touched {
  const Storage* storage;
  int64_t begin, end;
  bool written;
};

// Which accesses are ordered. A stretch is what runs between two barriers or waits of an encoder.
class Order {
 public:
  using Stretch = uint64_t;
  using Set = std::set<Stretch>;
  // `birth`: epoch() when its encoder was made; what the CPU had seen end by then comes before it.
  Stretch fresh(const Set& after, uint64_t birth);
  // The stretches and all that is ordered before them.
  Set closure(const Set& stretches) const;
  // The first conflict with an access that nothing orders before this one, as a sentence, or "".
  std::string access(Stretch stretch, const std::string& kernel, const Touched& touched);
  void seen(const Set& stretches);
  uint64_t epoch() const { return epoch_; }
  void forget(const Storage* storage) { uses_.erase(storage); }

 private:
  struct Use {
    Stretch stretch;
    std::string kernel;
    int64_t begin, end;
    bool written;
  };
  bool ordered(Stretch earlier, Stretch later) const;

  Stretch next_ = 1;
  uint64_t epoch_ = 1;
  std::map<Stretch, Set> before_;
  std::map<Stretch, uint64_t> birth_;
  std::map<Stretch, uint64_t> seen_at_;
  std::map<const Storage*, std::vector<Use>> uses_;
};

struct World {
  std::mutex mutex;  // of everything here
  std::condition_variable changed;
  Machine machine;
  Seen seen;
  Order order;
  std::mt19937_64 random;
  bool held = false;    // command buffers wait until it is false again
  int64_t through = 0;  // but for so many, the next ones
  bool capturing = false;
  std::map<Point, Injected> injected;
  std::vector<std::string> violations;

  // The next three REQUIRE the mutex.
  void violation(const std::string& text) { violations.push_back(text); }
  bool fails(Point point, int64_t* code = nullptr);
  void destroyed(const TrackedRef& object);

  // REQUIRES that no object of the double is alive.
  void restart(const Machine& machine);
};
World& world();

// Asks the device for memory with options that the host does not use.
void ask_for_memory(uint64_t options);
// Compiles a text with fast math on.
void compile_with_fast_math(const std::string& source);
// On an encoder (an id) that has ended, every call that the host makes of one; `pipeline`, `buffer`
// and `fence` are ids too.
void use_after_end(void* encoder, void* pipeline, void* buffer, void* fence);
// Keeps an object alive until its release.
void* retained(void* object);

}  // namespace metal_double
