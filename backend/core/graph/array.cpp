#include "graph/array.h"

#include <cstring>

#include "base/hash.h"
#include "graph/clone.h"
#include "graph/primitive.h"

namespace lamina {

std::atomic<OriginHook> origin_hook{nullptr};

namespace {
// One block, so that building a node looks its thread's storage up once.
struct Building {
  int trace_depth = 0;
  uint32_t origin = 0;
  int device = -1;
};
thread_local Building building;
std::atomic<DeviceId> chosen_device{kCpu};

uint64_t mix(uint64_t h, uint64_t v) {
  unsigned __int128 p =
      static_cast<unsigned __int128>(h ^ v ^ 0x9e3779b97f4a7c15ULL) * 0xd6e8feb86659fd93ULL;
  return static_cast<uint64_t>(p) ^ static_cast<uint64_t>(p >> 64);
}

uint64_t hash_locally(const Node& n) {
  uint64_t h = mix(uint64_t{n.primitive->id} << 8 | static_cast<uint64_t>(n.dtype), n.shape.size());
  for (int64_t d : n.shape) h = mix(h, static_cast<uint64_t>(d));
  for (int64_t w : n.params.words()) h = mix(h, static_cast<uint64_t>(w));
  return h;
}

Array scalar_node(Dtype dtype) {
  Node* n = new Node;
  n->scalar = true;
  n->dtype = dtype;
  n->status.store(Status::ready, std::memory_order_relaxed);
  return Array(n);
}

template <class V>
Array typed_scalar(V value, Dtype dtype) {
  Array out = scalar_node(dtype);
  dispatch(dtype, [&](auto t) {
    using T = decltype(t);
    T v;
    if constexpr (std::is_same_v<T, complex64_t>)
      v = complex64_t(static_cast<float>(value), 0);
    else if constexpr (std::is_same_v<T, bool>)
      v = value != V{0};
    else if constexpr (std::is_integral_v<T> && std::is_floating_point_v<V>)
      v = static_cast<T>(static_cast<int64_t>(value));
    else if constexpr (std::is_same_v<T, float16_t> || std::is_same_v<T, bfloat16_t>)
      v = T(static_cast<float>(value));
    else
      v = static_cast<T>(value);
    std::memcpy(out.node()->literal.bytes, &v, sizeof v);
  });
  return out;
}
}  // namespace

void release_node(Node* node) noexcept {
  if (node->refs.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  // The node's inputs die on a worklist instead of on the stack: graphs may be a million deep.
  thread_local std::vector<Node*> doomed;
  thread_local bool busy = false;
  doomed.push_back(node);
  if (busy) return;
  busy = true;
  while (!doomed.empty()) {
    Node* n = doomed.back();
    doomed.pop_back();
    delete n;
  }
  busy = false;
}

Array make_node(const Primitive& primitive, Params params, std::vector<Array> inputs, Shape shape,
                Dtype dtype) {
  Node* n = new Node;
  Array out(n);
  n->primitive = &primitive;
  n->params = std::move(params);
  n->shape = std::move(shape);
  n->dtype = dtype;
  n->inputs = std::move(inputs);
  n->local_hash = hash_locally(*n);
  const Building& here = building;
  n->device = here.device < 0 ? chosen_device.load(std::memory_order_relaxed)
                              : static_cast<DeviceId>(here.device);
  if (here.trace_depth > 0)
    for (const Array& x : n->inputs) n->tracer |= x.node()->tracer;
  if (OriginHook hook = origin_hook.load(std::memory_order_relaxed)) [[unlikely]]
    n->origin = here.origin ? here.origin : hook();
  return out;
}

Array clone_on(const Node& from, Arrays inputs) {
  Node* n = new Node;
  Array out(n);
  n->primitive = from.primitive;
  n->params = from.params;
  n->shape = from.shape;
  n->dtype = from.dtype;
  n->inputs = std::move(inputs);
  n->local_hash = from.local_hash;
  n->device = from.device;
  n->category = from.category;
  if (from.extra && from.extra->payload) n->rare().payload = from.extra->payload;
  if (building.trace_depth > 0)
    for (const Array& x : n->inputs) n->tracer |= x.node()->tracer;
  if (OriginHook hook = origin_hook.load(std::memory_order_relaxed)) [[unlikely]]
    n->origin = from.origin ? from.origin : hook();
  return out;
}

Array make_scalar(double value, Dtype dtype) { return typed_scalar(value, dtype); }
Array make_scalar_int(int64_t value, Dtype dtype) { return typed_scalar(value, dtype); }
Array make_scalar_uint(uint64_t value, Dtype dtype) { return typed_scalar(value, dtype); }
Array make_scalar_complex(complex64_t value) {
  Array out = scalar_node(Dtype::complex64);
  std::memcpy(out.node()->literal.bytes, &value, sizeof value);
  return out;
}

Array make_leaf(Value value, Shape shape, Dtype dtype) {
  Node* n = new Node;
  Array out(n);
  n->dtype = dtype;
  n->shape = std::move(shape);
  n->value = std::move(value);
  n->status.store(Status::ready, std::memory_order_release);
  return out;
}

DeviceId default_device() { return chosen_device.load(std::memory_order_relaxed); }
void set_default_device(DeviceId device) { chosen_device.store(device, std::memory_order_relaxed); }
DeviceId current_device() {
  return building.device < 0 ? default_device() : static_cast<DeviceId>(building.device);
}
int swap_device_scope(int device) { return std::exchange(building.device, device); }

TraceScope::TraceScope() { ++building.trace_depth; }
TraceScope::~TraceScope() { --building.trace_depth; }
bool tracing() { return building.trace_depth > 0; }

OriginScope::OriginScope(uint32_t origin) : before_(building.origin) { building.origin = origin; }
OriginScope::~OriginScope() { building.origin = before_; }

}  // namespace lamina
