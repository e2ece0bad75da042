// What lamina asks of Metal.framework, in C++ terms: the seam between plain C++, which decides and
// throws, and host.mm, the only Objective-C++ file, which calls and returns errors as values.
//
// A Handle is a retained Objective-C object, given back with release(). Memory is shared, untracked
// and referenced without retaining: whoever encodes keeps every object alive until the command
// buffer's Completion has run. Queues, events and memory may be used from any thread; a command
// buffer and its encoder from one at a time.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace lamina::metal {

using Handle = void*;

// Why a call or a command buffer failed; `text` is empty where nothing did.
struct Failure {
  int64_t code = 0;
  std::string domain;
  std::string text;
  explicit operator bool() const { return !text.empty(); }
};

// MTLCommandBufferError, as far as lamina tells them apart.
enum CommandError : int64_t {
  kErrorInternal = 1,
  kErrorTimeout = 2,
  kErrorPageFault = 3,
  kErrorAccessRevoked = 4,
  kErrorOutOfMemory = 8,
  kErrorInvalidResource = 9,
  kErrorStackOverflow = 12,
  kErrorInteractivity = 14,  // not in Apple's headers, seen in the field
};

struct Facts {
  std::string name;          // "Apple M2 Max"
  std::string architecture;  // "applegpu_g14s"; empty before macOS 14
  int os_major = 0, os_minor = 0;
  std::string
      os_build;    // "Version 15.5 (Build 24F74)": what a driver compiled, another may not read
  int family = 0;  // newest MTLGPUFamilyApple, 7 for M1
  bool unified = true;
  bool stage_counters = false;  // timestamps at the start and end of an encoder
  bool residency_sets = false;
  bool matrix_library = false;    // Metal Performance Shaders
  int64_t working_set_bytes = 0;  // above it the system begins to page
  int64_t max_buffer_bytes = 0;
  int64_t page_bytes = 0;
  int64_t threadgroup_bytes = 0;
  int max_threads = 0;  // in a threadgroup
};

struct PipelineFacts {
  int max_threads = 0;
  int simd_width = 0;
  int64_t static_threadgroup_bytes = 0;
};

// MTLDataType of a function constant.
enum class ConstantType : int { float32 = 3, int32 = 29, uint32 = 33, bool8 = 53 };
struct FunctionConstant {
  int index;
  ConstantType type;
  uint32_t bits;  // the value, little-endian
};

struct PipelineRequest {
  std::string function;
  std::span<const FunctionConstant> constants;
  int threads = 0;           // threads its groups will have; 0: up to the compiler
  Handle archive = nullptr;  // where machine code may be found
  bool found_only = false;   // fail where it is not there, instead of compiling
};

struct BoundBuffer {
  Handle buffer;
  int64_t offset;
};

// One dispatch. The block, when there is one, is bound after the buffers.
struct Dispatch {
  Handle pipeline;
  std::span<const BoundBuffer> buffers;
  const void* block = nullptr;
  int64_t block_bytes = 0;  // below kMaxInlineBytes
  int64_t groups[3] = {1, 1, 1};
  int threads[3] = {1, 1, 1};
  int64_t grid[3] = {0, 0, 0};    // not zero: threads in all, where the last groups are partial
  int64_t threadgroup_bytes = 0;  // a multiple of 16
  bool barrier = false;           // wait for the encoder's earlier dispatches first
};
inline constexpr int64_t kMaxInlineBytes = 4096;
inline constexpr int kMaxBuffers = 31;

// A matrix, or several of one size, row by row.
struct MatrixPlace {
  BoundBuffer at;
  int64_t rows = 0, columns = 0;
  int64_t row_bytes = 0, matrix_bytes = 0;
};
// result = left @ right, `batch` times; a transposed factor lies in memory the other way round.
struct ProductRequest {
  bool half = false;  // float16, else float32
  bool transpose_left = false, transpose_right = false;
  int64_t rows = 0, columns = 0, depth = 0, batch = 1;
};

struct Outcome {
  Failure failure;
  double gpu_start = 0, gpu_end = 0;  // seconds of Host::seconds()
};
// Runs on a thread of the system's, where nothing could catch.
using Completion = void (*)(void* context, const Outcome& outcome) noexcept;

class Host {
 public:
  virtual ~Host() = default;
  virtual const Facts& facts() const = 0;
  virtual void release(Handle object) noexcept = 0;
  virtual double seconds() const = 0;  // the clock of Outcome's times
  virtual int64_t allocated_bytes() const = 0;

  // Null when the system refuses.
  virtual Handle new_buffer(int64_t bytes, void** contents) = 0;
  // Memory of the caller's, whole pages; it must outlive the handle.
  virtual Handle adopt_pages(void* start, int64_t bytes) = 0;

  virtual Handle new_library(const std::string& source, Failure& failure) = 0;
  virtual Handle new_pipeline(Handle library, const PipelineRequest& request, PipelineFacts& facts,
                              Failure& failure) = 0;

  // Machine code of pipelines, for later processes. An empty path: an empty archive.
  virtual Handle new_archive(const std::string& path, Failure& failure) = 0;
  // Compiles the pipeline into the archive.
  virtual bool add_to_archive(Handle archive, Handle library, const PipelineRequest& request,
                              Failure& failure) = 0;
  virtual bool write_archive(Handle archive, const std::string& path, Failure& failure) = 0;

  virtual Handle new_queue() = 0;
  virtual Handle new_fence() = 0;
  virtual Handle new_event() = 0;
  virtual Handle new_order_event() = 0;  // the CPU neither sees nor signals it
  virtual uint64_t event_value(Handle event) const = 0;
  virtual void set_event_value(Handle event, uint64_t value) = 0;
  // Blocks until the value is reached or the time has passed.
  virtual bool await_event(Handle event, uint64_t value, int64_t milliseconds) = 0;

  // `detailed`: a failure then names the encoders it hit, at some cost.
  virtual Handle begin_commands(Handle queue, bool detailed) = 0;
  // REQUIRES no open encoder for the next three.
  virtual void wait_event(Handle commands, Handle event, uint64_t value) = 0;
  virtual void signal_event(Handle commands, Handle event, uint64_t value) = 0;
  virtual void commit(Handle commands, Completion done, void* context) = 0;
  // Whether it has ended, and without failure: known before its Completion has run.
  virtual bool completed(Handle commands) const = 0;

  // A concurrent encoder; with samples, its start and end go to indices `first` and `first + 1`.
  virtual Handle begin_encoder(Handle commands, const char* label, Handle samples, int first) = 0;
  virtual void encode(Handle encoder, const Dispatch& dispatch) = 0;
  virtual void wait_fence(Handle encoder, Handle fence) = 0;
  virtual void update_fence(Handle encoder, Handle fence) = 0;
  virtual void end_encoder(Handle encoder) = 0;  // also releases it

  // Products of the system's matrix library. REQUIRES facts().matrix_library.
  virtual Handle new_product(const ProductRequest& request) = 0;
  // In an encoder of the library's own, which no fence reaches. REQUIRES no open encoder.
  virtual void encode_product(Handle commands, Handle product, const ProductRequest& request,
                              const MatrixPlace& left, const MatrixPlace& right,
                              const MatrixPlace& result) = 0;

  virtual Handle new_samples(int count, Failure& failure) = 0;
  // Nanoseconds of the GPU's clock, as far as they were taken; 0 for those that were not.
  virtual bool read_samples(Handle samples, std::span<uint64_t> out) = 0;

  // Sets of memory the system keeps resident. REQUIRES facts().residency_sets.
  virtual Handle new_residency_set(Failure& failure) = 0;
  virtual void residency_add(Handle set, Handle buffer) = 0;
  virtual void residency_remove(Handle set, Handle buffer) = 0;
  virtual void residency_commit(Handle set) = 0;
  virtual void residency_attach(Handle queue, Handle set) = 0;
  virtual void residency_detach(Handle queue, Handle set) = 0;

  virtual Failure start_capture(const std::string& path) = 0;
  virtual void stop_capture() = 0;
};

// Makes a host of its own each time, null without a GPU.
using HostFactory = Host* (*)();
// Called by host.mm while the program starts: a build without it has no device "metal".
void provide_host(HostFactory factory);
HostFactory host_factory();  // null where lamina was built without Metal
// The process's host, made at the first call; null where lamina has no Metal.
Host* system_host();

}  // namespace lamina::metal
