// One launch while it is being written: its parameters, its constant block, its functions.
#pragma once

#include <string>
#include <vector>

#include "kernels/dialect.h"

namespace lamina {

class Unit {
 public:
  Unit(const TextTraits& traits, std::string name) : traits_(traits) {
    kernel_.name = std::move(name);
  }

  const TextTraits& traits() const { return traits_; }
  // A buffer parameter `device [const] type* name`. Alignment in bytes, of the bound address;
  // `most`: bytes of it that are touched at most.
  void buffer(const std::string& name, const std::string& type, int operand, bool written,
              int64_t alignment, int64_t most = INT64_MAX);
  // The program's fault words, as `faults`, and note_fault(faults, k, what) (FaultFn).
  void faults();
  // Integers in the constant block: gives "p.name". `wide`: long, else int.
  std::string field(const std::string& name, int64_t value, bool wide = false);
  std::string word(const std::string& name, uint32_t value);
  // Scalar argument k of `count`, in its own dtype.
  std::string scalar(int k, Dtype d, int count);
  // Declarations in front of the kernel, each once.
  void declare(const std::string& text);
  // `struct float_x4`, n elements of a type that are read and written at once.
  std::string pack(const std::string& type, int64_t itemsize, int n);

  // The axis sizes behind next_index: n and its reciprocal; gives "p.n_k, p.m_k, p.s_k".
  std::string divisor(const std::string& suffix, int64_t n, bool wide);

  TextKernel finish(const std::string& body, std::array<int64_t, 3> groups, int threads);

 private:
  std::string add_field(const std::string& name, const std::string& type, const void* value,
                        size_t bytes, size_t alignment);

  TextTraits traits_;
  TextKernel kernel_;
  std::vector<std::string> parameters_;
  std::string fields_, declarations_;
  bool faults_ = false;
};

// "i * p.s + j + p.offset" with what is 0 or 1 left out; "0" if nothing is left.
std::string joined_sum(const std::vector<std::string>& terms);

}  // namespace lamina
