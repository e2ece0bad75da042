// The scheduler's own graph: the evaluation's nodes by index, composites decomposed, aliases gone,
// joins turned into pieces that write straight into their place. Passes rewrite it; nodes of the
// user's graph are never touched.
//
// Invariants (checked by verify)
//  1. Inputs have smaller indices.
//  2. No node is an alias, composite or custom; concatenate and update appear only as `assemble`.
//  3. Every view's layout over its row-major base is expressible: where it was not, a copy stands
//     between.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "graph/primitive.h"

namespace lamina::schedule {

enum class Role : uint8_t {
  data,      // a leaf with memory
  scalar,    // a leaf whose value is an argument (position >= 0) or a constant (params)
  compute,   // elementwise, cast, iota, reduce, call
  copy,      // identity, computed: gives a row-major copy of its input
  piece,     // identity written into a part of the assemble node `into`
  assemble,  // memory filled by its pieces
  view,      // inputs after the first are only waited for
  result,    // memory that the call inputs[0] fills besides its own: its result number params[0]
};

struct IrNode {
  Role role = Role::compute;
  const Primitive* primitive = nullptr;  // of compute and view
  Params params{};
  std::vector<int> inputs{};
  Shape shape{};
  Dtype dtype = Dtype::float32;
  int position = -1;       // in the evaluation's order; -1 where a pass made the node
  int source = -1;         // position of the user's node this was made for (origin, category)
  bool output = false;     // the user's node needs memory after the evaluation
  bool donatable = false;  // data: nobody else holds it
  std::optional<DeviceId> copied_from{};  // data: lies on that device, so that its bytes are copied
  Layout layout{};       // data: as it lies in its buffer (offset 0); piece: its place
  int into = -1;         // piece, once final: its assemble node
  int in_place_of = -1;  // assemble: the node whose memory it takes over, so that nothing is copied
  int imported = -1;     // its index before the passes; -1 where a pass made the node
  bool is(Kind k) const { return role == Role::compute && primitive->kind == k; }
  bool elementwise() const {
    return role == Role::copy || role == Role::piece ||
           (role == Role::compute &&
            (primitive->kind == Kind::elementwise || primitive->kind == Kind::cast ||
             primitive->kind == Kind::iota));
  }
  int64_t size() const { return element_count(shape); }
  int64_t bytes() const { return size() * itemsize(dtype); }
};

// What a node reads: a base (never a view) through a chain of views.
struct Access {
  int base;
  Layout layout;  // over the reader's operand shape, in units of the base's row-major flat index
                  // (for data: of its buffer's elements)
};
struct Ir {
  std::vector<IrNode> nodes;
  std::vector<int> of_position;                 // node standing for each position of the order
  std::vector<std::optional<Access>> resolved;  // by node, once final
  std::vector<std::vector<int>> users() const;
};

// One lazily evaluated node as seen by import: filled by execute/.
struct OrderedNode {
  Node* node;
  bool output;
  bool donatable;
  std::optional<DeviceId> copied_from{};  // data that `device` does not reach: where it lies
};

// The order (inputs first) as IR, decomposed and with aliases folded.
Ir import_order(const std::vector<OrderedNode>& order);

// Whether b may stand where a was planned: sizes of 0 and 1 decide broadcasting, zero and negative
// strides and row-major layouts decide what kernels do, so these are structure.
bool same_pattern(const Shape& a, const Shape& b);
bool same_class(const Layout& a, const Layout& b);

// Which imported nodes belong to a position of the order, and how they may be brought up to date.
struct ImportRecord {
  // single: one node, with the user's shape and parameters; whole: made of the inputs' shapes.
  enum class How : uint8_t { leaf, scalar, single, whole };
  std::vector<How> how;    // by position
  std::vector<int> first;  // by position: its first imported node; one more at the end
};
ImportRecord record_import(const std::vector<OrderedNode>& order, const Ir& imported);
// What changed of a node.
enum Change : uint8_t {
  kUnchanged = 0,
  kSized = 1,  // shape, parameters, place
  kMoved = 2,  // how its elements lie, through views
};
// Brings an imported order to an order of the same structure and other sizes; `stamps` are the
// local hashes of the nodes it was made from. False where it would be imported as another graph;
// `ir` is then of no use.
bool reimport(const std::vector<OrderedNode>& order, const ImportRecord& record, Ir& ir,
              std::vector<uint64_t>& stamps, std::vector<uint8_t>& changes);

// Views with more than one input (depends) are kept apart on purpose.
inline bool mergeable(const IrNode& n) {
  return n.role == Role::compute || n.role == Role::result ||
         (n.role == Role::view && n.inputs.size() == 1);
}
// Per node the first one that computes the same, mostly itself.
std::vector<int> common_nodes(const Ir& ir);
// Merges nodes that compute the same. Returns how many went.
int merge_common(Ir& ir);
// Puts copies where a view cannot be expressed over its base, and in front of outputs that have no
// memory of their own; with `scalars`, also where a call reads a scalar, so that its inputs all are
// memory. Returns how many.
int insert_copies(Ir& ir, bool scalars = false);
// Lets an update write into memory that nobody else reads. Returns how many copies went.
int elide_update_copies(Ir& ir);
// Drops what no output needs and renumbers. Returns how many went.
int drop_dead(Ir& ir);
// No pass follows: notes each piece's assemble node and resolves every access once.
void finalise(Ir& ir);
// Throws InternalError naming the first broken invariant.
void verify(const Ir& ir);

// Makes `out` a node of n's operation over inputs of its inputs' shapes and dtypes, for the
// functions of its row that ask for one.
void stand_in(const Ir& ir, const IrNode& n, Node& out);

// nullopt cannot happen after insert_copies. REQUIRES: inputs of `node` are final.
std::optional<Access> access(const Ir& ir, int node);
// How a view lies in its base if its input lies there like `in`.
std::optional<Layout> view_layout(const Ir& ir, const IrNode& view, const Layout& in);

// outer: D -> flat index of S (row-major); inner: S -> index. Their composition D -> index, or
// nullopt where it is not affine along D's axes.
std::optional<Layout> compose(const Layout& inner, const Layout& outer);

}  // namespace lamina::schedule
