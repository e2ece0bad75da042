// The forward derivative of flash attention, composed from operations. With p the probabilities and
// t(s) the scores' tangent, the logsumexp's is the sum of p t(s) along the keys and the result's is
// p t(v) + (p t(s)) v - t(lse) out. Unlike the rest of the example it has the scores in memory.
#include <utility>
#include <vector>

#include "flash_attention.h"

namespace {

// A handle that is released; after a failure every operation gives null, and `status` stays.
class Value {
 public:
  Value() = default;
  explicit Value(lamina_array handle) : handle_(handle) {}
  Value(Value&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Value& operator=(Value&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Value() { api->release(handle_); }
  static Value borrowed(lamina_array handle) {
    api->retain(handle);
    return Value(handle);
  }
  lamina_array get() const { return handle_; }
  lamina_array give() { return std::exchange(handle_, nullptr); }

 private:
  lamina_array handle_ = nullptr;
};

struct Builder {
  lamina_status status = LAMINA_OK;

  Value operator()(const char* name, std::vector<const Value*> inputs,
                   std::vector<lamina_param> params = {}) {
    lamina_array handles[3], out = nullptr;
    for (size_t i = 0; i < inputs.size(); ++i) handles[i] = inputs[i]->get();
    if (!status)
      status = api->op(name, handles, inputs.size(), params.data(), params.size(), &out, 1);
    return Value(out);
  }
  Value number(double value) {
    lamina_array out = nullptr;
    if (!status) status = api->array_scalar(value, LAMINA_FLOAT32, &out);
    return Value(out);
  }
  Value turned(const Value& x) {
    return (*this)("swapaxes", {&x},
                   {{"axis1", LAMINA_INTEGER, 0, -1, 0, nullptr, 0},
                    {"axis2", LAMINA_INTEGER, 0, -2, 0, nullptr, 0}});
  }
  Value column(const Value& x) {
    static const int64_t last[] = {-1};
    return (*this)("expand_dims", {&x}, {{"axes", LAMINA_INTS, 0, 0, 0, last, 1}});
  }
  Value sum_of_rows(const Value& x) {
    static const int64_t last[] = {-1};
    return (*this)("sum", {&x}, {{"axes", LAMINA_INTS, 0, 0, 0, last, 1}});
  }
  Value count_up(int64_t from, int64_t n) {
    return (*this)("arange", {},
                   {{"start", LAMINA_REAL, 0, 0, static_cast<double>(from), nullptr, 0},
                    {"stop", LAMINA_REAL, 0, 0, static_cast<double>(from + n), nullptr, 0},
                    {"step", LAMINA_REAL, 0, 0, 1.0, nullptr, 0},
                    {"dtype", LAMINA_DTYPE, 0, LAMINA_INT32, 0, nullptr, 0}});
  }
};

}  // namespace

lamina_status flash_jvp(const lamina_call* call, const lamina_array* in,
                        const lamina_array* tangents, lamina_array* results) {
  lamina_view queries, keys;
  if (lamina_status s = api->array_type(in[0], &queries)) return s;
  if (lamina_status s = api->array_type(in[1], &keys)) return s;
  lamina_array made[2] = {nullptr, nullptr};
  if (lamina_status s = api->op("flash.attention", in, 3, call->params, call->param_count, made, 2))
    return s;
  const Value out(made[0]), lse(made[1]);
  const Value q = Value::borrowed(in[0]), k = Value::borrowed(in[1]), v = Value::borrowed(in[2]);
  const Value tq = Value::borrowed(tangents[0]), tk = Value::borrowed(tangents[1]),
              tv = Value::borrowed(tangents[2]);

  Builder op;
  const Value scale = op.number(call->params[0].real), zero = op.number(0);
  const Value kt = op.turned(k), tkt = op.turned(tk), rows = op.column(lse);
  const Value products = op("matmul", {&q, &kt}), scores = op("multiply", {&products, &scale});
  const Value below = op("subtract", {&scores, &rows});
  Value p = op("exp", {&below});
  if (call->params[1].integer) {
    // The last row sees all keys, the one above it all but one.
    const Value row = op.count_up(keys.shape[2] - queries.shape[2], queries.shape[2]);
    const Value most = op.column(row), key = op.count_up(0, keys.shape[2]);
    const Value seen = op("less_equal", {&key, &most});
    p = op("where", {&seen, &p, &zero});
  }
  const Value from_q = op("matmul", {&tq, &kt}), from_k = op("matmul", {&q, &tkt});
  const Value both = op("add", {&from_q, &from_k}), moved = op("multiply", {&both, &scale});
  const Value weighed = op("multiply", {&p, &moved});
  Value t_lse = op.sum_of_rows(weighed);
  const Value t_rows = op.column(t_lse), less = op("multiply", {&t_rows, &out});
  const Value of_v = op("matmul", {&p, &tv}), of_p = op("matmul", {&weighed, &v});
  const Value gained = op("add", {&of_v, &of_p});
  Value t_out = op("subtract", {&gained, &less});
  results[0] = t_out.give();
  results[1] = t_lse.give();
  return op.status;
}
