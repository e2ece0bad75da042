// The CPU's block loops: every formula, conversion, copy and reduction over one block of elements.
// Compiled ahead of time once per instruction set, chosen at run time.
//
// Lanes of a block are contiguous unless a stride says otherwise. Value types in a block are
// compute dtypes: bool is one byte 0 or 1; float16 and bfloat16 values live as float. Loops never
// allocate, never throw, and may read and write the same address lane by lane (dst == src is
// allowed, any other overlap is not).
#pragma once

#include <cstdint>
#include <vector>

#include "base/dtype.h"
#include "kernels/kernel.h"

namespace lamina::cpu {

// dst[i] = formula(src0[i or 0], ...) for i < n.
using OpLoop = void (*)(void* dst, const void* const* src, int64_t n);
// Float operations one after the other, with no memory in between and each rounded on its own, so
// that a chain gives what its operations give apart. What an operation does to the value so far, a,
// and the next source, x.
enum class ChainOp : uint8_t { add, subtract, subtract_from, multiply, none };  // from: x - a
inline constexpr int kChainOps = 4;
// Starts with source 0; bit k of singles: source k is one scalar.
using ChainLoop = void (*)(void* dst, const void* const* src, unsigned singles, int64_t n);
// dst[i] = convert(src[i * stride]).
using LoadLoop = void (*)(void* dst, const void* src, int64_t stride, int64_t n);
// dst[i * stride] = convert(src[i]).
using StoreLoop = void (*)(void* dst, const void* src, int64_t stride, int64_t n);
// 2-d: dst[i * n + j] = convert(src[i * sm + j * sn]) for i < m, j < n; fast for sm == 1 too
// (transposed reads are done in square sub-blocks of 16; give m and n of 64 and more where there is
// a choice: short runs of a transposed source cost a page walk each).
using Load2dLoop = void (*)(void* dst, const void* src, int64_t sm, int64_t sn, int64_t m,
                            int64_t n);
// Along n: acc[i] = reduce(acc[i], src[i * n + 0 .. i * n + n - 1]) for i < m.
using ReduceRowsLoop = void (*)(void* acc, const void* src, int64_t m, int64_t n);
// Along m: acc[j] = reduce(acc[j], src[0 * n + j], ..., src[(m - 1) * n + j]) for j < n.
using ReduceColsLoop = void (*)(void* acc, const void* src, int64_t m, int64_t n);
// acc[i] += sum over j < n of x[i * n + j] * y[i * n + j], for i < m.
using DotRowsLoop = void (*)(void* acc, const void* x, const void* y, int64_t m, int64_t n);
// Arg reductions keep value and index; index of lane (i, j) along the reduced axis is base + j
// (rows) or base + i (cols). Ties keep the smaller index; a NaN wins over numbers, as in MLX and
// NumPy. Start from reduce_identity and index 0, and give the blocks in ascending order of base.
using ArgRowsLoop = void (*)(void* best, uint32_t* index, const void* src, int64_t base, int64_t m,
                             int64_t n);

inline constexpr int kMaxFormulas = 160;

struct BlockTable {
  const char* isa;  // "avx512", "avx2", "neon", "baseline"
  // [formula][dtype of the inputs][variant]: bit k of the variant set = source k is one scalar.
  // nullptr where the row's types leave the dtype out. Variants there are: unary 0; binary 0, 1, 2;
  // select 0, 2, 4, 6 (the condition is never a scalar). For select the dtype is that of sources
  // 1, 2. Rows of float16 and bfloat16 are float32's.
  OpLoop op[kMaxFormulas][kDtypeCount][8];
  Dtype result[kMaxFormulas][kDtypeCount];  // dtype a formula gives
  // [first][second][third or none]; the first is never subtract_from.
  ChainLoop chain[kChainOps][kChainOps][kChainOps + 1];
  LoadLoop load[kDtypeCount];  // storage dtype -> its compute dtype
  Load2dLoop load_2d[kDtypeCount];
  StoreLoop store[kDtypeCount];           // compute dtype -> storage dtype
  OpLoop cast[kDtypeCount][kDtypeCount];  // [from compute dtype][to], C-style conversion;
                                          // to float16/bfloat16: float rounded to it
  OpLoop iota[kDtypeCount];               // src[0] = int64 {start, step}: dst[i] = start + i*step
  OpLoop fill[kDtypeCount];               // dst[i] = src[0][0]
  ReduceRowsLoop reduce_rows[6][kDtypeCount];  // ReduceOp sum .. any, by compute dtype;
                                               // all and any of bool only
  ReduceColsLoop reduce_cols[6][kDtypeCount];
  DotRowsLoop dot_rows;                  // float
  ArgRowsLoop arg_rows[2][kDtypeCount];  // argmin, argmax
  ArgRowsLoop arg_cols[2][kDtypeCount];
};

// The table for this machine; LAMINA_ISA=baseline|avx2|avx512|neon overrides. Thread safe.
const BlockTable& blocks();

// Names of the tables that this machine can run, best first.
std::vector<const char*> instruction_sets();

// Value an accumulator starts from, written to dst in compute dtype d.
void reduce_identity(ReduceOp op, Dtype d, void* dst);

}  // namespace lamina::cpu
