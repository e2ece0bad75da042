// Which blocks the system is asked to keep resident. Off unless a limit is set: what a command
// buffer uses is resident anyway, and memory wired for one process is missing to the others.
#pragma once

#include <list>
#include <mutex>
#include <unordered_map>

#include "devices/metal/memory.h"

namespace lamina::metal {

// Thread safe. Blocks are wired first come, first served, until the limit; several sets, because
// the system evicts a set as a whole.
class Residency final : public BlockObserver {
 public:
  static constexpr int kMaxSets = 32;  // that one queue may have

  // `queue` outlives this. Does nothing where the system has no residency sets.
  Residency(Host& host, Handle queue);
  ~Residency() override;

  void added(const Block& block) override;
  void removed(const Block& block) override;
  // Returns the previous limit. Lowering it unwires the blocks wired last.
  int64_t set_limit(int64_t bytes);
  int64_t wired() const;
  bool supported() const { return host_.facts().residency_sets; }
  // Largest size of one set.
  int64_t set_bytes() const { return set_bytes_; }

 private:
  struct Set {
    Handle handle;
    int64_t bytes = 0;
  };
  struct Member {
    Handle buffer;
    int64_t bytes;
    Set* set;  // null: not wired
  };
  void wire(Member& member);
  void unwire(Member& member);
  Set* set_for(int64_t bytes);

  Host& host_;
  Handle queue_;
  int64_t set_bytes_;
  mutable std::mutex mutex_;
  int64_t limit_ = 0;
  int64_t wired_ = 0;
  std::list<Set> sets_;
  std::list<Member> members_;  // in the order they came
  std::unordered_map<const Block*, std::list<Member>::iterator> by_block_;
};

}  // namespace lamina::metal
