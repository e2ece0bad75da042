#include "execute/in_flight.h"

#include <atomic>
#include <deque>
#include <thread>
#include <utility>

namespace lamina {

namespace {

class Flight;

// What a buffer knows of the plan that writes it.
class Landing final : public Pending {
 public:
  Landing(std::shared_ptr<Flight> flight, uint64_t fence)
      : flight_(std::move(flight)), fence_(fence) {}
  void wait() override;
  std::exception_ptr failure() const override;
  const std::shared_ptr<Flight>& flight() const { return flight_; }

 private:
  const std::shared_ptr<Flight> flight_;
  const uint64_t fence_;  // 0: the end of the plan
};

Flight& flight_of(const std::shared_ptr<Pending>& pending) {
  return *static_cast<Landing&>(*pending).flight();
}

class Flight final {
 public:
  Flight(std::shared_ptr<Work> work, Reads reads)
      : work_(std::move(work)), reads_(std::move(reads)) {}

  void wait() {
    land();
    if (!error_) return;
    told_ = true;
    std::rethrow_exception(error_);
  }
  // For what is written before a fence, which a failure behind it does not cost.
  void wait_for(uint64_t fence) {
    if (landed_) return wait();
    for (const auto& earlier : reads_.after) {
      flight_of(earlier).land();
      if (earlier->failure()) return wait();
    }
    if (work_->wait_for(fence)) wait();
  }
  const std::exception_ptr& failure() const { return error_; }

  bool done() const { return work_->done(); }
  // Its own failure, else the first of those it came after, which began before it.
  void land() {
    if (landed_) return;
    error_ = work_->wait();
    for (const auto& earlier : reads_.after) {
      flight_of(earlier).land();
      if (!error_) error_ = earlier->failure();
    }
    reads_.after.clear();
    landed_ = true;
  }
  void let_go() { reads_.memory.clear(); }
  bool untold() const { return error_ && !told_; }

 private:
  std::shared_ptr<Work> work_;
  Reads reads_;
  std::exception_ptr error_;
  bool landed_ = false, told_ = false;
};

void Landing::wait() { fence_ ? flight_->wait_for(fence_) : flight_->wait(); }
std::exception_ptr Landing::failure() const { return flight_->failure(); }

std::deque<std::shared_ptr<Flight>>& flights() {
  static auto* list = new std::deque<std::shared_ptr<Flight>>;
  return *list;
}
// Failed, and thrown to nobody yet: the first one only, which is what land_all() throws.
std::shared_ptr<Flight>& untold() {
  static auto* flight = new std::shared_ptr<Flight>;
  return *flight;
}
std::atomic<bool> open{false};

void note() {
  if (untold() && !untold()->untold()) untold() = nullptr;
  open.store(!flights().empty() || untold(), std::memory_order_relaxed);
}

void drop_first() {
  std::shared_ptr<Flight> first = flights().front();
  flights().pop_front();
  first->land();
  first->let_go();
  if (first->untold() && !untold()) untold() = first;
}

}  // namespace

std::shared_ptr<Pending> take_off(std::shared_ptr<Work> work, Reads reads) {
  auto flight = std::make_shared<Flight>(std::move(work), std::move(reads));
  flights().push_back(flight);
  note();
  return std::make_shared<Landing>(std::move(flight), 0);
}

std::shared_ptr<Pending> behind(const std::shared_ptr<Pending>& plan, uint64_t fence) {
  return std::make_shared<Landing>(static_cast<Landing&>(*plan).flight(), fence);
}

void retire() {
  while (!flights().empty() && flights().front()->done()) drop_first();
  note();
}

void land_all() {
  for (const auto& flight : flights()) flight->land();
  // Work that has ended is a moment later done with its memory.
  for (retire(); !flights().empty(); retire()) std::this_thread::yield();
  std::shared_ptr<Flight> failed = std::exchange(untold(), nullptr);
  note();
  if (failed) failed->wait();
}

bool in_flight() { return open.load(std::memory_order_relaxed); }

void settle(Buffer& buffer) {
  std::shared_ptr<Pending> pending = buffer.pending();
  if (!pending) return;
  pending->wait();
  buffer.set_pending(nullptr);
}

}  // namespace lamina
