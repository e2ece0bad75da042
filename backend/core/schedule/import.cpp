// The evaluation's order becomes IR.
#include <cstring>
#include <unordered_map>

#include "base/error.h"
#include "schedule/ir.h"

namespace lamina::schedule {

namespace {

class Importer {
 public:
  explicit Importer(const std::vector<OrderedNode>& order) : order_(order) {}

  Ir run() {
    ir_.of_position.resize(order_.size(), -1);
    for (size_t i = 0; i < order_.size(); ++i) {
      const OrderedNode& o = order_[i];
      position_ = static_cast<int>(i);
      int at = add(*o.node, [&](const Array& in) {
        return ir_.of_position[static_cast<size_t>(in.node()->position)];
      });
      if (at >= 0 && o.output && !o.node->ready()) at = give_memory(at);
      if (at >= 0 && node(at).position < 0 && !(node(at).role == Role::scalar))
        node(at).position = position_;
      if (at >= 0 && o.donatable) node(at).donatable = true;
      ir_.of_position[i] = at;
    }
    return std::move(ir_);
  }

 private:
  IrNode& node(int i) { return ir_.nodes[static_cast<size_t>(i)]; }

  int push(IrNode n) {
    n.source = position_;
    ir_.nodes.push_back(std::move(n));
    return static_cast<int>(ir_.nodes.size()) - 1;
  }

  int give_memory(int at) {
    if (node(at).role == Role::scalar || node(at).is(Kind::iota))
      at = push(
          {.role = Role::copy, .inputs = {at}, .shape = node(at).shape, .dtype = node(at).dtype});
    node(at).output = true;
    return at;
  }

  template <class Find>
  int add(const Node& n, Find&& find) {
    // An evaluated node keeps its primitive, but its value is what counts.
    if (n.ready()) return add_leaf(n);
    const Primitive& p = *n.primitive;
    switch (p.kind) {
      case Kind::alias:
        return add_alias(n, find);
      case Kind::custom:
        return -1;  // reached only through its projections
      case Kind::composite:
        return add_composite(n, find);
      case Kind::concatenate:
        return add_concatenate(n, find);
      case Kind::update:
        return add_update(n, find);
      default:
        break;
    }
    IrNode out{.role = p.kind == Kind::view ? Role::view : Role::compute,
               .primitive = &p,
               .params = n.params,
               .shape = n.shape,
               .dtype = n.dtype};
    for (const Array& in : n.inputs) out.inputs.push_back(find(in));
    return push(std::move(out));
  }

  int add_leaf(const Node& n) {
    IrNode out{.role = n.scalar ? Role::scalar : Role::data, .shape = n.shape, .dtype = n.dtype};
    if (!n.scalar) out.layout = {n.shape, n.value.strides, 0};
    out.position = position_;
    return push(std::move(out));
  }

  template <class Find>
  int add_alias(const Node& n, Find&& find) {
    const std::string& name = n.primitive->name;
    if (name == "custom_output") {
      const Node& bundle = *n.inputs[0].node();
      int64_t at = n.params.read().integer();
      return find(bundle.inputs[static_cast<size_t>(at)]);
    }
    int in = find(n.inputs[0]);
    if (name == "contiguous") {
      auto a = access(ir_, in);
      if (a && a->layout.contiguous()) return in;
      return push({.role = Role::copy, .inputs = {in}, .shape = n.shape, .dtype = n.dtype});
    }
    if (n.inputs.size() == 1) return in;
    IrNode out{.role = Role::view, .primitive = n.primitive, .shape = n.shape, .dtype = n.dtype};
    for (const Array& x : n.inputs)
      if (int i = find(x); i >= 0) out.inputs.push_back(i);
    return push(std::move(out));
  }

  template <class Find>
  int add_composite(const Node& n, Find&& find) {
    // Nodes made here belong to the user's line that made the composite; without an origin the
    // scope keeps make_node from asking Python, which must not happen off the interpreter lock.
    OriginScope scope(n.origin ? n.origin : ~0u);
    std::unordered_map<const Node*, int> known;
    Arrays stand_ins;
    for (const Array& in : n.inputs) {
      stand_ins.push_back(make_leaf({}, in.shape(), in.dtype()));
      known[stand_ins.back().node()] = find(in);
    }
    Array result = n.primitive->decompose(n, stand_ins);
    return add_tree(result, known);
  }

  int add_tree(const Array& root, std::unordered_map<const Node*, int>& known) {
    std::vector<std::pair<const Node*, size_t>> stack{{root.node(), 0}};
    while (!stack.empty()) {
      auto& [n, next] = stack.back();
      if (known.count(n)) {
        stack.pop_back();
      } else if (next < n->inputs.size()) {
        const Node* in = n->inputs[next++].node();
        if (!known.count(in)) stack.push_back({in, 0});
      } else {
        const Node* done = n;
        stack.pop_back();
        int at = add(*done, [&](const Array& in) { return known.at(in.node()); });
        if (done->scalar) {
          // A constant of the decomposition: part of the plan, unlike the user's scalars.
          node(at).position = -1;
          int64_t bits;
          std::memcpy(&bits, done->literal.bytes, sizeof bits);
          node(at).params.add(bits);
        }
        known[done] = at;
      }
    }
    return known.at(root.node());
  }

  template <class Find>
  int add_concatenate(const Node& n, Find&& find) {
    size_t axis = static_cast<size_t>(n.params.read().integer());
    Layout whole = Layout::row_major(n.shape);
    int64_t at = 0;
    IrNode out{.role = Role::assemble, .shape = n.shape, .dtype = n.dtype};
    for (const Array& in : n.inputs) {
      Layout place{in.shape(), whole.strides, at * whole.strides[axis]};
      at += in.shape()[axis];
      out.inputs.push_back(push({.role = Role::piece,
                                 .inputs = {find(in)},
                                 .shape = in.shape(),
                                 .dtype = n.dtype,
                                 .layout = place}));
    }
    return push(std::move(out));
  }

  template <class Find>
  int add_update(const Node& n, Find&& find) {
    Layout whole = Layout::row_major(n.shape);
    Params::Reader r = n.params.read();
    Shape start = r.ints();
    r.ints();
    Shape step = r.ints();
    const Shape& part = n.inputs[1].shape();
    Layout place{part, whole.strides, 0};
    for (size_t i = 0; i < start.size(); ++i) {
      if (part[i] > 0) place.offset += start[i] * whole.strides[i];
      place.strides[i] = whole.strides[i] * step[i];
    }
    int base = find(n.inputs[0]), update = find(n.inputs[1]);
    int first = push({.role = Role::piece,
                      .inputs = {base},
                      .shape = n.shape,
                      .dtype = n.dtype,
                      .layout = whole});
    int second = push({.role = Role::piece,
                       .inputs = {update},
                       .shape = part,
                       .dtype = n.dtype,
                       .layout = place});
    return push(
        {.role = Role::assemble, .inputs = {first, second}, .shape = n.shape, .dtype = n.dtype});
  }

  const std::vector<OrderedNode>& order_;
  Ir ir_;
  int position_ = -1;
};

}  // namespace

Ir import_order(const std::vector<OrderedNode>& order) { return Importer(order).run(); }

}  // namespace lamina::schedule
