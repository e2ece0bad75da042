// Plans by the structure of what they evaluate. Used under the evaluation lock.
#pragma once

#include <memory>

#include "execute/run.h"
#include "schedule/plan.h"

namespace lamina {

// The plan of this key; else one of the same structure put on these sizes, which changes one that
// nobody else holds; else a new one. Sets run.outcome.
std::shared_ptr<schedule::Plan> plan_for(const Hash128& key, DeviceId device,
                                         const std::vector<schedule::OrderedNode>& order, Run& run);
// While recording: keeps the plan, and what this run tells of its nodes, until the next recording
// starts, so that it can be described when the clock has stopped.
void hold_plan(const std::shared_ptr<schedule::Plan>& plan,
               const std::vector<schedule::OrderedNode>& order);
// A plan that is still remembered, or null.
std::shared_ptr<schedule::Plan> plan_by_id(uint64_t id);
// Remembers the origins of a run's nodes, by plan node; equal lists share an id.
uint64_t intern_origins(const schedule::Plan& plan, const std::vector<uint32_t>& by_position);

}  // namespace lamina
