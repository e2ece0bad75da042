#include "ops/fft/fft_plan.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <mutex>
#include <numbers>

#include "ops/fft/fft_kernels.h"

namespace lamina::cpu {

namespace {

using Complex = std::complex<double>;

// exp(-2 pi i k / n), with k reduced so that the angle is exact.
Complex root_of_one(int64_t k, int64_t n) {
  const double angle = -2 * std::numbers::pi * static_cast<double>(k % n) / static_cast<double>(n);
  return {std::cos(angle), std::sin(angle)};
}
void put(std::vector<float>& to, Complex x) {
  to.push_back(static_cast<float>(x.real()));
  to.push_back(static_cast<float>(x.imag()));
}

// Radices of n in the order of the passes; empty if a prime factor is too large for one.
std::vector<int> radices_of(int64_t n) {
  std::vector<int> out;
  int twos = 0;
  while (n % 2 == 0) n /= 2, ++twos;
  for (; twos >= 3 && twos != 4; twos -= 3) out.push_back(8);
  for (; twos >= 2; twos -= 2) out.push_back(4);
  if (twos) out.push_back(2);
  for (int p = 3; p <= kMaxRadix && n > 1; p += 2)
    while (n % p == 0) n /= p, out.push_back(p);
  if (n > 1) out.clear();
  return out;
}
bool is_smooth(int64_t n) { return n == 1 || !radices_of(n).empty(); }

// The smallest length with quick factors that holds a convolution of n and n points.
int64_t chirp_length(int64_t n) {
  int64_t best = std::numeric_limits<int64_t>::max();
  for (int64_t odd : {1, 3, 5, 9, 15}) {
    int64_t m = odd;
    while (m < 2 * n - 1) m *= 2;
    best = std::min(best, m);
  }
  return best;
}

// For the constants of a chirp, which are worth more digits than a float transform leaves.
std::vector<Complex> exact_transform(const std::vector<Complex>& x) {
  const auto n = static_cast<int64_t>(x.size());
  int64_t p = 2;
  while (p * p <= n && n % p) ++p;
  if (n == 1) return x;
  if (n % p) p = n;
  const int64_t m = n / p;
  std::vector<std::vector<Complex>> parts;
  for (int64_t j = 0; j < p; ++j) {
    std::vector<Complex> part;
    for (int64_t i = j; i < n; i += p) part.push_back(x[static_cast<size_t>(i)]);
    parts.push_back(exact_transform(part));
  }
  std::vector<Complex> out(x.size());
  for (int64_t k = 0; k < n; ++k)
    for (int64_t j = 0; j < p; ++j)
      out[static_cast<size_t>(k)] +=
          parts[static_cast<size_t>(j)][static_cast<size_t>(k % m)] * root_of_one(j * k % n, n);
  return out;
}

// exp(-pi i k^2 / n) for k < n, and the transform of its inverse over a circle of m points, / m.
void make_chirp(int64_t n, int64_t m, std::vector<float>& chirp, std::vector<float>& spectrum) {
  std::vector<Complex> around(static_cast<size_t>(m));
  int64_t square = 0;  // k^2 modulo 2 n
  for (int64_t k = 0; k < n; ++k) {
    const Complex w = root_of_one(square, 2 * n);
    put(chirp, w);
    around[static_cast<size_t>(k)] = around[static_cast<size_t>((m - k) % m)] =
        std::conj(w) / static_cast<double>(m);
    square = (square + 2 * k + 1) % (2 * n);
  }
  for (const Complex& x : exact_transform(around)) put(spectrum, x);
}

int64_t in_tiles(int64_t n) { return (n + kTileLanes - 1) / kTileLanes * kTileLanes; }

// Work of one lane of a tile, in points passed over.
double tile_cost(int64_t n) {
  double points = static_cast<double>(n);
  if (!is_smooth(n)) return 2 * tile_cost(chirp_length(n)) + 4 * points;
  double passes = 2;
  for (int radix : radices_of(n)) passes += radix > 8 ? radix / 4.0 : 1;
  return points * passes;
}

struct Split {
  int64_t first = 0, second = 0;
  double cost = std::numeric_limits<double>::infinity();
};
Split split_of(int64_t n) {
  Split best;
  for (int64_t a = 2; a * a <= n; ++a) {
    if (n % a) continue;
    for (int64_t first : {a, n / a}) {
      const int64_t second = n / first;
      const double cost = static_cast<double>(in_tiles(second)) * tile_cost(first) +
                          static_cast<double>(in_tiles(first)) * tile_cost(second);
      if (cost < best.cost) best = {first, second, cost};
    }
  }
  return best;
}
double long_cost(int64_t n) {
  if (is_smooth(n)) return split_of(n).cost;
  return 2 * long_cost(chirp_length(n)) + 8 * static_cast<double>(n);
}

}  // namespace

TilePlan::TilePlan(int64_t n) : n_(n) {
  if (!is_smooth(n)) {
    inner_ = tile_plan(chirp_length(n));
    make_chirp(n, inner_->size(), chirp_, spectrum_);
    return;
  }
  int64_t stride = 1;
  for (int radix : radices_of(n)) {
    Stage stage{radix, n / stride / radix, stride, {}, {}};
    for (int64_t p = 0; p < stage.groups; ++p)
      for (int k = 1; k < radix; ++k) put(stage.twiddles, root_of_one(p * k, stage.groups * radix));
    for (bool sine : {false, true})
      for (int k = 0; k < radix; ++k) {
        const Complex w = root_of_one(k, radix);
        stage.roots.push_back(static_cast<float>(sine ? -w.imag() : w.real()));
      }
    stages_.push_back(std::move(stage));
    stride *= radix;
  }
}

float* TilePlan::run(float* tile, float* work) const {
  if (inner_) return run_chirp(tile, work);
  for (const Stage& s : stages_) {
    fft_kernels().pass(s.radix, s.groups, s.stride, tile, work, s.twiddles.data(), s.roots.data());
    std::swap(tile, work);
  }
  return tile;
}

// The inverse transform of the convolution is a forward one read backwards.
float* TilePlan::run_chirp(float* tile, float* work) const {
  const FftKernels& k = fft_kernels();
  const int64_t m = inner_->size();
  k.scale(tile, n_, chirp_.data());
  std::memset(tile + n_ * kTilePoint, 0,
              static_cast<size_t>((m - n_) * kTilePoint) * sizeof(float));
  float* there = inner_->run(tile, work);
  k.scale(there, m, spectrum_.data());
  float* back = inner_->run(there, there == tile ? work : tile);
  float* out = back == tile ? work : tile;
  for (int64_t i = 0; i < n_; ++i)
    std::memcpy(out + i * kTilePoint, back + (i ? m - i : 0) * kTilePoint,
                kTilePoint * sizeof(float));
  k.scale(out, n_, chirp_.data());
  return out;
}

int64_t TilePlan::floats() const {
  size_t out = chirp_.size() + spectrum_.size();
  for (const Stage& s : stages_) out += s.twiddles.size() + s.roots.size();
  return static_cast<int64_t>(out);
}

LongPlan::LongPlan(int64_t size) : n(size) {
  if (!is_smooth(n)) {
    const int64_t m = chirp_length(n);
    inner = long_plan(m);
    make_chirp(n, m, chirp, spectrum);
    return;
  }
  Split split = split_of(n);
  first = split.first;
  second = split.second;
  columns = tile_plan(first);
  rows = tile_plan(second);
  for (int64_t k = 0; k < first; ++k)
    for (bool imaginary : {false, true})
      for (int64_t l = 0; l < kTileLanes; ++l) {
        const Complex w = root_of_one(k * l, n);
        lanes.push_back(static_cast<float>(imaginary ? w.imag() : w.real()));
      }
  while (int64_t{1} << (2 * shift) < n) ++shift;
  const int64_t step = int64_t{1} << shift;
  for (int64_t e = 0; e < step; ++e) fine.push_back(root_of_one(e, n));
  for (int64_t e = 0; e < n; e += step) coarse.push_back(root_of_one(e, n));
}

int64_t LongPlan::floats() const {
  return static_cast<int64_t>(lanes.size() + chirp.size() + spectrum.size() +
                              4 * (coarse.size() + fine.size()));
}

RealPlan::RealPlan(int64_t n) {
  for (int64_t k = 0; k <= n / 4; ++k) put(roots, root_of_one(k, n));
}

bool is_long(int64_t n, int64_t count, bool lines) {
  // Beyond this a tile and its work leave the second-level cache; and lines of memory of which a
  // little is used at a time, often a power of two apart, evict each other from the first.
  constexpr int64_t kTileRoom = 2048, kApart = 256;
  if (n <= kMaxRadix) return false;
  const bool smooth = is_smooth(n);
  const int64_t room = smooth ? n : chirp_length(n);
  if (room > kTileRoom || (!lines && room > kApart)) return true;
  return long_cost(n) * static_cast<double>(count) <
         tile_cost(n) * static_cast<double>(in_tiles(count));
}

namespace {

template <class Plan>
std::shared_ptr<const Plan> cached(int64_t n) {
  // A program of ever new lengths keeps no more than this.
  constexpr int64_t kMostFloats = int64_t{1} << 24;
  static auto* mutex = new std::mutex;
  static auto* plans = new std::map<int64_t, std::shared_ptr<const Plan>>;
  static int64_t held = 0;
  {
    std::lock_guard lock(*mutex);
    auto found = plans->find(n);
    if (found != plans->end()) return found->second;
  }
  auto made = std::make_shared<const Plan>(n);
  std::lock_guard lock(*mutex);
  if (held + made->floats() > kMostFloats) {
    plans->clear();
    held = 0;
  }
  if (plans->emplace(n, made).second) held += made->floats();
  return made;
}

}  // namespace

std::shared_ptr<const TilePlan> tile_plan(int64_t n) { return cached<TilePlan>(n); }
std::shared_ptr<const LongPlan> long_plan(int64_t n) { return cached<LongPlan>(n); }
std::shared_ptr<const RealPlan> real_plan(int64_t n) { return cached<RealPlan>(n); }

}  // namespace lamina::cpu
