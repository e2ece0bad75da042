// The function around a user's body. Sizes and strides of the inputs stand in the constant block,
// so that one text serves all of them; dtypes, ranks and template arguments are text.
#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "custom/metal_on_cuda.h"
#include "custom/names.h"
#include "custom/text_kernel.h"
#include "kernels/dialect.h"

namespace lamina {

namespace {

// How a dialect says what the function needs.
struct Spelling {
  const char* long_type;
  const char* device;    // before a pointer to a buffer
  const char* constant;  // before a pointer into the constant block
  const char* types[kDtypeCount];
};
constexpr Spelling kMsl{"long",
                        "device ",
                        "constant ",
                        {"bool", "uchar", "ushort", "uint", "ulong", "char", "short", "int", "long",
                         "half", "bfloat", "float", nullptr, nullptr}};
constexpr Spelling kCuda{
    "long long",
    "",
    "",
    {"bool", "unsigned char", "unsigned short", "unsigned int", "unsigned long long", "signed char",
     "short", "int", "long long", "half", "bfloat", "float", "double", nullptr}};

const Spelling& spelling(Dialect d) { return d == Dialect::msl ? kMsl : kCuda; }

// What Metal calls the position of a thread, and how CUDA says it; null: Metal only.
struct Attribute {
  const char* name;
  const char* type;
  const char* cuda;
};
// In partial groups threads are numbered over those that are there, and stand in the lanes that
// the whole group would give them.
constexpr const char* kCudaGrid =
    "lamina_uint3(lamina_block.lamina_grid[0], lamina_block.lamina_grid[1], "
    "lamina_block.lamina_grid[2])";
constexpr const char* kCudaGroup = "lamina_uint3(blockDim.x, blockDim.y, blockDim.z)";
constexpr const char* kCudaGroups = "(blockDim.x * blockDim.y * blockDim.z + 31) / 32";
constexpr Attribute kAttributes[] = {
    {"thread_position_in_grid", "uint3",
     "lamina_uint3(blockIdx.x * blockDim.x + threadIdx.x, blockIdx.y * blockDim.y + threadIdx.y, "
     "blockIdx.z * blockDim.z + threadIdx.z)"},
    {"thread_position_in_threadgroup", "uint3",
     "lamina_uint3(threadIdx.x, threadIdx.y, threadIdx.z)"},
    {"threadgroup_position_in_grid", "uint3", "lamina_uint3(blockIdx.x, blockIdx.y, blockIdx.z)"},
    {"threads_per_threadgroup", "uint3", "lamina_here"},
    {"dispatch_threads_per_threadgroup", "uint3", kCudaGroup},
    {"threadgroups_per_grid", "uint3", "lamina_uint3(gridDim.x, gridDim.y, gridDim.z)"},
    {"threads_per_grid", "uint3", kCudaGrid},
    {"grid_size", "uint3", kCudaGrid},
    {"thread_index_in_threadgroup", "uint",
     "threadIdx.x + lamina_here.x * (threadIdx.y + lamina_here.y * threadIdx.z)"},
    {"thread_index_in_simdgroup", "uint", "lamina_thread % 32"},
    {"simdgroup_index_in_threadgroup", "uint", "lamina_thread / 32"},
    {"simdgroups_per_threadgroup", "uint",
     "(lamina_here.x - 1 + blockDim.x * (lamina_here.y - 1 + blockDim.y * (lamina_here.z - 1))) / "
     "32 + 1"},
    {"dispatch_simdgroups_per_threadgroup", "uint", kCudaGroups},
    {"threads_per_simdgroup", "uint", "32"},
    {"thread_execution_width", "uint", "32"},
    {"grid_origin", "uint3", nullptr},
    {"quadgroup_index_in_threadgroup", "uint", nullptr},
    {"quadgroups_per_threadgroup", "uint", nullptr},
    {"dispatch_quadgroups_per_threadgroup", "uint", nullptr},
    {"thread_index_in_quadgroup", "uint", nullptr},
};

constexpr const char* kMslPrologue = R"(#include <metal_stdlib>
using namespace metal;
typedef half float16_t;
typedef bfloat bfloat16_t;
// The offset of the element with this row-major number.
template <typename Stride>
inline long elem_to_loc(uint elem, constant const int* shape, constant const Stride* strides,
                        int ndim) {
  long at = 0;
  for (int d = ndim - 1; d >= 0; --d) {
    at += long(elem % uint(shape[d])) * long(strides[d]);
    elem /= uint(shape[d]);
  }
  return at;
}
)";
constexpr const char* kCudaPrologue = R"(typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
typedef unsigned long ulong;
typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef unsigned int uint32_t;
typedef unsigned long long uint64_t;
typedef signed char int8_t;
typedef short int16_t;
typedef int int32_t;
typedef long long int64_t;
// The offset of the element with this row-major number.
template <typename Shape, typename Stride>
__device__ inline long long elem_to_loc(unsigned long long elem, const Shape* shape,
                                        const Stride* strides, int ndim) {
  long long at = 0;
  for (int d = ndim - 1; d >= 0; --d) {
    at += (long long)(elem % (unsigned long long)shape[d]) * (long long)strides[d];
    elem /= (unsigned long long)shape[d];
  }
  return at;
}
)";
// Words of lamina's half types in a program's own text, where floats are assigned to them.
using Words = std::vector<std::pair<std::string, std::string>>;
const Words kOwnCudaWords{{"inline", "__device__ inline"}, {"explicit", ""}};
std::string replaced(const std::string& text, const Words& words) {
  auto part = [&](size_t i) {
    return i < text.size() && (std::isalnum(static_cast<unsigned char>(text[i])) || text[i] == '_');
  };
  std::string out;
  for (size_t i = 0; i < text.size();) {
    size_t start = i;
    while (part(i)) ++i;
    if (i == start) {
      out += text[i++];
      continue;
    }
    std::string word = text.substr(start, i - start);
    auto it = std::find_if(words.begin(), words.end(),
                           [&](const auto& pair) { return pair.first == word; });
    out += it == words.end() ? word : it->second;
  }
  return out;
}

class Writer {
 public:
  Writer(const KernelSource& s, const std::vector<TemplateArgument>& arguments,
         const TextCall& call, const TextTraits& traits)
      : s_(s),
        code_(without_comments(s.source)),
        arguments_(arguments),
        call_(call),
        traits_(traits),
        say_(spelling(traits.dialect)) {
    if (s.dialect == Dialect::cuda && traits.dialect == Dialect::msl)
      throw DeviceError("cuda_kernel " + s.name +
                        ": this device compiles Metal text, not CUDA\nWrite it with "
                        "mx.fast.metal_kernel, or run it on an NVIDIA GPU");
  }

  std::string type(Dtype d) const {
    const char* name = say_.types[static_cast<int>(d)];
    if (!name || (d == Dtype::float64 && !traits_.float64))
      throw DtypeError(who() + ": kernels on this device have no " + name_of(d));
    return name;
  }

  std::string prologue() const { return msl() ? kMslPrologue : kCudaPrologue + half_types(); }

  TextKernel body(const KernelLaunch& launch) {
    TextKernel k;
    k.name = "custom_kernel_" + s_.name;
    const std::string whole = s_.header + "\n" + s_.source;
    auto own = [&](const std::string& t) { return foreign() ? cuda_spelling(t, whole) : t; };
    std::string text = prologue();
    if (foreign()) text += metal_on_cuda(whole, s_.atomic);
    // Messages about what stands around the program's lines do not count on from these.
    auto back = [&text] {
      const auto lines = std::count(text.begin(), text.end(), '\n');
      text += "#line " + std::to_string(lines + 2) + " \"program_source\"\n";
    };
    if (!s_.header.empty()) {
      text += "#line 1 \"" + s_.name + " header\"\n" + own(s_.header) + "\n";
      back();
    }
    text += block(k, launch) + signature(k) + locals();
    text += "#line 1 \"" + s_.name + "\"\n" + own(s_.source) + "\n";
    back();
    text += "}\n";
    k.source = std::move(text);
    k.contracts = true;
    place(k, launch);
    k.threadgroup_bytes = s_.threadgroup_bytes;
    for (size_t i = 0; i < call_.in.size() + call_.out.size(); ++i)
      k.buffers.push_back({static_cast<int>(i), i >= call_.in.size(), 1});
    return k;
  }

  // Writes one value to every element of output `index`.
  TextKernel fill(size_t index, double value) const {
    const TensorView& out = call_.out[index];
    const std::string t = type(out.dtype);
    TextKernel k;
    k.name = "lamina_fill";
    std::string text =
        prologue() + "struct Fill { " + say_.long_type + " count; " + t + " value; };\n";
    if (msl())
      text += "kernel void lamina_fill(device " + t +
              "* out [[buffer(0)]], constant Fill& f [[buffer(1)]],\n"
              "    uint i [[thread_position_in_grid]], uint n [[threads_per_grid]]) {\n";
    else
      text += "extern \"C\" __global__ void lamina_fill(" + t +
              "* out, Fill f) {\n  uint i = blockIdx.x * blockDim.x + threadIdx.x, n = gridDim.x * "
              "blockDim.x;\n";
    text += std::string("  for (") + say_.long_type +
            " k = i; k < f.count; k += n) out[k] = f.value;\n}\n";
    k.source = std::move(text);
    const int64_t count = out.size();
    k.block.resize(static_cast<size_t>(8 + std::max<int64_t>(8, itemsize(out.dtype))));
    std::memcpy(k.block.data(), &count, 8);
    Array scalar = make_scalar(value, out.dtype);
    std::memcpy(k.block.data() + 8, scalar.node()->literal.bytes, 8);
    k.buffers = {{static_cast<int>(call_.in.size() + index), true, 1}};
    k.groups = {std::clamp<int64_t>((count + 255) / 256, 1, 1024), 1, 1};
    k.threads = {256, 1, 1};
    return k;
  }

 private:
  bool msl() const { return traits_.dialect == Dialect::msl; }
  // Metal's text for an NVIDIA GPU.
  bool foreign() const { return !msl() && s_.dialect == Dialect::msl; }
  std::string who() const {
    return std::string(s_.dialect == Dialect::msl ? "metal_kernel " : "cuda_kernel ") + s_.name;
  }

  // CUDA's own are in headers that a run-time compiler does not have. Bodies assign floats to them
  // as they do in Metal and in CUDA.
  std::string half_types() const {
    std::string out;
    for (const auto& [dtype, name] :
         {std::pair{Dtype::float16, "half"}, {Dtype::bfloat16, "bfloat"}})
      if (foreign() || uses(dtype) || names(name))
        for (const Helper& h : basic_helpers())
          if (std::string_view(h.name) == name) out += replaced(h.cuda, kOwnCudaWords);
    return out;
  }
  // The type without an operand of it; what the text defines is the text's own.
  bool names(const std::string& type) const {
    const std::string code = without_comments(s_.header) + "\n" + code_;
    return mentions(code, type) && code.find("struct " + type) == std::string::npos;
  }
  bool uses(Dtype d) const {
    for (const auto& views : {call_.in, call_.out})
      for (const TensorView& v : views)
        if (v.dtype == d) return true;
    for (const TemplateArgument& a : arguments_)
      if (auto* t = std::get_if<Dtype>(&a.value); t && *t == d) return true;
    return false;
  }

  std::string element(size_t operand) const {
    bool output = operand >= call_.in.size();
    std::string t =
        type(output ? call_.out[operand - call_.in.size()].dtype : call_.in[operand].dtype);
    return output && s_.atomic && msl() ? "atomic<" + t + ">" : t;
  }
  const std::string& name(size_t operand) const {
    return operand < s_.inputs.size() ? s_.inputs[operand] : s_.outputs[operand - s_.inputs.size()];
  }
  // A scalar input is a reference, not a pointer.
  bool scalar(size_t operand) const {
    return operand < call_.in.size() && call_.in[operand].shape.empty();
  }

  std::string signature(const TextKernel& k) const {
    std::string out =
        msl() ? "kernel void " + k.name + "(" : "extern \"C\" __global__ void " + k.name + "(";
    const size_t count = call_.in.size() + call_.out.size();
    for (size_t i = 0; i < count; ++i) {
      out += std::string("\n    ") + say_.device + (i < call_.in.size() ? "const " : "") +
             element(i) + "* " + (scalar(i) ? "lamina_" : "") + name(i);
      if (msl()) out += " [[buffer(" + std::to_string(i) + ")]]";
      out += ",";
    }
    if (!msl()) return out + "\n    const LaminaBlock lamina_block) {\n";
    out += "\n    constant LaminaBlock& lamina_block [[buffer(" + std::to_string(count) + ")]]";
    for (const Attribute& a : kAttributes)
      if (mentions(code_, a.name))
        out += std::string(",\n    ") + a.type + " " + a.name + " [[" + a.name + "]]";
    return out + ") {\n";
  }

  // What the body may name besides its arguments; only what it does name.
  std::string locals() const {
    std::string out;
    if (!msl()) out += cuda_locals();
    for (size_t i = 0; i < call_.in.size(); ++i) {
      const std::string& in = s_.inputs[i];
      if (scalar(i))
        out += std::string("  ") + say_.device + "const " + element(i) + "& " + in + " = *lamina_" +
               in + ";\n";
      auto give = [&](const char* what, const std::string& declaration) {
        if (mentions(code_, in + "_" + what))
          out += std::string("  ") + say_.constant + "const " + declaration + in + "_" + what +
                 " = lamina_block." + in + "_" + what + ";\n";
      };
      give("shape", "int* ");
      give("strides", std::string(say_.long_type) + "* ");
      give("ndim", "int& ");
    }
    for (const TemplateArgument& a : arguments_) {
      if (auto* d = std::get_if<Dtype>(&a.value))
        out += "  using " + a.name + " = " + type(*d) + ";\n";
      else if (auto* b = std::get_if<bool>(&a.value))
        out += "  constexpr bool " + a.name + " = " + (*b ? "true" : "false") + ";\n";
      else
        out += "  constexpr int " + a.name + " = " + std::to_string(std::get<int64_t>(a.value)) +
               ";\n";
    }
    return out;
  }

  // Whole groups are launched here: threads outside of the grid leave at once.
  std::string cuda_locals() const {
    std::string out =
        "  if (blockIdx.x * blockDim.x + threadIdx.x >= lamina_block.lamina_grid[0] ||\n"
        "      blockIdx.y * blockDim.y + threadIdx.y >= lamina_block.lamina_grid[1] ||\n"
        "      blockIdx.z * blockDim.z + threadIdx.z >= lamina_block.lamina_grid[2])\n"
        "    return;\n";
    if (s_.dialect == Dialect::cuda) return out;
    out +=
        "  const uint lamina_thread =\n"
        "      threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);\n"
        "  const lamina_uint3 lamina_here(\n"
        "      min(blockDim.x, lamina_block.lamina_grid[0] - blockIdx.x * blockDim.x),\n"
        "      min(blockDim.y, lamina_block.lamina_grid[1] - blockIdx.y * blockDim.y),\n"
        "      min(blockDim.z, lamina_block.lamina_grid[2] - blockIdx.z * blockDim.z));\n"
        "  (void)lamina_thread, (void)lamina_here;\n";
    for (const Attribute& a : kAttributes) {
      if (!mentions(code_, a.name)) continue;
      if (!a.cuda)
        throw DeviceError(who() + ": " + a.name +
                          " has no counterpart on CUDA\nWrite the kernel with mx.fast.cuda_kernel");
      out += "  const " + cuda_spelling(a.type, {}) + " " + a.name + " = " + a.cuda + ";\n";
    }
    return out;
  }

  void place(TextKernel& k, const KernelLaunch& launch) const {
    for (size_t d = 0; d < 3; ++d) {
      int64_t threads = std::min(launch.threadgroup[d], launch.grid[d]);
      k.threads[d] = static_cast<int>(threads);
      k.groups[d] = (launch.grid[d] + threads - 1) / threads;
      k.grid[d] = launch.grid[d];
    }
    bool whole = true;
    for (size_t d = 0; d < 3; ++d) whole &= k.groups[d] * k.threads[d] == k.grid[d];
    if (whole) k.grid = {0, 0, 0};
    if (!msl()) check_cuda_groups(who(), k.groups);
    const int64_t threads = int64_t{k.threads[0]} * k.threads[1] * k.threads[2];
    if (threads > traits_.max_threads)
      throw ValueError(who() + ": a threadgroup of " + std::to_string(threads) +
                       " threads, this device runs " + std::to_string(traits_.max_threads));
  }

  // The constant block: 64-bit members first, so that both sides lay it out alike.
  std::string block(TextKernel& k, const KernelLaunch& launch) {
    std::string longs, ints;
    std::vector<int64_t> wide;
    std::vector<int32_t> narrow;
    for (size_t i = 0; i < call_.in.size(); ++i) {
      const TensorView& v = call_.in[i];
      // A scalar has one entry all the same: arrays of no elements do not exist.
      const std::string rank = std::to_string(std::max<size_t>(1, v.shape.size()));
      const std::string& in = s_.inputs[i];
      longs += std::string("  ") + say_.long_type + " " + in + "_strides[" + rank + "];\n";
      ints += "  int " + in + "_shape[" + rank + "];\n  int " + in + "_ndim;\n";
      if (v.shape.empty()) {
        wide.push_back(0);
        narrow.push_back(1);
      }
      for (size_t d = 0; d < v.shape.size(); ++d) {
        wide.push_back(v.strides[d]);
        if (v.shape[d] > INT32_MAX)
          throw ShapeError(who() + ": " + in + " " + to_string(v.shape) +
                           ": an axis is longer than the 32 bits of " + in + "_shape");
        narrow.push_back(static_cast<int32_t>(v.shape[d]));
      }
      narrow.push_back(static_cast<int32_t>(v.shape.size()));
    }
    for (int64_t n : launch.grid) narrow.push_back(static_cast<int32_t>(n));
    ints += "  uint lamina_grid[3];\n";
    k.block.resize(wide.size() * 8 + narrow.size() * 4);
    std::memcpy(k.block.data(), wide.data(), wide.size() * 8);
    std::memcpy(k.block.data() + wide.size() * 8, narrow.data(), narrow.size() * 4);
    k.block.resize((k.block.size() + 15) / 16 * 16);
    return "struct LaminaBlock {\n" + longs + ints + "};\n";
  }

  const KernelSource& s_;
  const std::string code_;  // the body without its comments
  const std::vector<TemplateArgument>& arguments_;
  const TextCall& call_;
  const TextTraits& traits_;
  const Spelling& say_;
};

}  // namespace

TextKernel write_fill(const TextCall& call, size_t index, double value, const TextTraits& traits) {
  KernelSource none;
  none.name = "fill";
  none.dialect = traits.dialect;
  return Writer(none, {}, call, traits).fill(index, value);
}

TextProgram write_kernel(const KernelSource& source, const std::vector<TemplateArgument>& arguments,
                         const KernelLaunch& launch, const TextCall& call,
                         const TextTraits& traits) {
  Writer writer(source, arguments, call, traits);
  TextProgram out;
  if (launch.init)
    for (size_t i = 0; i < call.out.size(); ++i)
      if (call.out[i].size() > 0) out.launches.push_back(writer.fill(i, *launch.init));
  out.launches.push_back(writer.body(launch));
  return out;
}

}  // namespace lamina
