// Kernels as text, run by the software Metal.
#include "base/error.h"
#include "devices/soft_metal/runtime.h"
#include "executor.h"

namespace metal_double {

namespace {

namespace soft = lamina::soft_metal;

// What MSL calls the types of function constants that the host knows, by MTLDataType.
std::string spelled(int type) {
  switch (type) {
    case 3:
      return "float";
    case 29:
      return "int";
    case 33:
      return "uint";
    default:
      return "bool";
  }
}

class SoftExecutable : public Executable {
 public:
  explicit SoftExecutable(std::shared_ptr<soft::Pipeline> pipeline)
      : pipeline_(std::move(pipeline)) {
    name = pipeline_->name();
    max_threads = pipeline_->max_threads();
    static_bytes = pipeline_->static_threadgroup_bytes();
    for (const soft::Argument& a : pipeline_->arguments())
      if (a.space != soft::Space::threadgroup)
        arguments.push_back({a.index, a.written, a.space == soft::Space::constant,
                             a.reference ? a.element_bytes : 0, a.alignment});
  }

  std::string run(const Invocation& call, std::vector<Touched>& touched) override {
    soft::Dispatch d;
    d.pipeline = pipeline_;
    for (size_t i = 0; i < call.buffers.size(); ++i) {
      const Bound& b = call.buffers[i];
      soft::Binding& binding = d.buffers[i];
      if (b.storage) {
        binding = {b.storage->data, b.storage->bytes, b.offset, false, b.storage->label};
      } else if (b.inlined) {
        binding.data = const_cast<unsigned char*>(b.bytes.data());
        binding.bytes = static_cast<int64_t>(b.bytes.size());
        binding.inlined = true;
      }
    }
    d.threadgroup_bytes = call.threadgroup_bytes;
    d.grid_in_threads = call.grid[0] > 0;
    d.grid = d.grid_in_threads ? call.grid : call.groups;
    d.group = call.threads;
    std::vector<soft::Touched> ranges;
    try {
      soft::run(d, &ranges);
    } catch (const lamina::Error& e) {
      return e.what();
    }
    if (tiled && broken()) spoil(call);
    for (const soft::Touched& t : ranges) {
      const Bound& b = call.buffers[static_cast<size_t>(t.binding)];
      if (b.storage)
        touched.push_back(
            {b.storage.get(), t.begin - b.storage->data, t.end - b.storage->data, t.written});
    }
    return "";
  }

  bool tiled = false;

 private:
  static bool broken() {
    std::lock_guard lock(world().mutex);
    return world().fails(Point::tiles);
  }
  // The exponent of the first element of what it writes, be it of two bytes or of four.
  void spoil(const Invocation& call) const {
    for (const Argument& a : arguments) {
      const Bound& b = call.buffers[static_cast<size_t>(a.index)];
      if (!a.written || !b.storage) continue;
      b.storage->data[b.offset + 1] ^= 0x40;
      b.storage->data[b.offset + 3] ^= 0x40;
    }
  }

  std::shared_ptr<soft::Pipeline> pipeline_;
};

class SoftProgram : public Program {
 public:
  explicit SoftProgram(std::shared_ptr<soft::Library> library) : library_(std::move(library)) {}

  bool has(const std::string& function) const override {
    for (const std::string& name : library_->functions())
      if (name == function) return true;
    return false;
  }
  std::shared_ptr<Executable> make(const std::string& function, const Constants& constants,
                                   int threads, std::string& why) override {
    soft::ConstantValues values;
    for (const auto& [index, value] : constants)
      values.by_index[index] = {spelled(value.first), value.second};
    try {
      auto made = std::make_shared<SoftExecutable>(
          soft::make_pipeline(library_, function, values, threads));
      made->tiled = source.find("a_tile") != std::string::npos;
      return made;
    } catch (const lamina::Error& e) {
      why = e.what();
      return nullptr;
    }
  }

 private:
  std::shared_ptr<soft::Library> library_;
};

}  // namespace

std::shared_ptr<Program> compile_text(const std::string& source, std::string& why) {
  try {
    return std::make_shared<SoftProgram>(soft::compile_library(source));
  } catch (const lamina::Error& e) {
    why = e.what();
    return nullptr;
  }
}

}  // namespace metal_double
