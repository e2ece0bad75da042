// Functions of the elementwise family: one loop over the registry, one parser for all arities.
#include "base/error.h"
#include "convert.h"
#include "graph/primitive.h"
#include "module.h"
#include "ops/ops.h"
#include "stream.h"

namespace lamina::python {

namespace {

struct Function {
  PyMethodDef def;
  std::string name, doc;
  uint16_t formula;
  int arity;
};

const Function& function_of(PyObject* self) {
  return *static_cast<Function*>(PyCapsule_GetPointer(self, "lamina.function"));
}

// Inputs named a and b may also come by keyword; `stream` is accepted everywhere.
int parse(const Function& f, PyObject* const* args, Py_ssize_t count, PyObject* names,
          PyObject** in, PyObject** stream) {
  if (count > f.arity + 1) {
    PyErr_Format(PyExc_TypeError, "%s: takes %d array%s, got %zd arguments", f.name.c_str(),
                 f.arity, f.arity == 1 ? "" : "s", count);
    return -1;
  }
  for (int i = 0; i < f.arity; ++i) in[i] = i < count ? args[i] : nullptr;
  *stream = count > f.arity ? args[f.arity] : Py_None;
  Py_ssize_t keywords = names ? PyTuple_GET_SIZE(names) : 0;
  static const char* letters[] = {"a", "b", "c"};
  for (Py_ssize_t k = 0; k < keywords; ++k) {
    PyObject* name = PyTuple_GET_ITEM(names, k);
    if (PyUnicode_CompareWithASCIIString(name, "stream") == 0) {
      *stream = args[count + k];
      continue;
    }
    bool known = false;
    for (int i = 0; i < f.arity; ++i)
      if (PyUnicode_CompareWithASCIIString(name, letters[i]) == 0) {
        in[i] = args[count + k];
        known = true;
      }
    if (!known) {
      PyErr_Format(PyExc_TypeError, "%s: unexpected keyword %R", f.name.c_str(), name);
      return -1;
    }
  }
  for (int i = 0; i < f.arity; ++i)
    if (!in[i]) {
      PyErr_Format(PyExc_TypeError, "%s: needs %d array%s", f.name.c_str(), f.arity,
                   f.arity == 1 ? "" : "s");
      return -1;
    }
  return 0;
}

// An operand of f; what cannot be one is told of as f's.
Array operand_of(const Function& f, PyObject* o, const Array* like) {
  try {
    return operand(o, like);
  } catch (const DtypeError& e) {
    const std::string what = e.what(), of = "array: ";
    throw DtypeError(f.name + ": " + (what.starts_with(of) ? what.substr(of.size()) : what));
  }
}

PyObject* call(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* names) {
  const Function& f = function_of(self);
  PyObject *in[3], *stream;
  if (parse(f, args, count, names, in, &stream) < 0) return nullptr;
  return guarded([&]() -> PyObject* {
    std::optional<DeviceScope> scope;
    if (stream != Py_None) scope.emplace(device_from(stream));
    // Scalars adapt to the first array among the inputs; of select, the condition does not count.
    int first = f.arity == 3 ? 1 : 0;
    const Array* like = nullptr;
    // What only counts as true or false takes no dtype on.
    if (formulas()[f.formula].info.accepts != Accepts::boolean)
      for (int i = first; i < f.arity && !like; ++i)
        if (is_array(in[i])) like = &array_of(in[i]);
    Arrays x;
    x.reserve(static_cast<size_t>(f.arity));
    for (int i = 0; i < f.arity; ++i) x.push_back(operand_of(f, in[i], i < first ? nullptr : like));
    return wrap(elementwise(f.formula, std::move(x)));
  });
}

}  // namespace

void init_elementwise(py::module_& m) {
  for (const Primitive* p : registry()) {
    if (p->kind != Kind::elementwise) continue;
    const Formula& formula = formulas()[static_cast<size_t>(p->formula)];
    auto* f = new Function{{},
                           p->name == "select" ? "where" : p->name,
                           p->doc,
                           static_cast<uint16_t>(p->formula),
                           formula.arity};
    static const char* inputs[] = {"", "a, ", "a, b, ", "condition, x, y, /, *, "};
    f->doc = f->name + "(" + inputs[formula.arity] + "stream=None)\n--\n\n" + p->doc;
    f->def = {f->name.c_str(), reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(call)),
              METH_FASTCALL | METH_KEYWORDS, f->doc.c_str()};
    py::object self =
        py::reinterpret_steal<py::object>(PyCapsule_New(f, "lamina.function", nullptr));
    m.attr(f->name.c_str()) =
        py::reinterpret_steal<py::object>(PyCFunction_NewEx(&f->def, self.ptr(), nullptr));
  }
}

}  // namespace lamina::python
