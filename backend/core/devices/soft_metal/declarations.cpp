#include <algorithm>
#include <map>
#include <set>

#include "devices/soft_metal/translate.h"

namespace lamina::soft_metal {
namespace {

class Scanner {
 public:
  explicit Scanner(const std::vector<Token>& tokens) : t_(tokens) {}

  std::vector<Declaration> run() {
    scope(0, t_.size() - 1, "");
    return std::move(found_);
  }

 private:
  void scope(size_t i, size_t end, const std::string& name) {
    while (i < end) {
      if (t_[i].is(";")) {
        ++i;
      } else if (t_[i].is("namespace") && !t_[i + 1].is("=")) {
        size_t open = i + 1;
        std::string inner = name;
        for (; open < end && !t_[open].is("{"); ++open)
          if (t_[open].kind == Token::identifier) inner += std::string(t_[open].view) + "::";
        scope(open + 1, closing(t_, open), inner);
        i = closing(t_, open) + 1;
      } else if (t_[i].is("extern") && t_[i + 1].kind == Token::text && t_[i + 2].is("{")) {
        scope(i + 3, closing(t_, i + 2), name);
        i = closing(t_, i + 2) + 1;
      } else {
        i = declaration(i, end, name);
      }
    }
  }

  size_t declaration(size_t begin, size_t end, const std::string& scope) {
    Declaration d;
    d.begin = begin;
    d.scope = scope;
    bool assigned = false, is_type = false;
    size_t i = begin;
    bool is_template = t_[i].is("template");
    if (is_template && t_[i + 1].is("<")) i = closing(t_, i + 1) + 1;
    const bool names_type = t_[i].is("using") || t_[i].is("typedef") || t_[i].is("static_assert");
    for (; i < end; ++i) {
      const Token& k = t_[i];
      if (k.is(";")) {
        ++i;
        break;
      }
      if (k.is("=")) assigned = true;
      if (k.is("struct") || k.is("class") || k.is("union") || k.is("enum"))
        is_type = d.open == 0 && !assigned;
      if (k.is("[")) {
        i = closing(t_, i);
      } else if (k.is("(")) {
        note_parameters(d, i);
        i = closing(t_, i);
      } else if (k.is("{")) {
        size_t close = closing(t_, i);
        if (!assigned && d.open != 0) {
          d.kind = Declaration::function;
          d.body = i;
          i = close + 1;
          break;
        }
        if (!assigned && is_type) d.body = i;
        i = close;
      }
    }
    d.end = std::min(i, end);
    if (d.kind != Declaration::function) {
      if (d.body != 0)
        d.kind = Declaration::type;
      else if (d.open != 0 && !assigned)
        d.kind = Declaration::other;
      else if (!names_type && !is_template && !is_type)
        d.kind = Declaration::variable;
    }
    found_.push_back(d);
    return d.end;
  }

  // A ( after a name begins the parameters; those of attributes and decltype do not.
  void note_parameters(Declaration& d, size_t i) {
    if (d.open != 0 || i == d.begin) return;
    const Token& before = t_[i - 1];
    bool name = (before.kind == Token::identifier && !before.is("decltype") &&
                 !before.is("__attribute__") && !before.is("alignas")) ||
                before.is(">");
    for (size_t back = i; !name && back > d.begin && back + 4 > i; --back)
      name = t_[back].is("operator");
    if (!name) return;
    d.open = i;
    d.name = i - 1;
  }

  const std::vector<Token>& t_;
  std::vector<Declaration> found_;
};

}  // namespace

std::vector<Declaration> declarations_of(const std::vector<Token>& tokens) {
  return Scanner(tokens).run();
}

std::vector<std::string> reached_names(const std::vector<Token>& t,
                                       const std::vector<Declaration>& declarations,
                                       const Declaration& kernel) {
  std::map<std::string_view, std::vector<const Declaration*>> by_name;
  for (const Declaration& d : declarations) {
    if (d.kind == Declaration::function) by_name[t[d.name].view].push_back(&d);
    if (d.kind == Declaration::type || d.kind == Declaration::variable ||
        d.kind == Declaration::other)
      for (size_t i = d.begin; i < (d.body ? d.body : d.end); ++i)
        if (t[i].kind == Token::identifier) by_name[t[i].view].push_back(&d);
    // Methods are reached by their names too: what a variable's type is, is not known here.
    if (d.kind == Declaration::type)
      for (size_t i = d.body; i + 1 < d.end; ++i)
        if (t[i].kind == Token::identifier && t[i + 1].is("(")) by_name[t[i].view].push_back(&d);
  }
  std::set<std::string_view> names;
  std::set<const Declaration*> seen{&kernel};
  std::vector<const Declaration*> open{&kernel};
  while (!open.empty()) {
    const Declaration* d = open.back();
    open.pop_back();
    for (size_t i = d->begin; i < d->end; ++i) {
      if (t[i].kind != Token::identifier || !names.insert(t[i].view).second) continue;
      for (const Declaration* next : by_name[t[i].view])
        if (seen.insert(next).second) open.push_back(next);
    }
  }
  return {names.begin(), names.end()};
}

}  // namespace lamina::soft_metal
