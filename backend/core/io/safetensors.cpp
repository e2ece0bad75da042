#include "io/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <memory>
#include <numeric>
#include <set>

#include "base/error.h"
#include "io/json_reader.h"
#include "ops/copy/copy_cpu.h"

namespace lamina {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is little-endian");

// A larger header is taken for garbage.
constexpr uint64_t kMaxHeader = uint64_t{1} << 28;
// Strided views are laid out in pieces of about this size before they are written.
constexpr int64_t kPieceBytes = int64_t{1} << 24;

struct DtypeName {
  const char* name;
  Dtype dtype;
};
// Writing takes the first name of a dtype.
constexpr DtypeName kDtypeNames[] = {
    {"BOOL", Dtype::bool_},    {"U8", Dtype::uint8},      {"U16", Dtype::uint16},
    {"U32", Dtype::uint32},    {"U64", Dtype::uint64},    {"I8", Dtype::int8},
    {"I16", Dtype::int16},     {"I32", Dtype::int32},     {"I64", Dtype::int64},
    {"F16", Dtype::float16},   {"BF16", Dtype::bfloat16}, {"F32", Dtype::float32},
    {"F64", Dtype::float64},   {"C64", Dtype::complex64}, {"F8_E4M3", Dtype::uint8},
    {"F8_E5M2", Dtype::uint8}, {"F8_E8M0", Dtype::uint8},
};

// The value of one tensor's entry; offsets are still relative to the data section.
StoredTensor read_entry(JsonReader& json, const std::string& name, const std::string& where) {
  StoredTensor t{name, Dtype::float32, {}, -1, -1};
  bool has_dtype = false, has_shape = false;
  json.object([&](const std::string& key) {
    if (key == "dtype") {
      std::string text = json.string();
      for (const DtypeName& known : kDtypeNames) {
        if (text != known.name) continue;
        t.dtype = known.dtype;
        has_dtype = true;
      }
      if (!has_dtype) throw FileError(where + ": unsupported dtype '" + text + "'");
    } else if (key == "shape") {
      t.shape.clear();
      json.array([&] { t.shape.push_back(json.natural()); });
      has_shape = true;
    } else if (key == "data_offsets") {
      int64_t ends[2], n = 0;
      json.array([&] {
        int64_t value = json.natural();
        if (n < 2) ends[n] = value;
        ++n;
      });
      if (n != 2 || ends[1] < ends[0])
        throw FileError(where + ": data_offsets must be [begin, end]");
      t.offset = ends[0];
      t.bytes = ends[1] - ends[0];
    } else {
      json.skip();
    }
  });
  if (!has_dtype || !has_shape || t.bytes < 0)
    throw FileError(where + ": dtype, shape or data_offsets is missing");
  int64_t needed = 0;
  try {
    needed = element_count(t.shape);
  } catch (const ValueError&) {
    needed = -1;
  }
  if (needed < 0 || __builtin_mul_overflow(needed, itemsize(t.dtype), &needed) || needed != t.bytes)
    throw FileError(where + ": " + to_string(t.shape) + " of " + name_of(t.dtype) +
                    " does not fill its " + std::to_string(t.bytes) + " bytes");
  return t;
}

void check_extents(const SafetensorsIndex& index, int64_t size, const std::string& file) {
  std::vector<const StoredTensor*> order;
  for (const StoredTensor& t : index.tensors) {
    if (t.offset > size || t.bytes > size - t.offset)
      throw FileError(
          "load: '" + file + "': tensor '" + t.name + "' ends at byte " +
          std::to_string(static_cast<uint64_t>(t.offset) + static_cast<uint64_t>(t.bytes)) +
          ", beyond the file's " + std::to_string(size));
    if (t.bytes > 0) order.push_back(&t);
  }
  std::sort(order.begin(), order.end(),
            [](const StoredTensor* a, const StoredTensor* b) { return a->offset < b->offset; });
  for (size_t i = 1; i < order.size(); ++i)
    if (order[i]->offset < order[i - 1]->offset + order[i - 1]->bytes)
      throw FileError("load: '" + file + "': tensors '" + order[i - 1]->name + "' and '" +
                      order[i]->name + "' overlap");
}

const char* format_name(Dtype d) {
  for (const DtypeName& known : kDtypeNames)
    if (known.dtype == d) return known.name;
  throw ValueError(std::string("save: safetensors has no dtype ") + name_of(d));
}

// The length and the JSON text, padded so that the data starts at a multiple of 8.
std::string header_of(std::span<const NamedView> tensors, const std::vector<size_t>& order,
                      const Metadata& metadata) {
  std::string text = "{";
  if (!metadata.empty()) {
    text += "\"__metadata__\":{";
    for (const auto& [key, value] : metadata)
      text += json_quoted(key) + ":" + json_quoted(value) + ",";
    text.back() = '}';
    text += ",";
  }
  int64_t at = 0;
  for (size_t i : order) {
    const TensorView& v = tensors[i].view;
    int64_t end = at + v.size() * itemsize(v.dtype);
    text +=
        json_quoted(tensors[i].name) + ":{\"dtype\":\"" + format_name(v.dtype) + "\",\"shape\":[";
    for (size_t k = 0; k < v.shape.size(); ++k)
      text.append(k ? "," : "").append(std::to_string(v.shape[k]));
    text += "],\"data_offsets\":[" + std::to_string(at) + "," + std::to_string(end) + "]},";
    at = end;
  }
  if (text.back() == ',') text.pop_back();
  text += "}";
  text.resize((text.size() + 7) / 8 * 8, ' ');
  uint64_t length = text.size();
  std::string out(sizeof length, '\0');
  std::memcpy(out.data(), &length, sizeof length);
  return out + text;
}

}  // namespace

SafetensorsIndex read_safetensors_index(const unsigned char* data, int64_t size,
                                        const std::string& file) {
  std::string where = "load: '" + file + "'";
  uint64_t length = 0;
  if (size < 8)
    throw FileError(where + " has " + std::to_string(size) + " bytes, too few for safetensors");
  std::memcpy(&length, data, 8);
  if (length > kMaxHeader || length > static_cast<uint64_t>(size - 8))
    throw FileError(where + " is not safetensors: a header of " + std::to_string(length) +
                    " bytes does not fit a file of " + std::to_string(size));
  int64_t start = 8 + static_cast<int64_t>(length);
  JsonReader json({reinterpret_cast<const char*>(data) + 8, length}, where);
  SafetensorsIndex index;
  std::set<std::string> names;
  json.object([&](const std::string& name) {
    if (!names.insert(name).second) throw FileError(where + ": '" + name + "' is there twice");
    if (name == "__metadata__") {
      // Some writers say null where there is none.
      if (json.null()) return;
      json.object([&](const std::string& key) { index.metadata.emplace_back(key, json.string()); });
      return;
    }
    StoredTensor t = read_entry(json, name, where + ": tensor '" + name + "'");
    if (__builtin_add_overflow(t.offset, start, &t.offset))
      throw FileError(where + ": tensor '" + name + "' lies beyond the file");
    index.tensors.push_back(std::move(t));
  });
  json.finish();
  check_extents(index, size, file);
  return index;
}

void write_row_major(const ByteSink& sink, const TensorView& view) {
  int64_t bytes = view.size() * itemsize(view.dtype);
  if (bytes == 0) return;
  if (view.contiguous()) return sink(view.data, bytes);
  // Split along the first axis that is cut into pieces of bounded size.
  int64_t row = bytes / view.shape[0];
  if (row > kPieceBytes && view.shape.size() > 1) {
    TensorView part{nullptr, view.dtype, Shape(view.shape.begin() + 1, view.shape.end()),
                    Strides(view.strides.begin() + 1, view.strides.end())};
    for (int64_t i = 0; i < view.shape[0]; ++i) {
      part.data = view.as<char>() + i * view.strides[0] * itemsize(view.dtype);
      write_row_major(sink, part);
    }
    return;
  }
  int64_t step = std::max<int64_t>(1, kPieceBytes / row);
  std::unique_ptr<char[]> buffer(new char[row * std::min(step, view.shape[0])]);
  for (int64_t i = 0; i < view.shape[0]; i += step) {
    TensorView part = view;
    part.shape[0] = std::min(step, view.shape[0] - i);
    part.data = view.as<char>() + i * view.strides[0] * itemsize(view.dtype);
    cpu::copy(part, {buffer.get(), view.dtype, part.shape, row_major_strides(part.shape)});
    sink(buffer.get(), row * part.shape[0]);
  }
}

void write_safetensors(const ByteSink& sink, std::span<const NamedView> tensors,
                       const Metadata& metadata) {
  std::vector<size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    int64_t x = itemsize(tensors[a].view.dtype), y = itemsize(tensors[b].view.dtype);
    return x != y ? x > y : tensors[a].name < tensors[b].name;
  });
  std::set<std::string> names;
  for (const NamedView& t : tensors)
    if (t.name == "__metadata__" || !names.insert(t.name).second)
      throw ValueError("save: '" + t.name + "' cannot name a tensor here: " +
                       (t.name == "__metadata__" ? "reserved" : "given twice"));
  std::string header = header_of(tensors, order, metadata);
  sink(header.data(), static_cast<int64_t>(header.size()));
  for (size_t i : order) write_row_major(sink, tensors[i].view);
}

}  // namespace lamina
