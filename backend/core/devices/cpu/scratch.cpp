#include "devices/cpu/scratch.h"

#include <new>
#include <string>

#include "base/error.h"

namespace lamina::cpu {
namespace {

// Larger blocks go back to the system at once: the page faults they cost are small beside the work
// that needed them.
constexpr int64_t kKeepBytes = int64_t{8} << 20;
constexpr int kKeepBlocks = 8;
constexpr std::align_val_t kAlign{64};

struct Block {
  void* data = nullptr;
  int64_t bytes = 0;
};

struct Store {
  Block blocks[kKeepBlocks];
  ~Store() {
    for (Block& b : blocks) ::operator delete(b.data, kAlign);
  }
};
thread_local Store store;

}  // namespace

Scratch::Scratch(int64_t bytes) : data_(nullptr), bytes_(bytes < 4096 ? 4096 : bytes) {
  Block* best = nullptr;
  for (Block& b : store.blocks)
    if (b.data && b.bytes >= bytes_ && (!best || b.bytes < best->bytes)) best = &b;
  if (best) {
    data_ = best->data;
    bytes_ = best->bytes;
    *best = Block{};
    return;
  }
  data_ = ::operator new(static_cast<size_t>(bytes_), kAlign, std::nothrow);
  if (!data_)
    throw OutOfMemory("temporary memory of a library call: " + std::to_string(bytes_) +
                          " bytes are not to be had",
                      bytes_, 0);
}

Scratch::~Scratch() {
  if (bytes_ <= kKeepBytes) {
    Block* victim = &store.blocks[0];
    for (Block& b : store.blocks) {
      if (!b.data) {
        b = Block{data_, bytes_};
        return;
      }
      if (b.bytes < victim->bytes) victim = &b;
    }
    if (victim->bytes < bytes_) {
      Block old = *victim;
      *victim = Block{data_, bytes_};
      data_ = old.data;
    }
  }
  ::operator delete(data_, kAlign);
}

}  // namespace lamina::cpu
