// From what single lanes did to what a SIMD-group would have issued: lanes run one after another
// here; their accesses are matched by instruction and by how often the lane had come there. What a
// lane loads or stores side by side within 16 aligned bytes, by instructions that follow each
// other, is one access: a GPU has vector loads, and the parts of a struct come here one by one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "devices/soft_metal/counts.h"

namespace lamina::soft_metal {

class Observer {
 public:
  static constexpr int kLanes = 32;

  // blocks: basic blocks of the module, numbered from 1.
  void start(uint32_t blocks);
  void access(const void* site, uint64_t address, uint32_t bytes, bool write, bool threadgroup,
              int lane);
  void block(uint32_t id, int lane) {
    if (!block_used_[id]) {
      block_used_[id] = true;
      used_blocks_.push_back(id);
    }
    ++blocks_[size_t{id} * kLanes + static_cast<size_t>(lane)];
  }
  // The lanes in `active` have run up to a point where they meet, or to their end.
  void flush(uint32_t active, Counts& counts);

 private:
  // Beyond so many times at one instruction between two meetings, lanes are counted but not
  // matched.
  static constexpr uint32_t kTimes = 128;
  struct Issue {
    uint32_t mask = 0, bytes = 0;
    uint64_t address[kLanes];
  };
  struct Site {
    const void* key = nullptr;
    bool write = false, threadgroup = false;
    uint32_t times[kLanes] = {};
    uint32_t used = 0;
    std::vector<Issue> issues;
  };
  // The latest access to device memory of a lane.
  struct Latest {
    const void* key = nullptr;
    uint32_t time = 0;
    uint64_t begin = 0, end = 0;
    bool write = false;
  };
  bool extends(const void* key, uint64_t address, uint32_t bytes, bool write, int lane);
  Site& site(const void* key, bool write, bool threadgroup);
  void flush_device(const Issue& issue, bool write, Counts& counts);
  void flush_banks(const Issue& issue, Counts& counts);
  void flush_blocks(uint32_t active, Counts& counts);

  std::vector<Site> sites_ = std::vector<Site>(256);
  std::vector<uint32_t> used_sites_;
  std::vector<uint32_t> blocks_, used_blocks_;
  std::vector<bool> block_used_;
  std::vector<uint64_t> scratch_;
  Latest latest_[kLanes];
  int64_t sampled_out_ = 0;
};

}  // namespace lamina::soft_metal
