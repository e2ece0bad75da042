#include "io/arrays.h"

#include <cstring>
#include <set>

#include "base/error.h"
#include "io/npy.h"

namespace lamina {
namespace {

// Smaller arrays are copied: that costs less than a page fault, and a small file that another
// program then truncates takes nothing away.
constexpr int64_t kMapFrom = int64_t{1} << 16;
// As many axes as NumPy has.
constexpr size_t kMaxAxes = 64;

struct Stored {
  std::string name;  // of the file or of the tensor in it
  Dtype dtype;
  Shape shape;
  Strides strides;
  int64_t offset, bytes;
  bool swapped = false;
};

BufferRef buffer_of(const FileBytes& file, const Stored& s) {
  const unsigned char* from = file.data + s.offset;
  bool aligned = reinterpret_cast<uintptr_t>(from) % static_cast<size_t>(itemsize(s.dtype)) == 0;
  // A bool in memory is 0 or 1, in a file it may be any byte.
  if (file.mapping && aligned && !s.swapped && s.bytes >= kMapFrom && s.dtype != Dtype::bool_)
    return Buffer::adopt(
        file.mapping->data() + s.offset, s.bytes, Category::input, [keep = file.mapping] {},
        Buffer::Writers::nobody);
  BufferRef out = Buffer::allocate(s.bytes, Category::input, -1);
  unsigned char* to = static_cast<unsigned char*>(out->data());
  if (s.dtype == Dtype::bool_) {
    for (int64_t i = 0; i < s.bytes; ++i) to[i] = from[i] != 0;
  } else if (s.bytes > 0) {
    std::memcpy(to, from, static_cast<size_t>(s.bytes));
  }
  if (s.swapped) swap_bytes(to, s.dtype, s.bytes / itemsize(s.dtype));
  return out;
}

Array array_of(const FileBytes& file, const Stored& s) {
  if (s.shape.size() > kMaxAxes)
    throw FileError("load: '" + file.name + "': " + s.name + "has " +
                    std::to_string(s.shape.size()) + " axes, more than " +
                    std::to_string(kMaxAxes));
  return make_leaf({buffer_of(file, s), s.strides, 0}, s.shape, s.dtype);
}

// Words, scales and biases of a tensor in blocks.
Arrays quantized_of(const FileBytes& file, const GgufTensor& t) {
  Shape words = t.shape, groups = t.shape;
  words.back() = words.back() * gguf_bits(t.coding) / 32;
  groups.back() /= 32;
  const Dtype dtypes[] = {Dtype::uint32, Dtype::float16, Dtype::float16};
  BufferRef buffers[3];
  Arrays out;
  for (size_t i = 0; i < 3; ++i) {
    const Shape& shape = i == 0 ? words : groups;
    buffers[i] = Buffer::allocate(element_count(shape) * itemsize(dtypes[i]), Category::input, -1);
    out.push_back(make_leaf({buffers[i], row_major_strides(shape), 0}, shape, dtypes[i]));
  }
  unpack_gguf_blocks(t, file.data + t.offset, static_cast<uint32_t*>(buffers[0]->data()),
                     static_cast<float16_t*>(buffers[1]->data()),
                     static_cast<float16_t*>(buffers[2]->data()));
  return out;
}

}  // namespace

FileBytes FileBytes::map(const std::string& path) {
  auto mapping = MappedFile::open(path);
  return {mapping->data(), mapping->size(), path, mapping};
}

Array load_npy(const FileBytes& file) {
  NpyHeader h = read_npy_header(file.data, file.size, file.name);
  int64_t bytes = element_count(h.shape) * itemsize(h.dtype);
  return array_of(file, {"", h.dtype, h.shape, h.strides(), h.offset, bytes, h.swapped});
}

LoadedTensors load_safetensors(const FileBytes& file) {
  SafetensorsIndex index = read_safetensors_index(file.data, file.size, file.name);
  LoadedTensors out;
  out.metadata = std::move(index.metadata);
  for (const StoredTensor& t : index.tensors)
    out.arrays.emplace_back(t.name,
                            array_of(file, {"tensor '" + t.name + "' ", t.dtype, t.shape,
                                            row_major_strides(t.shape), t.offset, t.bytes}));
  return out;
}

LoadedGguf load_gguf(const FileBytes& file) {
  GgufIndex index = read_gguf_index(file.data, file.size, file.name);
  LoadedGguf out;
  out.metadata = std::move(index.metadata);
  std::set<std::string> names;
  auto add = [&](const std::string& name, Array x) {
    if (!names.insert(name).second)
      throw FileError("load: '" + file.name + "': two arrays would be called '" + name + "'");
    out.arrays.emplace_back(name, std::move(x));
  };
  const std::string ending = ".weight";
  for (const GgufTensor& t : index.tensors) {
    if (t.coding == GgufCoding::plain) {
      add(t.name, array_of(file, {"tensor '" + t.name + "' ", t.dtype, t.shape,
                                  row_major_strides(t.shape), t.offset, t.bytes}));
      continue;
    }
    if (!gguf_in_words(t.coding)) {
      BufferRef buffer = Buffer::allocate(element_count(t.shape) * 2, Category::input, -1);
      decode_gguf_blocks(t, file.data + t.offset, static_cast<float16_t*>(buffer->data()));
      add(t.name, make_leaf({buffer, row_major_strides(t.shape), 0}, t.shape, t.dtype));
      continue;
    }
    Arrays parts = quantized_of(file, t);
    std::string stem = t.name;
    if (stem.ends_with(ending)) stem.resize(stem.size() - ending.size());
    add(t.name, parts[0]);
    add(stem + ".scales", parts[1]);
    add(stem + ".biases", parts[2]);
  }
  return out;
}

}  // namespace lamina
