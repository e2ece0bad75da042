// Looking at what a matrix kernel has written: compilers and libraries have been seen to give wrong
// sums for single dtypes and sizes, which no error tells.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/library.h"

namespace lamina {

enum class Proof : uint8_t {
  holds,
  fails,
  unseen,  // nothing but zeros, infinities and NaN where it looked
};

// Computes a few elements of the work again, in double, from memory that the CPU reads, and holds
// them against what is there, within what rounding explains. Whole numbers and float64 hold.
// `memory`: of the work's operands, then of its further ones.
Proof prove(const LibraryWork& work, std::span<const void* const> memory);

// Of segments as if they shared the depth.
int64_t flops_of(const LibraryWork& work);

}  // namespace lamina
