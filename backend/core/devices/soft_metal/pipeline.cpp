#include "devices/soft_metal/pipeline.h"

#include <algorithm>
#include <exception>
#include <thread>

#include "base/thread_pool.h"

namespace lamina::soft_metal {
namespace {

class LibraryOf final : public Library {
 public:
  LibraryOf(CompileJob job, Options options, std::shared_ptr<const Module> module)
      : job_(std::move(job)), options_(options), module_(std::move(module)) {
    for (const KernelInfo& k : module_->kernels) functions_.push_back(k.name);
  }
  const std::vector<std::string>& functions() const override { return functions_; }
  double compile_ms() const override { return module_->compile_ms; }

  const Options& options() const { return options_; }
  const Module& module() const { return *module_; }
  // The module for these function constants.
  std::shared_ptr<const Module> specialised(const ConstantValues& values) const {
    return module_->constants.empty() ? module_ : load_module(job_, values);
  }

 private:
  CompileJob job_;
  Options options_;
  std::shared_ptr<const Module> module_;
  std::vector<std::string> functions_;
};

size_t find(const Module& module, const std::string& function) {
  std::string names;
  for (size_t i = 0; i < module.kernels.size(); ++i) {
    if (module.kernels[i].name == function) return i;
    names += (names.empty() ? "" : ", ") + module.kernels[i].name;
  }
  throw RuleError(Rule::function_not_found,
                  "soft_metal: no kernel `" + function +
                      "` in the library\n  it has: " + (names.empty() ? "none" : names));
}

void check_constants(const Module& module, const KernelInfo& kernel, const ConstantValues& values) {
  for (int index : kernel.constants)
    for (const FunctionConstant& c : module.constants)
      if (c.index == index && !values.by_index.count(index) && !values.by_name.count(c.name)) {
        RuleError error(Rule::constant_missing,
                        "soft_metal: kernel `" + kernel.name + "`: function constant " +
                            std::to_string(index) + " `" + c.name +
                            "` has no value\n  set it in the function's constant values");
        error.kernel = kernel.name;
        throw error;
      }
}

}  // namespace

PipelineOf::PipelineOf(std::shared_ptr<const Module> module, size_t kernel, const Options& options,
                       int max_threads)
    : module_(std::move(module)), kernel_(kernel), options_(options) {
  const KernelInfo& k = this->kernel();
  max_threads_ = k.max_threads;
  // The attribute in the text wins; a descriptor may only ask for less.
  if (max_threads > 0) max_threads_ = std::min(max_threads_, max_threads);
  for (const KernelInfo::Variable& v : k.variables)
    static_bytes_ = (static_bytes_ + v.alignment - 1) / v.alignment * v.alignment + v.bytes;
  if (static_bytes_ > limits().threadgroup_bytes) {
    RuleError error(Rule::static_threadgroup,
                    "soft_metal: kernel `" + k.name + "`: " + std::to_string(static_bytes_) +
                        " bytes of static threadgroup memory, over " +
                        std::to_string(limits().threadgroup_bytes) + "\n  use smaller tiles");
    error.kernel = k.name;
    throw error;
  }
}

const PipelineOf& pipeline_of(const Pipeline& pipeline) {
  return static_cast<const PipelineOf&>(pipeline);
}

std::shared_ptr<Library> compile_library(const std::string& source, const Options& options,
                                         const std::map<std::string, std::string>& macros) {
  maybe_fail(Stage::library);
  CompileJob job{source, {macros.begin(), macros.end()}, options.check};
  return std::make_shared<LibraryOf>(job, options, load_module(job, {}));
}

std::vector<std::shared_ptr<Library>> compile_libraries(const std::vector<std::string>& sources,
                                                        const Options& options) {
  std::vector<std::shared_ptr<Library>> out(sources.size());
  std::vector<std::exception_ptr> errors(sources.size());
  std::atomic<size_t> next{0};
  // Threads of their own: these wait for processes, and the pool's would then not compute.
  auto work = [&] {
    for (size_t i; (i = next.fetch_add(1)) < sources.size();) try {
        out[i] = compile_library(sources[i], options);
      } catch (...) {
        errors[i] = std::current_exception();
      }
  };
  std::vector<std::thread> threads;
  size_t count = std::min<size_t>(sources.size(), static_cast<size_t>(thread_count()));
  for (size_t i = 1; i < count; ++i) threads.emplace_back(work);
  work();
  for (std::thread& t : threads) t.join();
  for (const std::exception_ptr& e : errors)
    if (e) std::rethrow_exception(e);
  return out;
}

std::shared_ptr<Pipeline> make_pipeline(const std::shared_ptr<Library>& library,
                                        const std::string& function,
                                        const ConstantValues& constants, int max_threads) {
  maybe_fail(Stage::pipeline);
  const auto& l = static_cast<const LibraryOf&>(*library);
  size_t id = find(l.module(), function);
  check_constants(l.module(), l.module().kernels[id], constants);
  return std::make_shared<PipelineOf>(l.specialised(constants), id, l.options(), max_threads);
}

}  // namespace lamina::soft_metal
