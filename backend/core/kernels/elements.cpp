#include "kernels/elements.h"

#include <algorithm>

#include "kernels/spell.h"

namespace lamina {

bool Elements::can_pack(const KernelArg& a, int64_t n) const {
  if (k_.domain.empty() || a.strides[inner()] != 1 || a.offset % n) return false;
  for (size_t d = 0; d < inner(); ++d)
    if (a.strides[d] % n) return false;
  return true;
}

void Elements::choose_packs(int64_t axis_multiple, int64_t most_elements) {
  packed_.assign(k_.args.size(), false);
  const int64_t width = unit_.traits().vector_bytes;
  int64_t least = 16, most = 1;
  for (const KernelArg& a : k_.args) {
    least = std::min(least, itemsize(a.dtype));
    most = std::max(most, itemsize(a.dtype));
  }
  for (int64_t n = std::min<int64_t>(width / least, 16); n > 1; n /= 2) {
    if (n * most > 2 * width || axis_multiple % n || n > most_elements) continue;
    for (size_t a = 0; a < k_.args.size(); ++a) packed_[a] = can_pack(k_.args[a], n);
    if (std::find(packed_.begin(), packed_.end(), true) == packed_.end()) continue;
    pack_ = static_cast<int>(n);
    return;
  }
}

std::string Elements::pack_at(int a, bool written, const AxisNames& axis) {
  std::string index = places_.index(a, ~0u, axis), name = buffer_name(k_, a);
  std::string at = index == "0" ? name : name + " + " + index;
  return std::string("*(device ") + (written ? "" : "const ") + pack_type(a) + "*)(" + at + ")";
}

void Elements::buffers(const std::function<int(int)>& operand) {
  for (int a = 0; a < static_cast<int>(k_.args.size()); ++a) {
    int64_t size = itemsize(arg(a).dtype);
    bool wide = !packed_.empty() && packed(a);
    unit_.buffer(buffer_name(k_, a), text_type(arg(a).dtype), operand(a), arg(a).output,
                 wide ? std::min<int64_t>(16, size * pack_) : size);
  }
}

std::string spell_input(const Kernel& kernel, Unit& unit, Places& places, int i,
                        const std::function<std::string(int)>& element, const AxisNames& axis) {
  const Instr& in = kernel.instrs[static_cast<size_t>(i)];
  if (in.code == Code::load) return spell_load(element(in.index), kernel.args[in.index].dtype);
  if (in.code == Code::scalar) {
    Dtype d = kernel.scalars[in.index];
    return spell_load(unit.scalar(in.index, d, static_cast<int>(kernel.scalars.size())), d);
  }
  std::string value = places.iota(in.index, ~0u, axis);
  Dtype from = places.wide() ? Dtype::int64 : Dtype::int32;
  return spell_cast({value, from}, in.dtype).text;
}

std::vector<int> Elements::stores() const {
  std::vector<int> out;
  for (size_t i = 0; i < k_.instrs.size(); ++i)
    if (k_.instrs[i].code == Code::store) out.push_back(static_cast<int>(i));
  return out;
}

std::vector<int> Elements::stores_along(uint32_t axes, bool any) const {
  std::vector<int> out;
  for (int s : stores()) {
    const Strides& strides = arg(instr(s).index).strides;
    bool varies = false;
    for (size_t d = 0; d < strides.size(); ++d) varies |= (axes >> d & 1) && strides[d] != 0;
    if (varies == any) out.push_back(s);
  }
  return out;
}

std::vector<int> Elements::packed_loads(const Stage& stage) const {
  std::vector<int> out;
  for (int i : stage.inputs())
    if (instr(i).code == Code::load && packed(instr(i).index)) out.push_back(instr(i).index);
  return out;
}

std::string Elements::first_only(int s, uint32_t axes, const AxisNames& axis) const {
  const Strides& strides = arg(instr(s).index).strides;
  std::string tests;
  for (size_t d = 0; d < strides.size(); ++d)
    if ((axes >> d & 1) && strides[d] == 0 && k_.domain[d] > 1)
      tests += (tests.empty() ? "" : " && ") + axis(d) + " == 0";
  return tests.empty() ? tests : "if (" + tests + ") ";
}

std::string Elements::store_pack(int s, const std::string& from, const AxisNames& axis,
                                 const std::string& indent) {
  int a = instr(s).index;
  if (packed(a)) return indent + store_one(s, pack_at(a, true, axis), from, ~0u, axis);
  const AxisNames at_q = within_pack(axis);
  return loop_q(indent) + store_one(s, element_at(a, at_q), from + ".v[q]", ~0u, at_q);
}

}  // namespace lamina
