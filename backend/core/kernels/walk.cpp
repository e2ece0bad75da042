#include "kernels/walk.h"

#include "base/error.h"

namespace lamina {

Walk::Walk(Unit& unit, std::string prefix, Shape shape, std::vector<Strides> strides, bool wide)
    : unit_(unit),
      prefix_(std::move(prefix)),
      shape_(std::move(shape)),
      strides_(std::move(strides)),
      wide_(wide) {
  auto drop = [&](size_t d) {
    shape_.erase(shape_.begin() + d);
    for (Strides& s : strides_) s.erase(s.begin() + d);
  };
  for (size_t d = shape_.size(); d-- > 0;)
    if (shape_[d] == 1) drop(d);
  for (size_t d = shape_.size(); d-- > 1;) {
    bool joins = true;
    for (const Strides& s : strides_) joins &= s[d - 1] == s[d] * shape_[d];
    if (!joins) continue;
    shape_[d] *= shape_[d - 1];
    drop(d - 1);
  }
}

std::string Walk::split(const std::string& from, const std::string& indent) const {
  const std::string index = wide_ ? "long" : "int", count = wide_ ? "ulong" : "uint";
  if (shape_.empty()) return "";
  if (shape_.size() == 1)
    return indent + "const " + index + " " + prefix_ + "0 = " + index + "(" + from + ");\n";
  std::string rest = prefix_ + "_rest";
  std::string out = indent + count + " " + rest + " = " + from + ";\n";
  for (size_t d = shape_.size(); d-- > 1;) {
    std::string name = prefix_ + std::to_string(d);
    out += indent + "const " + index + " " + name + " = " +
           (wide_ ? "next_index_wide(" : "next_index(") + rest + ", " +
           unit_.divisor("_" + name, shape_[d], wide_) + ");\n";
  }
  return out + indent + "const " + index + " " + prefix_ + "0 = " + index + "(" + rest + ");\n";
}

std::string Walk::index(size_t view) const {
  std::vector<std::string> terms;
  const Strides& s = strides_[view];
  for (size_t d = 0; d < shape_.size(); ++d) {
    std::string axis = prefix_ + std::to_string(d);
    if (s[d] == 0) continue;
    if (s[d] == 1) {
      terms.push_back(axis);
      continue;
    }
    std::string name = prefix_ + "_v" + std::to_string(view) + "_stride" + std::to_string(d);
    terms.push_back(axis + " * " + unit_.field(name, s[d], wide_));
  }
  return joined_sum(terms);
}

bool needs_long(const TextTraits& traits, std::initializer_list<const TensorView*> views,
                int64_t count) {
  const int64_t limit = traits.index_limit;
  bool wide = count >= limit;
  for (const TensorView* v : views) {
    int64_t reach = 0;
    for (size_t d = 0; d < v->shape.size(); ++d)
      reach += std::abs(v->strides[d]) * std::max<int64_t>(v->shape[d], 1);
    wide |= reach >= limit || v->size() >= limit;
  }
  return wide;
}

Strides without_axis(const Strides& strides, int64_t axis) {
  Strides out;
  for (size_t d = 0; d < strides.size(); ++d)
    if (static_cast<int64_t>(d) != axis) out.push_back(strides[d]);
  return out;
}

Strides zeroed_axis(Strides strides, int64_t axis) {
  strides[static_cast<size_t>(axis)] = 0;
  return strides;
}

const char* word_type(int64_t bytes) {
  switch (bytes) {
    case 1:
      return "uchar";
    case 2:
      return "ushort";
    case 4:
      return "uint";
    case 8:
      return "uint2";
    case 16:
      return "uint4";
    default:
      throw InternalError("no word of " + std::to_string(bytes) + " bytes");
  }
}

void check_dtype(const char* op, Dtype d, const TextTraits& traits) {
  bool wide = d == Dtype::float64 && !traits.float64;
  if (!wide && (d != Dtype::complex64 || traits.complex64)) return;
  throw DtypeError(std::string(op) + ": " + name_of(d) +
                   " is no dtype of this device\nConvert with astype(" +
                   (wide ? "float32" : "float32 parts") + "), or compute with stream=cpu");
}

std::string item_lines(Unit& unit, int64_t items, bool wide) {
  std::string type = wide ? "ulong" : "uint";
  std::string group = wide ? "ulong(group_id.x)" : "group_id.x";
  return "  const " + type + " item = " + group + " * " + std::to_string(kItemThreads) +
         " + thread_id;\n  if (item >= " + type + "(" + unit.field("items", items, wide) +
         ")) return;\n";
}

}  // namespace lamina
