#include "graph/buffer.h"

#include "devices/device.h"
#include "trace/trace.h"

namespace lamina {

namespace {
std::atomic<uint64_t> next_id{1};
}

Buffer::Buffer(void* data, int64_t bytes, Category category, DeviceId device, bool on_host)
    : data_(data),
      bytes_(bytes),
      id_(next_id.fetch_add(1, std::memory_order_relaxed)),
      category_(category),
      device_(device),
      on_host_(on_host),
      writable_(on_host) {}

Buffer::~Buffer() {
  if (on_release_) {
    on_release_();
  } else {
    device_of(device_).release(data_, bytes_);
  }
  if (trace::enabled())
    trace::instant(trace::EventKind::free_, 0, static_cast<int64_t>(id_), bytes_, adopted());
}

Ref<Buffer> Buffer::allocate(int64_t bytes, Category category, int64_t node, DeviceId device) {
  Device& home = device_of(device);
  void* data = home.allocate(bytes);
  Ref<Buffer> out(new Buffer(data, bytes, category, device, home.info().unified));
  if (trace::enabled())
    trace::instant(trace::EventKind::alloc, 0, static_cast<int64_t>(out->id_), bytes,
                   static_cast<int64_t>(category), node);
  return out;
}

Ref<Buffer> Buffer::adopt(void* data, int64_t bytes, Category category,
                          std::function<void()> on_release, Writers writers) {
  Ref<Buffer> out(new Buffer(data, bytes, category, kCpu, true));
  out->on_release_ = std::move(on_release);
  out->stable_ = writers == Writers::nobody;
  out->writable_ = writers == Writers::anyone;
  if (trace::enabled())
    trace::instant(trace::EventKind::adopt, 0, static_cast<int64_t>(out->id_), bytes,
                   static_cast<int64_t>(category), -1);
  return out;
}

Ref<Buffer> Buffer::mirror_on(DeviceId device) const {
  for (Ref<Buffer> m = mirror_; m; m = m->mirror_)
    if (m->device_ == device) return m;
  return {};
}

void Buffer::check_mirrors() {
  if (!written_.load(std::memory_order_relaxed)) return;
  drop_mirrors();
  // Read after the mirrors went: what is still lent may be written again.
  written_.store(lent_.load(std::memory_order_relaxed) > 0, std::memory_order_relaxed);
}

void Buffer::add_mirror(const Ref<Buffer>& copy) {
  copy->mirror_ = mirror_;
  mirror_ = copy;
}

}  // namespace lamina
