// Launches of one run of a plan, sent one by one or as a CUDA graph. The first run of a plan sends
// its launches directly; from the second on, stretches of launches between library calls are kept
// as graphs, and a run changes only the parameters that differ from the run before.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <vector>

#include "devices/cuda/driver.h"

namespace lamina::cuda {

struct Launch {
  Function function = nullptr;
  unsigned grid[3] = {1, 1, 1}, block[3] = {1, 1, 1};
  unsigned shared_bytes = 0;
  int level = 0;                    // launches of one level do not wait for each other
  std::vector<unsigned char> args;  // values of the parameters, one after the other
  std::vector<uint32_t> offsets;    // of each parameter in args
};

class Replay {
 public:
  explicit Replay(Stream stream);
  ~Replay();

  // `direct`: every launch is sent at once.
  void begin(uint64_t plan, bool direct);
  // A slot for the next launch, to be filled and then added.
  Launch& next();
  void add();
  // Sends what is collected; before anything else goes to the stream.
  void flush();
  void end();
  void forget(uint64_t plan) noexcept;

  struct Counts {
    int64_t launches = 0, graphs = 0, graph_launches = 0, updates = 0;
  };
  const Counts& counts() const { return counts_; }

 private:
  struct Segment;
  struct Kept {
    int64_t runs = 0;
    std::vector<std::unique_ptr<Segment>> segments;
  };

  void send(Launch& launch);
  std::unique_ptr<Segment> build(std::span<Launch> launches);
  bool update(Segment& segment, std::span<Launch> launches);

  Stream stream_;
  std::map<uint64_t, Kept> plans_;
  Kept* plan_ = nullptr;  // of the run in progress; null: direct
  size_t segment_ = 0;
  std::vector<Launch> pending_;
  size_t count_ = 0;
  Counts counts_;
};

}  // namespace lamina::cuda
