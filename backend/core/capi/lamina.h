/* lamina's C interface: arrays, evaluation, operations by name, and primitives of your own.
 *
 * Everything is reached through one table of functions, lamina_api. A program links the library
 * lamina.library() names and asks lamina_get_api() for the table. A plugin (a shared library that
 * lamina.primitives.load() opens) links nothing: it exports lamina_register() and is handed the
 * table. Both may be written in any language that can call C.
 *
 * Rules
 *  - No function aborts or throws. Each returns a status; lamina_api.last_error() says in words
 * what went wrong in the last call of this thread that failed.
 *  - Functions may be called from any thread. Evaluations run one at a time. A handle may be used
 *    by several threads, as long as none releases the last reference that another still needs.
 *    In a Python process, functions that make arrays must be called with the interpreter lock held
 *    (rules that lamina calls have it) or from threads that Python does not know.
 *  - A handle that a function gives out is yours: release it once. Handles passed to your callbacks
 *    are borrowed; pointers in a lamina_view live as long as the array, or as the callback.
 *  - Memory is little-endian; strides count elements and may be 0 or negative.
 *
 * Versions: LAMINA_ABI_VERSION changes when something that is here changes its meaning. Structures
 * only ever grow at their end: `size` is what its writer knew of one, and is checked. */
#ifndef LAMINA_H
#define LAMINA_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LAMINA_ABI_VERSION 1

#if defined(_WIN32)
#define LAMINA_EXPORT __declspec(dllexport)
#else
#define LAMINA_EXPORT __attribute__((visibility("default")))
#endif

typedef int32_t lamina_status;
enum {
  LAMINA_OK = 0,
  LAMINA_ERROR_VALUE = 1,       /* an argument's value */
  LAMINA_ERROR_SHAPE = 2,       /* shapes do not fit together */
  LAMINA_ERROR_DTYPE = 3,       /* an operation does not support a dtype */
  LAMINA_ERROR_INDEX = 4,       /* an index lies outside its axis */
  LAMINA_ERROR_MEMORY = 5,      /* memory ran out */
  LAMINA_ERROR_DEVICE = 6,      /* a device or a library it uses failed */
  LAMINA_ERROR_TRANSFORM = 7,   /* a transform cannot do this; no rule */
  LAMINA_ERROR_INTERRUPTED = 8, /* the user asked to stop */
  LAMINA_ERROR_PRIMITIVE = 9,   /* a callback failed for a reason of its own */
  LAMINA_ERROR_INTERNAL = 10    /* a fault of lamina itself */
};

typedef int32_t lamina_dtype;
enum {
  LAMINA_BOOL = 0,
  LAMINA_UINT8 = 1,
  LAMINA_UINT16 = 2,
  LAMINA_UINT32 = 3,
  LAMINA_UINT64 = 4,
  LAMINA_INT8 = 5,
  LAMINA_INT16 = 6,
  LAMINA_INT32 = 7,
  LAMINA_INT64 = 8,
  LAMINA_FLOAT16 = 9,
  LAMINA_BFLOAT16 = 10,
  LAMINA_FLOAT32 = 11,
  LAMINA_FLOAT64 = 12,
  LAMINA_COMPLEX64 = 13
};

typedef struct lamina_array_s* lamina_array;

/* A typed, strided window on memory. `data` is the first element. */
typedef struct lamina_view {
  void* data;
  lamina_dtype dtype;
  int32_t ndim;
  const int64_t* shape;
  const int64_t* strides; /* in elements; null where it is filled in by you: row-major */
} lamina_view;

#define LAMINA_MAX_NDIM 16

/* Shape and dtype that a rule gives for one output. */
typedef struct lamina_type {
  lamina_dtype dtype;
  int32_t ndim;
  int64_t shape[LAMINA_MAX_NDIM];
} lamina_type;

/* A parameter of an operation, by name. */
typedef int32_t lamina_kind;
enum { LAMINA_INTEGER = 0, LAMINA_REAL = 1, LAMINA_BOOLEAN = 2, LAMINA_DTYPE = 3, LAMINA_INTS = 4 };
typedef struct lamina_param {
  const char* name;
  lamina_kind kind;
  int32_t required;    /* in lamina_primitive.params: has no default; else unused */
  int64_t integer;     /* INTEGER, BOOLEAN (0 or 1), DTYPE */
  double real;         /* REAL */
  const int64_t* ints; /* INTS */
  size_t count;
} lamina_param;

/* One call of a primitive, as its callbacks see it. Valid during the callback. */
typedef struct lamina_call {
  uint32_t size;
  void* user;                 /* lamina_primitive.user */
  const lamina_param* params; /* all of them, in the order of the declaration */
  size_t param_count;
  size_t inputs, outputs;
} lamina_call;

/* One kernel of a primitive's text. Its buffers are bound at indices 0, 1, ... in the order of
 * `operands`: input i is i, output k is inputs + k, temporary t is -1 - t. The constant block
 * follows at the next index (Metal: constant T&; CUDA: the last parameter, by value). */
typedef struct lamina_kernel {
  uint32_t size;
  const char* name;   /* entry point */
  const char* source; /* a whole translation unit */
  const int32_t* operands;
  size_t operand_count;
  uint64_t written; /* bit per position in operands: the kernel writes it */
  const void* block;
  size_t block_bytes;
  int64_t groups[3];  /* threadgroups (blocks) in the grid */
  int32_t threads[3]; /* threads in one */
  int64_t threadgroup_bytes;
} lamina_kernel;

typedef int32_t lamina_dialect;
enum { LAMINA_MSL = 0, LAMINA_CUDA = 1 };
/* The device that text is asked for. */
typedef struct lamina_device {
  uint32_t size;
  lamina_dialect dialect;
  int32_t simd_width, max_threads, max_buffers, cores;
  int64_t threadgroup_bytes;
} lamina_device;
typedef struct lamina_program_s* lamina_program;

/* A primitive of your own. Callbacks return LAMINA_OK, or lamina_api.fail(status, message): the
 * message reaches the user as a typed exception that names the primitive. They may be called by any
 * thread. `cpu` and `text` must not make or evaluate arrays.
 * Rules (vjp, jvp, vmap) build graph and evaluate nothing; each array they put into `results` is a
 * handle that lamina releases. A null handle stands for zeros where the table says so. */
typedef struct lamina_primitive {
  uint32_t size;    /* sizeof(lamina_primitive) */
  const char* name; /* "vendor.operation" */
  const char* doc;  /* one sentence; what the views and Python's help show */
  int32_t inputs;   /* -1: any number */
  int32_t outputs;
  const lamina_param* params; /* declaration: name, kind, required or default */
  size_t param_count;
  void* user; /* handed back in lamina_call; must live for ever */

  /* Shape and dtype of every output, from those of the inputs (data and strides are null). */
  lamina_status (*types)(const lamina_call* call, const lamina_view* inputs, lamina_type* outputs);
  /* Fills the outputs, which are row-major and do not overlap the inputs. Null: text only. */
  lamina_status (*cpu)(const lamina_call* call, const lamina_view* inputs,
                       const lamina_view* outputs);
  /* Adds kernels to the program by lamina_api.add_kernel. Views have no data. Null: CPU only. */
  lamina_status (*text)(const lamina_call* call, const lamina_device* device,
                        const lamina_view* inputs, const lamina_view* outputs,
                        lamina_program program);
  /* results[i]: cotangent of input i; null is zero. Null rule: no derivative. */
  lamina_status (*vjp)(const lamina_call* call, const lamina_array* inputs,
                       const lamina_array* outputs, const lamina_array* cotangents,
                       lamina_array* results);
  /* results[k]: tangent of output k. tangents are never null. */
  lamina_status (*jvp)(const lamina_call* call, const lamina_array* inputs,
                       const lamina_array* tangents, lamina_array* results);
  /* Inputs whose batched[i] is not 0 carry the batch as axis 0, and so do all results. Null: the
   * operation runs once for each element of the batch. */
  lamina_status (*vmap)(const lamina_call* call, const lamina_array* inputs, const int32_t* batched,
                        int64_t batch, lamina_array* results);
  /* Arithmetic operations of one call, for the views. Null: one for each element of output 0. */
  int64_t (*flops)(const lamina_call* call, const lamina_view* inputs);
} lamina_primitive;

typedef struct lamina_api {
  uint32_t size; /* of the table that this library has */
  uint32_t abi_version;
  const char* version; /* of lamina */

  /* --- errors -------------------------------------------------------------------------------- */
  /* Of this thread's last call that failed; "" before any. Valid until the next failure. */
  const char* (*last_error)(void);
  /* Notes the message and returns the status, for `return api->fail(...)` in a callback. */
  lamina_status (*fail)(lamina_status status, const char* message);

  /* --- arrays -------------------------------------------------------------------------------- */
  lamina_status (*array_copy)(const lamina_view* data, lamina_array* out);
  /* Without a copy. `release` (may be null) is called once, by any thread, when nobody needs the
   * memory any more; until then it must not change. Strides are kept as they are. */
  lamina_status (*array_adopt)(const lamina_view* data, void (*release)(void* owner), void* owner,
                               lamina_array* out);
  lamina_status (*array_scalar)(double value, lamina_dtype dtype, lamina_array* out);
  lamina_status (*array_full)(const lamina_type* type, double value, lamina_array* out);
  void (*retain)(lamina_array array);  /* null: nothing */
  void (*release)(lamina_array array); /* null: nothing */
  /* Shape and dtype, without evaluating; data and strides are null. */
  lamina_status (*array_type)(lamina_array array, lamina_view* out);
  /* Evaluates, then gives the memory as it lies. */
  lamina_status (*array_data)(lamina_array array, lamina_view* out);
  /* Evaluates, then copies the elements in row-major order; `bytes` must be their size. */
  lamina_status (*array_read)(lamina_array array, void* to, size_t bytes);
  lamina_status (*eval)(const lamina_array* arrays, size_t count);

  /* --- operations ---------------------------------------------------------------------------- */
  /* An operation of docs/operations.md that docs/custom-primitives.md lists, or a registered
   * primitive. Gives as many handles as it has results; more than `capacity` is an error. */
  lamina_status (*op)(const char* name, const lamina_array* inputs, size_t input_count,
                      const lamina_param* params, size_t param_count, lamina_array* results,
                      size_t capacity);

  /* --- primitives ---------------------------------------------------------------------------- */
  lamina_status (*define)(const lamina_primitive* primitive);
  /* Splits [0, n) into pieces of at least `grain` over lamina's threads, this one among them. The
   * first status that is not LAMINA_OK comes back. */
  lamina_status (*parallel_for)(int64_t n, int64_t grain,
                                lamina_status (*body)(void* user, int64_t begin, int64_t end),
                                void* user);
  lamina_status (*add_kernel)(lamina_program program, const lamina_kernel* kernel);
  /* Device memory between the program's kernels; its operand number comes back in `operand`. */
  lamina_status (*add_temporary)(lamina_program program, int64_t bytes, int32_t* operand);

  /* --- devices -------------------------------------------------------------------------------- */
  /* Not in the first tables of this version: `size` says whether a table goes so far. */
  /* The name of a device that this build knows, opened or not: 0 is "cpu". Null beyond the last. */
  const char* (*device_name)(size_t number);
  /* The name of the device that operations are built for. */
  const char* (*default_device)(void);
  /* Opens a device; all threads build operations for it from now on. A name of device_name(), or
   * "gpu": the best that opens. Null: what the environment variable LAMINA_DEVICE names, the CPU
   * where it is not set; nothing else in this interface looks at that variable. If the device does
   * not open the status is LAMINA_ERROR_DEVICE, and the default stays. */
  lamina_status (*set_default_device)(const char* name);
} lamina_api;

/* The table, or null where the library speaks another version than the caller was built for. */
LAMINA_EXPORT const lamina_api* lamina_get_api(uint32_t abi_version);

/* What a plugin exports. Called once, when it is loaded; it keeps the table and defines its
 * primitives. The table lives for ever. */
LAMINA_EXPORT lamina_status lamina_register(const lamina_api* api);

#ifdef __cplusplus
}
#endif
#endif
