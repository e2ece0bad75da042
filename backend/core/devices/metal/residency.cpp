#include "devices/metal/residency.h"

#include <algorithm>
#include <utility>

namespace lamina::metal {

namespace {
constexpr int64_t kSmallestSet = int64_t{64} << 20;
}

Residency::Residency(Host& host, Handle queue)
    : host_(host),
      queue_(queue),
      set_bytes_(std::max(kSmallestSet, host.facts().working_set_bytes / 20)) {}

Residency::~Residency() {
  for (Set& set : sets_) {
    host_.residency_detach(queue_, set.handle);
    host_.release(set.handle);
  }
}

void Residency::added(const Block& block) {
  if (!supported()) return;
  std::lock_guard lock(mutex_);
  members_.push_back({block.handle, block.bytes, nullptr});
  by_block_[&block] = std::prev(members_.end());
  wire(members_.back());
}

void Residency::removed(const Block& block) {
  if (!supported()) return;
  std::lock_guard lock(mutex_);
  auto found = by_block_.find(&block);
  if (found == by_block_.end()) return;
  unwire(*found->second);
  members_.erase(found->second);
  by_block_.erase(found);
}

int64_t Residency::set_limit(int64_t bytes) {
  std::lock_guard lock(mutex_);
  int64_t before = std::exchange(limit_, std::max<int64_t>(bytes, 0));
  for (auto it = members_.rbegin(); it != members_.rend() && wired_ > limit_; ++it) unwire(*it);
  for (Member& member : members_)
    if (!member.set) wire(member);
  return before;
}

int64_t Residency::wired() const {
  std::lock_guard lock(mutex_);
  return wired_;
}

// The first set with room; a block larger than a set gets one of its own.
Residency::Set* Residency::set_for(int64_t bytes) {
  for (Set& set : sets_)
    if (set.bytes == 0 || set.bytes + bytes <= set_bytes_) return &set;
  if (sets_.size() >= kMaxSets) return nullptr;
  Failure failure;
  Handle handle = host_.new_residency_set(failure);
  if (!handle) return nullptr;
  host_.residency_attach(queue_, handle);
  sets_.push_back({handle, 0});
  return &sets_.back();
}

void Residency::wire(Member& member) {
  if (wired_ + member.bytes > limit_) return;
  member.set = set_for(member.bytes);
  if (!member.set) return;
  host_.residency_add(member.set->handle, member.buffer);
  host_.residency_commit(member.set->handle);
  member.set->bytes += member.bytes;
  wired_ += member.bytes;
}

void Residency::unwire(Member& member) {
  if (!member.set) return;
  host_.residency_remove(member.set->handle, member.buffer);
  host_.residency_commit(member.set->handle);
  member.set->bytes -= member.bytes;
  wired_ -= member.bytes;
  member.set = nullptr;
}

}  // namespace lamina::metal
