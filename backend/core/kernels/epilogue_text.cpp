#include "kernels/epilogue_text.h"

#include <algorithm>

#include "kernels/elements.h"
#include "kernels/spell.h"

namespace lamina {

std::vector<int> epilogue_operands(const TextEpilogue& epilogue, int inputs) {
  std::vector<int> out;
  for (int a = 0; a < static_cast<int>(epilogue.kernel.args.size()); ++a)
    out.push_back(epilogue.stands_for(a) ? -1 : inputs++);
  return out;
}

EpilogueText::EpilogueText(const TextEpilogue& epilogue, Unit& unit)
    : epilogue_(epilogue),
      kernel_(simplified(epilogue.kernel)),
      unit_(unit),
      places_(kernel_, unit, !fits_int(kernel_, unit.traits())),
      finish_(kernel_, "epilogue", stores(false)),
      fetch_(kernel_, "prologue", stores(true)) {}

std::string epilogue_name(const TextEpilogue& epilogue) {
  const std::string whole = entry_name(epilogue.kernel);
  return whole.substr(std::min(whole.size(), sizeof "map_" - 1));
}

std::vector<int> EpilogueText::stores(bool of_input) const {
  std::vector<int> out;
  for (size_t i = 0; i < kernel_.instrs.size(); ++i) {
    const Instr& in = kernel_.instrs[i];
    if (in.code == Code::store && (in.index == epilogue_.input) == of_input)
      out.push_back(static_cast<int>(i));
  }
  return out;
}

std::vector<int> EpilogueText::arguments(const Stage& stage) const {
  std::vector<int> out;
  auto add = [&](int i, Code code) {
    const Instr& in = kernel_.instrs[static_cast<size_t>(i)];
    if (in.code == code && !epilogue_.stands_for(in.index)) out.push_back(in.index);
  };
  for (int i : stage.inputs()) add(i, Code::load);
  for (int i : stage.results()) add(i, Code::store);
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

void EpilogueText::buffers(int first, bool finishes) {
  const std::vector<int> operands = epilogue_operands(epilogue_, first);
  std::vector<int> used = arguments(fetch_);
  if (finishes)
    for (int a : arguments(finish_)) used.push_back(a);
  std::sort(used.begin(), used.end());
  used.erase(std::unique(used.begin(), used.end()), used.end());
  for (int a : used) {
    const KernelArg& arg = argument(a);
    unit_.buffer(buffer_name(kernel_, a), text_type(arg.dtype), operands[static_cast<size_t>(a)],
                 arg.output, itemsize(arg.dtype));
  }
}

// The domain's axes from the coordinates: where some of the innermost axes make up a coordinate,
// they come from it alone; where they do not, it is counted together with the one before it.
std::string EpilogueText::lines(std::vector<Coordinate> coordinates) {
  const std::string count = places_.count_type();
  std::string out;
  size_t end = kernel_.domain.size();
  while (!coordinates.empty()) {
    Coordinate c = std::move(coordinates.back());
    coordinates.pop_back();
    size_t begin = end;
    int64_t points = 1;
    while (begin > 0 && points < c.size) points *= kernel_.domain[--begin];
    if (points != c.size && !coordinates.empty()) {
      Coordinate& outer = coordinates.back();
      const std::string size =
          unit_.field("points" + std::to_string(coordinates.size()), c.size, places_.wide());
      outer.at = "(" + count + "(" + outer.at + ") * " + count + "(" + size + ") + " + c.at + ")";
      outer.size *= c.size;
      continue;
    }
    std::vector<size_t> axes;
    for (size_t d = begin; d < end; ++d) axes.push_back(d);
    out += places_.split(count + "(" + c.at + ")", axes, "  ", 1);
    end = begin;
  }
  return out;
}

std::string EpilogueText::parameters(const Stage& stage) const {
  std::string out;
  for (int a : arguments(stage))
    out += std::string("device ") + (argument(a).output ? "" : "const ") +
           text_type(argument(a).dtype) + "* " + buffer_name(kernel_, a) + ", ";
  return out + "constant Block& p, ";
}

std::string EpilogueText::passed(const Stage& stage, const std::string& arguments_behind) const {
  std::string out;
  for (int a : arguments(stage)) out += buffer_name(kernel_, a) + ", ";
  return out + "p, " + arguments_behind + ")";
}

// The body of a function that runs a stage at the element that the coordinates lead to. `value`
// stands for the result.
std::string EpilogueText::body(const Stage& stage, const std::string& value,
                               std::vector<Coordinate> coordinates) {
  const AxisNames axis = [](size_t d) { return "i" + std::to_string(d); };
  auto at = [&](int a) {
    return buffer_name(kernel_, a) + "[" + places_.index(a, ~0u, axis) + "]";
  };
  auto stored = [&](int s) -> int { return kernel_.instrs[static_cast<size_t>(s)].index; };
  auto result = [&](int s) { return "y" + std::to_string(stored(s)); };
  auto input = [&](int i) {
    const Instr& in = kernel_.instrs[static_cast<size_t>(i)];
    if (in.code == Code::load && in.index == epilogue_.result) return value;
    return spell_input(kernel_, unit_, places_, i, at, axis);
  };
  std::string text = lines(std::move(coordinates));
  for (int s : stage.results())
    text += std::string("  ") + text_type(argument(stored(s)).dtype) + " " + result(s) + ";\n";
  text += "  " + stage.call(input, result) + "\n";
  for (int s : stage.results())
    text += stored(s) == epilogue_.input ? "  return " + result(s) + ";\n"
                                         : "  " + at(stored(s)) + " = " + result(s) + ";\n";
  return text;
}

void EpilogueText::declare(Dtype from, const std::string& places,
                           std::vector<Coordinate> coordinates) {
  const std::string value = spell_cast({"value", from}, argument(epilogue_.result).dtype).text;
  unit_.declare(header_comment(kernel_));
  unit_.declare(finish_.text());
  unit_.declare("inline void finish(" + std::string(text_type(from)) + " value, " +
                parameters(finish_) + places + ") {\n" +
                body(finish_, value, std::move(coordinates)) + "}\n");
}

void EpilogueText::declare_fetch(const std::string& places, std::vector<Coordinate> coordinates) {
  unit_.declare(header_comment(kernel_));
  unit_.declare(fetch_.text());
  unit_.declare("inline " + std::string(text_type(argument(epilogue_.input).dtype)) + " fetch(" +
                parameters(fetch_) + places + ") {\n" + body(fetch_, "", std::move(coordinates)) +
                "}\n");
}

std::string EpilogueText::call(const std::string& value, const std::string& places) const {
  return "finish(" + value + ", " + passed(finish_, places);
}

std::string EpilogueText::fetch(const std::string& places) const {
  return "fetch(" + passed(fetch_, places);
}

std::optional<std::vector<int>> matched_axes(const Shape& domain, const Shape& shape) {
  std::vector<int> out;
  size_t at = 0;
  for (int64_t size : domain) {
    if (size == 1) {
      out.push_back(-1);
      continue;
    }
    while (at < shape.size() && shape[at] == 1) ++at;
    if (at == shape.size() || shape[at] != size) return std::nullopt;
    out.push_back(static_cast<int>(at++));
  }
  while (at < shape.size() && shape[at] == 1) ++at;
  if (at != shape.size()) return std::nullopt;
  return out;
}

Kernel with_epilogue(const Kernel& sum, const TextEpilogue& epilogue,
                     const std::vector<int>& axes) {
  const Kernel& e = epilogue.kernel;
  Kernel k = sum;
  k.instrs.pop_back();  // its store
  k.args.pop_back();
  const auto first = static_cast<int>(k.args.size());
  const std::vector<int> moved = epilogue_operands(epilogue, first);
  auto strides = [&](const Strides& from) {
    Strides out(k.domain.size(), 0);
    for (size_t d = 0; d < from.size(); ++d)
      if (axes[d] >= 0) out[static_cast<size_t>(axes[d])] = from[d];
    return out;
  };
  auto mask = [&](uint32_t from) {
    uint32_t out = 0;
    for (size_t d = 0; d < axes.size(); ++d)
      if ((from >> d & 1) && axes[d] >= 0) out |= 1u << axes[d];
    return out;
  };
  for (size_t a = 0; a < e.args.size(); ++a)
    if (moved[a] >= 0)
      k.args.push_back(
          {e.args[a].dtype, e.args[a].output, strides(e.args[a].strides), e.args[a].offset});
  k.scalars = e.scalars;
  for (const IotaMap& m : e.iotas) k.iotas.push_back({strides(m.strides), m.offset});
  // The result is rounded to its own dtype, as if it had been stored.
  int result = static_cast<int>(k.instrs.size()) - 1;
  const Dtype stored = e.args[static_cast<size_t>(epilogue.result)].dtype;
  if (compute_dtype(stored) != stored) {
    k.instrs.push_back({.code = Code::cast,
                        .dtype = stored,
                        .src = {result, -1, -1},
                        .mask = k.instrs.back().mask});
    ++result;
  }
  std::vector<int> now;
  for (const Instr& from : e.instrs) {
    if (from.code == Code::load && from.index == epilogue.result) {
      now.push_back(result);
      continue;
    }
    Instr in = from;
    for (int32_t& s : in.src)
      if (s >= 0) s = now[static_cast<size_t>(s)];
    in.mask = mask(from.mask);
    if (in.code == Code::load || in.code == Code::store)
      in.index = static_cast<uint16_t>(moved[in.index]);
    now.push_back(static_cast<int>(k.instrs.size()));
    k.instrs.push_back(in);
  }
  return k;
}

}  // namespace lamina
