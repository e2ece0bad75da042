// Walks a plan: bind buffers, launch, emit.
#pragma once

#include <exception>
#include <vector>

#include "graph/array.h"
#include "schedule/plan.h"

namespace lamina {

// Who waits for the results of a plan, and not for what its device does next.
enum class Awaited : uint8_t { nobody, program, device };

struct Run {
  uint64_t id = 0;
  int64_t outcome = 0;            // 0 hit, 1 hit after resizing, 2 miss
  std::vector<uint32_t> origins;  // by position; filled while recording
  int64_t recorder_ns = 0;        // spent for the recorder, its events apart
  bool interrupted = false;       // asked to stop when there was no way back
  Awaited awaited = Awaited::nobody;
  bool in_flight = false;  // the device works on it still
};
uint64_t next_run_id();

struct Failure {
  std::exception_ptr error;
  bool poisons = false;    // false: nothing ran, or nothing is lost
  std::vector<int> nodes;  // plan nodes whose values are lost
};

// Runs the plan on the order's leaves. On success `values` has the memory of every slot, whose
// buffers are pending where the device works on. Never throws; what went wrong is in `failure`.
void run_plan(schedule::Plan& plan, const std::vector<schedule::OrderedNode>& order, Run& run,
              std::vector<Value>& values, Failure& failure);

}  // namespace lamina
