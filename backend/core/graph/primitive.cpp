#include "graph/primitive.h"

#include <atomic>
#include <unordered_map>

#include "base/error.h"

namespace lamina {

namespace {
struct Registry {
  std::vector<const Primitive*> rows;
  std::unordered_map<std::string, const Primitive*> by_name;
};
Registry& rows() {
  static Registry* r = new Registry;  // rows are referenced by nodes that may die at exit
  return *r;
}
}  // namespace

const Primitive& define(Primitive row) {
  Registry& r = rows();
  if (r.by_name.count(row.name)) throw InternalError("primitive defined twice: " + row.name);
  row.id = static_cast<uint16_t>(r.rows.size());
  auto* kept = new Primitive(std::move(row));
  r.rows.push_back(kept);
  r.by_name[kept->name] = kept;
  return *kept;
}

const Primitive& define_late(Primitive row) {
  // Counted down from the top, so that the two kinds of ids never meet.
  static std::atomic<int> next{0xFFFF};
  int id = next.fetch_sub(1);
  if (id < 0x8000)
    throw ValueError("register: " + row.name + ": a process can register " +
                     std::to_string(0x8000) + " primitives, no more");
  row.id = static_cast<uint16_t>(id);
  return *new Primitive(std::move(row));
}

const std::vector<const Primitive*>& registry() { return rows().rows; }

const Primitive* find_primitive(const std::string& name) {
  auto it = rows().by_name.find(name);
  return it == rows().by_name.end() ? nullptr : it->second;
}

const Primitive& placeholder_primitive() {
  static const Primitive& row = define({.name = "placeholder",
                                        .kind = Kind::custom,
                                        .doc = "Stands for an input while a function is traced."});
  return row;
}

const Primitive& call_result_primitive() {
  static const Primitive& row =
      define({.name = "call_result",
              .kind = Kind::alias,
              .doc = "One result of an operation that gives several.",
              .fields = {{"index", FieldKind::integer}},
              .vmap = [](const Node&, const Arrays&, const std::vector<bool>&, int64_t) -> Array {
                throw InternalError("a result was batched without its operation");
              },
              .nondifferentiable = nullptr});
  return row;
}
static const Primitive& call_result_row = call_result_primitive();

std::vector<std::string> registry_verify() {
  std::vector<std::string> missing;
  for (const Primitive* p : registry()) {
    auto need = [&](bool have, const char* field) {
      if (!have) missing.push_back(p->name + ": no " + field);
    };
    need(!p->doc.empty(), "doc");
    bool derived = p->kind == Kind::custom || p->kind == Kind::iota || p->name == "custom_output" ||
                   p->name == "call_result";
    bool differentiates = p->vjp || !p->partials.empty() || derived;
    need(differentiates || p->nondifferentiable, "vjp or reason why not");
    if (differentiates && p->kind != Kind::elementwise && !derived) need(p->jvp, "jvp");
    if (p->kind != Kind::elementwise && !derived) need(p->vmap, "vmap");
    if (p->kind == Kind::elementwise) need(p->formula >= 0, "formula");
    if (p->kind == Kind::view) need(p->layout, "layout");
    if (p->kind == Kind::composite) need(p->decompose, "decompose");
    if (p->kind == Kind::call) need(p->call && p->flops, "call and flops");
  }
  return missing;
}

std::string describe(const Node& node) {
  if (node.leaf())
    return (node.scalar ? "scalar " : "data ") + std::string(name_of(node.dtype)) + " " +
           to_string(node.shape);
  std::string out = node.primitive->name + " " + name_of(node.dtype) + " " + to_string(node.shape);
  Params::Reader read = node.params.read();
  for (const Field& f : node.primitive->fields) {
    out += std::string(" ") + f.name + "=";
    switch (f.kind) {
      case FieldKind::integer:
        out += std::to_string(read.integer());
        break;
      case FieldKind::real:
        out += std::to_string(read.real());
        break;
      case FieldKind::boolean:
        out += read.integer() ? "true" : "false";
        break;
      case FieldKind::dtype:
        out += name_of(static_cast<Dtype>(read.integer()));
        break;
      case FieldKind::ints:
        out += to_string(read.ints());
        break;
    }
  }
  return out;
}

}  // namespace lamina
