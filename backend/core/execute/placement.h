// Where each node of an evaluation runs, and the cut into parts that run on one device each.
#pragma once

#include <span>
#include <vector>

#include "schedule/ir.h"

namespace lamina {

// The node's device, or the CPU where that one cannot run it: a dtype it lacks, a structured
// operation without text. REQUIRES: the inputs are placed.
DeviceId placement(const Node& node);
// A composition turned out to contain what its device cannot run: it is placed on the CPU from now
// on, and so is every one like it.
void run_on_cpu(const Node& composition);

// Arrays to evaluate together: everything that is left of them then runs on one device.
struct Part {
  Arrays arrays;
  bool awaited;  // they cross: a later part on another device reads them
};
// In the order in which to evaluate them. Values that cross devices are evaluated where they are
// made, and their buffers are copied where they are read. What another device does not wait for
// comes behind what it does, and the CPU's parts behind those of a device that works on by itself.
std::vector<Part> parts_by_device(std::span<const Array> roots,
                                  const std::vector<schedule::OrderedNode>& order);

}  // namespace lamina
