// What the three skeletons share: expressions for a stage's inputs, and packs of neighbouring
// elements along the innermost axis that move with one load or store.
#pragma once

#include "kernels/places.h"

namespace lamina {

using AxisNames = std::function<std::string(size_t)>;

// An input of a stage: an element (converted), a scalar, an index value.
std::string spell_input(const Kernel& kernel, Unit& unit, Places& places, int i,
                        const std::function<std::string(int)>& element, const AxisNames& axis);

class Elements {
 public:
  Elements(const Kernel& kernel, const TextTraits& traits, std::string name)
      : k_(kernel),
        unit_(traits, std::move(name)),
        places_(kernel, unit_, !fits_int(kernel, traits)),
        points_(element_count(kernel.domain)) {}

 protected:
  const Instr& instr(int i) const { return k_.instrs[static_cast<size_t>(i)]; }
  const KernelArg& arg(int a) const { return k_.args[static_cast<size_t>(a)]; }
  size_t inner() const { return k_.domain.size() - 1; }

  // ---- Packs

  // Whether n neighbours along the innermost axis may be read as one, wherever they start.
  bool can_pack(const KernelArg& a, int64_t n) const;
  // Elements of a pack: as many as the narrowest argument has in a full-width load, fewer where the
  // innermost axis or `most` asks for it; 1 if no argument gains. Sets pack_ and packed_.
  void choose_packs(int64_t axis_multiple, int64_t most = 16);
  bool packed(int a) const { return packed_[static_cast<size_t>(a)]; }
  std::string pack_type(int a) {
    return unit_.pack(text_type(arg(a).dtype), itemsize(arg(a).dtype), pack_);
  }
  std::string pack_at(int a, bool written, const AxisNames& axis);
  // Buffers with the alignment that their packs ask for.
  void buffers(const std::function<int(int)>& operand);
  // The axis variables of element q of the pack that starts at `axis`.
  AxisNames within_pack(const AxisNames& axis) const {
    return [this, axis](size_t d) {
      return d == inner() && pack_ > 1 ? "(" + axis(d) + " + q)" : axis(d);
    };
  }

  // ---- Elements

  std::string input(int i, const std::function<std::string(int)>& element, const AxisNames& axis) {
    return spell_input(k_, unit_, places_, i, element, axis);
  }
  std::string element_at(int a, const AxisNames& axis) {
    return buffer_name(k_, a) + "[" + places_.index(a, ~0u, axis) + "]";
  }
  std::string out_type(int store) const { return text_type(arg(instr(store).index).dtype); }
  std::string y_name(int store) const { return "y" + std::to_string(instr(store).index); }
  std::string x_name(int a) const { return "x" + std::to_string(a); }
  std::vector<int> stores() const;
  // Stores whose argument varies along some of the axes (any: true), or along none of them.
  std::vector<int> stores_along(uint32_t axes, bool any) const;
  // Packed arguments that a stage reads.
  std::vector<int> packed_loads(const Stage& stage) const;
  // "if (...) " before a store whose result does not vary along some of `axes`: of the points that
  // share an element, the first writes it. Nothing where each point has its own.
  std::string first_only(int s, uint32_t axes, const AxisNames& axis) const;
  std::string store_one(int s, const std::string& element, const std::string& value, uint32_t axes,
                        const AxisNames& axis) const {
    return first_only(s, axes, axis) + element + " = " + value + ";\n";
  }
  std::string store_pack(int s, const std::string& from, const AxisNames& axis,
                         const std::string& indent);

  std::string loop_q(const std::string& indent) const {
    return indent + "UNROLL\n" + indent + "for (int q = 0; q < " + std::to_string(pack_) +
           "; ++q) ";
  }

  const Kernel& k_;
  Unit unit_;
  Places places_;
  int64_t points_;
  int pack_ = 1;
  std::vector<bool> packed_;
};

}  // namespace lamina
