// The product of a block-sparse matrix and a dense one. The sparse matrix is a CSR of square
// blocks: block row r holds blocks starts[r] to starts[r + 1] - 1 of `values` (blocks, size, size),
// and `columns` says in which block column each lies.
//
//   c++ -O3 -std=c++17 -shared -fPIC -I "$(python -c 'import lamina; print(lamina.include_dir())')"
//       block_sparse.cpp block_sparse_text.cpp -o libblocks.so
//
//   blocks = lamina.primitives.load("libblocks.so")
//   y = blocks.matmul(values, columns, starts, x)
#include "block_sparse.h"

#include <algorithm>
#include <string>
#include <vector>

const lamina_api* api = nullptr;

namespace {

template <class T>
const T* data(const lamina_view& v) {
  return static_cast<const T*>(v.data);
}

// A CSR of blocks whose structure has been checked.
struct Blocks {
  int64_t size, rows, count;  // of a block, in block rows, blocks
  const int32_t *columns, *starts;
  int64_t columns_step, starts_step;
  int64_t start(int64_t r) const { return starts[r * starts_step]; }
  int64_t column(int64_t b) const { return columns[b * columns_step]; }
};

std::string number(int64_t n) { return std::to_string(n); }

lamina_status fail(lamina_status status, const std::string& message) {
  return api->fail(status, message.c_str());
}

// The structure is data, so what is wrong with it shows only now.
lamina_status read(const lamina_view& columns, const lamina_view& starts, int64_t size,
                   int64_t width, Blocks* out) {
  *out = {size,
          starts.shape[0] - 1,
          columns.shape[0],
          data<int32_t>(columns),
          data<int32_t>(starts),
          columns.strides[0],
          starts.strides[0]};
  if (out->start(0) != 0 || out->start(out->rows) != out->count)
    return fail(LAMINA_ERROR_VALUE, "starts must go from 0 to the number of blocks, " +
                                        number(out->count) + "; they go from " +
                                        number(out->start(0)) + " to " +
                                        number(out->start(out->rows)));
  for (int64_t r = 0; r < out->rows; ++r)
    if (out->start(r) > out->start(r + 1))
      return fail(LAMINA_ERROR_VALUE, "starts must not fall; they do after block row " + number(r));
  for (int64_t b = 0; b < out->count; ++b)
    if (out->column(b) < 0 || (out->column(b) + 1) * size > width)
      return fail(LAMINA_ERROR_INDEX, "block " + number(b) + " lies in block column " +
                                          number(out->column(b)) + " of " + number(width / size));
  return LAMINA_OK;
}

// A dense matrix with unit stride along its rows, packed where it has none.
struct Dense {
  Dense(const lamina_view& v) : width(v.shape[1]), step(v.strides[0]), at(data<float>(v)) {
    if (v.strides[1] == 1 || width < 2) return;
    own.resize(static_cast<size_t>(v.shape[0] * width));
    for (int64_t i = 0; i < v.shape[0]; ++i)
      for (int64_t j = 0; j < width; ++j) own[i * width + j] = at[i * step + j * v.strides[1]];
    at = own.data();
    step = width;
  }
  Dense(const Dense&) = delete;
  const float* row(int64_t i) const { return at + i * step; }
  int64_t width, step;
  const float* at;
  std::vector<float> own;
};

void add_scaled(float* to, const float* from, float by, int64_t n) {
  for (int64_t j = 0; j < n; ++j) to[j] += by * from[j];
}

float element(const lamina_view& values, int64_t b, int64_t i, int64_t j) {
  return data<float>(values)[b * values.strides[0] + i * values.strides[1] + j * values.strides[2]];
}

// What the pieces of a product work on.
struct Work {
  Blocks blocks;
  const lamina_view* values;
  const Dense *x, *dy;
  float* out;
};

lamina_status product_rows(void* user, int64_t begin, int64_t end) {
  const auto& w = *static_cast<const Work*>(user);
  const int64_t size = w.blocks.size, n = w.x->width;
  std::fill(w.out + begin * size * n, w.out + end * size * n, 0.0f);
  for (int64_t r = begin; r < end; ++r)
    for (int64_t b = w.blocks.start(r); b < w.blocks.start(r + 1); ++b)
      for (int64_t i = 0; i < size; ++i)
        for (int64_t j = 0; j < size; ++j)
          add_scaled(w.out + (r * size + i) * n, w.x->row(w.blocks.column(b) * size + j),
                     element(*w.values, b, i, j), n);
  return LAMINA_OK;
}

// values columns starts x -> y
lamina_status product(const lamina_call*, const lamina_view* in, const lamina_view* out) {
  Work w{};
  if (lamina_status s = read(in[1], in[2], in[0].shape[1], in[3].shape[0], &w.blocks)) return s;
  Dense x(in[3]);
  w.values = &in[0];
  w.x = &x;
  w.out = static_cast<float*>(out[0].data);
  return api->parallel_for(w.blocks.rows, 1, product_rows, &w);
}

lamina_status values_rows(void* user, int64_t begin, int64_t end) {
  const auto& w = *static_cast<const Work*>(user);
  const int64_t size = w.blocks.size, n = w.x->width;
  for (int64_t r = begin; r < end; ++r)
    for (int64_t b = w.blocks.start(r); b < w.blocks.start(r + 1); ++b)
      for (int64_t i = 0; i < size; ++i)
        for (int64_t j = 0; j < size; ++j) {
          const float *dy = w.dy->row(r * size + i), *x = w.x->row(w.blocks.column(b) * size + j);
          float sum = 0;
          for (int64_t k = 0; k < n; ++k) sum += dy[k] * x[k];
          w.out[(b * size + i) * size + j] = sum;
        }
  return LAMINA_OK;
}

// columns starts x dy -> dvalues: only the blocks that are there, never the whole matrix.
lamina_status values_gradient(const lamina_call*, const lamina_view* in, const lamina_view* out) {
  Work w{};
  if (lamina_status s = read(in[0], in[1], out[0].shape[1], in[2].shape[0], &w.blocks)) return s;
  Dense x(in[2]), dy(in[3]);
  w.x = &x;
  w.dy = &dy;
  w.out = static_cast<float*>(out[0].data);
  return api->parallel_for(w.blocks.rows, 1, values_rows, &w);
}

// values columns starts dy -> dx: the transposed product. Block rows meet in dx, so one thread.
lamina_status x_gradient(const lamina_call* call, const lamina_view* in, const lamina_view* out) {
  const int64_t size = in[0].shape[1], rows = call->params[0].integer;
  Blocks blocks;
  if (lamina_status s = read(in[1], in[2], size, rows, &blocks)) return s;
  Dense dy(in[3]);
  auto* dx = static_cast<float*>(out[0].data);
  std::fill_n(dx, rows * dy.width, 0.0f);
  for (int64_t r = 0; r < blocks.rows; ++r)
    for (int64_t b = blocks.start(r); b < blocks.start(r + 1); ++b)
      for (int64_t i = 0; i < size; ++i)
        for (int64_t j = 0; j < size; ++j)
          add_scaled(dx + (blocks.column(b) * size + j) * dy.width, dy.row(r * size + i),
                     element(in[0], b, i, j), dy.width);
  return LAMINA_OK;
}

bool is(const lamina_view& v, lamina_dtype dtype, int32_t ndim) {
  return v.dtype == dtype && v.ndim == ndim;
}

void matrix(lamina_type* t, int64_t rows, int64_t columns) {
  *t = {LAMINA_FLOAT32, 2, {rows, columns}};
}

lamina_status product_types(const lamina_call*, const lamina_view* in, lamina_type* out) {
  if (!is(in[0], LAMINA_FLOAT32, 3) || !is(in[3], LAMINA_FLOAT32, 2))
    return fail(LAMINA_ERROR_DTYPE, "values must be float32 with 3 axes, x float32 with 2");
  if (!is(in[1], LAMINA_INT32, 1) || !is(in[2], LAMINA_INT32, 1))
    return fail(LAMINA_ERROR_DTYPE, "columns and starts must be int32 with 1 axis");
  const int64_t size = in[0].shape[1];
  if (size != in[0].shape[2] || size == 0 || in[3].shape[0] % size)
    return fail(LAMINA_ERROR_SHAPE, "blocks are " + number(size) + " by " + number(in[0].shape[2]) +
                                        ": they must be square and divide the " +
                                        number(in[3].shape[0]) + " rows of x");
  if (in[0].shape[0] != in[1].shape[0] || in[2].shape[0] < 1)
    return fail(LAMINA_ERROR_SHAPE, number(in[0].shape[0]) + " blocks need as many columns, got " +
                                        number(in[1].shape[0]) + ", and starts one entry or more");
  matrix(out, (in[2].shape[0] - 1) * size, in[3].shape[1]);
  return LAMINA_OK;
}

// dy must have the rows of the block rows and the columns of what it is multiplied with.
lamina_status check_gradient(const lamina_view& columns, const lamina_view& starts,
                             const lamina_view& dy, int64_t size) {
  if (!is(columns, LAMINA_INT32, 1) || !is(starts, LAMINA_INT32, 1) || !is(dy, LAMINA_FLOAT32, 2))
    return fail(LAMINA_ERROR_DTYPE,
                "columns and starts must be int32 with 1 axis, dy float32 with 2");
  if (size < 1 || dy.shape[0] != (starts.shape[0] - 1) * size)
    return fail(LAMINA_ERROR_SHAPE, "dy has " + number(dy.shape[0]) + " rows, " +
                                        number((starts.shape[0] - 1) * size) + " are needed");
  return LAMINA_OK;
}

lamina_status values_types(const lamina_call* call, const lamina_view* in, lamina_type* out) {
  const int64_t size = call->params[0].integer;
  if (lamina_status s = check_gradient(in[0], in[1], in[3], size)) return s;
  if (!is(in[2], LAMINA_FLOAT32, 2) || in[2].shape[1] != in[3].shape[1])
    return fail(LAMINA_ERROR_SHAPE, "x must be float32 with as many columns as dy");
  *out = {LAMINA_FLOAT32, 3, {in[0].shape[0], size, size}};
  return LAMINA_OK;
}

lamina_status x_types(const lamina_call* call, const lamina_view* in, lamina_type* out) {
  if (!is(in[0], LAMINA_FLOAT32, 3) || in[0].shape[0] != in[1].shape[0] ||
      in[0].shape[1] != in[0].shape[2])
    return fail(LAMINA_ERROR_SHAPE, "values must be float32, one square block for each column");
  if (lamina_status s = check_gradient(in[1], in[2], in[3], in[0].shape[1])) return s;
  matrix(out, call->params[0].integer, in[3].shape[1]);
  return LAMINA_OK;
}

// The gradient of what an input was, if somebody wants it; columns and starts have none.
lamina_status product_vjp(const lamina_call*, const lamina_array* in, const lamina_array*,
                          const lamina_array* cotangents, lamina_array* results) {
  lamina_view values, x;
  if (lamina_status s = api->array_type(in[0], &values)) return s;
  if (lamina_status s = api->array_type(in[3], &x)) return s;
  const lamina_param size{"size", LAMINA_INTEGER, 0, values.shape[1], 0, nullptr, 0};
  const lamina_param rows{"rows", LAMINA_INTEGER, 0, x.shape[0], 0, nullptr, 0};
  const lamina_array for_values[] = {in[1], in[2], in[3], cotangents[0]};
  const lamina_array for_x[] = {in[0], in[1], in[2], cotangents[0]};
  if (lamina_status s = api->op("blocks.values_gradient", for_values, 4, &size, 1, &results[0], 1))
    return s;
  return api->op("blocks.x_gradient", for_x, 4, &rows, 1, &results[3], 1);
}

// The product is linear in values and in x.
lamina_status product_jvp(const lamina_call*, const lamina_array* in, const lamina_array* tangents,
                          lamina_array* results) {
  const lamina_array by_values[] = {tangents[0], in[1], in[2], in[3]};
  const lamina_array by_x[] = {in[0], in[1], in[2], tangents[3]};
  lamina_array parts[2] = {nullptr, nullptr};
  lamina_status s = api->op("blocks.matmul", by_values, 4, nullptr, 0, &parts[0], 1);
  if (!s) s = api->op("blocks.matmul", by_x, 4, nullptr, 0, &parts[1], 1);
  if (!s) s = api->op("add", parts, 2, nullptr, 0, results, 1);
  api->release(parts[0]);
  api->release(parts[1]);
  return s;
}

int64_t product_flops(const lamina_call*, const lamina_view* in) {
  return 2 * in[0].shape[0] * in[0].shape[1] * in[0].shape[2] * in[3].shape[1];
}

}  // namespace

extern "C" lamina_status lamina_register(const lamina_api* table) {
  api = table;
  lamina_primitive p{};
  p.size = sizeof p;
  p.outputs = 1;
  p.inputs = 4;
  p.name = "blocks.matmul";
  p.doc = "A block-sparse matrix (values, columns, starts) times a dense one.";
  p.types = product_types;
  p.cpu = product;
  p.text = blocks_product_text;
  p.vjp = product_vjp;
  p.jvp = product_jvp;
  p.flops = product_flops;
  if (lamina_status s = api->define(&p)) return s;

  const lamina_param size{"size", LAMINA_INTEGER, 1, 0, 0, nullptr, 0};
  lamina_primitive values{};
  values.size = sizeof values;
  values.outputs = 1;
  values.inputs = 4;
  values.params = &size;
  values.param_count = 1;
  values.name = "blocks.values_gradient";
  values.doc = "The blocks of dy x^T that the sparse matrix has.";
  values.types = values_types;
  values.cpu = values_gradient;
  values.text = blocks_values_text;
  if (lamina_status s = api->define(&values)) return s;

  const lamina_param rows{"rows", LAMINA_INTEGER, 1, 0, 0, nullptr, 0};
  lamina_primitive x = values;
  x.params = &rows;
  x.name = "blocks.x_gradient";
  x.doc = "The transposed block-sparse matrix times dy.";
  x.types = x_types;
  x.cpu = x_gradient;
  x.text = blocks_x_text;
  return api->define(&x);
}
