// Which dispatches must wait for which, from the ranges they read and write. Metal tracks nothing
// for untracked buffers: inside a concurrent encoder a barrier orders dispatches, between encoders
// a fence does.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace lamina::metal {

// Bytes [begin, end) of one block of memory.
struct Access {
  const void* block;
  int64_t begin, end;
  bool written;
};

// Ranges read and ranges written. Two accesses conflict when they overlap and one of them writes.
class Accesses {
 public:
  void add(std::span<const Access> accesses);
  bool conflicts(std::span<const Access> accesses) const;
  void clear() { ranges_.clear(); }
  bool empty() const { return ranges_.empty(); }

 private:
  std::vector<Access> ranges_;
};

// The ranges of one encoder: all of them, for the encoders after it, and those since its last
// barrier.
class EncoderAccesses {
 public:
  // Takes a dispatch in; true when a barrier must come before it.
  bool add(std::span<const Access> accesses);
  // What comes before the encoder and after all that it waits for: it stands for this too.
  void precede(std::span<const Access> accesses) { all_.add(accesses); }
  // Whether a later encoder that makes these accesses must wait for this one.
  bool orders(std::span<const Access> accesses) const { return all_.conflicts(accesses); }

 private:
  Accesses since_barrier_;
  Accesses all_;
};

}  // namespace lamina::metal
