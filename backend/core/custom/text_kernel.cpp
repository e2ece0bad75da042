#include "custom/text_kernel.h"

#include <algorithm>
#include <bit>
#include <map>
#include <mutex>
#include <set>

#include "base/error.h"
#include "ops/ops.h"

namespace lamina {

namespace {

bool is_identifier(const std::string& s) {
  auto letter = [](char c) { return std::isalpha(static_cast<unsigned char>(c)) || c == '_'; };
  return !s.empty() && letter(s[0]) && std::all_of(s.begin(), s.end(), [&](char c) {
    return letter(c) || std::isdigit(static_cast<unsigned char>(c));
  });
}

const char* maker(Dialect d) { return d == Dialect::msl ? "metal_kernel" : "cuda_kernel"; }

std::string who(const KernelSource& s) { return std::string(maker(s.dialect)) + " " + s.name; }

// Parameters of a node: grid, threadgroup, whether and to what outputs are initialised, and what
// the outputs are (dtype, rank, sizes of each).
struct Decoded {
  KernelLaunch launch;
  std::vector<ResultType> results;
};
Decoded decode(const Params& params) {
  Decoded out;
  Params::Reader r = params.read();
  out.launch.grid = r.ints();
  out.launch.threadgroup = r.ints();
  bool initialised = r.integer() != 0;
  double value = r.real();
  if (initialised) out.launch.init = value;
  Shape types = r.ints();
  for (size_t at = 0; at < types.size();) {
    auto rank = static_cast<size_t>(types[at + 1]);
    out.results.push_back({Shape(types.begin() + at + 2, types.begin() + at + 2 + rank),
                           static_cast<Dtype>(types[at])});
    at += 2 + rank;
  }
  return out;
}

void check_launch(const KernelSource& s, const KernelLaunch& launch) {
  for (auto [what, sizes] :
       {std::pair{"grid", &launch.grid}, {"threadgroup", &launch.threadgroup}}) {
    bool positive = sizes->size() == 3;
    for (int64_t n : *sizes) positive &= n > 0 && n <= INT32_MAX;
    if (!positive)
      throw ValueError(who(s) + ": " + what + " must be three positive numbers of threads, got " +
                       to_string(*sizes));
  }
  int64_t threads = element_count(launch.threadgroup);
  if (threads > 1024)
    throw ValueError(who(s) + ": a threadgroup of " + to_string(launch.threadgroup) + " has " +
                     std::to_string(threads) + " threads, 1024 are possible");
}

std::string spelled(const TemplateValue& v) {
  if (auto* d = std::get_if<Dtype>(&v)) return name_of(*d);
  if (auto* b = std::get_if<bool>(&v)) return *b ? "true" : "false";
  return std::to_string(std::get<int64_t>(v));
}

}  // namespace

Shape results_to_keep(const std::vector<ResultType>& results) {
  Shape out;
  for (const ResultType& r : results) {
    element_count(r.shape);
    out.push_back(static_cast<int64_t>(r.dtype));
    out.push_back(static_cast<int64_t>(r.shape.size()));
    for (int64_t n : r.shape) out.push_back(n);
  }
  return out;
}

std::vector<ResultType> kept_results(const Params& params) { return decode(params).results; }

bool mentions(const std::string& text, const std::string& name) {
  auto part = [&](size_t i) {
    return i < text.size() && (std::isalnum(static_cast<unsigned char>(text[i])) || text[i] == '_');
  };
  for (size_t at = text.find(name); at != std::string::npos; at = text.find(name, at + 1))
    if ((at == 0 || !part(at - 1)) && !part(at + name.size())) return true;
  return false;
}

UserKernel::UserKernel(KernelSource source) : source_(std::move(source)) {
  const KernelSource& s = source_;
  if (!is_identifier(s.name))
    throw ValueError(std::string(maker(s.dialect)) + ": the name must be an identifier, got '" +
                     s.name + "'");
  if (s.outputs.empty()) throw ValueError(who(s) + ": needs one output name or more");
  std::set<std::string> seen;
  for (const auto* names : {&s.inputs, &s.outputs})
    for (const std::string& name : *names) {
      if (!is_identifier(name))
        throw ValueError(who(s) + ": '" + name + "' cannot be an argument's name");
      if (!seen.insert(name).second) throw ValueError(who(s) + ": two arguments are named " + name);
    }
  for (const std::string& name : s.outputs)
    if (!mentions(s.source, name))
      throw ValueError(who(s) + ": the output " + name + " is never written: the source does not " +
                       "mention it");
  // Buffers of one launch, the constant block among them.
  if (s.inputs.size() + s.outputs.size() > 30)
    throw ValueError(who(s) + ": " + std::to_string(s.inputs.size() + s.outputs.size()) +
                     " arguments, 30 are possible");
}

const CustomPrimitive& UserKernel::specialised(
    const std::vector<TemplateArgument>& arguments) const {
  // Texts that are equal share a primitive, so that making a kernel anew in a loop adds nothing.
  static auto* mutex = new std::mutex;
  static auto* known = new std::map<std::string, const CustomPrimitive*>;
  const KernelSource& s = source_;
  std::string key = std::string(maker(s.dialect)) + '\1' + s.name + '\1' + s.source + '\1' +
                    s.header + '\1' + std::to_string(s.threadgroup_bytes) + (s.atomic ? 'a' : '-');
  for (const auto* names : {&s.inputs, &s.outputs}) {
    key += '\1';
    for (const std::string& name : *names) key += name + ",";
  }
  for (const TemplateArgument& a : arguments) key += '\1' + a.name + '=' + spelled(a.value);
  std::lock_guard lock(*mutex);
  const CustomPrimitive*& found = (*known)[key];
  if (found) return *found;
  CustomPrimitive p;
  p.name = s.name;
  p.doc = std::string("A kernel that the program wrote, by mx.fast.") + maker(s.dialect) + ".";
  p.inputs = static_cast<int>(s.inputs.size());
  p.outputs = static_cast<int>(s.outputs.size());
  p.fields = {{"grid", FieldKind::ints},
              {"threadgroup", FieldKind::ints},
              {"initialised", FieldKind::boolean},
              {"init_value", FieldKind::real},
              {"outputs", FieldKind::ints}};
  p.results = [](const Params& params, const Arrays&) { return kept_results(params); };
  p.text = [s, arguments](const TextCall& call, const TextTraits& traits) {
    return write_kernel(s, arguments, decode(*static_cast<const Params*>(call.params)).launch, call,
                        traits);
  };
  p.no_cpu = s.dialect == Dialect::msl
                 ? "a kernel of Metal text does not run on the CPU\nRun it on Metal, or on the "
                   "software Metal: LAMINA_GPU=soft_metal in the environment and "
                   "mx.set_default_device(mx.gpu)"
                 : "a kernel of CUDA text does not run on the CPU\nRun it on an NVIDIA GPU: "
                   "mx.set_default_device(mx.gpu)";
  p.no_rule = "Give it one: mx.custom_function with a vjp or jvp of your own";
  found = &keep_custom(std::move(p));
  return *found;
}

Params UserKernel::params_for(const Arrays& inputs, const std::vector<TemplateArgument>& arguments,
                              const std::vector<ResultType>& results,
                              const KernelLaunch& launch) const {
  const KernelSource& s = source_;
  auto count = [&](const char* what, size_t wanted, size_t given) {
    if (wanted != given)
      throw ValueError(who(s) + ": " + std::to_string(wanted) + " " + what + ", got " +
                       std::to_string(given));
  };
  count("inputs are named", s.inputs.size(), inputs.size());
  count("outputs are named", s.outputs.size(), results.size());
  check_launch(s, launch);
  std::set<std::string> taken(s.inputs.begin(), s.inputs.end());
  taken.insert(s.outputs.begin(), s.outputs.end());
  for (const TemplateArgument& a : arguments) {
    if (!is_identifier(a.name))
      throw ValueError(who(s) + ": '" + a.name + "' cannot be a template argument's name");
    if (!taken.insert(a.name).second)
      throw ValueError(who(s) + ": the template argument " + a.name +
                       " has the name of another argument");
  }
  Params out;
  out.add_ints(launch.grid).add_ints(launch.threadgroup);
  out.add(launch.init.has_value()).add_real(launch.init.value_or(0));
  out.add_ints(results_to_keep(results));
  return out;
}

Arrays UserKernel::call(const Arrays& inputs, const std::vector<TemplateArgument>& arguments,
                        const std::vector<ResultType>& results, const KernelLaunch& launch) const {
  Params params = params_for(inputs, arguments, results, launch);
  Arrays in = inputs;
  if (source_.contiguous)
    for (Array& x : in) x = contiguous(x);
  return apply(specialised(arguments), std::move(params), in, results);
}

std::string UserKernel::text(const Arrays& inputs, const std::vector<TemplateArgument>& arguments,
                             const std::vector<ResultType>& results,
                             const KernelLaunch& launch) const {
  params_for(inputs, arguments, results, launch);
  std::vector<TensorView> in, out;
  for (const Array& x : inputs)
    in.push_back({nullptr, x.dtype(), x.shape(), row_major_strides(x.shape())});
  for (const ResultType& r : results)
    out.push_back({nullptr, r.dtype, r.shape, row_major_strides(r.shape)});
  TextTraits traits;
  traits.dialect = source_.dialect;
  traits.float64 = source_.dialect == Dialect::cuda;
  TextProgram program = write_kernel(source_, arguments, launch, {nullptr, in, out}, traits);
  return program.launches.empty() ? std::string() : program.launches.back().source;
}

}  // namespace lamina
