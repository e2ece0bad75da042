// A plan written down for the recorder: everything static that the views show.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "schedule/plan.h"

namespace lamina::schedule {

namespace {

// A minimal JSON writer: commas are put where they belong, text is escaped.
class Json {
 public:
  Json& open(char bracket) {
    value();
    out_ += bracket;
    fresh_ = true;
    return *this;
  }
  Json& close(char bracket) {
    out_ += bracket;
    fresh_ = false;
    return *this;
  }
  Json& key(const char* name) {
    value();
    text(name);
    out_ += ':';
    fresh_ = true;
    return *this;
  }
  Json& string(const std::string& s) {
    value();
    text(s);
    return *this;
  }
  Json& number(int64_t v) {
    value();
    out_ += std::to_string(v);
    return *this;
  }
  Json& real(double v) {
    value();
    char buf[32];
    std::snprintf(buf, sizeof buf, "%.3f", v);
    out_ += buf;
    return *this;
  }
  Json& literal(const char* word) {
    value();
    out_ += word;
    return *this;
  }
  template <class Range>
  Json& numbers(const Range& r) {
    open('[');
    for (auto v : r) number(static_cast<int64_t>(v));
    return close(']');
  }
  std::string take() { return std::move(out_); }

 private:
  void value() {
    if (!fresh_) out_ += ',';
    fresh_ = false;
  }
  void text(const std::string& s) {
    out_ += '"';
    for (char c : s) {
      if (c == '"' || c == '\\')
        (out_ += '\\') += c;
      else if (c == '\n')
        out_ += "\\n";
      else if (static_cast<unsigned char>(c) < 32)
        out_ += ' ';
      else
        out_ += c;
    }
    out_ += '"';
  }
  std::string out_;
  bool fresh_ = true;
};

const char* kind_of(const IrNode& n) {
  switch (n.role) {
    case Role::data:
      return "leaf";
    case Role::scalar:
      return "scalar";
    case Role::view:
      return n.primitive->layout ? "view" : "alias";
    case Role::copy:
    case Role::piece:
    case Role::assemble:
      return "copy";
    default:
      break;
  }
  switch (n.primitive->kind) {
    case Kind::reduce:
      return "reduce";
    case Kind::call:
      return "structured";
    case Kind::iota:
      return "source";
    default:
      return "elementwise";
  }
}

std::string op_of(const IrNode& n) {
  switch (n.role) {
    case Role::data:
      return "data";
    case Role::scalar:
      return "scalar";
    case Role::copy:
      return "copy";
    case Role::piece:
      return "write";
    case Role::assemble:
      return "assemble";
    default:
      return n.primitive->name;
  }
}

void write_params(Json& j, const IrNode& n) {
  j.key("params").open('{');
  if (n.role == Role::result)
    j.key("result").number(n.params.words()[0]);
  else if (n.primitive && !n.params.empty()) {
    Params::Reader r = n.params.read();
    for (const Field& f : n.primitive->fields) {
      j.key(f.name);
      switch (f.kind) {
        case FieldKind::integer:
          j.number(r.integer());
          break;
        case FieldKind::real:
          j.real(r.real());
          break;
        case FieldKind::boolean:
          j.literal(r.integer() ? "true" : "false");
          break;
        case FieldKind::dtype:
          j.string(name_of(static_cast<Dtype>(r.integer())));
          break;
        case FieldKind::ints:
          j.numbers(r.ints());
          break;
      }
    }
  }
  j.close('}');
}

int64_t flops_of(const Plan& plan, const IrNode& n) {
  if (n.is(Kind::elementwise))
    return n.size() * formulas()[static_cast<size_t>(n.primitive->formula)].info.flops;
  if (n.is(Kind::reduce)) return plan.ir.nodes[static_cast<size_t>(n.inputs[0])].size();
  if (!n.is(Kind::call)) return 0;
  Node node;
  stand_in(plan.ir, n, node);
  return n.primitive->flops(node);
}

// The shortest text that reads back as `x`, of which `digits` are enough.
template <class T>
std::string shortest(T x, int digits) {
  char buf[40];
  for (int n = 1; n <= digits; ++n) {
    std::snprintf(buf, sizeof buf, "%.*g", n, static_cast<double>(x));
    if (static_cast<T>(std::strtod(buf, nullptr)) == x) break;
  }
  return buf;
}

// What is not finite, and complex numbers, go as text: JSON has no numbers for them.
void write_value(Json& j, const ScalarValue& v, Dtype dtype) {
  dispatch(dtype, [&](auto x) {
    using T = decltype(x);
    std::memcpy(&x, v.bytes, sizeof x);
    if constexpr (std::is_same_v<T, bool>) {
      j.literal(x ? "true" : "false");
    } else if constexpr (std::is_integral_v<T>) {
      j.literal(std::to_string(x).c_str());
    } else if constexpr (std::is_same_v<T, complex64_t>) {
      const char* plus = std::signbit(x.imag()) ? "" : "+";
      j.string(shortest(x.real(), 9) + plus + shortest(x.imag(), 9) + "j");
    } else {
      using Wide = std::conditional_t<std::is_same_v<T, double>, double, float>;
      const auto wide = static_cast<Wide>(x);
      const std::string text = shortest(wide, std::is_same_v<T, double> ? 17 : 9);
      std::isfinite(wide) ? j.literal(text.c_str()) : j.string(text);
    }
  });
}

void write_scalar(Json& j, const IrNode& n, const Seen* seen, size_t i) {
  ScalarValue v;
  if (n.position < 0)
    std::memcpy(v.bytes, &n.params.words()[0], sizeof v.bytes);
  else if (seen)
    v = seen->values[i];
  else
    return;
  j.key("value");
  write_value(j, v, n.dtype);
  if (n.position >= 0 && seen->varies[i]) j.key("varies").literal("true");
}

void write_nodes(Json& j, const Plan& plan, const Seen* seen) {
  j.key("nodes").open('[');
  for (size_t i = 0; i < plan.ir.nodes.size(); ++i) {
    const IrNode& n = plan.ir.nodes[i];
    j.open('{').key("id").number(static_cast<int64_t>(i)).key("op").string(op_of(n));
    j.key("kind").string(kind_of(n));
    write_params(j, n);
    j.key("inputs").numbers(n.inputs).key("shape").numbers(n.shape);
    j.key("dtype").string(name_of(n.dtype)).key("bytes").number(n.bytes());
    j.key("flops").number(flops_of(plan, n)).key("group");
    int g = plan.fusion.group_of[i];
    if (g < 0)
      j.literal("null");
    else
      j.number(g);
    bool leaf = n.role == Role::data || n.role == Role::scalar;
    j.key("role").string(leaf ? "leaf" : n.output ? "output" : "interior");
    if (seen) j.key("category").number(static_cast<int64_t>(seen->categories[i]));
    if (n.role == Role::scalar) write_scalar(j, n, seen, i);
    j.key("position").number(n.source).close('}');
  }
  j.close(']');
}

// What the kernel of a call's group is for, with the arguments that are the call's own.
std::string parts_of(const KernelRun& group) {
  const TextEpilogue parts = text_epilogue(group);
  if (parts.input < 0) return "epilogue";
  return "epilogue (of its result, a" + std::to_string(parts.result) + ") and what it reads (a" +
         std::to_string(parts.input) + ")";
}

std::string call_text(const Step& step) {
  const CallRun& c = *step.call;
  std::string out = "call " + c.primitive->name + "(";
  for (size_t i = 0; i < c.inputs.size(); ++i) {
    const Operand& o = c.inputs[i];
    out += std::string(i ? ", " : "") + name_of(o.dtype) + " " + to_string(o.layout.shape);
    if (!o.layout.contiguous()) out += " strides " + to_string(o.layout.strides);
  }
  out += ") -> " + std::string(name_of(c.output.dtype)) + " " + to_string(c.output.layout.shape);
  for (const Operand& o : c.further)
    out += ", " + std::string(name_of(o.dtype)) + " " + to_string(o.layout.shape);
  if (c.epilogue)
    out += "\n" + parts_of(*c.epilogue) + ", " +
           (c.panel_rows > 0 ? std::to_string(c.panel_rows) + " rows at a time"
                             : std::string("at each element")) +
           ":\n" + to_text(c.epilogue->kernel);
  return out;
}

void write_groups(Json& j, const Plan& plan) {
  static const char* kinds[] = {"map", "reduce", "row", "call"};
  j.key("groups").open('[');
  for (size_t s = 0; s < plan.steps.size(); ++s) {
    const Step& step = plan.steps[s];
    for (size_t k = 0; k < step.groups.size(); ++k) {
      const Group& g = plan.fusion.groups[static_cast<size_t>(step.groups[k])];
      std::string label;
      for (int n : g.nodes)
        label += (label.empty() ? "" : "+") + op_of(plan.ir.nodes[static_cast<size_t>(n)]);
      j.open('{')
          .key("id")
          .number(step.groups[k])
          .key("kind")
          .string(kinds[static_cast<int>(g.kind)]);
      j.key("label").string(label).key("nodes").numbers(g.nodes).key("launch").number(
          static_cast<int64_t>(s));
      GroupCost cost = group_cost(step, k);
      j.key("reads")
          .number(cost.reads)
          .key("writes")
          .number(cost.writes)
          .key("flops")
          .number(cost.flops);
      const CompiledKernel* compiled =
          step.call ? step.call->compiled.get() : step.runs[k].compiled.get();
      j.key("scratch").number(compiled ? compiled->scratch_bytes() : 0).key("program");
      j.string(step.call ? call_text(step) : to_text(step.runs[k].kernel));
      if (compiled) {
        if (std::string text = compiled->text(); !text.empty())
          j.key("text")
              .string(text)
              .key("compile_us")
              .real(static_cast<double>(compiled->compile_ns()) * 1e-3);
      }
      j.close('}');
    }
  }
  j.close(']');
}

void write_edges(Json& j, const Plan& plan) {
  j.key("edges").open('[');
  for (const Edge& e : plan.fusion.edges) {
    const int64_t bytes = edge_bytes(plan, e);
    j.open('{').key("src").number(e.from).key("dst").number(e.to);
    j.key("fused").literal(e.reason == Reason::none ? "true" : "false");
    j.key("reason").string(reason_texts()[static_cast<size_t>(e.reason)].code);
    j.key("bytes").number(bytes).key("via").numbers(e.via).close('}');
  }
  j.close(']');
}

void write_launches(Json& j, const Plan& plan) {
  j.key("launches").open('[');
  for (size_t s = 0; s < plan.steps.size(); ++s) {
    const Step& step = plan.steps[s];
    j.open('{').key("id").number(static_cast<int64_t>(s)).key("groups").numbers(step.groups);
    j.key("name").string(step.name).key("reads").number(step.reads);
    j.key("writes").number(step.writes).key("flops").number(step.flops);
    std::vector<int> in, out;
    each_operand(step, [&](int s, bool written) {
      (written ? out : in).push_back(plan.slots[static_cast<size_t>(s)].node);
    });
    j.key("inputs").numbers(in).key("outputs").numbers(out).close('}');
  }
  j.close(']');
}

void write_transfers(Json& j, const Plan& plan) {
  j.key("transfers").open('[');
  const std::vector<std::string> devices = device_names();
  for (const Transfer& t : plan.transfers) {
    j.open('{').key("node").number(plan.slots[static_cast<size_t>(t.slot)].node);
    j.key("source").string(devices[t.from]).key("bytes").number(t.bytes);
    j.key("before").number(t.before).close('}');
  }
  j.close(']');
}

void write_memory(Json& j, const Plan& plan) {
  static const char* storages[] = {"leaf", "output", "arena", "donated"};
  j.key("memory").open('{').key("arena_bytes").number(plan.arena_bytes);
  j.key("output_bytes").number(plan.output_bytes).key("input_bytes").number(plan.input_bytes);
  j.key("peak_bytes").number(plan.peak_bytes).key("buffers").open('[');
  for (size_t s = 0; s < plan.slots.size(); ++s) {
    const Slot& slot = plan.slots[s];
    j.open('{').key("id").number(static_cast<int64_t>(s)).key("node").number(slot.node);
    j.key("offset").number(slot.offset).key("bytes").number(slot.bytes);
    j.key("first").number(slot.first).key("last").number(slot.last);
    j.key("storage").string(storages[static_cast<int>(slot.storage)]);
    j.key("donor").number(slot.donor).close('}');
  }
  j.close(']').close('}');
}

}  // namespace

std::string describe(const Plan& plan, const Seen* seen) {
  Json j;
  j.open('{').key("plan").number(static_cast<int64_t>(plan.id)).key("key").string(plan.key.hex());
  j.key("family").number(static_cast<int64_t>(plan.family->id));
  j.key("device")
      .string(device_of(plan.device).info().name)
      .key("outcome")
      .string(plan.resized ? "polymorphic" : "miss");
  write_nodes(j, plan, seen);
  write_groups(j, plan);
  write_edges(j, plan);
  write_launches(j, plan);
  write_transfers(j, plan);
  write_memory(j, plan);
  j.key("passes").open('[');
  for (const PassTime& p : plan.passes)
    j.open('{')
        .key("name")
        .string(p.name)
        .key("us")
        .real(p.microseconds)
        .key("changed")
        .number(p.changed)
        .close('}');
  j.close(']');
  j.key("traffic")
      .open('{')
      .key("unfused")
      .number(plan.traffic.unfused)
      .key("fused")
      .number(plan.traffic.fused);
  j.key("ideal").number(ideal_bytes(plan)).close('}').close('}');
  return j.take();
}

}  // namespace lamina::schedule
