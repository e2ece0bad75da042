#include "io/gguf.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <set>

#include "base/error.h"

namespace lamina {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is little-endian");

constexpr char kMagic[] = "GGUF";
constexpr uint32_t kVersion = 3;
constexpr int64_t kAlignment = 32, kLeastAlignment = 8, kMostAlignment = 65536;
constexpr uint32_t kMaxAxes = 64;
constexpr uint32_t kText = 8, kList = 9;

struct NumberType {
  uint32_t code;
  Dtype dtype;
};
constexpr NumberType kNumbers[] = {{0, Dtype::uint8},   {1, Dtype::int8},    {2, Dtype::uint16},
                                   {3, Dtype::int16},   {4, Dtype::uint32},  {5, Dtype::int32},
                                   {6, Dtype::float32}, {7, Dtype::bool_},   {10, Dtype::uint64},
                                   {11, Dtype::int64},  {12, Dtype::float64}};
constexpr NumberType kPlain[] = {{0, Dtype::float32},  {1, Dtype::float16},  {24, Dtype::int8},
                                 {25, Dtype::int16},   {26, Dtype::int32},   {27, Dtype::int64},
                                 {28, Dtype::float64}, {30, Dtype::bfloat16}};

struct BlockType {
  uint32_t code;
  GgufCoding coding;
  int64_t elements, bytes;  // of a block
};
constexpr BlockType kBlocks[] = {
    {2, GgufCoding::q4_0, 32, 18},    {3, GgufCoding::q4_1, 32, 20},
    {8, GgufCoding::q8_0, 32, 34},    {10, GgufCoding::q2_k, 256, 84},
    {12, GgufCoding::q4_k, 256, 144}, {14, GgufCoding::q6_k, 256, 210}};

const BlockType& block_of(GgufCoding coding) {
  for (const BlockType& b : kBlocks)
    if (b.coding == coding) return b;
  throw InternalError("gguf: no blocks of this coding");
}

// Bytes from front to back; whatever is not there is an error that names the file.
class Reader {
 public:
  Reader(const unsigned char* data, int64_t size, std::string where)
      : data_(data), size_(size), where_(std::move(where)) {}

  const unsigned char* take(uint64_t bytes) {
    if (bytes > static_cast<uint64_t>(size_ - at_))
      fail("cut short: " + std::to_string(bytes) + " bytes wanted at byte " + std::to_string(at_) +
           " of " + std::to_string(size_));
    at_ += static_cast<int64_t>(bytes);
    return data_ + at_ - bytes;
  }
  template <class T>
  T number() {
    T v;
    std::memcpy(&v, take(sizeof v), sizeof v);
    return v;
  }
  // Counts and lengths had 32 bits in version 1.
  uint64_t length() { return narrow ? number<uint32_t>() : number<uint64_t>(); }
  std::string text() {
    const uint64_t bytes = length();
    return std::string(reinterpret_cast<const char*>(take(bytes)), bytes);
  }
  // A count of things of at least `least` bytes each.
  uint64_t count(uint64_t n, uint64_t least, const char* what) {
    if (n > static_cast<uint64_t>(size_ - at_) / least)
      fail(std::to_string(n) + " " + what + " do not fit the file's " + std::to_string(size_) +
           " bytes");
    return n;
  }
  [[noreturn]] void fail(const std::string& what) const { throw FileError(where_ + ": " + what); }
  int64_t at() const { return at_; }
  const std::string& where() const { return where_; }

  bool narrow = false;

 private:
  const unsigned char* data_;
  int64_t size_, at_ = 0;
  std::string where_;
};

const NumberType* number_type(uint32_t code) {
  for (const NumberType& t : kNumbers)
    if (t.code == code) return &t;
  return nullptr;
}

void read_numbers(Reader& in, GgufValue& out, uint64_t count) {
  const uint64_t size = static_cast<uint64_t>(itemsize(out.dtype));
  in.count(count, size, "numbers");
  out.numbers.assign(reinterpret_cast<const char*>(in.take(count * size)), count * size);
  // A bool in memory is 0 or 1, in a file it may be any byte.
  if (out.dtype == Dtype::bool_)
    for (char& c : out.numbers) c = c != 0;
}

GgufValue read_value(Reader& in, const std::string& key) {
  GgufValue out;
  uint32_t type = in.number<uint32_t>();
  const bool list = type == kList;
  if (list) type = in.number<uint32_t>();
  const uint64_t count = list ? in.length() : 1;
  if (type == kText) {
    out.kind = list ? GgufValue::Kind::texts : GgufValue::Kind::text;
    in.count(count, in.narrow ? 4 : 8, "texts");
    for (uint64_t i = 0; i < count; ++i) out.texts.push_back(in.text());
    return out;
  }
  const NumberType* number = number_type(type);
  if (!number)
    in.fail("'" + key + "' has a value of type " + std::to_string(type) +
            (list && type == kList ? ", a list of lists" : "") + ", which is not supported");
  out.kind = list ? GgufValue::Kind::numbers : GgufValue::Kind::number;
  out.dtype = number->dtype;
  read_numbers(in, out, count);
  return out;
}

// Bytes of a tensor's elements, checked.
int64_t bytes_of(Reader& in, const GgufTensor& t, const std::string& where) {
  int64_t count = 0, bytes = 0;
  try {
    count = element_count(t.shape);
  } catch (const ValueError&) {
    in.fail(where + to_string(t.shape) + " is too large");
  }
  int64_t unit = itemsize(t.dtype);
  if (t.coding != GgufCoding::plain) {
    const BlockType& block = block_of(t.coding);
    if (t.shape.empty() || t.shape.back() % block.elements != 0)
      in.fail(where + to_string(t.shape) + " does not consist of blocks of " +
              std::to_string(block.elements) + " elements");
    count /= block.elements;
    unit = block.bytes;
  }
  if (__builtin_mul_overflow(count, unit, &bytes))
    in.fail(where + to_string(t.shape) + " is too large");
  return bytes;
}

GgufTensor read_tensor(Reader& in) {
  GgufTensor t{in.text(), GgufCoding::plain, Dtype::float32, {}, 0, 0};
  const std::string where = "tensor '" + t.name + "': ";
  const uint32_t axes = in.number<uint32_t>();
  if (axes > kMaxAxes) in.fail(where + std::to_string(axes) + " axes, more than 64");
  for (uint32_t i = 0; i < axes; ++i) {
    const uint64_t n = in.length();
    if (n > static_cast<uint64_t>(INT64_MAX)) in.fail(where + "an axis of " + std::to_string(n));
    t.shape.push_back(static_cast<int64_t>(n));
  }
  std::reverse(t.shape.begin(), t.shape.end());
  const uint32_t type = in.number<uint32_t>();
  bool known = false;
  for (const NumberType& p : kPlain)
    if (p.code == type) t.dtype = p.dtype, known = true;
  for (const BlockType& b : kBlocks)
    if (b.code == type) t.coding = b.coding, known = true;
  if (t.coding != GgufCoding::plain) t.dtype = Dtype::float16;
  if (!known)
    in.fail(
        where + "elements of type " + std::to_string(type) +
        " are not supported\nConvert the file to F16, BF16, Q4_0, Q4_1, Q8_0, Q2_K, Q4_K or Q6_K");
  t.bytes = bytes_of(in, t, where);
  const uint64_t offset = in.number<uint64_t>();
  if (offset > static_cast<uint64_t>(INT64_MAX)) in.fail(where + "lies beyond the file");
  t.offset = static_cast<int64_t>(offset);
  return t;
}

// What "general.alignment" says, or 32. `fail` throws.
template <class Fail>
int64_t alignment_of(const GgufMetadata& metadata, const Fail& fail) {
  for (const auto& [key, value] : metadata) {
    if (key != "general.alignment") continue;
    uint32_t v = 0;
    if (value.kind != GgufValue::Kind::number || value.dtype != Dtype::uint32)
      fail("general.alignment must be a uint32");
    std::memcpy(&v, value.numbers.data(), sizeof v);
    if (!std::has_single_bit(v))
      fail("general.alignment is " + std::to_string(v) + ", no power of two");
    return v;
  }
  return kAlignment;
}

void place_tensors(GgufIndex& index, const Reader& in, int64_t size) {
  const int64_t alignment =
      alignment_of(index.metadata, [&](const std::string& why) { in.fail(why); });
  const int64_t start = (in.at() + alignment - 1) / alignment * alignment;
  std::vector<const GgufTensor*> order;
  for (GgufTensor& t : index.tensors) {
    int64_t end = 0;
    if (__builtin_add_overflow(t.offset, start, &t.offset) ||
        __builtin_add_overflow(t.offset, t.bytes, &end) || (t.bytes > 0 && end > size))
      in.fail("tensor '" + t.name + "' ends beyond the file's " + std::to_string(size) + " bytes");
    if (t.bytes > 0) order.push_back(&t);
  }
  std::sort(order.begin(), order.end(),
            [](const GgufTensor* a, const GgufTensor* b) { return a->offset < b->offset; });
  for (size_t i = 1; i < order.size(); ++i)
    if (order[i]->offset < order[i - 1]->offset + order[i - 1]->bytes)
      in.fail("tensors '" + order[i - 1]->name + "' and '" + order[i]->name + "' overlap");
}

template <class T>
void append(std::string& out, T v) {
  out.append(reinterpret_cast<const char*>(&v), sizeof v);
}
void append_text(std::string& out, const std::string& text) {
  append(out, static_cast<uint64_t>(text.size()));
  out += text;
}
int64_t padding(int64_t bytes, int64_t alignment) {
  return (alignment - bytes % alignment) % alignment;
}

// The format asks for a multiple of 8.
int64_t alignment_to_write(const GgufMetadata& metadata) {
  auto fail = [](const std::string& why) { throw ValueError("save_gguf: " + why); };
  const int64_t alignment = alignment_of(metadata, fail);
  if (alignment < kLeastAlignment || alignment > kMostAlignment)
    fail("general.alignment is " + std::to_string(alignment) + ", not from " +
         std::to_string(kLeastAlignment) + " to " + std::to_string(kMostAlignment));
  return alignment;
}

void append_value(std::string& out, const std::string& key, const GgufValue& v) {
  using Kind = GgufValue::Kind;
  const bool list = v.kind == Kind::texts || v.kind == Kind::numbers;
  const bool text = v.kind == Kind::text || v.kind == Kind::texts;
  uint32_t type = kText;
  if (!text) {
    const NumberType* found = nullptr;
    for (const NumberType& t : kNumbers)
      if (t.dtype == v.dtype) found = &t;
    if (!found)
      throw DtypeError("save_gguf: metadata '" + key + "' is " + name_of(v.dtype) +
                       ", which the format does not have\nCast it: x.astype(mx.float32)");
    type = found->code;
  }
  append_text(out, key);
  if (list) append(out, kList);
  append(out, type);
  if (list) append(out, static_cast<uint64_t>(text ? v.texts.size() : v.count()));
  for (const std::string& t : v.texts) append_text(out, t);
  out += v.numbers;
}

uint32_t plain_type(const NamedView& t) {
  for (const NumberType& p : kPlain)
    if (p.dtype == t.view.dtype) return p.code;
  throw DtypeError("save_gguf: '" + t.name + "' is " + name_of(t.view.dtype) +
                   ", which the format does not have\nCast it: x.astype(mx.float32)");
}

void check_names(std::span<const NamedView> tensors, const GgufMetadata& metadata) {
  std::set<std::string> names, keys;
  for (const NamedView& t : tensors)
    if (t.name.empty() || !names.insert(t.name).second)
      throw ValueError("save_gguf: '" + t.name + "' cannot name an array: " +
                       (t.name.empty() ? "it is empty" : "given twice"));
  for (const auto& [key, value] : metadata)
    if (key.empty() || !keys.insert(key).second)
      throw ValueError("save_gguf: metadata cannot be called '" + key +
                       "': " + (key.empty() ? "it is empty" : "given twice"));
}

}  // namespace

GgufIndex read_gguf_index(const unsigned char* data, int64_t size, const std::string& file) {
  Reader in(data, size, "load: '" + file + "'");
  if (size < 4 || std::memcmp(in.take(4), kMagic, 4) != 0) in.fail("is no gguf file");
  const uint32_t version = in.number<uint32_t>();
  if (version < 1 || version > kVersion)
    in.fail("gguf version " + std::to_string(version) +
            (__builtin_bswap32(version) <= kVersion ? ", or of the other byte order," : "") +
            " is not supported");
  in.narrow = version == 1;
  const uint64_t tensors = in.length(), values = in.length();
  in.count(tensors, 20, "tensors");
  in.count(values, 9, "metadata values");
  GgufIndex index;
  std::set<std::string> keys, names;
  for (uint64_t i = 0; i < values; ++i) {
    std::string key = in.text();
    if (!keys.insert(key).second) in.fail("'" + key + "' is there twice");
    GgufValue value = read_value(in, key);
    index.metadata.emplace_back(std::move(key), std::move(value));
  }
  for (uint64_t i = 0; i < tensors; ++i) {
    index.tensors.push_back(read_tensor(in));
    const std::string& name = index.tensors.back().name;
    if (!names.insert(name).second) in.fail("tensor '" + name + "' is there twice");
  }
  place_tensors(index, in, size);
  return index;
}

void write_gguf(const ByteSink& sink, std::span<const NamedView> tensors,
                const GgufMetadata& metadata) {
  check_names(tensors, metadata);
  const int64_t alignment = alignment_to_write(metadata);
  std::string head = kMagic;
  append(head, kVersion);
  append(head, static_cast<uint64_t>(tensors.size()));
  append(head, static_cast<uint64_t>(metadata.size()));
  for (const auto& [key, value] : metadata) append_value(head, key, value);
  int64_t at = 0;
  for (const NamedView& t : tensors) {
    append_text(head, t.name);
    append(head, static_cast<uint32_t>(t.view.shape.size()));
    for (size_t d = t.view.shape.size(); d-- > 0;)
      append(head, static_cast<uint64_t>(t.view.shape[d]));
    append(head, plain_type(t));
    append(head, static_cast<uint64_t>(at));
    at += t.view.size() * itemsize(t.view.dtype);
    at += padding(at, alignment);
  }
  head.append(static_cast<size_t>(padding(static_cast<int64_t>(head.size()), alignment)), '\0');
  sink(head.data(), static_cast<int64_t>(head.size()));
  const std::string zeros(static_cast<size_t>(alignment), '\0');
  for (const NamedView& t : tensors) {
    write_row_major(sink, t.view);
    const int64_t bytes = t.view.size() * itemsize(t.view.dtype);
    if (const int64_t rest = padding(bytes, alignment)) sink(zeros.data(), rest);
  }
}

}  // namespace lamina
