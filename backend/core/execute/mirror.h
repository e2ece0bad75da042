// Memory that one device has and another needs: a copy is made there, once while the original
// lives, and recorded. Used under the evaluation lock.
#pragma once

#include "graph/buffer.h"

namespace lamina {

// Whether kernels of `device` can be given the buffer's memory as it is.
bool reaches(DeviceId device, const Buffer& buffer);
// The buffer's bytes, once they are written, where `device` reads them: the buffer itself or its
// mirror, made if there is none. Memory adopted from a program may change behind lamina's back, so
// its copies are not kept. Throws OutOfMemory, DeviceError, and what the work that writes the
// buffer failed with.
BufferRef copy_on(const BufferRef& buffer, DeviceId device, uint64_t run);

}  // namespace lamina
