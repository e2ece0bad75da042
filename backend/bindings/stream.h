// The argument `stream=`: None, or a Device, DeviceType or Stream. Taking it as a parameter enters
// its device for the time of the call, so that the nodes built there are for that device.
#pragma once

#include <optional>

#include "array_type.h"

namespace lamina::python {

// The device a Python object stands for. Throws TypeError for anything else, DeviceError where it
// does not open.
DeviceId device_from(py::handle o);

struct OnStream {};

}  // namespace lamina::python

namespace pybind11::detail {

template <>
struct type_caster<lamina::python::OnStream> {
  static constexpr auto name = const_name("object");
  template <class>
  using cast_op_type = lamina::python::OnStream;

  bool load(handle source, bool) {
    if (!source.is_none()) scope_.emplace(lamina::python::device_from(source));
    return true;
  }
  operator lamina::python::OnStream() { return {}; }

 private:
  std::optional<lamina::DeviceScope> scope_;  // the caster lives as long as the call
};

}  // namespace pybind11::detail
