#include "devices/metal/memory.h"

#include <algorithm>
#include <bit>

namespace lamina::metal {

namespace {

int64_t round_up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

// Powers of two from 64 bytes: at most kSmall / 64 sizes of slab.
int64_t piece_of(int64_t bytes) {
  return std::max<int64_t>(64, static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(bytes))));
}

}  // namespace

BlockRef Memory::make(int64_t bytes) {
  if (bytes > host_.facts().max_buffer_bytes) return nullptr;
  void* contents = nullptr;
  Handle handle = host_.new_buffer(bytes, &contents);
  if (!handle) return nullptr;
  auto block = std::make_shared<Block>(host_, handle, static_cast<char*>(contents), bytes);
  blocks_[block->start] = block;
  if (observer_) observer_->added(*block);
  return block;
}

void Memory::forget(std::map<const char*, BlockRef>::iterator it) {
  if (observer_) observer_->removed(*it->second);
  blocks_.erase(it);
}

void* Memory::take(int64_t bytes) noexcept {
  if (bytes <= 0) return nullptr;
  try {
    std::lock_guard lock(mutex_);
    if (bytes <= kSmall) return take_piece(piece_of(bytes));
    BlockRef block = make(round_up(bytes, host_.facts().page_bytes));
    return block ? block->start : nullptr;
  } catch (...) {
    return nullptr;  // the CPU's own memory ran out: refused all the same
  }
}

void* Memory::take_piece(int64_t piece) {
  auto& open = open_[piece];
  if (open.empty()) {
    BlockRef block = make(kSlab);
    if (!block) return nullptr;
    Slab& slab = slabs_[block->start];
    slab = {block, piece, {}};
    for (int64_t at = kSlab - piece; at >= 0; at -= piece) slab.free.push_back(block->start + at);
    open.push_back(block->start);
  }
  Slab& slab = slabs_.at(open.back());
  char* data = slab.free.back();
  slab.free.pop_back();
  if (slab.free.empty()) open.pop_back();
  return data;
}

void Memory::give(void* data, int64_t bytes) noexcept {
  if (!data || bytes <= 0) return;
  std::lock_guard lock(mutex_);
  char* start = static_cast<char*>(data);
  if (bytes > kSmall) {
    auto found = blocks_.find(start);
    if (found != blocks_.end()) forget(found);
    return;
  }
  auto found = slabs_.upper_bound(start);
  if (found == slabs_.begin()) return;
  Slab& slab = std::prev(found)->second;
  // Room for every piece was made when the slab was: this allocates nothing.
  slab.free.push_back(start);
  if (slab.free.size() == 1) open_[slab.piece].push_back(slab.block->start);
}

void Memory::trim() noexcept {
  std::lock_guard lock(mutex_);
  for (auto it = slabs_.begin(); it != slabs_.end();) {
    Slab& slab = it->second;
    if (static_cast<int64_t>(slab.free.size()) * slab.piece < kSlab) {
      ++it;
      continue;
    }
    auto& open = open_[slab.piece];
    open.erase(std::find(open.begin(), open.end(), it->first));
    forget(blocks_.find(it->first));
    it = slabs_.erase(it);
  }
}

Place Memory::find(const void* address) {
  const char* wanted = static_cast<const char*>(address);
  std::lock_guard lock(mutex_);
  for (auto* known : {&blocks_, &adopted_}) {
    auto next = known->upper_bound(wanted);
    if (next == known->begin()) continue;
    const BlockRef& block = std::prev(next)->second;
    if (wanted < block->start + block->bytes) return {block, wanted - block->start};
  }
  auto next = offered_.upper_bound(wanted);
  if (next == offered_.begin()) return {};
  auto [start, bytes] = *std::prev(next);
  if (wanted >= start + bytes) return {};
  BlockRef block = adopt(start, bytes);
  if (!block) return {};
  adopted_[start] = block;
  return {block, wanted - start};
}

BlockRef Memory::adopt(const char* start, int64_t bytes) {
  const int64_t whole = round_up(bytes, host_.facts().page_bytes);
  if (whole > host_.facts().max_buffer_bytes) return nullptr;
  char* data = const_cast<char*>(start);
  Handle handle = host_.adopt_pages(data, whole);
  return handle ? std::make_shared<Block>(host_, handle, data, whole) : nullptr;
}

bool Memory::offer(const void* data, int64_t bytes) {
  const auto page = static_cast<uintptr_t>(host_.facts().page_bytes);
  if (bytes <= 0 || reinterpret_cast<uintptr_t>(data) % page) return false;
  const char* start = static_cast<const char*>(data);
  std::lock_guard lock(mutex_);
  auto known = offered_.find(start);
  if (known != offered_.end() && known->second == bytes) return true;
  if (!adopt(start, bytes)) return false;
  // What was offered before at the same addresses is gone, or it could not be there.
  auto first = offered_.upper_bound(start);
  if (first != offered_.begin() && std::prev(first)->first + std::prev(first)->second > start)
    --first;
  offered_.erase(first, offered_.lower_bound(start + bytes));
  offered_[start] = bytes;
  return true;
}

void Memory::withdraw() {
  std::lock_guard lock(mutex_);
  adopted_.clear();
}

}  // namespace lamina::metal
