// The result of scheduling one evaluation: launches in order and where every value lives. Immutable
// once built; runs bind buffers to it and go.
#pragma once

#include <memory>
#include <string>

#include "base/error.h"
#include "base/hash.h"
#include "devices/device.h"
#include "schedule/fuse.h"

namespace lamina::schedule {

enum class Storage : uint8_t {
  leaf,    // the buffer of a data node, found by position
  output,  // a buffer of its own, handed to the user's array
  arena,   // a part of the evaluation's one temporary block
  shared,  // the memory of another slot (donation, updates in place)
};

struct Slot {
  Storage storage = Storage::arena;
  int node = -1;      // IR node
  int position = -1;  // leaf, output: in the order
  int64_t bytes = 0;
  int64_t offset = 0;       // arena: bytes from its start
  int first = 0, last = 0;  // steps between which it is alive
  int donor = -1;           // shared: the slot whose memory this is
};

struct ScalarSource {
  int position = -1;  // in the order; -1: constant
  ScalarValue constant{};
  Dtype dtype = Dtype::float32;
};

struct GroupCost {
  int64_t reads = 0, writes = 0, flops = 0;  // bytes, operations
};

struct KernelRun {
  Kernel kernel;
  std::shared_ptr<const CompiledKernel> compiled;  // plans of other sizes share what is equal
  std::vector<int> slots;                          // per argument, or kPanel, kCallInput
  std::vector<ScalarSource> scalars;
  GroupCost cost;
};
inline constexpr int kPanel = -2;      // the result of the call before it
inline constexpr int kCallInput = -3;  // what the call reads, which the kernel computes

struct Operand {
  int slot = -1;  // -1: the scalar; kCallInput: part of the call's text
  ScalarSource scalar;
  Dtype dtype = Dtype::float32;
  Layout layout;
};

struct CallRun {
  const Primitive* primitive = nullptr;
  Params params;
  std::vector<Operand> inputs;
  Operand output;
  std::vector<Operand> further{};  // results after the first
  // With an epilogue on the CPU: rows of the result are made panel by panel, and each panel's
  // epilogue runs while the panel is in cache. 0: the call's text contains the epilogue.
  int64_t panel_rows = 0;
  std::shared_ptr<const CompiledKernel> compiled;  // of a device that takes text
  // Bytes that its text moves because it goes over memory several times, as a long sort does.
  int64_t further_passes = 0;
  // What its text computes of the result, and of what it reads (Group::prologue).
  std::optional<KernelRun> epilogue, tail_epilogue;
};

struct Step {
  std::vector<int> groups;
  std::vector<KernelRun> runs;  // independent of each other
  std::optional<CallRun> call;
  std::string name;
  int64_t reads = 0, writes = 0, flops = 0;  // bytes, operations
};

// Calls f(slot, whether it is written) for the memory that a step touches, literals apart.
template <class F>
void each_operand(const Step& step, F&& f) {
  auto each_of = [&](const KernelRun& run) {
    for (size_t i = 0; i < run.slots.size(); ++i)
      if (run.slots[i] >= 0) f(run.slots[i], run.kernel.args[i].output);
  };
  for (const KernelRun& run : step.runs) each_of(run);
  if (!step.call) return;
  for (const Operand& o : step.call->inputs)
    if (o.slot >= 0) f(o.slot, false);
  if (step.call->output.slot >= 0) f(step.call->output.slot, true);
  for (const Operand& o : step.call->further) f(o.slot, true);
  if (step.call->epilogue) each_of(*step.call->epilogue);
}

// Memory of another device that the plan reads. A run copies it before the step that reads it
// first, unless a copy of it lies there from before.
struct Transfer {
  int slot;  // of the leaf
  DeviceId from;
  int64_t bytes;  // of the leaf; the copy is of the buffer that it is in
  int before;     // step; one past the last where none reads it
};

struct Binding {  // of an output to the user's node
  int position;
  int slot;
  Strides strides;
  int64_t offset;
};

struct PassTime {
  const char* name;
  double microseconds;
  int changed;
};

struct Traffic {
  int64_t unfused = 0, fused = 0;  // bytes
};

// What a plan was made from, so that it can be put on other sizes.
struct Recipe;
struct Source {
  Ir imported;                           // before the passes
  std::vector<uint64_t> stamps;          // by position: local hash
  std::vector<int64_t> unfused;          // by node: bytes it would move alone
  std::shared_ptr<const Recipe> recipe;  // what plans of all sizes share; made with the second
};

// A plan and those made from it in other sizes: they launch the same kernels in the same order.
struct PlanFamily {
  PlanFamily(uint64_t id, DeviceId device) : id(id), device(device) {}
  PlanFamily(const PlanFamily&) = delete;
  PlanFamily& operator=(const PlanFamily&) = delete;
  ~PlanFamily();  // tells the device
  const uint64_t id;
  const DeviceId device;
};

// Immutable while anyone but the plan cache holds it.
struct Plan {
  Plan() = default;
  Plan(const Plan&) = default;
  Plan& operator=(const Plan&) = delete;

  uint64_t id = 0;
  std::shared_ptr<const PlanFamily> family;
  DeviceId device = kCpu;
  Hash128 key;
  Ir ir;
  Fusion fusion;
  std::vector<Slot> slots;
  std::vector<Step> steps;
  std::vector<Transfer> transfers;  // by the step that they come before
  std::vector<Binding> bindings;
  int64_t arena_bytes = 0, output_bytes = 0, input_bytes = 0, peak_bytes = 0;
  Traffic traffic;
  std::vector<PassTime> passes;
  bool overwrites_leaves = false;  // some leaf was donated
  bool resized = false;            // made from a plan of other sizes
  Source source;
};

// Everything after fusion: kernels, slots, memory. `device` compiles the kernels.
void lower(Plan& plan, Device& device);
// A group reads something under a map that strides do not express: an error in a plan made anew,
// the end of resizing.
struct DoesNotCompose : InternalError {
  using InternalError::InternalError;
};
// The same for a plan whose nodes changed (by node: Change) after it was lowered. REQUIRES: every
// step has one group. Throws DoesNotCompose.
void lower_again(Plan& plan, const std::vector<uint8_t>& changes,
                 const std::vector<int>& changed_groups, Device& device);
std::string group_name(const Plan& plan, size_t group);  // of its step, for readers
// What a call's text takes along.
TextEpilogue text_epilogue(const KernelRun& epilogue);
// Lifetimes, donation, arena offsets, predicted peak.
void plan_memory(Plan& plan);
// Bytes that any plan must move: what its operations need of each leaf, once, and what is asked for
// of the results. Of what nobody needs, as where only a part of a result is used, this plan is the
// measure: never more than traffic.fused.
int64_t ideal_bytes(const Plan& plan);
// What an edge costs where it is not fused, and saves where it is: a value is written once, and the
// consumer reads what it needs of it; leaves are only read.
int64_t edge_bytes(const Plan& plan, const Edge& edge);
// What the k-th group of a step reads, writes and computes.
GroupCost group_cost(const Step& step, size_t k);
// Makes neighbouring independent kernels one launch. Returns how many launches went.
int join_launches(Plan& plan);
// What has to come from other devices, and by when. Returns how many.
int find_transfers(Plan& plan);
// Takes launches apart again, to one group each. `names` are by group.
void split_launches(Plan& plan, const std::vector<std::string>& names);
// What a recording saw of a plan's runs, by plan node.
struct Seen {
  std::vector<Category> categories;
  std::vector<ScalarValue> values;  // of scalars, in the first run
  std::vector<bool> varies;         // scalars that had another value later
};
// The plan as JSON for the recorder; see docs/recording-format.md.
std::string describe(const Plan& plan, const Seen* seen = nullptr);

struct Options {
  bool fuse = true;
  bool donate = true;
  bool verify = false;
};
Options& options();  // process-wide; changed only under the evaluation lock

// The pipeline: import, the passes, fuse, lower, memory. With `like` given, its fusion is refitted
// instead of found; nullptr where it does not hold.
std::unique_ptr<Plan> make_plan(const std::vector<OrderedNode>& order, const Hash128& key,
                                DeviceId device, const Plan* like = nullptr);
// Puts a plan on an order of the same structure in other sizes, as if it had been made for it with
// the same fusion. False where a decision would not hold; the plan is then of no use.
bool resize(Plan& plan, const std::vector<OrderedNode>& order, const Hash128& key, Device& device);
// Throws InternalError naming the first difference of a resized plan from one made anew.
void require_same(const Plan& resized, const Plan& fresh);
uint64_t next_plan_id();

// A composition contains what the device cannot run: a structured operation without text, or a
// dtype. Caught by execute/, which then runs the composition on the CPU.
struct NotOnDevice {
  int position;  // of the composition, in the order
};
// Whether the device runs an operation that gives and reads these dtypes.
// `first`: the shape of its first input, null where there is none.
bool runs_on(const Device& device, const Primitive& primitive, const Shape* first);

}  // namespace lamina::schedule
