#include "kernels/kernel.h"

namespace lamina {
namespace {

void add_numbers(Hash128& h, const auto& numbers) {
  h.add(numbers.size());
  for (auto n : numbers) h.add(static_cast<uint64_t>(n));
}

}  // namespace

void add_kernel(Hash128& h, const Kernel& k) {
  h.add(static_cast<uint64_t>(k.kind));
  add_numbers(h, k.domain);
  h.add(k.reduced);
  h.add(k.args.size());
  for (const KernelArg& a : k.args) {
    h.add(static_cast<uint64_t>(a.dtype) << 1 | a.output);
    add_numbers(h, a.strides);
    h.add(static_cast<uint64_t>(a.offset));
  }
  add_numbers(h, k.scalars);
  h.add(k.iotas.size());
  for (const IotaMap& m : k.iotas) {
    add_numbers(h, m.strides);
    h.add(static_cast<uint64_t>(m.offset));
  }
  h.add(k.instrs.size());
  for (const Instr& i : k.instrs) {
    h.add(static_cast<uint64_t>(i.code) << 48 | static_cast<uint64_t>(i.dtype) << 32 |
          uint64_t{i.op} << 16 | i.index);
    for (int32_t s : i.src) h.add(static_cast<uint64_t>(s));
    h.add(i.mask);
  }
}

}  // namespace lamina
