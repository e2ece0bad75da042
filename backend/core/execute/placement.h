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

// Lists of arrays to evaluate one after the other, so that in each evaluation everything that is
// left runs on one device; the last lists hold the roots. Values that cross devices are evaluated
// where they are made, and their buffers are copied where they are read.
std::vector<Arrays> parts_by_device(std::span<const Array> roots,
                                    const std::vector<schedule::OrderedNode>& order);

}  // namespace lamina
