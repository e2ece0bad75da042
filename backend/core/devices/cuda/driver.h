// NVIDIA's driver, its run-time compiler and its matrix library, opened at run time: no toolkit is
// needed to build, and one build serves machines with and without a GPU. The prototypes of the few
// functions in use are declared here, after the libraries' documented interfaces.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace lamina::cuda {

// --- the driver's types --------------------------------------------------------------------------
using Result = int;  // CUresult; 0 is success
using DevicePtr = unsigned long long;
using DeviceOrdinal = int;
struct ContextObject;
struct ModuleObject;
struct FunctionObject;
struct StreamObject;
struct EventObject;
struct GraphObject;
struct GraphNodeObject;
struct GraphExecObject;
using Context = ContextObject*;
using Module = ModuleObject*;
using Function = FunctionObject*;
using Stream = StreamObject*;
using Event = EventObject*;
using Graph = GraphObject*;
using GraphNode = GraphNodeObject*;
using GraphExec = GraphExecObject*;

inline constexpr Result kOutOfMemory = 2;
inline constexpr Result kNotReady = 600;

// Device attributes by the driver's numbers.
enum class Attribute : int {
  max_threads_per_block = 1,
  shared_bytes_per_block = 8,
  multiprocessors = 16,
  memory_khz = 36,
  memory_bits = 37,
  compute_major = 75,
  compute_minor = 76,
  shared_bytes_opt_in = 97,
};
inline constexpr int kMaxDynamicSharedBytes = 8;  // a function's attribute
inline constexpr int kMemoryType = 2;             // a pointer's attribute
inline constexpr unsigned kNonBlocking = 1;       // a stream that does not wait for the default one
inline constexpr unsigned kNoTiming = 2;          // an event that tells no time
inline constexpr int kCaptureRelaxed = 2;         // what a library loads meanwhile is let through

// CUDA_KERNEL_NODE_PARAMS_v2.
struct KernelNode {
  Function function;
  unsigned grid_x, grid_y, grid_z;
  unsigned block_x, block_y, block_z;
  unsigned shared_bytes;
  void** params;
  void** extra;
  void* kernel;
  Context context;
};

// CUlaunchConfig, with the one attribute in use.
struct LaunchAttribute {
  int id;
  char padding[4];
  union {
    char room[64];
    int value;
  };
};
struct LaunchConfig {
  unsigned grid_x, grid_y, grid_z;
  unsigned block_x, block_y, block_z;
  unsigned shared_bytes;
  Stream stream;
  LaunchAttribute* attributes;
  unsigned attribute_count;
};
// A kernel may start before the one ahead of it in the stream has ended, and waits itself.
inline constexpr int kProgrammaticSerialization = 6;

// CUgraphEdgeData.
struct EdgeData {
  unsigned char from_port, to_port, type, reserved[5];
};
// The same between two kernels of a graph.
inline constexpr EdgeData kProgrammaticEdge = {1, 0, 1, {}};

// LAMINA_CUDA_DRIVER(result, name, symbol, parameters): the functions in use.
#define LAMINA_CUDA_DRIVER_FUNCTIONS(F)                                                            \
  F(Result, init, "cuInit", (unsigned))                                                            \
  F(Result, driver_version, "cuDriverGetVersion", (int*))                                          \
  F(Result, device_count, "cuDeviceGetCount", (int*))                                              \
  F(Result, device_get, "cuDeviceGet", (DeviceOrdinal*, int))                                      \
  F(Result, device_name, "cuDeviceGetName", (char*, int, DeviceOrdinal))                           \
  F(Result, device_attribute, "cuDeviceGetAttribute", (int*, Attribute, DeviceOrdinal))            \
  F(Result, device_memory, "cuDeviceTotalMem_v2", (size_t*, DeviceOrdinal))                        \
  F(Result, primary_context, "cuDevicePrimaryCtxRetain", (Context*, DeviceOrdinal))                \
  F(Result, set_context, "cuCtxSetCurrent", (Context))                                             \
  F(Result, memory_info, "cuMemGetInfo_v2", (size_t*, size_t*))                                    \
  F(Result, memory_alloc, "cuMemAlloc_v2", (DevicePtr*, size_t))                                   \
  F(Result, memory_free, "cuMemFree_v2", (DevicePtr))                                              \
  F(Result, to_device, "cuMemcpyHtoDAsync_v2", (DevicePtr, const void*, size_t, Stream))           \
  F(Result, to_host, "cuMemcpyDtoHAsync_v2", (void*, DevicePtr, size_t, Stream))                   \
  F(Result, on_device, "cuMemcpyDtoDAsync_v2", (DevicePtr, DevicePtr, size_t, Stream))             \
  F(Result, pointer_attribute, "cuPointerGetAttribute", (void*, int, DevicePtr))                   \
  F(Result, stream_create, "cuStreamCreate", (Stream*, unsigned))                                  \
  F(Result, stream_wait, "cuStreamSynchronize", (Stream))                                          \
  F(Result, stream_begin_capture, "cuStreamBeginCapture_v2", (Stream, int))                        \
  F(Result, stream_end_capture, "cuStreamEndCapture", (Stream, Graph*))                            \
  F(Result, module_load, "cuModuleLoadData", (Module*, const void*))                               \
  F(Result, module_unload, "cuModuleUnload", (Module))                                             \
  F(Result, module_function, "cuModuleGetFunction", (Function*, Module, const char*))              \
  F(Result, function_set, "cuFuncSetAttribute", (Function, int, int))                              \
  F(Result, launch, "cuLaunchKernel",                                                              \
    (Function, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, Stream,       \
     void**, void**))                                                                              \
  F(Result, launch_with, "cuLaunchKernelEx", (const LaunchConfig*, Function, void**, void**))      \
  F(Result, event_create, "cuEventCreate", (Event*, unsigned))                                     \
  F(Result, event_record, "cuEventRecord", (Event, Stream))                                        \
  F(Result, event_query, "cuEventQuery", (Event))                                                  \
  F(Result, event_wait, "cuEventSynchronize", (Event))                                             \
  F(Result, event_elapsed, "cuEventElapsedTime", (float*, Event, Event))                           \
  F(Result, graph_create, "cuGraphCreate", (Graph*, unsigned))                                     \
  F(Result, graph_destroy, "cuGraphDestroy", (Graph))                                              \
  F(Result, graph_add_kernel, "cuGraphAddKernelNode_v2",                                           \
    (GraphNode*, Graph, const GraphNode*, size_t, const KernelNode*))                              \
  F(Result, graph_add_child, "cuGraphAddChildGraphNode",                                           \
    (GraphNode*, Graph, const GraphNode*, size_t, Graph))                                          \
  F(Result, graph_set_child, "cuGraphExecChildGraphNodeSetParams", (GraphExec, GraphNode, Graph))  \
  F(Result, graph_add_empty, "cuGraphAddEmptyNode", (GraphNode*, Graph, const GraphNode*, size_t)) \
  F(Result, graph_instantiate, "cuGraphInstantiateWithFlags",                                      \
    (GraphExec*, Graph, unsigned long long))                                                       \
  F(Result, graph_set_kernel, "cuGraphExecKernelNodeSetParams_v2",                                 \
    (GraphExec, GraphNode, const KernelNode*))                                                     \
  F(Result, graph_launch, "cuGraphLaunch", (GraphExec, Stream))                                    \
  F(Result, graph_exec_destroy, "cuGraphExecDestroy", (GraphExec))                                 \
  F(Result, error_name, "cuGetErrorName", (Result, const char**))                                  \
  F(Result, error_text, "cuGetErrorString", (Result, const char**))

// Null in drivers before CUDA 12.3.
#define LAMINA_CUDA_NEWER_DRIVER_FUNCTIONS(F)             \
  F(Result, graph_add_edges, "cuGraphAddDependencies_v2", \
    (Graph, const GraphNode*, const GraphNode*, const EdgeData*, size_t))

struct Driver {
#define LAMINA_MEMBER(result, name, symbol, parameters) result(*name) parameters = nullptr;
  LAMINA_CUDA_DRIVER_FUNCTIONS(LAMINA_MEMBER)
  LAMINA_CUDA_NEWER_DRIVER_FUNCTIONS(LAMINA_MEMBER)
#undef LAMINA_MEMBER
};

// --- the compiler --------------------------------------------------------------------------------
struct ProgramObject;
using Program = ProgramObject*;

#define LAMINA_CUDA_COMPILER_FUNCTIONS(F)                                              \
  F(int, version, "nvrtcVersion", (int*, int*))                                        \
  F(int, arch_count, "nvrtcGetNumSupportedArchs", (int*))                              \
  F(int, archs, "nvrtcGetSupportedArchs", (int*))                                      \
  F(int, create, "nvrtcCreateProgram",                                                 \
    (Program*, const char*, const char*, int, const char* const*, const char* const*)) \
  F(int, destroy, "nvrtcDestroyProgram", (Program*))                                   \
  F(int, compile, "nvrtcCompileProgram", (Program, int, const char* const*))           \
  F(int, log_size, "nvrtcGetProgramLogSize", (Program, size_t*))                       \
  F(int, log, "nvrtcGetProgramLog", (Program, char*))                                  \
  F(int, ptx_size, "nvrtcGetPTXSize", (Program, size_t*))                              \
  F(int, ptx, "nvrtcGetPTX", (Program, char*))                                         \
  F(int, cubin_size, "nvrtcGetCUBINSize", (Program, size_t*))                          \
  F(int, cubin, "nvrtcGetCUBIN", (Program, char*))                                     \
  F(const char*, error_text, "nvrtcGetErrorString", (int))

struct Compiler {
#define LAMINA_MEMBER(result, name, symbol, parameters) result(*name) parameters = nullptr;
  LAMINA_CUDA_COMPILER_FUNCTIONS(LAMINA_MEMBER)
#undef LAMINA_MEMBER
};

// Opened once. Throw DeviceError, again at every call, that says what is missing and how to get it.
const Driver& driver();
const Compiler& compiler();

// A shared library by the first of `names` that opens: in library_folders(), where NVIDIA's
// packages are, then where the system looks. nullptr and the last reason if none does.
void* open_library(std::initializer_list<const char*> names, std::string& why);
// The function, or nullptr.
void* find_symbol(void* library, const char* symbol);

// "CUDA_ERROR_ILLEGAL_ADDRESS (an illegal memory access was encountered)".
std::string describe(Result result);
// Whether the context is beyond use after this error: every later call fails with it.
bool is_fatal(Result result);
// Throws DeviceError "cuda: <what>: <error>" unless the result is success, OutOfMemory with what is
// free where the driver has none left.
void check(Result result, const char* what);
// The same for what a library says of a call that failed.
[[noreturn]] void throw_for_library(const char* library, const char* what, const std::string& why);

}  // namespace lamina::cuda
