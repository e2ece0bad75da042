// What stands behind Library and Pipeline.
#pragma once

#include <memory>
#include <string>

#include "devices/soft_metal/module.h"
#include "devices/soft_metal/runtime.h"

namespace lamina::soft_metal {

class PipelineOf final : public Pipeline {
 public:
  PipelineOf(std::shared_ptr<const Module> module, size_t kernel, const Options& options,
             int max_threads);
  const std::string& name() const override { return kernel().name; }
  const std::vector<Argument>& arguments() const override { return kernel().arguments; }
  int max_threads() const override { return max_threads_; }
  int64_t static_threadgroup_bytes() const override { return static_bytes_; }
  bool communicates() const override { return kernel().communicates; }
  double compile_ms() const override { return module_->compile_ms; }

  const KernelInfo& kernel() const { return module_->kernels[kernel_]; }
  const Module& module() const { return *module_; }
  const Options& options() const { return options_; }

 private:
  std::shared_ptr<const Module> module_;
  size_t kernel_;
  Options options_;
  int max_threads_;
  int64_t static_bytes_ = 0;
};

// REQUIRES: made by make_pipeline, as every Pipeline is.
const PipelineOf& pipeline_of(const Pipeline& pipeline);

// Throws RuleError(injected) if a test asked for it.
void maybe_fail(Stage stage);

}  // namespace lamina::soft_metal
