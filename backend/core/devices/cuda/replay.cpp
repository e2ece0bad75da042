#include "devices/cuda/replay.h"

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace lamina::cuda {

uint64_t next_serial() {
  static std::atomic<uint64_t> next{1};
  return next.fetch_add(1, std::memory_order_relaxed);
}

namespace {

// Below it a graph costs more than its launches, unless a library takes its time over one.
constexpr size_t kLeastLaunches = 3;
// A level of many launches after one of many is joined by an empty node instead.
constexpr size_t kMaxEdges = 32;
constexpr size_t kMaxFamilies = 2048;
constexpr size_t kMaxGraphs = 4;     // of one plan
constexpr size_t kCaptureCost = 16;  // of a library's call, in updates of a kernel's parameters

void fill_params(const Launch& launch, std::vector<void*>& params) {
  params.clear();
  for (uint32_t at : launch.offsets)
    params.push_back(const_cast<unsigned char*>(launch.args.data()) + at);
}

KernelNode node_of(const Launch& l, std::vector<void*>& params) {
  fill_params(l, params);
  return {l.function, l.grid[0],      l.grid[1],     l.grid[2], l.block[0], l.block[1],
          l.block[2], l.shared_bytes, params.data(), nullptr,   nullptr,    nullptr};
}

// Calls of a library choose their kernels by this.
bool equally_aligned(const Launch& a, const Launch& b) {
  constexpr uintptr_t kWidest = 16;
  for (size_t i = 0; i < a.operands.size(); ++i)
    if ((reinterpret_cast<uintptr_t>(a.operands[i]) ^ reinterpret_cast<uintptr_t>(b.operands[i])) %
        kWidest)
      return false;
  return true;
}

// Whether a graph with the one becomes a graph with the other by giving the node other parameters.
// A library's call stays itself: another call may be other kernels, with attributes that no update
// of a graph changes.
bool alike(const Launch& a, const Launch& b) {
  if (a.level != b.level || a.serial != b.serial) return false;
  if (a.library) return equally_aligned(a, b);
  return std::equal(a.block, a.block + 3, b.block) && a.shared_bytes == b.shared_bytes &&
         a.args.size() == b.args.size();
}

bool same(const Launch& a, const Launch& b) {
  return a.serial == b.serial && a.operands == b.operands && a.args == b.args &&
         std::equal(a.grid, a.grid + 3, b.grid);
}

}  // namespace

struct Replay::Segment {
  GraphExec exec = nullptr;
  Graph graph = nullptr;
  std::vector<GraphNode> nodes;
  std::vector<Launch> launches;  // as the graph has them

  ~Segment() {
    if (exec) driver().graph_exec_destroy(exec);
    if (graph) driver().graph_destroy(graph);
  }
};

Replay::Replay(Stream stream) : stream_(stream) {}
Replay::~Replay() = default;

void Replay::begin(uint64_t family, bool timed) {
  count_ = 0;
  family_ = kept_ = nullptr;
  sent_ = {};
  apart_ = timed;
  if (timed) return;
  if (families_.size() >= kMaxFamilies) families_.erase(families_.begin());
  kept_ = &families_[family];
  if (++kept_->runs > 1) family_ = kept_;
}

Launch& Replay::next() {
  if (count_ == pending_.size()) pending_.emplace_back();
  return pending_[count_];
}

void Replay::add() {
  ++counts_.launches;
  sent_.add(pending_[count_].serial);
  if (!family_)
    send(pending_[count_]);
  else
    ++count_;
}

void Replay::send(Launch& l) {
  if (l.library) return l.library->send(l.operands, stream_);
  std::vector<void*> params;
  fill_params(l, params);
  if (!l.waits || apart_) {
    check(driver().launch(l.function, l.grid[0], l.grid[1], l.grid[2], l.block[0], l.block[1],
                          l.block[2], l.shared_bytes, stream_, params.data(), nullptr),
          "launch");
    return;
  }
  LaunchAttribute early{kProgrammaticSerialization, {}, {}};
  early.value = 1;
  LaunchConfig config{l.grid[0],  l.grid[1],      l.grid[2], l.block[0], l.block[1],
                      l.block[2], l.shared_bytes, stream_,   &early,     1};
  check(driver().launch_with(&config, l.function, params.data(), nullptr), "launch");
}

void Replay::flush() {
  if (!family_ || count_ == 0) return;
  std::span<Launch> launches(pending_.data(), count_);
  count_ = 0;
  const bool calls = std::any_of(launches.begin(), launches.end(),
                                 [](const Launch& l) { return l.library != nullptr; });
  if (launches.size() < kLeastLaunches && !calls) {
    for (Launch& l : launches) send(l);
    return;
  }
  Segment* graph = graph_for(launches);
  if (!graph) {
    for (Launch& l : launches) send(l);
    return;
  }
  check(driver().graph_launch(graph->exec, stream_), "graph launch");
  ++counts_.graph_launches;
}

// Programs that swap their arrays come back with the same few sets of operands, and a graph for
// each spares capturing what the libraries send.
Replay::Segment* Replay::graph_for(std::span<Launch> launches) {
  auto& graphs = family_->graphs;
  size_t best = graphs.size(), least = SIZE_MAX;
  for (size_t g = 0; g < graphs.size(); ++g) {
    const size_t cost = cost_of(*graphs[g], launches);
    if (cost < least) least = cost, best = g;
  }
  if (best == graphs.size() && !(family_->sent == sent_)) return nullptr;
  const bool anew = best == graphs.size() || (least >= kCaptureCost && graphs.size() < kMaxGraphs);
  if (anew || !update(*graphs[best], launches)) {
    if (!anew) graphs.erase(graphs.begin() + static_cast<std::ptrdiff_t>(best));
    if (graphs.size() == kMaxGraphs) graphs.pop_back();
    graphs.insert(graphs.begin(), build(launches));
    best = 0;
  }
  // The one used last comes first.
  const auto at = graphs.begin() + static_cast<std::ptrdiff_t>(best);
  std::rotate(graphs.begin(), at, at + 1);
  return graphs.front().get();
}

size_t Replay::cost_of(const Segment& segment, std::span<const Launch> launches) {
  if (segment.launches.size() != launches.size()) return SIZE_MAX;
  size_t cost = 0;
  for (size_t i = 0; i < launches.size(); ++i) {
    const Launch &known = segment.launches[i], &now = launches[i];
    if (!alike(known, now)) return SIZE_MAX;
    if (!same(known, now)) cost += now.library ? kCaptureCost : 1;
  }
  return cost;
}

// REQUIRES: cost_of() is not SIZE_MAX. False where only a new graph will do: operands of another
// alignment may mean other kernels of a library.
bool Replay::update(Segment& segment, std::span<Launch> launches) {
  std::vector<void*> params;
  for (size_t i = 0; i < launches.size(); ++i) {
    Launch& known = segment.launches[i];
    if (same(known, launches[i])) continue;
    std::swap(known, launches[i]);
    ++counts_.updates;
    if (known.library) {
      Graph part = capture(known);
      Result r = driver().graph_set_child(segment.exec, segment.nodes[i], part);
      driver().graph_destroy(part);
      if (r != 0) return false;
      continue;
    }
    KernelNode node = node_of(known, params);
    check(driver().graph_set_kernel(segment.exec, segment.nodes[i], &node), "graph update");
  }
  return true;
}

// What the library sends for these operands, as a graph that the caller destroys.
Graph Replay::capture(const Launch& launch) {
  const Driver& d = driver();
  if (!capture_) check(d.stream_create(&capture_, kNonBlocking), "stream");
  check(d.stream_begin_capture(capture_, kCaptureRelaxed), "capture");
  Graph graph = nullptr;
  try {
    launch.library->send(launch.operands, capture_);
  } catch (...) {
    d.stream_end_capture(capture_, &graph);
    if (graph) d.graph_destroy(graph);
    throw;
  }
  check(d.stream_end_capture(capture_, &graph), "capture");
  return graph;
}

GraphNode Replay::add_node(Segment& segment, const Launch& launch,
                           std::span<const GraphNode> before, bool early) {
  const Driver& d = driver();
  GraphNode out = nullptr;
  if (launch.library) {
    Graph part = capture(launch);
    Result r = d.graph_add_child(&out, segment.graph, before.data(), before.size(), part);
    d.graph_destroy(part);
    check(r, "graph");
    return out;
  }
  std::vector<void*> params;
  KernelNode node = node_of(launch, params);
  early = early && launch.waits && d.graph_add_edges;
  check(d.graph_add_kernel(&out, segment.graph, before.data(), early ? 0 : before.size(), &node),
        "graph");
  if (early)
    check(d.graph_add_edges(segment.graph, before.data(), &out, &kProgrammaticEdge, 1), "graph");
  return out;
}

std::unique_ptr<Replay::Segment> Replay::build(std::span<Launch> launches) {
  const Driver& d = driver();
  auto made = std::make_unique<Segment>();
  check(d.graph_create(&made->graph, 0), "graph");
  std::vector<GraphNode> before, level;
  size_t at = 0;
  while (at < launches.size()) {
    size_t end = at;
    while (end < launches.size() && launches[end].level == launches[at].level) ++end;
    // Behind one kernel another may stand ready before it has ended.
    const bool early = before.size() == 1 && at > 0 && !launches[at - 1].library && end - at == 1;
    if (before.size() * (end - at) > kMaxEdges) {
      GraphNode join = nullptr;
      check(d.graph_add_empty(&join, made->graph, before.data(), before.size()), "graph");
      before = {join};
    }
    level.clear();
    for (; at < end; ++at) {
      level.push_back(add_node(*made, launches[at], before, early));
      made->nodes.push_back(level.back());
    }
    before.swap(level);
  }
  check(d.graph_instantiate(&made->exec, made->graph, 0), "graph instantiation");
  made->launches.assign(launches.begin(), launches.end());
  ++counts_.graphs;
  return made;
}

void Replay::end() {
  flush();
  if (kept_) kept_->sent = sent_;
  family_ = kept_ = nullptr;
}

void Replay::forget(uint64_t family) noexcept { families_.erase(family); }

}  // namespace lamina::cuda
