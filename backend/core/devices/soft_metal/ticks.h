// A signal every few milliseconds to a thread that has run kernels for a while, so that one which
// never ends can be stopped wherever it is. Code of kernels pays nothing for it.
#pragma once

namespace lamina::soft_metal {

// Called by the signal's handler on the thread and the stack that it interrupted; in_kernel: in the
// code of a module. False ends the ticks of this thread.
using Tick = bool (*)(bool in_kernel);

// From 50 ms on, this thread gets ticks; a call while it does costs nothing.
void want_ticks(Tick tick);

// To be called where a tick has left its handler for good: the next one may come.
void let_ticks_in();

}  // namespace lamina::soft_metal
