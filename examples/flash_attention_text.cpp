// Flash attention as kernel text: one body in the part of C++ that Metal and CUDA share, one
// prologue for each. A thread owns a row of queries; keys and values pass by in threadgroup memory.
#include <algorithm>
#include <string>

#include <lamina.h>

extern const lamina_api* api;

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
typedef int64_t Long;
FLASH_BLOCK
#define TEXT_OF(...) #__VA_ARGS__
#define TEXT(...) TEXT_OF(__VA_ARGS__)

const char* const kMetal = R"(#include <metal_stdlib>
using namespace metal;
typedef long Long;
#define SHARED threadgroup
#define BARRIER threadgroup_barrier(mem_flags::mem_threadgroup)
)";
const char* const kMetalEntry = R"(
kernel void flash_attention(device const float* q [[buffer(0)]], device const float* k [[buffer(1)]],
                            device const float* v [[buffer(2)]], device float* out [[buffer(3)]],
                            device float* lse [[buffer(4)]], constant Block& s [[buffer(5)]],
                            uint3 group_at [[threadgroup_position_in_grid]],
                            uint3 thread_at [[thread_position_in_threadgroup]]) {
  int group = int(group_at.x), head = int(group_at.y), lane = int(thread_at.x);
)";

const char* const kCuda = R"(typedef long long Long;
#define SHARED __shared__
#define BARRIER __syncthreads()
)";
const char* const kCudaEntry = R"(
extern "C" __global__ void flash_attention(const float* q, const float* k, const float* v,
                                           float* out, float* lse, Block s) {
  int group = blockIdx.x, head = blockIdx.y, lane = threadIdx.x;
)";

const char* const kBody = R"(
  SHARED float keys[KEYS * WIDTH];
  SHARED float values[KEYS * WIDTH];
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

  const bool metal = device->dialect == LAMINA_MSL;
  std::string source = metal ? kMetal : kCuda;
  source += "#define THREADS " + std::to_string(kThreads) + "\n#define KEYS " +
            std::to_string(kKeys) + "\n#define WIDTH " + std::to_string(width) + "\n";
  source += TEXT(FLASH_BLOCK);
  source += metal ? kMetalEntry : kCudaEntry;
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
