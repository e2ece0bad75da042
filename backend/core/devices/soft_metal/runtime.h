// Software Metal: compiles the text that Metal's newLibraryWithSource would take, runs it on
// threads with Metal's semantics, refuses what Metal forbids, and counts what a GPU would pay for.
//
// Nothing here knows lamina's graph or Metal's objects: the `soft_metal` device stands on this API,
// and so does the double of Metal's protocols in tests/metal_double.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "devices/soft_metal/counts.h"

namespace lamina::soft_metal {

struct Limits {
  int max_buffers = 31;             // argument indices 0..30
  int64_t max_inline_bytes = 4095;  // setBytes
  int max_threads = 1024;           // in a threadgroup
  int simd_width = 32;
  int64_t threadgroup_bytes = 32768;  // static and dynamic together
  int threadgroup_granule = 16;       // lengths are multiples of it
  int max_alignment = 16;             // asked of an offset into a device buffer at most
  int constant_alignment = 4;         // of an offset into a constant buffer
  int64_t max_buffer_bytes = int64_t{1} << 36;
  int64_t private_bytes = int64_t{192}
                          << 10;  // of a thread: arrays, and what registers do not hold
};
const Limits& limits();

// The rules that are enforced. name_of gives the identifier as spelled here.
enum class Rule : uint8_t {
  compile,  // the text is not MSL: Metal's compiler would refuse it
  function_not_found,
  constant_missing,  // a function constant that the kernel needs has no value
  constant_type,
  static_threadgroup,  // static threadgroup memory over the limit: no pipeline
  no_pipeline,         // dispatch without a pipeline
  buffer_index,
  buffer_unbound,
  buffer_offset,  // outside of the buffer
  buffer_alignment,
  buffer_short,  // fewer bytes than the argument's type has
  inline_bytes,
  threadgroup_length,  // not a multiple of 16, or an argument without a length
  threadgroup_total,
  group_size,
  empty_grid,
  grid_size,  // an axis past 2^32
  out_of_bounds,
  write_to_constant,
  data_race,
  divergent_barrier,
  divergent_matrix,     // simdgroup_matrix work by part of a SIMD-group
  uninitialised,        // threadgroup memory read before anyone wrote it
  nonuniform_argument,  // e.g. the lane of simd_broadcast differs between lanes
  missing_barrier,      // dependent dispatches of a concurrent encoder
  private_memory,       // a thread keeps more of its own than its stack takes
  injected,             // a failure a test asked for
};
const char* name_of(Rule rule);

// One rule violated. `kernel`, `buffer` and `thread` are filled where they apply.
class RuleError : public DeviceError {
 public:
  RuleError(Rule rule, const std::string& what) : DeviceError(what), rule(rule) {}
  Rule rule;
  std::string kernel;
  int buffer = -1;                            // argument index
  std::array<int64_t, 3> thread{-1, -1, -1};  // position in the grid
};

// How kernels are compiled and run. Defaults come from the environment.
struct Options {
  // Bounds, races, uninitialised threadgroup memory, random orders. LAMINA_SOFT_METAL_CHECK=0/1.
  bool check = true;
  // Fill Counts' figures of memory and divergence. LAMINA_SOFT_METAL_COUNT=0/1; needs `check`.
  bool count = true;
  uint64_t seed = 1;  // of the order of threadgroups and SIMD-groups; LAMINA_SOFT_METAL_SEED
};
Options default_options();

// The value of a function constant; `type` as MSL spells it ("bool", "float", "uint", "half4").
struct ConstantValue {
  std::string type;
  std::vector<unsigned char> bytes;
};
struct ConstantValues {
  std::map<int, ConstantValue> by_index;
  std::map<std::string, ConstantValue> by_name;
};

enum class Space : uint8_t { device, constant, threadgroup };

struct Argument {
  std::string name;
  std::string type;  // as written, e.g. "device const float*"
  Space space;
  int index;              // [[buffer(n)]] or [[threadgroup(n)]]
  bool written;           // neither const nor in the constant space
  bool reference;         // `constant T&`: at least one T must be bound
  int64_t element_bytes;  // sizeof the type pointed to; 0 where it cannot be known (void)
  int64_t alignment;
};

// Text that compiled. Immutable, any thread.
class Library {
 public:
  virtual ~Library() = default;
  virtual const std::vector<std::string>& functions() const = 0;  // kernels, by host name
  virtual double compile_ms() const = 0;                          // 0 from the disk cache
};

// One kernel ready to run. Immutable, any thread.
class Pipeline {
 public:
  virtual ~Pipeline() = default;
  virtual const std::string& name() const = 0;
  virtual const std::vector<Argument>& arguments() const = 0;  // that this specialisation has
  virtual int max_threads() const = 0;                         // per threadgroup
  virtual int64_t static_threadgroup_bytes() const = 0;
  // False: its threads never meet (no barrier, no SIMD-group function): plain loops run it.
  virtual bool communicates() const = 0;
  virtual double compile_ms() const = 0;
};

// Throws RuleError(compile) with the compiler's own lines. `macros` are preprocessorMacros.
std::shared_ptr<Library> compile_library(const std::string& source,
                                         const Options& options = default_options(),
                                         const std::map<std::string, std::string>& macros = {});
// Several at once: their compilers run side by side. An error is that of the first that fails.
std::vector<std::shared_ptr<Library>> compile_libraries(const std::vector<std::string>& sources,
                                                        const Options& = default_options());
// Throws RuleError(function_not_found / constant_missing / constant_type / static_threadgroup).
// max_threads > 0 is the descriptor's maxTotalThreadsPerThreadgroup.
std::shared_ptr<Pipeline> make_pipeline(const std::shared_ptr<Library>& library,
                                        const std::string& function,
                                        const ConstantValues& constants = {}, int max_threads = 0);

// What is bound at one index. `data` is the buffer's start and `bytes` its length; the kernel gets
// data + offset. A binding from setBytes is `inlined`: its bytes are copied at bind time.
struct Binding {
  void* data = nullptr;
  int64_t bytes = 0;
  int64_t offset = 0;
  bool inlined = false;
  std::string label;  // shown in errors
};

// The state of an encoder at one dispatch.
struct Dispatch {
  std::shared_ptr<Pipeline> pipeline;
  std::array<Binding, 31> buffers{};
  std::array<int64_t, 31> threadgroup_bytes{};  // setThreadgroupMemoryLength:atIndex:
  std::array<int64_t, 3> grid{1, 1, 1};         // threads, or threadgroups
  std::array<int64_t, 3> group{1, 1, 1};        // threadsPerThreadgroup
  bool grid_in_threads = true;                  // dispatchThreads, else dispatchThreadgroups
  // Asked now and then, by the thread that runs the dispatch; true stops it wherever it is.
  bool (*interrupted)() = nullptr;
};

// What the encoder's setters refuse: an index over 30, setBytes of 0 or more than 4095 bytes, a
// threadgroup length that is no multiple of 16. Throw RuleError.
void bind(Dispatch& dispatch, int index, const Binding& binding);
void set_threadgroup_bytes(Dispatch& dispatch, int index, int64_t bytes);
// What the debug layer would refuse before anything runs. Throws RuleError.
void validate(const Dispatch& dispatch);
// Runs to the end on lamina's threads. Throws RuleError of validate and of the shader's rules;
// after one of the latter, the contents of written buffers are unspecified. Throws Interrupted if
// dispatch.interrupted says so.
Counts run(const Dispatch& dispatch);
// Bytes of a binding that a dispatch read or wrote.
struct Touched {
  const char *begin, *end;
  bool written;
  int binding;
};
// The same, and which bytes were touched: exact where options say `check`, else all that is bound.
Counts run(const Dispatch& dispatch, std::vector<Touched>* touched);

// Dispatches of one encoder. A serial encoder orders them; in a concurrent one, a dispatch that
// touches what an earlier one wrote (or writes what it read) needs a barrier between.
class Encoder {
 public:
  explicit Encoder(bool concurrent) : concurrent_(concurrent) {}
  // Validates, checks for a missing barrier, runs.
  Counts dispatch(const Dispatch& dispatch);
  void barrier() { used_.clear(); }  // memoryBarrierWithScope:MTLBarrierScopeBuffers
  // memoryBarrierWithResources: only these memory ranges (start, bytes) are ordered.
  void barrier(const std::vector<std::pair<const void*, int64_t>>& resources);

 private:
  struct Use {
    const char *begin, *end;
    bool written;
    std::string kernel, argument;
  };
  std::vector<Use> uses_of(const Dispatch& dispatch) const;
  bool concurrent_;
  std::vector<Use> used_;  // since the last barrier
};

// Tests: the n-th call from now (0 = the next) of this stage throws RuleError(injected). -1: off.
enum class Stage : uint8_t { library, pipeline, dispatch };
void fail_at(Stage stage, int64_t n);

// Who says where the compiler's program is (Python: the wheel `ziglang`), asked once when first
// needed; an empty answer means there is none. LAMINA_ZIG overrides.
void set_compiler_finder(std::function<std::string()> finder);
std::string compiler();                          // empty where there is none
void set_cache_folder(const std::string& path);  // of compiled kernels; LAMINA_CACHE_DIR overrides

}  // namespace lamina::soft_metal
