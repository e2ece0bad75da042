// The Metal device: one GPU, one queue, unified memory.
#include "devices/metal/metal.h"

#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>

#include "base/error.h"
#include "devices/metal/memory.h"
#include "devices/metal/pipelines.h"
#include "devices/metal/products.h"
#include "devices/metal/residency.h"
#include "devices/metal/unfold.h"
#include "devices/text_device.h"

namespace lamina {

namespace metal {

namespace {

// Below it a copy costs less than Metal's own work on an adopted range.
constexpr int64_t kLeastAdopted = 256 << 10;
constexpr int64_t kNothingBytes = 64;
constexpr int kFirstWithBfloat = 14;  // macOS, of MSL 3.1

class Blocks : public BlockSource {
 public:
  explicit Blocks(Memory& memory) : memory_(memory) {}
  void* take(int64_t capacity) noexcept override { return memory_.take(capacity); }
  void give(void* data, int64_t capacity) noexcept override { memory_.give(data, capacity); }

 private:
  Memory& memory_;
};

// LAMINA_METAL_PRODUCTS: "library" or "text" in place of the chip's table, to measure them.
enum class Products : uint8_t { by_table, library, text };
Products wanted_products() {
  const char* value = std::getenv("LAMINA_METAL_PRODUCTS");
  const std::string said = value ? value : "";
  if (said.empty()) return Products::by_table;
  if (said == "library") return Products::library;
  if (said == "text") return Products::text;
  throw ValueError("LAMINA_METAL_PRODUCTS: expected library or text, got \"" + said + "\"");
}

// LAMINA_METAL_UNFOLDED: bytes of the memory that convolutions are unfolded into.
int64_t wanted_unfolded_bytes() {
  const char* value = std::getenv("LAMINA_METAL_UNFOLDED");
  const std::string said = value ? value : "";
  if (said.empty()) return kUnfoldedBytes;
  char* end = nullptr;
  const int64_t bytes = std::strtoll(said.c_str(), &end, 10);
  if (bytes > 0 && *end == 0) return bytes;
  throw ValueError("LAMINA_METAL_UNFOLDED: expected a number of bytes, got \"" + said + "\"");
}

// What is larger than this may be the library's, which takes no epilogue along.
int64_t epilogue_work(const Chip& chip) {
  switch (wanted_products()) {
    case Products::library:
      return 0;
    case Products::text:
      return INT64_MAX;
    case Products::by_table:
      return library_multiplications(chip);
  }
  return 0;
}

TextTraits traits_of(const Host& host) {
  TextTraits t;
  t.dialect = Dialect::msl;
  t.max_threads = host.facts().max_threads;
  t.threadgroup_bytes = host.facts().threadgroup_bytes;
  t.max_buffers = kMaxBuffers;
  const Chip chip = chip_of(host.facts());
  t.cores = chip.cores;
  t.tile = chip.tile;
  t.small_tile = chip.small_tile;
  t.epilogue_work = epilogue_work(chip);
  return t;
}

// Machine code is the driver's, which comes with the system.
std::string target_of(const Facts& facts) {
  return "macOS " + std::to_string(facts.os_major) + " " + facts.os_build + " " +
         facts.architecture + " " + facts.name;
}

uint32_t dtypes_of(const Facts& facts) {
  uint32_t all = ~0u & ~(1u << static_cast<int>(Dtype::float64));
  if (facts.os_major < kFirstWithBfloat) all &= ~(1u << static_cast<int>(Dtype::bfloat16));
  return all;
}

// The command buffers of one plan.
class PlanWork : public Work {
 public:
  PlanWork(Queue& queue, uint64_t first, uint64_t last)
      : queue_(queue), first_(first), last_(last) {}
  bool done() override { return queue_.done(last_); }
  std::exception_ptr wait() override {
    queue_.settle(last_);
    return queue_.failure_of(first_, last_);
  }
  std::exception_ptr wait_for(uint64_t fence) override {
    queue_.settle(fence);
    return queue_.failure_of(first_, fence);
  }

 private:
  Queue& queue_;
  const uint64_t first_, last_;  // none where the plan launched nothing
};

class MetalDevice : public TextDevice {
 public:
  explicit MetalDevice(Host& host)
      : TextDevice("metal", traits_of(host), target_of(host.facts())),
        host_(host),
        chip_(chip_of(host.facts())),
        memory_(host),
        blocks_(memory_),
        pool_(host.facts().working_set_bytes, &blocks_, " on metal"),
        queue_(host, memory_, chip_),
        pipelines_(host, &store(), target_of(host.facts())),
        residency_(host, queue_.handle()) {
    memory_.watch(&residency_);
    info_.name = "metal";
    info_.detail = host.facts().name;
    info_.architecture = host.facts().architecture;
    info_.memory_bytes = host.facts().working_set_bytes;
    info_.max_kernel_args = kMaxBuffers - 1;  // the constant block takes one
    info_.unified = true;
    info_.dtypes = dtypes_of(host.facts());
    nothing_ = memory_.take(kNothingBytes);
    if (!nothing_) throw DeviceError("metal: the system gave no memory");
  }

  const DeviceInfo& info() const override { return info_; }
  // Any thread. What was released after its last use has ended is in nobody's use.
  Pool& pool() override {
    reclaim([this](uint64_t ticket) { return ticket <= queue_.ended(); });
    return pool_;
  }

  void* allocate(int64_t bytes) override {
    reclaim_done();
    try {
      return pool_.allocate(bytes);
    } catch (const OutOfMemory&) {
      if (!reclaim_all()) throw;
    }
    return pool_.allocate(bytes);
  }
  // Any thread. The block is given out again when no command buffer needs it any more, because the
  // CPU may write into it at once.
  void release(void* data, int64_t bytes) noexcept override {
    try {
      std::lock_guard lock(mutex_);
      released_.push_back({queue_.last_ticket(), data, bytes});
    } catch (...) {
      // Without room to remember it the block stays taken: lost, but never shared.
    }
  }

  bool reads_host(const void* data, int64_t bytes) const override {
    return bytes >= kLeastAdopted && memory_.offer(data, bytes);
  }

  void copy(void* dst, const void* src, int64_t bytes) override {
    settle(src, bytes, false);
    settle(dst, bytes, true);
    std::memcpy(dst, src, static_cast<size_t>(bytes));
  }

  // Failures are told by the plans they belong to.
  void synchronize() override {
    queue_.settle(queue_.commit());
    reclaim_done();
  }

  void begin_plan(uint64_t, bool timed) override {
    first_ticket_ = queue_.commit() + 1;
    queue_.set_timed(timed);
    if (timed) (void)queue_.take_times();
    step_ = 0;
  }
  void begin_step(int64_t flops) override {
    TextDevice::begin_step(flops);
    ++step_;
  }
  // The ticket of the command buffer that ends here.
  uint64_t fence() override { return queue_.commit(); }
  // The plan's command buffers keep what was adopted for it.
  std::shared_ptr<Work> end_plan(bool) override {
    const uint64_t last = queue_.commit();
    memory_.withdraw();
    reclaim_done();
    return std::make_shared<PlanWork>(queue_, first_ticket_, last);
  }
  void abandon_plan() noexcept override {
    try {
      finish(queue_.commit());
    } catch (...) {
      // A device that gives no answer is said to be lost by the next plan.
    }
    memory_.withdraw();
  }

  std::vector<StepTime> take_step_times() override {
    queue_.settle(queue_.commit());
    std::vector<StepTime> out(step_, {0, 0, Clock::none});
    for (const Span& span : queue_.take_times()) {
      StepTime& at = out.at(span.tag - 1);
      const bool counted = span.source == Span::Source::counters;
      const bool first = at.clock == Clock::none;
      at.t0 = first ? span.t0 : std::min(at.t0, span.t0);
      at.t1 = std::max(at.t1, span.t1);
      // Of several launches in one step, the coarser clock says how exact the time is.
      if (!counted)
        at.clock = Clock::command_buffer;
      else if (first)
        at.clock = Clock::counters;
    }
    return out;
  }

  Figures figures() {
    (void)queue_.done(queue_.last_ticket());  // takes in what has ended
    return {chip_,
            host_.facts(),
            queue_.counts(),
            static_cast<int64_t>(queue_.in_flight()),
            pipelines_.libraries_made(),
            pipelines_.pipelines_made(),
            pipelines_.pipelines_found(),
            residency_.wired()};
  }
  int64_t set_wired_limit(int64_t bytes) { return residency_.set_limit(bytes); }

  void start_capture(const std::string& path) {
    synchronize();
    Failure failure = host_.start_capture(path);
    if (!failure) return;
    const std::string fix =
        failure.code == kCaptureNotSupported
            ? "\nStart the process with MTL_CAPTURE_ENABLED=1 in its environment."
            : "";
    throw DeviceError("start_capture: " + path + ": " + failure.text + fix);
  }
  void stop_capture() {
    synchronize();
    host_.stop_capture();
  }

 protected:
  std::shared_ptr<void> compile_text(const TextKernel& kernel) override {
    const int threads = kernel.threads[0] * kernel.threads[1] * kernel.threads[2];
    // Safe math still joins a product and a sum of one statement.
    const std::string source =
        kernel.contracts ? kernel.source : "#pragma METAL fp contract(off)\n" + kernel.source;
    const int64_t before = pipelines_.pipelines_found();
    auto made = std::make_shared<PipelineRef>(pipelines_.get(source, kernel.name, threads));
    if (pipelines_.pipelines_found() > before) found_on_disk();
    return made;
  }

  Library prepare_library(const LibraryWork& work, const TextTraits& traits) override {
    if (!host_.facts().matrix_library || products_ == Products::text) return {};
    const Dtype dtype = std::visit([](const auto& what) { return what.dtype; }, work.what);
    if (dtype != Dtype::float32 && dtype != Dtype::float16) return {};
    if (std::optional<Multiplication> m = multiplication(work)) {
      if (products_ == Products::by_table && !library_first(chip_, dtype, m->request)) return {};
      auto made = prepared(*m);
      if (!made) return {};
      return {{{{}, std::move(made), work.operands, flops_of(work)}}, {}, m->text};
    }
    auto* convolution = std::get_if<LibraryConvolution>(&work.what);
    return convolution ? prepare_unfolded(work, *convolution, traits) : Library{};
  }

  void launch_library(void* call, void* first, void* second, void* out) override {
    const auto& p = *static_cast<Prepared*>(call);
    void* operands[] = {p.how.swapped ? second : first, p.how.swapped ? first : second, out};
    ProductLaunch launch;
    launch.product = p.product;
    Binding* bindings[] = {&launch.left, &launch.right, &launch.result};
    for (size_t i = 0; i < 3; ++i) {
      bindings[i]->place =
          place_of(static_cast<char*>(operands[i]) + p.how.from[i], p.product->name, i);
      bindings[i]->last = p.how.bytes[i];
      bindings[i]->written = i == 2;
      launch.places[i] = p.how.places[i];
      launch.bytes += p.how.bytes[i];
    }
    launch.flops = launch_flops();
    launch.tag = step_;
    queue_.multiply(launch);
  }

  bool proves_sums() const override { return true; }
  bool finish_launches() override {
    const uint64_t last = queue_.commit();
    queue_.settle(last);
    return !queue_.failure_of(first_ticket_, last);
  }

  void launch_text(void* pipeline, const TextKernel& kernel, void* const* buffers,
                   const void* block) override {
    bindings_.clear();
    int64_t bytes = 0;
    for (size_t i = 0; i < kernel.buffers.size(); ++i) {
      const auto [first, last] = bound_reach()[i];
      Binding b;
      b.written = kernel.buffers[i].written;
      b.first = first;
      b.last = last;
      // What has no elements may lie anywhere.
      b.place = place_of(first < last ? static_cast<char*>(buffers[i]) + first : nothing_,
                         kernel.name, i);
      if (first < last) b.place.offset -= first;
      bytes += last - first;
      bindings_.push_back(std::move(b));
    }
    Launch launch;
    launch.pipeline = *static_cast<PipelineRef*>(pipeline);
    launch.buffers = bindings_;
    launch.block = {static_cast<const unsigned char*>(block), kernel.block.size()};
    launch.groups = kernel.groups;
    launch.threads = kernel.threads;
    launch.grid = kernel.grid;
    launch.threadgroup_bytes = kernel.threadgroup_bytes;
    launch.bytes = bytes;
    launch.flops = launch_flops();
    launch.tag = step_;
    queue_.launch(launch);
  }

 private:
  struct Released {
    uint64_t ticket;
    void* data;
    int64_t bytes;
  };
  struct Prepared {
    Multiplication how;
    std::shared_ptr<const Product> product;
  };
  static constexpr int64_t kCaptureNotSupported = 1;

  // Null where the system refuses.
  std::shared_ptr<Prepared> prepared(const Multiplication& how) {
    auto product = make_product(host_, how.request);
    return product ? std::make_shared<Prepared>(Prepared{how, std::move(product)}) : nullptr;
  }

  // Parts are unfolded into one temporary after the other, which is what keeps them in order.
  Library prepare_unfolded(const LibraryWork& work, const LibraryConvolution& c,
                           const TextTraits& traits) {
    const std::optional<Unfolded> u = unfolded(c, unfolded_bytes_);
    if (!u || (products_ == Products::by_table && !library_first(chip_, c, *u))) return {};
    const int part_operand = -1 - static_cast<int>(work.temporaries);
    std::array<int, 3> operands = work.operands;
    // The input, or the output's gradient: the other factor stays as it is.
    const int source = std::exchange(operands[0], part_operand);
    Library made{{}, {u->part_bytes}, u->text};
    std::vector<TextKernel> ahead;
    if (u->weight_bytes > 0) {
      made.temporaries.push_back(u->weight_bytes);
      const int weight = std::exchange(operands[1], part_operand - 1);
      ahead.push_back(turned_weight_launch(c, weight, operands[1], traits));
    }
    for (const UnfoldedProduct& p : u->products) {
      ahead.push_back(unfold_launch(c, p.part, source, part_operand, traits));
      const ProductRequest& r = p.how.request;
      auto call = prepared(p.how);
      if (!call) return {};
      made.parts.push_back(
          {std::exchange(ahead, {}), std::move(call), operands, 2 * r.rows * r.columns * r.depth});
    }
    return made;
  }

  Place place_of(const void* data, const std::string& kernel, size_t buffer) {
    Place place = memory_.find(data);
    if (!place.block)
      throw DeviceError("metal: kernel " + kernel + ": buffer " + std::to_string(buffer) +
                        " is not this device's memory, and Metal does not take it as it is");
    return place;
  }

  // Gives back what was released, the oldest first, while `ended` says so of its ticket. Whether
  // anything was given back.
  bool reclaim(const std::function<bool(uint64_t)>& ended) {
    bool any = false;
    for (;;) {
      Released r;
      {
        std::lock_guard lock(mutex_);
        if (released_.empty() || !ended(released_.front().ticket)) return any;
        r = released_.front();
        released_.pop_front();
      }
      pool_.release(r.data, r.bytes);
      any = true;
    }
  }
  void reclaim_done() {
    reclaim([this](uint64_t ticket) { return queue_.done(ticket); });
  }
  // After the command buffers that need it; the system gets it back.
  bool reclaim_all() {
    std::optional<uint64_t> last;
    {
      std::lock_guard lock(mutex_);
      if (!released_.empty()) last = released_.back().ticket;
    }
    if (last) finish(*last);
    // Not what another thread has released meanwhile, which nobody has waited for.
    const bool any = reclaim([&](uint64_t ticket) { return last && ticket <= *last; });
    pool_.clear_cache();
    memory_.trim();
    return any;
  }

  // Waits without throwing: the failure stays with its ticket for whoever needs the result.
  void finish(uint64_t ticket) {
    while (!queue_.done(ticket)) {
      queue_.settle(ticket);
      std::this_thread::yield();
    }
  }

  // The CPU is about to touch these bytes.
  void settle(const void* data, int64_t bytes, bool written) {
    Place place = memory_.find(data);
    if (!place.block) return;
    if (queue_.touches({place.block.get(), place.offset, place.offset + bytes, written}))
      queue_.settle(queue_.commit());
  }

  Host& host_;
  const Chip chip_;
  const Products products_ = wanted_products();
  const int64_t unfolded_bytes_ = wanted_unfolded_bytes();
  mutable Memory memory_;
  Blocks blocks_;
  Pool pool_;
  Queue queue_;
  Pipelines pipelines_;
  Residency residency_;
  DeviceInfo info_;
  void* nothing_ = nullptr;
  uint64_t first_ticket_ = 1;  // of the plan being encoded
  uint64_t step_ = 0;
  std::vector<Binding> bindings_;
  std::mutex mutex_;
  std::deque<Released> released_;  // in order of their tickets, nearly
};

MetalDevice* opened = nullptr;

MetalDevice& device() {
  device_of(device_named("metal"));
  return *opened;
}

}  // namespace

// Never destroyed: arrays outlive main().
Device* open_device() {
  Host* host = system_host();
  if (!host) throw DeviceError("metal: the system has no GPU that Metal can use");
  if (std::string why = why_not(host->facts()); !why.empty()) throw DeviceError(why);
  opened = new MetalDevice(*host);
  return opened;
}

Figures figures() { return device().figures(); }
int64_t set_wired_limit(int64_t bytes) { return device().set_wired_limit(bytes); }
void start_capture(const std::string& path) { device().start_capture(path); }
void stop_capture() { device().stop_capture(); }

}  // namespace metal

}  // namespace lamina
