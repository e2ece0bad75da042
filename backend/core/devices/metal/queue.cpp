#include "devices/metal/queue.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "devices/pool.h"

namespace lamina::metal {

namespace {

constexpr int64_t kSliceMs = 50;          // between looks for a device that is lost
constexpr int64_t kThreadgroupStep = 16;  // bytes
constexpr int64_t kMaxGrid = int64_t{1} << 32;

int64_t product(const auto& a) { return int64_t{1} * a[0] * a[1] * a[2]; }

}  // namespace

struct Queue::Encoder {
  EncoderAccesses accesses;
  Handle fence;  // updated at its end
};

// What completions share with the queue.
struct Queue::Shared {
  std::mutex mutex;
  std::condition_variable landed;
  int64_t landings = 0;
  bool failed = false;  // ever
};

// One command buffer and all that must live until it has completed.
struct Queue::Flight {
  Flight(Host& host, std::shared_ptr<Shared> shared, Handle commands, Handle event, uint64_t ticket,
         bool timed)
      : host(host),
        shared(std::move(shared)),
        commands(commands),
        event(event),
        ticket(ticket),
        timed(timed) {}

  Host& host;
  const std::shared_ptr<Shared> shared;
  const Handle commands, event;
  const uint64_t ticket;
  const bool timed;
  std::vector<Encoder> encoders;
  Handle encoder = nullptr;    // open one
  std::vector<Handle> waited;  // fences the open encoder has waited for
  std::unordered_set<const void*> kept;
  std::vector<std::shared_ptr<const void>> keep;
  std::vector<std::pair<void*, int64_t>> spilled;
  std::vector<uint64_t> tags;
  Handle samples = nullptr;
  bool whole = false;  // timed as a whole
  int launches = 0;
  int64_t bytes = 0;
  double estimated_ms = 0;
  bool landed = false;  // under shared->mutex
  Outcome outcome;      // once landed

  static void completed(void* context, const Outcome& outcome) noexcept;
};

// Metal signals no event of a command buffer that failed, so whoever waits for it, on this queue or
// another, is woken here.
void Queue::Flight::completed(void* context, const Outcome& outcome) noexcept {
  auto* flight = static_cast<Flight*>(context);
  std::shared_ptr<Shared> shared = flight->shared;
  std::lock_guard lock(shared->mutex);
  try {
    flight->outcome = outcome;
  } catch (...) {
    flight->outcome.failure.text = "out of memory";  // of the CPU, for the message itself
  }
  if (outcome.failure) shared->failed = true;
  if (shared->failed && flight->host.event_value(flight->event) < flight->ticket)
    flight->host.set_event_value(flight->event, flight->ticket);
  ++shared->landings;
  flight->landed = true;  // the last thing: the queue may drop the flight now
  shared->landed.notify_all();
}

Queue::Queue(Host& host, Memory& memory, const Chip& chip, Options options)
    : host_(host),
      memory_(memory),
      chip_(chip),
      options_(options),
      queue_(host.new_queue()),
      event_(host.new_event()),
      shared_(std::make_shared<Shared>()) {
  if (!queue_ || !event_) throw DeviceError("metal: the system gave no command queue");
}

Queue::~Queue() {
  try {
    synchronize();
  } catch (...) {
    // Nobody is left to tell: whoever needed the results has waited for them.
  }
  await_completions();
  reap();
  lost_ |= !flights_.empty();
  leave_to_device();
  run_calls();
  for (Handle h : fences_) host_.release(h);
  for (Handle h : samples_) host_.release(h);
  if (lost_) return;
  host_.release(event_);
  if (order_event_) host_.release(order_event_);
  host_.release(queue_);
}

// --- encoding ----------------------------------------------------------------------------------

void Queue::check(const Launch& l) const {
  const std::string head = "metal: kernel " + l.pipeline->name + ": ";
  const PipelineFacts& facts = l.pipeline->facts;
  if (product(l.threads) > facts.max_threads || product(l.threads) <= 0)
    throw DeviceError(head + std::to_string(product(l.threads)) +
                      " threads in a group, the pipeline takes 1 to " +
                      std::to_string(facts.max_threads));
  const int64_t shared =
      facts.static_threadgroup_bytes +
      (l.threadgroup_bytes + kThreadgroupStep - 1) / kThreadgroupStep * kThreadgroupStep;
  if (shared > host_.facts().threadgroup_bytes)
    throw DeviceError(head + std::to_string(shared) + " bytes of threadgroup memory, there are " +
                      std::to_string(host_.facts().threadgroup_bytes));
  const size_t arguments = l.buffers.size() + (l.block.empty() ? 0 : 1);
  if (arguments > static_cast<size_t>(kMaxBuffers))
    throw DeviceError(head + std::to_string(arguments) + " buffers, Metal takes " +
                      std::to_string(kMaxBuffers));
  for (int64_t n : l.groups)
    if (n < 0 || n * l.threads[0] >= kMaxGrid)
      throw DeviceError(head + std::to_string(n) + " threadgroups along one axis, too many");
  for (size_t i = 0; i < l.buffers.size(); ++i)
    if (!l.buffers[i].place.block)
      throw DeviceError(head + "buffer " + std::to_string(i) + " is not this device's memory");
}

uint64_t Queue::launch(const Launch& l) {
  check(l);
  if (product(l.groups) == 0) return last_ticket_;
  make_room(l.bytes, l.flops);
  const std::vector<Access> accesses = take_in(l.buffers);
  if (!encode(l, accesses)) throw OutOfMemory("metal: no memory for a kernel's constants", 0, 0);
  const uint64_t ticket = current_->ticket;
  if (full()) commit();
  return ticket;
}

uint64_t Queue::multiply(const ProductLaunch& l) {
  if (timed_) commit();  // no counters reach the library's encoder: its command buffer is timed
  make_room(l.bytes, l.flops);
  current_->whole = timed_;
  const Binding buffers[] = {l.left, l.right, l.result};
  const std::vector<Access> accesses = take_in(buffers);
  if (!order_event_) order_event_ = host_.new_order_event();
  if (!order_event_) throw DeviceError("metal: the system gave no event");
  // One encoder waits for the fences of earlier command buffers, and one stands for the product
  // before later ones.
  if (!current_->encoder) begin_encoder(l.product->name);
  if (options_.track) order(accesses);
  end_encoder();
  if (options_.track) stand_in_line();
  MatrixPlace places[3];
  for (size_t i = 0; i < 3; ++i) {
    places[i] = l.places[i];
    places[i].at = {buffers[i].place.block->handle, buffers[i].place.offset};
  }
  host_.encode_product(current_->commands, l.product->handle, l.product->request, places[0],
                       places[1], places[2]);
  if (options_.track) stand_in_line();
  if (current_->kept.insert(l.product.get()).second) current_->keep.push_back(l.product);
  begin_encoder(l.product->name);
  current_->encoders.back().accesses.precede(accesses);
  count(l.bytes, l.flops, l.tag);
  ++counts_.products;
  const uint64_t ticket = current_->ticket;
  if (full()) commit();
  return ticket;
}

// What the command buffer holds so far comes before what it will hold.
void Queue::stand_in_line() {
  host_.signal_event(current_->commands, order_event_, ++order_value_);
  host_.wait_event(current_->commands, order_event_, order_value_);
}

// A command buffer with room for this much more.
void Queue::make_room(int64_t bytes, int64_t flops) {
  if (current_ && current_->launches > 0 &&
      (current_->estimated_ms + estimated_ms(chip_, bytes, flops)) * correction_ >
          chip_.budget.milliseconds)
    commit();
  if (!current_) begin();
}

// The ranges that will be touched; the command buffer keeps their blocks.
std::vector<Access> Queue::take_in(std::span<const Binding> buffers) {
  std::vector<Access> accesses;
  for (const Binding& b : buffers) {
    const int64_t size = b.place.block->bytes, from = b.place.offset;
    const int64_t begin = std::clamp<int64_t>(from + b.first, 0, size);
    const int64_t end = b.last >= size - from ? size : std::max(begin, from + b.last);
    accesses.push_back({b.place.block.get(), begin, end, b.written});
    if (current_->kept.insert(b.place.block.get()).second) {
      current_->keep.push_back(b.place.block);
      current_->bytes += end - begin;
    }
  }
  return accesses;
}

void Queue::count(int64_t bytes, int64_t flops, uint64_t tag) {
  current_->tags.push_back(tag);
  ++current_->launches;
  current_->estimated_ms += estimated_ms(chip_, bytes, flops);
  counts_.flops += flops;
  ++counts_.launches;
}

// False: nothing was encoded, for want of memory.
bool Queue::encode(const Launch& l, std::span<const Access> accesses) {
  std::vector<BoundBuffer> bound;
  for (const Binding& b : l.buffers)
    // An empty array may lie just past its block, where Metal lets nothing be bound.
    bound.push_back({b.place.block->handle,
                     b.place.offset < b.place.block->bytes ? b.place.offset : int64_t{0}});
  Dispatch d{l.pipeline->handle, {}};
  if (static_cast<int64_t>(l.block.size()) >= kMaxInlineBytes) {
    bound.push_back(spill(l.block));
    if (!bound.back().buffer) return false;
  } else {
    d.block = l.block.data();
    d.block_bytes = static_cast<int64_t>(l.block.size());
  }
  // An encoder of its own where each launch is to be told apart.
  if (current_->encoder && (current_->timed || detailed_)) end_encoder();
  if (!current_->encoder) begin_encoder(l.pipeline->name);
  if (options_.track) {
    order(accesses);
    d.barrier = current_->encoders.back().accesses.add(accesses);
  }
  d.buffers = bound;
  std::copy(l.groups.begin(), l.groups.end(), d.groups);
  std::copy(l.threads.begin(), l.threads.end(), d.threads);
  std::copy(l.grid.begin(), l.grid.end(), d.grid);
  d.threadgroup_bytes =
      (l.threadgroup_bytes + kThreadgroupStep - 1) / kThreadgroupStep * kThreadgroupStep;
  host_.encode(current_->encoder, d);
  if (current_->kept.insert(l.pipeline.get()).second) current_->keep.push_back(l.pipeline);
  count(l.bytes, l.flops, l.tag);
  counts_.barriers += d.barrier;
  return true;
}

// Constants too long for setBytes go through memory that lives as long as the command buffer.
BoundBuffer Queue::spill(std::span<const unsigned char> block) {
  const auto bytes = static_cast<int64_t>(block.size());
  void* copy = memory_.take(bytes);
  if (!copy) return {nullptr, 0};
  std::memcpy(copy, block.data(), block.size());
  current_->spilled.push_back({copy, bytes});
  Place place = memory_.find(copy);
  current_->keep.push_back(place.block);
  return {place.block->handle, place.offset};
}

// Whether the command buffer is to be cut after the last launch.
bool Queue::full() const {
  const Flight& f = *current_;
  const Budget& budget = chip_.budget;
  if (f.launches == 0) return false;
  if (f.timed && !f.samples) return true;
  return f.launches >= budget.operations || f.bytes >= budget.bytes ||
         f.estimated_ms * correction_ > budget.milliseconds;
}

void Queue::begin() {
  reap();
  while (static_cast<int>(flights_.size()) >= chip_.budget.in_flight)
    await(flights_.front()->ticket), reap();
  Handle commands = host_.begin_commands(queue_, detailed_);
  if (!commands) throw DeviceError("metal: the system gave no command buffer");
  current_ = std::make_unique<Flight>(host_, shared_, commands, event_, ++last_ticket_, timed_);
  ++counts_.command_buffers;
}

void Queue::begin_encoder(const std::string& name) {
  Flight& f = *current_;
  const int index = static_cast<int>(f.encoders.size());
  if (f.timed && !f.whole && host_.facts().stage_counters && index == 0) {
    Failure refused;  // then the command buffer itself is timed, which is said with it
    if (samples_.empty()) {
      f.samples = host_.new_samples(2 * chip_.budget.operations, refused);
    } else {
      f.samples = samples_.back();
      samples_.pop_back();
    }
  }
  const char* label = f.timed || detailed_ ? name.c_str() : nullptr;
  Handle fence = fences_.empty() ? host_.new_fence() : fences_.back();
  if (!fences_.empty()) fences_.pop_back();
  f.encoder = fence ? host_.begin_encoder(f.commands, label, f.samples, 2 * index) : nullptr;
  if (!f.encoder) throw DeviceError("metal: the system gave no encoder or no fence");
  f.encoders.push_back({{}, fence});
  f.waited.clear();
  ++counts_.encoders;
}

void Queue::end_encoder() {
  Flight& f = *current_;
  if (options_.track) host_.update_fence(f.encoder, f.encoders.back().fence);
  host_.end_encoder(f.encoder);
  f.encoder = nullptr;
}

// Fences of the encoders before this one that it must not overtake.
void Queue::order(std::span<const Access> accesses) {
  auto after = [&](const Encoder& e) {
    auto& waited = current_->waited;
    if (std::find(waited.begin(), waited.end(), e.fence) != waited.end()) return;
    if (!e.accesses.orders(accesses)) return;
    host_.wait_fence(current_->encoder, e.fence);
    waited.push_back(e.fence);
    ++counts_.fence_waits;
  };
  for (const auto& flight : flights_)
    for (const Encoder& e : flight->encoders) after(e);
  for (size_t i = 0; i + 1 < current_->encoders.size(); ++i) after(current_->encoders[i]);
}

bool Queue::touches(const Access& access) const {
  auto any = [&](const Flight& flight) {
    return std::any_of(flight.encoders.begin(), flight.encoders.end(), [&](const Encoder& e) {
      return e.accesses.orders({&access, 1});
    });
  };
  return (current_ && any(*current_)) ||
         std::any_of(flights_.begin(), flights_.end(), [&](const auto& f) { return any(*f); });
}

uint64_t Queue::commit() {
  if (!current_) return last_ticket_;
  if (current_->encoder) end_encoder();
  host_.signal_event(current_->commands, event_, current_->ticket);
  Flight* flight = current_.get();
  flights_.push_back(std::move(current_));
  host_.commit(flight->commands, Flight::completed, flight);
  return last_ticket_;
}

void Queue::wait_for(Queue& other, uint64_t ticket) {
  if (other.current_ && ticket >= other.current_->ticket) other.commit();
  // Behind what this queue has already encoded, which need not wait.
  commit();
  begin();
  host_.wait_event(current_->commands, other.event_, ticket);
}

void Queue::keep(std::shared_ptr<const void> object) {
  if (current_)
    current_->keep.push_back(std::move(object));
  else if (!flights_.empty())
    flights_.back()->keep.push_back(std::move(object));
}

void Queue::when_done(uint64_t ticket, std::function<void()> call) {
  calls_.push_back({ticket, std::move(call)});
}

void Queue::set_timed(bool timed) {
  if (timed != timed_) commit();
  timed_ = timed;
}

// --- completion --------------------------------------------------------------------------------

bool Queue::done(uint64_t ticket) {
  reap();
  if (current_ && current_->ticket <= ticket) return false;
  return flights_.empty() || flights_.front()->ticket > ticket;
}

// Takes in every command buffer whose completion has been told, whatever their order.
void Queue::reap() {
  std::vector<std::unique_ptr<Flight>> landed;
  {
    std::lock_guard lock(shared_->mutex);
    for (auto& flight : flights_)
      if (flight->landed) landed.push_back(std::move(flight));
  }
  std::erase(flights_, nullptr);
  for (auto& flight : landed) land(*flight);
  const uint64_t next = current_ ? current_->ticket : last_ticket_ + 1;
  has_ended((flights_.empty() ? next : flights_.front()->ticket) - 1);
  run_calls();
}

void Queue::has_ended(uint64_t ticket) { ended_ = std::max(ended_.load(), ticket); }

void Queue::land(Flight& f) {
  if (f.outcome.failure) {
    detailed_ = true;
    failed_.push_back({f.ticket, f.ticket, error_of(f.outcome.failure, f), false});
    if (f.timed) counts_.times_missing += f.launches;
  } else {
    take_time(f);
  }
  if (f.samples) samples_.push_back(f.samples);
  for (const Encoder& e : f.encoders) fences_.push_back(e.fence);
  for (auto [data, bytes] : f.spilled) memory_.give(data, bytes);
  host_.release(f.commands);
}

void Queue::run_calls() {
  const uint64_t open =
      flights_.empty() ? (current_ ? current_->ticket : UINT64_MAX) : flights_.front()->ticket;
  std::vector<std::function<void()>> ready;
  std::erase_if(calls_, [&](auto& call) {
    if (call.first >= open) return false;
    ready.push_back(std::move(call.second));
    return true;
  });
  for (auto& call : ready) call();
}

void Queue::take_time(Flight& f) {
  const double ms = (f.outcome.gpu_end - f.outcome.gpu_start) * 1e3;
  if (f.estimated_ms > 0.01 && ms > 0)
    correction_ = std::clamp(0.8 * correction_ + 0.2 * ms / f.estimated_ms, 0.05, 100.0);
  if (!f.timed || f.launches == 0) return;
  // Both clocks tick nanoseconds and do not drift: a shift makes one of the other.
  const int64_t shift = now_ns() - static_cast<int64_t>(host_.seconds() * 1e9);
  std::vector<uint64_t> ticks(2 * f.tags.size());
  if (f.samples) {
    if (!host_.read_samples(f.samples, ticks)) std::fill(ticks.begin(), ticks.end(), 0);
    for (size_t i = 0; i < f.tags.size(); ++i) {
      const bool sampled = ticks[2 * i] && ticks[2 * i + 1];
      ++(sampled ? counts_.times_of_counters : counts_.times_missing);
      if (sampled)
        times_.push_back({Span::Source::counters, f.tags[i],
                          static_cast<int64_t>(ticks[2 * i]) + shift,
                          static_cast<int64_t>(ticks[2 * i + 1]) + shift});
    }
    return;
  }
  ++counts_.times_of_command_buffers;
  times_.push_back({Span::Source::command_buffer, f.tags[0],
                    static_cast<int64_t>(f.outcome.gpu_start * 1e9) + shift,
                    static_cast<int64_t>(f.outcome.gpu_end * 1e9) + shift});
}

// A command buffer has often ended a little before its completion is told.
void Queue::await_completions() {
  std::unique_lock lock(shared_->mutex);
  auto landed = [](const auto& flight) { return flight->landed; };
  shared_->landed.wait_for(lock, std::chrono::milliseconds(options_.patience_ms),
                           [&] { return std::all_of(flights_.begin(), flights_.end(), landed); });
}

std::vector<Span> Queue::take_times() {
  await_completions();
  reap();
  return std::exchange(times_, {});
}

// Whether every command buffer up to the ticket has ended, as far as is known. A later one's event
// says nothing of one before it that failed, so each is asked.
bool Queue::settled(uint64_t ticket) {
  std::lock_guard lock(shared_->mutex);
  for (const auto& f : flights_)
    if (f->ticket <= ticket && !f->landed && !host_.completed(f->commands)) return false;
  return true;
}

void Queue::await(uint64_t ticket) {
  int64_t landings = -1, since = now_ns();
  while (!settled(ticket)) {
    // The event tells sooner than the completion's thread; of a failure only the latter tells.
    if (host_.event_value(event_) < ticket && host_.await_event(event_, ticket, kSliceMs)) continue;
    std::unique_lock lock(shared_->mutex);
    if (shared_->landings != landings) {
      landings = shared_->landings;
      since = now_ns();
    }
    if (now_ns() - since > options_.patience_ms * 1'000'000) {
      lock.unlock();
      return give_up();
    }
    shared_->landed.wait_for(lock, std::chrono::milliseconds(1));
  }
}

// The device answers no more: everything under way counts as failed.
void Queue::give_up() {
  if (flights_.empty()) return;
  lost_ = true;
  auto error = std::make_exception_ptr(DeviceError("metal: the GPU has not answered for " +
                                                   std::to_string(options_.patience_ms) +
                                                   " ms; work under way is lost"));
  failed_.push_back({flights_.front()->ticket, last_ticket_, error, false});
  leave_to_device();
}

// What a lost device may still touch is never freed.
void Queue::leave_to_device() {
  for (auto& flight : flights_) (void)flight.release();
  flights_.clear();
}

void Queue::settle(uint64_t ticket) {
  if (current_ && ticket >= current_->ticket) commit();
  await(ticket);
  has_ended(std::min(ticket, last_ticket_.load()));  // its completion may still have to be told
  reap();
}

void Queue::wait(uint64_t ticket) {
  settle(ticket);
  if (std::exception_ptr error = failure_of(ticket, ticket)) std::rethrow_exception(error);
}

void Queue::synchronize() {
  settle(commit());
  std::exception_ptr first;
  for (Failed& f : failed_)
    if (!std::exchange(f.told, true) && !first) first = f.error;
  if (first) std::rethrow_exception(first);
}

std::exception_ptr Queue::failure_of(uint64_t first, uint64_t last) {
  const Failed* found = nullptr;
  for (Failed& f : failed_) {
    if (f.last < first || f.first > last) continue;
    f.told = true;
    if (!found || f.first < found->first) found = &f;
  }
  return found ? found->error : nullptr;
}

std::exception_ptr Queue::error_of(const Failure& failure, const Flight& flight) const {
  std::string text = "metal: a command buffer of " + std::to_string(flight.launches) +
                     " kernels failed: " + failure.text + " (" + failure.domain + " " +
                     std::to_string(failure.code) + ")";
  if (failure.code == kErrorOutOfMemory) {
    const int64_t used = host_.allocated_bytes(), room = host_.facts().working_set_bytes;
    text += ", it binds " + format_bytes(flight.bytes) + "; " + format_bytes(used) + " in use of " +
            format_bytes(room);
    return std::make_exception_ptr(
        OutOfMemory(text, flight.bytes, std::max<int64_t>(room - used, 0)));
  }
  if (failure.code == kErrorTimeout || failure.code == kErrorInteractivity)
    text +=
        "\nThe system stops kernels that run long while the display waits: split the work into "
        "smaller arrays, or turn the display off.";
  return std::make_exception_ptr(DeviceError(text));
}

}  // namespace lamina::metal
