// The LAPACK library, opened when a program first factorises a matrix. Its routines have Fortran's
// interface with 32-bit integers.
//
// The library runs on the calling thread unless a LapackThreads says otherwise: lamina's pool
// splits batches, and two pools would fight over the cores.
#pragma once

#include <complex>
#include <cstddef>

#include "base/dtype.h"

namespace lamina::cpu {

// The entry point of "dgetrf" and its kin. Throws DeviceError when there is no library, or when it
// lacks the routine. Opens the library. Thread safe.
void* lapack_routine(const char* name);
// File of the library, for a reader. Throws DeviceError when there is none.
const char* lapack_library();

// While alive, one routine may use this many threads. Not to be nested; one at a time.
class LapackThreads {
 public:
  explicit LapackThreads(int count);
  ~LapackThreads();
  LapackThreads(const LapackThreads&) = delete;

 private:
  bool changed_;
};

// Length of a Fortran string, passed behind the other arguments.
inline constexpr size_t kOne = 1;

template <class T>
struct LapackTraits;
template <>
struct LapackTraits<float> {
  using Real = float;
  static constexpr char letter = 's';
};
template <>
struct LapackTraits<double> {
  using Real = double;
  static constexpr char letter = 'd';
};
template <>
struct LapackTraits<complex64_t> {
  using Real = float;
  static constexpr char letter = 'c';
};
template <class T>
using lapack_real = typename LapackTraits<T>::Real;
template <class T>
inline constexpr bool kLapackComplex = std::is_same_v<T, complex64_t>;

// The routine of T's kind: routine<double, void(int*)>("getrf") is dgetrf.
template <class T, class Signature>
Signature* routine(const char* name) {
  char full[16] = {LapackTraits<T>::letter};
  for (size_t i = 0; name[i] && i + 2 < sizeof full; ++i) full[i + 1] = name[i];
  return reinterpret_cast<Signature*>(lapack_routine(full));
}

}  // namespace lamina::cpu
