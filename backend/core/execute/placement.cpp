#include "execute/placement.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "graph/primitive.h"
#include "schedule/plan.h"

namespace lamina {

using schedule::OrderedNode;

namespace {

using Shapes = std::vector<Shape>;

// By device and hash: of which inputs. A hash knows the shape of the result alone.
std::map<std::pair<DeviceId, uint64_t>, std::vector<Shapes>>& on_cpu() {
  static auto* m = new std::map<std::pair<DeviceId, uint64_t>, std::vector<Shapes>>;
  return *m;
}

Shapes inputs_of(const Node& n) {
  Shapes out;
  for (const Array& in : n.inputs) out.push_back(in.shape());
  return out;
}

bool is_projection(const Node& n) {
  if (n.primitive == &call_result_primitive()) return true;
  return n.primitive->kind == Kind::alias && !n.inputs.empty() && !n.inputs[0].node()->leaf() &&
         n.inputs[0].node()->primitive->kind == Kind::custom;
}

}  // namespace

DeviceId placement(const Node& n) {
  // The outputs of a user's function lie where the function was called, wherever they were made,
  // and the results of a call where it runs.
  if (is_projection(n)) return n.inputs[0].node()->placed;
  const Device& device = device_of(n.device);
  uint32_t dtypes = n.primitive->kind == Kind::custom ? 0 : 1u << static_cast<int>(n.dtype);
  for (const Array& in : n.inputs) dtypes |= 1u << static_cast<int>(in.dtype());
  if (n.primitive->results > 1)
    for (Dtype d : static_cast<const CallResults*>(n.extra->payload.get())->dtypes)
      dtypes |= 1u << static_cast<int>(d);
  if (dtypes & ~device.info().dtypes) return kCpu;
  if (!schedule::runs_on(device, *n.primitive, n.inputs.empty() ? nullptr : &n.inputs[0].shape()))
    return kCpu;
  const auto& refused = on_cpu();
  if (refused.empty()) return n.device;
  const auto found = refused.find({n.device, n.local_hash});
  const bool same = found != refused.end() && std::ranges::count(found->second, inputs_of(n));
  return same ? kCpu : n.device;
}

void run_on_cpu(const Node& composition) {
  on_cpu()[{composition.device, composition.local_hash}].push_back(inputs_of(composition));
}

std::vector<Part> parts_by_device(std::span<const Array> roots,
                                  const std::vector<OrderedNode>& order) {
  // A node's level is the number of changes of device on the way to it: within one level nothing
  // waits for another device.
  std::vector<int> level(order.size(), 0);
  std::vector<bool> crosses(order.size(), false);
  for (size_t i = 0; i < order.size(); ++i) {
    const Node& n = *order[i].node;
    if (n.ready()) continue;
    for (const Array& in : n.inputs) {
      const Node& from = *in.node();
      if (from.ready()) continue;
      size_t at = static_cast<size_t>(from.position);
      bool change = from.placed != n.placed;
      if (change) crosses[at] = true;
      level[i] = std::max(level[i], level[at] + change);
    }
  }
  // By level; the CPU last; what crosses first.
  std::map<std::tuple<int, bool, DeviceId, bool>, Arrays> lists;
  auto list = [&](const Node& n, bool ends) -> Arrays& {
    return lists[{level[static_cast<size_t>(n.position)], n.placed == kCpu, n.placed, ends}];
  };
  for (size_t i = 0; i < order.size(); ++i)
    if (crosses[i]) list(*order[i].node, false).push_back(Array(order[i].node));
  for (const Array& root : roots)
    if (!root.node()->ready()) list(*root.node(), true).push_back(root);
  std::vector<Part> parts;
  for (auto& [key, arrays] : lists) parts.push_back({std::move(arrays), !std::get<3>(key)});
  return parts;
}

}  // namespace lamina
