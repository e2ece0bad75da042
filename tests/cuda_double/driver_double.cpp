// The double of NVIDIA's driver: device memory that the program cannot touch, streams whose work
// is done as late as can be, each by itself, graphs whose nodes run in the worst order their edges
// allow, and failures on demand. It checks what the driver's interface asks of a caller.
#include <dlfcn.h>
#include <elf.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "devices/cuda/driver.h"
#include "simt_run.h"
#include "stream_work.h"

#define DOUBLE extern "C" __attribute__((visibility("default")))

using lamina::cuda::Attribute;
using lamina::cuda::DevicePtr;
using lamina::cuda::KernelNode;
using lamina::cuda::Result;

namespace cuda_double {

namespace {

constexpr Result kInvalid = 1, kNoMemory = 2, kInvalidContext = 201, kIllegalAddress = 700;

struct Loaded {
  void* library = nullptr;
  Kernel kernel;
};

// A launch with its parameters' values, as the driver keeps them.
struct Launch {
  const Loaded* function = nullptr;
  Dim grid, threads;
  std::vector<std::vector<unsigned char>> values;
};

// A launch, a library's work, or a graph within the graph.
struct Node {
  Launch launch;
  bool empty = false;
  std::function<void()> work;
  size_t kernel = 0;  // of the work: which, with attributes that an update leaves as they are
  std::vector<Node> inner;
  std::vector<size_t> after;
};
struct Graph {
  std::vector<std::unique_ptr<Node>> nodes;
};
// Its work, in order; nothing orders it with another stream's.
struct Stream {
  std::unique_ptr<Graph> captured;
  std::deque<std::function<void()>> queue;
};
struct Exec {
  std::vector<Node> nodes;
  std::map<const Node*, size_t> of;
};
struct Event {
  Stream* stream = nullptr;  // of the last record
  bool recorded = false;     // the stream has come to it
  std::chrono::steady_clock::time_point at;
};

struct Gpu {
  std::mutex mutex;
  char* memory = nullptr;
  size_t size = 0;
  std::map<size_t, size_t> blocks;  // start -> bytes
  std::vector<Stream*> streams;
  Result lost = 0;
  std::map<std::string, std::pair<int, Result>> failures;  // calls until it fails
  std::map<std::string, long> calls;
  std::set<std::string> refused;  // what callers did wrong

  Gpu() {
    const char* bytes = std::getenv("LAMINA_CUDA_DOUBLE_BYTES");
    size = bytes ? std::strtoull(bytes, nullptr, 10) : size_t{1} << 30;
    memory = static_cast<char*>(
        mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  }
};

Gpu& gpu() {
  static auto* g = new Gpu;
  return *g;
}

int context_object;
thread_local void* current = nullptr;

// Device memory is readable only while the device works.
class Open {
 public:
  Open() { mprotect(gpu().memory, gpu().size, PROT_READ | PROT_WRITE); }
  ~Open() { mprotect(gpu().memory, gpu().size, PROT_NONE); }
};

// Runs the stream's work until there is none, or `until` has been reached.
void drain(Stream& s, const Event* until = nullptr) {
  Gpu& g = gpu();
  if (s.queue.empty()) return;
  Open open;
  while (!s.queue.empty() && !(until && until->recorded)) {
    auto work = std::move(s.queue.front());
    s.queue.pop_front();
    if (g.lost) continue;
    try {
      work();
    } catch (const std::exception& e) {
      g.refused.insert(e.what());
      g.lost = kIllegalAddress;
    }
  }
}
void drain() {
  for (Stream* s : gpu().streams) drain(*s);
}

// What every call does first: counts itself, fails where a test wants it, checks the context.
Result enter(const char* name, bool needs_context = true) {
  Gpu& g = gpu();
  ++g.calls[name];
  if (auto it = g.failures.find(name); it != g.failures.end() && it->second.first-- == 0) {
    Result r = it->second.second;
    g.failures.erase(it);
    if (r >= kIllegalAddress) g.lost = r;
    return r;
  }
  if (g.lost) return g.lost;
  if (needs_context && current != &context_object) return kInvalidContext;
  return 0;
}

bool inside(DevicePtr at, size_t bytes) {
  Gpu& g = gpu();
  size_t start = static_cast<size_t>(at - reinterpret_cast<uintptr_t>(g.memory));
  auto it = g.blocks.upper_bound(start);
  if (it == g.blocks.begin()) return false;
  --it;
  return start + bytes <= it->first + it->second;
}

// LAMINA_CUDA_DOUBLE_IDLE: kernels do nothing, so that a profile shows lamina's own work.
bool idle() {
  static const bool set = std::getenv("LAMINA_CUDA_DOUBLE_IDLE") != nullptr;
  return set;
}

void run_launch(const Launch& l) {
  if (idle()) return;
  std::vector<std::vector<unsigned char>> values = l.values;
  std::vector<void*> params;
  for (auto& v : values) params.push_back(v.data());
  run(l.function->kernel, l.grid, l.threads, params.data());
}

// Of the nodes that may run, the one added last: a missing edge shows.
void run_exec(const std::vector<Node>& nodes) {
  std::vector<bool> done(nodes.size(), false);
  for (size_t n = 0; n < nodes.size(); ++n) {
    for (size_t i = nodes.size(); i-- > 0;) {
      bool ready = !done[i];
      for (size_t before : nodes[i].after) ready &= done[before];
      if (!ready) continue;
      if (nodes[i].work && !idle())
        nodes[i].work();
      else if (!nodes[i].inner.empty())
        run_exec(nodes[i].inner);
      else if (!nodes[i].empty)
        run_launch(nodes[i].launch);
      done[i] = true;
      break;
    }
  }
}

bool valid(const Dim& grid, const Dim& threads) {
  auto none = [](const Dim& d) { return d.x == 0 || d.y == 0 || d.z == 0; };
  return !none(grid) && !none(threads) && grid.y < 65536 && grid.z < 65536 &&
         size_t{threads.x} * threads.y * threads.z <= 1024;
}

Launch launch_of(void* function, Dim grid, Dim threads, void** params) {
  Launch l{static_cast<Loaded*>(function), grid, threads, {}};
  for (size_t i = 0; i < l.function->kernel.sizes.size(); ++i) {
    auto* from = static_cast<unsigned char*>(params[i]);
    l.values.emplace_back(from, from + l.function->kernel.sizes[i]);
  }
  return l;
}

Launch launch_of(const KernelNode& n) {
  return launch_of(n.function, {n.grid_x, n.grid_y, n.grid_z}, {n.block_x, n.block_y, n.block_z},
                   n.params);
}

std::vector<Node> copies(const Graph& g) {
  std::vector<Node> out;
  for (const auto& n : g.nodes) out.push_back(*n);
  return out;
}

size_t image_bytes(const void* image) {
  Elf64_Ehdr head;
  std::memcpy(&head, image, sizeof head);
  return head.e_shoff + size_t{head.e_shnum} * head.e_shentsize;
}

}  // namespace

int send(void* stream, size_t kernel, std::function<void()> work) {
  if (idle()) work = [] {};
  std::lock_guard lock(gpu().mutex);
  if (Result r = enter("library"); r != 0) return r;
  auto* s = static_cast<Stream*>(stream);
  if (!s->captured) {
    s->queue.push_back(std::move(work));
    return 0;
  }
  auto node = std::make_unique<Node>();
  node->work = std::move(work);
  node->kernel = kernel;
  if (!s->captured->nodes.empty()) node->after = {s->captured->nodes.size() - 1};
  s->captured->nodes.push_back(std::move(node));
  return 0;
}

bool has_bytes(const void* data, size_t bytes) {
  return inside(reinterpret_cast<uintptr_t>(data), bytes);
}

void refuse(const char* why) { throw std::runtime_error(why); }

}  // namespace cuda_double

using namespace cuda_double;

#define ENTER(name)                  \
  std::lock_guard lock(gpu().mutex); \
  if (Result r = enter(name); r != 0) return r
#define ENTER_FREE(name)             \
  std::lock_guard lock(gpu().mutex); \
  if (Result r = enter(name, false); r != 0) return r

// --- what tests ask for --------------------------------------------------------------------------

// The call after `skip` more of that name fails with `result`; 700 and above take the context
// along.
DOUBLE void cuda_double_fail(const char* name, int skip, int result) {
  std::lock_guard lock(gpu().mutex);
  gpu().failures[name] = {skip, result};
}
DOUBLE void cuda_double_reset() {
  std::lock_guard lock(gpu().mutex);
  gpu().failures.clear();
  gpu().lost = 0;
  gpu().calls.clear();
}
DOUBLE long cuda_double_calls(const char* name) {
  std::lock_guard lock(gpu().mutex);
  return gpu().calls[name];
}
DOUBLE long cuda_double_blocks() {
  std::lock_guard lock(gpu().mutex);
  return static_cast<long>(gpu().blocks.size());
}
DOUBLE long cuda_double_queued() {
  std::lock_guard lock(gpu().mutex);
  size_t all = 0;
  for (const Stream* s : gpu().streams) all += s->queue.size();
  return static_cast<long>(all);
}

// --- the driver ----------------------------------------------------------------------------------

DOUBLE Result cuInit(unsigned) { return 0; }
DOUBLE Result cuDriverGetVersion(int* v) {
  *v = 12000;
  return 0;
}
DOUBLE Result cuDeviceGetCount(int* n) {
  *n = 1;
  return 0;
}
DOUBLE Result cuDeviceGet(int* d, int) {
  *d = 0;
  return 0;
}
DOUBLE Result cuDeviceGetName(char* out, int size, int) {
  std::snprintf(out, static_cast<size_t>(size), "double of a GPU");
  return 0;
}
DOUBLE Result cuDeviceGetAttribute(int* out, Attribute a, int) {
  static const std::map<Attribute, int> values = {{Attribute::max_threads_per_block, 1024},
                                                  {Attribute::multiprocessors, 4},
                                                  {Attribute::compute_major, 9},
                                                  {Attribute::compute_minor, 0},
                                                  {Attribute::shared_bytes_per_block, 48 << 10},
                                                  {Attribute::shared_bytes_opt_in, 48 << 10}};
  auto found = values.find(a);
  if (found == values.end()) return kInvalid;
  *out = found->second;
  return 0;
}
DOUBLE Result cuDeviceTotalMem_v2(size_t* bytes, int) {
  *bytes = gpu().size;
  return 0;
}
DOUBLE Result cuDevicePrimaryCtxRetain(void** c, int) {
  *c = &context_object;
  return 0;
}
DOUBLE Result cuCtxSetCurrent(void* c) {
  current = c;
  return 0;
}
DOUBLE Result cuMemGetInfo_v2(size_t* free, size_t* total) {
  ENTER("cuMemGetInfo");
  size_t used = 0;
  for (auto& [at, bytes] : gpu().blocks) used += bytes;
  *total = gpu().size;
  *free = gpu().size - used;
  return 0;
}
DOUBLE Result cuMemAlloc_v2(DevicePtr* out, size_t bytes) {
  ENTER("cuMemAlloc");
  if (bytes == 0) return kInvalid;
  size_t rounded = (bytes + 511) / 512 * 512, at = 0;
  for (auto& [start, size] : gpu().blocks) {
    if (start - at >= rounded) break;
    at = start + size;
  }
  if (at + rounded > gpu().size) return kNoMemory;
  gpu().blocks[at] = rounded;
  *out = reinterpret_cast<uintptr_t>(gpu().memory) + at;
  return 0;
}
DOUBLE Result cuMemFree_v2(DevicePtr data) {
  ENTER("cuMemFree");
  drain();
  size_t at = static_cast<size_t>(data - reinterpret_cast<uintptr_t>(gpu().memory));
  return gpu().blocks.erase(at) ? 0 : kInvalid;
}
DOUBLE Result cuMemcpyHtoDAsync_v2(DevicePtr dst, const void* src, size_t bytes, Stream* s) {
  ENTER("cuMemcpyHtoD");
  if (!inside(dst, bytes)) return kInvalid;
  std::vector<char> staged(static_cast<const char*>(src), static_cast<const char*>(src) + bytes);
  s->queue.push_back([dst, staged = std::move(staged)] {
    std::memcpy(reinterpret_cast<void*>(dst), staged.data(), staged.size());
  });
  return 0;
}
DOUBLE Result cuMemcpyDtoHAsync_v2(void* dst, DevicePtr src, size_t bytes, Stream* s) {
  ENTER("cuMemcpyDtoH");
  if (!inside(src, bytes)) return kInvalid;
  s->queue.push_back([dst, src, bytes] { std::memcpy(dst, reinterpret_cast<void*>(src), bytes); });
  return 0;
}
DOUBLE Result cuMemcpyDtoDAsync_v2(DevicePtr dst, DevicePtr src, size_t bytes, Stream* s) {
  ENTER("cuMemcpyDtoD");
  if (!inside(src, bytes) || !inside(dst, bytes)) return kInvalid;
  s->queue.push_back([dst, src, bytes] {
    std::memmove(reinterpret_cast<void*>(dst), reinterpret_cast<void*>(src), bytes);
  });
  return 0;
}
DOUBLE Result cuPointerGetAttribute(void*, int, DevicePtr) { return kInvalid; }
DOUBLE Result cuStreamCreate(Stream** s, unsigned) {
  std::lock_guard lock(gpu().mutex);
  gpu().streams.push_back(*s = new Stream);
  return 0;
}
DOUBLE Result cuStreamBeginCapture_v2(Stream* s, int) {
  ENTER("cuStreamBeginCapture");
  if (s->captured) return kInvalid;
  s->captured = std::make_unique<Graph>();
  return 0;
}
DOUBLE Result cuStreamEndCapture(Stream* s, Graph** out) {
  ENTER("cuStreamEndCapture");
  if (!s->captured) return kInvalid;
  *out = s->captured.release();
  return 0;
}
DOUBLE Result cuStreamSynchronize(Stream* s) {
  ENTER("cuStreamSynchronize");
  drain(*s);
  return gpu().lost;
}
DOUBLE Result cuModuleLoadData(Loaded** out, const void* image) {
  ENTER("cuModuleLoadData");
  std::string path = "/tmp/lamina-module-XXXXXX";
  int file = mkstemp(path.data());
  size_t bytes = image_bytes(image);
  bool whole = write(file, image, bytes) == static_cast<ssize_t>(bytes);
  close(file);
  void* library = whole ? dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL) : nullptr;
  unlink(path.c_str());
  if (!library) return 200;
  auto* m = new Loaded;
  m->library = library;
  m->kernel.call = reinterpret_cast<void (*)(void**)>(dlsym(library, "simt_call"));
  m->kernel.meets = *static_cast<int*>(dlsym(library, "simt_meets"));
  size_t sizes[256];
  auto parameters = reinterpret_cast<int (*)(size_t*)>(dlsym(library, "simt_parameters"));
  m->kernel.sizes.assign(sizes, sizes + parameters(sizes));
  attach(*static_cast<SimtHost*>(dlsym(library, "simt_host")));
  *out = m;
  return 0;
}
DOUBLE Result cuModuleUnload(Loaded* m) {
  std::lock_guard lock(gpu().mutex);
  drain();
  dlclose(m->library);
  delete m;
  return 0;
}
DOUBLE Result cuModuleGetFunction(Loaded** out, Loaded* m, const char* name) {
  ENTER("cuModuleGetFunction");
  if (!dlsym(m->library, name)) return 500;
  *out = m;
  return 0;
}
DOUBLE Result cuFuncSetAttribute(void*, int, int) { return 0; }
DOUBLE Result cuLaunchKernel(void* f, unsigned gx, unsigned gy, unsigned gz, unsigned bx,
                             unsigned by, unsigned bz, unsigned, Stream* s, void** params, void**) {
  ENTER("cuLaunchKernel");
  Launch l = launch_of(f, {gx, gy, gz}, {bx, by, bz}, params);
  if (!valid(l.grid, l.threads)) return kInvalid;
  s->queue.push_back([l = std::move(l)] { run_launch(l); });
  return 0;
}
DOUBLE Result cuLaunchKernelEx(const lamina::cuda::LaunchConfig* c, void* f, void** params,
                               void**) {
  ENTER("cuLaunchKernelEx");
  Launch l =
      launch_of(f, {c->grid_x, c->grid_y, c->grid_z}, {c->block_x, c->block_y, c->block_z}, params);
  if (!valid(l.grid, l.threads)) return kInvalid;
  reinterpret_cast<Stream*>(c->stream)->queue.push_back([l = std::move(l)] { run_launch(l); });
  return 0;
}
DOUBLE Result cuEventCreate(Event** e, unsigned) {
  *e = new Event;
  return 0;
}
DOUBLE Result cuEventRecord(Event* e, Stream* s) {
  ENTER("cuEventRecord");
  e->stream = s;
  e->recorded = false;
  s->queue.push_back([e] {
    e->at = std::chrono::steady_clock::now();
    e->recorded = true;
  });
  return 0;
}
DOUBLE Result cuEventQuery(Event* e) {
  ENTER("cuEventQuery");
  return e->recorded ? 0 : lamina::cuda::kNotReady;
}
DOUBLE Result cuEventSynchronize(Event* e) {
  ENTER("cuEventSynchronize");
  if (!e->stream) return kInvalid;
  drain(*e->stream, e);
  return gpu().lost;
}
DOUBLE Result cuEventElapsedTime(float* ms, Event* a, Event* b) {
  ENTER("cuEventElapsedTime");
  if (!a->recorded || !b->recorded) return 600;
  *ms = std::chrono::duration<float, std::milli>(b->at - a->at).count();
  return 0;
}
DOUBLE Result cuGraphCreate(Graph** g, unsigned) {
  ENTER("cuGraphCreate");
  *g = new Graph;
  return 0;
}
DOUBLE Result cuGraphDestroy(Graph* g) {
  delete g;
  return 0;
}

namespace {
Result add_node(Node** out, Graph* g, Node* const* after, size_t count, Node made) {
  for (size_t i = 0; i < count; ++i) {
    auto it = std::find_if(g->nodes.begin(), g->nodes.end(),
                           [&](const auto& n) { return n.get() == after[i]; });
    if (it == g->nodes.end()) return kInvalid;
    made.after.push_back(static_cast<size_t>(it - g->nodes.begin()));
  }
  g->nodes.push_back(std::make_unique<Node>(std::move(made)));
  *out = g->nodes.back().get();
  return 0;
}
}  // namespace

DOUBLE Result cuGraphAddKernelNode_v2(Node** out, Graph* g, Node* const* after, size_t count,
                                      const KernelNode* node) {
  ENTER("cuGraphAddKernelNode");
  Node made;
  made.launch = launch_of(*node);
  if (!valid(made.launch.grid, made.launch.threads)) return kInvalid;
  return add_node(out, g, after, count, std::move(made));
}
DOUBLE Result cuGraphAddDependencies_v2(Graph* g, Node* const* from, Node* const* to,
                                        const lamina::cuda::EdgeData*, size_t count) {
  ENTER("cuGraphAddDependencies");
  auto position = [&](const Node* node) {
    auto it = std::find_if(g->nodes.begin(), g->nodes.end(),
                           [&](const auto& n) { return n.get() == node; });
    return static_cast<size_t>(it - g->nodes.begin());
  };
  for (size_t i = 0; i < count; ++i) {
    const size_t before = position(from[i]), after = position(to[i]);
    if (std::max(before, after) >= g->nodes.size()) return kInvalid;
    // Of a programmatic edge both ends are kernels.
    if (!g->nodes[before]->launch.function || !g->nodes[after]->launch.function) return kInvalid;
    g->nodes[after]->after.push_back(before);
  }
  return 0;
}
DOUBLE Result cuGraphAddEmptyNode(Node** out, Graph* g, Node* const* after, size_t count) {
  ENTER("cuGraphAddEmptyNode");
  Node made;
  made.empty = true;
  return add_node(out, g, after, count, std::move(made));
}
DOUBLE Result cuGraphAddChildGraphNode(Node** out, Graph* g, Node* const* after, size_t count,
                                       Graph* inner) {
  ENTER("cuGraphAddChildGraphNode");
  Node made;
  made.inner = copies(*inner);
  return add_node(out, g, after, count, std::move(made));
}
DOUBLE Result cuGraphExecChildGraphNodeSetParams(Exec* e, Node* n, Graph* inner) {
  ENTER("cuGraphExecChildGraphNodeSetParams");
  auto it = e->of.find(n);
  if (it == e->of.end() || e->nodes[it->second].inner.size() != inner->nodes.size())
    return kInvalid;
  const std::vector<Node>& known = e->nodes[it->second].inner;
  for (size_t i = 0; i < known.size(); ++i)
    if (known[i].kernel != inner->nodes[i]->kernel) {
      // The driver says nothing and computes something else.
      gpu().refused.insert("another kernel put into a graph's node");
      gpu().lost = kIllegalAddress;
    }
  e->nodes[it->second].inner = copies(*inner);
  return 0;
}
DOUBLE Result cuGraphInstantiateWithFlags(Exec** out, Graph* g, unsigned long long) {
  ENTER("cuGraphInstantiate");
  auto* e = new Exec;
  for (size_t i = 0; i < g->nodes.size(); ++i) {
    e->of[g->nodes[i].get()] = i;
    e->nodes.push_back(*g->nodes[i]);
  }
  *out = e;
  return 0;
}
DOUBLE Result cuGraphExecKernelNodeSetParams_v2(Exec* e, Node* n, const KernelNode* node) {
  ENTER("cuGraphExecKernelNodeSetParams");
  auto it = e->of.find(n);
  if (it == e->of.end() || node->function == nullptr) return kInvalid;
  e->nodes[it->second].launch = launch_of(*node);
  return 0;
}
DOUBLE Result cuGraphLaunch(Exec* e, Stream* s) {
  ENTER("cuGraphLaunch");
  s->queue.push_back([nodes = e->nodes] { run_exec(nodes); });
  return 0;
}
DOUBLE Result cuGraphExecDestroy(Exec* e) {
  delete e;
  return 0;
}
DOUBLE Result cuGetErrorName(Result r, const char** out) {
  *out = r == kNoMemory         ? "CUDA_ERROR_OUT_OF_MEMORY"
         : r == kIllegalAddress ? "CUDA_ERROR_ILLEGAL_ADDRESS"
         : r == kInvalid        ? "CUDA_ERROR_INVALID_VALUE"
                                : "CUDA_ERROR_OF_THE_DOUBLE";
  return 0;
}
DOUBLE Result cuGetErrorString(Result r, const char** out) {
  *out = r == kIllegalAddress ? "an illegal memory access was encountered" : "said by the double";
  return 0;
}
