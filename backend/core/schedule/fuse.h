// Which nodes become one kernel, and for every producer-consumer edge why or why not.
#pragma once

#include <array>
#include <map>

#include "schedule/ir.h"

namespace lamina::schedule {

// Why an edge goes through memory. Codes and sentences are shown in the viewer as they stand.
enum class Reason : uint8_t {
  none,  // fused
  leaf_input,
  kept_for_user,
  several_consumers,
  shape_barrier,
  reduction_barrier,
  opaque_call,
  input_of_call,
  device_boundary,
  argument_limit,
  row_too_long,
  layout_not_expressible,
  recompute_too_dear,
  cycle,
  index_width,
  register_pressure,
};
struct ReasonText {
  const char* code;
  const char* sentence;
};
const std::vector<ReasonText>& reason_texts();  // by Reason

enum class GroupKind : uint8_t { map, reduce, row, call };

struct Group {
  GroupKind kind = GroupKind::map;
  Shape domain;             // index space of the kernel; of a call with epilogue: of its epilogue
  uint32_t reduced = 0;     // axes of the domain
  std::vector<int> nodes;   // in IR order
  std::vector<int> stored;  // nodes whose values go to memory
  int call = -1;            // the call node, if any; other nodes are then its epilogue, and
  bool prologue = false;    // with this, its input and what that is computed from
  // Index maps under which each member is evaluated: domain -> row-major flat index of the node.
  // A node read under two maps is computed twice.
  std::map<int, std::vector<Layout>> maps;
};

struct Edge {
  int from, to;
  Reason reason;  // none: fused
  std::vector<int> via;
};

struct Fusion {
  std::vector<Group> groups;  // in an order that respects dependencies
  std::vector<int> group_of;  // per IR node: the group that stores or first computes it, or -1
  std::vector<Edge> edges;
};

struct FuseOptions {
  bool enabled = true;  // false: every node its own group
  int max_arguments = 64;
  int max_instructions = 96;
  bool panels = true;  // the device runs epilogues of calls on panels of their results
  const TextTraits* text = nullptr;  // of a device whose calls are text: epilogues are part of it
};

Fusion fuse(const Ir& ir, const FuseOptions& options);
// The decisions of `old`, made for old_ir, on a graph of the same structure but other sizes;
// nullopt where they would not hold. `text` as in FuseOptions.
std::optional<Fusion> refit(const Ir& ir, const Ir& old_ir, const Fusion& old,
                            const TextTraits* text);
// Throws InternalError if an edge is missing, doubled, or fused across groups.
void verify(const Ir& ir, const Fusion& fusion);

}  // namespace lamina::schedule
