// Tokens of preprocessed Metal source, with the user's own line numbers.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace lamina::soft_metal {

struct Token {
  enum Kind : uint8_t { identifier, number, text, mark, end };
  Kind kind = end;
  int line = 0;           // in the user's text
  std::string_view file;  // the same, as its #line directives name it
  size_t begin = 0, end_ = 0;
  std::string_view
      view;  // into the text given; `<`, `>`, `&` and `[` are single, `::` and `->` not

  bool is(std::string_view s) const { return view == s; }
};

// What a program's text is called where no #line directive says so.
inline constexpr const char* kProgram = "program_source";

// The last token is of kind end. Lines that begin with # set file and line and give no token. The
// views point into `text`.
std::vector<Token> tokens_of(const std::string& text);

// Index of the bracket that closes the one at `open` (of kind ( [ { or <), or the last index.
size_t closing(const std::vector<Token>& tokens, size_t open);

}  // namespace lamina::soft_metal
