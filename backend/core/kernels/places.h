// Where the elements of a kernel's arguments stand, as index expressions over axis variables.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "kernels/stage.h"

namespace lamina {

class Places {
 public:
  Places(const Kernel& kernel, Unit& unit, bool wide) : kernel_(kernel), unit_(unit), wide_(wide) {}

  bool wide() const { return wide_; }
  const char* index_type() const { return wide_ ? "long" : "int"; }
  const char* count_type() const { return wide_ ? "ulong" : "uint"; }
  // Index of argument a, the part along `axes` (bit per axis); `axis` names an axis' variable. The
  // offset belongs to `with_offset`.
  std::string index(int arg, uint32_t axes, const std::function<std::string(size_t)>& axis,
                    bool with_offset = true);
  // The same of an iota, as its value.
  std::string iota(int k, uint32_t axes, const std::function<std::string(size_t)>& axis,
                   bool with_offset = true);
  // Lines that split `from` (a count) into variables i<axis> of the given axes, outermost first.
  // The innermost axis of the domain is counted in packs.
  std::string split(const std::string& from, const std::vector<size_t>& axes,
                    const std::string& indent, int64_t pack);
  // "uint(group_id.x)" widened where indices are.
  std::string group(const char* axis = "x") const {
    return wide_ ? std::string("ulong(group_id.") + axis + ")" : std::string("group_id.") + axis;
  }

 private:
  std::string linear(const std::string& prefix, const Strides& strides, int64_t offset,
                     uint32_t axes, const std::function<std::string(size_t)>& axis,
                     bool with_offset);

  const Kernel& kernel_;
  Unit& unit_;
  bool wide_;
};

// "in0", "out1": an argument's buffer, by its position among inputs or outputs.
std::string buffer_name(const Kernel& kernel, int arg);

}  // namespace lamina
