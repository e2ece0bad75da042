// The block-sparse products as kernel text, one body for Metal and CUDA.
//
// A kernel cannot fail as a CPU function does. A first kernel looks at the structure and leaves its
// verdict in a temporary; where that is bad, the product is NaN and reads nothing out of bounds.
#include <algorithm>
#include <string>

#include "block_sparse.h"
#include "kernel_text.h"

namespace {

constexpr int kThreads = 64;

// The constant block, spelled once for both sides: Long is 64 bits. `a` and `b` are what is
// multiplied, with strides; columns and starts have one.
#define BLOCKS_BLOCK                          \
  struct Block {                              \
    Long a[3], b[2], columns, starts, length; \
    int size, rows, count, dense;             \
  };
BLOCKS_BLOCK
// One threadgroup, whose threads share the entries among them.
const char* const kCheck = R"(
  SHARED int wrong[THREADS];
  int bad = 0;
  if (LANE == 0) bad = starts[0] != 0 || starts[s.rows * s.starts] != s.count;
  for (int r = LANE; r < s.rows; r += THREADS)
    if (starts[r * s.starts] > starts[(r + 1) * s.starts]) bad = 1;
  for (int k = LANE; k < s.count; k += THREADS) {
    int column = columns[k * s.columns];
    if (column < 0 || (Long(column) + 1) * s.size > s.dense) bad = 1;
  }
  wrong[LANE] = bad;
  BARRIER;
  if (LANE != 0) return;
  for (int i = 1; i < THREADS; ++i) bad += wrong[i];
  verdict[0] = bad;
}
)";

// a: values, b: x. A thread has one element of the result: its row is the group's.
const char* const kProduct = R"(
  Long col = Long(LINE) * THREADS + LANE;
  if (col >= s.length) return;
  int r = GROUP / s.size, i = GROUP % s.size;
  float sum = 0.0f;
  if (verdict[0] == 0)
    for (int k = starts[r * s.starts]; k < starts[(r + 1) * s.starts]; ++k)
      for (int j = 0; j < s.size; ++j)
        sum += a[k * s.a[0] + i * s.a[1] + j * s.a[2]] *
               b[(Long(columns[k * s.columns]) * s.size + j) * s.b[0] + col * s.b[1]];
  out[GROUP * s.length + col] = verdict[0] == 0 ? sum : NOT_A_NUMBER;
}
)";

// a: dy, b: x. A thread has one element of the group's block, and looks up the block's row.
const char* const kValues = R"(
  int element = LINE * THREADS + LANE;
  if (element >= s.size * s.size) return;
  float sum = 0.0f;
  if (verdict[0] == 0) {
    int low = 0, high = s.rows - 1;
    while (low < high) {  // the last row that starts at the block or before
      int middle = (low + high + 1) / 2;
      if (starts[middle * s.starts] <= GROUP) low = middle;
      else high = middle - 1;
    }
    Long row = Long(low) * s.size + element / s.size;
    Long line = Long(columns[GROUP * s.columns]) * s.size + element % s.size;
    for (Long c = 0; c < s.length; ++c)
      sum += a[row * s.a[0] + c * s.a[1]] * b[line * s.b[0] + c * s.b[1]];
  }
  out[Long(GROUP) * s.size * s.size + element] = verdict[0] == 0 ? sum : NOT_A_NUMBER;
}
)";

// a: values, b: dy. Blocks of a column are looked for in all rows: a thread has one element of the
// result, so that no two add to the same one.
const char* const kTransposed = R"(
  Long col = Long(LINE) * THREADS + LANE;
  if (col >= s.length) return;
  int column = GROUP / s.size, j = GROUP % s.size;
  float sum = 0.0f;
  if (verdict[0] == 0)
    for (int r = 0; r < s.rows; ++r)
      for (int k = starts[r * s.starts]; k < starts[(r + 1) * s.starts]; ++k)
        if (columns[k * s.columns] == column)
          for (int i = 0; i < s.size; ++i)
            sum += a[k * s.a[0] + i * s.a[1] + j * s.a[2]] *
                   b[(Long(r) * s.size + i) * s.b[0] + col * s.b[1]];
  out[GROUP * s.length + col] = verdict[0] == 0 ? sum : NOT_A_NUMBER;
}
)";

// Inputs by their place in the call, what a row of threads works along, and how many groups.
struct Text {
  const char *name, *body;
  int columns, starts, a, b;
  int64_t size, dense, length, groups, along;
};

lamina_status add(const Text& t, const lamina_device* device, const lamina_view* in,
                  lamina_program program) {
  Block block{};
  std::copy_n(in[t.a].strides, in[t.a].ndim, block.a);
  std::copy_n(in[t.b].strides, in[t.b].ndim, block.b);
  block.columns = in[t.columns].strides[0];
  block.starts = in[t.starts].strides[0];
  block.length = t.length;
  block.size = static_cast<int>(t.size);
  block.rows = static_cast<int>(in[t.starts].shape[0] - 1);
  block.count = static_cast<int>(in[t.columns].shape[0]);
  block.dense = static_cast<int>(t.dense);

  std::string prologue = kernel_prologue(device);
  prologue += "#define THREADS " + std::to_string(kThreads) + "\n";
  prologue += KERNEL_TEXT(BLOCKS_BLOCK);

  int32_t verdict = 0;
  if (lamina_status s = api->add_temporary(program, sizeof(int32_t), &verdict)) return s;
  lamina_kernel kernel{};
  kernel.size = sizeof kernel;
  kernel.block = &block;
  kernel.block_bytes = sizeof block;
  kernel.threads[0] = kThreads;
  kernel.threads[1] = kernel.threads[2] = 1;
  kernel.groups[0] = kernel.groups[1] = kernel.groups[2] = 1;

  const int32_t looked_at[] = {t.columns, t.starts, verdict};
  std::string source = prologue +
                       kernel_entry(device, "blocks_check",
                                    {"const int* columns", "const int* starts", "int* verdict"}) +
                       kCheck;
  kernel.name = "blocks_check";
  kernel.source = source.c_str();
  kernel.operands = looked_at;
  kernel.operand_count = 3;
  kernel.written = 1u << 2;
  if (lamina_status s = api->add_kernel(program, &kernel)) return s;

  const int32_t operands[] = {t.columns, t.starts, t.a, t.b, verdict, 4};
  source = prologue +
           kernel_entry(device, t.name,
                        {"const int* columns", "const int* starts", "const float* a",
                         "const float* b", "const int* verdict", "float* out"}) +
           t.body;
  kernel.name = t.name;
  kernel.source = source.c_str();
  kernel.operands = operands;
  kernel.operand_count = 6;
  kernel.written = 1u << 5;
  kernel.groups[0] = t.groups;
  kernel.groups[1] = (t.along + kThreads - 1) / kThreads;
  return api->add_kernel(program, &kernel);
}

}  // namespace

// values columns starts x -> y
lamina_status blocks_product_text(const lamina_call*, const lamina_device* device,
                                  const lamina_view* in, const lamina_view* out,
                                  lamina_program program) {
  const int64_t n = in[3].shape[1];
  return add({"blocks_matmul", kProduct, 1, 2, 0, 3, in[0].shape[1], in[3].shape[0], n,
              out[0].shape[0], n},
             device, in, program);
}

// columns starts x dy -> dvalues
lamina_status blocks_values_text(const lamina_call*, const lamina_device* device,
                                 const lamina_view* in, const lamina_view* out,
                                 lamina_program program) {
  const int64_t size = out[0].shape[1];
  return add({"blocks_values_gradient", kValues, 0, 1, 3, 2, size, in[2].shape[0], in[2].shape[1],
              out[0].shape[0], size * size},
             device, in, program);
}

// values columns starts dy -> dx
lamina_status blocks_x_text(const lamina_call*, const lamina_device* device, const lamina_view* in,
                            const lamina_view* out, lamina_program program) {
  const int64_t n = in[3].shape[1];
  return add({"blocks_x_gradient", kTransposed, 1, 2, 0, 3, in[0].shape[1], out[0].shape[0], n,
              out[0].shape[0], n},
             device, in, program);
}
