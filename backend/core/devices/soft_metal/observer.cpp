#include "devices/soft_metal/observer.h"

#include <algorithm>
#include <bit>

namespace lamina::soft_metal {

namespace {
constexpr uint64_t kLine = 128, kVector = 16;
constexpr uint32_t kBanks = 32, kWord = 4;
}  // namespace

void Observer::start(uint32_t blocks) {
  blocks_.assign((size_t{blocks} + 1) * kLanes, 0);
  block_used_.assign(size_t{blocks} + 1, false);
  used_blocks_.clear();
  for (uint32_t i : used_sites_) sites_[i] = Site();
  used_sites_.clear();
  // A dispatch that was broken off leaves its last accesses here.
  for (Latest& l : latest_) l.key = nullptr;
}

Observer::Site& Observer::site(const void* key, bool write, bool threadgroup) {
  auto hash = static_cast<size_t>(reinterpret_cast<uintptr_t>(key) * 0x9e3779b97f4a7c15u >> 40);
  for (;; ++hash) {
    Site& s = sites_[hash % sites_.size()];
    if (s.key == key && s.write == write && s.threadgroup == threadgroup) return s;
    if (s.key) continue;
    if ((used_sites_.size() + 1) * 2 > sites_.size()) {
      std::vector<Site> old(sites_.size() * 2);
      old.swap(sites_);
      std::vector<uint32_t> used;
      used.swap(used_sites_);
      for (uint32_t i : used)
        site(old[i].key, old[i].write, old[i].threadgroup) = std::move(old[i]);
      return site(key, write, threadgroup);
    }
    s.key = key;
    s.write = write;
    s.threadgroup = threadgroup;
    used_sites_.push_back(static_cast<uint32_t>(hash % sites_.size()));
    return s;
  }
}

// Upwards or downwards: a compiler that takes a struct apart loads its last part first.
bool Observer::extends(const void* key, uint64_t address, uint32_t bytes, bool write, int lane) {
  Latest& l = latest_[lane];
  const uint64_t end = address + bytes;
  if (!l.key || l.key == key || l.write != write || (address != l.end && end != l.begin))
    return false;
  const uint64_t begin = std::min(address, l.begin), last = std::max(end, l.end) - 1;
  if (begin / kVector != last / kVector) return false;
  l.begin = begin;
  l.end = last + 1;
  Issue& i = site(l.key, write, false).issues[l.time];
  i.address[lane] = begin;
  i.bytes = std::max(i.bytes, static_cast<uint32_t>(l.end - l.begin));
  return true;
}

void Observer::access(const void* key, uint64_t address, uint32_t bytes, bool write,
                      bool threadgroup, int lane) {
  if (!threadgroup && extends(key, address, bytes, write, lane)) return;
  Site& s = site(key, write, threadgroup);
  uint32_t time = s.times[lane]++;
  if (time >= kTimes) {
    ++sampled_out_;
    return;
  }
  if (time >= s.issues.size()) s.issues.resize(time + 1);
  s.used = std::max(s.used, time + 1);
  Issue& i = s.issues[time];
  i.mask |= 1u << lane;
  i.bytes = i.mask == 1u << lane ? bytes : std::max(i.bytes, bytes);
  i.address[lane] = address;
  if (!threadgroup) latest_[lane] = {key, time, address, address + bytes, write};
}

void Observer::flush(uint32_t active, Counts& counts) {
  for (uint32_t at : used_sites_) {
    Site& s = sites_[at];
    for (uint32_t t = 0; t < s.used; ++t) {
      if (s.threadgroup)
        flush_banks(s.issues[t], counts);
      else
        flush_device(s.issues[t], s.write, counts);
      s.issues[t].mask = 0;
    }
    s.used = 0;
    std::fill(std::begin(s.times), std::end(s.times), 0);
  }
  for (Latest& l : latest_) l.key = nullptr;
  counts.sampled_out += sampled_out_;
  sampled_out_ = 0;
  flush_blocks(active, counts);
}

// Lines that the lanes touch, against the lines that as many bytes side by side would fill.
void Observer::flush_device(const Issue& issue, bool write, Counts& counts) {
  if (issue.mask == 0) return;
  scratch_.clear();
  for (uint32_t m = issue.mask; m; m &= m - 1)
    scratch_.push_back(issue.address[std::countr_zero(m)]);
  std::sort(scratch_.begin(), scratch_.end());
  int64_t lines = 0;
  uint64_t bytes = 0, next_line = 0, next_byte = 0;
  for (uint64_t a : scratch_) {
    uint64_t first = std::max(a / kLine, next_line), last = (a + issue.bytes - 1) / kLine;
    if (last >= first) lines += static_cast<int64_t>(last - first + 1);
    next_line = std::max(next_line, last + 1);
    uint64_t from = std::max(a, next_byte);
    if (a + issue.bytes > from) bytes += a + issue.bytes - from;
    next_byte = std::max(next_byte, a + issue.bytes);
  }
  auto ideal = static_cast<int64_t>((bytes + kLine - 1) / kLine);
  (write ? counts.store_transactions : counts.load_transactions) += lines;
  (write ? counts.store_transactions_ideal : counts.load_transactions_ideal) += ideal;
}

// A bank gives one word of 4 bytes a cycle; lanes that want the same word share it.
void Observer::flush_banks(const Issue& issue, Counts& counts) {
  if (issue.mask == 0) return;
  scratch_.clear();
  for (uint32_t m = issue.mask; m; m &= m - 1) {
    uint64_t a = issue.address[std::countr_zero(m)];
    for (uint64_t w = a / kWord; w <= (a + issue.bytes - 1) / kWord; ++w) scratch_.push_back(w);
  }
  std::sort(scratch_.begin(), scratch_.end());
  scratch_.erase(std::unique(scratch_.begin(), scratch_.end()), scratch_.end());
  uint32_t bank[kBanks] = {}, worst = 0;
  for (uint64_t w : scratch_) worst = std::max(worst, ++bank[w % kBanks]);
  auto ideal = static_cast<int64_t>((scratch_.size() + kBanks - 1) / kBanks);
  ++counts.bank_accesses;
  counts.bank_conflicts += worst - ideal;
}

// A block that one lane enters twice and the others once is issued twice, the second time for one
// lane: the least a machine in lockstep can do.
void Observer::flush_blocks(uint32_t active, Counts& counts) {
  for (uint32_t id : used_blocks_) {
    block_used_[id] = false;
    uint32_t* row = &blocks_[size_t{id} * kLanes];
    uint32_t most = 0, least = UINT32_MAX;
    for (int l = 0; l < kLanes; ++l) {
      if (!(active >> l & 1)) continue;
      most = std::max(most, row[l]);
      least = std::min(least, row[l]);
      counts.lane_slots_used += row[l];
      row[l] = 0;
    }
    if (most == 0) continue;
    counts.blocks_issued += most;
    counts.blocks_divergent += most - least;
    counts.lane_slots += int64_t{most} * kLanes;
  }
  used_blocks_.clear();
}

}  // namespace lamina::soft_metal
