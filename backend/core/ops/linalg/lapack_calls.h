// LAPACK's routines for matrices in column-major memory whose leading dimension is their height.
// Each returns LAPACK's info: 0, or what the routine found to be wrong with the numbers.
#pragma once

#include <cmath>
#include <limits>
#include <string>

#include "devices/cpu/lapack.h"
#include "devices/cpu/scratch.h"

namespace lamina::linear {

using cpu::kLapackComplex;
using cpu::kOne;
using cpu::lapack_real;
using cpu::routine;
using cpu::Scratch;

template <class T>
Scratch scratch_of(int64_t count) {
  return Scratch(std::max<int64_t>(1, count) * static_cast<int64_t>(sizeof(T)));
}
inline int leading(int n) { return std::max(1, n); }

// The size that a workspace query gave; a float's last bit may be missing.
template <class T>
int work_size(const char* op, T asked) {
  double size = std::real(asked);
  if constexpr (!std::is_same_v<T, double>) size *= 1 + 0x1p-22;
  if (size + 1 > std::numeric_limits<int>::max())
    throw ValueError(std::string(op) + ": the matrix is too large for LAPACK's 32-bit workspace");
  return static_cast<int>(size) + 1;
}

// run(work, lwork): asked for its size first, then run with that much.
template <class T, class F>
void with_work(const char* op, F&& run) {
  T asked{};
  run(&asked, -1);
  int size = work_size(op, asked);
  Scratch work = scratch_of<T>(size);
  run(work.as<T>(), size);
}

template <class T>
int geqrf(int m, int n, T* a, T* tau) {
  using F = void(const int*, const int*, T*, const int*, T*, T*, const int*, int*);
  static F* const f = routine<T, F>("geqrf");
  int info = 0, lda = leading(m);
  with_work<T>("qr", [&](T* w, int size) { f(&m, &n, a, &lda, tau, w, &size, &info); });
  return info;
}

// Q of k reflectors, m x n.
template <class T>
int orgqr(int m, int n, int k, T* a, const T* tau) {
  using F =
      void(const int*, const int*, const int*, T*, const int*, const T*, T*, const int*, int*);
  static F* const f = routine<T, F>(kLapackComplex<T> ? "ungqr" : "orgqr");
  int info = 0, lda = leading(m);
  with_work<T>("qr", [&](T* w, int size) { f(&m, &n, &k, a, &lda, tau, w, &size, &info); });
  return info;
}

// job: 'N' values only, 'S' the first min(m, n) vectors, 'A' all.
template <class T>
int gesdd(const char* op, char job, int m, int n, T* a, lapack_real<T>* s, T* u, int ldu, T* vt,
          int ldvt) {
  const int64_t k = std::min(m, n), big = std::max(m, n);
  int info = 0, lda = leading(m);
  Scratch iwork = scratch_of<int>(8 * k);
  with_work<T>(op, [&](T* w, int size) {
    if constexpr (kLapackComplex<T>) {
      using F = void(const char*, const int*, const int*, T*, const int*, float*, T*, const int*,
                     T*, const int*, T*, const int*, float*, int*, int*, size_t);
      static F* const f = routine<T, F>("gesdd");
      Scratch rwork = scratch_of<float>(
          size < 0 ? 1 : std::max(5 * k * k + 5 * k, 2 * big * k + 2 * k * k + k) + 7 * k);
      f(&job, &m, &n, a, &lda, s, u, &ldu, vt, &ldvt, w, &size, rwork.as<float>(), iwork.as<int>(),
        &info, kOne);
    } else {
      using F = void(const char*, const int*, const int*, T*, const int*, T*, T*, const int*, T*,
                     const int*, T*, const int*, int*, int*, size_t);
      static F* const f = routine<T, F>("gesdd");
      f(&job, &m, &n, a, &lda, s, u, &ldu, vt, &ldvt, w, &size, iwork.as<int>(), &info, kOne);
    }
  });
  return info;
}

// job: 'N' or 'V'. The eigenvectors replace a, of which the lower triangle is read.
template <class T>
int heevd(const char* op, char job, int n, T* a, lapack_real<T>* w) {
  const int64_t size = n;
  int info = 0, lda = leading(n);
  int liwork = job == 'N' || n < 2 ? 1 : lapack_size(op, 3 + 5 * size);
  Scratch iwork = scratch_of<int>(liwork);
  const char triangle = 'L';
  with_work<T>(op, [&](T* work, int lwork) {
    int pieces = lwork < 0 ? -1 : liwork;
    if constexpr (kLapackComplex<T>) {
      using F = void(const char*, const char*, const int*, T*, const int*, float*, T*, const int*,
                     float*, const int*, int*, const int*, int*, size_t, size_t);
      static F* const f = routine<T, F>("heevd");
      int64_t reals = job == 'N' ? std::max<int64_t>(1, size) : 1 + 5 * size + 2 * size * size;
      int lrwork = lwork < 0 ? -1 : lapack_size(op, reals);
      Scratch rwork = scratch_of<float>(lwork < 0 ? 1 : reals);
      f(&job, &triangle, &n, a, &lda, w, work, &lwork, rwork.as<float>(), &lrwork, iwork.as<int>(),
        &pieces, &info, kOne, kOne);
    } else {
      using F = void(const char*, const char*, const int*, T*, const int*, T*, T*, const int*, int*,
                     const int*, int*, size_t, size_t);
      static F* const f = routine<T, F>("syevd");
      f(&job, &triangle, &n, a, &lda, w, work, &lwork, iwork.as<int>(), &pieces, &info, kOne, kOne);
    }
  });
  return info;
}

// Eigenvalues w and, where v is not null, right eigenvectors, all complex of T's precision.
template <class T>
int geev(const char* op, int n, T* a, std::complex<lapack_real<T>>* w,
         std::complex<lapack_real<T>>* v) {
  using Real = lapack_real<T>;
  const char no = 'N', job = v ? 'V' : 'N';
  int info = 0, lda = leading(n);
  const size_t count = static_cast<size_t>(n);
  if constexpr (kLapackComplex<T>) {
    using F = void(const char*, const char*, const int*, T*, const int*, T*, T*, const int*, T*,
                   const int*, T*, const int*, float*, int*, size_t, size_t);
    static F* const f = routine<T, F>("geev");
    Scratch rwork = scratch_of<float>(2 * n);
    with_work<T>(op, [&](T* work, int size) {
      f(&no, &job, &n, a, &lda, w, nullptr, &lda, v, &lda, work, &size, rwork.as<float>(), &info,
        kOne, kOne);
    });
  } else {
    using F = void(const char*, const char*, const int*, T*, const int*, T*, T*, T*, const int*, T*,
                   const int*, T*, const int*, int*, size_t, size_t);
    static F* const f = routine<T, F>("geev");
    Scratch values = scratch_of<Real>(2 * n);
    Scratch vectors = scratch_of<Real>(v ? int64_t{n} * n : 1);
    Real *re = values.as<Real>(), *im = re + n, *x = vectors.as<Real>();
    with_work<T>(op, [&](T* work, int size) {
      f(&no, &job, &n, a, &lda, re, im, nullptr, &lda, x, &lda, work, &size, &info, kOne, kOne);
    });
    for (size_t j = 0; j < count; ++j) w[j] = {re[j], im[j]};
    // A conjugate pair's vectors share two columns: the real and the imaginary part.
    for (size_t j = 0; v && info == 0 && j < count; ++j) {
      const bool pair = im[j] != 0 && j + 1 < count;
      for (size_t i = 0; i < count; ++i) {
        Real second = pair ? x[(j + 1) * count + i] : 0;
        v[j * count + i] = {x[j * count + i], second};
        if (pair) v[(j + 1) * count + i] = {x[j * count + i], -second};
      }
      if (pair) ++j;
    }
  }
  return info;
}

template <class T>
int potrf(int n, T* a) {
  using F = void(const char*, const int*, T*, const int*, int*, size_t);
  static F* const f = routine<T, F>("potrf");
  const char triangle = 'L';
  int info = 0, lda = leading(n);
  f(&triangle, &n, a, &lda, &info, kOne);
  return info;
}

template <class T>
int getrf(int m, int n, T* a, int* pivots) {
  using F = void(const int*, const int*, T*, const int*, int*, int*);
  static F* const f = routine<T, F>("getrf");
  int info = 0, lda = leading(m);
  f(&m, &n, a, &lda, pivots, &info);
  return info;
}

template <class T>
int getri(int n, T* a, const int* pivots) {
  using F = void(const int*, T*, const int*, const int*, T*, const int*, int*);
  static F* const f = routine<T, F>("getri");
  int info = 0, lda = leading(n);
  with_work<T>("inv", [&](T* w, int size) { f(&n, a, &lda, pivots, w, &size, &info); });
  return info;
}

template <class T>
int getrs(int n, int right, const T* a, const int* pivots, T* b) {
  using F = void(const char*, const int*, const int*, const T*, const int*, const int*, T*,
                 const int*, int*, size_t);
  static F* const f = routine<T, F>("getrs");
  const char no = 'N';
  int info = 0, lda = leading(n);
  f(&no, &n, &right, a, &lda, pivots, b, &lda, &info, kOne);
  return info;
}

template <class T>
int trtrs(bool upper, bool unit, int n, int right, const T* a, T* b) {
  using F = void(const char*, const char*, const char*, const int*, const int*, const T*,
                 const int*, T*, const int*, int*, size_t, size_t, size_t);
  static F* const f = routine<T, F>("trtrs");
  const char triangle = upper ? 'U' : 'L', no = 'N', diagonal = unit ? 'U' : 'N';
  int info = 0, lda = leading(n);
  f(&triangle, &no, &diagonal, &n, &right, a, &lda, b, &lda, &info, kOne, kOne, kOne);
  return info;
}

template <class T>
int trtri(bool upper, int n, T* a) {
  using F = void(const char*, const char*, const int*, T*, const int*, int*, size_t, size_t);
  static F* const f = routine<T, F>("trtri");
  const char triangle = upper ? 'U' : 'L', no = 'N';
  int info = 0, lda = leading(n);
  f(&triangle, &no, &n, a, &lda, &info, kOne, kOne);
  return info;
}

}  // namespace lamina::linear
