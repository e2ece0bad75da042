// trace/: rings that never block, drop and count when full.
#include <map>
#include <set>
#include <thread>

#include "check.h"
#include "trace/trace.h"

namespace lamina::test {

static void emit_number(int64_t n, int64_t writer) {
  trace::instant(trace::EventKind::alloc, 7, n, writer);
}

TEST(a_full_ring_drops_and_counts) {
  for (int64_t capacity : {64, 100, 1000}) {
    trace::start(capacity);
    for (int64_t i = 0; i < capacity + 37; ++i) emit_number(i, 0);
    int64_t dropped = -1;
    auto events = trace::drain(dropped);
    CHECK_EQ(static_cast<int64_t>(events.size()), capacity);
    CHECK_EQ(dropped, 37);
    for (int64_t i = 0; i < capacity; ++i) CHECK_EQ(events[static_cast<size_t>(i)].a, i);
    CHECK(trace::drain(dropped).empty());
    CHECK_EQ(dropped, 0);
    trace::stop();
  }
}

TEST(rings_wrap_around) {
  trace::start(64);
  int64_t next = 0, seen = 0;
  for (int round = 0; round < 200; ++round) {
    for (int i = 0; i < 1 + round % 64; ++i) emit_number(next++, 0);
    int64_t dropped = 0;
    for (const auto& e : trace::drain(dropped)) {
      CHECK_EQ(e.a, seen++);
      CHECK_EQ(e.run, uint64_t{7});
      CHECK_EQ(e.t0, e.t1);
    }
    CHECK_EQ(dropped, 0);
  }
  CHECK_EQ(seen, next);
  trace::stop();
  CHECK(!trace::enabled());
}

TEST(starting_anew_forgets_what_was_there) {
  trace::start(64);
  emit_number(1, 0);
  trace::start(64);
  emit_number(2, 0);
  int64_t dropped = 0;
  auto events = trace::drain(dropped);
  CHECK_EQ(events.size(), size_t{1});
  CHECK_EQ(events[0].a, 2);
  trace::stop();
}

TEST(writers_and_a_reader_at_once) {
  constexpr int kWriters = 4;
  constexpr int64_t kEach = 20000;
  trace::start(512);
  std::atomic<int> running{kWriters};
  std::vector<std::thread> writers;
  for (int w = 0; w < kWriters; ++w)
    writers.emplace_back([&, w] {
      for (int64_t i = 0; i < kEach; ++i) emit_number(i, w);
      --running;
    });
  std::map<int64_t, int64_t> last;
  std::map<int64_t, std::set<uint32_t>> threads;
  int64_t seen = 0, lost = 0;
  bool ordered = true;
  auto drain = [&] {
    int64_t dropped = 0;
    for (const auto& e : trace::drain(dropped)) {
      auto [it, fresh] = last.emplace(e.b, e.a);
      ordered &= fresh || it->second < e.a;
      it->second = e.a;
      threads[e.b].insert(e.thread);
      ++seen;
    }
    lost += dropped;
  };
  while (running > 0) drain();
  for (auto& w : writers) w.join();
  drain();
  trace::stop();
  CHECK(ordered);
  CHECK_EQ(seen + lost, kWriters * kEach);
  CHECK_EQ(threads.size(), size_t{kWriters});
  std::set<uint32_t> all;
  for (auto& [writer, ids] : threads) {
    CHECK_EQ(ids.size(), size_t{1});
    all.insert(*ids.begin());
  }
  CHECK_EQ(all.size(), size_t{kWriters});
}

TEST(the_schema_is_whole) {
  std::set<uint32_t> ids;
  std::set<std::string> names;
  for (const auto& event : trace::schema()) {
    CHECK(ids.insert(event.id).second);
    CHECK(names.insert(event.name).second);
    bool ended = false;
    for (const char* field : event.fields) {
      CHECK(!ended || std::string(field).empty());
      ended |= std::string(field).empty();
    }
  }
  CHECK(!ids.empty());
}

}  // namespace lamina::test
