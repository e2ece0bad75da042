// The trace spine: fixed-size records go into one bounded ring per thread and are drained by the
// recorder. Off, an emission point costs one branch on a relaxed atomic. On, it never blocks and
// never allocates after a thread's first record; a full ring drops the record and counts it.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "base/clock.h"

namespace lamina::trace {

enum class EventKind : uint32_t {
#define LAMINA_EVENT(id, name, span, a, b, c, d) name = id,
#include "trace/events.def"
#undef LAMINA_EVENT
};

// 64 bytes, little-endian on the wire; times are now_ns(). Instants have t1 == t0.
struct Event {
  uint32_t kind;
  uint32_t thread;
  uint64_t run;
  int64_t t0, t1;
  int64_t a, b, c, d;
};
static_assert(sizeof(Event) == 64);

struct FieldNames {
  uint32_t id;
  const char* name;
  bool span;
  const char* fields[4];
};
const std::vector<FieldNames>& schema();

namespace detail {
extern std::atomic<bool> on;
}
inline bool enabled() { return detail::on.load(std::memory_order_relaxed); }

// Starts recording with rings of at most `capacity` events per thread; empties what is left.
void start(int64_t capacity);
void stop();
// Moves out everything recorded so far; `dropped` gets the number of records lost since the last
// call. Any thread.
std::vector<Event> drain(int64_t& dropped);

// REQUIRES: enabled() was just seen true (a stop in between is harmless).
void emit(const Event& event);
inline void span(EventKind kind, uint64_t run, int64_t t0, int64_t t1, int64_t a = 0, int64_t b = 0,
                 int64_t c = 0, int64_t d = 0) {
  emit({static_cast<uint32_t>(kind), 0, run, t0, t1, a, b, c, d});
}
inline void instant(EventKind kind, uint64_t run, int64_t a = 0, int64_t b = 0, int64_t c = 0,
                    int64_t d = 0) {
  int64_t t = now_ns();
  emit({static_cast<uint32_t>(kind), 0, run, t, t, a, b, c, d});
}
// Emits an overhead event: `nanoseconds`, and what this thread's events since its last one cost at
// the price of one, which start() measures once.
// REQUIRES: as emit.
void account(uint64_t run, int64_t nanoseconds);

}  // namespace lamina::trace
