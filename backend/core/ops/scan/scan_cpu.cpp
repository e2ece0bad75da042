#include "ops/scan/scan_cpu.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "base/error.h"
#include "base/thread_pool.h"
#include "devices/cpu/complex_math.h"
#include "ops/copy/copy_cpu.h"
#include "ops/copy/strided.h"

namespace lamina::cpu {
namespace {

// Columns scanned together: their running values stay in L1.
constexpr int64_t kColumns = 256;
constexpr int64_t kGrain = 1 << 14;

// Storage type -> type of the running value.
template <class T>
using running_t =
    std::conditional_t<std::is_same_v<T, float16_t> || std::is_same_v<T, bfloat16_t>, float, T>;

// Signed sums and products wrap; only their unsigned twins may.
template <class T>
T wrapping_sum(T a, T b) {
  if constexpr (std::is_same_v<T, bool>)
    return a || b;
  else if constexpr (std::is_integral_v<T>)
    return static_cast<T>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
  else
    return a + b;
}

template <class T>
T wrapping_product(T a, T b) {
  if constexpr (std::is_same_v<T, bool>)
    return a && b;
  else if constexpr (std::is_integral_v<T>)
    return static_cast<T>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
  else
    return a * b;
}

template <class A>
constexpr bool kComplex = std::is_same_v<A, complex64_t>;

template <class A>
A lowest() {
  if constexpr (kComplex<A>)
    return {lowest<float>(), lowest<float>()};
  else if constexpr (std::is_floating_point_v<A>)
    return -std::numeric_limits<A>::infinity();
  else
    return std::numeric_limits<A>::lowest();
}

template <class A>
A highest() {
  if constexpr (kComplex<A>)
    return {highest<float>(), highest<float>()};
  else if constexpr (std::is_floating_point_v<A>)
    return std::numeric_limits<A>::infinity();
  else
    return std::numeric_limits<A>::max();
}

// The running extreme; the first NaN stays. Complex numbers are ordered as NumPy orders them.
template <bool largest, class A>
A extreme(A a, A b) {
  if constexpr (kComplex<A>) {
    auto nan = [](A x) { return x.real() != x.real() || x.imag() != x.imag(); };
    if (nan(a) || nan(b)) return nan(a) ? a : b;
    bool less = a.real() < b.real() || (a.real() == b.real() && a.imag() < b.imag());
    return less == largest ? b : a;
  } else {
    bool keep = largest ? a > b : a < b;
    return keep | (a != a) ? a : b;
  }
}

template <ScanKind kind, class A>
struct Step {
  static A identity() {
    if constexpr (kind == ScanKind::sum)
      return A(0);
    else if constexpr (kind == ScanKind::prod)
      return A(1);
    else if constexpr (kind == ScanKind::min)
      return highest<A>();
    else if constexpr (kind == ScanKind::logaddexp && kComplex<A>)
      return {lowest<float>(), 0};
    else
      return lowest<A>();
  }
  static A join(A a, A b) {
    if constexpr (kind == ScanKind::sum)
      return wrapping_sum(a, b);
    else if constexpr (kind == ScanKind::prod)
      return wrapping_product(a, b);
    else if constexpr (kind == ScanKind::max)
      return extreme<true>(a, b);
    else if constexpr (kind == ScanKind::min)
      return extreme<false>(a, b);
    else if constexpr (kComplex<A>) {
      Complex sum = complex_logaddexp({a.real(), a.imag()}, {b.real(), b.imag()});
      return {sum.re, sum.im};
    } else {
      if (a != a || b != b) return a + b;
      A high = std::max(a, b), low = std::min(a, b);
      // Equal infinities would give NaN from their difference.
      if (low == lowest<A>() || high == highest<A>()) return high;
      return high + std::log1p(std::exp(low - high));
    }
  }
};

struct Rows {
  int64_t outer, length, inner;  // out is (outer, length, inner)
  bool reverse, inclusive;
};

template <class S, class T, class A>
void scan_row(const Rows& r, const T* src, T* out) {
  int64_t step = r.reverse ? -1 : 1;
  int64_t at = r.reverse ? r.length - 1 : 0;
  A running = S::identity();
  for (int64_t i = 0; i < r.length; ++i, at += step) {
    A next = S::join(running, static_cast<A>(src[at]));
    out[at] = static_cast<T>(r.inclusive ? next : running);
    running = next;
  }
}

// Some columns of one (length, inner) block, side by side.
template <class S, class T, class A>
void scan_columns(const Rows& r, const T* src, T* out, int64_t columns) {
  A running[kColumns];
  std::fill_n(running, columns, S::identity());
  for (int64_t i = 0; i < r.length; ++i) {
    int64_t at = (r.reverse ? r.length - 1 - i : i) * r.inner;
    if (r.inclusive) {
      for (int64_t c = 0; c < columns; ++c) {
        running[c] = S::join(running[c], static_cast<A>(src[at + c]));
        out[at + c] = static_cast<T>(running[c]);
      }
    } else {
      for (int64_t c = 0; c < columns; ++c) {
        A next = S::join(running[c], static_cast<A>(src[at + c]));
        out[at + c] = static_cast<T>(running[c]);
        running[c] = next;
      }
    }
  }
}

template <ScanKind kind, class T>
void scan_typed(const Rows& r, const T* src, T* out) {
  using A = running_t<T>;
  using S = Step<kind, A>;
  if (r.inner == 1) {
    parallel_for(r.outer, std::max<int64_t>(1, kGrain / r.length),
                 [&](int64_t begin, int64_t end, int) {
                   for (int64_t o = begin; o < end; ++o)
                     scan_row<S, T, A>(r, src + o * r.length, out + o * r.length);
                 });
    return;
  }
  int64_t blocks = (r.inner + kColumns - 1) / kColumns;
  int64_t grain = std::max<int64_t>(1, kGrain / (r.length * std::min(kColumns, r.inner)));
  parallel_for(r.outer * blocks, grain, [&](int64_t begin, int64_t end, int) {
    for (int64_t unit = begin; unit < end; ++unit) {
      int64_t first = unit % blocks * kColumns;
      int64_t shift = unit / blocks * r.length * r.inner + first;
      scan_columns<S, T, A>(r, src + shift, out + shift, std::min(kColumns, r.inner - first));
    }
  });
}

[[noreturn]] void unsupported(const char* name, Dtype d) {
  throw DtypeError(std::string(name) + ": dtype " + name_of(d) + " is not supported");
}

template <class T>
void scan_kind(ScanKind kind, const Rows& r, const T* src, T* out) {
  constexpr bool is_inexact = !std::is_integral_v<T>;
  switch (kind) {
    case ScanKind::sum:
      return scan_typed<ScanKind::sum>(r, src, out);
    case ScanKind::prod:
      return scan_typed<ScanKind::prod>(r, src, out);
    case ScanKind::max:
      return scan_typed<ScanKind::max>(r, src, out);
    case ScanKind::min:
      return scan_typed<ScanKind::min>(r, src, out);
    default:
      if constexpr (is_inexact) return scan_typed<ScanKind::logaddexp>(r, src, out);
      unsupported("logcumsumexp", dtype_of<T>);
  }
}

}  // namespace

void scan(const TensorView& src, const TensorView& out, int64_t axis, ScanKind kind, bool reverse,
          bool inclusive) {
  axis = checked_axis("scan", axis, src.shape.size());
  Rows r{1, src.shape[axis], 1, reverse, inclusive};
  for (int64_t i = 0; i < axis; ++i) r.outer *= src.shape[i];
  for (size_t i = axis + 1; i < src.shape.size(); ++i) r.inner *= src.shape[i];
  const void* from = src.data;
  if (!src.contiguous()) {
    copy(src, out);
    from = out.data;
  }
  if (src.size() == 0) return;
  dispatch(src.dtype, [&](auto item) {
    using T = decltype(item);
    scan_kind(kind, r, static_cast<const T*>(from), out.as<T>());
  });
}

}  // namespace lamina::cpu
