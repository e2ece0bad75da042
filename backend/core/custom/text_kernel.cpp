#include "custom/text_kernel.h"

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <map>
#include <mutex>
#include <regex>
#include <set>
#include <sstream>

#include "base/error.h"
#include "custom/names.h"
#include "ops/ops.h"

namespace lamina {

namespace {

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

void check_init(const std::string& who, double value, const std::vector<ResultType>& results,
                const std::vector<std::string>& names) {
  for (size_t i = 0; i < results.size(); ++i) {
    const Dtype d = results[i].dtype;
    if (is_floating(d) || is_complex(d)) continue;
    const int bits = 8 * static_cast<int>(itemsize(d));
    const double low = is_unsigned(d) ? 0 : -std::ldexp(1.0, bits - 1);
    const double past = std::ldexp(1.0, is_unsigned(d) ? bits : bits - 1);
    const bool fits = d == Dtype::bool_
                          ? value == 0 || value == 1
                          : std::trunc(value) == value && value >= low && value < past;
    if (fits) continue;
    std::ostringstream said;
    said << std::setprecision(17) << value;
    throw ValueError(who + ": init_value=" + said.str() + " does not fit the output " +
                     (i < names.size() ? names[i] : std::to_string(i)) + " (" + name_of(d) + ")");
  }
}

void check_cuda_groups(const std::string& who, const std::array<int64_t, 3>& groups) {
  const int64_t most[] = {INT32_MAX, 65535, 65535};
  for (size_t d = 0; d < 3; ++d)
    if (groups[d] > most[d])
      throw ValueError(who + ": the grid has " + std::to_string(groups[d]) +
                       " threadgroups along axis " + "xyz"[d] + ", CUDA runs " +
                       std::to_string(most[d]) +
                       "\nMake the threadgroup larger along it, or put the long axis first");
}

void check_shared_memory(const std::string& who, int64_t bytes) {
  constexpr int64_t kMost = 227 << 10;  // of any NVIDIA GPU so far
  if (bytes < 0)
    throw ValueError(who + ": shared_memory must be 0 or more bytes, got " + std::to_string(bytes));
  if (bytes > kMost)
    throw ValueError(who + ": shared_memory of " + std::to_string(bytes) +
                     " bytes, a threadgroup has " + std::to_string(kMost) + " at most");
}

namespace {

void check_names(const KernelSource& s) {
  std::set<std::string> seen;
  for (const auto* names : {&s.inputs, &s.outputs})
    for (const std::string& name : *names) {
      if (!is_identifier(name))
        throw ValueError(who(s) + ": '" + name + "' cannot be an argument's name");
      if (std::string taken = taken_as(name, s.dialect); !taken.empty())
        throw ValueError(who(s) + ": '" + name + "' cannot be an argument's name: it is " + taken);
      if (!seen.insert(name).second) throw ValueError(who(s) + ": two arguments are named " + name);
    }
  for (const std::string& input : s.inputs)
    for (const char* what : {"_shape", "_strides", "_ndim"})
      if (seen.count(input + what))
        throw ValueError(who(s) + ": '" + input + what + "' cannot be an argument's name: it " +
                         "belongs to the input " + input);
}

// On an output of plain numbers Metal has no atomic functions.
void check_atomics(const KernelSource& s, const std::string& code) {
  if (s.atomic || s.dialect != Dialect::msl) return;
  static const std::regex use(R"(\b(atomic_\w+_explicit)\s*\(\s*&?\s*(\w+))");
  for (std::sregex_iterator at(code.begin(), code.end(), use), end; at != end; ++at)
    if (const std::string name = (*at)[2]; std::count(s.outputs.begin(), s.outputs.end(), name))
      throw ValueError(who(s) + ": " + (*at)[1].str() + " on the output " + name +
                       ", which is not atomic\nPass atomic_outputs=True");
}

}  // namespace

UserKernel::UserKernel(KernelSource source) : source_(std::move(source)) {
  const KernelSource& s = source_;
  if (!is_identifier(s.name))
    throw ValueError(std::string(maker(s.dialect)) + ": the name must be an identifier, got '" +
                     s.name + "'");
  if (s.outputs.empty()) throw ValueError(who(s) + ": needs one output name or more");
  check_names(s);
  const std::string code = without_comments(s.source);
  for (const std::string& name : s.outputs)
    if (!mentions(code, name))
      throw ValueError(who(s) + ": the output " + name + " is never written: the source does not " +
                       "mention it");
  check_atomics(s, code);
  check_shared_memory(who(s), s.threadgroup_bytes);
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
    if (auto* n = std::get_if<int64_t>(&a.value); n && (*n < INT32_MIN || *n > INT32_MAX))
      throw ValueError(who(s) + ": the template argument " + a.name + "=" + std::to_string(*n) +
                       " does not fit an int (32 bits)\nPass an array of int64 among the inputs");
    if (!is_identifier(a.name))
      throw ValueError(who(s) + ": '" + a.name + "' cannot be a template argument's name");
    if (std::string taken = taken_as(a.name, s.dialect); !taken.empty())
      throw ValueError(who(s) + ": '" + a.name + "' cannot be a template argument's name: it is " +
                       taken);
    if (!taken.insert(a.name).second)
      throw ValueError(who(s) + ": the template argument " + a.name +
                       " has the name of another argument");
  }
  for (size_t i = 0; i < results.size(); ++i)
    for (int64_t n : results[i].shape)
      if (n < 0)
        throw ShapeError(who(s) + ": the output " + s.outputs[i] +
                         " has a negative size: " + to_string(results[i].shape));
  if (launch.init) check_init(who(s), *launch.init, results, s.outputs);
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
