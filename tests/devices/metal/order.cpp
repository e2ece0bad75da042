// Barriers inside encoders, fences between them, events between queues.
#include "rig.h"

namespace {
constexpr int64_t kCount = 1000;
}

TEST(a_chain_is_ordered_by_barriers) {
  Rig rig;
  float *a = rig.array(kCount, 1), *b = rig.array(kCount), *c = rig.array(kCount);
  rig.scale(b, a, 2, kCount);
  rig.add(c, a, b, kCount);
  rig.add(b, c, c, kCount);  // writes what the one before read
  rig.queue->synchronize();
  EQUAL(b[kCount - 1], 6.0f);
  EQUAL(rig.queue->counts().barriers, 2);
  EQUAL(rig.queue->counts().command_buffers, 1);
  EQUAL(rig.queue->counts().encoders, 1);
}

TEST(independent_launches_need_no_barrier) {
  Rig rig;
  float *a = rig.array(kCount, 3), *all = rig.array(8 * kCount);
  for (int i = 0; i < 8; ++i) rig.scale(all + i * kCount, a, static_cast<float>(i), kCount);
  rig.queue->synchronize();
  for (int i = 0; i < 8; ++i) EQUAL(all[i * kCount + 5], static_cast<float>(3 * i));
  // Eight parts of one buffer, as an arena's arrays are.
  EQUAL(rig.queue->counts().barriers, 0);
}

TEST(in_place_needs_a_barrier_only_for_others) {
  Rig rig;
  float* a = rig.array(kCount, 1);
  rig.scale(a, a, 3, kCount);
  EQUAL(rig.queue->counts().barriers, 0);
  rig.scale(a, a, 3, kCount);
  rig.queue->synchronize();
  EQUAL(rig.queue->counts().barriers, 1);
  EQUAL(a[0], 9.0f);
}

// The double would see it if the tracker were wrong.
TEST(without_the_tracker_a_missing_barrier_is_seen) {
  Rig rig({}, {.track = false});
  float *a = rig.array(kCount, 1), *b = rig.array(kCount), *c = rig.array(kCount);
  rig.scale(b, a, 2, kCount);
  rig.add(c, a, b, kCount);
  rig.queue->synchronize();
  auto seen = take_violations();
  EQUAL(seen.size(), 1u);
  CONTAINS(seen[0], "order: nothing orders");
}

TEST(without_the_tracker_a_missing_fence_is_seen) {
  Rig rig({}, {.track = false});
  float *a = rig.array(kCount, 1), *b = rig.array(kCount), *c = rig.array(kCount);
  hold(true);
  rig.scale(b, a, 2, kCount);
  rig.queue->commit();
  rig.add(c, a, b, kCount);
  rig.queue->commit();
  hold(false);
  rig.queue->synchronize();
  auto seen = take_violations();
  EQUAL(seen.size(), 1u);
  CONTAINS(seen[0], "add #2 (reads) after scale #1 (writes)");
}

TEST(command_buffers_are_ordered_by_fences) {
  Rig rig;
  float *a = rig.array(kCount, 1), *b = rig.array(kCount), *c = rig.array(kCount);
  hold(true);
  rig.scale(b, a, 2, kCount);
  rig.queue->commit();
  rig.add(c, a, b, kCount);
  rig.queue->commit();
  rig.scale(b, a, 5, kCount);  // writes what the second reads and the first wrote
  hold(false);
  rig.queue->synchronize();
  EQUAL(c[7], 3.0f);
  EQUAL(b[7], 5.0f);
  EQUAL(rig.queue->counts().fence_waits, 3);
  EQUAL(rig.queue->counts().barriers, 0);
}

TEST(independent_command_buffers_wait_for_no_fence) {
  Rig rig;
  float *a = rig.array(kCount, 1), *b = rig.array(kCount), *c = rig.array(kCount);
  hold(true);
  rig.scale(b, a, 2, kCount);
  rig.queue->commit();
  rig.scale(c, a, 3, kCount);
  hold(false);
  rig.queue->synchronize();
  EQUAL(rig.queue->counts().fence_waits, 0);
}

// A fence is worth nothing across queues: only the event orders them.
TEST(another_queue_waits_by_event) {
  Rig rig;
  Queue other(*rig.host, *rig.memory, chip_of(rig.host->facts()));
  float *a = rig.array(kCount, 1), *b = rig.array(kCount), *c = rig.array(kCount);
  hold(true);
  const uint64_t ticket = rig.run("slow", b, {a}, kCount, 5);
  other.wait_for(*rig.queue, ticket);
  Binding in = rig.bind(b, kCount, false), out = rig.bind(c, kCount, true);
  Constants constants{kCount, 10};
  const Binding buffers[] = {in, out};
  Launch launch;
  launch.pipeline = rig.pipelines->get(source_of("scale"), "scale");
  launch.buffers = buffers;
  launch.block = {reinterpret_cast<const unsigned char*>(&constants), sizeof constants};
  launch.threads = {32, 1, 1};
  other.launch(launch);
  other.commit();
  hold(false);
  other.synchronize();
  EQUAL(c[0], 20.0f);
}

TEST(random_programs_give_the_same_as_in_order) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Machine machine;
    machine.seed = seed;
    Rig rig(machine);
    std::mt19937_64 random(seed);
    constexpr int kArrays = 6;
    float* all = rig.array(kArrays * kCount);
    std::vector<float> expected(kArrays);
    for (int i = 0; i < kArrays; ++i) {
      expected[static_cast<size_t>(i)] = static_cast<float>(i);
      std::fill_n(all + i * kCount, kCount, static_cast<float>(i));
    }
    for (int step = 0; step < 100; ++step) {
      size_t out = random() % kArrays, x = random() % kArrays, y = random() % kArrays;
      if (random() % 3 == 0) {
        rig.scale(all + out * kCount, all + x * kCount, 0.5f, kCount);
        expected[out] = expected[x] * 0.5f;
      } else {
        rig.add(all + out * kCount, all + x * kCount, all + y * kCount, kCount);
        expected[out] = expected[x] + expected[y];
      }
      if (random() % 10 == 0) rig.queue->commit();
    }
    rig.queue->synchronize();
    for (size_t i = 0; i < kArrays; ++i) EQUAL(all[i * kCount + 3], expected[i]);
  }
}
