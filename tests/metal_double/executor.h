// What runs the kernels behind the double: C++ functions that a test registers by name, or the
// software Metal that compiles the text itself. Nothing here throws: the caller is Objective-C.
#pragma once

#include <array>
#include <functional>

#include "world.h"

namespace metal_double {

inline constexpr int kArguments = 31;

struct Argument {
  int index = 0;
  bool written = false;
  bool constant = false;    // in the constant address space
  int64_t least_bytes = 0;  // that must be bound from the offset on
  int64_t alignment = 1;    // of the offset
};

// What is bound at one index: a buffer and an offset, or bytes.
struct Bound {
  StorageRef storage;
  int64_t offset = 0;
  std::vector<unsigned char> bytes;
  bool inlined = false;
  bool set() const { return storage || inlined; }
};

struct Invocation {
  std::array<Bound, kArguments> buffers;
  std::array<int64_t, kArguments> threadgroup_bytes{};
  std::array<int64_t, 3> groups{1, 1, 1}, threads{1, 1, 1};
  std::array<int64_t, 3> grid{};  // threads in all, where the last groups are partial
};

class Executable : public Tracked {
 public:
  std::string name;
  std::vector<Argument> arguments;
  int max_threads = 1024;
  int64_t static_bytes = 0;
  // Why it could not run, or "". `touched` gets what it read and wrote.
  virtual std::string run(const Invocation& call, std::vector<Touched>& touched) = 0;
};

using Constants = std::map<int, std::pair<int, std::vector<unsigned char>>>;  // MTLDataType, value

class Program {
 public:
  virtual ~Program() = default;
  std::string source;
  virtual bool has(const std::string& function) const = 0;
  // Null: `why` says it. threads > 0: what the descriptor asked for.
  virtual std::shared_ptr<Executable> make(const std::string& function, const Constants& constants,
                                           int threads, std::string& why) = 0;
};

// Kernels that tests registered, else the software Metal's. Null: `why` says it.
std::shared_ptr<Program> compile(const std::string& source, std::string& why);

std::shared_ptr<Program> compile_text(const std::string& source, std::string& why);

// --- kernels as C++ ----------------------------------------------------------------------------

// What such a kernel is given: the address and the bytes bound at each index.
struct Native {
  std::array<char*, kArguments> data{};
  std::array<int64_t, kArguments> bytes{};
  std::array<int64_t, 3> groups{1, 1, 1}, threads{1, 1, 1};
  const Constants* constants = nullptr;
  template <class T>
  T* as(int index) const {
    return reinterpret_cast<T*>(data[static_cast<size_t>(index)]);
  }
};
struct NativeKernel {
  std::vector<Argument> arguments;
  std::function<void(const Native&)> run;
  // Bytes that argument `index` is touched in, from its start; default: all that is bound.
  std::function<int64_t(const Native&, int index)> reach;
  std::vector<int> needs_constants;
  int64_t static_bytes = 0;
};
// A source that names `kernel void <name>(` for registered kernels only is run by them.
void register_kernel(const std::string& name, NativeKernel kernel);

}  // namespace metal_double
