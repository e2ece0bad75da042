#include "devices/text_device.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <optional>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "base/notice.h"
#include "kernels/library.h"

namespace lamina {

namespace {

constexpr size_t kMaxPipelines = 4096;
constexpr size_t kFewStages = 4096;
constexpr int kMaxLooks = 4;  // at results that show nothing, before they are trusted
constexpr int64_t kFaultBytes = 16;

// The views of a call without their data, and its parameters, kept to write the text again.
struct KeptCall {
  Params params;
  std::vector<TensorView> in, out;
  std::optional<TextEpilogue> epilogue;

  TextProgram write(TextFn fn, const TextTraits& traits) const {
    return fn({&params, in, out, epilogue ? &*epilogue : nullptr}, traits);
  }

  Hash128 identity(TextFn fn) const {
    Hash128 h;
    h.add(reinterpret_cast<uintptr_t>(fn));
    h.add(params.words().size());
    for (int64_t w : params.words()) h.add(static_cast<uint64_t>(w));
    for (const auto* views : {&in, &out}) {
      h.add(views->size());
      for (const TensorView& v : *views) {
        h.add(static_cast<uint64_t>(v.dtype));
        h.add(v.shape.size());
        for (int64_t n : v.shape) h.add(static_cast<uint64_t>(n));
        for (int64_t n : v.strides) h.add(static_cast<uint64_t>(n));
      }
    }
    h.add(epilogue.has_value());
    if (!epilogue) return h;
    h.add(static_cast<uint64_t>(epilogue->result) << 32 | static_cast<uint32_t>(epilogue->input));
    add_kernel(h, epilogue->kernel);
    return h;
  }
};

// The elements that strides lead to, as bytes; nothing where a size is 0.
Reach reach_of(const Shape& shape, const Strides& strides, int64_t offset, Dtype dtype) {
  int64_t low = offset, high = offset;
  for (size_t d = 0; d < shape.size(); ++d) {
    if (strides[d] == 0) continue;  // a sum over nothing is still written
    if (shape[d] == 0) return {};
    int64_t far = (shape[d] - 1) * strides[d];
    (far < 0 ? low : high) += far;
  }
  return {low * itemsize(dtype), (high + 1) * itemsize(dtype)};
}

std::vector<Reach> reaches_of(const Kernel& kernel) {
  std::vector<Reach> out;
  const bool nothing = element_count(kernel.domain) == 0;
  for (const KernelArg& a : kernel.args)
    out.push_back(nothing && !a.output ? Reach{}
                                       : reach_of(kernel.domain, a.strides, a.offset, a.dtype));
  return out;
}

std::vector<Reach> reaches_of(const CallArgs& args, const TextEpilogue* epilogue) {
  std::vector<Reach> out;
  auto add = [&](const TensorView& v) { out.push_back(reach_of(v.shape, v.strides, 0, v.dtype)); };
  for (const TensorView& v : args.in) add(v);
  if (!epilogue) {
    for (const TensorView& v : args.out) add(v);
    return out;
  }
  std::vector<Reach> further = reaches_of(epilogue->kernel);
  for (size_t a = 0; a < further.size(); ++a)
    if (!epilogue->stands_for(static_cast<int>(a))) out.push_back(further[a]);
  return out;
}

}  // namespace

std::atomic<bool>& checks_bounds() {
  static std::atomic<bool> on{false};
  return on;
}

// One program and its pipelines.
struct TextDevice::Stage {
  TextProgram program;
  bool matrices = false;  // written with TextTraits::simd_matrices
  bool trusted = false;
  int looks = 0;
  // In place of what the program's work says. What is ahead of its parts has moved to the program:
  // part i comes before launch number ends[i].
  Library library;
  std::vector<size_t> ends;
  std::vector<std::shared_ptr<void>> pipelines;

  bool by_library() const { return !library.parts.empty(); }
  // The kernel that sums. REQUIRES: the program says its work, and no library does it.
  const std::string& tiles() const { return program.launches[program.library->first_launch].name; }

  void take(Library made) {
    library = std::move(made);
    program.launches.resize(program.library->first_launch);
    program.temporaries.resize(program.library->temporaries);
    for (int64_t bytes : library.temporaries) program.temporaries.push_back(bytes);
    for (LibraryPart& part : library.parts) {
      for (TextKernel& k : part.ahead) program.launches.push_back(std::move(k));
      part.ahead.clear();
      ends.push_back(program.launches.size());
    }
  }

  // Parts of a library's work have the same texts ahead of them.
  std::string text() const {
    std::string out;
    for (const TextKernel& k : program.launches) {
      if (by_library() && out.find(k.source) != std::string::npos) continue;
      if (!out.empty()) out += "\n";
      out += k.source;
    }
    if (!by_library()) return out;
    return out.empty() ? library.text : out + "\n" + library.text;
  }
};

class TextDevice::Compiled : public CompiledKernel {
 public:
  using Write = std::function<TextProgram(const TextTraits&)>;
  // The same call without its epilogue, as text, launched to be looked at.
  struct Bare {
    std::unique_ptr<Compiled> call;
    size_t inputs = 0;
    int64_t result_bytes = 0;
  };

  // `identity` stands for all that `write` knows. `bare`: what this is trusted by, if anything.
  Compiled(TextDevice& device, Write write, const Hash128& identity, std::vector<Dtype> scalars,
           std::vector<Reach> reaches, Bare bare, bool to_prove)
      : scalars(std::move(scalars)),
        reaches(std::move(reaches)),
        bare(std::move(bare)),
        to_prove_(to_prove),
        device_(device),
        write_(std::move(write)),
        identity_(identity),
        traits_(device.traits_) {
    traits_.bounds = checks_bounds();
    wide_ = stage_of(traits_);
  }

  std::string text() const override { return wide_->text(); }
  int64_t compile_ns() const override { return compile_ns_; }
  int64_t scratch_bytes() const override {
    const std::vector<int64_t>& sizes = wide_->program.temporaries;
    return std::accumulate(sizes.begin(), sizes.end(), int64_t{0});
  }

  size_t launches() const override {
    return wide_->by_library() ? 1 : wide_->program.launches.size();
  }
  Passes passes(std::span<const int64_t> operand_bytes) const override {
    const TextProgram& program = wide_->program;
    Passes out;
    for (const TextKernel& k : program.launches) {
      if (k.groups[0] * k.groups[1] * k.groups[2] == 0) continue;
      for (const TextKernel::Bind& b : k.buffers) {
        if (b.operand == kFaultWords) continue;
        const auto at = static_cast<size_t>(b.operand >= 0 ? b.operand : -1 - b.operand);
        const int64_t bytes = b.operand >= 0 ? operand_bytes[at] : program.temporaries[at];
        (b.written ? out.writes : out.reads) += std::min(bytes, b.most);
      }
    }
    return out;
  }

  // The program whose alignments hold for these operands.
  Stage& stage_for(void* const* buffers) const {
    if (aligned(*wide_, buffers)) return *wide_;
    if (!narrow_) narrow_ = stage_of(narrow_traits());
    return *narrow_;
  }
  // The next choice in the place of one that was refuted.
  void replace(const Stage& stage) const {
    const bool wide = &stage == wide_.get();
    const TextTraits traits = wide ? traits_ : narrow_traits();
    (wide ? wide_ : narrow_) = make(traits);
    device_.know_stage(key_of(traits), wide ? wide_ : narrow_);
  }
  // No text with matrices has been refuted.
  bool matrices() const { return wide_->matrices && (!narrow_ || narrow_->matrices); }
  bool says_its_work() const { return wide_->program.library != nullptr; }

  const std::vector<Dtype> scalars;
  const std::vector<Reach> reaches;  // of operands
  const Bare bare;

 private:
  TextTraits narrow_traits() const {
    TextTraits traits = traits_;
    traits.vector_bytes = 1;
    return traits;
  }

  // Traits that differ between the programs of one device.
  Hash128 key_of(const TextTraits& traits) const {
    Hash128 h = identity_;
    h.add(traits.bounds);
    h.add(static_cast<uint64_t>(traits.vector_bytes));
    h.add(static_cast<uint64_t>(traits.epilogue_work));
    h.add(static_cast<uint64_t>(traits.index_limit));
    h.add(to_prove_);
    return h;
  }
  std::shared_ptr<Stage> stage_of(const TextTraits& traits) const {
    const Hash128 key = key_of(traits);
    if (std::shared_ptr<Stage> known = device_.known_stage(key)) return known;
    std::shared_ptr<Stage> made = make(traits);
    device_.know_stage(key, made);
    return made;
  }
  std::shared_ptr<Stage> make(TextTraits traits) const {
    auto stage = std::make_shared<Stage>();
    auto refuted = [&] { return device_.refuted_.contains(stage->text()); };
    if (bare.call && !bare.call->matrices()) traits.simd_matrices = false;
    stage->program = write_(traits);
    if (const std::shared_ptr<const LibraryWork> work = stage->program.library) {
      Library library;
      if (!to_prove_ && !work->texts_only) library = device_.prepare_library(*work, traits);
      if (!library.parts.empty()) stage->take(std::move(library));
      if (stage->by_library() && refuted()) {
        stage = std::make_shared<Stage>();
        stage->program = write_(traits);
      }
      if (!stage->by_library() && refuted()) {
        traits.simd_matrices = false;
        stage->program = write_(traits);
        if (refuted())
          throw DeviceError(device_.info().name + ": kernel " + stage->tiles() +
                            ": every text of it gives wrong sums on this device");
      }
    }
    stage->matrices = traits.simd_matrices;
    if (to_prove_) {
      stage->trusted = !stage->program.library || device_.proven_.contains(stage->text());
      if (stage->trusted) return stage;  // it is never launched
    }
    int64_t before = device_.counts_.compile_ns;
    for (const TextKernel& k : stage->program.launches)
      stage->pipelines.push_back(device_.pipeline(k));
    compile_ns_ += device_.counts_.compile_ns - before;
    return stage;
  }

  static bool aligned(const Stage& stage, void* const* buffers) {
    for (const TextKernel& k : stage.program.launches)
      for (const TextKernel::Bind& b : k.buffers)
        if (b.operand >= 0 &&
            reinterpret_cast<uintptr_t>(buffers[b.operand]) % static_cast<uintptr_t>(b.alignment))
          return false;
    return true;
  }

  const bool to_prove_;  // a Bare's
  TextDevice& device_;
  Write write_;
  const Hash128 identity_;
  TextTraits traits_;
  mutable int64_t compile_ns_ = 0;  // of what had not been compiled before
  mutable std::shared_ptr<Stage> wide_, narrow_;
};

TextDevice::TextDevice(std::string name, TextTraits traits, std::string options)
    : traits_(traits), store_(name), options_(std::move(options)) {}

std::unique_ptr<CompiledKernel> TextDevice::compile(const Kernel& kernel) {
  Hash128 identity;
  add_kernel(identity, kernel);
  return std::make_unique<Compiled>(
      *this, [kernel](const TextTraits& t) { return write_text(kernel, t); }, identity,
      kernel.scalars, reaches_of(kernel), Compiled::Bare{}, false);
}

std::unique_ptr<CompiledKernel> TextDevice::compile_call(TextFn write, const CallArgs& args,
                                                         const TextEpilogue* epilogue) {
  KeptCall kept{*static_cast<const Params*>(args.params),
                {args.in.begin(), args.in.end()},
                {args.out.begin(), args.out.end()},
                {}};
  auto made = [&](std::vector<Dtype> scalars, Compiled::Bare bare, bool to_prove) {
    return std::make_unique<Compiled>(
        *this, [write, kept](const TextTraits& t) { return kept.write(write, t); },
        kept.identity(write), std::move(scalars),
        reaches_of(args, kept.epilogue ? epilogue : nullptr), std::move(bare), to_prove);
  };
  Compiled::Bare bare;
  if (!epilogue) return made({}, std::move(bare), false);
  if (proves_sums()) {
    std::unique_ptr<Compiled> call = made({}, {}, true);
    const int64_t result = call->reaches.back().end;
    if (call->says_its_work()) bare = {std::move(call), args.in.size(), result};
  }
  kept.epilogue = *epilogue;
  return made(epilogue->kernel.scalars, std::move(bare), false);
}

std::shared_ptr<TextDevice::Stage> TextDevice::known_stage(const Hash128& key) {
  auto it = stages_.find(key);
  if (it == stages_.end()) return nullptr;
  std::shared_ptr<Stage> stage = it->second.lock();
  if (stage) counts_.in_memory += static_cast<int64_t>(stage->program.launches.size());
  return stage;
}

void TextDevice::know_stage(const Hash128& key, const std::shared_ptr<Stage>& stage) {
  stages_[key] = stage;
  if (stages_.size() < most_stages_) return;
  std::erase_if(stages_, [](const auto& item) { return item.second.expired(); });
  most_stages_ = std::max(kFewStages, 2 * stages_.size());
}

Hash128 TextDevice::key_of(const TextKernel& kernel) const {
  Hash128 h;
  h.add(kernel.name);
  h.add(options_);
  h.add(kernel.contracts);
  h.add_bytes(kernel.source.data(), kernel.source.size());
  if (kernel.image) h.add_bytes(kernel.image->data(), kernel.image->size());
  return h;
}

std::shared_ptr<void> TextDevice::pipeline(const TextKernel& kernel) {
  Hash128 key = key_of(kernel);
  if (auto it = pipelines_.find(key); it != pipelines_.end()) {
    ++counts_.in_memory;
    return it->second;
  }
  int64_t t0 = now_ns(), found = counts_.on_disk;
  std::shared_ptr<void> made = compile_text(kernel);
  if (counts_.on_disk == found) counts_.compile_ns += now_ns() - t0;
  if (pipelines_.size() >= kMaxPipelines)
    std::erase_if(pipelines_, [](const auto& item) { return item.second.use_count() == 1; });
  pipelines_.emplace(key, made);
  return made;
}

std::string TextDevice::artifact(const TextKernel& kernel,
                                 const std::function<std::string()>& build) {
  Hash128 key = key_of(kernel);
  if (auto bytes = store_.read(key)) {
    found_on_disk();
    return *bytes;
  }
  std::string bytes = build();
  ++counts_.compiled;
  store_.write(key, bytes);
  return bytes;
}

std::string TextDevice::artifact_path(const TextKernel& kernel,
                                      const std::function<std::string()>& build) {
  artifact(kernel, build);
  return store_.path(key_of(kernel));
}

void TextDevice::run(const Compiled& compiled, void* const* buffers, const ScalarValue* scalars) {
  for (;;) {
    Stage& stage = compiled.stage_for(buffers);
    if (prove_ahead(compiled, stage, buffers) && launch_stage(compiled, stage, buffers, scalars))
      return;
    compiled.replace(stage);
  }
}

// What ends in an epilogue may write over what it has read, so it is looked at before: by the
// result that it would have had. False: it is not to be launched.
bool TextDevice::prove_ahead(const Compiled& compiled, Stage& stage, void* const* buffers) {
  const auto& [bare, inputs, bytes] = compiled.bare;
  if (!bare || stage.trusted) return !refuted(stage);
  struct Result {
    TextDevice& device;
    const int64_t bytes;
    void* data = device.allocate(bytes);
    ~Result() { device.release(data, bytes); }
  };
  std::vector<void*> operands(buffers, buffers + inputs);
  operands.push_back(nullptr);
  Stage& first = bare->stage_for(operands.data());
  if (!first.trusted && !(first.trusted = proven_.contains(first.text()))) {
    Result result{*this, bytes};
    operands.back() = result.data;
    run(*bare, operands.data(), nullptr);
  }
  if (stage.matrices && !bare->matrices()) return false;
  stage.trusted = bare->stage_for(operands.data()).trusted;
  return true;
}

// By what another program of this text has summed.
bool TextDevice::refuted(const Stage& stage) const {
  return !stage.trusted && !refuted_.empty() && stage.program.library &&
         refuted_.contains(stage.text());
}

// Looks at what has been launched for the first time.
bool TextDevice::holds(Stage& stage, void* const* buffers) {
  if (stage.trusted || !stage.program.library) return true;
  if (!proves_sums()) return stage.trusted = true;
  const std::string text = stage.text();
  if (proven_.contains(text)) return stage.trusted = true;
  const LibraryWork& work = *stage.program.library;
  std::vector<const void*> memory;
  for (int operand : work.operands) memory.push_back(operand_at(operand, buffers));
  for (int operand : work.further) memory.push_back(operand_at(operand, buffers));
  const Proof proof = finish_launches() ? prove(work, memory) : Proof::unseen;
  if (proof == Proof::fails) {
    refuted_.insert(text);
    const std::string what = stage.by_library() ? stage.library.text : "kernel " + stage.tiles();
    notice(info().name + ": " + what +
           " gives wrong sums on this device; the next choice takes its place");
    return false;
  }
  stage.trusted = proof == Proof::holds || ++stage.looks >= kMaxLooks;
  if (proof == Proof::holds) proven_.insert(text);
  return true;
}

void* TextDevice::operand_at(int operand, void* const* buffers) const {
  return operand >= 0 ? buffers[operand] : temporaries_[static_cast<size_t>(-1 - operand)];
}

// False: what it has summed is wrong.
bool TextDevice::launch_stage(const Compiled& compiled, Stage& stage, void* const* buffers,
                              const ScalarValue* scalars) {
  const std::vector<int64_t>& sizes = stage.program.temporaries;
  // Memory goes back when the launches are in the queue: what takes it next stands behind them.
  struct Temporaries {
    TextDevice& device;
    const std::vector<int64_t>& sizes;
    std::vector<void*>& data;
    ~Temporaries() {
      for (size_t i = 0; i < data.size(); ++i) device.release(data[i], sizes[i]);
      data.clear();
    }
  } held{*this, sizes, temporaries_};
  for (int64_t bytes : sizes) temporaries_.push_back(allocate(bytes));
  if (stage.program.faults.empty()) {
    launch_all(compiled, stage, buffers, scalars, nullptr);
    return holds(stage, buffers);
  }
  struct Faults {
    TextDevice& device;
    void* words = device.allocate(kFaultBytes);
    ~Faults() { device.release(words, kFaultBytes); }
  } faults{*this};
  const uint32_t none[kFaultBytes / 4] = {};
  flush();
  upload(faults.words, none, kFaultBytes);
  launch_all(compiled, stage, buffers, scalars, faults.words);
  raise_faults(stage.program, faults.words);
  return holds(stage, buffers);
}

// Waits for the program.
void TextDevice::raise_faults(const TextProgram& program, const void* faults) {
  uint32_t words[kFaultBytes / 4];
  flush();
  synchronize();
  download(words, faults, kFaultBytes);
  if (words[0] == 0) return;
  program.faults.at(words[0] - 1)(words[2] | uint64_t{words[3]} << 32);
  throw InternalError(info().name + ": a noted fault is no error");
}

void TextDevice::launch_all(const Compiled& compiled, const Stage& stage, void* const* buffers,
                            const ScalarValue* scalars, void* faults) {
  if (stage.by_library()) step_flops_ = 0;
  size_t next = 0;
  for (size_t part = 0; part < stage.ends.size(); ++part) {
    while (next < stage.ends[part]) launch_one(compiled, stage, next++, buffers, scalars, faults);
    const auto& [ahead, call, operands, flops] = stage.library.parts[part];
    launch_flops_ = flops;
    launch_library(call.get(), operand_at(operands[0], buffers), operand_at(operands[1], buffers),
                   operand_at(operands[2], buffers));
  }
  while (next < stage.program.launches.size())
    launch_one(compiled, stage, next++, buffers, scalars, faults);
}

void TextDevice::launch_one(const Compiled& compiled, const Stage& stage, size_t launch,
                            void* const* buffers, const ScalarValue* scalars, void* faults) {
  const std::vector<int64_t>& sizes = stage.program.temporaries;
  const TextKernel& k = stage.program.launches[launch];
  bound_.clear();
  bound_reach_.clear();
  for (const TextKernel::Bind& b : k.buffers) {
    if (b.operand == kFaultWords) {
      bound_.push_back(faults);
      bound_reach_.push_back({0, kFaultBytes});
    } else if (b.operand >= 0) {
      bound_.push_back(buffers[b.operand]);
      bound_reach_.push_back(compiled.reaches[static_cast<size_t>(b.operand)]);
    } else {
      const auto temporary = static_cast<size_t>(-1 - b.operand);
      bound_.push_back(temporaries_[temporary]);
      bound_reach_.push_back({0, sizes[temporary]});
    }
  }
  block_ = k.block;
  for (size_t s = 0; s < k.scalar_at.size(); ++s)
    if (k.scalar_at[s] >= 0)
      std::memcpy(block_.data() + k.scalar_at[s], scalars[s].bytes,
                  static_cast<size_t>(itemsize(compiled.scalars[s])));
  launch_flops_ = std::exchange(step_flops_, 0);
  launch_text(stage.pipelines[launch].get(), k, bound_.data(), block_.data());
}

void TextDevice::launch(const CompiledKernel& kernel, void* const* buffers,
                        const ScalarValue* scalars) {
  run(static_cast<const Compiled&>(kernel), buffers, scalars);
}

void TextDevice::launch_many(std::span<const Instance> instances) {
  for (const Instance& i : instances)
    run(static_cast<const Compiled&>(*i.kernel), i.buffers, i.scalars);
}

void TextDevice::call(CallFn, const CallArgs&) {
  throw InternalError(info().name + ": a structured operation without text was sent to the device");
}

}  // namespace lamina
