// Arrays in files: read from a path or from bytes, written through a function that takes bytes.
#include "io/arrays.h"

#include <pybind11/stl.h>

#include <algorithm>

#include "base/error.h"
#include "execute/evaluate.h"
#include "io/npy.h"
#include "module.h"

namespace lamina::python {

namespace {

std::string path_of(py::handle path) {
  PyObject* encoded = nullptr;
  if (!PyUnicode_FSConverter(path.ptr(), &encoded)) throw py::error_already_set();
  return std::string(py::reinterpret_steal<py::bytes>(encoded));
}

// `source`: a path as str, or the file's content as bytes, then called `name` in errors.
template <class F>
auto read_from(const py::object& source, const std::string& name, F&& read) {
  if (PyUnicode_Check(source.ptr())) {
    std::string path = path_of(source);
    py::gil_scoped_release unlocked;
    return read(FileBytes::map(path));
  }
  auto view = source.cast<std::string_view>();
  return read(FileBytes{reinterpret_cast<const unsigned char*>(view.data()),
                        static_cast<int64_t>(view.size()), name, nullptr});
}

// A Python function that takes a memoryview and may answer that it took less.
ByteSink sink_of(const py::function& write) {
  return [write](const void* data, int64_t bytes) {
    const char* at = static_cast<const char*>(data);
    while (bytes > 0) {
      py::object took = write(py::memoryview::from_memory(at, bytes));
      int64_t n = took.is_none() ? bytes : std::min(took.cast<int64_t>(), bytes);
      if (n <= 0) throw ValueError("save: the file takes no more bytes");
      at += n;
      bytes -= n;
    }
  };
}

py::tuple tensors_of(const py::object& source, const std::string& name) {
  LoadedTensors loaded =
      read_from(source, name, [](const FileBytes& file) { return load_safetensors(file); });
  py::dict arrays, metadata;
  for (auto& [key, value] : loaded.arrays) arrays[py::str(key)] = py::cast(std::move(value));
  for (auto& [key, value] : loaded.metadata) metadata[py::str(key)] = py::str(value);
  return py::make_tuple(arrays, metadata);
}

void save_tensors(const py::function& write,
                  const std::vector<std::pair<std::string, Array>>& named,
                  const Metadata& metadata) {
  Arrays roots;
  for (const auto& [name, x] : named) roots.push_back(x);
  evaluate_unlocked(roots);
  std::vector<NamedView> views;
  for (const auto& [name, x] : named) views.push_back({name, tensor_view(x)});
  write_safetensors(sink_of(write), views, metadata);
}

// Text that is not UTF-8 keeps its bytes as Python's file names do.
py::str text_of(const std::string& bytes) {
  PyObject* text =
      PyUnicode_DecodeUTF8(bytes.data(), static_cast<Py_ssize_t>(bytes.size()), "surrogateescape");
  if (!text) throw py::error_already_set();
  return py::reinterpret_steal<py::str>(text);
}
std::string bytes_of(const py::handle& text) {
  PyObject* bytes = PyUnicode_AsEncodedString(text.ptr(), "utf-8", "surrogateescape");
  if (!bytes) throw py::error_already_set();
  return std::string(py::reinterpret_steal<py::bytes>(bytes));
}

py::object value_of(const GgufValue& v) {
  using Kind = GgufValue::Kind;
  if (v.kind == Kind::text) return text_of(v.texts[0]);
  if (v.kind == Kind::texts) {
    py::list out;
    for (const std::string& t : v.texts) out.append(text_of(t));
    return out;
  }
  Shape shape;
  if (v.kind == Kind::numbers) shape.push_back(v.count());
  BufferRef buffer = Buffer::allocate(static_cast<int64_t>(v.numbers.size()), Category::input, -1);
  std::copy(v.numbers.begin(), v.numbers.end(), static_cast<char*>(buffer->data()));
  return py::cast(make_leaf({buffer, row_major_strides(shape), 0}, shape, v.dtype));
}

GgufValue gguf_value(const std::string& key, const py::object& o) {
  GgufValue out;
  if (PyUnicode_Check(o.ptr())) {
    out.texts = {bytes_of(o)};
    return out;
  }
  if (is_array(o.ptr())) {
    const Array& x = array_of(o.ptr());
    if (x.ndim() > 1)
      throw ValueError("save_gguf: metadata '" + key + "' has shape " + to_string(x.shape()) +
                       "\nGive a number or a list of them, or save it as an array");
    evaluate_unlocked({&x, 1});
    out.kind = x.ndim() ? GgufValue::Kind::numbers : GgufValue::Kind::number;
    out.dtype = x.dtype();
    write_row_major(
        [&](const void* data, int64_t bytes) {
          out.numbers.append(static_cast<const char*>(data), static_cast<size_t>(bytes));
        },
        tensor_view(x));
    return out;
  }
  if (!PyList_Check(o.ptr()) && !PyTuple_Check(o.ptr()))
    throw py::type_error("save_gguf: metadata '" + key +
                         "' must be an array, a str or a list of str, got " +
                         std::string(py::repr(o)) + "\nWrap numbers: mx.array");
  out.kind = GgufValue::Kind::texts;
  for (const py::handle& item : py::reinterpret_borrow<py::sequence>(o)) {
    if (!PyUnicode_Check(item.ptr()))
      throw py::type_error("save_gguf: metadata '" + key + "' is a list with " +
                           std::string(py::repr(item)) +
                           "\nLists hold str; wrap numbers: mx.array");
    out.texts.push_back(bytes_of(item));
  }
  return out;
}

py::tuple gguf_of(const py::object& source, const std::string& name) {
  LoadedGguf loaded =
      read_from(source, name, [](const FileBytes& file) { return load_gguf(file); });
  py::dict arrays, metadata;
  for (auto& [key, value] : loaded.arrays) arrays[text_of(key)] = py::cast(std::move(value));
  for (auto& [key, value] : loaded.metadata) metadata[text_of(key)] = value_of(value);
  return py::make_tuple(arrays, metadata);
}

void save_gguf(const py::function& write, const std::vector<std::pair<py::str, Array>>& named,
               const std::vector<std::pair<py::str, py::object>>& metadata) {
  GgufMetadata values;
  for (const auto& [key, value] : metadata) {
    std::string name = bytes_of(key);
    GgufValue v = gguf_value(name, value);
    values.emplace_back(std::move(name), std::move(v));
  }
  Arrays roots;
  for (const auto& [name, x] : named) roots.push_back(x);
  evaluate_unlocked(roots);
  std::vector<NamedView> views;
  for (const auto& [name, x] : named) views.push_back({bytes_of(name), tensor_view(x)});
  write_gguf(sink_of(write), views, values);
}

}  // namespace

void init_io(py::module_& m) {
  m.def(
      "_load_npy",
      [](const py::object& source, const std::string& name) {
        return read_from(source, name, [](const FileBytes& file) { return load_npy(file); });
      },
      py::arg("source"), py::arg("name"), "The array in an .npy file.");
  m.def("_load_safetensors", tensors_of, py::arg("source"), py::arg("name"),
        "The arrays of a .safetensors file by name, and its metadata.");
  m.def(
      "_save_npy",
      [](const py::function& write, const Array& x) {
        evaluate_unlocked({&x, 1});
        write_npy(sink_of(write), tensor_view(x));
      },
      py::arg("write"), py::arg("x"), "Gives the bytes of an .npy file to `write`.");
  m.def("_save_safetensors", save_tensors, py::arg("write"), py::arg("named"), py::arg("metadata"),
        "Gives the bytes of a .safetensors file to `write`.");
  m.def("_load_gguf", gguf_of, py::arg("source"), py::arg("name"),
        "The arrays of a .gguf file by name, and its metadata.");
  m.def("_save_gguf", save_gguf, py::arg("write"), py::arg("named"), py::arg("metadata"),
        "Gives the bytes of a .gguf file to `write`.");
  py::class_<FileWriter>(m, "_FileWriter", "Writes beside a path and takes its place on commit.")
      .def(py::init(
               [](const py::object& path) { return std::make_unique<FileWriter>(path_of(path)); }),
           py::arg("path"))
      .def(
          "write",
          [](FileWriter& self, const py::buffer& bytes) {
            py::buffer_info info = bytes.request();
            py::gil_scoped_release unlocked;
            self.write(info.ptr, info.size * info.itemsize);
            return info.size * info.itemsize;
          },
          py::arg("bytes"))
      .def(
          "flush", [](FileWriter&) {}, "Nothing waits to be written.")
      .def("commit", &FileWriter::commit)
      .def("discard", &FileWriter::discard, "Leaves nothing behind, unless committed.");
}

}  // namespace lamina::python
