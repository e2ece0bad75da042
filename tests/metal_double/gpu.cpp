#include "gpu.h"

#include <time.h>

#include <algorithm>
#include <thread>

namespace metal_double {

double now_seconds() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

void need(CommandsState& commands, const TrackedRef& object) {
  if (!object || !commands.needs.insert(object).second) return;
  if (object->device && object->device != commands.device)
    world().violation(object->label + " is of another device");
  ++object->users;
}

std::string refusal(const Executable* executable, const Invocation& call) {
  const Machine& machine = world().machine;
  if (!executable) return "dispatch without a pipeline";
  const std::string head = "dispatch of " + executable->name + ": ";
  int64_t group = 1, groups = 1, shared = executable->static_bytes;
  for (int64_t n : call.threads) group *= n;
  for (int64_t n : call.groups) groups *= n;
  for (int64_t n : call.threadgroup_bytes) shared += n;
  if (group <= 0 || groups <= 0) return head + "an empty grid or group";
  if (group > std::min(machine.max_threads, executable->max_threads))
    return head + std::to_string(group) + " threads in a group, at most " +
           std::to_string(std::min(machine.max_threads, executable->max_threads));
  if (shared > machine.threadgroup_bytes)
    return head + std::to_string(shared) + " bytes of threadgroup memory";
  for (const Argument& a : executable->arguments) {
    const Bound& b = call.buffers[static_cast<size_t>(a.index)];
    const std::string which = head + "buffer " + std::to_string(a.index) + " ";
    if (!b.set()) return which + "is not bound";
    const int64_t bytes =
        b.storage ? b.storage->bytes - b.offset : static_cast<int64_t>(b.bytes.size());
    if (b.storage && b.offset >= b.storage->bytes) return which + "has its offset past the end";
    if (bytes < a.least_bytes) return which + "is shorter than its type";
    const int64_t alignment =
        a.constant ? std::min<int64_t>(a.alignment, 4) : std::min<int64_t>(a.alignment, 16);
    if (b.storage && alignment > 0 && b.offset % alignment)
      return which + "has offset " + std::to_string(b.offset) + ", not a multiple of " +
             std::to_string(alignment);
  }
  return "";
}

void QueueState::start() {
  std::thread([self = shared_from_this()] { self->serve(); }).detach();
}

void QueueState::commit(CommandsRef commands) {
  waiting_.push_back(std::move(commands));
  world().changed.notify_all();
}

void QueueState::close() {
  closed_ = true;
  world().changed.notify_all();
}

void QueueState::serve() {
  World& w = world();
  std::unique_lock lock(w.mutex);
  for (;;) {
    w.changed.wait(lock, [&] { return waiting_.empty() ? closed_ : !w.held || w.through > 0; });
    if (waiting_.empty()) return;
    if (w.held) --w.through;
    CommandsRef commands = waiting_.front();
    waiting_.pop_front();
    run(*commands, lock);
    end(commands, lock);
  }
}

// The mutex is given up while a kernel runs.
void QueueState::run(CommandsState& c, std::unique_lock<std::mutex>& lock) {
  World& w = world();
  c.start = now_seconds();
  int64_t code = 0;
  if (w.fails(Point::run, &code)) {
    // Until the test lets go: a command buffer that never ends would keep its thread for ever.
    if (code == kNever) {
      w.held = true;
      w.changed.wait(lock, [&] { return !w.held; });
      code = 1;
    }
    c.error = code;
    c.reason = "injected";
    for (const Item& item : c.items)
      if (item.kind == Item::Kind::encoder && !c.faulted) c.faulted = item.encoder;
    return;
  }
  for (const Item& item : c.items) {
    switch (item.kind) {
      case Item::Kind::wait: {
        w.changed.wait(lock, [&] { return item.event->value >= item.value; });
        auto signal = item.event->signals.lower_bound(item.value);
        if (signal != item.event->signals.end())
          after_.insert(signal->second.begin(), signal->second.end());
        break;
      }
      case Item::Kind::signal:
        item.event->signals[item.value] = w.order.closure(before_);
        if (item.value <= item.event->value)
          w.violation("event: " + std::to_string(item.value) + " signalled after " +
                      std::to_string(item.event->value));
        item.event->value = std::max(item.event->value, item.value);
        w.changed.notify_all();
        break;
      case Item::Kind::encoder:
        if (!run_encoder(c, *item.encoder, lock)) {
          c.faulted = item.encoder;
          return;
        }
    }
  }
}

// A stretch at a time: what stands between two barriers or waits runs in any order.
bool QueueState::run_encoder(CommandsState& c, EncoderState& e,
                             std::unique_lock<std::mutex>& lock) {
  World& w = world();
  Order::Set mine, before = after_;
  std::vector<const Dispatched*> stretch;
  bool good = true;
  auto flush = [&] {
    if (stretch.empty()) return;
    std::shuffle(stretch.begin(), stretch.end(), w.random);
    const Order::Stretch s = w.order.fresh(before, e.birth);
    mine.insert(s);
    c.stretches.insert(s);
    before_.insert(s);
    for (const Dispatched* d : stretch) good = good && run_dispatch(c, *d, s, lock);
    stretch.clear();
  };
  auto after_mine = [&] {
    flush();
    Order::Set all = w.order.closure(mine);
    before.insert(all.begin(), all.end());
  };
  const double began = now_seconds();
  for (const Command& command : e.commands) {
    switch (command.kind) {
      case Command::Kind::dispatch:
        if (!e.concurrent) after_mine();
        stretch.push_back(&command.dispatch);
        break;
      case Command::Kind::barrier:
        after_mine();
        break;
      case Command::Kind::wait:
        flush();
        before.insert(command.fence->updated.begin(), command.fence->updated.end());
        break;
      case Command::Kind::update:
        flush();
        // An encoder ends after all that it has waited for, if it does nothing itself.
        command.fence->updated = w.order.closure(mine);
        command.fence->updated.insert(before.begin(), before.end());
    }
    if (!good) return false;
  }
  flush();
  if (e.samples && e.first >= 0)
    e.samples->values[static_cast<size_t>(e.first)] = static_cast<uint64_t>(began * 1e9);
  if (e.samples && e.last >= 0)
    e.samples->values[static_cast<size_t>(e.last)] = static_cast<uint64_t>(now_seconds() * 1e9);
  return good;
}

bool QueueState::run_dispatch(CommandsState& c, const Dispatched& d, Order::Stretch stretch,
                              std::unique_lock<std::mutex>& lock) {
  World& w = world();
  constexpr int64_t kPageFault = 3, kInvalidResource = 9;
  for (const Bound& b : d.call.buffers)
    if (b.storage && b.storage->destroyed) {
      c.error = kInvalidResource;
      c.reason = b.storage->label + " is gone";
      return false;
    }
  std::vector<Touched> touched;
  lock.unlock();
  std::string fault = d.executable->run(d.call, touched);
  lock.lock();
  // A name of its own for each dispatch, so that two of one kernel are told apart.
  const std::string who = d.executable->name + " #" + std::to_string(++w.seen.dispatches);
  for (const Touched& t : touched)
    if (std::string text = w.order.access(stretch, who, t); !text.empty()) w.violation(text);
  if (fault.empty()) return true;
  w.violation("shader: " + d.executable->name + ": " + fault);
  c.error = kPageFault;
  c.reason = fault;
  return false;
}

void QueueState::end(const CommandsRef& commands, std::unique_lock<std::mutex>& lock) {
  World& w = world();
  CommandsState& c = *commands;
  c.end = now_seconds();
  for (const TrackedRef& object : c.needs) --object->users;
  c.needs.clear();
  c.status = c.error ? Status::error : Status::completed;
  w.changed.notify_all();
  int delay = w.machine.completion_delay_us;
  if (delay) delay = static_cast<int>(w.random() % static_cast<uint64_t>(delay));
  auto tell = [commands, delay] {
    if (delay) std::this_thread::sleep_for(std::chrono::microseconds(delay));
    {
      std::lock_guard inner(world().mutex);
      world().order.seen(commands->stretches);
    }
    commands->ended();
    commands->ended = nullptr;
  };
  lock.unlock();
  if (delay)
    std::thread(tell).detach();
  else
    tell();
  lock.lock();
}

}  // namespace metal_double
