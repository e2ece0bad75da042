#include "rig.h"

#include <algorithm>
#include <utility>

using namespace metal_double;

namespace {

int64_t count_of(const Native& n, int block) { return n.as<::Constants>(block)->count; }

// Device arguments first, the last of them written; then the block.
NativeKernel elementwise(int inputs, std::function<void(const Native&, int64_t, float)> body) {
  NativeKernel kernel;
  for (int i = 0; i <= inputs; ++i) kernel.arguments.push_back({i, i == inputs, false, 4, 4});
  kernel.arguments.push_back({inputs + 1, false, true, sizeof(::Constants), 8});
  const int block = inputs + 1;
  kernel.run = [=](const Native& n) {
    const auto* c = n.as<::Constants>(block);
    body(n, c->count, c->k);
  };
  kernel.reach = [=](const Native& n, int) { return 4 * count_of(n, block); };
  return kernel;
}

}  // namespace

void register_kernels() {
  register_kernel("add", elementwise(2, [](const Native& n, int64_t count, float) {
                    for (int64_t i = 0; i < count; ++i)
                      n.as<float>(2)[i] = n.as<float>(0)[i] + n.as<float>(1)[i];
                  }));
  register_kernel("scale", elementwise(1, [](const Native& n, int64_t count, float k) {
                    for (int64_t i = 0; i < count; ++i) n.as<float>(1)[i] = n.as<float>(0)[i] * k;
                  }));
  register_kernel("slow", elementwise(1, [](const Native& n, int64_t count, float k) {
                    std::this_thread::sleep_for(std::chrono::duration<float, std::milli>(k));
                    for (int64_t i = 0; i < count; ++i) n.as<float>(1)[i] = n.as<float>(0)[i] + 1;
                  }));
  NativeKernel constant = elementwise(1, [](const Native& n, int64_t count, float) {
    float k;
    std::copy_n(n.constants->at(7).second.begin(), 4, reinterpret_cast<unsigned char*>(&k));
    for (int64_t i = 0; i < count; ++i) n.as<float>(1)[i] = n.as<float>(0)[i] * k;
  });
  constant.needs_constants = {7};
  register_kernel("by_constant", constant);
  NativeKernel large = elementwise(1, [](const Native&, int64_t, float) {});
  large.static_bytes = 40000;
  register_kernel("large_group", large);
}

std::string source_of(const std::string& name) { return "kernel void " + name + "(...) {}"; }

std::vector<std::string> take_violations() {
  std::lock_guard lock(world().mutex);
  return std::exchange(world().violations, {});
}

void inject(Point point, Injected what) {
  std::lock_guard lock(world().mutex);
  world().injected[point] = what;
}

void hold(bool held) {
  std::lock_guard lock(world().mutex);
  world().held = held;
  world().changed.notify_all();
}

Rig::Rig(const Machine& machine, Queue::Options options) {
  world().restart(machine);
  host.reset(host_factory()());
  memory = std::make_unique<Memory>(*host);
  pipelines = std::make_unique<Pipelines>(*host);
  queue = std::make_unique<Queue>(*host, *memory, chip_of(host->facts()), options);
}

Rig::~Rig() {
  queue.reset();
  pipelines.reset();
  memory.reset();
  host.reset();
  // The last completion's thread gives its objects up a moment after the queue has heard of it.
  for (int i = 0; i < 1000; ++i) {
    {
      std::lock_guard lock(world().mutex);
      if (world().seen.live_objects == 0) return;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

float* Rig::array(int64_t count, float value) {
  auto* data = static_cast<float*>(memory->take(count * 4));
  if (data) std::fill_n(data, count, value);
  return data;
}

Binding Rig::bind(const float* data, int64_t count, bool written) const {
  return {memory->find(data), 0, count * 4, written};
}

uint64_t Rig::run(const std::string& kernel, float* out, const std::vector<const float*>& in,
                  int64_t count, float k, int64_t bytes, int64_t flops) {
  std::vector<Binding> buffers;
  for (const float* data : in) buffers.push_back(bind(data, count, false));
  buffers.push_back(bind(out, count, true));
  ::Constants constants{count, k};
  const auto* first = reinterpret_cast<const unsigned char*>(&constants);
  Launch launch;
  launch.pipeline = pipelines->get(source_of(kernel), kernel);
  launch.buffers = buffers;
  launch.block = {first, sizeof constants};
  launch.groups = {(count + 255) / 256, 1, 1};
  launch.threads = {256, 1, 1};
  launch.bytes = bytes;
  launch.flops = flops;
  launch.tag = static_cast<uint64_t>(k);
  return queue->launch(launch);
}

uint64_t Rig::add(float* out, const float* a, const float* b, int64_t count) {
  return run("add", out, {a, b}, count);
}

uint64_t Rig::scale(float* out, const float* a, float k, int64_t count) {
  return run("scale", out, {a}, count, k);
}
