// Memory of an evaluated array: one block of a device, or memory adopted from outside (NumPy,
// DLPack).
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <utility>

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

// Thread safe by reference count; the bytes are written only by the evaluation that made the
// buffer.
class Buffer {
 public:
  // Allocates from the CPU device's pool. Throws OutOfMemory.
  static Ref<Buffer> allocate(int64_t bytes, Category category, int64_t node);
  // Wraps memory owned elsewhere; `on_release` runs once when the last reference goes.
  static Ref<Buffer> adopt(void* data, int64_t bytes, Category category,
                           std::function<void()> on_release);

  void* data() const { return data_; }
  int64_t bytes() const { return bytes_; }
  uint64_t id() const { return id_; }
  bool adopted() const { return static_cast<bool>(on_release_); }
  Category category() const { return category_; }
  void set_category(Category c) { category_ = c; }
  uint32_t use_count() const { return refs_.load(std::memory_order_relaxed); }

  void retain() { refs_.fetch_add(1, std::memory_order_relaxed); }
  void release() {
    if (refs_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }

 private:
  Buffer(void* data, int64_t bytes, Category category);
  ~Buffer();

  void* data_;
  int64_t bytes_;
  uint64_t id_;
  std::atomic<uint32_t> refs_{0};
  Category category_;
  std::function<void()> on_release_;
};

using BufferRef = Ref<Buffer>;

}  // namespace lamina
