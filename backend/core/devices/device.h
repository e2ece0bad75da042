// What a device is to the rest of lamina: an executor that knows no operation.
//
// Calls are made by one thread at a time (execute/ serialises them). Errors are exceptions of
// base/error.h; nothing here aborts.
#pragma once

#include <cstdint>
#include <exception>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/tensor_view.h"
#include "devices/pool.h"
#include "kernels/kernel.h"

namespace lamina {

struct TextTraits;
struct TextProgram;
struct TextCall;
struct TextEpilogue;

struct DeviceInfo {
  std::string name;  // e.g. "cpu", with the processor's own name in `detail`
  std::string detail;
  std::string architecture{};  // instruction set, GPU generation
  int64_t memory_bytes = 0;    // what may be allocated at most
  int max_kernel_args = 64;    // arguments one kernel may have
  bool unified = true;         // the CPU reads the same memory
  bool panels = false;    // runs a call's epilogue on panels of the result, on the CPU's threads
  uint32_t dtypes = ~0u;  // bit per Dtype it computes with
};

// A prepared kernel: tile sizes chosen, loops bound. Immutable; made once per plan.
class CompiledKernel {
 public:
  virtual ~CompiledKernel() = default;
  // The source it was compiled from, for a reader; empty where there is none.
  virtual std::string text() const { return {}; }
  // Spent by a compiler on it, in nanoseconds; 0 where every part came from a cache.
  virtual int64_t compile_ns() const { return 0; }
  // Memory that a launch takes for itself, beside its operands.
  virtual int64_t scratch_bytes() const { return 0; }
  // How many launches of its own go over the operands or over scratch memory one after the other,
  // and what they read and write in all.
  virtual size_t launches() const { return 1; }
  struct Passes {
    int64_t reads = 0, writes = 0;
  };
  // REQUIRES: launches() > 1
  virtual Passes passes(std::span<const int64_t> operand_bytes) const {
    (void)operand_bytes;
    return {};
  }
};

// One library or structured operation: runs on views, splits its own work over the pool.
// `params` are the node's own; see graph/params.h.
struct CallArgs {
  const void* params;  // const Params*
  std::span<const TensorView> in;
  std::span<const TensorView> out;
};
using CallFn = void (*)(const CallArgs&);

// The work of one plan that a device has been given and nobody has waited for.
class Work {
 public:
  virtual ~Work() = default;
  // Whether it has ended and touches no memory any more. Asks nothing of the device.
  virtual bool done() = 0;
  // Returns when it has ended: null, or why it failed, which only this tells.
  virtual std::exception_ptr wait() = 0;
  // The same for what comes before a fence of Device::fence(); the rest may go on.
  virtual std::exception_ptr wait_for(uint64_t fence) {
    (void)fence;
    return wait();
  }
};

// What a step's time was read from; recordings have the numbers (docs/recording-format.md).
enum class Clock : uint8_t {
  host,            // the CPU's clock, around a call that returns when the work is done
  events,          // of the device's queue, before and behind
  counters,        // the GPU's, at the start and end of an encoder
  command_buffer,  // that the step had to itself
  none,            // nothing measured it: when the CPU handed it over
};
struct StepTime {
  int64_t t0 = 0, t1 = 0;  // on now_ns()'s clock
  Clock clock = Clock::host;
};

class Device {
 public:
  virtual ~Device() = default;
  virtual const DeviceInfo& info() const = 0;
  // Raw memory, 64-byte aligned; throws OutOfMemory. bytes may be 0.
  virtual void* allocate(int64_t bytes) = 0;
  virtual void release(void* data, int64_t bytes) noexcept = 0;
  // The allocator behind allocate(), for counters and limits.
  virtual Pool& pool() = 0;
  virtual std::unique_ptr<CompiledKernel> compile(const Kernel& kernel) = 0;
  // Not null: structured operations are compiled from text too, and call() takes none.
  virtual const TextTraits* text_traits() const { return nullptr; }
  // REQUIRES: text_traits(). `write` is the operation's TextFn; its views lose their data. With an
  // epilogue, launch() takes the operands of TextCall, and the epilogue's scalars.
  virtual std::unique_ptr<CompiledKernel> compile_call(TextProgram (*)(const TextCall&,
                                                                       const TextTraits&),
                                                       const CallArgs&, const TextEpilogue*) {
    return nullptr;
  }
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
  // Whether kernels can be given this memory of the CPU's as it is.
  virtual bool reads_host(const void* data, int64_t bytes) const {
    (void)data;
    (void)bytes;
    return info().unified;
  }
  // Between the CPU's memory and this device's, in order with launches. The CPU's side may be
  // reused when the call returns.
  virtual void upload(void* dst, const void* host, int64_t bytes) { copy(dst, host, bytes); }
  virtual void download(void* host, const void* src, int64_t bytes) { copy(host, src, bytes); }
  // The same where the work that writes `src` has been waited for: waits for no other.
  virtual void fetch(void* host, const void* src, int64_t bytes) { download(host, src, bytes); }
  // Returns when all work is done; throws the first error of it, those of a plan's Work apart.
  virtual void synchronize() = 0;
  // Around one run of a plan. Plans of one family launch the same kernels in the same order, in
  // other sizes, so a device may keep what it prepared for `family`. `timed`: times of the steps
  // will be asked for.
  virtual void begin_plan(uint64_t family, bool timed) {
    (void)family;
    (void)timed;
  }
  // Behind all that the plan has launched so far, which is handed to the device: a number for
  // Work::wait_for(). 0: there is no fence but the end of the plan.
  virtual uint64_t fence() { return 0; }
  // Null: the plan's work is done or, where the CPU does not share the memory, in order before
  // whatever is asked of the device next. Otherwise the work goes on: until it has ended it reads
  // the memory it was given, of other devices too, and nobody else may touch what it writes.
  // `awaited`: its results will be waited for, and not what is asked of the device next.
  virtual std::shared_ptr<Work> end_plan(bool awaited) {
    (void)awaited;
    return nullptr;
  }
  // Instead of end_plan(), after an error: returns when nothing of the plan is under way.
  virtual void abandon_plan() noexcept {}
  virtual void forget_plan(uint64_t family) noexcept { (void)family; }
  // Around the calls of one step of a plan, of so many floating-point operations; for devices that
  // measure or estimate.
  virtual void begin_step(int64_t flops) { (void)flops; }
  virtual void end_step() {}
  // When each step since begin_plan ran; waits for them. Empty where a step's call returns when it
  // is done.
  virtual std::vector<StepTime> take_step_times() { return {}; }
};

Device& cpu_device();

// --- the devices of this process ---------------------------------------------------------------
// By number: 0 is the CPU, the others in the order of their names.
using DeviceId = uint8_t;
inline constexpr DeviceId kCpu = 0;

struct DeviceRow {
  const char* name;
  int preference;     // of mx.gpu: the highest that opens; 0: only when asked for by name
  Device* (*open)();  // once, at first use; throws DeviceError saying why there is none
};
// Called while the program starts, by each device's own file.
bool register_device(const DeviceRow& row);
std::vector<std::string> device_names();  // by id, whether they open or not
std::vector<Device*> open_devices();      // the CPU and those that have been opened
// Opens it at first use. Throws DeviceError again at every later use where that failed.
Device& device_of(DeviceId id);
// Throws DeviceError for an unknown name.
DeviceId device_named(const std::string& name);
// The device that mx.gpu means: the one LAMINA_GPU names, else the one LAMINA_DEVICE names, else
// the best that opens. Throws DeviceError where there is none, with every reason.
DeviceId gpu_device();

}  // namespace lamina
