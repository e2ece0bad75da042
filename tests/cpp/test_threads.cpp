// base/thread_pool: every index once, whatever happens inside.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <numeric>
#include <stdexcept>
#include <thread>

#include "base/thread_pool.h"
#include "check.h"
#include "random.h"

namespace lamina::test {

TEST(every_index_is_visited_once) {
  Random random(1);
  for (int round = 0; round < 400; ++round) {
    int64_t n = random.below(random.once_in(4) ? 20000 : 50), grain = random.within(-1, 40);
    NOTE(std::to_string(n) + " by " + std::to_string(grain));
    std::vector<std::atomic<int>> visits(static_cast<size_t>(n));
    std::vector<std::atomic<int>> inside(static_cast<size_t>(thread_count()));
    std::atomic<bool> shared{false}, outside{false}, short_piece{false};
    parallel_for(n, grain, [&](int64_t begin, int64_t end, int thread) {
      if (thread < 0 || thread >= thread_count() || begin >= end || end > n) {
        outside = true;
        return;
      }
      if (inside[static_cast<size_t>(thread)].fetch_add(1) != 0) shared = true;
      if (end - begin < grain && end != n) short_piece = true;
      for (int64_t i = begin; i < end; ++i) ++visits[static_cast<size_t>(i)];
      inside[static_cast<size_t>(thread)].fetch_sub(1);
    });
    CHECK(!shared && !outside && !short_piece);
    for (const auto& v : visits) CHECK_EQ(v.load(), 1);
  }
}

TEST(nested_regions_run_inline) {
  std::atomic<int64_t> sum{0};
  std::atomic<bool> moved{false};
  parallel_for(64, 1, [&](int64_t begin, int64_t end, int outer) {
    for (int64_t i = begin; i < end; ++i)
      parallel_for(100, 1, [&](int64_t from, int64_t to, int inner) {
        if (inner != outer) moved = true;
        sum += to - from;
      });
  });
  CHECK(!moved);
  CHECK_EQ(sum.load(), 6400);
}

TEST(an_exception_reaches_the_caller_and_the_pool_goes_on) {
  for (int64_t at = 0; at < 64; ++at) {
    std::string said;
    try {
      parallel_for(64, 1, [&](int64_t begin, int64_t end, int) {
        if (begin <= at && at < end) throw std::runtime_error("piece " + std::to_string(at));
      });
    } catch (const std::runtime_error& e) {
      said = e.what();
    }
    CHECK_EQ(said, "piece " + std::to_string(at));
    std::atomic<int> done{0};
    parallel_for(64, 1,
                 [&](int64_t begin, int64_t end, int) { done += static_cast<int>(end - begin); });
    CHECK_EQ(done.load(), 64);
  }
  bool caught = false;
  try {
    parallel_for(1000, 1, [](int64_t, int64_t, int) { throw 5; });  // all of them, and no std type
  } catch (int five) {
    caught = five == 5;
  }
  CHECK(caught);
}

TEST(many_tiny_regions) {
  int64_t total = 0;
  for (int i = 0; i < 20000; ++i) {
    std::atomic<int64_t> sum{0};
    parallel_for(3, 1, [&](int64_t begin, int64_t end, int) { sum += end - begin; });
    total += sum;
  }
  CHECK_EQ(total, 60000);
}

TEST(regions_of_several_threads_at_once) {
  std::atomic<int64_t> total{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 300; ++i)
        parallel_for(100, 1, [&](int64_t begin, int64_t end, int) { total += end - begin; });
    });
  for (auto& t : threads) t.join();
  CHECK_EQ(total.load(), 4 * 300 * 100);
}

// What follows the end of main: workers asleep in a pool that nobody destroys.
TEST(a_forked_child_has_its_own_pool_and_exits) {
  parallel_for(64, 1, [](int64_t, int64_t, int) {});
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    std::atomic<int64_t> sum{0};
    parallel_for(64, 1, [&](int64_t begin, int64_t end, int) { sum += end - begin; });
    _exit(sum == 64 ? 0 : 1);
  }
  int status = -1;
  CHECK_EQ(waitpid(child, &status, 0), child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

}  // namespace lamina::test
