// Block loops of the formulas, for one instruction set. Included by the units blocks_<isa>*.cpp.
#pragma once

#include "devices/cpu/blocks.h"
#include "devices/cpu/simd_scalar.h"
#include "ops/binary.h"
#include "ops/ternary.h"
#include "ops/unary.h"

// Inlines the whole formula into the loop, without which the loop would not be vectorised.
#define LAMINA_LOOP __attribute__((flatten)) static

namespace lamina::cpu::LAMINA_ISA_NS {

// Lanes checked at once before a fast function with a limited domain is trusted.
inline constexpr int64_t kGuardedRun = 256;

template <class R>
struct ResultOf {
  using Lane = R;
  static constexpr bool guarded = false;
};
template <class T>
struct ResultOf<Guarded<T>> {
  using Lane = LAMINA_ISA_NS::Lane<T>;
  static constexpr bool guarded = true;
};

template <class T>
struct DtypeOf;
#define LAMINA_DTYPE_OF(T, D)                \
  template <>                                \
  struct DtypeOf<T> {                        \
    static constexpr Dtype value = Dtype::D; \
  }
LAMINA_DTYPE_OF(bool, bool_);
LAMINA_DTYPE_OF(uint8_t, uint8);
LAMINA_DTYPE_OF(uint16_t, uint16);
LAMINA_DTYPE_OF(uint32_t, uint32);
LAMINA_DTYPE_OF(uint64_t, uint64);
LAMINA_DTYPE_OF(int8_t, int8);
LAMINA_DTYPE_OF(int16_t, int16);
LAMINA_DTYPE_OF(int32_t, int32);
LAMINA_DTYPE_OF(int64_t, int64);
LAMINA_DTYPE_OF(float, float32);
LAMINA_DTYPE_OF(double, float64);
LAMINA_DTYPE_OF(Complex, complex64);
#undef LAMINA_DTYPE_OF
template <class T>
struct DtypeOf<Lane<T>> : DtypeOf<T> {};

template <class F, class L>
struct UnaryLoop {
  using R = ResultOf<decltype(F{}(L{}))>;
  using In = typename Memory<L>::type;

  LAMINA_LOOP void run(void* dst, const void* const* src, int64_t n) {
    using Out = typename Memory<typename R::Lane>::type;
    auto* d = static_cast<Out*>(dst);
    auto* x = static_cast<const In*>(src[0]);
    if constexpr (!R::guarded) {
      LAMINA_LANES
      for (int64_t i = 0; i < n; ++i) d[i] = F{}(L{x[i]}).v;
    } else {
      for (int64_t begin = 0; begin < n; begin += kGuardedRun) {
        int64_t end = begin + kGuardedRun < n ? begin + kGuardedRun : n;
        int32_t bad = 0;
        LAMINA_LANES
        for (int64_t i = begin; i < end; ++i) bad |= F{}(L{x[i]}).ok ? 0 : 1;
        if (bad == 0) {
          LAMINA_LANES
          for (int64_t i = begin; i < end; ++i) d[i] = F{}(L{x[i]}).v;
        } else {
          for (int64_t i = begin; i < end; ++i) d[i] = F{}(Careful<In>{x[i]}).v;
        }
      }
    }
  }
};

// kVariant: bit k set means that source k is one scalar.
template <class F, class L, int kVariant>
struct BinaryLoop {
  using R = ResultOf<decltype(F{}(L{}, L{}))>;
  using In = typename Memory<L>::type;
  static constexpr bool kOne0 = kVariant & 1, kOne1 = kVariant & 2;

  LAMINA_LOOP void run(void* dst, const void* const* src, int64_t n) {
    using Out = typename Memory<typename R::Lane>::type;
    if (n <= 0) return;
    auto* d = static_cast<Out*>(dst);
    auto* x = static_cast<const In*>(src[0]);
    auto* y = static_cast<const In*>(src[1]);
    const In x0 = x[0], y0 = y[0];
    if constexpr (!R::guarded) {
      LAMINA_LANES
      for (int64_t i = 0; i < n; ++i) {
        d[i] = F{}(L{kOne0 ? x0 : x[i]}, L{kOne1 ? y0 : y[i]}).v;
      }
    } else {
      for (int64_t begin = 0; begin < n; begin += kGuardedRun) {
        int64_t end = begin + kGuardedRun < n ? begin + kGuardedRun : n;
        int32_t bad = 0;
        LAMINA_LANES
        for (int64_t i = begin; i < end; ++i) {
          bad |= F{}(L{kOne0 ? x0 : x[i]}, L{kOne1 ? y0 : y[i]}).ok ? 0 : 1;
        }
        if (bad == 0) {
          LAMINA_LANES
          for (int64_t i = begin; i < end; ++i) {
            d[i] = F{}(L{kOne0 ? x0 : x[i]}, L{kOne1 ? y0 : y[i]}).v;
          }
        } else {
          for (int64_t i = begin; i < end; ++i) {
            d[i] = F{}(Careful<In>{kOne0 ? x0 : x[i]}, Careful<In>{kOne1 ? y0 : y[i]}).v;
          }
        }
      }
    }
  }
};

// x to one power y. A small whole one is a product: at most a rounding more than `power` has, and
// infinities, zeros and NaNs come out the same.
template <class F, class L>
struct OnePowerLoop {
  using In = typename Memory<L>::type;

  template <class G>
  LAMINA_INLINE static void each(void* dst, const void* src, int64_t n, G g) {
    auto* d = static_cast<In*>(dst);
    auto* x = static_cast<const In*>(src);
    LAMINA_LANES
    for (int64_t i = 0; i < n; ++i) d[i] = g(x[i]);
  }

  LAMINA_LOOP void run(void* dst, const void* const* src, int64_t n) {
    const In y = *static_cast<const In*>(src[1]);
    if (y == 2) return each(dst, src[0], n, [](In x) { return x * x; });
    if (y == 3) return each(dst, src[0], n, [](In x) { return x * x * x; });
    if (y == 4) return each(dst, src[0], n, [](In x) { return (x * x) * (x * x); });
    if (y == 1) return each(dst, src[0], n, [](In x) { return x; });
    if (y == -1) return each(dst, src[0], n, [](In x) { return 1 / x; });
    BinaryLoop<F, L, 2>::run(dst, src, n);
  }
};

// A bool, then two of one type.
template <class F, class L, int kVariant>
struct TernaryLoop {
  using In = typename Memory<L>::type;
  static constexpr bool kOne1 = kVariant & 2, kOne2 = kVariant & 4;

  LAMINA_LOOP void run(void* dst, const void* const* src, int64_t n) {
    if (n <= 0) return;
    auto* d = static_cast<In*>(dst);
    auto* c = static_cast<const uint8_t*>(src[0]);
    auto* x = static_cast<const In*>(src[1]);
    auto* y = static_cast<const In*>(src[2]);
    const In x0 = x[0], y0 = y[0];
    LAMINA_LANES
    for (int64_t i = 0; i < n; ++i) {
      d[i] = F{}(Bool{c[i]}, L{kOne1 ? x0 : x[i]}, L{kOne2 ? y0 : y[i]}).v;
    }
  }
};

constexpr Types class_of(Dtype d) {
  if (d == Dtype::bool_) return kBool;
  if (d < Dtype::float16) return kInteger;
  return d == Dtype::complex64 ? kComplex : kFloating;
}

// Visits the rows and writes the loops of the lane types Ts into a table.
template <class... Ts>
class OpTable {
 public:
  explicit OpTable(BlockTable& table) : table_(table) {}

  template <class F, class... P>
  void row(const RowInfo& info, F, P...) {
    if constexpr (requires(F f, F32 x) { f(x); }) {
      (unary<F, Lane<Ts>>(info), ...);
    } else if constexpr (requires(F f, F32 x) { f(x, x); }) {
      (binary<F, Lane<Ts>>(info), ...);
    } else {
      (ternary<F, Ts>(info), ...);
    }
    ++id_;
  }

 private:
  template <class F, class L>
  void unary(const RowInfo& info) {
    using R = decltype(F{}(L{}));
    constexpr Dtype d = DtypeOf<L>::value;
    if constexpr (!__is_same(R, Unsupported)) {
      if (!(info.types & class_of(d))) return;
      table_.op[id_][static_cast<int>(d)][0] = UnaryLoop<F, L>::run;
      table_.result[id_][static_cast<int>(d)] = DtypeOf<typename ResultOf<R>::Lane>::value;
    }
  }
  template <class F, class L>
  void binary(const RowInfo& info) {
    using R = decltype(F{}(L{}, L{}));
    constexpr Dtype d = DtypeOf<L>::value;
    if constexpr (!__is_same(R, Unsupported)) {
      if (!(info.types & class_of(d))) return;
      OpLoop* loops = table_.op[id_][static_cast<int>(d)];
      loops[0] = BinaryLoop<F, L, 0>::run;
      loops[1] = BinaryLoop<F, L, 1>::run;
      loops[2] = BinaryLoop<F, L, 2>::run;
      if constexpr (__is_same(L, F32) || __is_same(L, F64)) {
        if (__builtin_strcmp(info.name, "power") == 0) loops[2] = OnePowerLoop<F, L>::run;
      }
      table_.result[id_][static_cast<int>(d)] = DtypeOf<typename ResultOf<R>::Lane>::value;
    }
  }
  // Selection moves bits, so one loop serves all types of a size.
  template <class F, class T>
  void ternary(const RowInfo&) {
    constexpr Dtype d = DtypeOf<T>::value;
    constexpr int size = sizeof(T);
    OpLoop* loops = table_.op[id_][static_cast<int>(d)];
    if constexpr (size == 1) select<F, uint8_t>(loops);
    if constexpr (size == 2) select<F, uint16_t>(loops);
    if constexpr (size == 4) select<F, uint32_t>(loops);
    if constexpr (size == 8) select<F, uint64_t>(loops);
    table_.result[id_][static_cast<int>(d)] = d;
  }
  template <class F, class T>
  void select(OpLoop* loops) {
    loops[0] = TernaryLoop<F, Lane<T>, 0>::run;
    loops[2] = TernaryLoop<F, Lane<T>, 2>::run;
    loops[4] = TernaryLoop<F, Lane<T>, 4>::run;
    loops[6] = TernaryLoop<F, Lane<T>, 6>::run;
  }

  BlockTable& table_;
  int id_ = 0;
};

template <class... Ts>
void fill_ops(BlockTable& table) {
  OpTable<Ts...> visitor(table);
  unary_rows(visitor);
  binary_rows(visitor);
  ternary_rows(visitor);
}

}  // namespace lamina::cpu::LAMINA_ISA_NS
