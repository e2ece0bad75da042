#include "devices/soft_metal/translate.h"

#include <algorithm>
#include <map>
#include <set>

#include "devices/soft_metal/kernel_text.h"
#include "devices/soft_metal/rewrite.h"

namespace lamina::soft_metal {

void refuse(const Token& at, const std::string& fact, const std::string& fix) {
  throw Refusal{std::string(at.file), at.line, fact, fix};
}

namespace {

class Translator {
 public:
  Translator(const std::string& text, const ConstantValues& values, bool check)
      : tokens_(paired(tokens_of(text))),
        declarations_(declarations_of(tokens_)),
        rewrite_(text, tokens_),
        values_(values),
        check_(check) {}

  Translation run() {
    refuse_words(tokens_);
    refuse_recursion(tokens_, declarations_);
    refuse_forms(tokens_, declarations_);
    for (const Declaration& d : declarations_) {
      if (d.kind == Declaration::variable) program_variable(d);
      if (d.kind == Declaration::function) function(d);
      if (d.kind == Declaration::other) instantiation(d);
      if (d.kind == Declaration::type) check_members(d);
    }
    for (size_t i = 0; i + 2 < tokens_.size(); ++i)
      if (tokens_[i].is("[") && tokens_[i + 1].is("[") && !rewrite_.removed(i))
        rewrite_.remove(i, closing(tokens_, i) + 1);
    unique_names();
    rewrite_words(tokens_, rewrite_);
    out_.text = rewrite_.result();
    return std::move(out_);
  }

 private:
  static std::vector<Token> paired(std::vector<Token> tokens) {
    refuse_brackets(tokens);
    return tokens;
  }

  bool has(size_t begin, size_t end, std::string_view word) const {
    for (size_t i = begin; i < end; ++i)
      if (tokens_[i].is(word)) return true;
    return false;
  }

  void program_variable(const Declaration& d) {
    size_t stop = d.begin;
    while (stop < d.end && !tokens_[stop].is("=") && !tokens_[stop].is("{")) ++stop;
    if (!has(d.begin, stop, "constant")) {
      size_t name = stop - 1;
      while (name > d.begin && tokens_[name].kind != Token::identifier) --name;
      refuse(tokens_[d.begin],
             "program-scope variable `" + std::string(tokens_[name].view) +
                 "` must be in the constant address space",
             "write `constant` before its type");
    }
    for (size_t i = d.begin; i + 3 < d.end; ++i)
      if (tokens_[i].is("[") && tokens_[i + 2].is("function_constant")) constant(d, i);
  }

  // constant bool flag [[function_constant(0)]];
  void constant(const Declaration& d, size_t attribute) {
    FunctionConstant c;
    c.index = std::stoi(std::string(tokens_[attribute + 4].view));
    c.name = tokens_[attribute - 1].view;
    for (size_t i = d.begin; i + 1 < attribute; ++i)
      if (!tokens_[i].is("constant") && !tokens_[i].is("const"))
        c.type = joined(tokens_, i, attribute - 1), i = attribute;
    for (size_t i = 0; i + 2 < tokens_.size(); ++i)
      if (tokens_[i].is(c.name) && i != attribute - 1 &&
          !(i >= 2 && tokens_[i - 2].is("is_function_constant_defined")))
        c.optional = false;
    const ConstantValue* value = value_of(c);
    if (value && value->type != c.type)
      throw RuleError(Rule::constant_type, "function constant " + std::to_string(c.index) + " `" +
                                               c.name + "`: given as " + value->type +
                                               ", declared as " + c.type);
    rewrite_.insert_after(attribute - 1, value ? value_text(c, *value) : " = (" + c.type + ")1");
    for (size_t i = 0; i + 3 < tokens_.size(); ++i)
      if (tokens_[i].is("is_function_constant_defined") && tokens_[i + 2].is(c.name)) {
        rewrite_.remove(i + 1, i + 4);
        rewrite_.replace(i, value ? "true" : "false");
      }
    out_.constants.push_back(c);
  }

  const ConstantValue* value_of(const FunctionConstant& c) const {
    auto index = values_.by_index.find(c.index);
    if (index != values_.by_index.end()) return &index->second;
    auto name = values_.by_name.find(c.name);
    return name == values_.by_name.end() ? nullptr : &name->second;
  }

  // Bit for bit: a value is what its bytes are.
  static std::string value_text(const FunctionConstant& c, const ConstantValue& v) {
    std::string bytes;
    for (unsigned char b : v.bytes) bytes += (bytes.empty() ? "" : ", ") + std::to_string(b);
    return " = __builtin_bit_cast(" + c.type + ", lm_bytes<" + std::to_string(v.bytes.size()) +
           ">{{" + bytes + "}})";
  }

  void function(const Declaration& d) {
    bool kernel = is_kernel(d);
    check_parameters(d);
    if (!kernel) return;
    KernelSource source{tokens_, declarations_, d, rewrite_, out_.constants};
    KernelText text = kernel_text(source);
    for (size_t i = d.begin; i < d.open; ++i)
      if (tokens_[i].is("kernel") && !rewrite_.removed(i)) rewrite_.remove(i, i + 1);
    // A call, so that the accesses of a kernel are its own and not those of the loop around it.
    if (check_) rewrite_.insert_before(return_type(d), "__attribute__((noinline)) ");
    if (tokens_[d.begin].is("template"))
      templates_[text.qualified] = {text, d};
    else
      out_.kernels.push_back(text);
  }

  bool is_kernel(const Declaration& d) const { return has(d.begin, d.open, "kernel"); }

  size_t return_type(const Declaration& d) const {
    for (size_t i = d.begin; i < d.open; ++i)
      if (tokens_[i].is("void")) return i;
    refuse(tokens_[d.begin], "kernel `" + std::string(tokens_[d.name].view) + "` must return void",
           "");
  }

  // Metal gives no space to a pointer that names none.
  void check_parameters(const Declaration& d) {
    size_t close = closing(tokens_, d.open), from = d.open + 1;
    int depth = 0;
    for (size_t i = d.open + 1; i <= close; ++i) {
      const Token& k = tokens_[i];
      if (k.is("<") || k.is("(") || k.is("[")) ++depth;
      if (i < close && (k.is(">") || k.is(")") || k.is("]"))) --depth;
      if (i != close && !(k.is(",") && depth == 0)) continue;
      bool points = false, space = false;
      int angle = 0;
      for (size_t j = from; j < i && !tokens_[j].is("="); ++j) {
        angle += tokens_[j].is("<") - tokens_[j].is(">");
        if (angle == 0 && (tokens_[j].is("*") || tokens_[j].is("&"))) points = true;
        if (!space_keyword(tokens_[j].view).empty()) space = true;
      }
      if (points && !space)
        refuse(tokens_[from],
               "pointer or reference `" + joined(tokens_, from, i) + "` of `" +
                   std::string(tokens_[d.name].view) + "` names no address space",
               "write device, constant, threadgroup or thread before its type");
      from = i + 1;
    }
  }

  // The same of a type's data members.
  void check_members(const Declaration& d) {
    const size_t close = closing(tokens_, d.body);
    int angle = 0;
    bool points = false, skip = false;
    size_t from = d.body + 1;
    auto next = [&](size_t begin) {
      from = begin;
      angle = 0;
      points = skip = false;
    };
    for (size_t i = from; i < close; ++i) {
      const Token& k = tokens_[i];
      angle += k.is("<") - k.is(">");
      // Functions, aliases and constants are looked at elsewhere, or are no data.
      skip |= k.is("(") || k.is("using") || k.is("typedef") || k.is("=");
      points |= !skip && angle == 0 && (k.is("*") || k.is("&"));
      skip |= !space_keyword(k.view).empty();
      if (k.is("(") || k.is("[")) i = closing(tokens_, i);
      if (k.is("{")) i = closing(tokens_, i);
      if (k.is(";") && points && !skip)
        refuse(tokens_[from],
               "pointer or reference `" + joined(tokens_, from, i) + "` in a type names no " +
                   "address space",
               "write device, constant, threadgroup or thread before its type");
      if (k.is(";") || k.is("{") || (k.is(":") && angle == 0)) next(i + 1);
    }
  }

  // template [[host_name("x")]] [[kernel]] decltype(f<float>) f<float>;   or   template
  // [[host_name("x")]] kernel void f<float>(...);
  void instantiation(const Declaration& d) {
    if (!tokens_[d.begin].is("template") || tokens_[d.begin + 1].is("<")) return;
    size_t at = d.begin + 1;
    std::string host;
    while (tokens_[at].is("[") && tokens_[at + 1].is("[")) {
      size_t close = closing(tokens_, at);
      if (tokens_[at + 2].is("host_name")) host = unquoted(tokens_[at + 4].view);
      at = close + 1;
    }
    bool kernel = has(d.begin, d.end, "kernel") || !host.empty();
    if (!kernel) return;
    if (tokens_[at].is("kernel")) ++at;
    if (tokens_[at].is("void")) ++at;
    if (tokens_[at].is("decltype")) at += 2;
    size_t angle = at;
    while (angle < d.end && !tokens_[angle].is("<")) ++angle;
    std::string name = d.scope + joined(tokens_, at, angle);
    auto found = templates_.find(name);
    if (angle >= d.end || found == templates_.end())
      refuse(tokens_[d.begin], "no kernel template to instantiate: " + name,
             "define it before this line");
    KernelText text = found->second.first;
    size_t close = closing(tokens_, angle);
    text.arguments = spelled(tokens_, angle, close + 1);
    text.aliases += template_aliases(tokens_, found->second.second, angle, close);
    text.host_name = host.empty() ? joined(tokens_, at, close + 1) : host;
    out_.kernels.push_back(text);
    rewrite_.remove(d.begin, d.end);
  }

  void unique_names() {
    std::set<std::string> names;
    for (const KernelText& k : out_.kernels)
      if (!names.insert(k.host_name).second)
        throw RuleError(Rule::compile, "two kernels are called `" + k.host_name + "`");
  }

  std::vector<Token> tokens_;
  std::vector<Declaration> declarations_;
  Rewrite rewrite_;
  const ConstantValues& values_;
  bool check_;
  Translation out_;
  std::map<std::string, std::pair<KernelText, Declaration>> templates_;
};

}  // namespace

Translation translate(const std::string& preprocessed, const ConstantValues& values, bool check) {
  return Translator(preprocessed, values, check).run();
}

}  // namespace lamina::soft_metal
