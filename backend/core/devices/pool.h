// A caching allocator: freed blocks are kept for the next request of their size, because fresh
// pages cost a fault each, and a GPU's driver waits for the device when it takes memory back. Where
// more is kept than the limit of the cache, what was freed longest ago goes first; what nobody
// asked for in half a minute goes too, when the next block is freed.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

namespace lamina {

// Where a pool gets whole blocks from.
class BlockSource {
 public:
  virtual ~BlockSource() = default;
  // 64-byte aligned; nullptr when there is none of that size.
  virtual void* take(int64_t capacity) noexcept = 0;
  virtual void give(void* data, int64_t capacity) noexcept = 0;
  // What can be had now without harm to others; INT64_MAX where that is not known.
  virtual int64_t available() noexcept { return INT64_MAX; }
};

// Thread safe. Blocks are 64-byte aligned, on the host those of 1 MiB and more 2 MiB-aligned.
// Invariants: active = sum of the bytes asked for of live blocks; cache = bytes held but not live.
class Pool {
 public:
  // physical_bytes: what the machine (or its control group, or the device) has. A null source is
  // the host's memory. `where` names another one in messages: " on cuda". `source` outlives the
  // pool.
  explicit Pool(int64_t physical_bytes, BlockSource* source = nullptr, std::string where = "");
  ~Pool() { clear_cache(); }  // REQUIRES: every block has been released
  Pool(const Pool&) = delete;

  // Throws OutOfMemory before touching memory when the request cannot be met. bytes may be 0.
  void* allocate(int64_t bytes);
  // REQUIRES: data came from allocate(bytes) of this pool.
  void release(void* data, int64_t bytes) noexcept;

  int64_t active() const;
  int64_t peak() const;
  int64_t cache() const;
  int64_t limit() const;
  int64_t physical() const { return physical_; }
  void reset_peak();
  // Both return the previous value.
  int64_t set_limit(int64_t bytes);
  int64_t set_cache_limit(int64_t bytes);
  void clear_cache();
  // Tests: the n-th allocation from now (0 = the next one) throws OutOfMemory; -1 turns it off.
  void fail_at(int64_t n);
  // Tests: how long a freed block is kept.
  void set_patience(int64_t ns);

 private:
  struct Freed {
    void* data;
    int64_t at;  // ns, of small blocks a little before
  };
  void* take_cached(int64_t bytes, int64_t capacity);
  void check_fits(int64_t bytes);
  [[noreturn]] void refuse(int64_t bytes);
  void shrink_cache(int64_t target) noexcept;
  void give_back_unused() noexcept;
  void give_oldest(int64_t capacity, std::deque<Freed>& blocks) noexcept;

  BlockSource& source_;
  std::string where_;
  mutable std::mutex mutex_;
  int64_t physical_;
  int64_t limit_;
  int64_t cache_limit_;
  int64_t active_ = 0;
  int64_t peak_ = 0;
  int64_t cache_ = 0;
  int64_t fail_in_ = -1;
  int64_t patience_ns_;
  int64_t now_ = 0;        // as the clock was last read
  uint32_t releases_ = 0;  // of small blocks
  int64_t looked_at_ = 0;  // when blocks that nobody asks for were last looked for
  std::map<int64_t, std::deque<Freed>> free_;          // by capacity, freed last at the back
  std::unordered_map<void*, int64_t> large_capacity_;  // of live large blocks
};

// Bytes of memory this process may use: the smaller of the machine's and its control group's.
int64_t physical_memory();

// "20.1 GB", decimal units.
std::string format_bytes(int64_t bytes);

// The pool behind cpu_device().
Pool& cpu_pool();

}  // namespace lamina
