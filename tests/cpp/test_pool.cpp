// devices/pool: reuse, limits, trimming, failures, against a model of what is held.
#include <chrono>
#include <cstring>
#include <map>
#include <optional>
#include <thread>

#include "base/error.h"
#include "check.h"
#include "devices/pool.h"
#include "random.h"

namespace lamina::test {

constexpr int64_t kMiB = int64_t{1} << 20;

static int64_t some_size(Random& random) {
  switch (random.below(4)) {
    case 0:
      return random.below(300);
    case 1:
      return random.below(1 << 14);
    case 2:
      return kMiB - 2 + random.below(4);
    default:
      return random.below(4 * kMiB);
  }
}

TEST(blocks_are_aligned_apart_and_counted) {
  Random random(1);
  Pool pool(int64_t{1} << 30);
  struct Block {
    int64_t bytes;
    unsigned char mark;
  };
  std::map<char*, Block> live;
  int64_t active = 0, peak = 0;
  for (int step = 0; step < 3000; ++step) {
    if (live.empty() || (live.size() < 40 && random.once_in(2))) {
      int64_t bytes = some_size(random);
      char* data = static_cast<char*>(pool.allocate(bytes));
      CHECK(data != nullptr);
      CHECK_EQ(reinterpret_cast<uintptr_t>(data) % 64, uintptr_t{0});
      if (bytes >= kMiB) CHECK_EQ(reinterpret_cast<uintptr_t>(data) % (2 * kMiB), uintptr_t{0});
      if (bytes == 0) {
        pool.release(data, 0);
        continue;
      }
      auto after = live.lower_bound(data);
      CHECK(after == live.end() || data + bytes <= after->first);
      if (after != live.begin()) {
        --after;
        CHECK(after->first + after->second.bytes <= data);
      }
      auto mark = static_cast<unsigned char>(step);
      std::memset(data, mark, static_cast<size_t>(bytes));
      live[data] = {bytes, mark};
      active += bytes;
      peak = std::max(peak, active);
    } else {
      auto it = std::next(live.begin(), random.below(static_cast<int64_t>(live.size())));
      auto [data, block] = *it;
      for (int64_t at : {int64_t{0}, block.bytes / 2, block.bytes - 1})
        CHECK_EQ(static_cast<unsigned char>(data[at]), block.mark);
      pool.release(data, block.bytes);
      active -= block.bytes;
      live.erase(it);
    }
    CHECK_EQ(pool.active(), active);
    CHECK_EQ(pool.peak(), peak);
  }
  for (auto& [data, block] : live) pool.release(data, block.bytes);
  CHECK_EQ(pool.active(), 0);
  CHECK(pool.cache() > 0);
  pool.clear_cache();
  CHECK_EQ(pool.cache(), 0);
  pool.reset_peak();
  CHECK_EQ(pool.peak(), 0);
}

TEST(a_freed_block_serves_the_next_request_of_its_size) {
  Pool pool(int64_t{1} << 30);
  for (int64_t bytes : {int64_t{1}, int64_t{64}, int64_t{1000}, 3 * kMiB}) {
    void* first = pool.allocate(bytes);
    pool.release(first, bytes);
    int64_t cached = pool.cache();
    CHECK(cached >= bytes);
    void* second = pool.allocate(bytes);
    CHECK(second == first);
    CHECK(pool.cache() < cached);
    pool.release(second, bytes);
    pool.clear_cache();
  }
}

TEST(limits_are_kept) {
  Pool pool(int64_t{1} << 30);
  CHECK(pool.limit() <= pool.physical());
  pool.set_limit(10 * kMiB);
  CHECK_EQ(pool.set_limit(8 * kMiB), 10 * kMiB);
  void* half = pool.allocate(4 * kMiB);
  try {
    pool.allocate(5 * kMiB);
    CHECK(false);
  } catch (const OutOfMemory& e) {
    CHECK_EQ(e.bytes_asked, 5 * kMiB);
    CHECK_EQ(e.bytes_free, 4 * kMiB);
  }
  void* rest = pool.allocate(4 * kMiB);
  CHECK_THROWS(OutOfMemory, pool.allocate(1), "0 B free of 8.4 MB");
  pool.release(rest, 4 * kMiB);
  // What is cached gives way: this fits only without it.
  void* small = pool.allocate(4 * kMiB - 64 * 1024);
  CHECK(pool.active() + pool.cache() <= pool.limit() + 64 * 1024);
  pool.release(small, 4 * kMiB - 64 * 1024);
  pool.release(half, 4 * kMiB);
  CHECK_THROWS(ValueError, pool.allocate(-1), "negative size: -1");
  CHECK_THROWS(OutOfMemory, pool.allocate(INT64_MAX), "asked 9.2 EB");
  CHECK_EQ(pool.active(), 0);
}

TEST(the_cache_is_trimmed_to_its_limit) {
  Random random(2);
  Pool pool(int64_t{1} << 30);
  pool.set_cache_limit(kMiB);
  for (int step = 0; step < 500; ++step) {
    int64_t bytes = some_size(random);
    pool.release(pool.allocate(bytes), bytes);
    CHECK(pool.cache() <= kMiB);
  }
  CHECK(pool.cache() > 0);
  pool.set_cache_limit(0);
  CHECK_EQ(pool.cache(), 0);
}

TEST(a_pool_keeps_four_gigabytes_or_a_quarter_of_its_limit) {
  constexpr int64_t kGiB = int64_t{1} << 30;
  Pool small(8 * kGiB), large(64 * kGiB);
  CHECK_EQ(small.limit(), 8 * kGiB / 100 * 95);
  CHECK_EQ(small.set_cache_limit(0), small.limit() / 4);
  CHECK_EQ(large.set_cache_limit(0), 4 * kGiB);
  CHECK_EQ(large.set_cache_limit(5), 0);
}

// Remembers what is given back.
class Counted : public BlockSource {
 public:
  void* take(int64_t capacity) noexcept override { return ::operator new(size_t(capacity)); }
  void give(void* data, int64_t capacity) noexcept override {
    given.push_back(capacity);
    ::operator delete(data);
  }
  std::vector<int64_t> given;
};

TEST(what_was_freed_longest_ago_goes_first) {
  Counted source;
  Pool pool(int64_t{1} << 30, &source);
  pool.set_cache_limit(10 * kMiB);
  void* blocks[3];
  for (int k = 0; k < 3; ++k) blocks[k] = pool.allocate((2 + k) * kMiB);
  for (int k : {1, 0, 2}) pool.release(blocks[k], (2 + k) * kMiB);
  CHECK(source.given.empty());
  void* more = pool.allocate(6 * kMiB);
  pool.release(more, 6 * kMiB);
  CHECK_EQ(source.given.size(), size_t{2});
  CHECK_EQ(source.given[0], 3 * kMiB);
  CHECK_EQ(source.given[1], 2 * kMiB);
}

TEST(what_nobody_asks_for_is_given_back) {
  Counted source;
  Pool pool(int64_t{1} << 30, &source);
  pool.set_patience(20'000'000);
  pool.release(pool.allocate(8 * kMiB), 8 * kMiB);
  for (int k = 0; k < 12; ++k) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    pool.release(pool.allocate(2 * kMiB), 2 * kMiB);
  }
  CHECK_EQ(source.given.size(), size_t{1});
  CHECK_EQ(source.given[0], 8 * kMiB);
  CHECK_EQ(pool.cache(), 2 * kMiB);
}

TEST(a_source_that_refuses_says_what_it_has) {
  class Empty : public BlockSource {
    void* take(int64_t) noexcept override { return nullptr; }
    void give(void*, int64_t) noexcept override {}
    int64_t available() noexcept override { return 3000; }
  } source;
  Pool pool(int64_t{1} << 30, &source, " on it");
  CHECK_THROWS(OutOfMemory, pool.allocate(5000),
               "out of memory on it: asked 5.0 kB, the device refused with 3.0 kB free");
}

TEST(the_nth_allocation_fails_and_only_it) {
  for (int64_t n = 0; n < 20; ++n) {
    Pool pool(int64_t{1} << 30);
    pool.fail_at(n);
    int failed = 0;
    for (int64_t i = 0; i < 20; ++i) {
      try {
        pool.release(pool.allocate(100), 100);
        CHECK(i != n);
      } catch (const OutOfMemory&) {
        CHECK_EQ(i, n);
        ++failed;
      }
      CHECK_EQ(pool.active(), 0);
    }
    CHECK_EQ(failed, 1);
    pool.fail_at(5);
    pool.fail_at(-1);
    for (int i = 0; i < 10; ++i) pool.release(pool.allocate(100), 100);
  }
}

TEST(threads_share_a_pool) {
  Pool pool(int64_t{1} << 30);
  std::vector<std::thread> threads;
  std::atomic<int> spoiled{0};
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      Random random(static_cast<uint64_t>(t));
      for (int i = 0; i < 500; ++i) {
        int64_t bytes = 1 + random.below(5000);
        auto* data = static_cast<char*>(pool.allocate(bytes));
        std::memset(data, t, static_cast<size_t>(bytes));
        for (int64_t at = 0; at < bytes; at += 97) spoiled += data[at] != t;
        pool.release(data, bytes);
      }
    });
  for (auto& t : threads) t.join();
  CHECK_EQ(spoiled.load(), 0);
  CHECK_EQ(pool.active(), 0);
}

TEST(sizes_are_written_in_decimal_units) {
  CHECK_EQ(format_bytes(0), "0 B");
  CHECK_EQ(format_bytes(999), "999 B");
  CHECK_EQ(format_bytes(1000), "1.0 kB");
  CHECK_EQ(format_bytes(999'960), "1.0 MB");
  CHECK_EQ(format_bytes(20'100'000'000), "20.1 GB");
  CHECK(physical_memory() > 0);
}

}  // namespace lamina::test
