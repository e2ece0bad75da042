// Launches of one run of a plan, sent one by one or as a CUDA graph. The first run of a family of
// plans sends its launches directly; from the second on they are kept as a graph, and a run changes
// only the parameters and grids that differ from the run before. A call of a library is a graph
// within it, captured from what the library sends.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/hash.h"
#include "devices/cuda/driver.h"

namespace lamina::cuda {

// What a library's call may ask for at most. Calls run one after the other and share it.
inline constexpr int64_t kMostWorkspace = int64_t{1} << 30;

// Tells kernels and prepared calls apart, also from those that are gone.
uint64_t next_serial();

// A prepared call of a library: sends its kernels to a stream and asks the driver for nothing.
class LibraryCall {
 public:
  virtual ~LibraryCall() = default;
  using Operands = std::array<void*, 4>;  // two inputs, the output, workspace_bytes()
  virtual int64_t workspace_bytes() const = 0;
  virtual void send(const Operands& operands, Stream stream) = 0;
  // For a reader.
  virtual std::string text() const = 0;
  const uint64_t serial = next_serial();
};

struct Launch {
  uint64_t serial = 0;  // of the kernel or the call
  Function function = nullptr;
  LibraryCall* library = nullptr;  // in place of the function; valid during the run
  LibraryCall::Operands operands{};
  unsigned grid[3] = {1, 1, 1}, block[3] = {1, 1, 1};
  unsigned shared_bytes = 0;
  bool waits = false;               // its text waits for the kernels ahead of it
  int level = 0;                    // launches of one level do not wait for each other
  std::vector<unsigned char> args;  // values of the parameters, one after the other
  std::vector<uint32_t> offsets;    // of each parameter in args
};

class Replay {
 public:
  explicit Replay(Stream stream);
  ~Replay();

  // `timed`: every launch is sent at once, and starts when the one before has ended.
  void begin(uint64_t family, bool timed);
  // A slot for the next launch, to be filled and then added.
  Launch& next();
  void add();
  // Sends what is collected; before anything else goes to the stream.
  void flush();
  void end();
  void forget(uint64_t family) noexcept;

  struct Counts {
    int64_t launches = 0, graphs = 0, graph_launches = 0, updates = 0;
  };
  const Counts& counts() const { return counts_; }

 private:
  struct Segment;
  struct Kept {
    int64_t runs = 0;
    Hash128 sent{};                                // by the latest run: which kernels and calls
    std::vector<std::unique_ptr<Segment>> graphs;  // the one used last comes first
  };

  void send(Launch& launch);
  std::unique_ptr<Segment> build(std::span<Launch> launches);
  // `early`: the launch may stand ready before the one kernel ahead of it has ended.
  GraphNode add_node(Segment& segment, const Launch& launch, std::span<const GraphNode> before,
                     bool early);
  Graph capture(const Launch& launch);
  Segment* graph_for(std::span<Launch> launches);
  static size_t cost_of(const Segment& segment, std::span<const Launch> launches);
  bool update(Segment& segment, std::span<Launch> launches);

  Stream stream_;
  Stream capture_ = nullptr;  // made when a graph first has a library call
  std::map<uint64_t, Kept> families_;
  Kept* kept_ = nullptr;    // of the run in progress; null: timed
  Hash128 sent_{};          // kernels and calls of the run in progress
  Kept* family_ = nullptr;  // of the run in progress; null: direct
  bool apart_ = false;      // each launch waits for the one before to end, as times need it
  std::vector<Launch> pending_;
  size_t count_ = 0;
  Counts counts_;
};

}  // namespace lamina::cuda
