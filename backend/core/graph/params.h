// Static arguments of a node: a flat list of 64-bit words whose meaning the primitive's row
// declares. One representation gives equality, hashing, printing and serialisation to every
// primitive.
#pragma once

#include <bit>
#include <cstdint>
#include <initializer_list>

#include "base/shape.h"

namespace lamina {

// What one field of a row's parameters is; see Primitive::fields.
enum class FieldKind : uint8_t { integer, real, boolean, dtype, ints };
struct Field {
  const char* name;
  FieldKind kind;
};

// Fields are stored in the row's order; an `ints` field is its length followed by its values.
class Params {
 public:
  Params() = default;

  Params& add(int64_t v) {
    words_.push_back(v);
    return *this;
  }
  Params& add_real(double v) { return add(std::bit_cast<int64_t>(v)); }
  Params& add_ints(const Shape& v) {
    add(static_cast<int64_t>(v.size()));
    for (int64_t x : v) add(x);
    return *this;
  }

  // Read fields in order.
  class Reader {
   public:
    explicit Reader(const Params& p) : at_(p.words_.begin()) {}
    int64_t integer() { return *at_++; }
    double real() { return std::bit_cast<double>(*at_++); }
    Shape ints() {
      size_t n = static_cast<size_t>(*at_++);
      Shape out(at_, at_ + n);
      at_ += n;
      return out;
    }

   private:
    const int64_t* at_;
  };
  Reader read() const { return Reader(*this); }
  bool empty() const { return words_.empty(); }
  const SmallVector<int64_t, 4>& words() const { return words_; }
  friend bool operator==(const Params&, const Params&) = default;

 private:
  SmallVector<int64_t, 4> words_;
};

}  // namespace lamina
