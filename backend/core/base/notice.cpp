#include "base/notice.h"

#include <atomic>
#include <mutex>
#include <utility>

namespace lamina {

namespace {

std::atomic<bool> waiting{false};
std::mutex& lock() {
  static auto* m = new std::mutex;
  return *m;
}
std::vector<std::string>& notices() {
  static auto* list = new std::vector<std::string>;
  return *list;
}

}  // namespace

void notice(std::string text) {
  std::lock_guard guard(lock());
  notices().push_back(std::move(text));
  waiting.store(true, std::memory_order_relaxed);
}

bool any_notices() { return waiting.load(std::memory_order_relaxed); }

std::vector<std::string> take_notices() {
  std::lock_guard guard(lock());
  waiting.store(false, std::memory_order_relaxed);
  return std::exchange(notices(), {});
}

}  // namespace lamina
