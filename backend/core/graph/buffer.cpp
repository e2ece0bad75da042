#include "graph/buffer.h"

#include "devices/device.h"
#include "trace/trace.h"

namespace lamina {

namespace {
std::atomic<uint64_t> next_id{1};
}

Buffer::Buffer(void* data, int64_t bytes, Category category)
    : data_(data),
      bytes_(bytes),
      id_(next_id.fetch_add(1, std::memory_order_relaxed)),
      category_(category) {}

Buffer::~Buffer() {
  if (on_release_) {
    on_release_();
  } else {
    active_device().release(data_, bytes_);
  }
  if (trace::enabled())
    trace::instant(trace::EventKind::free_, 0, static_cast<int64_t>(id_), bytes_, adopted());
}

Ref<Buffer> Buffer::allocate(int64_t bytes, Category category, int64_t node) {
  void* data = active_device().allocate(bytes);
  Ref<Buffer> out(new Buffer(data, bytes, category));
  if (trace::enabled())
    trace::instant(trace::EventKind::alloc, 0, static_cast<int64_t>(out->id_), bytes,
                   static_cast<int64_t>(category), node);
  return out;
}

Ref<Buffer> Buffer::adopt(void* data, int64_t bytes, Category category,
                          std::function<void()> on_release) {
  Ref<Buffer> out(new Buffer(data, bytes, category));
  out->on_release_ = std::move(on_release);
  if (trace::enabled())
    trace::instant(trace::EventKind::adopt, 0, static_cast<int64_t>(out->id_), bytes,
                   static_cast<int64_t>(category), -1);
  return out;
}

}  // namespace lamina
