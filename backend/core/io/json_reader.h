// A strict reader of JSON text, for file headers: no tree is built.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/file_error.h"

namespace lamina {

// Reads one document from front to back. Every fault throws FileError beginning with `where`.
class JsonReader {
 public:
  JsonReader(std::string_view text, std::string where) : text_(text), where_(std::move(where)) {}

  // Calls item(key) for every member; it must read the value.
  template <class F>
  void object(F&& item) {
    expect('{');
    if (accept('}')) return;
    do {
      std::string key = string();
      expect(':');
      item(key);
    } while (accept(','));
    expect('}');
  }
  // Calls item() for every element; it must read it.
  template <class F>
  void array(F&& item) {
    expect('[');
    if (accept(']')) return;
    do item();
    while (accept(','));
    expect(']');
  }
  std::string string();      // UTF-8, checked
  int64_t natural();         // a whole number in [0, 2^63)
  bool null();               // reads null if it is next
  void skip(int depth = 0);  // any value; nesting is bounded
  void finish();             // only white space may be left
  [[noreturn]] void fail(const std::string& what) const;

 private:
  char peek();
  bool accept(char c);
  void expect(char c);
  uint32_t hex4();
  void append(std::string* out, uint32_t code);

  std::string_view text_;
  std::string where_;
  size_t at_ = 0;
};

// `text` between quotes, escaped.
std::string json_quoted(std::string_view text);

}  // namespace lamina
