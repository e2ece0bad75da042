#include <algorithm>
#include <exception>
#include <regex>

#include "executor.h"

namespace metal_double {

namespace {

std::map<std::string, NativeKernel>& kernels() {
  static auto* all = new std::map<std::string, NativeKernel>;
  return *all;
}

class NativeExecutable : public Executable {
 public:
  NativeExecutable(const NativeKernel& kernel, Constants constants)
      : kernel_(kernel), constants_(std::move(constants)) {}

  std::string run(const Invocation& call, std::vector<Touched>& touched) override {
    Native native;
    native.groups = call.groups;
    native.threads = call.threads;
    native.constants = &constants_;
    for (size_t i = 0; i < call.buffers.size(); ++i) {
      const Bound& b = call.buffers[i];
      if (b.storage) {
        native.data[i] = b.storage->data + b.offset;
        native.bytes[i] = b.storage->bytes - b.offset;
      } else if (b.inlined) {
        native.data[i] = reinterpret_cast<char*>(const_cast<unsigned char*>(b.bytes.data()));
        native.bytes[i] = static_cast<int64_t>(b.bytes.size());
      }
    }
    for (const Argument& a : arguments) {
      const Bound& b = call.buffers[static_cast<size_t>(a.index)];
      if (!b.storage) continue;
      int64_t reach = native.bytes[static_cast<size_t>(a.index)];
      if (kernel_.reach) reach = kernel_.reach(native, a.index);
      if (reach > native.bytes[static_cast<size_t>(a.index)])
        return "argument " + std::to_string(a.index) + " is read or written out of bounds";
      touched.push_back({b.storage.get(), b.offset, b.offset + reach, a.written});
    }
    try {
      kernel_.run(native);
    } catch (const std::exception& e) {
      return e.what();
    }
    return "";
  }

 private:
  NativeKernel kernel_;
  Constants constants_;
};

class NativeProgram : public Program {
 public:
  explicit NativeProgram(std::vector<std::string> names) : names_(std::move(names)) {}
  bool has(const std::string& f) const override {
    return std::find(names_.begin(), names_.end(), f) != names_.end();
  }
  std::shared_ptr<Executable> make(const std::string& function, const Constants& constants,
                                   int threads, std::string& why) override {
    const NativeKernel& kernel = kernels().at(function);
    for (int index : kernel.needs_constants)
      if (!constants.contains(index)) {
        why = "function constant " + std::to_string(index) + " has no value";
        return nullptr;
      }
    auto made = std::make_shared<NativeExecutable>(kernel, constants);
    made->name = function;
    made->arguments = kernel.arguments;
    made->static_bytes = kernel.static_bytes;
    made->max_threads = threads > 0 ? threads : world().machine.pipeline_threads;
    return made;
  }

 private:
  std::vector<std::string> names_;
};

}  // namespace

void register_kernel(const std::string& name, NativeKernel kernel) {
  kernels()[name] = std::move(kernel);
}

std::shared_ptr<Program> compile(const std::string& source, std::string& why) {
  static const std::regex declaration(R"(kernel\s+void\s+(\w+)\s*\()");
  std::vector<std::string> names;
  bool native = true;
  for (std::sregex_iterator it(source.begin(), source.end(), declaration), end; it != end; ++it) {
    names.push_back((*it)[1]);
    native &= kernels().contains(names.back());
  }
  std::shared_ptr<Program> made;
  if (native && !names.empty())
    made = std::make_shared<NativeProgram>(std::move(names));
  else
    made = compile_text(source, why);
  if (made) made->source = source;
  return made;
}

}  // namespace metal_double
