// Temporary memory of one library call on one thread, reused from call to call.
#pragma once

#include <cstdint>

namespace lamina::cpu {

// 64-byte aligned block, returned to the calling thread's own small store when the object dies,
// which must happen on the same thread. Throws OutOfMemory.
class Scratch {
 public:
  explicit Scratch(int64_t bytes);
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }

 private:
  void* data_;
  int64_t bytes_;
};

}  // namespace lamina::cpu
