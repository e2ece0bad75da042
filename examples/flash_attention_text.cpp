// Flash attention as kernel text, one body for Metal and CUDA. A thread owns a row of queries; keys
// and values pass by in threadgroup memory.
#include <algorithm>
#include <string>

#include "flash_attention.h"
#include "kernel_text.h"

namespace {

constexpr int kThreads = 64, kKeys = 16;

// The constant block, spelled once for both sides: Long is 64 bits.
#define FLASH_BLOCK                \
  struct Block {                   \
    Long q[4], k[4], v[4];         \
    int heads, rows, keys, causal; \
    float scale;                   \
    int spare;                     \
  };
FLASH_BLOCK

const char* const kBody = R"(
  SHARED float keys[KEYS * WIDTH];
  SHARED float values[KEYS * WIDTH];
  int group = GROUP, head = LINE, lane = LANE;
  int row = group * THREADS + lane, b = head / s.heads, h = head % s.heads;
  bool mine = row < s.rows;
  int last = min(group * THREADS + THREADS, s.rows) - 1;
  // Keys that a row may see: the last row sees all of them.
  int seen = s.causal ? s.keys - s.rows + row + 1 : s.keys;
  int most = s.causal ? s.keys - s.rows + last + 1 : s.keys;
  float query[WIDTH], sum_of_values[WIDTH];
  for (int d = 0; d < WIDTH; ++d) {
    query[d] = mine ? q[b * s.q[0] + h * s.q[1] + row * s.q[2] + d * s.q[3]] * s.scale : 0.0f;
    sum_of_values[d] = 0.0f;
  }
  float top = -3.0e38f, sum = 0.0f;
  for (int key = 0; key < most; key += KEYS) {
    BARRIER;
    for (int i = lane; i < KEYS * WIDTH; i += THREADS) {
      int j = key + i / WIDTH, d = i % WIDTH;
      bool there = j < s.keys;
      keys[i] = there ? k[b * s.k[0] + h * s.k[1] + j * s.k[2] + d * s.k[3]] : 0.0f;
      values[i] = there ? v[b * s.v[0] + h * s.v[1] + j * s.v[2] + d * s.v[3]] : 0.0f;
    }
    BARRIER;
    int count = min(KEYS, min(seen, s.keys) - key);
    for (int j = 0; j < count; ++j) {
      float score = 0.0f;
      for (int d = 0; d < WIDTH; ++d) score += query[d] * keys[j * WIDTH + d];
      float high = max(top, score), keep = exp(top - high), p = exp(score - high);
      for (int d = 0; d < WIDTH; ++d)
        sum_of_values[d] = sum_of_values[d] * keep + p * values[j * WIDTH + d];
      sum = sum * keep + p;
      top = high;
    }
  }
  if (!mine) return;
  Long at = Long(head) * s.rows + row;
  lse[at] = sum > 0.0f ? top + log(sum) : log(0.0f);
  for (int d = 0; d < WIDTH; ++d)
    out[at * WIDTH + d] = sum > 0.0f ? sum_of_values[d] / sum : 0.0f;
}
)";

}  // namespace

lamina_status flash_text(const lamina_call* call, const lamina_device* device,
                         const lamina_view* in, const lamina_view*, lamina_program program) {
  const int64_t *q = in[0].shape, width = q[3];
  if (2 * kKeys * width * int64_t{sizeof(float)} > device->threadgroup_bytes)
    return api->fail(LAMINA_ERROR_VALUE, ("a head of width " + std::to_string(width) +
                                          " does not fit this device's threadgroup memory")
                                             .c_str());
  Block block{};
  Long* const strides[] = {block.q, block.k, block.v};
  for (int i = 0; i < 3; ++i) std::copy_n(in[i].strides, 4, strides[i]);
  block.heads = static_cast<int>(q[1]);
  block.rows = static_cast<int>(q[2]);
  block.keys = static_cast<int>(in[1].shape[2]);
  block.scale = static_cast<float>(call->params[0].real);
  block.causal = static_cast<int>(call->params[1].integer);

  std::string source = kernel_prologue(device);
  source += "#define THREADS " + std::to_string(kThreads) + "\n#define KEYS " +
            std::to_string(kKeys) + "\n#define WIDTH " + std::to_string(width) + "\n";
  source += KERNEL_TEXT(FLASH_BLOCK);
  source += kernel_entry(
      device, "flash_attention",
      {"const float* q", "const float* k", "const float* v", "float* out", "float* lse"});
  source += kBody;

  const int32_t operands[] = {0, 1, 2, 3, 4};
  lamina_kernel kernel{};
  kernel.size = sizeof kernel;
  kernel.name = "flash_attention";
  kernel.source = source.c_str();
  kernel.operands = operands;
  kernel.operand_count = 5;
  kernel.written = 1u << 3 | 1u << 4;
  kernel.block = &block;
  kernel.block_bytes = sizeof block;
  kernel.groups[0] = (q[2] + kThreads - 1) / kThreads;
  kernel.groups[1] = q[0] * q[1];
  kernel.groups[2] = 1;
  kernel.threads[0] = kThreads;
  kernel.threads[1] = kernel.threads[2] = 1;
  return api->add_kernel(program, &kernel);
}
