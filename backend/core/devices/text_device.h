// What all devices share that compile source: groups and structured operations become programs of
// kernel text, texts become pipelines through a cache, and launches get their constant blocks.
// A device adds its compiler, its launch and its memory. Calls are made by one thread at a time.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>

#include "base/hash.h"
#include "devices/device.h"
#include "devices/kernel_store.h"
#include "devices/proof.h"
#include "graph/params.h"
#include "kernels/text.h"

namespace lamina {

// The bytes of an operand's memory that a kernel may touch, from the address it is given: before it
// where strides are negative.
struct Reach {
  int64_t begin = 0, end = 0;
};

// Whether programs that are written from now on look at the indices they compute with, and raise
// IndexError at the step where one is out of bounds. What was compiled before stays as it is.
std::atomic<bool>& checks_bounds();

class TextDevice : public Device {
 public:
  const TextTraits* text_traits() const override { return &traits_; }
  // For plans made from now on; returns what it was (TextTraits::epilogue_work).
  int64_t set_epilogue_work(int64_t work) { return std::exchange(traits_.epilogue_work, work); }
  // The same of TextTraits::index_limit, for tests.
  int64_t set_index_limit(int64_t limit) { return std::exchange(traits_.index_limit, limit); }
  std::unique_ptr<CompiledKernel> compile(const Kernel& kernel) override;
  std::unique_ptr<CompiledKernel> compile_call(TextFn write, const CallArgs& args,
                                               const TextEpilogue* epilogue) override;
  void launch(const CompiledKernel& kernel, void* const* buffers,
              const ScalarValue* scalars) override;
  void launch_many(std::span<const Instance> instances) override;
  void begin_step(int64_t flops) override { step_flops_ = flops; }
  // Structured operations without text run on the CPU; the scheduler never sends one here.
  void call(CallFn fn, const CallArgs& args) override;

  // Texts compiled and texts found in memory or on disk since the program started.
  struct CacheCounts {
    int64_t compiled = 0, in_memory = 0, on_disk = 0;
    int64_t compile_ns = 0;
  };
  CacheCounts cache_counts() const { return counts_; }

 protected:
  // `name` is the folder of its kernels on disk. `options` says all that decides what a text is
  // compiled to beyond the text: compiler, its version, flags, architecture.
  TextDevice(std::string name, TextTraits traits, std::string options);

  // A pipeline for the text. Its compiled bytes may come from and go to `artifact(kernel, build)`.
  virtual std::shared_ptr<void> compile_text(const TextKernel& kernel) = 0;
  // buffers[i] is bound at index i; `block` has the size of kernel.block and is valid only during
  // the call.
  virtual void launch_text(void* pipeline, const TextKernel& kernel, void* const* buffers,
                           const void* block) = 0;
  // What a library does in the place of a program's texts, which are then not compiled: calls in
  // order, each behind texts of the device's own.
  struct LibraryPart {
    std::vector<TextKernel> ahead;
    std::shared_ptr<void> call;
    std::array<int, 3> operands{};  // as LibraryWork's, and like binds of `ahead`
    int64_t flops = 0;
  };
  struct Library {
    std::vector<LibraryPart> parts;    // none: there is no library, or it does not take the work
    std::vector<int64_t> temporaries;  // behind those of LibraryWork
    std::string text;                  // tells a reader what was prepared
  };
  virtual Library prepare_library(const LibraryWork&, const TextTraits&) { return {}; }
  virtual void launch_library(void* call, void* first, void* second, void* out) {
    (void)call, (void)first, (void)second, (void)out;
  }
  // Whether what programs with matrices sum is looked at until it holds once for each text and each
  // thing prepared for a library; what fails is never used again: the next choice takes its place,
  // the program is told, and the launch is made again. A text that ends in an epilogue is trusted
  // when the same text without it has held, which is launched for that alone. Not for devices whose
  // memory the CPU does not read, or that trust their compilers.
  virtual bool proves_sums() const { return false; }
  // Waits for all that has been launched. False: it has failed.
  virtual bool finish_launches() { return true; }
  // Launches handed over so far reach the queue, where a device collects them.
  virtual void flush() {}
  // Within launch_text: what buffers[i] reaches, and the arithmetic of the launch: the first one of
  // a step has the step's, but for what a library is known to do.
  std::span<const Reach> bound_reach() const { return bound_reach_; }
  int64_t launch_flops() const { return launch_flops_; }
  // The compiled bytes of the text: from disk, else from `build`, which are then kept there.
  std::string artifact(const TextKernel& kernel, const std::function<std::string()>& build);
  // The same as a file, for loaders that want a path; the file may go once it is loaded.
  std::string artifact_path(const TextKernel& kernel, const std::function<std::string()>& build);
  // Within compile_text: nothing was compiled, the code was on disk.
  void found_on_disk() { ++counts_.on_disk; }
  // For devices whose compiler reads and writes files of its own.
  const KernelStore& store() const { return store_; }

  TextTraits traits_;

 private:
  class Compiled;
  struct Stage;

  Hash128 key_of(const TextKernel& kernel) const;
  // Stages in use, by what they compute and for which sizes: a model's layers share them.
  std::shared_ptr<Stage> known_stage(const Hash128& key);
  void know_stage(const Hash128& key, const std::shared_ptr<Stage>& stage);
  std::shared_ptr<void> pipeline(const TextKernel& kernel);
  void run(const Compiled& compiled, void* const* buffers, const ScalarValue* scalars);
  bool prove_ahead(const Compiled& compiled, Stage& stage, void* const* buffers);
  bool refuted(const Stage& stage) const;
  bool launch_stage(const Compiled& compiled, Stage& stage, void* const* buffers,
                    const ScalarValue* scalars);
  bool holds(Stage& stage, void* const* buffers);
  // Of an operand, or a temporary while its program is launched.
  void* operand_at(int operand, void* const* buffers) const;
  void launch_all(const Compiled& compiled, const Stage& stage, void* const* buffers,
                  const ScalarValue* scalars, void* faults);
  void launch_one(const Compiled& compiled, const Stage& stage, size_t launch, void* const* buffers,
                  const ScalarValue* scalars, void* faults);
  void raise_faults(const TextProgram& program, const void* faults);

  KernelStore store_;
  std::string options_;
  std::unordered_map<Hash128, std::shared_ptr<void>> pipelines_;
  std::unordered_map<Hash128, std::weak_ptr<Stage>> stages_;
  size_t most_stages_ = 0;  // before those that are gone are looked for
  CacheCounts counts_;
  std::vector<void*> bound_, temporaries_;
  std::vector<Reach> bound_reach_;
  int64_t step_flops_ = 0;  // of which no launch has been told
  int64_t launch_flops_ = 0;
  std::set<std::string> proven_, refuted_;  // what readers are told of libraries, and texts
  std::vector<unsigned char> block_;
};

}  // namespace lamina
