// Text that the compiler of this machine takes in its own language, and that Metal's refuses or
// reads as something else.
#include <algorithm>
#include <map>
#include <set>

#include "devices/soft_metal/rewrite.h"
#include "devices/soft_metal/translate.h"

namespace lamina::soft_metal {
namespace {

bool is_kernel(const std::vector<Token>& t, const Declaration& d) {
  return std::any_of(t.begin() + static_cast<long>(d.begin), t.begin() + static_cast<long>(d.open),
                     [](const Token& k) { return k.is("kernel"); });
}

// Casts of several values and atomic operations, wherever they stand.
class Expressions {
 public:
  explicit Expressions(const std::vector<Token>& t) : t_(t) {
    for (const char* base : {"bool", "char", "uchar", "short", "ushort", "int", "uint", "long",
                             "ulong", "half", "float", "bfloat"})
      for (const char* width : {"2", "3", "4"}) {
        vectors_.insert(std::string(base) + width);
        vectors_.insert("packed_" + std::string(base) + width);
      }
  }

  void run() {
    for (size_t i = 0; i + 3 < t_.size(); ++i) {
      if (t_[i].is("using") && t_[i + 2].is("=") && vector_ends(i + 3) == i + 4)
        vectors_.insert(std::string(t_[i + 1].view));
      if (t_[i].is("typedef") && vector_ends(i + 1) == i + 2)
        vectors_.insert(std::string(t_[i + 2].view));
      if (t_[i].is("(")) cast(i);
      if (t_[i].kind != Token::identifier) continue;
      if (t_[i].view.substr(0, 7) == "atomic_" && t_[i].view.size() > 9 &&
          t_[i].view.substr(t_[i].view.size() - 9) == "_explicit" && t_[i + 1].is("("))
        orders(i);
      if (t_[i].is("threadgroup")) threadgroup_float(i);
    }
  }

 private:
  // The token after the vector type that begins at i, or 0.
  size_t vector_ends(size_t i) const {
    while (t_[i].is("const") || t_[i].is("metal") || t_[i].is("::")) ++i;
    if (t_[i].is("vec") && t_[i + 1].is("<"))
      return std::min(closing(t_, i + 1) + 1, t_.size() - 1);
    return vectors_.count(std::string(t_[i].view)) ? i + 1 : 0;
  }

  // (float4)(1, 2, 3, 4): a comma operator to Metal, so four times 4.
  void cast(size_t i) {
    const size_t end = vector_ends(i + 1);
    if (end == 0 || !t_[end].is(")") || !t_[end + 1].is("(")) return;
    // f(float4)(..) and the like are no casts.
    if (i > 0 && ((t_[i - 1].kind == Token::identifier && !t_[i - 1].is("return")) ||
                  t_[i - 1].is(">") || t_[i - 1].is(")") || t_[i - 1].is("]")))
      return;
    const size_t close = closing(t_, end + 1);
    for (size_t k = end + 2; k < close; ++k) {
      if (t_[k].is("(") || t_[k].is("[") || t_[k].is("{")) k = closing(t_, k);
      if (t_[k].is("<") && vector_ends(k + 1)) k = closing(t_, k);
      if (!t_[k].is(",")) continue;
      const std::string type = joined(t_, i + 1, end);
      refuse(t_[i],
             "`(" + type + ")(a, b, ..)` casts what the comma operator leaves, its last value",
             "write `" + type + "(a, b, ..)`");
    }
  }

  void orders(size_t i) const {
    const size_t close = closing(t_, i + 1);
    for (size_t k = i + 2; k < close; ++k)
      if (t_[k].view.substr(0, 13) == "memory_order_" && !t_[k].is("memory_order_relaxed"))
        refuse(t_[k],
               "`" + std::string(t_[i].view) + "` cannot have the order " + std::string(t_[k].view),
               "Metal's atomic operations are memory_order_relaxed, all of them: order what is "
               "around them with atomic_thread_fence or a barrier");
  }

  void threadgroup_float(size_t i) const {
    size_t k = i + 1;
    while (t_[k].is("const") || t_[k].is("volatile") || t_[k].is("metal") || t_[k].is("::")) ++k;
    const bool generic = t_[k].is("atomic") && t_[k + 1].is("<") && t_[k + 2].is("float");
    if (!generic && !t_[k].is("atomic_float")) return;
    refuse(t_[i], "atomic_float in threadgroup memory: it is for device memory only",
           "use a threadgroup atomic_uint that holds as_type<uint>(x), in a loop of "
           "atomic_compare_exchange_weak_explicit");
  }

  const std::vector<Token>& t_;
  std::set<std::string> vectors_;
};

// Structs of the text, and what is done with those in device or threadgroup memory. Only what the
// text says outright is looked at: an object whose declaration names the space and the struct.
class Objects {
 public:
  Objects(const std::vector<Token>& t, const std::vector<Declaration>& declarations)
      : t_(t), declarations_(declarations) {}

  void run() {
    for (const Declaration& d : declarations_)
      if (d.kind == Declaration::type) type(d);
    for (std::string_view name : several_) {
      methods_.erase(name);
      derived_.erase(name);
    }
    for (const Declaration& d : declarations_) {
      if (d.kind != Declaration::function) continue;
      if (is_kernel(t_, d)) arguments(d);
      for (size_t i = d.open; i < d.end; ++i)
        if (t_[i].is("device") || t_[i].is("threadgroup")) object(d, i);
    }
  }

 private:
  // Whether a method has an address space after its parameters, or needs none.
  using Methods = std::map<std::string_view, bool>;

  void type(const Declaration& d) {
    size_t at = d.begin;
    if (t_[at].is("template") && t_[at + 1].is("<")) return;
    while (at < d.body && !t_[at].is("struct") && !t_[at].is("class")) ++at;
    if (at + 1 >= d.body || (at > d.begin && t_[at - 1].is("enum"))) return;
    const std::string_view name = t_[at + 1].view;
    if (!types_.insert(name).second) several_.insert(name);
    for (size_t i = at + 2; i < d.body; ++i)
      if (t_[i].is(":")) derived_.insert(name);
    Methods& methods = methods_[name];
    const size_t close = closing(t_, d.body);
    bool skip = false;
    for (size_t i = d.body + 1; i < close; ++i) {
      const Token& k = t_[i];
      skip |= k.is("=") || k.is("static") || k.is("friend") || k.is("operator");
      if (k.is("(")) {
        const size_t end = closing(t_, i);
        if (!skip && t_[i - 1].kind == Token::identifier && !t_[i - 1].is(name))
          method(methods, t_[i - 1].view, end);
        skip = true;
        i = end;
      } else if (k.is("[")) {
        i = closing(t_, i);
      } else if (k.is("{")) {
        i = closing(t_, i);
        skip = false;
      } else if (k.is(";") || (k.is(":") && access(i))) {
        skip = false;
      }
    }
  }

  bool access(size_t i) const {
    return t_[i - 1].is("public") || t_[i - 1].is("private") || t_[i - 1].is("protected");
  }

  void method(Methods& methods, std::string_view name, size_t close) {
    bool qualified = false;
    for (size_t i = close + 1; !t_[i].is("{") && !t_[i].is(";") && i + 1 < t_.size(); ++i)
      qualified |= !space_keyword(t_[i].view).empty();
    methods[name] |= qualified;
  }

  void arguments(const Declaration& d) const {
    const size_t close = closing(t_, d.open);
    int angle = 0;
    for (size_t i = d.open + 1; i < close; ++i) {
      angle += t_[i].is("<") - t_[i].is(">");
      if (t_[i].is("[")) i = closing(t_, i);
      if (angle != 0 || !derived_.count(t_[i].view) || t_[i + 1].is("::")) continue;
      if (!t_[i + 1].is("*") && !t_[i + 1].is("&") && !t_[i + 1].is("const")) continue;
      refuse(t_[i],
             "kernel `" + std::string(t_[d.name].view) + "` has an argument of type `" +
                 std::string(t_[i].view) + "`, which is derived from another",
             "arguments are of plain types: make the base a member of the struct");
    }
  }

  // device const S* p, threadgroup S t[4], const device S& s
  void object(const Declaration& d, size_t space) const {
    size_t i = space + 1;
    while (t_[i].is("const") || t_[i].is("volatile")) ++i;
    const auto methods = methods_.find(t_[i].view);
    if (methods == methods_.end()) return;
    ++i;
    int marks = 0;
    for (; t_[i].is("*") || t_[i].is("&") || t_[i].is("const"); ++i) marks += !t_[i].is("const");
    if (marks > 1 || t_[i].kind != Token::identifier || t_[i].is("operator")) return;
    if (t_[i + 1].is("(") || t_[i + 1].is("::") || declared_again(d, i)) return;
    for (size_t k = i + 1; k < d.end; ++k)
      if (t_[k].is(t_[i].view)) call(k, t_[space], *methods);
  }

  // Another variable of this name in the function: which one is meant, is not known here.
  bool declared_again(const Declaration& d, size_t name) const {
    static const std::set<std::string_view> words = {"return", "else", "case", "do"};
    for (size_t i = d.open + 1; i < d.end; ++i) {
      if (i == name || !t_[i].is(t_[name].view)) continue;
      const Token& before = t_[i - 1];
      if (before.kind == Token::identifier && !words.count(before.view)) return true;
      const bool mark = before.is("*") || before.is("&") || before.is(">");
      if (mark && (t_[i - 2].is("auto") || t_[i - 2].is("const") ||
                   (t_[i - 2].kind == Token::identifier && t_[i - 3].kind == Token::identifier &&
                    !words.count(t_[i - 3].view))))
        return true;
    }
    return false;
  }

  void call(size_t name, const Token& space,
            const std::pair<const std::string_view, Methods>& type) const {
    const Token& before = t_[name - 1];
    if (before.is(".") || before.is("->") || before.is("::")) return;
    size_t at = name + 1;
    while (t_[at].is("[")) at = closing(t_, at) + 1;
    if (before.is("*") && t_[name - 2].is("(") && t_[at].is(")")) ++at;
    if (!t_[at].is(".") && !t_[at].is("->")) return;
    const auto method = type.second.find(t_[at + 1].view);
    if (method == type.second.end() || method->second || !t_[at + 2].is("(")) return;
    const std::string where(space.view);
    refuse(t_[at + 1],
           "method `" + std::string(method->first) + "` of `" + std::string(type.first) +
               "` is called on `" + std::string(t_[name].view) + "`, which is in the " + where +
               " address space: a method that names no space is one of thread objects",
           "write `" + where + "` after the method's parameters (`const " + where +
               "` where it only reads), or call it on a copy");
  }

  const std::vector<Token>& t_;
  const std::vector<Declaration>& declarations_;
  std::set<std::string_view> types_, several_, derived_;
  std::map<std::string_view, Methods> methods_;
};

}  // namespace

void refuse_forms(const std::vector<Token>& tokens, const std::vector<Declaration>& declarations) {
  Expressions(tokens).run();
  Objects(tokens, declarations).run();
}

}  // namespace lamina::soft_metal
