#include "trees.h"

namespace lamina::python {

namespace {

void flatten_tree(py::handle tree, Arrays& out) {
  if (is_array(tree.ptr()))
    out.push_back(array_of(tree.ptr()));
  else if (PyList_Check(tree.ptr()) || PyTuple_Check(tree.ptr()))
    for (py::handle item : tree) flatten_tree(item, out);
  else if (PyDict_Check(tree.ptr()))
    for (auto item : py::reinterpret_borrow<py::dict>(tree)) flatten_tree(item.second, out);
}

py::object rebuild(py::handle tree, const Arrays& leaves, size_t& at) {
  PyObject* o = tree.ptr();
  if (is_array(o)) return py::cast(leaves.at(at++));
  if (PyList_Check(o)) {
    py::list out;
    for (py::handle item : tree) out.append(rebuild(item, leaves, at));
    return out;
  }
  if (PyTuple_Check(o)) {
    py::list out;
    for (py::handle item : tree) out.append(rebuild(item, leaves, at));
    if (py::hasattr(tree, "_fields")) return py::type::of(tree)(*py::tuple(out));
    return py::tuple(out);
  }
  if (PyDict_Check(o)) {
    py::dict out;
    for (auto item : py::reinterpret_borrow<py::dict>(tree))
      out[item.first] = rebuild(item.second, leaves, at);
    return out;
  }
  return py::reinterpret_borrow<py::object>(tree);
}

}  // namespace

py::object rebuild(py::handle tree, const Arrays& leaves) {
  size_t at = 0;
  return rebuild(tree, leaves, at);
}
Arrays leaves_of(py::handle tree) {
  Arrays out;
  flatten_tree(tree, out);
  return out;
}

}  // namespace lamina::python
