#include "devices/metal/unfold.h"

#include <algorithm>

#include "devices/pool.h"

namespace lamina::metal {

namespace {

using Kind = LibraryConvolution::Kind;

constexpr int64_t kMostParts = 256;
constexpr int64_t kVectorBytes = 16;
constexpr int64_t kTileRows = 32;  // parts of so many rows leave no tile half empty

int64_t taps_of(const LibraryConvolution& c) { return c.kernel[0] * c.kernel[1] * c.kernel[2]; }

// Equal lengths for parts of `size` lines, multiples of `step` where that is not too much.
int64_t part_length(int64_t size, int64_t most, int64_t step) {
  if (most >= size) return size;
  const int64_t parts = (size + most - 1) / most, even = (size + parts - 1) / parts;
  const int64_t stepped = (even + step - 1) / step * step;
  return stepped <= most ? stepped : most / step > 0 ? most / step * step : most;
}

// The product of a part, of operands that are whole.
LibraryProduct product_of(const LibraryConvolution& c, const UnfoldedPart& part, int64_t columns) {
  LibraryProduct p;
  p.dtype = c.dtype;
  if (c.kind == Kind::weight_gradient) {
    p.rows = c.filters, p.depth = part.rows, p.cols = part.columns;
    p.a = {true, c.filters, 0}, p.b = {false, part.columns, 0}, p.out = {false, columns, 0};
    return p;
  }
  const bool forward = c.kind == Kind::forward;
  p.rows = part.rows, p.depth = columns, p.cols = forward ? c.filters : c.channels;
  p.a = {false, columns, 0};
  p.b = {forward, forward ? columns : c.channels, 0};
  p.out = {false, p.cols, 0};
  return p;
}

std::string text_of(const LibraryConvolution& c, const Unfolded& u) {
  const char* what = c.kind == Kind::forward          ? "convolution"
                     : c.kind == Kind::input_gradient ? "convolution's input gradient"
                                                      : "convolution's weight gradient";
  std::string out = std::string(what) + " of " + std::to_string(taps_of(c)) +
                    " taps, unfolded in " + std::to_string(u.products.size()) + " parts of up to " +
                    format_bytes(u.part_bytes);
  if (u.weight_bytes) out += ", its weight turned in " + format_bytes(u.weight_bytes);
  out += "\n" + u.products.front().how.text;
  const std::string& last = u.products.back().how.text;
  if (last != u.products.front().how.text) out += "\n" + last;
  return out;
}

}  // namespace

std::optional<Unfolded> unfolded(const LibraryConvolution& c, int64_t most) {
  const UnfoldedPart whole = whole_unfolded(c);
  if (c.groups != 1 || std::min({whole.rows, whole.columns, c.filters, c.channels}) < 1)
    return std::nullopt;
  const bool by_column = c.kind == Kind::weight_gradient;
  const int64_t size = itemsize(c.dtype), line = (by_column ? whole.rows : whole.columns) * size;
  const int64_t lines = by_column ? whole.columns : whole.rows;
  if (most / line < 1) return std::nullopt;
  const int64_t step = by_column ? unfolded_word(c, kVectorBytes) : kTileRows;
  const int64_t length = part_length(lines, most / line, step);
  if (lines / length > kMostParts) return std::nullopt;
  Unfolded u;
  u.part_bytes = length * line;
  if (c.kind == Kind::input_gradient && taps_of(c) > 1)
    u.weight_bytes = taps_of(c) * c.filters * c.channels * size;
  for (int64_t at = 0; at < lines; at += length) {
    UnfoldedPart part = whole;
    (by_column ? part.first_column : part.first_row) = at;
    (by_column ? part.columns : part.rows) = std::min(length, lines - at);
    auto how = multiplication({product_of(c, part, whole.columns)});
    if (!how) return std::nullopt;
    how->swapped = by_column;
    how->from[2] = at * size * (by_column ? 1 : how->request.columns);
    u.products.push_back({part, std::move(*how)});
  }
  u.text = text_of(c, u);
  return u;
}

bool library_first(const Chip& chip, const LibraryConvolution& c, const Unfolded& u) {
  const ProductRequest& largest = u.products.front().how.request;
  if (!library_first(chip, c.dtype, largest)) return false;
  const double product = estimated_ms(chip, 0, 2 * largest.rows * largest.columns * largest.depth);
  return estimated_ms(chip, 2 * u.part_bytes, 0) <= most_unfolding(chip) * product;
}

}  // namespace lamina::metal
