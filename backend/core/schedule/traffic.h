// What a plan moves and computes, read off its kernels and operands: predictions, for readers and
// for whoever weighs them. Nothing here changes what runs.
#pragma once

#include "schedule/plan.h"

namespace lamina::schedule {

// Bytes of the distinct elements that strides over a domain touch.
int64_t touched_bytes(const Shape& domain, const Strides& strides, int64_t item);
// Adds to a step what a kernel reads, writes and computes, and notes it in the kernel.
void count_traffic(const Plan& plan, KernelRun& run, Step& step);
// Adds what a group's call reads and computes; what it writes is known by its slots.
void count_operands(const Plan& plan, const Group& group, Step& step);
// A call is counted as one pass over its operands until its text is known: puts in the others.
// REQUIRES: the call is compiled, and its group's kernel counted.
void count_passes(const Plan& plan, const Group& group, Step& step);
// What one node would move alone.
int64_t unfused_bytes(const Plan& plan, const IrNode& n);
// Sums up plan.traffic from the steps and source.unfused.
void total_traffic(Plan& plan);

}  // namespace lamina::schedule
