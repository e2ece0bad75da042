// What is refused before declarations are looked at, or across all of them.
#include <map>
#include <set>

#include "devices/soft_metal/translate.h"

namespace lamina::soft_metal {
namespace {

// Brackets in pairs. Where they do not come out, the pair that spans two files is to blame, if
// there is one: a body in the middle of a generated function that has one bracket too few or too
// many takes the function's own.
class Brackets {
 public:
  explicit Brackets(const std::vector<Token>& t) : t_(t) {}

  void run() {
    for (size_t i = 0; i + 1 < t_.size(); ++i) {
      if (t_[i].kind != Token::mark) continue;
      const char c = t_[i].view[0];
      if (c == '(' || c == '[' || c == '{') open_.push_back(i);
      if (c == ')' || c == ']' || c == '}') close(i);
    }
    if (open_.empty()) return;
    never_closed(spans_ ? first_open_ : open_.back());
  }

 private:
  static char partner(char c) { return c == '(' ? ')' : c == '[' ? ']' : '}'; }

  void close(size_t i) {
    if (open_.empty()) closes_nothing(spans_ ? first_close_ : i);
    const size_t with = open_.back();
    if (partner(t_[with].view[0]) != t_[i].view[0]) {
      if (t_[with].is("{")) closes_nothing(i);
      never_closed(with);
    }
    open_.pop_back();
    if (t_[with].file == t_[i].file || spans_) return;
    spans_ = true;
    first_open_ = with;
    first_close_ = i;
  }

  [[noreturn]] void never_closed(size_t i) const {
    refuse(t_[i], "`" + std::string(t_[i].view) + "` is never closed",
           std::string("add the `") + partner(t_[i].view[0]) + "` that belongs to it");
  }
  [[noreturn]] void closes_nothing(size_t i) const {
    refuse(t_[i], "`" + std::string(t_[i].view) + "` closes nothing",
           "remove it, or add what it should close");
  }

  const std::vector<Token>& t_;
  std::vector<size_t> open_;
  bool spans_ = false;
  size_t first_open_ = 0, first_close_ = 0;
};

// By name, where one function has it: an overload may well call another of its name.
class Recursion {
 public:
  Recursion(const std::vector<Token>& t, const std::vector<Declaration>& declarations) : t_(t) {
    std::set<std::string_view> several;
    for (const Declaration& d : declarations) {
      if (d.kind != Declaration::function) continue;
      const std::string_view name = t_[d.name].view;
      if (!functions_.emplace(name, &d).second || t_[d.begin].is("template") ||
          t_[d.name - 1].is("operator"))
        several.insert(name);
    }
    for (std::string_view name : several) functions_.erase(name);
  }

  void run() {
    for (const auto& [name, d] : functions_) visit(name, *d);
  }

 private:
  void visit(std::string_view name, const Declaration& d) {
    if (!done_.insert(name).second) return;
    path_.push_back(name);
    for (size_t i = d.body; i + 1 < d.end; ++i) {
      const auto called = functions_.find(t_[i].view);
      if (called == functions_.end() || !t_[i + 1].is("(") || t_[i - 1].is("::") ||
          t_[i - 1].is(".") || t_[i - 1].is("->"))
        continue;
      for (size_t from = 0; from < path_.size(); ++from)
        if (path_[from] == called->first) calls_itself(from, i);
      visit(called->first, *called->second);
    }
    path_.pop_back();
  }

  [[noreturn]] void calls_itself(size_t from, size_t at) const {
    std::string through;
    for (size_t i = from + 1; i < path_.size(); ++i)
      through += (through.empty() ? " through `" : "`, `") + std::string(path_[i]);
    refuse(
        t_[at],
        "`" + std::string(path_[from]) + "` calls itself" + (through.empty() ? "" : through + "`"),
        "recursion needs a stack that pipelines do not have by default: write a loop");
  }

  const std::vector<Token>& t_;
  std::map<std::string_view, const Declaration*> functions_;
  std::set<std::string_view> done_;
  std::vector<std::string_view> path_;
};

}  // namespace

void refuse_brackets(const std::vector<Token>& tokens) { Brackets(tokens).run(); }

void refuse_recursion(const std::vector<Token>& tokens,
                      const std::vector<Declaration>& declarations) {
  Recursion(tokens, declarations).run();
}

}  // namespace lamina::soft_metal
