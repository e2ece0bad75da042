// The backward pass of flash attention as kernel text, for Metal and CUDA. A first kernel sums
// delta by row into a temporary, which the other two read; in the second a thread owns a row of
// queries and keys pass by, in the third it owns a key and rows pass by, so that no two threads add
// to one element.
#include <algorithm>
#include <string>

#include "flash_attention.h"
#include "kernel_text.h"

namespace {

constexpr int kThreads = 64, kStaged = 16;

// The constant block, spelled once for both sides: Long is 64 bits. Strides of all that is read.
#define FLASH_BACKWARD_BLOCK                                     \
  struct Block {                                                 \
    Long q[4], k[4], v[4], outs[4], lses[3], douts[4], dlses[3]; \
    int heads, rows, keys, causal;                               \
    float scale;                                                 \
    int spare;                                                   \
  };
FLASH_BACKWARD_BLOCK
// Where element (head, i, d) of an array with these strides lies; keys that a row may see.
const char* const kShared = R"(
#define AT(strides, i, d) \
  ((LINE / s.heads) * (strides)[0] + (LINE % s.heads) * (strides)[1] + (i) * (strides)[2] + \
   (d) * (strides)[3])
#define ROW_AT(strides, i) \
  ((LINE / s.heads) * (strides)[0] + (LINE % s.heads) * (strides)[1] + (i) * (strides)[2])
#define SEEN(row) (s.causal ? s.keys - s.rows + (row) + 1 : s.keys)
)";

const char* const kDelta = R"(
  int row = GROUP * THREADS + LANE;
  if (row >= s.rows) return;
  float sum = -dlse[ROW_AT(s.dlses, row)];
  for (int d = 0; d < WIDTH; ++d) sum += dout[AT(s.douts, row, d)] * out[AT(s.outs, row, d)];
  delta[Long(LINE) * s.rows + row] = sum;
}
)";

const char* const kQueries = R"(
  SHARED float keys[STAGED * WIDTH];
  SHARED float values[STAGED * WIDTH];
  int row = GROUP * THREADS + LANE;
  bool mine = row < s.rows;
  int last = min(GROUP * THREADS + THREADS, s.rows) - 1, most = SEEN(last);
  float query[WIDTH], given[WIDTH], sums[WIDTH];
  for (int d = 0; d < WIDTH; ++d) {
    query[d] = mine ? q[AT(s.q, row, d)] * s.scale : 0.0f;
    given[d] = mine ? dout[AT(s.douts, row, d)] : 0.0f;
    sums[d] = 0.0f;
  }
  float high = mine ? lse[ROW_AT(s.lses, row)] : 0.0f;
  float less = mine ? delta[Long(LINE) * s.rows + row] : 0.0f;
  for (int key = 0; key < most; key += STAGED) {
    BARRIER;
    for (int i = LANE; i < STAGED * WIDTH; i += THREADS) {
      int j = key + i / WIDTH, d = i % WIDTH;
      keys[i] = j < s.keys ? k[AT(s.k, j, d)] : 0.0f;
      values[i] = j < s.keys ? v[AT(s.v, j, d)] : 0.0f;
    }
    BARRIER;
    int count = mine ? min(STAGED, min(SEEN(row), s.keys) - key) : 0;
    for (int j = 0; j < count; ++j) {
      float score = 0.0f, towards = 0.0f;
      for (int d = 0; d < WIDTH; ++d) {
        score += query[d] * keys[j * WIDTH + d];
        towards += given[d] * values[j * WIDTH + d];
      }
      float moved = exp(score - high) * (towards - less) * s.scale;
      for (int d = 0; d < WIDTH; ++d) sums[d] += moved * keys[j * WIDTH + d];
    }
  }
  if (!mine) return;
  for (int d = 0; d < WIDTH; ++d) dq[(Long(LINE) * s.rows + row) * WIDTH + d] = sums[d];
}
)";

const char* const kKeysText = R"(
  SHARED float queries[STAGED * WIDTH];
  SHARED float given[STAGED * WIDTH];
  SHARED float high[STAGED];
  SHARED float less[STAGED];
  int key = GROUP * THREADS + LANE;
  bool mine = key < s.keys;
  float own[WIDTH], value[WIDTH], of_key[WIDTH], of_value[WIDTH];
  for (int d = 0; d < WIDTH; ++d) {
    own[d] = mine ? k[AT(s.k, key, d)] * s.scale : 0.0f;
    value[d] = mine ? v[AT(s.v, key, d)] : 0.0f;
    of_key[d] = of_value[d] = 0.0f;
  }
  for (int row = 0; row < s.rows; row += STAGED) {
    BARRIER;
    for (int i = LANE; i < STAGED * WIDTH; i += THREADS) {
      int r = row + i / WIDTH, d = i % WIDTH;
      queries[i] = r < s.rows ? q[AT(s.q, r, d)] : 0.0f;
      given[i] = r < s.rows ? dout[AT(s.douts, r, d)] : 0.0f;
    }
    if (LANE < STAGED && row + LANE < s.rows) {
      high[LANE] = lse[ROW_AT(s.lses, row + LANE)];
      less[LANE] = delta[Long(LINE) * s.rows + row + LANE];
    }
    BARRIER;
    int count = mine ? min(STAGED, s.rows - row) : 0;
    for (int r = 0; r < count; ++r) {
      if (key >= SEEN(row + r)) continue;
      float score = 0.0f, towards = 0.0f;
      for (int d = 0; d < WIDTH; ++d) {
        score += own[d] * queries[r * WIDTH + d];
        towards += value[d] * given[r * WIDTH + d];
      }
      float p = exp(score - high[r]), moved = p * (towards - less[r]) * s.scale;
      for (int d = 0; d < WIDTH; ++d) {
        of_key[d] += moved * queries[r * WIDTH + d];
        of_value[d] += p * given[r * WIDTH + d];
      }
    }
  }
  if (!mine) return;
  Long at = (Long(LINE) * s.keys + key) * WIDTH;
  for (int d = 0; d < WIDTH; ++d) {
    dk[at + d] = of_key[d];
    dv[at + d] = of_value[d];
  }
}
)";

struct Step {
  const char* name;
  std::initializer_list<const char*> buffers;
  const char* body;
  int64_t lines;  // a thread each
  std::initializer_list<int32_t> operands;
  uint64_t written;
};

}  // namespace

// inputs: q k v out lse dout dlse; outputs: dq dk dv.
lamina_status flash_backward_text(const lamina_call* call, const lamina_device* device,
                                  const lamina_view* in, const lamina_view*,
                                  lamina_program program) {
  const int64_t *q = in[0].shape, width = q[3], keys = in[1].shape[2];
  if ((2 * width + 2) * kStaged * int64_t{sizeof(float)} > device->threadgroup_bytes)
    return api->fail(LAMINA_ERROR_VALUE, ("a head of width " + std::to_string(width) +
                                          " does not fit this device's threadgroup memory")
                                             .c_str());
  Block block{};
  Long* const strides[] = {block.q,    block.k,     block.v,    block.outs,
                           block.lses, block.douts, block.dlses};
  for (int i = 0; i < 7; ++i) std::copy_n(in[i].strides, in[i].ndim, strides[i]);
  block.heads = static_cast<int>(q[1]);
  block.rows = static_cast<int>(q[2]);
  block.keys = static_cast<int>(keys);
  block.scale = static_cast<float>(call->params[0].real);
  block.causal = static_cast<int>(call->params[1].integer);

  std::string prologue = kernel_prologue(device);
  prologue += "#define THREADS " + std::to_string(kThreads) + "\n#define STAGED " +
              std::to_string(kStaged) + "\n#define WIDTH " + std::to_string(width) + "\n";
  prologue += KERNEL_TEXT(FLASH_BACKWARD_BLOCK);
  prologue += kShared;

  int32_t delta = 0;
  const int64_t bytes = q[0] * q[1] * q[2] * int64_t{sizeof(float)};
  if (lamina_status s = api->add_temporary(program, bytes, &delta)) return s;
  const Step steps[] = {
      {"flash_delta",
       {"const float* out", "const float* dout", "const float* dlse", "float* delta"},
       kDelta,
       q[2],
       {3, 5, 6, delta},
       1u << 3},
      {"flash_dq",
       {"const float* q", "const float* k", "const float* v", "const float* lse",
        "const float* dout", "const float* delta", "float* dq"},
       kQueries,
       q[2],
       {0, 1, 2, 4, 5, delta, 7},
       1u << 6},
      {"flash_dk_dv",
       {"const float* q", "const float* k", "const float* v", "const float* lse",
        "const float* dout", "const float* delta", "float* dk", "float* dv"},
       kKeysText,
       keys,
       {0, 1, 2, 4, 5, delta, 8, 9},
       1u << 6 | 1u << 7},
  };
  for (const Step& step : steps) {
    const std::string source = prologue + kernel_entry(device, step.name, step.buffers) + step.body;
    lamina_kernel kernel{};
    kernel.size = sizeof kernel;
    kernel.name = step.name;
    kernel.source = source.c_str();
    kernel.operands = step.operands.begin();
    kernel.operand_count = step.operands.size();
    kernel.written = step.written;
    kernel.block = &block;
    kernel.block_bytes = sizeof block;
    kernel.groups[0] = (step.lines + kThreads - 1) / kThreads;
    kernel.groups[1] = q[0] * q[1];
    kernel.groups[2] = 1;
    kernel.threads[0] = kThreads;
    kernel.threads[1] = kernel.threads[2] = 1;
    if (lamina_status s = api->add_kernel(program, &kernel)) return s;
  }
  return LAMINA_OK;
}
