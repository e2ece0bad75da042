#include "devices/soft_metal/device.h"

#include <algorithm>
#include <cstring>
#include <mutex>

#include "base/clock.h"
#include "base/error.h"
#include "base/interrupt.h"
#include "devices/pool.h"
#include "devices/soft_metal/runtime.h"
#include "devices/soft_metal/toolchain.h"
#include "devices/text_device.h"
#include "trace/trace.h"

namespace lamina {
namespace {

using namespace soft_metal;

std::mutex counts_mutex;
std::map<std::string, KernelCounts>& kernel_counts() {
  static auto* counts = new std::map<std::string, KernelCounts>;
  return *counts;
}

constexpr size_t kMaxLaunches = 65536;
std::vector<KernelLaunch>& launches() {
  static auto* list = new std::vector<KernelLaunch>;
  return *list;
}

// What a kernel may touch, from the address it is given, which lies inside. An operand without
// elements is bound to memory of nobody, as Metal has no empty buffers.
Binding binding(char* data, const Reach& reach) {
  static char nothing[16];
  if (!data || reach.begin == reach.end) return {nothing, sizeof nothing, 0, false, ""};
  int64_t begin = std::min<int64_t>(reach.begin, 0), end = std::max<int64_t>(reach.end, 1);
  return {data + begin, end - begin, -begin, false, ""};
}

uint32_t every_dtype_but(Dtype d) { return ~0u & ~(1u << static_cast<unsigned>(d)); }

// A program's own kernel has a name of lamina's in the text, and another one for the program.
std::string in_users_names(std::string text) {
  static const std::string own = "custom_kernel_";
  for (size_t at = 0; (at = text.find("`" + own, at)) != std::string::npos;)
    text.erase(at + 1, own.size());
  return text;
}

// Runs f; what goes wrong there speaks of kernels by the program's names.
template <class F>
auto named(F&& f) {
  try {
    return f();
  } catch (const RuleError& e) {
    RuleError error(e.rule, in_users_names(e.what()));
    error.kernel = in_users_names("`" + e.kernel).substr(1);
    error.buffer = e.buffer;
    error.thread = e.thread;
    throw error;
  } catch (const Interrupted& e) {
    throw Interrupted(in_users_names(e.what()));
  }
}

struct Prepared {
  std::shared_ptr<Library> library;
  std::shared_ptr<Pipeline> pipeline;
};

class SoftMetalDevice final : public TextDevice {
 public:
  SoftMetalDevice()
      : TextDevice("soft_metal", TextTraits{}, toolchain_key(default_options().check)) {
    if (compiler().empty())
      throw DeviceError(
          "soft_metal: no compiler for kernels\n  pip install \"lamina[softmetal]\", or set "
          "LAMINA_ZIG to the path of the zig program");
    info_ = cpu_device().info();
    info_.name = "soft_metal";
    info_.detail = "Metal's language and rules on " + info_.detail;
    info_.architecture = "soft";
    info_.max_kernel_args = limits().max_buffers - 1;
    info_.panels = false;
    info_.dtypes = every_dtype_but(Dtype::float64);
  }

  const DeviceInfo& info() const override { return info_; }
  Pool& pool() override { return pool_; }
  void* allocate(int64_t bytes) override { return pool_.allocate(bytes); }
  void release(void* data, int64_t bytes) noexcept override { pool_.release(data, bytes); }
  void copy(void* dst, const void* src, int64_t bytes) override {
    std::memcpy(dst, src, static_cast<size_t>(bytes));
  }
  void synchronize() override {}

 protected:
  std::shared_ptr<void> compile_text(const TextKernel& kernel) override {
    return named([&] {
      auto p = std::make_shared<Prepared>();
      p->library = compile_library(kernel.source);
      p->pipeline = make_pipeline(p->library, kernel.name);
      if (p->library->compile_ms() == 0 && p->pipeline->compile_ms() == 0) found_on_disk();
      return p;
    });
  }

  void launch_text(void* pipeline, const TextKernel& kernel, void* const* buffers,
                   const void* block) override {
    Dispatch d;
    d.interrupted = interrupt_hook.load(std::memory_order_relaxed);
    d.pipeline = static_cast<Prepared*>(pipeline)->pipeline;
    for (size_t i = 0; i < kernel.buffers.size(); ++i) {
      bind(d, static_cast<int>(i), binding(static_cast<char*>(buffers[i]), bound_reach()[i]));
    }
    if (!kernel.block.empty())
      bind(d, static_cast<int>(kernel.buffers.size()),
           {const_cast<void*>(block), static_cast<int64_t>(kernel.block.size()), 0, true, ""});
    d.grid_in_threads = kernel.grid[0] > 0;  // the last groups are partial
    for (size_t i = 0; i < 3; ++i) {
      d.grid[i] = d.grid_in_threads ? kernel.grid[i] : kernel.groups[i];
      d.group[i] = kernel.threads[i];
    }
    if (kernel.threadgroup_bytes > 0)
      set_threadgroup_bytes(d, 0, (kernel.threadgroup_bytes + 15) / 16 * 16);
    int64_t t0 = now_ns();
    Counts counts = named([&] { return soft_metal::run(d); });
    std::lock_guard lock(counts_mutex);
    if (trace::enabled() && launches().size() < kMaxLaunches)
      launches().push_back({kernel.name, t0, now_ns(), counts});
    KernelCounts& k = kernel_counts()[kernel.name];
    ++k.launches;
    k.counts += counts;
  }

 private:
  DeviceInfo info_;
  Pool pool_{physical_memory(), nullptr, " on soft_metal"};
};

const bool registered = register_device({"soft_metal", 0, []() -> Device* {
                                           return new SoftMetalDevice;  // lives as long as arrays
                                         }});

}  // namespace

namespace soft_metal {
std::map<std::string, KernelCounts> take_kernel_counts() {
  std::lock_guard lock(counts_mutex);
  return std::exchange(kernel_counts(), {});
}
std::vector<KernelLaunch> take_launches() {
  std::lock_guard lock(counts_mutex);
  return std::exchange(launches(), {});
}
}  // namespace soft_metal

}  // namespace lamina
