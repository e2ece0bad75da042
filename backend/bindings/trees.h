// Trees: nested lists, tuples and dicts whose leaves are arrays and other things.
#pragma once

#include "array_type.h"

namespace lamina::python {

// The arrays of a tree in order; dicts by insertion. Other leaves are passed over.
Arrays leaves_of(py::handle tree);
// The same tree with its arrays taken from `leaves` in order, other leaves as they are; a dict of
// any kind becomes a dict.
py::object rebuild(py::handle tree, const Arrays& leaves);

}  // namespace lamina::python
