// Times by counters and by command buffer, what facts are asked of which system, capture.
#include <unistd.h>

#include "base/clock.h"
#include "rig.h"

namespace {
constexpr int64_t kCount = 64;
}

TEST(each_launch_has_a_time_by_counters) {
  Rig rig;
  float *a = rig.array(kCount, 1), *b = rig.array(kCount);
  rig.queue->set_timed(true);
  const int64_t before = now_ns();
  for (int i = 0; i < 3; ++i) rig.run("slow", b, {a}, kCount, static_cast<float>(4 * i + 2));
  auto times = rig.queue->take_times();
  EQUAL(times.size(), 0u);  // nothing is committed yet
  rig.queue->commit();
  times = rig.queue->take_times();
  const int64_t after = now_ns();
  EQUAL(times.size(), 3u);
  EQUAL(rig.queue->counts().times_of_counters, 3);
  EQUAL(rig.queue->counts().times_of_command_buffers, 0);
  for (int i = 0; i < 3; ++i) {
    const Span& s = times[static_cast<size_t>(i)];
    CHECK(s.source == Span::Source::counters);
    EQUAL(s.tag, static_cast<uint64_t>(4 * i + 2));
    // On the CPU's clock: within what the CPU saw, give or take a reading of it.
    CHECK(s.t0 >= before - 100'000 && s.t1 <= after + 100'000);
    CHECK(s.t1 - s.t0 >= (4 * i + 2) * 1'000'000);
  }
  EQUAL(rig.queue->counts().encoders, 3);
  rig.queue->set_timed(false);
  rig.scale(b, a, 1, kCount);
  rig.scale(b, a, 1, kCount);
  rig.queue->synchronize();
  EQUAL(rig.queue->take_times().size(), 0u);
  EQUAL(rig.queue->counts().encoders, 4);
}

TEST(a_launch_that_failed_counts_as_one_without_a_time) {
  Rig rig;
  float *a = rig.array(kCount, 1), *b = rig.array(kCount);
  rig.queue->set_timed(true);
  inject(Point::run, {0, 1, 3});
  rig.scale(b, a, 2, kCount);
  rig.scale(a, b, 2, kCount);
  CONTAINS(THROWN(DeviceError, rig.queue->synchronize()), "MTLCommandBufferErrorDomain 3");
  EQUAL(rig.queue->take_times().size(), 0u);
  EQUAL(rig.queue->counts().times_missing, 2);
  EQUAL(rig.queue->counts().times_of_counters, 0);
}

TEST(without_counters_a_timed_launch_has_a_command_buffer_of_its_own) {
  for (bool refused : {false, true}) {
    Machine machine;
    machine.stage_counters = refused;
    Rig rig(machine);
    EQUAL(rig.host->facts().stage_counters, refused);
    if (refused) inject(Point::samples, {0, 3});
    float *a = rig.array(kCount, 1), *b = rig.array(kCount);
    rig.queue->set_timed(true);
    for (int i = 0; i < 3; ++i) rig.run("slow", b, {a}, kCount, static_cast<float>(2 + i));
    EQUAL(rig.queue->counts().command_buffers, 3);
    auto times = rig.queue->take_times();
    EQUAL(times.size(), 3u);
    EQUAL(rig.queue->counts().times_of_counters, 0);
    EQUAL(rig.queue->counts().times_of_command_buffers, 3);
    for (int i = 0; i < 3; ++i) {
      const Span& s = times[static_cast<size_t>(i)];
      CHECK(s.source == Span::Source::command_buffer);
      EQUAL(s.tag, static_cast<uint64_t>(2 + i));
      CHECK(s.t1 - s.t0 >= (2 + i) * 1'000'000);
    }
  }
}

TEST(samples_are_reused) {
  Rig rig;
  float *a = rig.array(kCount, 1), *b = rig.array(kCount);
  rig.queue->set_timed(true);
  for (int i = 0; i < 20; ++i) {
    rig.scale(b, a, 3, kCount);
    rig.queue->commit();
    EQUAL(rig.queue->take_times().size(), 1u);
  }
  std::lock_guard lock(world().mutex);
  CHECK(world().seen.live_objects < 20);
}

TEST(facts_follow_the_system) {
  struct {
    int os;
    bool architecture, residency;
  } rows[] = {{13, false, false}, {14, true, false}, {15, true, true}, {26, true, true}};
  for (auto& row : rows) {
    Machine machine;
    machine.os_major = row.os;
    Rig rig(machine);
    const Facts& facts = rig.host->facts();
    EQUAL(facts.os_major, row.os);
    EQUAL(facts.architecture.empty(), !row.architecture);
    EQUAL(facts.residency_sets, row.residency);
    EQUAL(facts.family, 8);
    EQUAL(facts.working_set_bytes, (int64_t{8} << 30) / 4 * 3);
    EQUAL(facts.max_threads, 1024);
    EQUAL(facts.page_bytes, getpagesize());
    // Compiling uses the safe mode of either interface, which the double checks.
    CHECK(rig.pipelines->get(source_of("scale"), "scale") != nullptr);
  }
}

TEST(a_capture_records_what_is_committed_meanwhile) {
  Rig rig;
  float *a = rig.array(kCount, 1), *b = rig.array(kCount);
  rig.scale(b, a, 1, kCount);
  rig.queue->synchronize();
  CHECK(!rig.host->start_capture("/nonexistent/trace.gputrace"));
  Failure second = rig.host->start_capture("/nonexistent/other.gputrace");
  EQUAL(second.code, 2);
  rig.scale(b, a, 1, kCount);
  rig.queue->synchronize();
  rig.host->stop_capture();
  EQUAL(world().seen.traces, 1);
  Failure exists = rig.host->start_capture("/");
  EQUAL(exists.code, 3);
  CONTAINS(exists.text, "exists");
}

TEST(a_capture_may_be_forbidden) {
  Machine machine;
  machine.may_capture = false;
  Rig rig(machine);
  EQUAL(rig.host->start_capture("/nonexistent/trace.gputrace").code, 1);
}
