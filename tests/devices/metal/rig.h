// What the cases share: a queue on a machine of the double, and kernels that are C++ functions.
#pragma once

#include <chrono>
#include <thread>

#include "base/error.h"
#include "check.h"
#include "devices/metal/queue.h"
#include "devices/metal/residency.h"
#include "executor.h"

using namespace lamina;
using namespace lamina::metal;
using metal_double::Injected;
using metal_double::Machine;
using metal_double::Point;
using metal_double::world;

// out[i] = a[i] + b[i]; out[i] = a[i] * k; and ones that spin, or need a function constant. Their
// block is the count, then k.
void register_kernels();
std::string source_of(const std::string& name);

struct Constants {
  int64_t count;
  float k = 0;
  float unused = 0;
};

// Takes what has been violated, for cases that mean to.
std::vector<std::string> take_violations();
void inject(Point point, Injected what);
void hold(bool held);

class Rig {
 public:
  explicit Rig(const Machine& machine = {}, Queue::Options options = {});
  ~Rig();

  float* array(int64_t count, float value = 0);
  void drop(float* data, int64_t count) { memory->give(data, count * 4); }

  uint64_t add(float* out, const float* a, const float* b, int64_t count);
  uint64_t scale(float* out, const float* a, float k, int64_t count);
  uint64_t run(const std::string& kernel, float* out, const std::vector<const float*>& in,
               int64_t count, float k = 0, int64_t bytes = 0, int64_t flops = 0);
  Binding bind(const float* data, int64_t count, bool written) const;

  std::unique_ptr<Host> host;
  std::unique_ptr<Memory> memory;
  std::unique_ptr<Pipelines> pipelines;
  std::unique_ptr<Queue> queue;
};
