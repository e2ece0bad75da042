// How a transform of a length is computed: its factors and the constants that belong to them. Plans
// are immutable and shared; making one twice is avoided by a cache.
#pragma once

#include <complex>
#include <cstdint>
#include <memory>
#include <vector>

namespace lamina::cpu {

// A tile of transforms of length n: Stockham's passes where n has small prime factors only, else
// Bluestein's convolution with a chirp, by way of a longer length m that has.
class TilePlan {
 public:
  explicit TilePlan(int64_t n);
  int64_t size() const { return n_; }
  // Points that each of the two buffers must hold.
  int64_t room() const { return inner_ ? inner_->size() : n_; }
  // Transforms the n points of `tile`, using `work`; the result is in the one that is returned.
  float* run(float* tile, float* work) const;
  int64_t floats() const;  // of its constants

 private:
  struct Stage {
    int radix;
    int64_t groups, stride;
    std::vector<float> twiddles, roots;
  };
  float* run_chirp(float* tile, float* work) const;

  int64_t n_;
  std::vector<Stage> stages_;
  std::shared_ptr<const TilePlan> inner_;  // of length m; nullptr without a chirp
  std::vector<float> chirp_, spectrum_;
};

// One long transform: columns, then rows of n = first * second points, or a chirp.
struct LongPlan {
  explicit LongPlan(int64_t n);
  int64_t n, first = 0, second = 0;
  std::shared_ptr<const TilePlan> columns, rows;
  std::vector<float> lanes;  // a tile: exp(-2 pi i k l / n) for k < first and lane l
  // exp(-2 pi i e / n) = coarse[e >> shift] * fine[e - (e >> shift << shift)].
  int shift = 0;
  std::vector<std::complex<double>> coarse, fine;
  std::complex<double> root(int64_t e) const {
    const std::complex<double> a = coarse[static_cast<size_t>(e >> shift)];
    const std::complex<double> b = fine[static_cast<size_t>(e - (e >> shift << shift))];
    return {a.real() * b.real() - a.imag() * b.imag(), a.real() * b.imag() + a.imag() * b.real()};
  }
  std::shared_ptr<const LongPlan> inner;  // of the chirp's convolution; nullptr without one
  std::vector<float> chirp, spectrum;
  int64_t floats() const;
};

// exp(-2 pi i k / n) for k <= n / 4, between the transform of n real numbers and of n / 2 complex.
struct RealPlan {
  explicit RealPlan(int64_t n);
  std::vector<float> roots;
  int64_t floats() const { return static_cast<int64_t>(roots.size()); }
};

// Whether `count` transforms of length n are cheaper one after the other than in tiles. `lines`: a
// tile is read by whole lines of memory, as its points or its transforms lie side by side.
bool is_long(int64_t n, int64_t count, bool lines);
// Thread safe.
std::shared_ptr<const TilePlan> tile_plan(int64_t n);
std::shared_ptr<const LongPlan> long_plan(int64_t n);
std::shared_ptr<const RealPlan> real_plan(int64_t n);

}  // namespace lamina::cpu
