#include "base/error.h"
#include "ops/random/random_cpu.h"
#include "ops/random/random_text.h"
#include "ops/rules.h"

namespace lamina {

namespace {

Dtype bits_dtype(int64_t width) {
  switch (width) {
    case 1:
      return Dtype::uint8;
    case 2:
      return Dtype::uint16;
    case 4:
      return Dtype::uint32;
    default:
      throw ValueError("random_bits: width must be 1, 2 or 4 bytes, got " + std::to_string(width));
  }
}

const Primitive& bits_row = define(
    {.name = "random_bits",
     .kind = Kind::call,
     .doc = "Uniform random bits from a counter and a key.",
     .fields = {{"width", FieldKind::integer}},
     .call = [](const CallArgs& c) { cpu::random_bits(c.in[0], c.out[0]); },
     // Threefry-2x32: 20 rounds of add, rotate, xor for two words.
     .text = text::random_bits,
     .flops = [](const Node& n) { return element_count(n.shape) * 40; },
     .vmap =
         [](const Node& n, const Arrays& in, const std::vector<bool>&, int64_t batch) {
           return make_node(*n.primitive, n.params, {in[0]}, with_batch(batch, n.shape), n.dtype);
         },
     .nondifferentiable = "its result does not depend on numbers"});

}  // namespace

Array random_bits(const Shape& shape, int64_t width, const Array& key) {
  if (key.dtype() != Dtype::uint32 || key.ndim() < 1 || key.shape(-1) != 2)
    throw ValueError(std::string("random: a key is uint32 with shape (2,), got ") +
                     name_of(key.dtype()) + " " + to_string(key.shape()) +
                     "\nMake one with mx.random.key(seed)");
  for (int64_t d : shape)
    if (d < 0) throw ShapeError("random: negative size in shape " + to_string(shape));
  return make_node(bits_row, Params().add(width), {key}, shape, bits_dtype(width));
}

}  // namespace lamina
