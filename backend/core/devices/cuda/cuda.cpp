// The CUDA device: one GPU, one context, one stream. Launches of plans go through replay.h.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include "base/clock.h"
#include "base/error.h"
#include "devices/cuda/convolutions.h"
#include "devices/cuda/cuda.h"
#include "devices/cuda/nvrtc.h"
#include "devices/cuda/products.h"
#include "devices/cuda/replay.h"
#include "devices/text_device.h"

namespace lamina {

namespace cuda {

namespace {

constexpr int64_t kStaticSharedBytes = 48 << 10;  // what a kernel may declare
constexpr int kMaxArguments = 64;
// Products go to the matrix library, and what follows them is a launch of its own. Below which size
// a launch saved is worth more has not been measured.
constexpr int64_t kEpilogueWork = 0;
constexpr const char* kWaits = "  AFTER_EARLIER_KERNELS();";  // first in the body of such a text

struct Hardware {
  DeviceOrdinal ordinal = 0;
  Context context = nullptr;
  std::string name;
  int capability = 0;  // 90 for 9.0
  int cores = 0, max_threads = 0;
  int64_t shared_bytes = 0, memory_bytes = 0;

  // The context belongs to a thread until another is set there.
  void enter() const {
    thread_local Context entered = nullptr;
    if (entered == context) return;
    check(driver().set_context(context), "context");
    entered = context;
  }
};

Hardware find_hardware() {
  const Driver& d = driver();
  check(d.init(0), "driver");
  int count = 0;
  check(d.device_count(&count), "device count");
  if (count == 0) throw DeviceError("cuda: the driver sees no GPU (CUDA_VISIBLE_DEVICES?)");
  Hardware h;
  check(d.device_get(&h.ordinal, 0), "device");
  char name[256] = {};
  check(d.device_name(name, sizeof name - 1, h.ordinal), "device name");
  h.name = name;
  auto attribute = [&](Attribute a) {
    int value = 0;
    check(d.device_attribute(&value, a, h.ordinal), "device attribute");
    return value;
  };
  h.capability = attribute(Attribute::compute_major) * 10 + attribute(Attribute::compute_minor);
  h.cores = attribute(Attribute::multiprocessors);
  h.max_threads = attribute(Attribute::max_threads_per_block);
  h.shared_bytes = attribute(Attribute::shared_bytes_opt_in);
  size_t bytes = 0;
  check(d.device_memory(&bytes, h.ordinal), "device memory");
  h.memory_bytes = static_cast<int64_t>(bytes);
  check(d.primary_context(&h.context, h.ordinal), "context");
  h.enter();
  return h;
}

class GpuMemory : public BlockSource {
 public:
  explicit GpuMemory(const Hardware& hardware) : hardware_(hardware) {}
  void* take(int64_t capacity) noexcept override {
    DevicePtr data = 0;
    try {
      hardware_.enter();
    } catch (const Error&) {
      return nullptr;
    }
    Result r = driver().memory_alloc(&data, static_cast<size_t>(capacity));
    return r == 0 ? reinterpret_cast<void*>(static_cast<uintptr_t>(data)) : nullptr;
  }
  void give(void* data, int64_t) noexcept override {
    try {
      hardware_.enter();
    } catch (const Error&) {
      return;
    }
    driver().memory_free(static_cast<DevicePtr>(reinterpret_cast<uintptr_t>(data)));
  }
  int64_t available() noexcept override {
    size_t free = 0, total = 0;
    if (driver().memory_info(&free, &total) != 0) return INT64_MAX;
    return static_cast<int64_t>(free);
  }

 private:
  const Hardware& hardware_;
};

TextTraits traits_of(const Hardware& h) {
  TextTraits t = text_traits(h.cores);
  t.max_threads = h.max_threads;
  t.max_buffers = kMaxArguments + 1;
  t.epilogue_work = kEpilogueWork;
  return t;
}

struct Pipeline {
  Module module = nullptr;
  Function function = nullptr;
  bool waits = false;  // for earlier kernels, in its own text
  const uint64_t serial = next_serial();
  ~Pipeline() {
    if (module) driver().module_unload(module);
  }
};

DevicePtr address(const void* data) {
  return static_cast<DevicePtr>(reinterpret_cast<uintptr_t>(data));
}

// LAMINA_CUDA_LIBRARIES=0: lamina's own kernels throughout.
bool wants_libraries() {
  const char* value = std::getenv("LAMINA_CUDA_LIBRARIES");
  return !value || std::string(value) != "0";
}

// A plan up to the event recorded behind it.
class PlanWork : public Work {
 public:
  PlanWork(const Hardware& hardware, std::shared_ptr<EventObject> mark)
      : hardware_(hardware), mark_(std::move(mark)) {}
  bool done() override {
    hardware_.enter();
    return driver().event_query(mark_.get()) != kNotReady;
  }
  std::exception_ptr wait() override {
    try {
      hardware_.enter();
      check(driver().event_wait(mark_.get()), "waiting for the device");
      return nullptr;
    } catch (const Error&) {
      return std::current_exception();
    }
  }

 private:
  const Hardware& hardware_;
  const std::shared_ptr<EventObject> mark_;
};

class CudaDevice : public TextDevice {
 public:
  explicit CudaDevice(Hardware hardware)
      : TextDevice("cuda", traits_of(hardware), compile_options(target_for(hardware.capability))),
        hardware_(std::move(hardware)),
        target_(target_for(hardware_.capability)),
        memory_(hardware_),
        pool_(hardware_.memory_bytes, &memory_, " on cuda"),
        stream_(new_stream()),
        replay_(stream_) {
    pool_.set_cache_limit(hardware_.memory_bytes / 4);
    info_.name = "cuda";
    info_.detail = hardware_.name;
    info_.architecture = "sm_" + std::to_string(hardware_.capability);
    info_.memory_bytes = hardware_.memory_bytes;
    info_.max_kernel_args = kMaxArguments;
    info_.unified = false;
  }

  const DeviceInfo& info() const override { return info_; }
  void* allocate(int64_t bytes) override { return pool_.allocate(bytes); }
  void release(void* data, int64_t bytes) noexcept override { pool_.release(data, bytes); }
  Pool& pool() override { return pool_; }

  void copy(void* dst, const void* src, int64_t bytes) override {
    enter();
    check(driver().on_device(address(dst), address(src), static_cast<size_t>(bytes), stream_),
          "copy");
  }
  void upload(void* dst, const void* host, int64_t bytes) override {
    enter();
    check(driver().to_device(address(dst), host, static_cast<size_t>(bytes), stream_),
          "copy to the device");
    // Pageable memory has been read when the call returns; pinned memory has not.
    int type = 0;
    if (driver().pointer_attribute(&type, kMemoryType, address(host)) == 0) wait();
  }
  void download(void* host, const void* src, int64_t bytes) override {
    enter();
    check(driver().to_host(host, address(src), static_cast<size_t>(bytes), stream_),
          "copy to the CPU");
    wait();
  }
  // On a stream of its own: nothing else of that one's is under way.
  void fetch(void* host, const void* src, int64_t bytes) override {
    enter();
    if (!fetches_) fetches_ = new_stream();
    check(driver().to_host(host, address(src), static_cast<size_t>(bytes), fetches_),
          "copy to the CPU");
    check(driver().stream_wait(fetches_), "waiting for a copy");
  }
  void synchronize() override {
    enter();
    wait();
  }

  void begin_plan(uint64_t family, bool timed) override {
    enter();
    timed_ = timed;
    level_ = 0;
    replay_.begin(family, timed);
    if (!timed) return;
    // The device's clock and the CPU's meet at an idle moment.
    steps_ = 0;
    wait();
    check(driver().event_record(event(0), stream_), "event");
    check(driver().event_wait(event(0)), "event");
    start_ns_ = now_ns();
  }
  // Work of its own only where somebody waits for this plan and not for what follows.
  std::shared_ptr<Work> end_plan(bool awaited) override {
    replay_.end();
    if (!awaited) return nullptr;
    std::shared_ptr<EventObject> mark = take_mark();
    check(driver().event_record(mark.get(), stream_), "event");
    return std::make_shared<PlanWork>(hardware_, std::move(mark));
  }
  void forget_plan(uint64_t family) noexcept override { replay_.forget(family); }

  void begin_step(int64_t) override {
    if (timed_) check(driver().event_record(event(1 + 2 * steps_), stream_), "event");
  }
  void end_step() override {
    if (timed_) check(driver().event_record(event(2 + 2 * steps_++), stream_), "event");
  }
  std::vector<StepTime> take_step_times() override {
    wait();
    std::vector<StepTime> times;
    auto since_start = [&](size_t e) {
      float ms = 0;
      check(driver().event_elapsed(&ms, event(0), event(e)), "event");
      return start_ns_ + static_cast<int64_t>(static_cast<double>(ms) * 1e6);
    };
    for (size_t s = 0; s < steps_; ++s)
      times.push_back({since_start(1 + 2 * s), since_start(2 + 2 * s), Clock::events});
    timed_ = false;
    return times;
  }

  void launch_many(std::span<const Instance> instances) override {
    beside_ = instances.size() > 1;
    first_beside_ = true;
    for (const Instance& i : instances) {
      alone_ = true;
      launch(*i.kernel, i.buffers, i.scalars);
    }
    beside_ = false;
  }

  const Replay::Counts& replay_counts() const { return replay_.counts(); }

 protected:
  void flush() override { replay_.flush(); }

  std::shared_ptr<void> compile_text(const TextKernel& kernel) override {
    enter();
    if (kernel.threadgroup_bytes > hardware_.shared_bytes)
      throw ValueError("cuda: kernel " + kernel.name + " asks for " +
                       std::to_string(kernel.threadgroup_bytes) +
                       " bytes of shared memory, a threadgroup of this GPU has " +
                       std::to_string(hardware_.shared_bytes));
    std::string image = kernel.image
                            ? *kernel.image
                            : artifact(kernel, [&] { return cuda::compile(kernel, target_); });
    auto made = std::make_shared<Pipeline>();
    const std::string loading = kernel.image ? "loading the module given for " + kernel.name
                                             : std::string("loading a kernel");
    check(driver().module_load(&made->module, image.c_str()), loading.c_str());
    check(driver().module_function(&made->function, made->module, kernel.name.c_str()),
          kernel.name.c_str());
    made->waits = kernel.source.find(kWaits) != std::string::npos;
    if (kernel.threadgroup_bytes > kStaticSharedBytes)
      check(driver().function_set(made->function, kMaxDynamicSharedBytes,
                                  static_cast<int>(kernel.threadgroup_bytes)),
            "shared memory");
    return made;
  }

  void launch_text(void* pipeline, const TextKernel& kernel, void* const* buffers,
                   const void* block) override {
    Launch& l = replay_.next();
    l.function = static_cast<Pipeline*>(pipeline)->function;
    l.serial = static_cast<Pipeline*>(pipeline)->serial;
    l.library = nullptr;
    l.operands = {};
    for (size_t d = 0; d < 3; ++d) {
      l.grid[d] = static_cast<unsigned>(kernel.groups[d]);
      l.block[d] = static_cast<unsigned>(kernel.threads[d]);
    }
    l.shared_bytes = static_cast<unsigned>(kernel.threadgroup_bytes);
    l.waits = static_cast<Pipeline*>(pipeline)->waits;
    l.level = level_of(kernel);
    size_t count = kernel.buffers.size();
    // The block stands on a multiple of 16, as any structure may want.
    size_t block_at = (count * sizeof(void*) + 15) / 16 * 16;
    // The driver reads the whole structure, padding at its end included.
    l.args.assign(block_at + (kernel.block.size() + 15) / 16 * 16, 0);
    l.offsets.resize(count);
    for (size_t i = 0; i < count; ++i) l.offsets[i] = static_cast<uint32_t>(i * sizeof(void*));
    std::memcpy(l.args.data(), buffers, count * sizeof(void*));
    if (!kernel.block.empty()) {
      std::memcpy(l.args.data() + block_at, block, kernel.block.size());
      for (uint32_t at : kernel.values) l.offsets.push_back(static_cast<uint32_t>(block_at) + at);
      if (kernel.values.empty()) l.offsets.push_back(static_cast<uint32_t>(block_at));
    }
    replay_.add();
  }

  Library prepare_library(const LibraryWork& work, const TextTraits&) override {
    if (!libraries_) return {};
    enter();
    std::shared_ptr<LibraryCall> call;
    if (auto* product = std::get_if<LibraryProduct>(&work.what)) call = products_.prepare(*product);
    if (auto* conv = std::get_if<LibraryConvolution>(&work.what))
      call = convolutions_.prepare(*conv);
    if (!call || !reserve(call->workspace_bytes())) return {};
    const std::string text = call->text();
    return {{{{}, std::move(call), work.operands, flops_of(work)}}, {}, text};
  }
  void launch_library(void* call, void* first, void* second, void* out) override {
    Launch& l = replay_.next();
    l.function = nullptr;
    l.library = static_cast<LibraryCall*>(call);
    l.serial = l.library->serial;
    l.operands = {first, second, out, workspace_};
    l.args.clear();
    l.level = ++level_;  // they share the workspace
    first_beside_ = true;
    replay_.add();
  }

 private:
  void enter() const { hardware_.enter(); }

  // Makes the workspace of library calls as large as any of them wants it. Graphs that know the old
  // one are given the new one as they are given other operands.
  bool reserve(int64_t bytes) {
    if (bytes <= workspace_bytes_) return true;
    void* larger = memory_.take(bytes);
    if (!larger) {
      pool_.clear_cache();
      larger = memory_.take(bytes);
    }
    if (!larger) return false;
    if (workspace_) {
      wait();
      memory_.give(workspace_, workspace_bytes_);
    }
    workspace_ = larger;
    workspace_bytes_ = bytes;
    return true;
  }
  void wait() { check(driver().stream_wait(stream_), "waiting for the device"); }

  Stream new_stream() {
    Stream s = nullptr;
    check(driver().stream_create(&s, kNonBlocking), "stream");
    return s;
  }

  // An event for one plan, which comes back when nobody asks for it any more.
  std::shared_ptr<EventObject> take_mark() {
    Event e = nullptr;
    std::lock_guard lock(marks_mutex_);
    if (marks_.empty()) {
      check(driver().event_create(&e, kNoTiming), "event");
    } else {
      e = marks_.back();
      marks_.pop_back();
    }
    return {e, [this](Event used) {
              std::lock_guard lock(marks_mutex_);  // any thread may drop an array
              marks_.push_back(used);
            }};
  }

  // Event 0 starts a timed run, 1 + 2 s and 2 + 2 s stand around step s.
  Event event(size_t i) {
    while (events_.size() <= i) {
      Event e = nullptr;
      check(driver().event_create(&e, 0), "event");
      events_.push_back(e);
    }
    return events_[i];
  }

  // Kernels of one launch_many do not wait for each other, unless they share temporaries. Those
  // with turns have temporaries too, so two runs of one kernel never share its turns.
  int level_of(const TextKernel& kernel) {
    bool temporaries = std::any_of(kernel.buffers.begin(), kernel.buffers.end(),
                                   [](const TextKernel::Bind& b) { return b.operand < 0; });
    bool side_by_side = beside_ && alone_ && !temporaries;
    alone_ = false;
    if (!side_by_side || first_beside_) ++level_;
    first_beside_ = !side_by_side;
    return level_;
  }

  const Hardware hardware_;
  const Target target_;
  GpuMemory memory_;
  Pool pool_;
  Stream stream_;
  Stream fetches_ = nullptr;  // made at the first
  Replay replay_;
  Products products_;
  Convolutions convolutions_;
  const bool libraries_ = wants_libraries();
  void* workspace_ = nullptr;  // of library calls, made at the first
  int64_t workspace_bytes_ = 0;
  DeviceInfo info_;
  bool timed_ = false;
  bool beside_ = false, first_beside_ = true, alone_ = true;
  int level_ = 0;
  size_t steps_ = 0;
  int64_t start_ns_ = 0;
  std::vector<Event> events_;
  std::mutex marks_mutex_;
  std::vector<Event> marks_;  // free ones of plans
};

CudaDevice* opened = nullptr;

// Never destroyed: arrays held by static objects give their memory back after main().
Device* open_cuda() { return opened = new CudaDevice(find_hardware()); }

const bool registered = register_device({"cuda", 2, open_cuda});

}  // namespace

TextTraits text_traits(int cores) {
  TextTraits t;
  t.dialect = Dialect::cuda;
  t.threadgroup_bytes = kStaticSharedBytes;
  t.float64 = true;
  t.cores = cores;
  t.last_turns = true;
  t.wide_threads = 1024;
  t.square = 64;
  return t;
}

Figures figures() {
  Figures f;
  if (!opened) return f;
  const Replay::Counts& r = opened->replay_counts();
  const TextDevice::CacheCounts c = opened->cache_counts();
  f = {r.launches, r.graphs, r.graph_launches, r.updates, c.compiled, c.in_memory, c.on_disk};
  return f;
}

}  // namespace cuda
}  // namespace lamina
