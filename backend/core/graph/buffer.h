// Memory of an evaluated array: one block of a device, or memory adopted from outside (NumPy,
// DLPack).
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <utility>

#include "devices/device.h"

namespace lamina {

// What a buffer is for; the memory view groups by it. Order is part of the recording format.
enum class Category : uint8_t {
  temporary,
  parameter,
  gradient,
  optimizer_state,
  activation,
  input,
  arena,
  output,
};

// A strong reference to a T with members retain() and release(). Thread safe as an int is.
template <class T>
class Ref {
 public:
  Ref() = default;
  explicit Ref(T* p) : p_(p) {
    if (p_) p_->retain();
  }
  Ref(const Ref& o) : Ref(o.p_) {}
  Ref(Ref&& o) noexcept : p_(std::exchange(o.p_, nullptr)) {}
  Ref& operator=(Ref o) noexcept {
    std::swap(p_, o.p_);
    return *this;
  }
  ~Ref() {
    if (p_) p_->release();
  }
  T* get() const { return p_; }
  T* operator->() const { return p_; }
  T& operator*() const { return *p_; }
  explicit operator bool() const { return p_ != nullptr; }
  friend bool operator==(const Ref&, const Ref&) = default;

 private:
  T* p_ = nullptr;
};

// Work that writes buffers and was not waited for. Used under the evaluation lock.
class Pending {
 public:
  virtual ~Pending() = default;
  // Returns when the bytes are there; throws, however often it is asked, why they never will be.
  virtual void wait() = 0;
  // Why they never will be, as far as is known without waiting.
  virtual std::exception_ptr failure() const = 0;
};

// Thread safe by reference count; the bytes are written only by the evaluation that made the
// buffer, and by the program while they are lent to it. Other devices that cannot read it hold
// copies of it, its mirrors: made and dropped under the evaluation lock, and equal to it whenever
// an evaluation reads them.
class Buffer {
 public:
  // Throws OutOfMemory.
  static Ref<Buffer> allocate(int64_t bytes, Category category, int64_t node,
                              DeviceId device = kCpu);
  // Who may write to memory that is owned elsewhere.
  enum class Writers : uint8_t { nobody, owner, anyone };
  // Wraps memory owned elsewhere; `on_release` runs once when the last reference goes.
  static Ref<Buffer> adopt(void* data, int64_t bytes, Category category,
                           std::function<void()> on_release, Writers writers);

  void* data() const { return data_; }
  int64_t bytes() const { return bytes_; }
  uint64_t id() const { return id_; }
  DeviceId device() const { return device_; }
  // Whether the CPU reads this memory.
  bool on_host() const { return on_host_; }
  // The copy of this buffer on that device, or null.
  Ref<Buffer> mirror_on(DeviceId device) const;
  void add_mirror(const Ref<Buffer>& copy);
  void drop_mirrors() { mirror_ = Ref<Buffer>(); }
  // Whether a view of this memory may be lent to the program for writing.
  bool writable() const { return writable_; }
  // From lend() to take_back() the program may write the bytes. Thread safe.
  void lend() {
    lent_.fetch_add(1, std::memory_order_relaxed);
    written_.store(true, std::memory_order_relaxed);
  }
  void take_back() { lent_.fetch_sub(1, std::memory_order_relaxed); }
  // Drops mirrors that what was lent may have made untrue. Under the evaluation lock.
  void check_mirrors();
  // What has yet to write the bytes, or failed to; null once they are there. Set and read under the
  // evaluation lock, but for pends().
  const std::shared_ptr<Pending>& pending() const { return pending_; }
  void set_pending(std::shared_ptr<Pending> pending) {
    pends_.store(pending != nullptr, std::memory_order_release);
    pending_ = std::move(pending);
  }
  bool pends() const { return pends_.load(std::memory_order_acquire); }
  bool adopted() const { return static_cast<bool>(on_release_); }
  // Whether only lamina changes the bytes.
  bool stable() const { return stable_ && lent_.load(std::memory_order_relaxed) == 0; }
  Category category() const { return category_; }
  void set_category(Category c) { category_ = c; }
  uint32_t use_count() const { return refs_.load(std::memory_order_relaxed); }

  void retain() { refs_.fetch_add(1, std::memory_order_relaxed); }
  void release() {
    if (refs_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }

 private:
  Buffer(void* data, int64_t bytes, Category category, DeviceId device, bool on_host);
  ~Buffer();

  void* data_;
  int64_t bytes_;
  uint64_t id_;
  std::atomic<uint32_t> refs_{0};
  Category category_;
  DeviceId device_;
  bool on_host_, stable_ = true, writable_;
  std::atomic<bool> pends_{false}, written_{false};
  std::atomic<uint32_t> lent_{0};
  std::shared_ptr<Pending> pending_;
  Ref<Buffer> mirror_;  // a chain
  std::function<void()> on_release_;
};

using BufferRef = Ref<Buffer>;

}  // namespace lamina
