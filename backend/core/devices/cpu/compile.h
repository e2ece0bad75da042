// A Kernel prepared for the block loops: tile chosen, registers assigned, loops bound.
//
// The domain is walked in tiles of m x n lanes. A program has four parts, each a list of steps:
//   once        values that do not depend on the tile's place
//   enter       once per kept tile: values that vary along kept axes only, accumulators' start
//   body        once per reduced tile inside a kept tile (kind reduce only)
//   leave       once per kept tile: values that depend on a reduce, and their stores
// A map or row kernel has everything in `once` and `enter`.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "devices/cpu/blocks.h"
#include "devices/cpu/tiling.h"
#include "devices/device.h"
#include "kernels/kernel.h"

namespace lamina::cpu {

// One level of a walk over a tile in memory; its size is lanes[lanes_of] * times / over.
struct Level {
  int64_t stride;  // in elements of the memory
  int64_t times;
  int64_t over;
  Lanes lanes_of;
};

inline constexpr int kSources = 4;  // a step has at most

// Distance between rows of an operand: fixed + n * per_n bytes.
struct Pitch {
  int64_t fixed = 0;
  int64_t per_n = 0;
};

struct Step {
  enum class Kind : uint8_t {
    flat,   // op over all lanes
    rows,   // op row by row: an operand is broadcast or has a pitch
    load,   // memory -> register, any strides and storage dtype
    store,  // register -> memory
    iota,
    column_out,           // column -> full
    row_out,              // row -> full
    reduce_rows,          // into an accumulator, along contiguous lanes
    reduce_cols,          // into an accumulator, across lines
    reduce_rows_pitched,  // source is memory whose rows are apart
    reduce_cols_pitched,
    arg_rows,
    arg_cols,
  };
  Kind kind;
  Lanes lanes;               // lanes written; of a reduce: lanes of the source
  Lanes along = Lanes::one;  // reduce: the tile's reduced sides
  uint8_t arity = 0;
  uint8_t rank = 0;      // load, store, iota: levels
  uint16_t dst = 0;      // slots
  uint8_t singles = 0;   // of a chain: sources that are one scalar
  bool chained = false;  // flat, rows: run.chain
  uint16_t src[kSources] = {};
  uint32_t side = 0;  // first level, or first of 1 + kSources pitches (dst, sources)
  int32_t item = 0;   // bytes of a lane of the memory
  int32_t width = 0;  // bytes of a lane of the register
  union {
    OpLoop op;
    ChainLoop chain;
    DotRowsLoop dot;  // reduce_rows of two sources
    LoadLoop load;
    StoreLoop store;
    ReduceRowsLoop reduce;
    ArgRowsLoop arg;
  } run = {};
  Load2dLoop load_2d = nullptr;
};

// Where a tile's loops go. `move` has, per loop, the bytes (values for iotas) each moving slot
// advances by one iteration.
struct Loop {
  int64_t count;
  int64_t last;  // size of the last piece of a cut axis
  Lanes cuts;    // row or column: the tile extent this loop cuts; one: none
};
struct Nest {
  std::vector<Loop> loops;  // outermost first
  std::vector<int64_t> move;
  int64_t tiles = 1;
  bool cuts = false;  // some loop cuts a tile extent
};

struct Accumulator {
  ReduceOp op;
  Dtype dtype;
  Lanes lanes;
  uint16_t slot;
  uint16_t index_slot;  // arg reductions
  int64_t width;
};

// Slots are pointers the steps read and write through. In order: arguments (moving), iotas (moving,
// the value itself), scalars, constants, registers.
class Program : public CompiledKernel {
 public:
  int args = 0;
  int iotas = 0;
  int scalars = 0;
  int constants = 0;
  int registers = 0;
  std::vector<int64_t> start;            // bytes or values a moving slot starts with
  std::vector<uint64_t> constant_words;  // two words a constant
  std::vector<int32_t> register_offset;  // into scratch
  int64_t scratch = 0;

  std::vector<Step> once, enter, body, leave;
  std::vector<Level> levels;
  std::vector<Pitch> pitches;
  std::vector<Accumulator> accumulators;
  Nest kept, over;
  bool reduces = false;  // has a body
  int64_t m = 1, n = 1;  // a whole tile
  int64_t m_inner = 1, n_inner = 1;
  int64_t enter_cost = 0, body_cost = 0;  // lane operations a tile
  int64_t cost() const {
    return kept.tiles * (enter_cost + (reduces ? over.tiles * body_cost : 0));
  }
};

std::unique_ptr<Program> compile(const Kernel& kernel);

// buffers and scalars as in Device::launch.
void run(const Program& program, void* const* buffers, const ScalarValue* scalars);
void run_many(std::span<const Device::Instance> instances);

}  // namespace lamina::cpu
