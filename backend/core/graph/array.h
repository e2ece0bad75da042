// Array: the user's handle to a node of the lazy graph. Node: one operation applied to nodes, or
// data.
//
// Invariants of a Node
//  1. primitive, params, shape and dtype never change.
//  2. status goes lazy -> ready or lazy -> failed, once.
//  3. A ready node has a value; unless it is held by a trace, it has dropped its inputs.
//  4. A failed node keeps its error; every read raises it again.
// Handles may be copied and destroyed on any thread. Status changes only under the evaluation lock.
#pragma once

#include <atomic>
#include <exception>
#include <memory>
#include <vector>

#include "base/dtype.h"
#include "base/shape.h"
#include "graph/buffer.h"
#include "graph/params.h"
#include "kernels/kernel.h"

namespace lamina {

struct Node;
struct Primitive;

class Array {
 public:
  Array() = default;
  explicit Array(Node* node);
  Array(const Array& o);
  Array(Array&& o) noexcept : node_(std::exchange(o.node_, nullptr)) {}
  Array& operator=(Array o) noexcept {
    std::swap(node_, o.node_);
    return *this;
  }
  ~Array();

  const Shape& shape() const;
  int64_t shape(int64_t axis) const;  // negative counts from the end; REQUIRES in range
  Dtype dtype() const;
  int64_t ndim() const;
  int64_t size() const;
  int64_t nbytes() const;
  Node* node() const { return node_; }
  explicit operator bool() const { return node_ != nullptr; }
  friend bool operator==(const Array&, const Array&) = delete;

 private:
  Node* node_ = nullptr;
};

using Arrays = std::vector<Array>;

enum class Status : uint8_t { lazy, ready, failed };

// Where an evaluated node's elements are.
struct Value {
  BufferRef buffer;
  Strides strides;
  int64_t offset = 0;  // in elements
};

// What only few nodes carry.
struct NodeExtra {
  std::exception_ptr failure;     // of a failed node
  std::shared_ptr<void> payload;  // of custom functions: their rules
};

struct Node {
  std::atomic<uint32_t> refs{0};
  std::atomic<Status> status{Status::lazy};
  Dtype dtype = Dtype::float32;
  bool scalar = false;     // a leaf of shape () whose value is held inline in `literal`
  bool tracer = false;     // under a transform: keeps its inputs when evaluated
  DeviceId device = kCpu;  // it was built for
  DeviceId placed = kCpu;  // scratch of the evaluation: where it runs
  Category category = Category::temporary;
  const Primitive* primitive = nullptr;  // nullptr: data
  uint64_t local_hash = 0;               // of primitive, params, dtype, shape
  Shape shape;
  Params params;
  uint32_t origin = 0;  // where it was built, interned; 0 while not recording
  // Scratch of the evaluation that holds the lock: position in its order if `visit` is its number.
  uint32_t visit = 0;
  int32_t position = 0;
  int32_t uses = 0;
  ScalarValue literal;
  std::vector<Array> inputs;
  Value value;
  std::unique_ptr<NodeExtra> extra;

  bool ready() const { return status.load(std::memory_order_acquire) == Status::ready; }
  bool leaf() const { return primitive == nullptr; }
  NodeExtra& rare() {
    if (!extra) extra = std::make_unique<NodeExtra>();
    return *extra;
  }
};

// Drops one reference; destroys without recursion, so chains of any length are safe.
void release_node(Node* node) noexcept;

inline Array::Array(Node* node) : node_(node) {
  if (node_) node_->refs.fetch_add(1, std::memory_order_relaxed);
}
inline Array::Array(const Array& o) : Array(o.node_) {}
inline Array::~Array() {
  if (node_) release_node(node_);
}
inline const Shape& Array::shape() const { return node_->shape; }
inline int64_t Array::shape(int64_t axis) const {
  return node_->shape[static_cast<size_t>(axis < 0 ? axis + ndim() : axis)];
}
inline Dtype Array::dtype() const { return node_->dtype; }
inline int64_t Array::ndim() const { return static_cast<int64_t>(node_->shape.size()); }
inline int64_t Array::size() const { return element_count(node_->shape); }
inline int64_t Array::nbytes() const { return size() * itemsize(node_->dtype); }

// A new lazy node. Computes its hash, its tracer flag and, while recording, its origin.
Array make_node(const Primitive& primitive, Params params, std::vector<Array> inputs, Shape shape,
                Dtype dtype);
// A leaf whose value is held inline. `value` is converted to dtype.
Array make_scalar(double value, Dtype dtype);
Array make_scalar_int(int64_t value, Dtype dtype);
Array make_scalar_uint(uint64_t value, Dtype dtype);
Array make_scalar_complex(complex64_t value);
// A leaf over existing memory.
Array make_leaf(Value value, Shape shape, Dtype dtype);

// The device that nodes built on this thread are for: the innermost scope's, else the process's.
DeviceId current_device();
DeviceId default_device();
// REQUIRES: the device opens.
void set_default_device(DeviceId device);
// Enters (a device) or leaves (what entering returned) a scope of this thread; -1: none.
int swap_device_scope(int device);
class DeviceScope {
 public:
  explicit DeviceScope(int device) : before_(swap_device_scope(device)) {}
  ~DeviceScope() { swap_device_scope(before_); }
  DeviceScope(const DeviceScope&) = delete;

 private:
  int before_;
};

// Inside a transform's trace on this thread, nodes fed by tracers keep their graph.
class TraceScope {
 public:
  TraceScope();
  ~TraceScope();
  TraceScope(const TraceScope&) = delete;
};
bool tracing();

// Tells make_node where the program is; set by the recorder's binding, else nullptr.
using OriginHook = uint32_t (*)();
extern std::atomic<OriginHook> origin_hook;
// Set in the origin of a node that a derivative rule built; the rest is its forward node's origin.
inline constexpr uint32_t kBackward = 1u << 31;
// While one lives, nodes built on this thread take this origin.
class OriginScope {
 public:
  explicit OriginScope(uint32_t origin);
  ~OriginScope();
  OriginScope(const OriginScope&) = delete;

 private:
  uint32_t before_;
};

}  // namespace lamina
