// Kernels as text: what a fused group (kernels/kernel.h) or a structured operation becomes on a
// device that compiles source, in one of two dialects. One skeleton set writes both; the dialects
// differ in their prelude and in the spelling of functions.
//
// Rules of the text
//  1. Sizes, strides, offsets and the values of scalar arguments stand in the constant block, never
//     in the text: one text serves all sizes. Rank, dtypes, which strides are 0 or 1, the width of
//     loads and of index arithmetic are text.
//  2. No fast math: NaN, infinities and signed zeros keep their meaning. Devices compile it with
//     their safe mode.
//  3. Launches of one program run in order and see each other's writes. A launch with a zero in
//     `groups` does not exist: empty work gives a program without that launch.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/tensor_view.h"
#include "kernels/kernel.h"

namespace lamina {

enum class Dialect : uint8_t { msl, cuda };

struct LibraryWork;

// What a threadgroup computes of a matrix product in simdgroup_matrix: multiples of 16, 16 and 8,
// of which out's and both factors' parts fit its memory.
struct GemmTile {
  int64_t rows = 64, cols = 64, depth = 16;
};

// What a writer must know of a device.
struct TextTraits {
  Dialect dialect = Dialect::msl;
  int simd_width = 32;
  int max_threads = 1024;             // of a threadgroup
  int64_t threadgroup_bytes = 32768;  // memory of a threadgroup
  int max_buffers = 31;               // buffers of a launch, the constant block among them
  bool float64 = false;
  bool complex64 = true;
  int cores = 8;                  // processors that each run threadgroups
  bool simd_matrices = true;      // MSL's simdgroup_matrix gives right sums
  GemmTile tile{}, small_tile{};  // small: where the other leaves processors without work
  // Structured operations take an elementwise group over their result along, where their text can
  // (Primitive::takes_epilogue), up to so many multiplications: beyond, a device's library is worth
  // more than a launch saved. 0: only what no library computes.
  int64_t epilogue_work = INT64_MAX;
  // A threadgroup can publish what it wrote to the others of its launch, and count who has: the
  // last one goes on with the writes of all (takes_last_turn). MSL has no fence for that
  // before 3.2.
  bool last_turns = false;
  // Of a threadgroup that takes in much, as a part of a reduction is: the fewer the groups, the
  // fewer wait for each other's turn. Half as many where each thread holds several results.
  int wide_threads = 256;
  // Side of the square that a transpose turns at a time.
  int64_t square = 32;
  // Indices that are computed are looked at: what is out of bounds is noted in the fault words.
  bool bounds = false;
  // Widest load and store. Smaller where the address of an operand is less aligned than its Bind
  // says; a text written for 1 asks for no more than an element's own alignment.
  int vector_bytes = 16;
  // Indices are 64 bits wide where an offset could reach it. Below 2^31, because a loop steps past
  // its end.
  int64_t index_limit = (int64_t{1} << 31) - (int64_t{1} << 18);
};

// One launch. Buffers are bound at indices 0..n-1 in the order of `buffers`; the constant block
// follows at index n (MSL: `constant Block&`, through setBytes; CUDA: by value, the last
// parameter).
struct TextKernel {
  std::string name;    // entry point
  std::string source;  // whole translation unit of the dialect
  struct Bind {
    int operand = 0;  // the kernel's argument, or the call's operand by position (inputs, then
                      // outputs); -1 - k: temporary k; kFaultWords
    bool written = false;
    int alignment = 1;         // bytes the bound address is a multiple of
    int64_t most = INT64_MAX;  // bytes of it that the launch touches at most
  };
  std::vector<Bind> buffers;
  std::vector<unsigned char> block;  // scalar argument k's value is written at scalar_at[k] before
  std::vector<int> scalar_at;        // the launch, in its own dtype; -1: this launch reads it not
  std::array<int64_t, 3> groups{1, 1, 1};  // threadgroups in the grid
  std::array<int, 3> threads{1, 1, 1};     // threads in a group
  // Not zero: threads in all, fewer than groups * threads say, so that the last groups are partial
  // (Metal's dispatchThreads). A device without partial groups launches whole ones, and the text
  // for it sends the surplus away.
  std::array<int64_t, 3> grid{0, 0, 0};
  int64_t threadgroup_bytes = 0;  // dynamic threadgroup memory, at index 0
  // A product and a sum beside it may round once, as compilers have it by default: for the text of
  // a program's own kernels. lamina's texts say fma where they mean it.
  bool contracts = false;
  // CUDA: a module that was compiled elsewhere; `source` is then for readers only, and the values
  // of the block are parameters of their own, each from one of these offsets on.
  std::shared_ptr<const std::string> image{};
  std::vector<uint32_t> values{};
};

// Bind::operand of four words of 32 bits, zero before the program's first launch. The first thread
// that meets what the operation cannot take writes there: 1 + k of the fault, 0, and what it noted
// (an index, a matrix and a place in it) in two.
inline constexpr int kFaultWords = INT32_MIN;

// Throws the error that fault k is, from what was noted.
using FaultFn = std::function<void(uint64_t noted)>;

// Launches in order, with temporaries of the given bytes between them.
struct TextProgram {
  std::vector<TextKernel> launches;
  std::vector<int64_t> temporaries;
  // The whole program as work of a library that a device may have (kernels/library.h): of a call's
  // first two inputs to its output. Null: none knows it.
  std::shared_ptr<const LibraryWork> library{};
  std::vector<FaultFn> faults{};  // by k; where there are any, the program is waited for
};

// Throws DtypeError where a dtype is not the device's (float64 on Metal), naming what to do.
TextProgram write_text(const Kernel& kernel, const TextTraits& traits);

// An elementwise group over a structured operation's result: its text computes the group at each
// element, and the result itself is not stored. And, of operations that take one
// (Primitive::takes_prologue), the group that computes the input, which is not stored either.
struct TextEpilogue {
  Kernel kernel;   // a map whose points are the result's elements in row-major order
  int result = 0;  // the argument that stands for it
  int input = -1;  // the argument, of those that are written, that stands for the input; -1: none

  bool stands_for(int argument) const { return argument == result || argument == input; }
};

// A structured operation to be written: views without data. With an epilogue its operands are the
// inputs and, in the result's stead, the epilogue's other arguments; an input that it computes has
// no address.
struct TextCall {
  const void* params;  // const Params*
  std::span<const TensorView> in;
  std::span<const TensorView> out;
  const TextEpilogue* epilogue = nullptr;
};
// A program may have no launch where nothing is to be done. Binds name operands whose addresses are
// those of the views' first elements.
using TextFn = TextProgram (*)(const TextCall& call, const TextTraits& traits);
// Whether the text computes operands of this shape, that of a call's first input, in about the time
// of the CPU or less. Where not, the CPU runs the operation.
using TextPaysFn = bool (*)(const Shape& first);
// Whether the text of this call can take along a group that runs over `domain`, and is better for
// it: asked for each size.
using TakesEpilogueFn = bool (*)(const TextCall& call, const Shape& domain,
                                 const TextTraits& traits);

}  // namespace lamina
