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

  explicit Memory(Host& host) : host_(host) {}
  // Told of every block from now on; outlives this, or is replaced by null.
  void watch(BlockObserver* observer) { observer_ = observer; }

  // Null when the system refuses. 64-byte aligned.
  void* take(int64_t bytes) noexcept;
  // REQUIRES: data came from take(bytes), and no command buffer needs it.
  void give(void* data, int64_t bytes) noexcept;
  // Gives slabs nobody uses back to the system.
  void trim() noexcept;

  // The block an address lies in: one of ours, or one adopted now from what was offered; null
  // otherwise.
  Place find(const void* address);

  // Whether Metal can use this memory of the caller's without a copy: it starts at a page, and
  // Metal takes it. The last page may be shared with others, whose bytes stay theirs. It is adopted
  // when it is first found, and must stay until it has been withdrawn and no Place of it is left.
  // Nobody writes to it: two adoptions of one range are two blocks that nothing orders.
  bool offer(const void* data, int64_t bytes);
  // Forgets all that was adopted.
  void withdraw();

 private:
  struct Slab {
    BlockRef block;
    int64_t piece = 0;  // bytes; a slab holds pieces of one size
    std::vector<char*> free;
  };
  BlockRef make(int64_t bytes);
  BlockRef adopt(const char* start, int64_t bytes);
  void* take_piece(int64_t piece);
  void forget(std::map<const char*, BlockRef>::iterator it);

  Host& host_;
  BlockObserver* observer_ = nullptr;
  mutable std::mutex mutex_;
  std::map<const char*, BlockRef> blocks_;            // by start
  std::map<const char*, BlockRef> adopted_;           // by start
  std::map<const char*, int64_t> offered_;            // bytes, by start; none overlap
  std::map<const char*, Slab> slabs_;                 // by start
  std::map<int64_t, std::vector<const char*>> open_;  // slabs with free pieces, by piece
};

}  // namespace lamina::metal
