#include "devices/pool.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <utility>

#include "base/clock.h"
#include "base/error.h"

namespace lamina {
namespace {

constexpr int64_t kLarge = int64_t{1} << 20;
constexpr int64_t kHugePage = int64_t{2} << 20;
constexpr int64_t kAskSystem = int64_t{256} << 20;
constexpr int64_t kPatience = 30'000'000'000;  // ns
constexpr uint32_t kSmallPerClock = 64;        // small blocks that share a reading of it

// Allocation of 0 bytes: aligned, never dereferenced.
alignas(64) char empty_block[64];

// Four sizes per doubling below kLarge (at most a fifth wasted), whole 64 KiB above.
int64_t capacity_of(int64_t bytes) {
  if (bytes <= 256) return (bytes + 63) & ~int64_t{63};
  if (bytes >= kLarge) return (bytes + 0xffff) & ~int64_t{0xffff};
  int shift = std::bit_width(static_cast<uint64_t>(bytes - 1)) - 3;
  int64_t step = std::max<int64_t>(int64_t{1} << shift, 64);
  return (bytes + step - 1) / step * step;
}

void* map_large(int64_t capacity) {
  size_t span = static_cast<size_t>(capacity + kHugePage);
  void* raw = mmap(nullptr, span, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (raw == MAP_FAILED) return nullptr;
  uintptr_t first = reinterpret_cast<uintptr_t>(raw);
  uintptr_t start = (first + kHugePage - 1) & ~static_cast<uintptr_t>(kHugePage - 1);
  if (start > first) munmap(raw, start - first);
  uintptr_t end = start + static_cast<uintptr_t>(capacity), last = first + span;
  if (last > end) munmap(reinterpret_cast<void*>(end), last - end);
#ifdef MADV_HUGEPAGE
  if (capacity >= kHugePage)
    madvise(reinterpret_cast<void*>(start), static_cast<size_t>(capacity), MADV_HUGEPAGE);
#endif
  return reinterpret_cast<void*>(start);
}

// Linux's own estimate of what can be had without swapping; INT64_MAX where there is none.
int64_t available_memory() {
  std::ifstream in("/proc/meminfo");
  std::string key;
  int64_t kib = 0;
  while (in >> key) {
    if (key == "MemAvailable:" && in >> kib) return kib * 1024;
    in.ignore(256, '\n');
  }
  return INT64_MAX;
}

int64_t read_limit(const char* path) {
  std::ifstream in(path);
  int64_t bytes = 0;
  return in >> bytes && bytes > 0 ? bytes : INT64_MAX;
}

class HostMemory : public BlockSource {
 public:
  void* take(int64_t capacity) noexcept override {
    return capacity >= kLarge ? map_large(capacity)
                              : std::aligned_alloc(64, static_cast<size_t>(capacity));
  }
  void give(void* data, int64_t capacity) noexcept override {
    if (capacity >= kLarge) {
      munmap(data, static_cast<size_t>(capacity));
    } else {
      std::free(data);
    }
  }
  int64_t available() noexcept override { return available_memory(); }
};

BlockSource& host_memory() {
  static auto* memory = new HostMemory;
  return *memory;
}

}  // namespace

int64_t physical_memory() {
  int64_t bytes = int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE);
  bytes = std::min(bytes, read_limit("/sys/fs/cgroup/memory.max"));
  return std::min(bytes, read_limit("/sys/fs/cgroup/memory/memory.limit_in_bytes"));
}

std::string format_bytes(int64_t bytes) {
  const char* units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
  double value = static_cast<double>(bytes);
  int unit = 0;
  while (value >= 999.95 && unit < 6) value /= 1000, ++unit;
  char text[32];
  std::snprintf(text, sizeof text, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
  return text;
}

Pool::Pool(int64_t physical_bytes, BlockSource* source, std::string where)
    : source_(source ? *source : host_memory()),
      where_(std::move(where)),
      physical_(physical_bytes),
      limit_(physical_bytes / 100 * 95),
      cache_limit_(std::min<int64_t>(limit_ / 4, int64_t{4} << 30)),
      patience_ns_(kPatience) {}

void* Pool::allocate(int64_t bytes) {
  if (bytes < 0) throw ValueError("allocate: negative size: " + std::to_string(bytes));
  std::lock_guard<std::mutex> lock(mutex_);
  bool failing = fail_in_ == 0;
  if (fail_in_ >= 0) --fail_in_;
  if (failing)
    throw OutOfMemory("allocate: out of memory" + where_ + ": failure asked for by a test", bytes,
                      0);
  if (bytes == 0) return empty_block;
  check_fits(bytes);
  int64_t capacity = capacity_of(bytes);
  void* data = take_cached(bytes, capacity);
  if (!data) {
    if (active_ + cache_ + capacity > limit_)
      shrink_cache(std::max<int64_t>(limit_ - active_ - capacity, 0));
    for (int attempt = 0; !data && attempt < 2; ++attempt) {
      data = source_.take(capacity);
      if (!data) shrink_cache(0);
    }
    if (!data) refuse(bytes);
    if (capacity >= kLarge) large_capacity_[data] = capacity;
  }
  active_ += bytes;
  peak_ = std::max(peak_, active_);
  return data;
}

void Pool::release(void* data, int64_t bytes) noexcept {
  if (!data || bytes <= 0) return;
  std::lock_guard<std::mutex> lock(mutex_);
  active_ -= bytes;
  int64_t capacity = capacity_of(bytes);
  if (capacity >= kLarge) {
    auto found = large_capacity_.find(data);
    capacity = found->second;
    large_capacity_.erase(found);
  }
  if (capacity > cache_limit_) {
    source_.give(data, capacity);
    return;
  }
  // The clock takes as long as all else that a small block needs.
  if (capacity >= kLarge || releases_++ % kSmallPerClock == 0) now_ = now_ns();
  try {
    free_[capacity].push_back({data, now_});
  } catch (...) {
    source_.give(data, capacity);
    return;
  }
  cache_ += capacity;
  if (cache_ > cache_limit_) shrink_cache(cache_limit_);
  if (now_ - looked_at_ > patience_ns_ / 8) give_back_unused();
}

// Small blocks match exactly; a large one may be up to a quarter larger than asked.
void* Pool::take_cached(int64_t bytes, int64_t capacity) {
  auto found = free_.lower_bound(capacity);
  if (found == free_.end()) return nullptr;
  bool fits =
      capacity >= kLarge ? found->first <= capacity + capacity / 4 : found->first == capacity;
  // Emptied lists of small blocks stay, to be filled again without another node of the map.
  fits &= !found->second.empty();
  if (!fits) return nullptr;
  (void)bytes;
  void* data = found->second.back().data;
  if (capacity >= kLarge) large_capacity_[data] = found->first;
  found->second.pop_back();
  cache_ -= found->first;
  if (found->second.empty() && capacity >= kLarge) free_.erase(found);
  return data;
}

void Pool::check_fits(int64_t bytes) {
  int64_t free = std::max<int64_t>(limit_ - active_, 0);
  bool fits = bytes <= free;
  if (fits && bytes > kAskSystem) {
    int64_t available = source_.available();
    if (available != INT64_MAX && bytes > available + cache_) {
      fits = false;
      free = std::min(free, available + cache_);
    }
  }
  if (fits) return;
  throw OutOfMemory("allocate: out of memory" + where_ + ": asked " + format_bytes(bytes) + ", " +
                        format_bytes(free) + " free of " + format_bytes(limit_) + " (" +
                        format_bytes(active_) + " in use by lamina)",
                    bytes, free);
}

void Pool::refuse(int64_t bytes) {
  const int64_t available = source_.available();
  const bool known = available != INT64_MAX;
  const std::string owner = where_.empty() ? "the system" : "the device";
  throw OutOfMemory("allocate: out of memory" + where_ + ": asked " + format_bytes(bytes) + ", " +
                        owner +
                        (known ? " refused with " + format_bytes(available) + " free"
                               : std::string(" has no more")) +
                        " (" + format_bytes(active_) + " in use by lamina)",
                    bytes, known ? available : 0);
}

// What was freed longest ago goes first.
void Pool::shrink_cache(int64_t target) noexcept {
  while (cache_ > target) {
    auto oldest = free_.end();
    for (auto it = free_.begin(); it != free_.end(); ++it)
      if (!it->second.empty() &&
          (oldest == free_.end() || it->second.front().at < oldest->second.front().at))
        oldest = it;
    if (oldest == free_.end()) return;
    give_oldest(oldest->first, oldest->second);
    if (oldest->second.empty()) free_.erase(oldest);
  }
}

void Pool::give_back_unused() noexcept {
  looked_at_ = now_;
  for (auto it = free_.begin(); it != free_.end();) {
    auto& [capacity, blocks] = *it;
    while (!blocks.empty() && now_ - blocks.front().at > patience_ns_)
      give_oldest(capacity, blocks);
    it = blocks.empty() ? free_.erase(it) : std::next(it);
  }
}

void Pool::give_oldest(int64_t capacity, std::deque<Freed>& blocks) noexcept {
  source_.give(blocks.front().data, capacity);
  blocks.pop_front();
  cache_ -= capacity;
}

int64_t Pool::active() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return active_;
}

int64_t Pool::peak() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return peak_;
}

int64_t Pool::cache() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return cache_;
}

int64_t Pool::limit() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return limit_;
}

void Pool::reset_peak() {
  std::lock_guard<std::mutex> lock(mutex_);
  peak_ = active_;
}

int64_t Pool::set_limit(int64_t bytes) {
  std::lock_guard<std::mutex> lock(mutex_);
  return std::exchange(limit_, std::max<int64_t>(bytes, 0));
}

int64_t Pool::set_cache_limit(int64_t bytes) {
  std::lock_guard<std::mutex> lock(mutex_);
  int64_t before = std::exchange(cache_limit_, std::max<int64_t>(bytes, 0));
  if (cache_ > cache_limit_) shrink_cache(cache_limit_);
  return before;
}

void Pool::clear_cache() {
  std::lock_guard<std::mutex> lock(mutex_);
  shrink_cache(0);
}

void Pool::set_patience(int64_t ns) {
  std::lock_guard<std::mutex> lock(mutex_);
  patience_ns_ = ns;
}

void Pool::fail_at(int64_t n) {
  std::lock_guard<std::mutex> lock(mutex_);
  fail_in_ = n;
}

}  // namespace lamina
