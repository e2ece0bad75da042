// What an elementwise row states about itself. The rows stand in ops/unary.h, ops/binary.h and
// ops/ternary.h; each is one call `v.row(RowInfo{...}, formula, partials...)` on a visitor, so that
// the registry, every instruction set of the CPU and every GPU dialect read the same lines.
//
//   formula   generic lambda. Called with CPU lane types it is the block loop of each dtype; called
//             with kernels/expr.h's Sym it writes itself down.
//   partials  one generic lambda per input, called with Arrays (x0, x1, ..., y): d y / d x_i. They
//             give jvp and vjp. NoPartial{} stands for an input that has none (a condition). No
//             partials at all: the row's `nondifferentiable` says why.
#pragma once

#include <cstdint>

namespace lamina {

// Dtype classes a formula is instantiated for; other dtypes are converted or refused by `accepts`.
enum Types : uint8_t {
  kBool = 1,
  kInteger = 2,
  kFloating = 4,  // float16 and bfloat16 arrive as float
  kComplex = 8,
  kReal = kBool | kInteger | kFloating,
  kInexact = kFloating | kComplex,
  kAny = 15,
};

enum class Accepts : uint8_t {
  promoted,   // inputs promoted to their common dtype
  inexact,    // promoted, then integers and bool become float32
  boolean,    // inputs converted to bool
  integral,   // bool or integer after promotion; anything else is a DtypeError
  selection,  // ternary select: first bool, other two promoted
};

enum class Gives : uint8_t {
  same,  // the dtype computed in
  boolean,
  real,  // complex64 gives float32, everything else itself
};

struct NoPartial {};

struct RowInfo {
  const char* name;   // Python name and identity
  const char* doc;    // one sentence
  const char* numpy;  // NumPy twin as an expression in x, y, z, e.g. "np.exp(x)"
  Types types = kAny;
  Accepts accepts = Accepts::promoted;
  Gives gives = Gives::same;
  double low = -2, high = 2;  // test domain of floating inputs
  int flops = 1;
  const char* nondifferentiable = nullptr;
  const char* expr = nullptr;  // spelling for readers where the formula cannot be called with Sym
};

}  // namespace lamina
