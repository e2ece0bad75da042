// The CPU's block programs against the IR taken at its word, on every instruction set there is.
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <set>

#include "check.h"
#include "devices/cpu/blocks.h"
#include "devices/device.h"
#include "kernels/formulas.h"
#include "random_kernel.h"

extern char** environ;

namespace lamina::test {

namespace {

// Sanitizers cost ten times the time: fewer kernels then, from the same seeds.
#if defined(__SANITIZE_ADDRESS__)
constexpr uint64_t kKernels = 300;
#else
constexpr uint64_t kKernels = 1500;
#endif

struct Launch {
  explicit Launch(uint64_t seed)
      : made(seed), after(made.memory), compiled(cpu_device().compile(made.kernel)) {
    for (int b : made.buffer_of) buffers.push_back(after[static_cast<size_t>(b)].data());
  }
  Device::Instance instance() const {
    return {compiled.get(), buffers.data(), made.scalars.data()};
  }

  RandomKernel made;
  std::vector<std::vector<unsigned char>> after;
  std::unique_ptr<CompiledKernel> compiled;
  std::vector<void*> buffers;
};

}  // namespace

TEST(random_kernels_reach_every_part) {
  std::set<int> kinds, codes, ops, reductions, loaded, stored, casts;
  int shared = 0;
  for (uint64_t seed = 0; seed < 1500; ++seed) {
    RandomKernel made(seed);
    kinds.insert(static_cast<int>(made.kernel.kind));
    shared += made.memory.size() < made.kernel.args.size();
    for (const Instr& in : made.kernel.instrs) {
      codes.insert(static_cast<int>(in.code));
      if (in.code == Code::op) ops.insert(in.op);
      if (in.code == Code::reduce) reductions.insert(in.op);
      if (in.code == Code::cast) casts.insert(static_cast<int>(in.dtype));
      if (in.code != Code::load && in.code != Code::store) continue;
      (in.code == Code::load ? loaded : stored)
          .insert(static_cast<int>(made.kernel.args[in.index].dtype));
    }
  }
  CHECK_EQ(kinds.size(), size_t{3});
  CHECK_EQ(codes.size(), size_t{7});
  CHECK_EQ(reductions.size(), size_t{8});
  for (const auto* dtypes : {&loaded, &stored, &casts})
    CHECK_EQ(dtypes->size(), size_t{kDtypeCount});
  CHECK(ops.size() >= formulas().size() * 9 / 10);
  CHECK(shared > 50);
}

TEST(programs_compute_what_their_kernel_says) {
  for (uint64_t seed = 0; seed < kKernels; ++seed) {
    NOTE(std::string(cpu::blocks().isa) + ", seed " + std::to_string(seed));
    Launch launch(seed);
    NOTE(to_text(launch.made.kernel));
    cpu_device().launch(*launch.compiled, launch.buffers.data(), launch.made.scalars.data());
    launch.made.check(launch.after);
  }
}

TEST(programs_joined_to_one_launch_compute_the_same) {
  for (uint64_t seed = 0; seed < kKernels; seed += 7) {
    NOTE(std::string(cpu::blocks().isa) + ", seeds from " + std::to_string(seed));
    std::vector<std::unique_ptr<Launch>> launches;
    std::vector<Device::Instance> instances;
    for (uint64_t i = 0; i < 1 + seed % 6; ++i)
      launches.push_back(std::make_unique<Launch>(seed + i));
    for (const auto& launch : launches) instances.push_back(launch->instance());
    cpu_device().launch_many(instances);
    for (const auto& launch : launches) {
      NOTE(to_text(launch->made.kernel));
      launch->made.check(launch->after);
    }
  }
}

// The table is chosen once a process: the other instruction sets have one of their own.
TEST(every_instruction_set) {
  std::vector<const char*> sets = cpu::instruction_sets();
  CHECK(!sets.empty());
  if (std::getenv("LAMINA_ISA")) {
    CHECK_EQ(std::string(cpu::blocks().isa), std::string(std::getenv("LAMINA_ISA")));
    return;
  }
  CHECK_EQ(std::string(cpu::blocks().isa), std::string(sets[0]));
  for (size_t i = 1; i < sets.size(); ++i) {
    NOTE(sets[i]);
    std::string chosen = std::string("LAMINA_ISA=") + sets[i];
    for (const char* part : {"programs", "every_instruction_set"}) {
      std::vector<char*> environment{chosen.data()},
          arguments{const_cast<char*>(program), const_cast<char*>(part), nullptr};
      for (char** e = environ; *e; ++e) environment.push_back(*e);
      environment.push_back(nullptr);
      pid_t child = 0;
      CHECK_EQ(posix_spawn(&child, program, nullptr, nullptr, arguments.data(), environment.data()),
               0);
      int status = -1;
      CHECK_EQ(waitpid(child, &status, 0), child);
      CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
  }
}

}  // namespace lamina::test
