#include "devices/soft_metal/rewrite.h"

#include <algorithm>
#include <map>

#include "devices/soft_metal/translate.h"

namespace lamina::soft_metal {

void Rewrite::remove(size_t begin, size_t end) {
  for (size_t i = begin; i < end; ++i) {
    if (removed_[i]) continue;
    removed_[i] = true;
    edits_.push_back({tokens_[i].begin, tokens_[i].end_, ""});
  }
}

std::string Rewrite::result() const {
  std::vector<Edit> edits = edits_;
  std::stable_sort(edits.begin(), edits.end(), [](const Edit& a, const Edit& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end == a.begin && b.end != b.begin;
  });
  std::string out;
  size_t at = 0;
  for (const Edit& e : edits) {
    out.append(text_, at, e.begin - at);
    out += e.text;
    at = e.end;
  }
  out.append(text_, at);
  return out;
}

std::string_view space_keyword(std::string_view word) {
  if (word == "device") return "__global";
  if (word == "constant") return "__constant";
  if (word == "threadgroup") return "__local";
  if (word == "thread") return "__private";
  return {};
}

std::string spelled(const std::vector<Token>& t, size_t begin, size_t end) {
  std::string out;
  for (size_t i = begin; i < end; ++i) {
    std::string_view space = space_keyword(t[i].view);
    out += space.empty() ? t[i].view : space;
    out += ' ';
  }
  return out;
}

std::string joined(const std::vector<Token>& t, size_t begin, size_t end) {
  std::string out;
  for (size_t i = begin; i < end; ++i) {
    bool glued = i == begin || t[i].kind == Token::mark || t[i - 1].is("::") || t[i - 1].is("<");
    if (!glued) out += ' ';
    out += t[i].view;
  }
  return out;
}

namespace {

class Words {
 public:
  Words(const std::vector<Token>& t, Rewrite& r) : t_(t), r_(r) {
    for (const char* base : {"char", "uchar", "short", "ushort", "int", "uint", "long", "ulong",
                             "half", "float", "bfloat"})
      for (const char* width : {"2", "3", "4"}) vectors_.insert(std::string(base) + width);
    for (size_t i = 0; i + 3 < t_.size(); ++i) note_alias(i);
  }

  void run() {
    for (size_t i = 0; i + 1 < t_.size(); ++i) {
      if (r_.removed(i)) continue;
      if (t_[i].kind == Token::number) {
        literal(i);
      } else if (t_[i].kind == Token::identifier) {
        std::string_view space = space_keyword(t_[i].view);
        if (!space.empty()) r_.replace(i, std::string(space));
        if (size_t last = vector_type(i)) constructor(i, last);
      }
    }
  }

 private:
  // The last token of the vector type that begins at i, or 0.
  size_t vector_type(size_t i) const {
    if (t_[i].kind != Token::identifier) return 0;
    bool generic = t_[i].is("vec") || templates_.count(std::string(t_[i].view));
    if (generic && t_[i + 1].is("<")) return closing(t_, i + 1);
    return vectors_.count(std::string(t_[i].view)) ? i : 0;
  }

  void note_alias(size_t i) {
    size_t type, name;
    if (t_[i].is("using") && t_[i + 2].is("=")) {
      type = i + 3, name = i + 1;
    } else if (t_[i].is("typedef")) {
      type = i + 1, name = 0;
    } else {
      return;
    }
    while (t_[type].is("metal") || t_[type].is("::") || t_[type].is("const")) ++type;
    size_t last = vector_type(type);
    if (last == 0) return;
    if (name == 0) name = last + 1;
    if (!t_[name + 1].is(";") && !t_[last + 1].is(";")) return;
    bool is_template = i > 0 && t_[i - 1].is(">");
    (is_template ? templates_ : vectors_).insert(std::string(t_[name].view));
  }

  // float4(a, b) is written lm_make<float4>(a, b), and float4 v(a, b); as float4 v = that.
  void constructor(size_t i, size_t last) {
    size_t open = last + 1;
    std::string type = joined(t_, i, last + 1);
    if (t_[open].is("(")) {
      size_t first = i;
      while (first >= 2 && t_[first - 1].is("::")) first -= 2;
      if (first > 0 && (!space_keyword(t_[first - 1].view).empty() || t_[first - 1].is("const")))
        return;  // device float4 (&x)[4]: a declaration
      r_.insert_before(first, "metal::lm_make<");
      r_.insert_after(last, ">");
    } else if (t_[open].kind == Token::identifier && t_[open + 1].is("(") && starts_statement(i)) {
      size_t close = closing(t_, open + 1);
      if (!t_[close + 1].is(";") || declares_function(open + 1, close)) return;
      r_.insert_after(open, " = metal::lm_make<" + type + ">");
    }
  }

  bool starts_statement(size_t i) const {
    while (i > 0 && (t_[i - 1].is("const") || t_[i - 1].is("thread") || t_[i - 1].is("::") ||
                     t_[i - 1].is("metal")))
      --i;
    return i > 0 && (t_[i - 1].is(";") || t_[i - 1].is("{") || t_[i - 1].is("}"));
  }

  // float4 f(float x); declares a function, float4 f(x); a vector: two words in a row.
  bool declares_function(size_t open, size_t close) const {
    if (close == open + 1) return true;
    for (size_t i = open + 1; i + 1 < close; ++i)
      if (t_[i].kind == Token::identifier && t_[i + 1].kind == Token::identifier) return true;
    return false;
  }

  void literal(size_t i) {
    std::string text(t_[i].view);
    if (text.size() < 3) return;
    std::string tail = text.substr(text.size() - 2);
    bool hex = text.size() > 2 && (text[1] == 'x' || text[1] == 'X');
    if ((tail == "bf" || tail == "BF") && !hex)
      r_.replace(i, "((bfloat)" + text.substr(0, text.size() - 2) + "f)");
  }

  const std::vector<Token>& t_;
  Rewrite& r_;
  std::set<std::string> vectors_, templates_;
};

}  // namespace

void rewrite_words(const std::vector<Token>& tokens, Rewrite& rewrite) {
  Words(tokens, rewrite).run();
}

void refuse_words(const std::vector<Token>& t) {
  static const std::map<std::string_view, const char*> words = {
      {"goto", "use a loop or a condition"},
      {"try", "Metal has no exceptions: return a value that says so"},
      {"catch", "Metal has no exceptions: return a value that says so"},
      {"throw", "Metal has no exceptions: return a value that says so"},
      {"new", "Metal has no heap: use a local array or a buffer"},
      {"delete", "Metal has no heap: use a local array or a buffer"},
      {"virtual", "use a template parameter"},
      {"dynamic_cast", "use a template parameter"},
      {"typeid", "use a template parameter"},
      {"thread_local", "locals are private to a thread already"},
      {"register", "leave it out"},
      {"asm", "Metal has no inline assembly"},
      {"double", "Metal has no double: use float"},
      {"std", "Metal has no C++ standard library: its own is in namespace metal"},
      {"vertex", "this device runs compute kernels only"},
      {"fragment", "this device runs compute kernels only"},
      {"texture2d", "this device has buffers only, no textures"},
      {"texture3d", "this device has buffers only, no textures"},
      {"sampler", "this device has buffers only, no textures"},
      {"imageblock", "this device runs compute kernels only"},
  };
  for (size_t i = 0; i + 1 < t.size(); ++i) {
    if (t[i].kind != Token::identifier) continue;
    auto word = words.find(t[i].view);
    if (word != words.end())
      refuse(t[i], "`" + std::string(t[i].view) + "` is not in the Metal language", word->second);
    if (t[i].is("long") && (t[i + 1].is("long") || t[i + 1].is("double")))
      refuse(t[i], "`long " + std::string(t[i + 1].view) + "` is not in the Metal language",
             "`long` has 64 bits");
  }
}

}  // namespace lamina::soft_metal
