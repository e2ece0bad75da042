#include "devices/metal/products.h"

#include <algorithm>

namespace lamina::metal {

namespace {

// The library's encoder is its own, and events that order it let the GPU run dry before and after:
// some ten microseconds, and no epilogue can be part of it. It is first where a product takes so
// long that this does not count, and no side is so short that its tiles are mostly edge. By
// published rates, not yet by measurement: docs/devices.md.
//
// A convolution of several taps has its input unfolded for it, which goes through memory twice; the
// own text computes where each element is once for every tile of filters instead.
struct ChoiceRow {
  int first_generation;
  double least_ms;     // at the chip's rate
  int64_t least_side;  // of rows, columns and depth
  double unfolding;    // at most, of the time of the product
};
constexpr ChoiceRow kChoices[] = {
    {13, 0.20, 128, 0.4},
    {15, 0.15, 128, 0.3},  // registers given out by need: own tiles lose least on M3 and M4
    {17, 0.10, 256, 1.0},  // matrix units that only the system's libraries reach
};

const ChoiceRow& choice_row(int generation) {
  const ChoiceRow* best = &kChoices[0];
  for (const ChoiceRow& row : kChoices)
    if (row.first_generation <= generation) best = &row;
  return *best;
}

}  // namespace

bool library_first(const Chip& chip, Dtype dtype, const ProductRequest& s) {
  if (dtype != Dtype::float32 && dtype != Dtype::float16) return false;
  const ChoiceRow& row = choice_row(chip.generation);
  if (std::min({s.rows, s.columns, s.depth}) < row.least_side) return false;
  return estimated_ms(chip, 0, 2 * s.rows * s.columns * s.depth * s.batch) >= row.least_ms;
}

int64_t library_multiplications(const Chip& chip) {
  return static_cast<int64_t>(choice_row(chip.generation).least_ms * chip.teraflops * 1e9 / 2);
}

double most_unfolding(const Chip& chip) { return choice_row(chip.generation).unfolding; }

namespace {

constexpr int64_t kLargest = INT32_MAX;

// A convolution of one tap as a product over all positions; `swapped` as in Multiplication.
std::optional<LibraryProduct> as_product(const LibraryConvolution& c, bool& swapped) {
  using Kind = LibraryConvolution::Kind;
  constexpr LibraryConvolution::Extent one{1, 1, 1}, none{0, 0, 0};
  if (c.kernel != one || c.stride != one || c.pad != none || c.groups != 1) return std::nullopt;
  const int64_t positions = c.batch * c.in[0] * c.in[1] * c.in[2];
  LibraryProduct p;
  p.dtype = c.dtype;
  const LibraryProduct::Matrix channels{false, c.channels, 0}, filters{false, c.filters, 0};
  if (c.kind == Kind::forward) {
    p.rows = positions, p.depth = c.channels, p.cols = c.filters;
    p.a = channels, p.b = {true, c.channels, 0}, p.out = filters;
  } else if (c.kind == Kind::input_gradient) {
    p.rows = positions, p.depth = c.filters, p.cols = c.channels;
    p.a = filters, p.b = channels, p.out = channels;
  } else {
    p.rows = c.filters, p.depth = positions, p.cols = c.channels;
    p.a = {true, c.filters, 0}, p.b = channels, p.out = channels;
    swapped = true;
  }
  return p;
}

}  // namespace

std::optional<Multiplication> multiplication(const LibraryWork& work) {
  Multiplication m;
  std::optional<LibraryProduct> p;
  if (auto* product = std::get_if<LibraryProduct>(&work.what)) p = *product;
  if (auto* c = std::get_if<LibraryConvolution>(&work.what)) p = as_product(*c, m.swapped);
  if (!p || p->out.transposed || p->batch < 1) return std::nullopt;
  m.dtype = p->dtype;
  m.request = {p->dtype == Dtype::float16,
               p->a.transposed,
               p->b.transposed,
               p->rows,
               p->cols,
               p->depth,
               p->batch};
  const LibraryProduct::Matrix* matrices[] = {&p->a, &p->b, &p->out};
  const int64_t lines[] = {p->rows, p->depth, p->rows}, widths[] = {p->depth, p->cols, p->cols};
  for (size_t i = 0; i < 3; ++i) {
    const LibraryProduct::Matrix& from = *matrices[i];
    MatrixPlace& place = m.places[i];
    place.rows = from.transposed ? widths[i] : lines[i];
    place.columns = from.transposed ? lines[i] : widths[i];
    if (place.rows < 1 || place.columns < 1 || place.rows > kLargest) return std::nullopt;
    const int64_t step = p->batch == 1 ? place.rows * from.lead : from.batch_stride;
    // Matrices of a batch follow each other a whole number of rows apart.
    if (step % from.lead || step < place.rows * from.lead) return std::nullopt;
    place.row_bytes = from.lead * itemsize(p->dtype);
    place.matrix_bytes = step * itemsize(p->dtype);
    m.bytes[i] =
        ((p->batch - 1) * step + (place.rows - 1) * from.lead + place.columns) * itemsize(p->dtype);
  }
  m.text = "MPSMatrixMultiplication: " + std::to_string(p->batch) + " x (" +
           std::to_string(p->rows) + ", " + std::to_string(p->depth) + ") @ (" +
           std::to_string(p->depth) + ", " + std::to_string(p->cols) + ") " +
           std::string(name_of(p->dtype)) + (p->a.transposed ? ", left transposed" : "") +
           (p->b.transposed ? ", right transposed" : "");
  return m;
}

std::shared_ptr<const Product> make_product(Host& host, const ProductRequest& request) {
  Handle handle = host.new_product(request);
  return handle ? std::make_shared<const Product>(host, handle, request) : nullptr;
}

}  // namespace lamina::metal
