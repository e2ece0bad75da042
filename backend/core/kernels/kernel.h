// A fused group, ready for a device: an iteration domain, arguments with their index maps and a
// list of instructions in single-assignment form. Devices know no operation: they run or spell
// this.
//
// Invariants
//  1. Instruction i defines value i; sources are smaller than i. `store` defines nothing readable.
//  2. A value's mask names the domain axes it varies along. load: axes with a non-zero stride (or
//     exactly the axes the argument has been given); op and cast: union of the sources; reduce: the
//     source's mask without the reduced axes.
//  3. kind map: `reduced` is 0 and there is no reduce. kind reduce: no instruction reads both a
//  value
//     that depends on a reduce and one that varies along a reduced axis. kind row: it may; then the
//     reduced axes are the innermost ones and their product is at most kMaxRow.
//  4. Outputs do not overlap each other. An output may share its buffer with an input only if both
//     have the same layout and every load of that input has it too (the plan donated it).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "base/hash.h"
#include "base/shape.h"

namespace lamina {

enum class KernelKind : uint8_t { map, reduce, row };
enum class ReduceOp : uint8_t { sum, prod, min, max, all, any, argmin, argmax };
enum class Code : uint8_t { load, scalar, iota, op, cast, reduce, store };

// Longest row (elements of the reduced axes) a row kernel keeps on chip.
inline constexpr int64_t kMaxRow = 16384;

struct Instr {
  Code code;
  // The dtype of the value. Never float16 or bfloat16, except cast to one of them: the value is
  // then float32, rounded to what that dtype can hold. load converts from the argument's dtype to
  // compute_dtype of it; store converts to the argument's dtype.
  Dtype dtype = Dtype::float32;
  uint16_t op = 0;     // op: formula id (kernels/formulas.h); reduce: ReduceOp
  uint16_t index = 0;  // load, store: argument; scalar: scalar argument; iota: index map
  int32_t src[3] = {-1, -1, -1};
  uint32_t mask = 0;  // axes the value varies along, bit per domain axis
};

struct KernelArg {
  Dtype dtype;
  bool output = false;
  Strides strides;     // per domain axis, in elements; 0 along axes it does not vary
  int64_t offset = 0;  // elements from the buffer's start
};

// value = integer index offset + sum(i_axis * strides[axis]), as int64 converted to the Instr's
// dtype; scaled by scalar arguments through ordinary op instructions.
struct IotaMap {
  Strides strides;
  int64_t offset = 0;
};

struct Kernel {
  KernelKind kind = KernelKind::map;
  Shape domain;          // collapsed axes, outermost first; may be empty (one point)
  uint32_t reduced = 0;  // bit per domain axis
  std::vector<KernelArg> args;
  std::vector<Dtype> scalars;  // dtypes of scalar arguments, values are bound at launch
  std::vector<IotaMap> iotas;
  std::vector<Instr> instrs;
};

// A scalar argument's value in its own dtype, little-endian in the low bytes.
struct ScalarValue {
  alignas(8) unsigned char bytes[8] = {};
};

// All that a kernel is, sizes, strides and offsets included.
void add_kernel(Hash128& hash, const Kernel& kernel);
// The program as text for a reader: one line an instruction.
std::string to_text(const Kernel& kernel);

}  // namespace lamina
