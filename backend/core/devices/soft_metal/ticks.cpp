#include "devices/soft_metal/ticks.h"

#include <pthread.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>
#include <csignal>
#include <ctime>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <string>

#include "base/error.h"
#include "devices/soft_metal/module_code.h"

namespace lamina::soft_metal {
namespace {

constexpr long kFirst = 50'000'000, kEvery = 20'000'000;  // nanoseconds
std::atomic<Tick> on_tick{nullptr};
std::atomic<int> forks{0};  // a child has the thread that forked, but not its timer

class Timer {
 public:
  ~Timer() {
    if (made_ && process_ == forks.load()) timer_delete(id_);
  }
  void start(int signal) {
    if (process_ != forks.load(std::memory_order_relaxed)) made_ = armed_ = false;
    if (armed_) return;
    if (!made_) make(signal);
    armed_ = true;
    set(kFirst, kEvery);
  }
  // In the handler too.
  void stop() {
    set(0, 0);
    armed_ = false;
  }

 private:
  void make(int signal) {
    sigevent event{};
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = signal;
    event._sigev_un._tid = static_cast<pid_t>(syscall(SYS_gettid));
    if (timer_create(CLOCK_MONOTONIC, &event, &id_) != 0)
      throw DeviceError(std::string("soft_metal: no timer for kernels that run long: ") +
                        std::strerror(errno) + "\n  lift `ulimit -i`, the limit of signals");
    process_ = forks.load();
    made_ = true;
  }
  void set(long first, long every) {
    const itimerspec times{{0, every}, {0, first}};
    timer_settime(id_, 0, &times, nullptr);
  }

  timer_t id_{};
  bool made_ = false;
  std::atomic<bool> armed_{false};
  int process_ = 0;
};

thread_local Timer timer;

uintptr_t interrupted_at(void* context) {
  const auto& machine = static_cast<ucontext_t*>(context)->uc_mcontext;
#if defined(__x86_64__)
  return static_cast<uintptr_t>(machine.gregs[REG_RIP]);
#else
  return static_cast<uintptr_t>(machine.pc);
#endif
}

void handle(int, siginfo_t*, void* context) {
  const int error = errno;
  if (!on_tick.load(std::memory_order_relaxed)(in_module_code(interrupted_at(context))))
    timer.stop();
  errno = error;
}

// The first that nobody in the process has taken, from above; programs count from below.
int take_signal() {
  for (int signal = SIGRTMAX - 1; signal >= SIGRTMIN; --signal) {
    struct sigaction now {};
    sigaction(signal, nullptr, &now);
    if ((now.sa_flags & SA_SIGINFO) || now.sa_handler != SIG_DFL) continue;
    struct sigaction action {};
    action.sa_sigaction = handle;
    // On the stack that runs: the handler may leave it to come back later.
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    sigemptyset(&action.sa_mask);
    sigaction(signal, &action, nullptr);
    pthread_atfork(nullptr, nullptr, [] { forks.fetch_add(1); });
    return signal;
  }
  throw DeviceError(
      "soft_metal: every real-time signal has a handler, kernels could not be stopped");
}

int tick_signal() {
  static const int signal = take_signal();
  return signal;
}

}  // namespace

void want_ticks(Tick tick) {
  on_tick.store(tick, std::memory_order_relaxed);
  timer.start(tick_signal());
}

void let_ticks_in() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, tick_signal());
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

}  // namespace lamina::soft_metal
