// Errors that reach the user. Form of a message: "op: fact: values", e.g.
// "matmul: inner sizes differ: (2, 3) @ (4, 5), 3 != 4". A second line names the fix if there is
// one.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

namespace lamina {

// Base of every error lamina raises on purpose. The Python class of the same name is raised.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class ValueError : public Error {
  using Error::Error;
};  // an argument's value
class ShapeError : public ValueError {
  using ValueError::ValueError;
};
class DtypeError : public Error {
  using Error::Error;
};  // Python: TypeError
class IndexError : public Error {
  using Error::Error;
};
class DeviceError : public Error {
  using Error::Error;
};
class TraceError : public Error {
  using Error::Error;
};  // misuse inside a transform
class Interrupted : public Error {
  using Error::Error;
};  // Python: KeyboardInterrupt
// A fault of lamina itself; the message asks for a report.
class InternalError : public Error {
 public:
  explicit InternalError(const std::string& what)
      : Error("internal error: " + what + " (please report this)") {}
};
class OutOfMemory : public Error {
 public:
  OutOfMemory(const std::string& what, int64_t asked, int64_t free)
      : Error(what), bytes_asked(asked), bytes_free(free) {}
  int64_t bytes_asked;
  int64_t bytes_free;
};

}  // namespace lamina
