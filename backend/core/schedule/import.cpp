// The evaluation's order becomes IR.
#include <cstring>
#include <unordered_map>

#include "base/error.h"
#include "schedule/ir.h"

namespace lamina::schedule {

namespace {

// Gives a node what sizes decide, and notes it. False where that is not a matter of sizes: the
// axes of a reduction, say, or a size that became 1.
bool take_sizes(IrNode& n, const Shape& shape, const Params& params, const Layout& layout,
                uint8_t& change) {
  bool placed = n.role == Role::data || n.role == Role::piece;
  bool same_params = n.params == params;
  if (n.shape == shape && same_params && (!placed || n.layout == layout)) return true;
  bool sized = n.role == Role::view || n.role == Role::scalar || n.is(Kind::call);
  if (!same_pattern(n.shape, shape) || !(same_params || sized)) return false;
  if (placed && !same_class(n.layout, layout)) return false;
  n.shape = shape;
  if (!same_params) n.params = params;
  if (placed) n.layout = layout;
  change |= kSized;
  return true;
}

class Importer {
 public:
  explicit Importer(Ir& ir) : ir_(ir) {}

  // Returns the node that stands for this position.
  int import(const OrderedNode& o, int position) {
    position_ = position;
    int at = add(*o.node, [&](const Array& in) {
      return ir_.of_position[static_cast<size_t>(in.node()->position)];
    });
    return at >= 0 && o.output && !o.node->ready() ? give_memory(at) : at;
  }

  // Imports again into the nodes [first, end) made before.
  bool import_over(const OrderedNode& o, int position, int first, int end,
                   std::vector<uint8_t>& changes) {
    at_ = first;
    end_ = end;
    changes_ = &changes;
    int at = import(o, position);
    return fits_ && at_ == end && at == ir_.of_position[static_cast<size_t>(position)];
  }

 private:
  IrNode& node(int i) { return ir_.nodes[static_cast<size_t>(i)]; }

  int push(IrNode n) {
    n.source = position_;
    if (changes_) return compare(n);
    n.imported = static_cast<int>(ir_.nodes.size());
    ir_.nodes.push_back(std::move(n));
    return static_cast<int>(ir_.nodes.size()) - 1;
  }

  // Instead of a new node, the one made here before takes over what sizes decide.
  int compare(const IrNode& n) {
    fits_ = fits_ && at_ < end_;
    if (!fits_) return end_ - 1;
    IrNode& was = node(at_);
    fits_ = was.role == n.role && was.primitive == n.primitive && was.inputs == n.inputs &&
            was.dtype == n.dtype &&
            take_sizes(was, n.shape, n.params, n.layout, (*changes_)[static_cast<size_t>(at_)]);
    return at_++;
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
    int at = push(std::move(out));
    if (p.results > 1) add_results(n, at);
    return at;
  }

  // Right behind their call: result k is node call + k.
  void add_results(const Node& n, int call) {
    const auto& results = *static_cast<const CallResults*>(n.extra->payload.get());
    for (size_t k = 1; k < results.shapes.size(); ++k)
      push({.role = Role::result,
            .primitive = n.primitive,
            .params = Params().add(static_cast<int64_t>(k)),
            .inputs = {call},
            .shape = results.shapes[k],
            .dtype = results.dtypes[k]});
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
    if (name == "call_result") return in + static_cast<int>(n.params.read().integer());
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
        known[done] = done->scalar
                          ? add_constant(*done)
                          : add(*done, [&](const Array& in) { return known.at(in.node()); });
      }
    }
    return known.at(root.node());
  }

  // A constant of a decomposition is part of the plan, unlike the user's scalars.
  int add_constant(const Node& n) {
    int64_t bits;
    std::memcpy(&bits, n.literal.bytes, sizeof bits);
    Params value;
    value.add(bits);
    return push({.role = Role::scalar, .params = value, .shape = n.shape, .dtype = n.dtype});
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

  Ir& ir_;
  int position_ = -1;
  // Importing again:
  std::vector<uint8_t>* changes_ = nullptr;
  int at_ = 0, end_ = 0;
  bool fits_ = true;
};

using How = ImportRecord::How;

How how_imported(const Node& n, int nodes) {
  if (n.ready()) return n.scalar ? How::scalar : How::leaf;
  switch (n.primitive->kind) {
    case Kind::elementwise:
    case Kind::cast:
    case Kind::iota:
    case Kind::reduce:
    case Kind::view:
    case Kind::call:
      return nodes == 1 ? How::single : How::whole;
    default:
      return How::whole;
  }
}

// Whether how a node's elements lie depends on how its inputs' do.
bool passes_layout_on(const Node& n) {
  switch (n.primitive->kind) {
    case Kind::view:
    case Kind::alias:
    case Kind::composite:
    case Kind::custom:
      return true;
    default:
      return false;
  }
}

}  // namespace

Ir import_order(const std::vector<OrderedNode>& order) {
  Ir ir;
  ir.of_position.resize(order.size(), -1);
  Importer importer(ir);
  for (size_t i = 0; i < order.size(); ++i) {
    int at = importer.import(order[i], static_cast<int>(i));
    ir.of_position[i] = at;
    if (at < 0) continue;
    IrNode& n = ir.nodes[static_cast<size_t>(at)];
    if (n.position < 0 && n.role != Role::scalar) n.position = static_cast<int>(i);
    if (order[i].donatable) n.donatable = true;
    if (order[i].copied_from) n.copied_from = order[i].copied_from;
  }
  return ir;
}

ImportRecord record_import(const std::vector<OrderedNode>& order, const Ir& imported) {
  ImportRecord out;
  int at = 0, end = static_cast<int>(imported.nodes.size());
  for (size_t p = 0; p < order.size(); ++p) {
    out.first.push_back(at);
    while (at < end && imported.nodes[static_cast<size_t>(at)].source == static_cast<int>(p)) ++at;
    out.how.push_back(how_imported(*order[p].node, at - out.first.back()));
  }
  out.first.push_back(end);
  return out;
}

bool reimport(const std::vector<OrderedNode>& order, const ImportRecord& record, Ir& ir,
              std::vector<uint64_t>& stamps, std::vector<uint8_t>& changes) {
  static const Params none{};
  static const Layout nowhere{};
  thread_local std::vector<uint8_t> moved;  // by position: what Change says of its value
  moved.assign(order.size(), kUnchanged);
  changes.assign(ir.nodes.size(), kUnchanged);
  Importer importer(ir);
  for (size_t p = 0; p < order.size(); ++p) {
    const Node& n = *order[p].node;
    const int first = record.first[p];
    if (record.how[p] == How::scalar) continue;
    if (record.how[p] == How::leaf) {
      IrNode& leaf = ir.nodes[static_cast<size_t>(first)];
      if (n.shape == leaf.shape && n.value.strides == leaf.layout.strides) continue;
      uint8_t& change = changes[static_cast<size_t>(first)];
      if (!take_sizes(leaf, n.shape, none, {n.shape, n.value.strides, 0}, change)) return false;
      moved[p] = change;
      continue;
    }
    uint8_t of_inputs = kUnchanged;
    for (const Array& in : n.inputs) of_inputs |= moved[static_cast<size_t>(in.node()->position)];
    const bool same = n.local_hash == stamps[p];
    stamps[p] = n.local_hash;
    if (!same) moved[p] = kSized | kMoved;
    if (passes_layout_on(n) && of_inputs) moved[p] |= kMoved;
    if (record.how[p] == How::single) {
      if (!same && !take_sizes(ir.nodes[static_cast<size_t>(first)], n.shape, n.params, nowhere,
                               changes[static_cast<size_t>(first)]))
        return false;
    } else if (!same || of_inputs) {
      if (!importer.import_over(order[p], static_cast<int>(p), first, record.first[p + 1], changes))
        return false;
    }
  }
  return true;
}

}  // namespace lamina::schedule
