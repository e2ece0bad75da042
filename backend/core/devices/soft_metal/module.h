// A compiled library, loaded.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "devices/soft_metal/runtime.h"
#include "devices/soft_metal/toolchain.h"
#include "devices/soft_metal/translate.h"

namespace lamina::soft_metal {

// The arguments of a launch, as entry functions read them: struct lm_group of the prelude.
struct Group {
  void* const* buffers;
  const uint64_t* threadgroup;  // addresses of the dynamic threadgroup arguments
  uint32_t grid_threads[3], grid_groups[3], group_threads[3], dispatch_threads[3], group_at[3];
  uint32_t thread_at[3], index;
};

// What a module calls: struct calls of the glue.
struct Calls {
  void (*access)(const void* at, uint64_t bytes, int write, const void* site);
  void (*block)(uint32_t id);
  void (*barrier)(uint32_t flags, int line);
  void (*simd_barrier)(uint32_t flags, int line);
  void* (*meet)(int kind, const void* value, uint32_t bytes, uint64_t uniform, int line);
  uint32_t (*lane)();
  void (*fence)(uint32_t flags);
  void (*note_atomic)(const void* at, uint32_t bytes, int write);
  uint64_t (*static_threadgroup)(uint32_t which);
  void (*inactive)();
};
const Calls& machine_calls();

using Entry = void (*)(const Group*);

struct KernelInfo {
  std::string name;
  std::vector<Argument> arguments;
  std::vector<int> constants;  // function constants it needs, by index
  struct Variable {
    std::string name;
    int64_t bytes = 0, alignment = 0;
  };
  std::vector<Variable> variables;  // static threadgroup memory
  int max_threads = 1024;
  bool communicates = false;
  Entry thread = nullptr;  // runs one thread
  Entry plain = nullptr;   // runs a whole threadgroup, one thread after the other
};

struct Module {
  ~Module();
  void* handle = nullptr;
  bool check = false;
  std::vector<FunctionConstant> constants;
  std::vector<KernelInfo> kernels;
  uint32_t blocks = 0;           // basic blocks, numbered from 1
  uintptr_t begin = 0, end = 0;  // its own code and data
  double compile_ms = 0;
};

// From the cache, or compiled. Throws RuleError(compile).
std::shared_ptr<const Module> load_module(const CompileJob& job, const ConstantValues& values);

}  // namespace lamina::soft_metal
