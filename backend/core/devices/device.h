// What a device is to the rest of lamina: an executor that knows no operation.
//
// Calls are made by one thread at a time (execute/ serialises them). Errors are exceptions of
// base/error.h; nothing here aborts.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>

#include "base/tensor_view.h"
#include "kernels/kernel.h"

namespace lamina {

struct DeviceInfo {
  std::string name;  // e.g. "cpu", with the processor's own name in `detail`
  std::string detail;
  int64_t memory_bytes;  // what may be allocated at most
  int max_kernel_args;   // arguments one kernel may have
  bool unified;          // the CPU reads the same memory
};

// A prepared kernel: tile sizes chosen, loops bound. Immutable; made once per plan.
class CompiledKernel {
 public:
  virtual ~CompiledKernel() = default;
};

// One library or structured operation: runs on views, splits its own work over the pool.
// `params` are the node's own; see graph/params.h.
struct CallArgs {
  const void* params;  // const Params*
  std::span<const TensorView> in;
  std::span<const TensorView> out;
};
using CallFn = void (*)(const CallArgs&);

class Device {
 public:
  virtual ~Device() = default;
  virtual const DeviceInfo& info() const = 0;
  // Raw memory, 64-byte aligned; throws OutOfMemory. bytes may be 0.
  virtual void* allocate(int64_t bytes) = 0;
  virtual void release(void* data, int64_t bytes) noexcept = 0;
  virtual std::unique_ptr<CompiledKernel> compile(const Kernel& kernel) = 0;
  // buffers[i] is the start of argument i's buffer (KernelArg::offset not applied).
  virtual void launch(const CompiledKernel& kernel, void* const* buffers,
                      const ScalarValue* scalars) = 0;
  // Several independent launches as one: instances of possibly different kernels.
  struct Instance {
    const CompiledKernel* kernel;
    void* const* buffers;
    const ScalarValue* scalars;
  };
  virtual void launch_many(std::span<const Instance> instances) = 0;
  virtual void call(CallFn fn, const CallArgs& args) = 0;
  virtual void copy(void* dst, const void* src, int64_t bytes) = 0;
  virtual void synchronize() = 0;
  // Around the calls of one step of a plan; for devices that measure.
  virtual void begin_step() {}
  virtual void end_step() {}
};

Device& cpu_device();
// The device evaluations use: the CPU, or one that measures it.
Device& active_device();

}  // namespace lamina
