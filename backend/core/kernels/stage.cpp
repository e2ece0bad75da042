#include "kernels/stage.h"

#include <algorithm>

#include "base/error.h"
#include "kernels/formulas.h"
#include "kernels/spell.h"

namespace lamina {

namespace {

constexpr const char* kReduceNames[] = {"sum", "prod", "min",    "max",
                                        "all", "any",  "argmin", "argmax"};

// Takes axis d out of everything; what varied along it varies along `into`, if that is given.
void remove_axis(Kernel& k, size_t d, int into) {
  auto drop = [&](Strides& s) { s.erase(s.begin() + d); };
  auto bits = [&](uint32_t mask) {
    uint32_t low = mask & ((1u << d) - 1), high = mask >> (d + 1) << d;
    uint32_t out = low | high;
    if (into >= 0 && (mask >> d & 1)) out |= 1u << into;
    return out;
  };
  k.domain.erase(k.domain.begin() + d);
  for (KernelArg& a : k.args) drop(a.strides);
  for (IotaMap& m : k.iotas) drop(m.strides);
  for (Instr& in : k.instrs) in.mask = bits(in.mask);
  k.reduced = bits(k.reduced);
}

bool joins(const Kernel& k, size_t d) {
  if ((k.reduced >> d & 1) != (k.reduced >> (d + 1) & 1)) return false;
  auto fits = [&](const Strides& s) { return s[d] == s[d + 1] * k.domain[d + 1]; };
  return std::all_of(k.args.begin(), k.args.end(),
                     [&](const KernelArg& a) { return fits(a.strides); }) &&
         std::all_of(k.iotas.begin(), k.iotas.end(),
                     [&](const IotaMap& m) { return fits(m.strides); });
}

std::string operation_name(const Instr& in) {
  switch (in.code) {
    case Code::op:
      return formulas()[in.op].info.name;
    case Code::cast:
      return std::string("to_") + name_of(in.dtype);
    case Code::reduce:
      return kReduceNames[in.op];
    case Code::iota:
      return "index" + std::to_string(in.index);
    case Code::load:
      return "x" + std::to_string(in.index);
    case Code::scalar:
      return "c" + std::to_string(in.index);
    default:
      return "y" + std::to_string(in.index);
  }
}

std::vector<std::string> operation_names(const Kernel& k) {
  std::vector<std::string> names;
  for (const Instr& in : k.instrs)
    if (in.code == Code::op || in.code == Code::reduce || in.code == Code::cast)
      names.push_back(operation_name(in));
  return names;
}

}  // namespace

Kernel simplified(const Kernel& kernel) {
  Kernel k = kernel;
  for (size_t d = k.domain.size(); d-- > 0;)
    if (k.domain[d] == 1) remove_axis(k, d, -1);
  for (size_t d = k.domain.size(); d-- > 1;) {
    if (!joins(k, d - 1)) continue;
    // Axis d stays with its strides and takes the size of both.
    k.domain[d] *= k.domain[d - 1];
    remove_axis(k, d - 1, static_cast<int>(d - 1));
  }
  return k;
}

bool fits_int(const Kernel& kernel, const TextTraits& traits) {
  const int64_t limit = traits.index_limit;
  bool fits = element_count(kernel.domain) < limit;
  auto reach = [&](const Strides& strides, int64_t offset) {
    int64_t sum = std::abs(offset);
    for (size_t d = 0; d < strides.size(); ++d)
      sum += std::abs(strides[d]) * std::max<int64_t>(kernel.domain[d], 1);
    return sum;
  };
  for (const KernelArg& a : kernel.args) fits &= reach(a.strides, a.offset) < limit;
  for (const IotaMap& m : kernel.iotas) fits &= reach(m.strides, m.offset) < limit;
  return fits;
}

std::string entry_name(const Kernel& kernel) {
  static const char* const kinds[] = {"map", "reduce", "row"};
  std::string name = kinds[static_cast<int>(kernel.kind)];
  for (const std::string& op : operation_names(kernel)) {
    if (name.size() + op.size() > 40) break;
    name += "_" + op;
  }
  return name;
}

std::string header_comment(const Kernel& kernel) {
  std::string line = "//", out;
  for (const std::string& op : operation_names(kernel)) {
    if (line.size() + op.size() > 96) out += line + "\n", line = "//";
    line += (line == "//" ? " " : ", ") + op;
  }
  if (line == "//") line += " copy";
  return out + line + "\n";
}

void check_dtypes(const Kernel& kernel, const TextTraits& traits) {
  std::string of = "copy";
  for (const Instr& in : kernel.instrs) {
    if (in.code == Code::op || in.code == Code::reduce || in.code == Code::cast)
      of = operation_name(in);
    bool wide = in.dtype == Dtype::float64 && !traits.float64;
    bool complex = in.dtype == Dtype::complex64 && !traits.complex64;
    if (!wide && !complex) continue;
    // A load says little: name the operation behind it, if there is one.
    for (const Instr& next : kernel.instrs)
      if (of == "copy" && (next.code == Code::op || next.code == Code::reduce))
        of = operation_name(next);
    throw DtypeError(of + ": " + name_of(in.dtype) + " is no dtype of this device\nConvert with " +
                     "astype(" + (wide ? "float32" : "float32 parts") +
                     "), or compute with stream=cpu");
  }
}

std::string value_name(const Kernel& kernel, int i) {
  const Instr& in = kernel.instrs[static_cast<size_t>(i)];
  std::string name = operation_name(in);
  bool numbered = in.code == Code::op || in.code == Code::cast || in.code == Code::reduce;
  return numbered ? name + "_" + std::to_string(i) : name;
}

Stage::Stage(const Kernel& kernel, std::string name, std::vector<int> wanted)
    : kernel_(kernel),
      name_(std::move(name)),
      wanted_(std::move(wanted)),
      seen_(kernel.instrs.size()) {
  for (int w : wanted_) {
    const Instr& in = kernel.instrs[static_cast<size_t>(w)];
    visit(in.code == Code::store ? in.src[0] : w);
  }
  std::sort(body_.begin(), body_.end());
  std::sort(inputs_.begin(), inputs_.end());
  std::string lines;
  for (int i : body_) {
    const Instr& in = kernel.instrs[static_cast<size_t>(i)];
    std::vector<Word> sources;
    for (int32_t s : in.src)
      if (s >= 0)
        sources.push_back({value_name(kernel, s), kernel.instrs[static_cast<size_t>(s)].dtype});
    Word value =
        in.code == Code::cast ? spell_cast(sources[0], in.dtype) : spell_formula(in.op, sources);
    Dtype d = compute_dtype(in.dtype);
    if (value.text.front() == '(' && value.text.back() == ')' &&
        value.text.find(')') == value.text.size() - 1)
      value.text = value.text.substr(1, value.text.size() - 2);
    lines += std::string("  const ") + text_type(d) + " " + value_name(kernel, i) + " = " +
             value.text + ";\n";
  }
  std::string parameters;
  auto parameter = [&](const std::string& p) {
    parameters += (parameters.empty() ? "" : ", ") + p;
  };
  for (int i : inputs_)
    parameter(std::string(value_type(kernel.instrs[static_cast<size_t>(i)].dtype)) + " " +
              value_name(kernel, i));
  for (size_t r = 0; r < wanted_.size(); ++r) {
    const Instr& in = kernel.instrs[static_cast<size_t>(wanted_[r])];
    bool store = in.code == Code::store;
    int source = store ? in.src[0] : wanted_[r];
    Dtype d = kernel.instrs[static_cast<size_t>(source)].dtype;
    Word value{value_name(kernel, source), compute_dtype(d)};
    std::string name = store ? value_name(kernel, wanted_[r]) : "r" + std::to_string(r);
    const char* type = store ? text_type(kernel.args[in.index].dtype) : value_type(d);
    parameter(std::string("thread ") + type + "& " + name);
    lines += "  " + name + " = " +
             (store ? spell_store(value, kernel.args[in.index].dtype) : value.text) + ";\n";
  }
  text_ = "inline void " + name_ + "(" + parameters + ") {\n" + lines + "}\n";
}

void Stage::visit(int i) {
  if (seen_[static_cast<size_t>(i)]) return;
  seen_[static_cast<size_t>(i)] = true;
  const Instr& in = kernel_.instrs[static_cast<size_t>(i)];
  if (in.code == Code::op || in.code == Code::cast) {
    for (int32_t s : in.src)
      if (s >= 0) visit(s);
    body_.push_back(i);
  } else {
    inputs_.push_back(i);
  }
}

std::string Stage::call(const std::function<std::string(int)>& input,
                        const std::function<std::string(int)>& result) const {
  std::string out;
  for (int i : inputs_) out += (out.empty() ? "" : ", ") + input(i);
  for (int r : wanted_) out += (out.empty() ? "" : ", ") + result(r);
  return name_ + "(" + out + ");";
}

}  // namespace lamina
