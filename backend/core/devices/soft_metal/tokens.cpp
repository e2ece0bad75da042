#include "devices/soft_metal/tokens.h"

#include <cctype>
#include <cstdlib>

namespace lamina::soft_metal {
namespace {

class Lexer {
 public:
  explicit Lexer(const std::string& text) : text_(text) {}

  std::vector<Token> run() {
    while (at_ < text_.size()) {
      char c = text_[at_];
      if (c == '\n') {
        ++line_;
        ++at_;
        start_of_line_ = true;
      } else if (std::isspace(static_cast<unsigned char>(c))) {
        ++at_;
      } else if (c == '#' && start_of_line_) {
        directive();
      } else {
        start_of_line_ = false;
        token(c);
      }
    }
    push(Token::end, at_);
    return std::move(tokens_);
  }

 private:
  char peek(size_t ahead) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }
  static bool word(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; }

  // `# 12 "file"` says that the next line is line 12 of that file; pragmas are skipped.
  void directive() {
    size_t end = text_.find('\n', at_);
    if (end == std::string::npos) end = text_.size();
    size_t digit = at_ + 1;
    while (digit < end && text_[digit] == ' ') ++digit;
    if (digit < end && std::isdigit(static_cast<unsigned char>(text_[digit]))) {
      line_ = std::atoi(text_.c_str() + digit) - 1;
      const size_t open = text_.find('"', digit);
      const size_t close = open < end ? text_.find('"', open + 1) : end;
      if (close < end) file_ = std::string_view(text_).substr(open + 1, close - open - 1);
    }
    at_ = end;
  }

  void token(char c) {
    size_t from = at_;
    if (std::isdigit(static_cast<unsigned char>(c)) ||
        (c == '.' && std::isdigit(static_cast<unsigned char>(peek(1))))) {
      number();
      push(Token::number, from);
    } else if (word(c)) {
      while (at_ < text_.size() && word(text_[at_])) ++at_;
      push(Token::identifier, from);
    } else if (c == '"' || c == '\'') {
      ++at_;
      while (at_ < text_.size() && text_[at_] != c && text_[at_] != '\n')
        at_ += text_[at_] == '\\' ? 2 : 1;
      ++at_;
      push(Token::text, from);
    } else {
      at_ += (c == ':' && peek(1) == ':') || (c == '-' && peek(1) == '>') ? 2 : 1;
      push(Token::mark, from);
    }
  }

  void number() {
    bool hex = peek(0) == '0' && (peek(1) == 'x' || peek(1) == 'X');
    while (at_ < text_.size()) {
      char c = text_[at_];
      bool exponent = hex ? (c == 'p' || c == 'P') : (c == 'e' || c == 'E');
      if (exponent && (peek(1) == '+' || peek(1) == '-'))
        at_ += 2;
      else if (word(c) || c == '.' || (c == '\'' && word(peek(1))))
        ++at_;
      else
        break;
    }
  }

  void push(Token::Kind kind, size_t from) {
    at_ = std::min(at_, text_.size());
    tokens_.push_back(
        {kind, line_, file_, from, at_, std::string_view(text_).substr(from, at_ - from)});
  }

  const std::string& text_;
  size_t at_ = 0;
  int line_ = 1;
  std::string_view file_ = kProgram;
  bool start_of_line_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokens_of(const std::string& text) { return Lexer(text).run(); }

size_t closing(const std::vector<Token>& tokens, size_t open) {
  const bool angle = tokens[open].is("<");
  std::vector<char> stack;
  for (size_t i = open; i + 1 < tokens.size(); ++i) {
    if (tokens[i].kind != Token::mark) continue;
    char c = tokens[i].view[0];
    if (c == '(' || c == '[' || c == '{' || (angle && c == '<')) stack.push_back(c);
    if (c == ')' || c == ']' || c == '}' || (angle && c == '>' && stack.back() == '<')) {
      stack.pop_back();
      if (stack.empty()) return i;
    }
  }
  return tokens.size() - 1;
}

}  // namespace lamina::soft_metal
