// The memory of one dispatch as its kernel sees it: bound buffers, each in a place of its own when
// accesses are checked, so that an address past one buffer's end is not in another's.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "devices/soft_metal/runtime.h"

namespace lamina::soft_metal {

// Who touched a granule of memory last in this dispatch, as words of
//   thread + 1 : 32 | barriers of its threadgroup : 16 | of its SIMD-group : 12 | flags : 4
struct Cell {
  uint64_t writer, reader;
};

// Anonymous memory, zero at first; pages are taken when touched.
class Pages {
 public:
  Pages() = default;
  // reserve: addresses without memory; commit() gives parts of it memory.
  Pages(size_t bytes, bool reserve);
  ~Pages();
  Pages(Pages&& o) noexcept : data_(std::exchange(o.data_, nullptr)), bytes_(o.bytes_) {}
  Pages& operator=(Pages&& o) noexcept {
    std::swap(data_, o.data_);
    std::swap(bytes_, o.bytes_);
    return *this;
  }
  char* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  void commit(char* at, size_t bytes);
  // Touching it ends the process.
  static void forbid(char* at, size_t bytes);
  // Zero again, the pages given back.
  static void clear(char* at, size_t bytes);

 private:
  char* data_ = nullptr;
  size_t bytes_ = 0;
};

// One or several bindings whose memory overlaps.
struct Region {
  char* original = nullptr;
  char* at = nullptr;  // where the kernel sees it
  int64_t bytes = 0;
  int binding = 0;        // the first of its bindings
  bool writable = false;  // by some binding
  bool constant = false;  // bound in the constant space only
  int64_t granule = 4;    // what one Cell stands for, bytes
  Cell* cells = nullptr;  // null: races are not looked for
  std::atomic<bool> written{false};
  Region() = default;
  Region(const Region& o) { *this = o; }
  Region& operator=(const Region& o) {
    original = o.original, at = o.at, bytes = o.bytes, binding = o.binding, writable = o.writable;
    constant = o.constant, granule = o.granule, cells = o.cells, written = o.written.load();
    return *this;
  }
};

// The regions of one dispatch. Checked: regions up to kCopyLimit are copied to places 64 GiB apart
// and, if written, copied back; larger ones stay where they are.
class Memory {
 public:
  static constexpr int kSlotBits = 36;
  static constexpr int64_t kCopyLimit = int64_t{1} << 28;

  // One at a time: the places are the process's.
  Memory(const Dispatch& dispatch, bool check);
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  void* const* buffers() const { return pointers_; }
  void copy_back();
  // The region whose place an address is nearest to, inside or not; null for foreign addresses.
  Region* near(const void* address);
  std::vector<Region>& regions() { return regions_; }
  // Stretches of the program's memory that were read or written; after the run.
  std::vector<Touched> touched() const;

 private:
  void merge(const Dispatch& dispatch);
  void place();
  std::vector<Region> regions_;
  std::vector<int> slot_;  // of each region, or -1: in place
  void* pointers_[31] = {};
  int region_of_[31];
  bool check_;
};

}  // namespace lamina::soft_metal
