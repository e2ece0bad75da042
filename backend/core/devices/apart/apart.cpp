// A device for tests: the CPU's loops over memory that nothing else can read. Its addresses are
// moved out of the address space, so whoever takes them for the CPU's memory is stopped at once.
// It lacks float64 and complex64, as Metal does. Only when asked for by name: "apart".
#include <cstring>

#include "devices/device.h"
#include "devices/pool.h"

namespace lamina {

namespace {

// Above what any processor maps, and low enough to leave room for offsets.
constexpr uintptr_t kApart = uintptr_t{1} << 60;

void* out_of_reach(void* data) {
  return reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(data) + kApart);
}
void* within_reach(const void* data) {
  uintptr_t at = reinterpret_cast<uintptr_t>(data);
  return reinterpret_cast<void*>(at >= kApart ? at - kApart : at);
}

class ApartDevice : public Device {
 public:
  ApartDevice() : pool_(physical_memory(), nullptr, " on apart") {
    info_.name = "apart";
    info_.detail = "the CPU behind a wall";
    info_.architecture = cpu_device().info().architecture;
    info_.memory_bytes = pool_.physical();
    info_.max_kernel_args = 30;
    info_.unified = false;
    info_.dtypes &= ~(1u << static_cast<int>(Dtype::float64));
    info_.dtypes &= ~(1u << static_cast<int>(Dtype::complex64));
  }
  const DeviceInfo& info() const override { return info_; }
  void* allocate(int64_t bytes) override { return out_of_reach(pool_.allocate(bytes)); }
  void release(void* data, int64_t bytes) noexcept override {
    pool_.release(within_reach(data), bytes);
  }
  Pool& pool() override { return pool_; }

  std::unique_ptr<CompiledKernel> compile(const Kernel& kernel) override {
    return std::make_unique<Here>(kernel.args.size(), cpu_device().compile(kernel));
  }
  void launch(const CompiledKernel& kernel, void* const* buffers,
              const ScalarValue* scalars) override {
    const Here& here = static_cast<const Here&>(kernel);
    std::vector<void*> reached;
    for (size_t i = 0; i < here.args; ++i) reached.push_back(within_reach(buffers[i]));
    cpu_device().launch(*here.inner, reached.data(), scalars);
  }
  void launch_many(std::span<const Instance> instances) override {
    for (const Instance& i : instances) launch(*i.kernel, i.buffers, i.scalars);
  }
  void call(CallFn fn, const CallArgs& args) override {
    auto reached = [](std::span<const TensorView> views) {
      std::vector<TensorView> out(views.begin(), views.end());
      for (TensorView& v : out) v.data = within_reach(v.data);
      return out;
    };
    std::vector<TensorView> in = reached(args.in), out = reached(args.out);
    fn({args.params, in, out});
  }
  void copy(void* dst, const void* src, int64_t bytes) override {
    std::memcpy(within_reach(dst), within_reach(src), static_cast<size_t>(bytes));
  }
  void synchronize() override {}

 private:
  struct Here : CompiledKernel {
    Here(size_t n, std::unique_ptr<CompiledKernel> k) : args(n), inner(std::move(k)) {}
    size_t args;
    std::unique_ptr<CompiledKernel> inner;
  };

  Pool pool_;
  DeviceInfo info_;
};

Device* open_apart() { return new ApartDevice; }

const bool registered = register_device({"apart", 0, open_apart});

}  // namespace

}  // namespace lamina
