// The GPU of the double: runs committed command buffers, one thread a queue, and checks at each
// dispatch what the debug layer and the shader validation of Metal would.
#pragma once

#include <deque>
#include <functional>

#include "executor.h"

namespace metal_double {

struct FenceState : Tracked {
  Order::Set updated;
};
struct EventState : Tracked {
  uint64_t value = 0;
  std::map<uint64_t, Order::Set> signals;  // what was ordered before each value
};
struct SamplesState : Tracked {
  std::vector<uint64_t> values;
};

struct Dispatched {
  std::shared_ptr<Executable> executable;
  Invocation call;
};
struct Command {
  enum class Kind { dispatch, barrier, wait, update } kind;
  Dispatched dispatch;
  std::shared_ptr<FenceState> fence;
};
struct EncoderState {
  std::string label;
  bool concurrent = true;
  uint64_t birth = 0;  // epoch
  std::vector<Command> commands;
  std::shared_ptr<SamplesState> samples;
  int64_t first = -1, last = -1;
};
struct Item {  // of a command buffer, in order
  enum class Kind { encoder, wait, signal } kind;
  std::shared_ptr<EncoderState> encoder;
  std::shared_ptr<EventState> event;
  uint64_t value = 0;
};

enum class Status { encoding = 0, committed = 2, completed = 4, error = 5 };

struct CommandsState {
  std::vector<Item> items;
  std::set<TrackedRef> needs;
  Status status = Status::encoding;
  int64_t error = 0;
  std::string reason;
  std::shared_ptr<EncoderState> faulted;
  double start = 0, end = 0;
  Order::Set stretches;
  bool retained = true;
  int64_t device = 0;           // as Tracked's
  std::function<void()> ended;  // without the world's mutex, on a thread of the double
};
using CommandsRef = std::shared_ptr<CommandsState>;

class QueueState : public std::enable_shared_from_this<QueueState> {
 public:
  // Starts the queue's thread, which ends once the queue is closed and empty.
  void start();
  void commit(CommandsRef commands);  // REQUIRES the world's mutex
  void close();                       // REQUIRES the world's mutex

 private:
  void serve();
  void run(CommandsState& commands, std::unique_lock<std::mutex>& lock);
  bool run_encoder(CommandsState& commands, EncoderState& encoder,
                   std::unique_lock<std::mutex>& lock);
  bool run_dispatch(CommandsState& commands, const Dispatched& dispatch, Order::Stretch stretch,
                    std::unique_lock<std::mutex>& lock);
  void end(const CommandsRef& commands, std::unique_lock<std::mutex>& lock);

  std::deque<CommandsRef> waiting_;
  Order::Set before_;  // everything this queue has begun, for events it signals
  Order::Set after_;   // what its event waits have put before it
  bool closed_ = false;
};

double now_seconds();
// A use of a tracked object by a command buffer. REQUIRES the world's mutex.
void need(CommandsState& commands, const TrackedRef& object);
// What the debug layer would refuse at a dispatch, as a sentence, or "". REQUIRES the mutex.
std::string refusal(const Executable* executable, const Invocation& call);

}  // namespace metal_double
