#include "custom/custom.h"

#include <bit>
#include <map>
#include <mutex>

#include "base/error.h"
#include "ops/ops.h"
#include "ops/rules.h"

namespace lamina {

namespace {

struct Known {
  std::mutex mutex;
  std::map<std::string, const CustomPrimitive*> by_name;
  std::map<std::pair<std::string, int>, const Primitive*> rows;
};
Known& known() {
  static auto* k = new Known;
  return *k;
}

// The fields without the primitive's own word.
Params fields_of(const Params& params) {
  Params out;
  for (size_t i = 0; i + 1 < params.words().size(); ++i) out.add(params.words()[i]);
  return out;
}

void run_on_cpu(const CallArgs& args) {
  const Params& params = *static_cast<const Params*>(args.params);
  const CustomPrimitive& p = custom_of(params);
  if (!p.cpu)
    throw DeviceError(p.name + ": " +
                      (p.no_cpu.empty() ? "it was registered without a CPU function" : p.no_cpu));
  Params fields = fields_of(params);
  p.cpu({&fields, args.in, args.out});
}

TextProgram write(const TextCall& call, const TextTraits& traits) {
  const Params& params = *static_cast<const Params*>(call.params);
  Params fields = fields_of(params);
  return custom_of(params).text({&fields, call.in, call.out}, traits);
}

int64_t count_flops(const Node& node) {
  const CustomPrimitive& p = custom_of(node.params);
  if (p.flops) return p.flops(fields_of(node.params), node.inputs);
  return element_count(node.shape);
}

// Rows live as long as nodes that name them, which is to say for ever.
const Primitive& row_for(const CustomPrimitive& p) {
  std::lock_guard lock(known().mutex);
  auto [it, fresh] = known().rows.emplace(std::pair{p.name, p.outputs}, nullptr);
  if (fresh) {
    Primitive row{.name = p.name, .kind = Kind::call, .doc = p.doc};
    for (const CustomField& f : p.fields)
      row.fields.push_back({(new std::string(f.name))->c_str(), f.kind});
    row.call = run_on_cpu;
    row.text = p.text ? write : nullptr;
    row.flops = count_flops;
    row.results = p.outputs;
    it->second = &define_late(std::move(row));
  }
  return *it->second;
}

// One element of the batch after the other.
Arrays each_of_batch(const CustomPrimitive& p, const Params& fields, const Arrays& in,
                     const std::vector<bool>& batched, int64_t batch) {
  std::vector<Arrays> parts(static_cast<size_t>(p.outputs));
  for (int64_t b = 0; b < batch; ++b) {
    Arrays one;
    for (size_t i = 0; i < in.size(); ++i) {
      if (!batched[i]) {
        one.push_back(in[i]);
        continue;
      }
      Shape start(in[i].shape().size(), 0), stop = in[i].shape(), step(start.size(), 1);
      start[0] = b;
      stop[0] = b + 1;
      one.push_back(squeeze(slice(in[i], start, stop, step), {0}));
    }
    Arrays out = apply(p, fields, one);
    for (size_t k = 0; k < out.size(); ++k) parts[k].push_back(out[k]);
  }
  Arrays out;
  for (const Arrays& part : parts) {
    if (part.empty()) throw ShapeError("vmap: " + p.name + ": the batch is empty");
    out.push_back(stack(part, 0));
  }
  return out;
}

CustomRules rules_for(const CustomPrimitive& p, const Params& fields) {
  CustomRules rules;
  rules.vjp = [&p, fields](const Arrays& primals, const Arrays& cotangents, const Arrays& outputs) {
    if (!p.vjp)
      throw TraceError(
          "vjp: " + p.name + " has no derivative\n" +
          (p.no_rule.empty() ? "Register it with a vjp rule, or stop the gradient" : p.no_rule));
    return p.vjp(fields, primals, outputs, cotangents);
  };
  rules.jvp = [&p, fields](const Arrays& primals, const Arrays& tangents) {
    if (!p.jvp)
      throw TraceError("jvp: " + p.name + " has no forward derivative\n" +
                       (p.no_rule.empty() ? "Register it with a jvp rule" : p.no_rule));
    return p.jvp(fields, primals, tangents);
  };
  rules.vmap = [&p, fields](const Arrays& in, const std::vector<bool>& batched, int64_t batch) {
    return p.vmap ? p.vmap(fields, in, batched, batch)
                  : each_of_batch(p, fields, in, batched, batch);
  };
  return rules;
}

Arrays make_results(const CustomPrimitive& p, const Params& params, const Arrays& inputs,
                    const std::vector<ResultType>& types) {
  Array call = make_node(*p.row, params, inputs, types[0].shape, types[0].dtype);
  if (types.size() == 1) return {call};
  auto results = std::make_shared<CallResults>();
  for (const ResultType& t : types) {
    results->shapes.push_back(t.shape);
    results->dtypes.push_back(t.dtype);
  }
  call.node()->rare().payload = results;
  Arrays out;
  for (size_t k = 0; k < types.size(); ++k)
    out.push_back(make_node(call_result_primitive(), Params().add(static_cast<int64_t>(k)), {call},
                            types[k].shape, types[k].dtype));
  return out;
}

}  // namespace

const CustomPrimitive& custom_of(const Params& params) {
  return *std::bit_cast<const CustomPrimitive*>(params.words().back());
}

const CustomPrimitive& keep_custom(CustomPrimitive primitive) {
  primitive.row = &row_for(primitive);
  return *new CustomPrimitive(std::move(primitive));
}

const CustomPrimitive& register_custom(CustomPrimitive primitive) {
  const std::string& name = primitive.name;
  size_t dot = name.find('.');
  if (dot == std::string::npos || dot == 0 || dot + 1 == name.size())
    throw ValueError("register: '" + name + "' has no namespace\nName it as in vendor.operation");
  if (primitive.outputs < 1)
    throw ValueError("register: " + name + " must have one output or more, got " +
                     std::to_string(primitive.outputs));
  if (find_custom(name)) throw ValueError("register: " + name + " is registered already");
  const CustomPrimitive& kept = keep_custom(std::move(primitive));
  std::lock_guard lock(known().mutex);
  auto [it, fresh] = known().by_name.emplace(kept.name, &kept);
  if (!fresh) throw ValueError("register: " + kept.name + " is registered already");
  return kept;
}

const CustomPrimitive* find_custom(const std::string& name) {
  std::lock_guard lock(known().mutex);
  auto it = known().by_name.find(name);
  return it == known().by_name.end() ? nullptr : it->second;
}

std::vector<std::string> custom_names() {
  std::lock_guard lock(known().mutex);
  std::vector<std::string> out;
  for (const auto& [name, p] : known().by_name) out.push_back(name);
  return out;
}

Arrays apply(const CustomPrimitive& p, Params fields, const Arrays& inputs,
             std::vector<ResultType> types) {
  if (p.inputs >= 0 && inputs.size() != static_cast<size_t>(p.inputs))
    throw ValueError(p.name + ": takes " + std::to_string(p.inputs) + " arrays, got " +
                     std::to_string(inputs.size()));
  if (types.empty()) types = p.results(fields, inputs);
  if (types.size() != static_cast<size_t>(p.outputs))
    throw PrimitiveError(p.name + ": its shape rule gave " + std::to_string(types.size()) +
                         " results for " + std::to_string(p.outputs) + " outputs");
  for (const ResultType& t : types) element_count(t.shape);  // throws where it does not fit
  Params params = fields;
  params.add(std::bit_cast<int64_t>(&p));
  bool traced = false;
  if (tracing())
    for (const Array& x : inputs) traced |= x.node()->tracer;
  if (!traced) return make_results(p, params, inputs, types);
  return custom_function([&](const Arrays& in) { return make_results(p, params, in, types); },
                         inputs, rules_for(p, fields));
}

}  // namespace lamina
