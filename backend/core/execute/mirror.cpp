#include "execute/mirror.h"

#include "execute/in_flight.h"
#include "trace/trace.h"

namespace lamina {

bool reaches(DeviceId device, const Buffer& buffer) {
  if (buffer.device() == device) return true;
  return buffer.on_host() && device_of(device).reads_host(buffer.data(), buffer.bytes());
}

BufferRef copy_on(const BufferRef& buffer, DeviceId device, uint64_t run) {
  const bool waited_for = buffer->device() != device && buffer->pending();
  if (waited_for) settle(*buffer);
  if (reaches(device, *buffer)) return buffer;
  buffer->check_mirrors();
  if (BufferRef known = buffer->mirror_on(device)) return known;
  // Two GPUs meet in the CPU's memory.
  BufferRef from = buffer->on_host() || device == kCpu ? buffer : copy_on(buffer, kCpu, run);
  BufferRef made = Buffer::allocate(buffer->bytes(), buffer->category(), -1, device);
  int64_t t0 = trace::enabled() ? now_ns() : 0;
  if (buffer->bytes() > 0) {
    if (from->on_host())
      device_of(device).upload(made->data(), from->data(), buffer->bytes());
    else if (waited_for)
      device_of(from->device()).fetch(made->data(), from->data(), buffer->bytes());
    else
      device_of(from->device()).download(made->data(), from->data(), buffer->bytes());
  }
  if (trace::enabled())
    trace::span(trace::EventKind::copy, run, t0, now_ns(), buffer->bytes(),
                static_cast<int64_t>(made->id()), from->device(), device);
  if (buffer->stable()) buffer->add_mirror(made);
  return made;
}

}  // namespace lamina
