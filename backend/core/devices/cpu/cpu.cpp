#include <cstring>
#include <fstream>

#include "base/thread_pool.h"
#include "devices/cpu/blocks.h"
#include "devices/cpu/compile.h"
#include "devices/device.h"
#include "devices/pool.h"

namespace lamina {
namespace {

// "AMD EPYC 9565 72-Core Processor" or empty where the system does not say.
std::string processor_name() {
  std::ifstream in("/proc/cpuinfo");
  std::string line;
  while (std::getline(in, line)) {
    if (line.rfind("model name", 0) != 0) continue;
    size_t colon = line.find(": ");
    if (colon != std::string::npos) return line.substr(colon + 2);
  }
  return "";
}

class CpuDevice : public Device {
 public:
  CpuDevice() {
    info_.name = "cpu";
    info_.detail = processor_name();
    info_.memory_bytes = cpu_pool().limit();
    info_.max_kernel_args = 64;
    info_.architecture = cpu::blocks().isa;
    info_.unified = true;
    info_.panels = true;
  }
  const DeviceInfo& info() const override { return info_; }
  void* allocate(int64_t bytes) override { return cpu_pool().allocate(bytes); }
  void release(void* data, int64_t bytes) noexcept override { cpu_pool().release(data, bytes); }
  Pool& pool() override { return cpu_pool(); }
  std::unique_ptr<CompiledKernel> compile(const Kernel& kernel) override {
    return cpu::compile(kernel);
  }
  void launch(const CompiledKernel& kernel, void* const* buffers,
              const ScalarValue* scalars) override {
    cpu::run(static_cast<const cpu::Program&>(kernel), buffers, scalars);
  }
  void launch_many(std::span<const Instance> instances) override { cpu::run_many(instances); }
  void call(CallFn fn, const CallArgs& args) override { fn(args); }
  void copy(void* dst, const void* src, int64_t bytes) override {
    constexpr int64_t kPiece = int64_t{1} << 20;  // one core does not saturate memory
    parallel_for(bytes, kPiece, [&](int64_t begin, int64_t end, int) {
      std::memcpy(static_cast<char*>(dst) + begin, static_cast<const char*>(src) + begin,
                  static_cast<size_t>(end - begin));
    });
  }
  void synchronize() override {}

 private:
  DeviceInfo info_;
};

}  // namespace

// Neither the pool nor the device is ever destroyed: arrays held by static objects and by an
// interpreter that is shutting down still release their memory after static destructors have begun.
Pool& cpu_pool() {
  static Pool* pool = new Pool(physical_memory());
  return *pool;
}

Device& cpu_device() {
  static CpuDevice* device = new CpuDevice;
  return *device;
}

}  // namespace lamina
