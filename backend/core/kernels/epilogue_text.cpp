#include "kernels/epilogue_text.h"

#include <algorithm>

#include "kernels/elements.h"
#include "kernels/spell.h"

namespace lamina {

std::vector<int> epilogue_operands(const TextEpilogue& epilogue, int inputs) {
  std::vector<int> out;
  for (int a = 0; a < static_cast<int>(epilogue.kernel.args.size()); ++a)
    out.push_back(a == epilogue.result ? -1 : inputs++);
  return out;
}

EpilogueText::EpilogueText(const TextEpilogue& epilogue, Unit& unit)
    : kernel_(simplified(epilogue.kernel)),
      result_(epilogue.result),
      unit_(unit),
      places_(kernel_, unit, !fits_int(kernel_, unit.traits())) {}

std::string epilogue_name(const TextEpilogue& epilogue) {
  const std::string whole = entry_name(epilogue.kernel);
  return whole.substr(std::min(whole.size(), sizeof "map_" - 1));
}

void EpilogueText::buffers(int first) {
  for (int a = 0; a < static_cast<int>(kernel_.args.size()); ++a) {
    if (a == result_) continue;
    const KernelArg& arg = kernel_.args[static_cast<size_t>(a)];
    unit_.buffer(buffer_name(kernel_, a), text_type(arg.dtype), first++, arg.output,
                 itemsize(arg.dtype));
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

void EpilogueText::declare(Dtype from, const std::string& parameters,
                           std::vector<Coordinate> coordinates) {
  const AxisNames axis = [](size_t d) { return "i" + std::to_string(d); };
  std::vector<int> stores;
  for (size_t i = 0; i < kernel_.instrs.size(); ++i)
    if (kernel_.instrs[i].code == Code::store) stores.push_back(static_cast<int>(i));
  const Stage stage(kernel_, "epilogue", stores);
  auto argument = [&](int a) -> const KernelArg& { return kernel_.args[static_cast<size_t>(a)]; };
  auto at = [&](int a) {
    return buffer_name(kernel_, a) + "[" + places_.index(a, ~0u, axis) + "]";
  };
  auto result = [&](int s) {
    return "y" + std::to_string(kernel_.instrs[static_cast<size_t>(s)].index);
  };
  auto input = [&](int i) {
    const Instr& in = kernel_.instrs[static_cast<size_t>(i)];
    if (in.code == Code::load && in.index == result_)
      return spell_cast({"value", from}, argument(result_).dtype).text;
    return spell_input(kernel_, unit_, places_, i, at, axis);
  };
  std::string text = "inline void finish(" + std::string(text_type(from)) + " value";
  for (int a = 0; a < static_cast<int>(kernel_.args.size()); ++a)
    if (a != result_)
      text += std::string(", device ") + (argument(a).output ? "" : "const ") +
              text_type(argument(a).dtype) + "* " + buffer_name(kernel_, a);
  text += ", constant Block& p, " + parameters + ") {\n" + lines(std::move(coordinates));
  for (int s : stores)
    text += std::string("  ") +
            text_type(argument(kernel_.instrs[static_cast<size_t>(s)].index).dtype) + " " +
            result(s) + ";\n";
  text += "  " + stage.call(input, result) + "\n";
  for (int s : stores)
    text += "  " + at(kernel_.instrs[static_cast<size_t>(s)].index) + " = " + result(s) + ";\n";
  unit_.declare(header_comment(kernel_) + stage.text());
  unit_.declare(text + "}\n");
}

std::string EpilogueText::call(const std::string& value, const std::string& arguments) const {
  std::string out = "finish(" + value;
  for (int a = 0; a < static_cast<int>(kernel_.args.size()); ++a)
    if (a != result_) out += ", " + buffer_name(kernel_, a);
  return out + ", p, " + arguments + ")";
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
