// Convolutions as products of the matrix library: into which parts they are cut, and on which chips
// that is the first choice. That the products are right is tests/devices/test_metal_products.py's.
#include "devices/metal/unfold.h"

#include "rig.h"

namespace {

using Kind = LibraryConvolution::Kind;

LibraryConvolution image(Kind kind, int64_t batch, int64_t side, int64_t channels, int64_t filters,
                         int64_t kernel = 3, Dtype dtype = Dtype::float32) {
  LibraryConvolution c;
  c.kind = kind;
  c.dtype = dtype;
  c.batch = batch;
  c.channels = channels;
  c.filters = filters;
  c.in = c.out = {1, side, side};
  c.kernel = {1, kernel, kernel};
  c.pad = {0, kernel / 2, kernel / 2};
  return c;
}

bool first(const char* architecture, const LibraryConvolution& c) {
  Facts facts;
  facts.architecture = architecture;
  const auto u = unfolded(c, kUnfoldedBytes);
  return u && library_first(chip_of(facts), c, *u);
}

}  // namespace

TEST(parts_cover_a_convolution_once_and_stay_below_the_bound) {
  for (Kind kind : {Kind::forward, Kind::input_gradient, Kind::weight_gradient})
    for (int64_t most : {3000, 10'000, 100'000, 1 << 24}) {
      const LibraryConvolution c = image(kind, 3, 11, 4, 6);
      const UnfoldedPart whole = whole_unfolded(c);
      const auto u = unfolded(c, most);
      CHECK(u.has_value());
      CHECK(u->part_bytes <= most);
      int64_t row = 0, column = 0;
      for (const UnfoldedProduct& p : u->products) {
        CHECK(p.part.rows * p.part.columns * 4 <= u->part_bytes);
        if (kind == Kind::weight_gradient) {
          EQUAL(p.part.first_column, column);
          EQUAL(p.part.rows, whole.rows);
          EQUAL(p.how.from[2], column * 4);
          column += p.part.columns;
        } else {
          EQUAL(p.part.first_row, row);
          EQUAL(p.part.columns, whole.columns);
          EQUAL(p.how.from[2], row * p.how.request.columns * 4);
          row += p.part.rows;
        }
      }
      EQUAL(kind == Kind::weight_gradient ? column : row,
            kind == Kind::weight_gradient ? whole.columns : whole.rows);
    }
}

TEST(parts_are_whole_tiles_and_words_where_that_fits) {
  const auto forward = unfolded(image(Kind::forward, 3, 11, 4, 6), 10'000);
  EQUAL(forward->products[0].part.rows, 64);  // of 69 that fit: six even parts of 61
  const auto weight = unfolded(image(Kind::weight_gradient, 3, 11, 4, 6), 10'000);
  EQUAL(weight->products[0].part.columns, 4);  // of 6
  EQUAL(unfolded(image(Kind::input_gradient, 3, 11, 4, 6), 10'000)->weight_bytes, 9 * 4 * 6 * 4);
}

TEST(a_convolution_that_would_have_too_many_parts_or_is_grouped_is_not_unfolded) {
  const LibraryConvolution c = image(Kind::forward, 3, 11, 4, 6);
  CHECK(!unfolded(c, 4 * 36 - 1));  // not one row
  CHECK(!unfolded(c, 4 * 36));      // 363 parts
  LibraryConvolution grouped = c;
  grouped.groups = 2;
  CHECK(!unfolded(grouped, 1 << 20));
}

TEST(the_library_gets_convolutions_whose_product_outweighs_their_unfolding) {
  const char* chips[] = {"applegpu_g13g", "applegpu_g14s", "applegpu_g15d", "applegpu_g17g"};
  for (const char* chip : chips)
    for (Kind kind : {Kind::forward, Kind::input_gradient, Kind::weight_gradient}) {
      CHECK(first(chip, image(kind, 16, 28, 512, 512)));
      CHECK(!first(chip, image(kind, 16, 28, 64, 64)));
      CHECK(!first(chip, image(kind, 1, 8, 512, 512, 3, Dtype::bfloat16)));
      CHECK(!first(chip, image(kind, 1, 4, 128, 128)));  // over in no time
    }
  // What an M5's matrix units gain is more than unfolding costs, long before own tiles lose as
  // much.
  CHECK(first("applegpu_g17g", image(Kind::forward, 16, 56, 256, 256)));
  CHECK(!first("applegpu_g15g", image(Kind::forward, 16, 56, 256, 256)));
  // Half the bytes are half of what unfolding costs.
  CHECK(!first("applegpu_g13g", image(Kind::forward, 16, 56, 256, 256)));
  CHECK(first("applegpu_g13g", image(Kind::forward, 16, 56, 256, 256, 3, Dtype::float16)));
}
