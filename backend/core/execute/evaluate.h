// Evaluation: the one place where a plan meets a device.
//
// Any thread may evaluate; evaluations run one at a time. Everything an evaluation needs is
// allocated before its first kernel starts, so running out of memory changes nothing: the arrays
// stay lazy and can be evaluated again. Any other failure marks the arrays that depend on it as
// failed.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/tensor_view.h"
#include "graph/array.h"

namespace lamina {

// Makes every root ready. Throws the error of the first failure, or of an already failed input.
void evaluate(std::span<const Array> roots);
inline void evaluate(const Array& root) {
  if (!root.node()->ready()) evaluate(std::span(&root, 1));
}

// The same where the program goes on and reads the roots later: reading one then waits for this
// evaluation, and not for what its device was given since.
void evaluate_behind(std::span<const Array> roots);

// Returns when the roots' values are written, and when devices that do not say when that is have
// done all their work. Throws what went wrong with them. REQUIRES: evaluated roots.
void wait_for(std::span<const Array> roots);
// Whether wait_for() may have to wait or to throw.
bool must_wait_for(std::span<const Array> roots);
// Returns when the work of evaluations so far is done on every device; throws the first error of
// it that nobody has been told.
void wait_for_devices();
// Whether some device has been given work since.
bool devices_have_work();

struct PlanCacheStats {
  int64_t hits = 0, resized = 0, misses = 0, plans = 0;
};
PlanCacheStats plan_cache_stats();
void clear_plan_cache();

// For the recorder.
std::string describe_plan(uint64_t plan);                   // "" if unknown
void release_held_plans();                                  // those of the recording that ended
std::vector<uint32_t> described_origins(uint64_t origins);  // by the plan's node id
uint64_t last_plan();  // of the latest evaluation, 0 before any

// The array's elements, evaluated, as a view that stays valid while the array lives.
TensorView tensor_view(const Array& x);
// Whether tensor_view needs neither an evaluation nor a copy from a device.
bool on_host(const Array& x);

}  // namespace lamina
