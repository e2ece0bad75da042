#include "devices/cpu/blocks.h"

#include <cstdlib>
#include <cstring>
#include <iterator>
#include <limits>
#include <memory>
#include <type_traits>

#include "devices/cpu/blocks_isa.h"

namespace lamina::cpu {
namespace {

struct Isa {
  const char* name;
  bool (*runs_here)();
  void (*fill_float)(BlockTable&);
  void (*fill_integer)(BlockTable&);
  void (*fill_movement)(BlockTable&);
  void (*fill_chains)(BlockTable&);
};

bool always() { return true; }

#if defined(__x86_64__)
bool has_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("f16c");
}
bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl");
}
#endif

// Best first.
constexpr Isa kIsas[] = {
#if defined(__x86_64__)
    {"avx512", has_avx512, avx512::fill_float, avx512::fill_integer, avx512::fill_movement,
     avx512::fill_chains},
    {"avx2", has_avx2, avx2::fill_float, avx2::fill_integer, avx2::fill_movement,
     avx2::fill_chains},
#elif defined(__aarch64__)
    {"neon", always, neon::fill_float, neon::fill_integer, neon::fill_movement, neon::fill_chains},
#endif
    {"baseline", always, baseline::fill_float, baseline::fill_integer, baseline::fill_movement,
     baseline::fill_chains},
};

std::vector<const Isa*> usable() {
#if defined(__x86_64__)
  __builtin_cpu_init();
#endif
  std::vector<const Isa*> out;
  for (const Isa& isa : kIsas)
    if (isa.runs_here()) out.push_back(&isa);
  return out;
}

// The instruction set asked for, if this machine has it; else the best it has.
const Isa& choose() {
  const char* asked = std::getenv("LAMINA_ISA");
  std::vector<const Isa*> all = usable();
  for (const Isa* isa : all)
    if (asked && std::strcmp(asked, isa->name) == 0) return *isa;
  return *all[0];
}

template <class T>
void write(void* dst, T value) {
  std::memcpy(dst, &value, sizeof value);
}

template <class T>
T lowest_of() {
  using Limits = std::numeric_limits<T>;
  return Limits::has_infinity ? static_cast<T>(-Limits::infinity()) : Limits::lowest();
}
template <class T>
T highest_of() {
  using Limits = std::numeric_limits<T>;
  return Limits::has_infinity ? Limits::infinity() : Limits::max();
}

}  // namespace

const BlockTable& blocks() {
  static const std::unique_ptr<const BlockTable> table = [] {
    auto filled = std::make_unique<BlockTable>();
    const Isa& isa = choose();
    filled->isa = isa.name;
    isa.fill_float(*filled);
    isa.fill_integer(*filled);
    isa.fill_movement(*filled);
    isa.fill_chains(*filled);
    return filled;
  }();
  return *table;
}

std::vector<const char*> instruction_sets() {
  std::vector<const char*> names;
  for (const Isa* isa : usable()) names.push_back(isa->name);
  return names;
}

void reduce_identity(ReduceOp op, Dtype d, void* dst) {
  dispatch(compute_dtype(d), [&](auto zero) {
    using T = decltype(zero);
    bool lowest = op == ReduceOp::max || op == ReduceOp::argmax;
    bool highest = op == ReduceOp::min || op == ReduceOp::argmin;
    if constexpr (std::is_same_v<T, complex64_t>) {
      float end = lowest ? lowest_of<float>() : highest_of<float>();
      float one = op == ReduceOp::prod || op == ReduceOp::all ? 1.0f : 0.0f;
      write(dst, lowest || highest ? T(end, end) : T(one, 0.0f));
    } else if constexpr (!std::is_same_v<T, float16_t> && !std::is_same_v<T, bfloat16_t>) {
      if (lowest) return write(dst, lowest_of<T>());
      if (highest) return write(dst, highest_of<T>());
      write(dst, static_cast<T>(op == ReduceOp::prod || op == ReduceOp::all));
    }
  });
}

}  // namespace lamina::cpu
