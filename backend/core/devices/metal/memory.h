// Blocks of GPU memory, and the way from an address to the block it lies in: the rest of lamina
// knows addresses only, Metal wants a buffer and an offset.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "devices/metal/host.h"

namespace lamina::metal {

// One MTLBuffer. Kept by whoever may still need it: command buffers do not retain.
class Block {
 public:
  Block(Host& host, Handle handle, char* start, int64_t bytes)
      : host(host), handle(handle), start(start), bytes(bytes) {}
  ~Block() { host.release(handle); }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

  Host& host;
  const Handle handle;
  char* const start;
  const int64_t bytes;
};
using BlockRef = std::shared_ptr<Block>;

struct Place {
  BlockRef block;
  int64_t offset = 0;
};

// Told of every block that comes and goes.
class BlockObserver {
 public:
  virtual ~BlockObserver() = default;
  virtual void added(const Block& block) = 0;
  virtual void removed(const Block& block) = 0;
};

// Thread safe. Small requests share blocks of kSlab bytes: a buffer costs Metal at least a page,
// and their number is limited before their bytes are.
class Memory {
 public:
  static constexpr int64_t kSmall = 32 << 10;
  static constexpr int64_t kSlab = 1 << 20;

  explicit Memory(Host& host, BlockObserver* observer = nullptr)
      : host_(host), observer_(observer) {}

  // Null when the system refuses. 64-byte aligned.
  void* take(int64_t bytes) noexcept;
  // REQUIRES: data came from take(bytes), and no command buffer needs it.
  void give(void* data, int64_t bytes) noexcept;
  // Gives slabs nobody uses back to the system.
  void trim() noexcept;

  // The block an address lies in; null for memory that is not ours. An address just past a block's
  // end, where an empty array may lie, is in it.
  Place find(const void* address) const;

  // Makes [data, data + bytes) of the caller's memory a block without a copy, where Metal can: the
  // first byte at the start of a page. The last page may be shared with others, whose bytes stay
  // theirs. False: it must be copied. Memory adopted twice is one block, given up once.
  bool adopt(const void* data, int64_t bytes);
  void abandon(const void* data);

 private:
  struct Slab {
    BlockRef block;
    int64_t piece = 0;  // bytes; a slab holds pieces of one size
    std::vector<char*> free;
  };
  BlockRef make(int64_t bytes);
  void* take_piece(int64_t piece);
  void forget(std::map<const char*, BlockRef>::iterator it);

  Host& host_;
  BlockObserver* observer_;
  mutable std::mutex mutex_;
  std::map<const char*, BlockRef> blocks_;            // by start
  std::map<const char*, Slab> slabs_;                 // by start
  std::map<int64_t, std::vector<const char*>> open_;  // slabs with free pieces, by piece
};

}  // namespace lamina::metal
