// Products of the matrix library, whose encoder no fence reaches: their order, what they keep
// alive, their times.
#include "rig.h"

namespace {

constexpr int64_t kSide = 8, kSize = kSide * kSide;

MatrixPlace square() { return {{}, kSide, kSide, kSide * 4, kSize * 4}; }

uint64_t multiply(Rig& rig, float* out, const float* a, const float* b, uint64_t tag = 0) {
  ProductRequest request;
  request.rows = request.columns = request.depth = kSide;
  ProductLaunch launch;
  launch.product = make_product(*rig.host, request);
  launch.left = rig.bind(a, kSize, false);
  launch.right = rig.bind(b, kSize, false);
  launch.result = rig.bind(out, kSize, true);
  for (MatrixPlace& place : launch.places) place = square();
  launch.tag = tag;
  return rig.queue->multiply(launch);
}

// Elements of what a product of constant matrices gives.
float product_of(float x, float y) { return x * y * kSide; }

}  // namespace

TEST(a_product_stands_between_what_is_before_and_after_it) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    Machine machine;
    machine.seed = seed;
    Rig rig(machine);
    float *a = rig.array(kSize, 1), *b = rig.array(kSize), *c = rig.array(kSize),
          *d = rig.array(kSize);
    rig.scale(b, a, 3, kSize);
    multiply(rig, c, b, b);
    rig.scale(d, c, 2, kSize);
    multiply(rig, b, d, a);  // over what the first product reads
    rig.scale(a, b, 1, kSize);
    rig.queue->synchronize();
    EQUAL(a[kSize - 1], product_of(2 * product_of(3, 3), 1));
    EQUAL(rig.queue->counts().products, 2);
    EQUAL(rig.queue->counts().command_buffers, 1);
  }
}

TEST(a_product_is_ordered_with_other_command_buffers) {
  Rig rig;
  float *a = rig.array(kSize, 1), *b = rig.array(kSize), *c = rig.array(kSize),
        *d = rig.array(kSize);
  hold(true);
  rig.scale(b, a, 3, kSize);
  rig.queue->commit();
  multiply(rig, c, b, b);
  rig.queue->commit();
  rig.scale(d, c, 2, kSize);
  rig.queue->commit();
  multiply(rig, d, c, c);  // over what the third reads and writes
  hold(false);
  rig.queue->synchronize();
  EQUAL(c[0], product_of(3, 3));
  EQUAL(d[0], product_of(c[0], c[0]));
  CHECK(rig.queue->counts().fence_waits >= 3);
}

TEST(without_events_a_product_out_of_line_is_seen) {
  Rig rig({}, {.track = false});
  float *a = rig.array(kSize, 1), *b = rig.array(kSize), *c = rig.array(kSize);
  rig.scale(b, a, 3, kSize);
  multiply(rig, c, b, b);
  rig.queue->synchronize();
  CONTAINS(take_violations().at(0), "order: nothing orders MPSMatrixMultiplication");
}

TEST(a_failed_command_buffer_with_a_product_holds_nothing_up) {
  Rig rig;
  float *a = rig.array(kSize, 1), *b = rig.array(kSize);
  inject(Point::run, {0, 1, 3});
  THROWN(DeviceError, rig.queue->wait(multiply(rig, b, a, a)));
  rig.queue->wait(multiply(rig, b, a, a));
  EQUAL(b[0], product_of(1, 1));
}

TEST(a_products_memory_lives_until_it_has_ended) {
  Rig rig;
  float *a = rig.array(1 << 14, 1), *b = rig.array(1 << 14);
  hold(true);
  multiply(rig, b, a, a);
  rig.queue->commit();
  rig.drop(a, 1 << 14);
  hold(false);
  rig.queue->synchronize();
  EQUAL(b[0], product_of(1, 1));
}

TEST(a_timed_product_has_a_command_buffer_of_its_own) {
  Rig rig;
  float *a = rig.array(kSize, 1), *b = rig.array(kSize), *c = rig.array(kSize);
  rig.queue->set_timed(true);
  rig.run("scale", b, {a}, kSize, 5);
  multiply(rig, c, b, b, 6);
  rig.run("scale", b, {c}, kSize, 7);
  std::vector<Span> times;
  rig.queue->synchronize();
  times = rig.queue->take_times();
  EQUAL(times.size(), 3u);
  for (const Span& span : times) {
    CHECK(span.t0 <= span.t1);
    EQUAL(span.source == Span::Source::command_buffer, span.tag == 6);
  }
}

TEST(the_library_gets_large_products_of_the_dtypes_it_has) {
  auto first = [](const char* architecture, Dtype dtype, int64_t rows, int64_t columns,
                  int64_t depth, int64_t batch = 1) {
    Facts facts;
    facts.architecture = architecture;
    ProductRequest sizes;
    sizes.rows = rows;
    sizes.columns = columns;
    sizes.depth = depth;
    sizes.batch = batch;
    return library_first(chip_of(facts), dtype, sizes);
  };
  for (const char* chip : {"applegpu_g13g", "applegpu_g14s", "applegpu_g15d", "applegpu_g17g"}) {
    CHECK(first(chip, Dtype::float32, 4096, 4096, 4096));
    CHECK(first(chip, Dtype::float16, 4096, 4096, 4096));
    CHECK(!first(chip, Dtype::bfloat16, 4096, 4096, 4096));
    CHECK(!first(chip, Dtype::complex64, 4096, 4096, 4096));
    CHECK(!first(chip, Dtype::float32, 64, 4096, 4096));
    CHECK(!first(chip, Dtype::float32, 128, 128, 128));
  }
  // What is long for a small chip is short for a large one.
  CHECK(first("applegpu_g13g", Dtype::float32, 768, 768, 768));
  CHECK(!first("applegpu_g14d", Dtype::float32, 768, 768, 768));
  CHECK(first("applegpu_g14d", Dtype::float32, 768, 768, 768, 32));
}

TEST(rules_of_the_matrix_library) {
  struct Row {
    const char* said;
    void (*spoil)(ProductRequest&, MatrixPlace*);
  } rows[] = {
      {"the left matrix has rows of 28 bytes",
       [](ProductRequest&, MatrixPlace* m) { m[0].row_bytes = 28; }},
      {"the right matrix has rows of 34 bytes",
       [](ProductRequest&, MatrixPlace* m) { m[1].row_bytes = 34; }},
      {"the result matrix has offset",
       [](ProductRequest&, MatrixPlace* m) { m[2].at.offset += 6; }},
      {"the left matrix reaches past its buffer",
       [](ProductRequest&, MatrixPlace* m) { m[0].rows = 1 << 20; }},
      {"the right matrix has matrices of 100 bytes",
       [](ProductRequest& r, MatrixPlace* m) { r.batch = 2, m[1].matrix_bytes = 100; }},
      {"smaller than the product", [](ProductRequest& r, MatrixPlace*) { r.depth = kSide + 1; }},
  };
  for (const Row& row : rows) {
    Rig rig;
    float* a = rig.array(4 * kSize, 1);
    const Place place = rig.memory->find(a);
    ProductRequest request;
    request.rows = request.columns = request.depth = kSide;
    MatrixPlace m[3];
    for (int i = 0; i < 3; ++i) m[i] = square(), m[i].at = {place.block->handle, place.offset};
    for (int i = 0; i < 3; ++i) m[i].at.offset += i * kSize * 4;
    row.spoil(request, m);
    Handle commands = rig.host->begin_commands(rig.queue->handle(), false);
    Handle product = rig.host->new_product(request);
    rig.host->encode_product(commands, product, request, m[0], m[1], m[2]);
    rig.host->release(product);
    rig.host->release(commands);
    auto said = take_violations();
    EQUAL(said.size(), 1u);
    CONTAINS(said[0], row.said);
  }
}
