#include "io/json_reader.h"

#include <cstring>

namespace lamina {
namespace {

constexpr int kMaxDepth = 64;

// Length of the valid UTF-8 sequence at the front of text, 0 if there is none.
size_t utf8_length(std::string_view text) {
  auto byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  auto follows = [&](size_t i) { return (byte(i) & 0xc0) == 0x80; };
  unsigned first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first < 0xe0) return follows(1) ? 2 : 0;
  if (first >= 0xe0 && first < 0xf0) {
    bool overlong = first == 0xe0 && byte(1) < 0xa0;
    bool surrogate = first == 0xed && byte(1) >= 0xa0;
    return follows(1) && follows(2) && !overlong && !surrogate ? 3 : 0;
  }
  if (first >= 0xf0 && first < 0xf5) {
    bool overlong = first == 0xf0 && byte(1) < 0x90;
    bool beyond = first == 0xf4 && byte(1) >= 0x90;
    return follows(1) && follows(2) && follows(3) && !overlong && !beyond ? 4 : 0;
  }
  return 0;
}

}  // namespace

void JsonReader::fail(const std::string& what) const {
  throw FileError(where_ + ": bad header: " + what + " at byte " + std::to_string(at_));
}

char JsonReader::peek() {
  while (at_ < text_.size() && std::strchr(" \t\r\n", text_[at_]) && text_[at_] != 0) ++at_;
  return at_ < text_.size() ? text_[at_] : 0;
}

bool JsonReader::accept(char c) {
  if (peek() != c) return false;
  ++at_;
  return true;
}

void JsonReader::expect(char c) {
  if (!accept(c)) fail(std::string("expected '") + c + "'");
}

uint32_t JsonReader::hex4() {
  uint32_t value = 0;
  for (int i = 0; i < 4; ++i, ++at_) {
    char c = at_ < text_.size() ? text_[at_] : 0;
    if (c >= '0' && c <= '9')
      value = value * 16 + static_cast<uint32_t>(c - '0');
    else if (c >= 'a' && c <= 'f')
      value = value * 16 + static_cast<uint32_t>(c - 'a' + 10);
    else if (c >= 'A' && c <= 'F')
      value = value * 16 + static_cast<uint32_t>(c - 'A' + 10);
    else
      fail("bad \\u escape");
  }
  return value;
}

void JsonReader::append(std::string* out, uint32_t code) {
  auto put = [out](uint32_t byte) { out->push_back(static_cast<char>(byte)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xc0 | code >> 6), put(0x80 | (code & 63));
  } else if (code < 0x10000) {
    put(0xe0 | code >> 12), put(0x80 | (code >> 6 & 63)), put(0x80 | (code & 63));
  } else {
    put(0xf0 | code >> 18), put(0x80 | (code >> 12 & 63));
    put(0x80 | (code >> 6 & 63)), put(0x80 | (code & 63));
  }
}

std::string JsonReader::string() {
  expect('"');
  std::string out;
  while (true) {
    if (at_ >= text_.size()) fail("unterminated string");
    char c = text_[at_];
    if (static_cast<unsigned char>(c) < 0x20) fail("control character in a string");
    if (c == '"') break;
    if (c != '\\') {
      size_t n = utf8_length(text_.substr(at_));
      if (n == 0) fail("a string is not UTF-8");
      out.append(text_.substr(at_, n));
      at_ += n;
      continue;
    }
    char escape = at_ + 1 < text_.size() ? text_[at_ + 1] : 0;
    at_ += 2;
    static const char kNames[] = "\"\\/bfnrt", kValues[] = "\"\\/\b\f\n\r\t";
    if (escape == 'u') {
      uint32_t code = hex4();
      if (code >= 0xd800 && code < 0xdc00 && text_.substr(at_, 2) == "\\u") {
        at_ += 2;
        uint32_t low = hex4();
        if (low < 0xdc00 || low > 0xdfff) fail("unpaired surrogate");
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
      } else if (code >= 0xd800 && code < 0xe000) {
        fail("unpaired surrogate");
      }
      append(&out, code);
    } else if (const char* found = escape ? std::strchr(kNames, escape) : nullptr) {
      out.push_back(kValues[found - kNames]);
    } else {
      fail("unknown escape");
    }
  }
  ++at_;
  return out;
}

int64_t JsonReader::natural() {
  char c = peek();
  if (c < '0' || c > '9') fail("expected a whole number");
  int64_t value = 0;
  for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_)
    if (__builtin_mul_overflow(value, 10, &value) ||
        __builtin_add_overflow(value, text_[at_] - '0', &value))
      fail("number too large");
  if (at_ < text_.size() && text_[at_] && std::strchr(".eE", text_[at_]))
    fail("expected a whole number");
  return value;
}

bool JsonReader::null() {
  peek();
  if (text_.substr(at_, 4) != "null") return false;
  at_ += 4;
  return true;
}

void JsonReader::skip(int depth) {
  if (depth > kMaxDepth) fail("nested too deeply");
  char c = peek();
  if (c == '{') {
    object([&](const std::string&) { skip(depth + 1); });
  } else if (c == '[') {
    array([&] { skip(depth + 1); });
  } else if (c == '"') {
    string();
  } else {
    size_t start = at_;
    while (at_ < text_.size() && text_[at_] && std::strchr("+-.0123456789aeEflnrstu", text_[at_]))
      ++at_;
    if (at_ == start) fail("expected a value");
  }
}

void JsonReader::finish() {
  peek();
  if (at_ < text_.size()) fail("text after the end");
}

std::string json_quoted(std::string_view text) {
  static const char* digits = "0123456789abcdef";
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\')
      out += std::string("\\") + c;
    else if (static_cast<unsigned char>(c) < 0x20)
      out += std::string("\\u00") + digits[c >> 4] + digits[c & 15];
    else
      out += c;
  }
  return out + "\"";
}

}  // namespace lamina
