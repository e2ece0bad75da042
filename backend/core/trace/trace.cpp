#include "trace/trace.h"

#include <algorithm>
#include <memory>
#include <mutex>

namespace lamina::trace {

namespace detail {
std::atomic<bool> on{false};
}

namespace {

// One producer (its thread), one consumer (drain, under the list's lock).
struct Ring {
  // The slots are left uninitialised: pages are touched only as far as events go.
  explicit Ring(uint32_t thread_, size_t capacity_)
      : thread(thread_), capacity(capacity_), slots(new Event[capacity_]) {}
  uint32_t thread;
  size_t capacity;
  std::unique_ptr<Event[]> slots;
  std::atomic<uint64_t> head{0};  // next to write
  std::atomic<uint64_t> tail{0};  // next to read
  std::atomic<int64_t> dropped{0};
  uint64_t accounted = 0;  // head at the last account()
};

struct Rings {
  std::mutex mutex;
  std::vector<std::shared_ptr<Ring>> all;
  size_t capacity = 1 << 20;
  std::atomic<uint64_t> generation{1};
  uint32_t next_thread = 0;
};

Rings& rings() {
  static Rings* r = new Rings;  // outlives every thread that may still emit at exit
  return *r;
}

struct Local {
  std::shared_ptr<Ring> ring;
  uint64_t generation = 0;
};

Ring& local_ring() {
  thread_local Local local;
  Rings& r = rings();
  if (local.generation != r.generation.load(std::memory_order_acquire)) {
    std::lock_guard lock(r.mutex);
    uint32_t thread = local.ring ? local.ring->thread : r.next_thread++;
    local.ring = std::make_shared<Ring>(thread, r.capacity);
    local.generation = r.generation.load(std::memory_order_relaxed);
    r.all.push_back(local.ring);
  }
  return *local.ring;
}

bool put(Ring& ring, const Event& event) {
  uint64_t head = ring.head.load(std::memory_order_relaxed);
  if (head - ring.tail.load(std::memory_order_acquire) >= ring.capacity) return false;
  Event& slot = ring.slots[head % ring.capacity];
  slot = event;
  slot.thread = ring.thread;
  ring.head.store(head + 1, std::memory_order_release);
  return true;
}

// Picoseconds that one event takes, its two clock readings and its share of fresh pages included:
// the best of some batches, since others may have lost the processor.
int64_t event_price() {
  static const int64_t price = [] {
    constexpr int64_t kBatch = 512, kBatches = 8;
    Ring ring(0, kBatch * kBatches);
    int64_t best = INT64_MAX;
    for (int64_t b = 0; b < kBatches; ++b) {
      int64_t start = now_ns();
      for (int64_t i = 0; i < kBatch; ++i) put(ring, {0, 0, 0, now_ns(), now_ns(), b, i, 0, 0});
      best = std::min(best, now_ns() - start);
    }
    return best * 1000 / kBatch;
  }();
  return price;
}

}  // namespace

const std::vector<FieldNames>& schema() {
  static const std::vector<FieldNames> names = {
#define LAMINA_EVENT(id, name, span, a, b, c, d) {id, #name, span != 0, {#a, #b, #c, #d}},
#include "trace/events.def"
#undef LAMINA_EVENT
  };
  return names;
}

void start(int64_t capacity) {
  event_price();
  Rings& r = rings();
  std::lock_guard lock(r.mutex);
  r.capacity = static_cast<size_t>(capacity < 64 ? 64 : capacity);
  r.all.clear();
  r.generation.fetch_add(1, std::memory_order_release);
  detail::on.store(true, std::memory_order_release);
}

void stop() { detail::on.store(false, std::memory_order_release); }

std::vector<Event> drain(int64_t& dropped) {
  Rings& r = rings();
  std::lock_guard lock(r.mutex);
  std::vector<Event> out;
  size_t waiting = 0;
  for (auto& ring : r.all)
    waiting +=
        ring->head.load(std::memory_order_relaxed) - ring->tail.load(std::memory_order_relaxed);
  out.reserve(waiting);
  dropped = 0;
  for (auto& ring : r.all) {
    uint64_t head = ring->head.load(std::memory_order_acquire);
    uint64_t tail = ring->tail.load(std::memory_order_relaxed);
    for (; tail != head; ++tail) out.push_back(ring->slots[tail % ring->capacity]);
    ring->tail.store(tail, std::memory_order_release);
    dropped += ring->dropped.exchange(0, std::memory_order_relaxed);
  }
  return out;
}

void emit(const Event& event) {
  Ring& ring = local_ring();
  if (!put(ring, event)) ring.dropped.fetch_add(1, std::memory_order_relaxed);
}

void account(uint64_t run, int64_t nanoseconds) {
  Ring& ring = local_ring();
  const uint64_t head = ring.head.load(std::memory_order_relaxed);
  const auto events = static_cast<int64_t>(head - ring.accounted) + 1;
  ring.accounted = head + 1;
  instant(EventKind::overhead, run, nanoseconds + events * event_price() / 1000, events);
}

}  // namespace lamina::trace
