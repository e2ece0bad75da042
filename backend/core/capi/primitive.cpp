// lamina_primitive as a primitive of custom/: every callback wrapped, its answers checked.
#include <memory>

#include "base/error.h"
#include "base/thread_pool.h"
#include "capi/functions.h"
#include "capi/handles.h"
#include "capi/params.h"
#include "capi/status.h"

struct lamina_program_s {
  lamina::TextProgram program;
};

namespace lamina::capi {

namespace {

// Runs a callback: its status becomes an exception, and so does what it throws by mistake.
template <class F>
void ask(const std::string& who, F&& callback) {
  forget_error();
  lamina_status status;
  try {
    status = callback();
  } catch (const std::exception& e) {
    throw PrimitiveError(who + ": a callback threw: " + e.what());
  } catch (...) {
    throw PrimitiveError(who + ": a callback threw");
  }
  check(who, status);
}

// What a registered primitive keeps of the C side's structure.
struct Kept {
  lamina_primitive c;
  std::string name;
  std::vector<CustomField> fields;
  int64_t outputs;
};
using KeptRef = std::shared_ptr<const Kept>;

// A lamina_call and the parameters it points to.
struct Call {
  Call(const Kept& kept, const Params& params, size_t inputs)
      : values(param_list(kept.fields, params)), c{sizeof(lamina_call),
                                                   kept.c.user,
                                                   values.list.data(),
                                                   values.list.size(),
                                                   inputs,
                                                   static_cast<size_t>(kept.outputs)} {}
  ParamList values;
  lamina_call c;
};

std::vector<lamina_view> views(std::span<const TensorView> of) {
  std::vector<lamina_view> out;
  for (const TensorView& v : of) out.push_back(view_of(v));
  return out;
}
std::vector<lamina_view> types(const Arrays& of) {
  std::vector<lamina_view> out;
  for (const Array& x : of) out.push_back(type_of(x));
  return out;
}

std::vector<ResultType> results_of(const Kept& k, const Params& params, const Arrays& in) {
  Call call(k, params, in.size());
  std::vector<lamina_view> inputs = types(in);
  std::vector<lamina_type> out(static_cast<size_t>(k.outputs), lamina_type{-1, -1, {}});
  ask(k.name, [&] { return k.c.types(&call.c, inputs.data(), out.data()); });
  std::vector<ResultType> results;
  for (size_t i = 0; i < out.size(); ++i) {
    if (out[i].ndim < 0 || out[i].dtype < 0)
      throw PrimitiveError(k.name + ": its types function left output " + std::to_string(i) +
                           " without shape or dtype");
    results.push_back({shape_from(k.name.c_str(), out[i].ndim, out[i].shape),
                       dtype_from(k.name.c_str(), out[i].dtype)});
  }
  return results;
}

void run(const Kept& k, const CallArgs& args) {
  Call call(k, *static_cast<const Params*>(args.params), args.in.size());
  std::vector<lamina_view> in = views(args.in), out = views(args.out);
  PureScope scope;
  ask(k.name, [&] { return k.c.cpu(&call.c, in.data(), out.data()); });
}

TextProgram text_of(const Kept& k, const TextCall& args, const TextTraits& traits) {
  Call call(k, *static_cast<const Params*>(args.params), args.in.size());
  std::vector<lamina_view> in = views(args.in), out = views(args.out);
  for (lamina_view& v : in) v.data = nullptr;
  for (lamina_view& v : out) v.data = nullptr;
  lamina_device device{
      sizeof(lamina_device),   traits.dialect == Dialect::msl ? LAMINA_MSL : LAMINA_CUDA,
      traits.simd_width,       traits.max_threads,
      traits.max_buffers,      traits.cores,
      traits.threadgroup_bytes};
  lamina_program_s program;
  PureScope scope;
  ask(k.name, [&] { return k.c.text(&call.c, &device, in.data(), out.data(), &program); });
  return std::move(program.program);
}

// Runs a rule that fills `count` handles. Null ones become empty Arrays.
template <class F>
Arrays ask_rule(const std::string& who, size_t count, F&& rule) {
  std::vector<lamina_array> handles(count, nullptr);
  std::exception_ptr error;
  try {
    ask(who, [&] { return rule(handles.data()); });
  } catch (...) {
    error = std::current_exception();
  }
  Arrays out;
  for (lamina_array h : handles) out.push_back(take(h));
  if (error) std::rethrow_exception(error);
  return out;
}

void need_all(const std::string& who, const Arrays& results) {
  for (size_t i = 0; i < results.size(); ++i)
    if (!results[i])
      throw PrimitiveError(who + ": its rule left result " + std::to_string(i) + " empty");
}

void add_rules(CustomPrimitive& p, const KeptRef& k) {
  if (k->c.vjp)
    p.vjp = [k](const Params& params, const Arrays& in, const Arrays& out, const Arrays& cts) {
      Call call(*k, params, in.size());
      auto i = borrowed(in), o = borrowed(out), c = borrowed(cts);
      return ask_rule(k->name + " (vjp)", in.size(), [&](lamina_array* r) {
        return k->c.vjp(&call.c, i.data(), o.data(), c.data(), r);
      });
    };
  if (k->c.jvp)
    p.jvp = [k](const Params& params, const Arrays& in, const Arrays& tangents) {
      Call call(*k, params, in.size());
      auto i = borrowed(in), t = borrowed(tangents);
      std::string who = k->name + " (jvp)";
      Arrays out = ask_rule(who, static_cast<size_t>(k->outputs), [&](lamina_array* r) {
        return k->c.jvp(&call.c, i.data(), t.data(), r);
      });
      need_all(who, out);
      return out;
    };
  if (k->c.vmap)
    p.vmap = [k](const Params& params, const Arrays& in, const std::vector<bool>& batched,
                 int64_t batch) {
      Call call(*k, params, in.size());
      auto i = borrowed(in);
      std::vector<int32_t> flags(batched.begin(), batched.end());
      std::string who = k->name + " (vmap)";
      Arrays out = ask_rule(who, static_cast<size_t>(k->outputs), [&](lamina_array* r) {
        return k->c.vmap(&call.c, i.data(), flags.data(), batch, r);
      });
      need_all(who, out);
      return out;
    };
}

KeptRef keep(const lamina_primitive* given) {
  if (!given) throw ValueError("define: the primitive is null");
  // Fields past what the caller knew stay null.
  constexpr uint32_t oldest = sizeof(lamina_primitive);
  if (given->size < oldest)
    throw ValueError("define: lamina_primitive.size is " + std::to_string(given->size) +
                     ", at least " + std::to_string(oldest) +
                     " bytes are needed\nSet it to sizeof(lamina_primitive)");
  auto kept = std::make_shared<Kept>();
  kept->c = *given;
  kept->name = given->name ? given->name : "";
  kept->outputs = given->outputs;
  kept->fields = fields_from(kept->name, given->params, given->param_count);
  if (!given->types) throw ValueError("define: " + kept->name + " has no types function");
  if (!given->cpu && !given->text)
    throw ValueError("define: " + kept->name + " has neither a cpu nor a text function");
  return kept;
}

}  // namespace

lamina_status define(const lamina_primitive* given) {
  return guarded([&] {
    KeptRef k = keep(given);
    CustomPrimitive p;
    p.name = k->name;
    p.doc = given->doc ? given->doc : "";
    p.inputs = given->inputs;
    p.outputs = given->outputs;
    p.fields = k->fields;
    p.results = [k](const Params& params, const Arrays& in) { return results_of(*k, params, in); };
    if (given->cpu) p.cpu = [k](const CallArgs& args) { run(*k, args); };
    if (given->text)
      p.text = [k](const TextCall& call, const TextTraits& traits) {
        return text_of(*k, call, traits);
      };
    if (given->flops)
      p.flops = [k](const Params& params, const Arrays& in) {
        Call call(*k, params, in.size());
        std::vector<lamina_view> inputs = types(in);
        return k->c.flops(&call.c, inputs.data());
      };
    add_rules(p, k);
    register_custom(std::move(p));
  });
}

lamina_status parallel_for(int64_t n, int64_t grain,
                           lamina_status (*body)(void* user, int64_t begin, int64_t end),
                           void* user) {
  return guarded([&] {
    lamina::parallel_for(n, std::max<int64_t>(1, grain), [&](int64_t begin, int64_t end, int) {
      PureScope scope;
      ask("parallel_for", [&] { return body(user, begin, end); });
    });
  });
}

lamina_status add_kernel(lamina_program program, const lamina_kernel* kernel) {
  return guarded([&] {
    if (!program || !kernel) throw ValueError("add_kernel: program or kernel is null");
    if (kernel->size < sizeof(lamina_kernel))
      throw ValueError("add_kernel: lamina_kernel.size is " + std::to_string(kernel->size) +
                       "\nSet it to sizeof(lamina_kernel)");
    if (!kernel->name || !kernel->source)
      throw ValueError("add_kernel: a kernel needs a name and a source");
    for (int d = 0; d < 3; ++d)
      if (kernel->groups[d] < 0 || kernel->threads[d] < 1)
        throw ValueError("add_kernel: " + std::string(kernel->name) +
                         ": groups must not be negative and threads must be positive");
    TextKernel out;
    out.name = kernel->name;
    out.source = kernel->source;
    for (size_t i = 0; i < kernel->operand_count; ++i)
      out.buffers.push_back({kernel->operands[i], (kernel->written >> i & 1) != 0, 1});
    const auto* block = static_cast<const unsigned char*>(kernel->block);
    out.block.assign(block, block + kernel->block_bytes);
    for (size_t d = 0; d < 3; ++d) {
      out.groups[d] = kernel->groups[d];
      out.threads[d] = kernel->threads[d];
      if (out.groups[d] == 0) return;  // nothing to do
    }
    out.threadgroup_bytes = kernel->threadgroup_bytes;
    program->program.launches.push_back(std::move(out));
  });
}

lamina_status add_temporary(lamina_program program, int64_t bytes, int32_t* operand) {
  return guarded([&] {
    if (!program || !operand) throw ValueError("add_temporary: program or operand is null");
    if (bytes < 0) throw ValueError("add_temporary: bytes is " + std::to_string(bytes));
    program->program.temporaries.push_back(bytes);
    *operand = -static_cast<int32_t>(program->program.temporaries.size());
  });
}

}  // namespace lamina::capi
