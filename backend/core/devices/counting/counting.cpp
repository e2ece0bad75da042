#include "devices/counting/counting.h"

#include <map>
#include <mutex>
#include <unordered_map>

#include "devices/registry.h"

namespace lamina {

namespace {

class CountedKernel : public CompiledKernel {
 public:
  CountedKernel(Kernel k, std::unique_ptr<CompiledKernel> i)
      : kernel(std::move(k)), inner(std::move(i)) {}
  Kernel kernel;
  std::unique_ptr<CompiledKernel> inner;
};

// Bytes of one allocation that a step has touched.
struct Touched {
  std::vector<bool> read, written;
};

class CountingDevice : public Device {
 public:
  const DeviceInfo& info() const override { return cpu_device().info(); }
  void* allocate(int64_t bytes) override {
    void* data = cpu_device().allocate(bytes);
    std::lock_guard lock(mutex_);
    live_[static_cast<char*>(data)] = bytes;
    return data;
  }
  void release(void* data, int64_t bytes) noexcept override {
    forget(data);
    cpu_device().release(data, bytes);
  }
  Pool& pool() override { return cpu_pool(); }
  std::unique_ptr<CompiledKernel> compile(const Kernel& kernel) override {
    return std::make_unique<CountedKernel>(kernel, cpu_device().compile(kernel));
  }
  void launch(const CompiledKernel& kernel, void* const* buffers,
              const ScalarValue* scalars) override {
    const auto& counted = static_cast<const CountedKernel&>(kernel);
    count(counted.kernel, buffers);
    cpu_device().launch(*counted.inner, buffers, scalars);
  }
  void launch_many(std::span<const Instance> instances) override {
    for (const Instance& i : instances) launch(*i.kernel, i.buffers, i.scalars);
  }
  void call(CallFn fn, const CallArgs& args) override {
    for (const TensorView& v : args.in)
      mark(v.data, v.shape, v.strides, 0, itemsize(v.dtype), false);
    for (const TensorView& v : args.out)
      mark(v.data, v.shape, v.strides, 0, itemsize(v.dtype), true);
    fn(args);
  }
  void copy(void* dst, const void* src, int64_t bytes) override {
    cpu_device().copy(dst, src, bytes);
  }
  void synchronize() override {}

  void forget(void* data) {
    std::lock_guard lock(mutex_);
    live_.erase(static_cast<char*>(data));
  }
  // Memory handed out earlier is no longer counted.
  void restart() {
    std::lock_guard lock(mutex_);
    live_.clear();
  }
  void begin_step(int64_t) override {
    std::lock_guard lock(mutex_);
    touched_.clear();
  }
  void end_step() override {
    std::lock_guard lock(mutex_);
    CountedLaunch out;
    for (auto& [base, t] : touched_) {
      for (bool b : t.read) out.reads += b;
      for (bool b : t.written) out.writes += b;
    }
    counts_.push_back(out);
  }
  std::vector<CountedLaunch> take() {
    std::lock_guard lock(mutex_);
    return std::move(counts_);
  }

 private:
  void count(const Kernel& k, void* const* buffers) {
    for (size_t i = 0; i < k.args.size(); ++i)
      mark(buffers[i], k.domain, k.args[i].strides, k.args[i].offset, itemsize(k.args[i].dtype),
           k.args[i].output);
  }

  // Walks every index: slow, and knows nothing of how traffic is predicted.
  void mark(void* data, const Shape& shape, const Strides& strides, int64_t offset, int64_t item,
            bool write) {
    std::lock_guard lock(mutex_);
    if (element_count(shape) == 0) return;
    char* first = static_cast<char*>(data);
    auto it = live_.upper_bound(first);
    if (it == live_.begin()) return;
    --it;
    if (first > it->first + it->second) return;  // not memory of this device
    Touched& t = touched_[it->first];
    auto& bits = write ? t.written : t.read;
    bits.resize(static_cast<size_t>(it->second));
    Shape index(shape.size(), 0);
    for (;;) {
      int64_t at = offset;
      for (size_t d = 0; d < shape.size(); ++d) at += index[d] * strides[d];
      int64_t byte = first - it->first + at * item;
      for (int64_t b = 0; b < item; ++b) bits.at(static_cast<size_t>(byte + b)) = true;
      size_t d = shape.size();
      while (d > 0 && ++index[d - 1] == shape[d - 1]) index[--d] = 0;
      if (d == 0) return;
    }
  }

  std::mutex mutex_;
  std::map<char*, int64_t> live_;
  std::unordered_map<char*, Touched> touched_;
  std::vector<CountedLaunch> counts_;
};

CountingDevice& counting_device() {
  static auto* d = new CountingDevice;
  return *d;
}
}  // namespace

void set_counting(bool value) {
  replace_cpu(value ? &counting_device() : nullptr);
  counting_device().restart();
}
std::vector<CountedLaunch> take_counts() { return counting_device().take(); }

}  // namespace lamina
