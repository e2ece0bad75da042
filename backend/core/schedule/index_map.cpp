// Composition of index maps: how a view over a fused producer is folded into the producer's own
// reads.
#include "schedule/ir.h"

namespace lamina::schedule {

namespace {

struct Axis {
  int64_t size, stride;
};

// Adjacent axes of the inner map that act as one, so that an outer axis may run across them.
using MergedAxes = SmallVector<Axis, 8>;
MergedAxes merged_axes(const Layout& inner) {
  MergedAxes axes;
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
  MergedAxes axes = merged_axes(inner);
  SmallVector<int64_t, 8> low(axes.size()), high(axes.size());
  int64_t whole = 1;
  for (const Axis& a : axes) whole *= a.size;
  int64_t rest = outer.offset, product = whole;
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
    product = whole;
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

std::optional<Layout> view_layout(const Ir& ir, const IrNode& view, const Layout& in) {
  if (!view.primitive->layout) return in;  // depends: the same elements
  // The row's layout rule reads shape, params and the input's dtype from a node. One serves all:
  // plans are made by one thread at a time. It is never freed, since nodes may not die at exit.
  static auto* stand_in = [] {
    auto* reader = new Array(make_leaf({}, {}, Dtype::float32));
    reader->node()->inputs.push_back(make_leaf({}, {}, Dtype::float32));
    return reader;
  }();
  Node &n = *stand_in->node(), &input = *n.inputs[0].node();
  const IrNode& from = ir.nodes[static_cast<size_t>(view.inputs[0])];
  n.primitive = view.primitive;
  n.params = view.params;
  n.shape = view.shape;
  n.dtype = view.dtype;
  input.shape = from.shape;
  input.dtype = from.dtype;
  return view.primitive->layout(n, in);
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
    auto next = view_layout(ir, ir.nodes[static_cast<size_t>(chain[i])], layout);
    if (!next) return std::nullopt;
    layout = *next;
  }
  return Access{base, layout};
}

}  // namespace lamina::schedule
