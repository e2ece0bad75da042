#include "io/npy.h"

#include <algorithm>
#include <cstring>
#include <string_view>

#include "base/error.h"
#include "io/safetensors.h"

namespace lamina {
namespace {

constexpr unsigned char kMagic[6] = {0x93, 'N', 'U', 'M', 'P', 'Y'};
constexpr size_t kAlignment = 64;

struct Descr {
  const char* code;
  Dtype dtype;
};
// Writing takes the first code of a dtype.
constexpr Descr kDescrs[] = {
    {"b1", Dtype::bool_},   {"u1", Dtype::uint8},     {"u2", Dtype::uint16},
    {"u4", Dtype::uint32},  {"u8", Dtype::uint64},    {"i1", Dtype::int8},
    {"i2", Dtype::int16},   {"i4", Dtype::int32},     {"i8", Dtype::int64},
    {"f2", Dtype::float16}, {"V2", Dtype::bfloat16},  {"f4", Dtype::float32},
    {"f8", Dtype::float64}, {"c8", Dtype::complex64},
};

// The header's Python dict: string keys; values are a string, True or False, or a tuple.
class DictReader {
 public:
  DictReader(std::string_view text, std::string where) : text_(text), where_(std::move(where)) {}

  void read(NpyHeader* out) {
    bool descr = false, order = false, shape = false;
    expect('{');
    while (!accept('}')) {
      std::string key = string();
      expect(':');
      if (key == "descr")
        read_descr(out), descr = true;
      else if (key == "fortran_order")
        out->fortran_order = boolean(), order = true;
      else if (key == "shape")
        read_shape(out), shape = true;
      else
        fail("unknown key '" + key + "'");
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    if (!descr || !order || !shape) fail("descr, fortran_order or shape is missing");
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw FileError(where_ + ": bad header: " + what);
  }
  char peek() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n')) ++at_;
    return at_ < text_.size() ? text_[at_] : 0;
  }
  bool accept(char c) {
    if (peek() != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!accept(c)) fail(std::string("expected '") + c + "'");
  }
  std::string string() {
    char quote = peek();
    size_t end = quote == '\'' || quote == '"' ? text_.find(quote, at_ + 1) : text_.npos;
    if (end == text_.npos) fail("the element type must be a plain string");
    std::string out(text_.substr(at_ + 1, end - at_ - 1));
    at_ = end + 1;
    return out;
  }
  bool boolean() {
    peek();
    for (bool value : {true, false}) {
      std::string_view word = value ? "True" : "False";
      if (text_.substr(at_, word.size()) != word) continue;
      at_ += word.size();
      return value;
    }
    fail("fortran_order must be True or False");
  }
  int64_t natural() {
    if (peek() < '0' || peek() > '9') fail("sizes must be whole numbers");
    int64_t value = 0;
    for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_)
      if (__builtin_mul_overflow(value, 10, &value) ||
          __builtin_add_overflow(value, text_[at_] - '0', &value))
        fail("a size is too large");
    if (at_ < text_.size() && text_[at_] == 'L') ++at_;  // written by Python 2
    return value;
  }
  void read_descr(NpyHeader* out) {
    std::string descr = string();
    std::string code = descr;
    char order = '<';
    if (!code.empty() && std::strchr("<>|=", code[0])) {
      order = code[0];
      code.erase(0, 1);
    }
    if (code == "?") code = "b1";
    for (const Descr& known : kDescrs) {
      if (code != known.code) continue;
      out->dtype = known.dtype;
      out->swapped = order == '>' && itemsize(known.dtype) > 1;
      return;
    }
    fail("element type '" + descr + "' is not supported");
  }
  void read_shape(NpyHeader* out) {
    out->shape.clear();
    expect('(');
    while (!accept(')')) {
      out->shape.push_back(natural());
      if (!accept(',')) {
        expect(')');
        break;
      }
    }
  }

  std::string_view text_;
  std::string where_;
  size_t at_ = 0;
};

std::string header_of(const TensorView& view, bool fortran_order) {
  std::string text = "{'descr': '";
  for (const Descr& known : kDescrs)
    if (known.dtype == view.dtype)
      text += std::string(itemsize(view.dtype) == 1 ? "|" : "<") + known.code;
  text += std::string("', 'fortran_order': ") + (fortran_order ? "True" : "False") +
          ", 'shape': " + to_string(view.shape) + ", }";
  size_t lead = 10;
  size_t total = (lead + text.size() + 1 + kAlignment - 1) / kAlignment * kAlignment;
  bool wide = total - lead > 0xffff;
  if (wide) total = (lead + 2 + text.size() + 1 + kAlignment - 1) / kAlignment * kAlignment;
  lead = wide ? 12 : 10;
  std::string out(reinterpret_cast<const char*>(kMagic), sizeof kMagic);
  out += wide ? '\2' : '\1';
  out += '\0';
  for (size_t i = 0, length = total - lead; i < lead - 8; ++i, length >>= 8)
    out += static_cast<char>(length & 255);
  out += text;
  out.resize(total - 1, ' ');
  return out + '\n';
}

}  // namespace

Strides NpyHeader::strides() const {
  if (!fortran_order) return row_major_strides(shape);
  Strides out(shape.size());
  int64_t step = 1;
  for (size_t i = 0; i < shape.size(); ++i) {
    out[i] = step;
    step *= shape[i];
  }
  return out;
}

NpyHeader read_npy_header(const unsigned char* data, int64_t size, const std::string& file) {
  std::string where = "load: '" + file + "'";
  if (size < 10 || std::memcmp(data, kMagic, sizeof kMagic) != 0)
    throw FileError(where + " is not an npy file");
  int version = data[6];
  if (version < 1 || version > 3)
    throw FileError(where + ": npy version " + std::to_string(version) + " is not supported");
  int64_t lead = version == 1 ? 10 : 12;
  int64_t length = data[8] | data[9] << 8;
  if (version > 1 && size >= 12)
    length |= static_cast<int64_t>(data[10]) << 16 | static_cast<int64_t>(data[11]) << 24;
  if (size < lead || length > size - lead) throw FileError(where + ": the header is cut short");
  NpyHeader header{Dtype::float32, {}, false, false, lead + length};
  DictReader({reinterpret_cast<const char*>(data) + lead, static_cast<size_t>(length)}, where)
      .read(&header);
  int64_t bytes = 0;
  bool fits = true;
  try {
    fits = !__builtin_mul_overflow(element_count(header.shape), itemsize(header.dtype), &bytes);
  } catch (const ValueError&) {
    fits = false;
  }
  if (!fits || bytes > size - header.offset)
    throw FileError(where + ": " + to_string(header.shape) + " of " + name_of(header.dtype) +
                    " needs more than the " + std::to_string(size - header.offset) +
                    " bytes that are there");
  return header;
}

void swap_bytes(void* data, Dtype dtype, int64_t count) {
  int64_t width = itemsize(dtype);
  if (is_complex(dtype)) {
    width /= 2;
    count *= 2;
  }
  unsigned char* at = static_cast<unsigned char*>(data);
  for (int64_t i = 0; i < count; ++i, at += width) std::reverse(at, at + width);
}

void write_npy(const ByteSink& sink, const TensorView& view) {
  TensorView reversed = view;
  std::reverse(reversed.shape.begin(), reversed.shape.end());
  std::reverse(reversed.strides.begin(), reversed.strides.end());
  bool fortran_order = !view.contiguous() && reversed.contiguous();
  std::string header = header_of(view, fortran_order);
  sink(header.data(), static_cast<int64_t>(header.size()));
  write_row_major(sink, fortran_order ? reversed : view);
}

}  // namespace lamina
