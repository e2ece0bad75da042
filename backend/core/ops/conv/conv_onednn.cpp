#include "ops/conv/conv_onednn.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/thread_pool.h"
#include "devices/cpu/onednn.h"
#include "devices/cpu/scratch.h"

namespace lamina::cpu {

#if LAMINA_ONEDNN

namespace {

constexpr int64_t kParallelFlops = 1'000'000;
constexpr size_t kCachedPrimitives = 512;

// A primitive for a fixed geometry and number of images. Immutable, so one serves all threads:
// memory it needs at run time is passed in (the library's own scratchpad belongs to one thread).
struct ConvPrimitive {
  const OneDnn& lib;
  dnnl_memory_desc_t input = nullptr, output = nullptr,
                     weight = nullptr;  // as lamina lays them out
  dnnl_primitive_desc_t desc = nullptr, reorder_desc = nullptr;
  dnnl_primitive_t run = nullptr, reorder = nullptr;  // reorder of the weight; nullptr where none
  const_dnnl_memory_desc_t packed = nullptr;          // the weight as the primitive wants it
  const_dnnl_memory_desc_t scratchpad = nullptr;

  explicit ConvPrimitive(const OneDnn& library) : lib(library) {}
  ConvPrimitive(const ConvPrimitive&) = delete;
  ConvPrimitive& operator=(const ConvPrimitive&) = delete;
  ~ConvPrimitive() {
    if (run) lib.primitive_destroy(run);
    if (reorder) lib.primitive_destroy(reorder);
    if (desc) lib.primitive_desc_destroy(desc);
    if (reorder_desc) lib.primitive_desc_destroy(reorder_desc);
    for (dnnl_memory_desc_t md : {input, output, weight})
      if (md) lib.memory_desc_destroy(md);
  }
  int64_t packed_bytes() const {
    return reorder ? static_cast<int64_t>(lib.memory_desc_get_size(packed)) : 0;
  }
};

struct Dims {
  dnnl_dims_t values;
  int count = 0;
  void add(int64_t v) { values[count++] = v; }
  void add(const Extent& e, int spatial) {
    for (int axis = 3 - spatial; axis < 3; ++axis) add(e[static_cast<size_t>(axis)]);
  }
};

dnnl_memory_desc_t describe(const OneDnn& lib, const Dims& dims, dnnl_format_tag_t tag) {
  dnnl_memory_desc_t md = nullptr;
  dnnl_status_t status =
      lib.memory_desc_create_with_tag(&md, dims.count, dims.values, dnnl_f32, tag);
  return status == dnnl_success ? md : nullptr;
}

struct Attr {
  const OneDnn& lib;
  dnnl_primitive_attr_t value = nullptr;
  explicit Attr(const OneDnn& library) : lib(library) {
    check_onednn(lib.primitive_attr_create(&value), "conv");
    lib.primitive_attr_set_scratchpad_mode(value, dnnl_scratchpad_mode_user);
  }
  ~Attr() { lib.primitive_attr_destroy(value); }
};

dnnl_status_t create_desc(ConvPrimitive& p, ConvKind kind, const ConvGeometry& g,
                          const_dnnl_memory_desc_t any_weight) {
  const OneDnn& lib = p.lib;
  Dims stride, dilation, lo, hi;
  Extent gaps;
  for (size_t x = 0; x < 3; ++x) gaps[x] = g.kernel_dilation[x] - 1;
  stride.add(g.stride, g.spatial);
  dilation.add(gaps, g.spatial);
  lo.add(g.pad_lo, g.spatial);
  hi.add(g.pad_hi, g.spatial);
  Attr attr(lib);
  dnnl_primitive_desc_t forward = nullptr;
  dnnl_status_t status = lib.convolution_forward_primitive_desc_create(
      &forward, lib.engine,
      kind == ConvKind::forward ? dnnl_forward_inference : dnnl_forward_training,
      dnnl_convolution_direct, p.input, any_weight, nullptr, p.output, stride.values,
      dilation.values, lo.values, hi.values, attr.value);
  if (status != dnnl_success) return status;
  if (kind == ConvKind::forward) {
    p.desc = forward;
    return status;
  }
  if (kind == ConvKind::input) {
    status = lib.convolution_backward_data_primitive_desc_create(
        &p.desc, lib.engine, dnnl_convolution_direct, p.input, any_weight, p.output, stride.values,
        dilation.values, lo.values, hi.values, forward, attr.value);
  } else {
    status = lib.convolution_backward_weights_primitive_desc_create(
        &p.desc, lib.engine, dnnl_convolution_direct, p.input, any_weight, nullptr, p.output,
        stride.values, dilation.values, lo.values, hi.values, forward, attr.value);
  }
  lib.primitive_desc_destroy(forward);
  return status;
}

// nullptr when the library has no quick primitive for it.
std::shared_ptr<const ConvPrimitive> build(const OneDnn& lib, ConvKind kind,
                                           const ConvGeometry& g) {
  static constexpr dnnl_format_tag_t kChannelsLast[] = {dnnl_acb, dnnl_acdb, dnnl_acdeb};
  static constexpr dnnl_format_tag_t kGrouped[] = {dnnl_abdc, dnnl_abdec, dnnl_abdefc};
  const size_t which = static_cast<size_t>(g.spatial - 1);
  auto p = std::make_shared<ConvPrimitive>(lib);
  Dims in, out, weight;
  in.add(g.batch);
  in.add(g.in_channels);
  in.add(g.in, g.spatial);
  out.add(g.batch);
  out.add(g.out_channels);
  out.add(g.out, g.spatial);
  if (g.groups > 1) weight.add(g.groups);
  weight.add(g.group_out());
  weight.add(g.group_in());
  weight.add(g.kernel, g.spatial);
  p->input = describe(lib, in, kChannelsLast[which]);
  p->output = describe(lib, out, kChannelsLast[which]);
  p->weight = describe(lib, weight, g.groups > 1 ? kGrouped[which] : kChannelsLast[which]);
  dnnl_memory_desc_t any = describe(lib, weight, dnnl_format_tag_any);
  if (!p->input || !p->output || !p->weight || !any) return nullptr;
  dnnl_status_t status = create_desc(*p, kind, g, any);
  lib.memory_desc_destroy(any);
  if (status != dnnl_success) return nullptr;
  const char* name = nullptr;
  lib.primitive_desc_query(p->desc, dnnl_query_impl_info_str, 0, &name);
  if (!name || !std::strncmp(name, "ref", 3) || !std::strncmp(name, "gemm", 4)) return nullptr;
  p->packed = lib.primitive_desc_query_md(
      p->desc, kind == ConvKind::weight ? dnnl_query_diff_weights_md : dnnl_query_weights_md, 0);
  p->scratchpad = lib.primitive_desc_query_md(p->desc, dnnl_query_scratchpad_md, 0);
  if (lib.primitive_create(&p->run, p->desc) != dnnl_success) return nullptr;
  if (lib.memory_desc_equal(p->packed, p->weight)) return p;
  const_dnnl_memory_desc_t from = kind == ConvKind::weight ? p->packed : p->weight;
  const_dnnl_memory_desc_t to = kind == ConvKind::weight ? p->weight : p->packed;
  Attr attr(lib);
  if (lib.reorder_primitive_desc_create(&p->reorder_desc, from, lib.engine, to, lib.engine,
                                        attr.value) != dnnl_success ||
      lib.primitive_create(&p->reorder, p->reorder_desc) != dnnl_success)
    return nullptr;
  return p;
}

std::shared_ptr<const ConvPrimitive> primitive_for(const OneDnn& lib, ConvKind kind,
                                                   const ConvGeometry& g) {
  static std::mutex* mutex = new std::mutex;
  static auto* cache = new std::unordered_map<std::string, std::shared_ptr<const ConvPrimitive>>;
  std::string key;
  auto add = [&key](int64_t v) { key.append(reinterpret_cast<const char*>(&v), sizeof v); };
  for (int64_t v : {static_cast<int64_t>(kind), g.batch, g.in_channels, g.out_channels, g.groups,
                    static_cast<int64_t>(g.spatial)})
    add(v);
  for (const Extent* e :
       {&g.in, &g.out, &g.kernel, &g.stride, &g.pad_lo, &g.pad_hi, &g.kernel_dilation})
    for (int64_t v : *e) add(v);
  std::lock_guard<std::mutex> lock(*mutex);
  auto found = cache->find(key);
  if (found != cache->end()) return found->second;
  OneThread guard(lib);
  auto made = build(lib, kind, g);
  // A program with more shapes than this makes new ones all the time; running pieces hold their
  // own.
  if (cache->size() >= kCachedPrimitives) cache->clear();
  cache->emplace(key, made);
  return made;
}

// Memory objects of one execution.
class Arguments {
 public:
  explicit Arguments(const OneDnn& lib) : lib_(lib) {}
  ~Arguments() {
    for (int i = 0; i < count_; ++i) lib_.memory_destroy(args_[i].memory);
  }
  Arguments(const Arguments&) = delete;
  Arguments& operator=(const Arguments&) = delete;
  void add(int role, const_dnnl_memory_desc_t md, const void* data) {
    dnnl_memory_t memory = nullptr;
    check_onednn(lib_.memory_create(&memory, md, lib_.engine, const_cast<void*>(data)), "conv");
    args_[count_++] = {role, memory};
  }
  void execute(dnnl_primitive_t primitive, const std::string& what) {
    thread_local dnnl_stream_t stream = nullptr;
    if (!stream)
      check_onednn(lib_.stream_create(&stream, lib_.engine, dnnl_stream_default_flags), what);
    OneThread guard(lib_);
    check_onednn(lib_.primitive_execute(primitive, stream, count_, args_), what);
  }

 private:
  const OneDnn& lib_;
  dnnl_exec_arg_t args_[5];
  int count_ = 0;
};

void reorder_weight(const ConvPrimitive& p, const ConvGeometry& g, const_dnnl_memory_desc_t from_md,
                    const float* from, const_dnnl_memory_desc_t to_md, float* to) {
  const_dnnl_memory_desc_t pad =
      p.lib.primitive_desc_query_md(p.reorder_desc, dnnl_query_scratchpad_md, 0);
  Scratch scratchpad(static_cast<int64_t>(p.lib.memory_desc_get_size(pad)));
  Arguments args(p.lib);
  args.add(DNNL_ARG_FROM, from_md, from);
  args.add(DNNL_ARG_TO, to_md, to);
  args.add(DNNL_ARG_SCRATCHPAD, pad, scratchpad.as<void>());
  args.execute(p.reorder, g.text());
}

// x is the input's side, y the output's, w the weight as the primitive wants it.
void execute(const ConvPrimitive& p, ConvKind kind, const ConvGeometry& g, const float* x,
             const float* y, const float* w) {
  Scratch scratchpad(static_cast<int64_t>(p.lib.memory_desc_get_size(p.scratchpad)));
  Arguments args(p.lib);
  args.add(kind == ConvKind::input ? DNNL_ARG_DIFF_SRC : DNNL_ARG_SRC, p.input, x);
  args.add(kind == ConvKind::forward ? DNNL_ARG_DST : DNNL_ARG_DIFF_DST, p.output, y);
  args.add(kind == ConvKind::weight ? DNNL_ARG_DIFF_WEIGHTS : DNNL_ARG_WEIGHTS, p.packed, w);
  args.add(DNNL_ARG_SCRATCHPAD, p.scratchpad, scratchpad.as<void>());
  args.execute(p.run, g.text());
}

// The work of one call: pieces of `images` images; the last may have fewer.
struct Pieces {
  int64_t images, count;
  std::shared_ptr<const ConvPrimitive> full, last;
};

bool make_pieces(const OneDnn& lib, ConvKind kind, const ConvGeometry& g, Pieces* out) {
  int64_t wanted = g.flops() < kParallelFlops ? 1 : thread_count();
  if (kind != ConvKind::weight && g.flops() > 64 * kParallelFlops) wanted *= 2;
  out->images = (g.batch + wanted - 1) / wanted;
  out->count = (g.batch + out->images - 1) / out->images;
  ConvGeometry part = g;
  part.batch = out->images;
  out->full = primitive_for(lib, kind, part);
  part.batch = g.batch - (out->count - 1) * out->images;
  out->last = part.batch == out->images ? out->full : primitive_for(lib, kind, part);
  return out->full && out->last;
}

void run_weight(const Pieces& pieces, const ConvGeometry& g, const float* x, const float* y,
                float* out) {
  const int64_t size = g.weight_size();
  const int64_t x_step = pieces.images * g.in_positions() * g.in_channels;
  const int64_t y_step = pieces.images * g.out_positions() * g.out_channels;
  Scratch partial((pieces.count - 1) * size * int64_t{sizeof(float)});
  auto target = [&](int64_t i) { return i == 0 ? out : partial.as<float>() + (i - 1) * size; };
  parallel_for(pieces.count, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const ConvPrimitive& p = i + 1 == pieces.count ? *pieces.last : *pieces.full;
      Scratch packed(p.packed_bytes());
      float* w = p.reorder ? packed.as<float>() : target(i);
      execute(p, ConvKind::weight, g, x + i * x_step, y + i * y_step, w);
      if (p.reorder) reorder_weight(p, g, p.packed, w, p.weight, target(i));
    }
  });
  if (pieces.count == 1) return;
  parallel_for(size, 1 << 15, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = 1; i < pieces.count; ++i) {
      const float* add = target(i);
      for (int64_t j = begin; j < end; ++j) out[j] += add[j];
    }
  });
}

void run_images(const Pieces& pieces, ConvKind kind, const ConvGeometry& g, const float* x,
                const float* y, const float* weight) {
  const int64_t x_step = pieces.images * g.in_positions() * g.in_channels;
  const int64_t y_step = pieces.images * g.out_positions() * g.out_channels;
  // The two primitives may want the weight in different orders.
  Scratch full(pieces.full->packed_bytes()), last(pieces.last->packed_bytes());
  auto pack = [&](const ConvPrimitive& p, Scratch& to) {
    if (!p.reorder) return weight;
    reorder_weight(p, g, p.weight, weight, p.packed, to.as<float>());
    return static_cast<const float*>(to.as<float>());
  };
  const float* full_weight = pack(*pieces.full, full);
  const float* last_weight = pieces.last == pieces.full ? full_weight : pack(*pieces.last, last);
  parallel_for(pieces.count, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      bool is_last = i + 1 == pieces.count;
      execute(is_last ? *pieces.last : *pieces.full, kind, g, x + i * x_step, y + i * y_step,
              is_last ? last_weight : full_weight);
    }
  });
}

// What the primitives cannot say, and where the gathered products were measured to be quicker.
bool suits(ConvKind kind, const ConvGeometry& g) {
  if (g.flip || g.input_dilation != Extent{1, 1, 1}) return false;
  for (size_t x = 0; x < 3; ++x)
    if (g.pad_lo[x] < 0 || g.pad_hi[x] < 0) return false;
  if (g.pointwise() && g.groups == 1 && kind != ConvKind::input) return false;
  if (kind == ConvKind::input && g.group_in() < 8 && g.groups == 1) return false;
  // One image cannot be split over the threads here; its rows can.
  return g.batch >= thread_count() || g.flops() < kParallelFlops || g.groups > 1;
}

}  // namespace

bool conv_by_library(ConvKind kind, const ConvGeometry& g, const float* first, const float* second,
                     float* out) {
  const OneDnn* lib = onednn();
  if (!lib || !suits(kind, g)) return false;
  Pieces pieces;
  if (!make_pieces(*lib, kind, g, &pieces)) return false;
  switch (kind) {
    case ConvKind::forward:
      run_images(pieces, kind, g, first, out, second);
      break;
    case ConvKind::input:
      run_images(pieces, kind, g, out, first, second);
      break;
    case ConvKind::weight:
      run_weight(pieces, g, first, second, out);
      break;
  }
  return true;
}

#else

bool conv_by_library(ConvKind, const ConvGeometry&, const float*, const float*, float*) {
  return false;
}

#endif  // LAMINA_ONEDNN

}  // namespace lamina::cpu
