// Composition of index maps: how a view over a fused producer is folded into the producer's own
// reads.
#include "schedule/ir.h"

namespace lamina::schedule {

namespace {

struct Axis {
  int64_t size, stride;
};

// Adjacent axes of the inner map that act as one, so that an outer axis may run across them.
std::vector<Axis> merged_axes(const Layout& inner) {
  std::vector<Axis> axes;
  for (size_t k = 0; k < inner.shape.size(); ++k) {
    if (inner.shape[k] == 1) continue;
    Axis next{inner.shape[k], inner.strides[k]};
    if (!axes.empty() && axes.back().stride == next.stride * next.size) {
      axes.back() = {axes.back().size * next.size, next.stride};
    } else {
      axes.push_back(next);
    }
  }
  return axes;
}

}  // namespace

std::optional<Layout> compose(const Layout& inner, const Layout& outer) {
  Layout out{outer.shape, Strides(outer.shape.size()), inner.offset};
  if (element_count(outer.shape) == 0) return out;
  std::vector<Axis> axes = merged_axes(inner);
  std::vector<int64_t> step(axes.size()), low(axes.size()), high(axes.size());
  int64_t rest = outer.offset, product = 1;
  for (const Axis& a : axes) product *= a.size;
  for (size_t k = 0; k < axes.size(); ++k) {
    product /= axes[k].size;
    low[k] = high[k] = rest / product;
    rest %= product;
    out.offset += low[k] * axes[k].stride;
  }
  for (size_t d = 0; d < outer.shape.size(); ++d) {
    int64_t n = outer.shape[d], s = outer.strides[d];
    if (n == 1 || s == 0) continue;
    int64_t sign = s < 0 ? -1 : 1, left = s < 0 ? -s : s;
    product = 1;
    for (const Axis& a : axes) product *= a.size;
    for (size_t k = 0; k < axes.size(); ++k) {
      product /= axes[k].size;
      int64_t q = left / product * sign;
      left %= product;
      out.strides[d] += q * axes[k].stride;
      (q < 0 ? low : high)[k] += q * (n - 1);
    }
    if (left != 0) return std::nullopt;
  }
  // If no axis of the inner map is ever overrun, moving along an outer axis never carries.
  for (size_t k = 0; k < axes.size(); ++k)
    if (low[k] < 0 || high[k] >= axes[k].size) return std::nullopt;
  return out;
}

std::optional<Access> access(const Ir& ir, int node) {
  if (!ir.resolved.empty()) return ir.resolved[static_cast<size_t>(node)];
  std::vector<int> chain;
  int base = node;
  for (; ir.nodes[static_cast<size_t>(base)].role == Role::view;
       base = ir.nodes[static_cast<size_t>(base)].inputs[0])
    chain.push_back(base);
  const IrNode& b = ir.nodes[static_cast<size_t>(base)];
  Layout layout = b.role == Role::data ? b.layout : Layout::row_major(b.shape);
  for (size_t i = chain.size(); i-- > 0;) {
    const IrNode& v = ir.nodes[static_cast<size_t>(chain[i])];
    if (!v.primitive->layout) continue;  // depends: the same elements
    // The row's layout rule reads shape, params and the input's dtype from a node.
    Node stand_in;
    stand_in.primitive = v.primitive;
    stand_in.params = v.params;
    stand_in.shape = v.shape;
    stand_in.dtype = v.dtype;
    const IrNode& in = ir.nodes[static_cast<size_t>(v.inputs[0])];
    stand_in.inputs.push_back(make_leaf({}, in.shape, in.dtype));
    auto next = v.primitive->layout(stand_in, layout);
    if (!next) return std::nullopt;
    layout = *next;
  }
  return Access{base, layout};
}

}  // namespace lamina::schedule
