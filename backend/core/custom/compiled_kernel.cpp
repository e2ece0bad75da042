#include "custom/compiled_kernel.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <mutex>
#include <unordered_map>

#include "base/hash.h"
#include "custom/text_kernel.h"
#include "ops/ops.h"

namespace lamina {

namespace {

std::string who(const std::string& name) { return "precompiled_cuda_kernel " + name; }

// A scalar as the node keeps it: which kind, and its bits.
void encode(Shape& out, const ScalarParameter& s) {
  out.push_back(static_cast<int64_t>(s.index()));
  if (auto* b = std::get_if<bool>(&s)) out.push_back(*b);
  if (auto* i = std::get_if<int32_t>(&s)) out.push_back(*i);
  if (auto* f = std::get_if<float>(&s)) out.push_back(std::bit_cast<int32_t>(*f));
}

// Appends the values that `kept` holds to the block, each aligned as C does.
void place_scalars(const Shape& kept, TextKernel& k) {
  for (size_t i = 0; i < kept.size(); i += 2) {
    const size_t bytes = kept[i] == 0 ? 1 : 4;
    while (k.block.size() % bytes) k.block.push_back(0);
    k.values.push_back(static_cast<uint32_t>(k.block.size()));
    const int64_t bits = kept[i + 1];
    const auto* from = reinterpret_cast<const unsigned char*>(&bits);
    k.block.insert(k.block.end(), from, from + bytes);
  }
}

void check_sizes(const CompiledKernelCall& c) {
  for (auto [what, sizes] : {std::pair{"grid", &c.grid}, {"threadgroup", &c.threadgroup}}) {
    bool positive = sizes->size() == 3;
    for (int64_t n : *sizes) positive &= n > 0 && n <= INT32_MAX;
    if (!positive)
      throw ValueError(who(c.name) + ": " + what +
                       " must be three positive numbers of threads, got " + to_string(*sizes));
  }
  if (int64_t threads = element_count(c.threadgroup); threads > 1024)
    throw ValueError(who(c.name) + ": a threadgroup of " + to_string(c.threadgroup) + " has " +
                     std::to_string(threads) + " threads, 1024 are possible");
  if (c.name.empty()) throw ValueError("precompiled_cuda_kernel: needs the function's name");
  if (c.image->empty())
    throw ValueError(who(c.name) +
                     ": compiled_source is empty\nGive the bytes of a PTX, cubin or "
                     "fatbin file");
  check_shared_memory(who(c.name), c.threadgroup_bytes);
  std::array<int64_t, 3> groups;
  for (size_t d = 0; d < 3; ++d) groups[d] = (c.grid[d] + c.threadgroup[d] - 1) / c.threadgroup[d];
  check_cuda_groups(who(c.name), groups);
}

// PTX is text; anything else is named by its size.
std::string readable(const std::string& name, const std::string& image) {
  const bool text = std::all_of(image.begin(), image.end(), [](unsigned char c) {
    return (c >= 32 && c < 127) || c == '\n' || c == '\t' || c == '\r';
  });
  return text ? image
              : "// " + name + ": compiled elsewhere, " + std::to_string(image.size()) + " bytes\n";
}

TextProgram program_of(const std::string& name, const std::shared_ptr<const std::string>& image,
                       int64_t threadgroup_bytes, const TextCall& call, const TextTraits& traits) {
  if (traits.dialect != Dialect::cuda)
    throw DeviceError(who(name) + ": compiled code for NVIDIA GPUs does not run on this device\n" +
                      "Run it on an NVIDIA GPU, or write it with mx.fast.metal_kernel");
  Params::Reader r = static_cast<const Params*>(call.params)->read();
  const Shape grid = r.ints(), group = r.ints();
  const bool initialised = r.integer() != 0;
  const double value = r.real();
  r.ints();
  TextProgram out;
  for (size_t i = 0; initialised && i < call.out.size(); ++i)
    if (call.out[i].size() > 0) out.launches.push_back(write_fill(call, i, value, traits));
  TextKernel k;
  k.name = name;
  k.image = image;
  k.source = readable(name, *image);
  place_scalars(r.ints(), k);
  for (size_t d = 0; d < 3; ++d) {
    k.threads[d] = static_cast<int>(std::min(group[d], grid[d]));
    k.groups[d] = (grid[d] + k.threads[d] - 1) / k.threads[d];
  }
  k.threadgroup_bytes = threadgroup_bytes;
  for (size_t i = 0; i < call.in.size() + call.out.size(); ++i)
    k.buffers.push_back({static_cast<int>(i), i >= call.in.size(), 1});
  out.launches.push_back(std::move(k));
  return out;
}

// Calls with equal code share a primitive, which is kept for ever.
const CustomPrimitive& primitive_of(const CompiledKernelCall& c, size_t inputs, size_t outputs) {
  static auto* mutex = new std::mutex;
  static auto* known = new std::unordered_map<Hash128, const CustomPrimitive*>;
  Hash128 key;
  key.add_bytes(c.image->data(), c.image->size());
  key.add(c.name);
  for (uint64_t n :
       {static_cast<uint64_t>(c.threadgroup_bytes), uint64_t{inputs}, uint64_t{outputs}})
    key.add(n);
  std::lock_guard lock(*mutex);
  const CustomPrimitive*& found = (*known)[key];
  if (found) return *found;
  CustomPrimitive p;
  p.name = c.name;
  p.doc = "A kernel compiled elsewhere, by mx.fast.precompiled_cuda_kernel.";
  p.inputs = static_cast<int>(inputs);
  p.outputs = static_cast<int>(outputs);
  p.fields = {{"grid", FieldKind::ints},           {"threadgroup", FieldKind::ints},
              {"initialised", FieldKind::boolean}, {"init_value", FieldKind::real},
              {"outputs", FieldKind::ints},        {"scalars", FieldKind::ints}};
  p.results = [](const Params& params, const Arrays&) { return kept_results(params); };
  p.text = [name = c.name, image = c.image, bytes = c.threadgroup_bytes](const TextCall& call,
                                                                         const TextTraits& traits) {
    return program_of(name, image, bytes, call, traits);
  };
  p.no_cpu =
      "compiled code for NVIDIA GPUs does not run on the CPU\nRun it on an NVIDIA GPU: "
      "mx.set_default_device(mx.gpu)";
  p.no_rule = "Give it one: mx.custom_function with a vjp or jvp of your own";
  found = &keep_custom(std::move(p));
  return *found;
}

}  // namespace

Arrays call_compiled(const CompiledKernelCall& c, const Arrays& inputs,
                     const std::vector<ResultType>& results) {
  check_sizes(c);
  if (results.empty()) throw ValueError(who(c.name) + ": needs one output or more");
  for (size_t i = 0; i < results.size(); ++i)
    for (int64_t n : results[i].shape)
      if (n < 0)
        throw ShapeError(who(c.name) + ": output " + std::to_string(i) +
                         " has a negative size: " + to_string(results[i].shape));
  if (c.init) check_init(who(c.name), *c.init, results, {});
  Shape scalars;
  for (const ScalarParameter& s : c.scalars) encode(scalars, s);
  Params params;
  params.add_ints(c.grid).add_ints(c.threadgroup);
  params.add(c.init.has_value()).add_real(c.init.value_or(0));
  params.add_ints(results_to_keep(results)).add_ints(scalars);
  Arrays in = inputs;
  if (c.contiguous)
    for (Array& x : in) x = contiguous(x);
  return apply(primitive_of(c, inputs.size(), results.size()), std::move(params), in, results);
}

}  // namespace lamina
