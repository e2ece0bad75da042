// Changes to a text, collected and then made together, lines kept.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "devices/soft_metal/tokens.h"

namespace lamina::soft_metal {

class Rewrite {
 public:
  Rewrite(const std::string& text, const std::vector<Token>& tokens)
      : text_(text), tokens_(tokens), removed_(tokens.size(), false) {}

  // Tokens [begin, end) go; what stood between them of line ends and line marks stays.
  void remove(size_t begin, size_t end);
  void insert_before(size_t token, const std::string& text) {
    edits_.push_back({tokens_[token].begin, tokens_[token].begin, text});
  }
  void insert_after(size_t token, const std::string& text) {
    edits_.push_back({tokens_[token].end_, tokens_[token].end_, text});
  }
  void replace(size_t token, const std::string& text) {
    edits_.push_back({tokens_[token].begin, tokens_[token].end_, text});
  }
  bool removed(size_t token) const { return removed_[token]; }
  std::string result() const;

 private:
  struct Edit {
    size_t begin, end;
    std::string text;
  };
  const std::string& text_;
  const std::vector<Token>& tokens_;
  std::vector<bool> removed_;
  std::vector<Edit> edits_;
};

// The compiler's spelling of one of MSL's address spaces, or empty for any other word.
std::string_view space_keyword(std::string_view word);
// Tokens [begin, end) in the compiler's spelling, a blank between.
std::string spelled(const std::vector<Token>& tokens, size_t begin, size_t end);
// As written.
std::string joined(const std::vector<Token>& tokens, size_t begin, size_t end);

// Address spaces, vector constructors and literals of the whole text. `vectors` are further names
// of vector types.
void rewrite_words(const std::vector<Token>& tokens, Rewrite& rewrite);

// Words of C++ that MSL does not have, and types that this device does not know.
void refuse_words(const std::vector<Token>& tokens);

}  // namespace lamina::soft_metal
