#include "base/thread_pool.h"

#include <pthread.h>
#ifdef __linux__
#include <sched.h>
#endif

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>

#include "base/clock.h"

namespace lamina {
namespace {

using Body = std::function<void(int64_t, int64_t, int)>;

// How long a worker or a waiting caller polls before it sleeps. Long enough to bridge the gap
// between two launches of one plan, short enough not to be seen in a process monitor.
constexpr int64_t kSpinNs = 20'000;

thread_local int current_thread = -1;  // >= 0 inside a piece

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Invariant: the region's fields are written by its caller before `epoch_` grows and are read only
// by workers counted in `inside_`; the caller does not return before `inside_` is 0 again.
class Workers {
 public:
  explicit Workers(int count) {
    for (int i = 0; i < count; ++i) std::thread(&Workers::work, this, i + 1).detach();
    count_ = count;
  }

  // False when another thread's region is running.
  bool run(int64_t n, int64_t chunk, const Body& body) {
    std::unique_lock<std::mutex> region(region_, std::try_to_lock);
    if (!region.owns_lock()) return false;
    int64_t start = now_ns();
    busy_period_.store(start - last_end_ < kSpinNs, std::memory_order_relaxed);
    body_ = &body;
    n_ = n;
    chunk_ = chunk;
    error_ = nullptr;
    next_.store(0, std::memory_order_relaxed);
    int64_t pieces = (n + chunk - 1) / chunk;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      wanted_ = static_cast<int>(std::min<int64_t>(pieces - 1, count_));
      epoch_.fetch_add(1, std::memory_order_release);
    }
    if (sleeping_.load(std::memory_order_acquire) > 0) wake_.notify_all();
    take_pieces(0);
    wait_for_workers();
    last_end_ = now_ns();
    if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
    return true;
  }

 private:
  void take_pieces(int thread) {
    int outer = std::exchange(current_thread, thread);
    for (;;) {
      int64_t begin = next_.fetch_add(chunk_, std::memory_order_relaxed);
      if (begin >= n_) break;
      try {
        (*body_)(begin, std::min(begin + chunk_, n_), thread);
      } catch (...) {
        std::lock_guard<std::mutex> lock(mutex_);
        if (!error_) error_ = std::current_exception();
        next_.store(n_, std::memory_order_relaxed);
      }
    }
    current_thread = outer;
  }

  void wait_for_workers() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      wanted_ = 0;  // nobody enters any more
      if (inside_.load(std::memory_order_acquire) == 0) return;
    }
    int64_t until = now_ns() + kSpinNs;
    while (now_ns() < until) {
      if (inside_.load(std::memory_order_acquire) == 0) return;
      relax();
    }
    std::unique_lock<std::mutex> lock(mutex_);
    done_.wait(lock, [this] { return inside_.load(std::memory_order_acquire) == 0; });
  }

  void work(int thread) {
    uint64_t seen = 0;
    for (;;) {
      if (busy_period_.load(std::memory_order_relaxed)) spin(seen);
      {
        std::unique_lock<std::mutex> lock(mutex_);
        sleeping_.fetch_add(1, std::memory_order_release);
        wake_.wait(lock, [&] { return epoch_.load(std::memory_order_acquire) != seen; });
        sleeping_.fetch_sub(1, std::memory_order_relaxed);
        seen = epoch_.load(std::memory_order_acquire);
        if (wanted_ == 0) continue;
        --wanted_;
        inside_.fetch_add(1, std::memory_order_relaxed);
      }
      take_pieces(thread);
      if (inside_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
        // Taking the mutex orders this with a caller that is between its check and its wait.
        { std::lock_guard<std::mutex> lock(mutex_); }
        done_.notify_one();
      }
    }
  }

  void spin(uint64_t seen) {
    int64_t until = now_ns() + kSpinNs;
    while (epoch_.load(std::memory_order_acquire) == seen && now_ns() < until) relax();
  }

  int count_ = 0;
  std::mutex region_;  // held while a region runs
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  std::atomic<uint64_t> epoch_{0};
  std::atomic<int> sleeping_{0};
  std::atomic<int> inside_{0};
  std::atomic<int64_t> next_{0};
  std::atomic<bool> busy_period_{false};
  int wanted_ = 0;
  int64_t last_end_ = 0;
  int64_t n_ = 0, chunk_ = 1;
  const Body* body_ = nullptr;
  std::exception_ptr error_;
};

std::atomic<Workers*> pool{nullptr};
std::mutex* pool_mutex = new std::mutex;

// The threads of the parent do not exist in a forked child: it starts with no pool and makes its
// own when it first needs one. The old pool is leaked, its locks may be held by threads that are
// gone.
void forget_pool_in_child() {
  pool.store(nullptr);
  pool_mutex = new std::mutex;
  current_thread = -1;
}

// Never destroyed: workers may still be asleep in it when the process exits.
Workers& workers() {
  Workers* w = pool.load(std::memory_order_acquire);
  if (w) return *w;
  std::lock_guard<std::mutex> lock(*pool_mutex);
  w = pool.load(std::memory_order_relaxed);
  if (!w) {
    static bool registered = pthread_atfork(nullptr, nullptr, forget_pool_in_child) == 0;
    (void)registered;
    w = new Workers(thread_count() - 1);
    pool.store(w, std::memory_order_release);
  }
  return *w;
}

int count_threads() {
  if (const char* text = std::getenv("LAMINA_NUM_THREADS")) {
    int n = std::atoi(text);
    if (n > 0) return std::min(n, 1024);
  }
#ifdef __linux__
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
  return std::max(1u, std::thread::hardware_concurrency());
}

}  // namespace

int thread_count() {
  static const int count = count_threads();
  return count;
}

void parallel_for(int64_t n, int64_t grain, const Body& body) {
  if (n <= 0) return;
  grain = std::max<int64_t>(grain, 1);
  int threads = thread_count();
  if (current_thread >= 0 || n <= grain || threads == 1) {
    body(0, n, std::max(current_thread, 0));
    return;
  }
  // Four pieces a thread even out cores that are slower or shared with other processes.
  int64_t pieces = std::min<int64_t>(n / grain, int64_t{threads} * 4);
  int64_t chunk = std::max(grain, (n + pieces - 1) / pieces);
  if (!workers().run(n, chunk, body)) body(0, n, 0);
}

}  // namespace lamina
