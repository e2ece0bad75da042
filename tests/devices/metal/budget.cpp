// Where command buffers end, by chip; how many are under way; what is kept alive.
#include "rig.h"

namespace {

constexpr int64_t kCount = 64;

Chip chip(const std::string& architecture, const std::string& name = "") {
  Facts facts;
  facts.architecture = architecture;
  facts.name = name;
  return chip_of(facts);
}

}  // namespace

TEST(chips_are_told_by_architecture_and_by_name) {
  struct {
    const char *architecture, *name;
    int generation;
    char size;
    bool bfloat;
  } rows[] = {
      {"applegpu_g13g", "Apple M1", 13, 'g', false},
      {"applegpu_g13s", "Apple M1 Max", 13, 's', false},
      {"applegpu_g14d", "Apple M2 Ultra", 14, 'd', false},
      {"applegpu_g15g", "Apple M3", 15, 'g', true},
      {"applegpu_g16s", "Apple M4 Max", 16, 's', true},
      {"applegpu_g17g", "Apple M5", 17, 'g', true},
      {"", "Apple M1 Pro", 13, 'g', false},
      {"", "Apple M2 Max", 14, 's', false},
      {"", "Apple M3 Ultra", 15, 'd', true},
      {"", "Apple Paravirtual device", 0, 'g', false},
      {"applegpu_g18p", "", 18, 'p', true},
      {"applegpu_14", "Apple M2", 14, 'g', false},
  };
  for (auto& row : rows) {
    Chip c = chip(row.architecture, row.name);
    EQUAL(c.generation, row.generation);
    EQUAL(c.size, row.size);
    EQUAL(c.bfloat, row.bfloat);
    CHECK(c.gigabytes_per_second > 0 && c.teraflops > 0 && c.budget.operations > 0);
    for (const GemmTile& t : {c.tile, c.small_tile}) {
      CHECK(t.rows % 16 == 0 && t.cols % 16 == 0 && t.depth % 8 == 0);
      const int64_t floats = t.rows * t.cols + t.depth * (t.rows + t.cols + 8);
      CHECK(floats * 4 <= 32768);
    }
    CHECK(c.small_tile.rows * c.small_tile.cols <= c.tile.rows * c.tile.cols);
  }
  CHECK(chip("applegpu_g13d").gigabytes_per_second > chip("applegpu_g13g").gigabytes_per_second);
  // A size no table knows takes the rates of the newest that is known.
  CHECK(chip("applegpu_g19s").gigabytes_per_second >= chip("applegpu_g16s").gigabytes_per_second);
}

TEST(only_apple_silicon_and_virtual_machines_on_it_are_used) {
  auto why = [](const char* name, int family, int os_major, bool unified = true) {
    Facts facts;
    facts.name = name;
    facts.family = family;
    facts.os_major = os_major;
    facts.unified = unified;
    return why_not(facts);
  };
  EQUAL(why("Apple M1", 7, 13), "");
  EQUAL(why("Apple M5", 10, 26), "");
  EQUAL(why("Apple Paravirtual device", 5, 15), "");
  CONTAINS(why("Apple Paravirtual device", 5, 14), "virtual machines need macOS 15");
  CONTAINS(why("AMD Radeon Pro 5500M", 0, 15, false), "only Apple silicon is supported");
  CONTAINS(why("Apple A12Z", 5, 13), "only Apple silicon is supported");
}

TEST(operations_cut_command_buffers_by_chip) {
  struct {
    const char* architecture;
    int64_t operations;
  } rows[] = {
      {"applegpu_g13p", 20}, {"applegpu_g15g", 40}, {"applegpu_g16s", 50}, {"applegpu_g14d", 50}};
  for (auto& row : rows) {
    Machine machine;
    machine.architecture = row.architecture;
    Rig rig(machine);
    float *a = rig.array(kCount, 1), *b = rig.array(kCount);
    for (int64_t i = 0; i < row.operations * 2 + 1; ++i) rig.scale(b, a, 2, kCount);
    EQUAL(rig.queue->counts().command_buffers, 3);
    rig.queue->synchronize();
    EQUAL(rig.queue->counts().command_buffers, 3);
  }
}

TEST(bytes_cut_command_buffers) {
  Rig rig;                              // 200 MiB on a Max
  constexpr int64_t kLarge = 20 << 20;  // elements: 80 MiB
  float *a = rig.array(kLarge), *b = rig.array(kLarge), *c = rig.array(kCount);
  rig.run("slow", b, {a}, kLarge);
  EQUAL(rig.queue->counts().command_buffers, 1);
  rig.scale(c, c, 1, kCount);
  EQUAL(rig.queue->counts().command_buffers, 1);
  float* d = rig.array(kLarge);
  rig.run("slow", d, {b}, kLarge);
  rig.scale(c, c, 1, kCount);
  EQUAL(rig.queue->counts().command_buffers, 2);
}

TEST(estimated_time_cuts_command_buffers) {
  Rig rig;
  float *a = rig.array(kCount), *b = rig.array(kCount);
  // 400 GB/s: 32 MB are 0.08 ms; then 40 GB, more than any budget, for one that goes alone.
  rig.run("scale", b, {a}, kCount, 1, 32'000'000);
  rig.run("scale", b, {a}, kCount, 1, 40'000'000'000);
  EQUAL(rig.queue->counts().command_buffers, 2);
  rig.run("scale", b, {a}, kCount, 1, 0, 1000);
  EQUAL(rig.queue->counts().command_buffers, 3);
}

TEST(estimates_learn_from_what_is_measured) {
  Rig rig;
  float *a = rig.array(kCount), *b = rig.array(kCount);
  // Said to take 2 ms, and much faster in truth: soon more of them fit.
  for (int i = 0; i < 40; ++i) {
    rig.run("scale", b, {a}, kCount, 1, 800'000'000);
    rig.queue->synchronize();
  }
  const int64_t before = rig.queue->counts().command_buffers;
  for (int i = 0; i < 49; ++i) rig.run("scale", b, {a}, kCount, 1, 800'000'000);
  EQUAL(rig.queue->counts().command_buffers, before + 1);
}

TEST(only_so_many_command_buffers_are_under_way) {
  Rig rig;
  float *a = rig.array(kCount), *b = rig.array(kCount);
  hold(true);
  std::thread later([] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    hold(false);
  });
  size_t most = 0;
  for (int i = 0; i < 30; ++i) {
    rig.run("scale", b, {a}, kCount, 1);
    rig.queue->commit();
    most = std::max(most, rig.queue->in_flight());
  }
  later.join();
  rig.queue->synchronize();
  EQUAL(most, 10u);
}

TEST(memory_lives_until_its_command_buffer_has_ended) {
  Rig rig;
  constexpr int64_t kLarge = 100'000;
  float *a = rig.array(kLarge, 1), *b = rig.array(kLarge);
  hold(true);
  rig.scale(b, a, 2, kLarge);
  rig.queue->commit();
  rig.drop(a, kLarge);
  EQUAL(world().seen.live_buffers, 2);
  hold(false);
  rig.queue->synchronize();
  EQUAL(b[kLarge - 1], 2.0f);
  while (!rig.queue->done(1)) std::this_thread::yield();
  EQUAL(world().seen.live_buffers, 1);
}

TEST(a_pipeline_lives_until_its_command_buffer_has_ended) {
  Rig rig;
  float *a = rig.array(kCount, 1), *b = rig.array(kCount);
  hold(true);
  rig.scale(b, a, 2, kCount);
  rig.queue->commit();
  rig.pipelines->clear();
  hold(false);
  rig.queue->synchronize();
  EQUAL(b[0], 2.0f);
}

TEST(calls_wait_for_their_ticket) {
  Rig rig;
  float *a = rig.array(kCount, 1), *b = rig.array(kCount);
  int called = 0;
  auto kept = std::make_shared<int>(3);
  hold(true);
  uint64_t ticket = rig.scale(b, a, 2, kCount);
  rig.queue->keep(kept);
  rig.queue->when_done(ticket, [&] { ++called; });
  rig.queue->commit();
  CHECK(!rig.queue->done(ticket));
  EQUAL(called, 0);
  EQUAL(kept.use_count(), 2);
  hold(false);
  rig.queue->wait(ticket);
  while (!rig.queue->done(ticket)) std::this_thread::yield();
  EQUAL(called, 1);
  EQUAL(kept.use_count(), 1);
}

TEST(long_constants_go_through_memory) {
  Rig rig;
  float *a = rig.array(kCount, 1), *b = rig.array(kCount);
  for (size_t bytes : {size_t{4095}, size_t{4096}, size_t{100'000}}) {
    std::vector<unsigned char> block(bytes);
    Constants constants{kCount, 2};
    std::copy_n(reinterpret_cast<unsigned char*>(&constants), sizeof constants, block.begin());
    const Binding buffers[] = {rig.bind(a, kCount, false), rig.bind(b, kCount, true)};
    Launch launch;
    launch.pipeline = rig.pipelines->get(source_of("scale"), "scale");
    launch.buffers = buffers;
    launch.block = block;
    launch.threads = {64, 1, 1};
    rig.queue->launch(launch);
    std::swap(a, b);
  }
  rig.queue->synchronize();
  EQUAL(a[0], 8.0f);
  while (!rig.queue->done(rig.queue->last_ticket())) std::this_thread::yield();
}

TEST(an_empty_grid_is_nothing) {
  Rig rig;
  float* a = rig.array(kCount, 1);
  const Binding buffers[] = {rig.bind(a, 0, false), rig.bind(a, 0, true)};
  Launch launch;
  launch.pipeline = rig.pipelines->get(source_of("scale"), "scale");
  launch.buffers = buffers;
  launch.groups = {0, 1, 1};
  rig.queue->launch(launch);
  rig.queue->synchronize();
  EQUAL(rig.queue->counts().launches, 0);
}

TEST(threadgroup_lengths_are_rounded_up) {
  Rig rig;
  float* a = rig.array(kCount, 1);
  Constants constants{kCount, 2};
  const Binding buffers[] = {rig.bind(a, kCount, false), rig.bind(a, kCount, true)};
  Launch launch;
  launch.pipeline = rig.pipelines->get(source_of("scale"), "scale");
  launch.buffers = buffers;
  launch.block = {reinterpret_cast<const unsigned char*>(&constants), sizeof constants};
  launch.threads = {64, 1, 1};
  launch.threadgroup_bytes = 100;
  rig.queue->launch(launch);
  rig.queue->synchronize();
  EQUAL(a[0], 2.0f);
}
