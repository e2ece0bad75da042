#include "devices/soft_metal/kernel_text.h"

#include <algorithm>
#include <map>
#include <set>

namespace lamina::soft_metal {
namespace {

// Attribute -> what the entry function passes; $ stands for the parameter's type.
const std::map<std::string, const char*>& builtins() {
  static const std::map<std::string, const char*> table = {
      {"thread_position_in_grid", "lm_position_in_grid<$>(g)"},
      {"threads_per_grid", "lm_index<$>(g->grid_threads)"},
      {"grid_size", "lm_index<$>(g->grid_threads)"},
      {"grid_origin", "($)0"},
      {"threadgroup_position_in_grid", "lm_index<$>(g->group_at)"},
      {"threadgroups_per_grid", "lm_index<$>(g->grid_groups)"},
      {"thread_position_in_threadgroup", "lm_index<$>(g->thread_at)"},
      {"threads_per_threadgroup", "lm_index<$>(g->group_threads)"},
      {"dispatch_threads_per_threadgroup", "lm_index<$>(g->dispatch_threads)"},
      {"thread_index_in_threadgroup", "($)g->index"},
      {"thread_index_in_simdgroup", "($)(g->index & 31)"},
      {"thread_index_in_quadgroup", "($)(g->index & 3)"},
      {"simdgroup_index_in_threadgroup", "($)(g->index >> 5)"},
      {"quadgroup_index_in_threadgroup", "($)(g->index >> 2)"},
      {"simdgroups_per_threadgroup", "($)((lm_total(g->group_threads) + 31) / 32)"},
      {"dispatch_simdgroups_per_threadgroup", "($)((lm_total(g->dispatch_threads) + 31) / 32)"},
      {"quadgroups_per_threadgroup", "($)((lm_total(g->group_threads) + 3) / 4)"},
      {"threads_per_simdgroup", "($)32"},
      {"thread_execution_width", "($)32"},
  };
  return table;
}

bool scalar_only(const std::string& attribute) {
  std::string text = builtins().at(attribute);
  return text.find("lm_") == std::string::npos ? attribute != "grid_origin"
                                               : text.find("lm_total") != std::string::npos;
}

class Reader {
 public:
  explicit Reader(const KernelSource& s) : s_(s), t_(s.tokens), d_(s.kernel) {}

  KernelText run() {
    out_.qualified = d_.scope + std::string(t_[d_.name].view);
    out_.host_name = out_.qualified;
    // The entry functions name types as the kernel does.
    if (!d_.scope.empty())
      out_.aliases = "using namespace " + d_.scope.substr(0, d_.scope.size() - 2) + "; ";
    if (t_[d_.name].is("main")) refuse(t_[d_.name], "a kernel cannot be called main", "");
    for (size_t i = d_.begin; i < d_.open; ++i)
      if (t_[i].is("[") && t_[i + 1].is("[")) kernel_attribute(i + 2);
    parameters();
    check_indices();
    number_buffers();
    variables();
    reach();
    return std::move(out_);
  }

 private:
  std::string kernel_name() const { return std::string(t_[d_.name].view); }

  void kernel_attribute(size_t i) {
    if (t_[i].is("host_name")) out_.host_name = unquoted(t_[i + 2].view);
    if (t_[i].is("max_total_threads_per_threadgroup")) {
      if (t_[i + 2].kind != Token::number)
        refuse(t_[i], "max_total_threads_per_threadgroup takes a number", "");
      out_.max_threads = std::stoi(std::string(t_[i + 2].view));
    }
  }

  void parameters() {
    size_t close = closing(t_, d_.open), from = d_.open + 1;
    int depth = 0;
    for (size_t i = from; i <= close; ++i) {
      if (t_[i].is("<") || t_[i].is("(") || t_[i].is("[")) ++depth;
      if (i < close && (t_[i].is(">") || t_[i].is(")") || t_[i].is("]"))) --depth;
      if (i == close ? i > from : t_[i].is(",") && depth == 0) {
        parameter(from, i);
        from = i + 1;
      }
    }
  }

  void parameter(size_t begin, size_t end) {
    KernelParameter p;
    size_t type_end = end;
    for (size_t i = begin; i < end; ++i) {
      if (!t_[i].is("[") || !t_[i + 1].is("[")) continue;
      type_end = std::min(type_end, i);
      size_t close = closing(t_, i);
      attributes(p, i + 2, close - 1);
      i = close;
    }
    size_t name = type_end - 1;
    if (name <= begin || t_[name].kind != Token::identifier)
      refuse(t_[begin],
             "parameter `" + joined(t_, begin, end) + "` of kernel `" + kernel_name() +
                 "` has a form this device does not know",
             "write it as `type name [[attribute]]`");
    p.name = t_[name].view;
    p.type = joined(t_, begin, name);
    size_t passed_end = name;
    p.reference = t_[name - 1].is("&");
    p.pointer = t_[name - 1].is("*");
    if (p.reference) --passed_end;
    p.passed = spelled(t_, begin, passed_end);
    bool constant = false;
    for (size_t i = begin; i < name; ++i) {
      if (t_[i].is("constant")) p.space = Space::constant;
      if (t_[i].is("threadgroup")) p.space = Space::threadgroup;
      if (t_[i].is("const")) constant = true;
    }
    p.written = !constant && p.space != Space::constant;
    check_form(p, begin);
    out_.parameters.push_back(p);
  }

  void attributes(KernelParameter& p, size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) {
      if (t_[i].kind != Token::identifier) continue;
      std::string name(t_[i].view);
      size_t close = t_[i + 1].is("(") ? closing(t_, i + 1) : i;
      if (name == "function_constant") {
        p.condition = t_[i + 2].view;
      } else {
        if (!p.attribute.empty())
          refuse(t_[i], "two attributes, [[" + p.attribute + "]] and [[" + name + "]]", "");
        p.attribute = name;
        if (name == "buffer" || name == "threadgroup") {
          if (t_[i + 2].kind != Token::number)
            refuse(t_[i], "[[" + name + "]] takes a number here", "write it as a literal");
          p.index = std::stoi(std::string(t_[i + 2].view));
        }
      }
      i = close;
    }
  }

  void check_form(KernelParameter& p, size_t at) {
    const Token& where = t_[at];
    if (p.pointer || p.reference) {
      if (p.attribute.empty())
        p.attribute = p.space == Space::threadgroup ? "threadgroup" : "buffer";
      if (p.attribute != "buffer" && p.attribute != "threadgroup")
        refuse(where, "`" + p.name + "`: [[" + p.attribute + "]] is no attribute of a pointer", "");
      if ((p.attribute == "threadgroup") != (p.space == Space::threadgroup))
        refuse(where,
               "`" + p.name + "`: [[" + p.attribute + "]] and type `" + p.type +
                   "` name different address spaces",
               "");
      return;
    }
    if (!builtins().count(p.attribute))
      refuse(where,
             "parameter `" + p.name + "` of kernel `" + kernel_name() + "` has " +
                 (p.attribute.empty() ? "no attribute" : "attribute [[" + p.attribute + "]]"),
             "kernels take device, constant and threadgroup pointers and positions such as "
             "[[thread_position_in_grid]]");
  }

  static int components(const std::string& type) {
    if (type == "uint" || type == "ushort") return 1;
    if (type == "uint2" || type == "ushort2") return 2;
    if (type == "uint3" || type == "ushort3") return 3;
    return 0;
  }

  // Positions and sizes are all scalars or all vectors of one length.
  void check_indices() const {
    const KernelParameter* first = nullptr;
    const Token& where = t_[d_.name];
    for (const KernelParameter& p : out_.parameters) {
      if (p.pointer || p.reference) continue;
      std::string type = p.type.substr(p.type.find("const ") == 0 ? 6 : 0);
      int n = components(type);
      if (n == 0 || (n > 1 && scalar_only(p.attribute)))
        refuse(
            where, "`" + p.name + "` [[" + p.attribute + "]] cannot be of type " + p.type,
            scalar_only(p.attribute) ? "use uint or ushort" : "use uint or ushort, 1 to 3 of them");
      if (scalar_only(p.attribute)) continue;
      if (first && components(first->type) != n)
        refuse(where,
               "`" + first->name + "` is " + first->type + " and `" + p.name + "` is " + p.type +
                   ": positions and sizes of one kernel have the same number of components",
               "");
      if (!first) first = &p;
    }
  }

  void number_buffers() {
    std::set<int> used[2];
    for (const KernelParameter& p : out_.parameters) {
      if (p.index < 0) continue;
      bool shared = p.attribute == "threadgroup";
      if (!used[shared].insert(p.index).second && p.condition.empty())
        refuse(t_[d_.name],
               "two parameters of kernel `" + kernel_name() + "` are [[" + p.attribute + "(" +
                   std::to_string(p.index) + ")]]",
               "");
    }
    for (KernelParameter& p : out_.parameters) {
      if (!p.pointer && !p.reference) continue;
      std::set<int>& taken = used[p.attribute == "threadgroup"];
      for (int i = 0; p.index < 0; ++i)
        if (taken.insert(i).second) p.index = i;
      if (p.index >= limits().max_buffers)
        refuse(t_[d_.name],
               "`" + p.name + "`: " + p.attribute + " index " + std::to_string(p.index) +
                   " is over 30",
               "");
    }
  }

  // threadgroup float a[32][33], b;   in the body
  void variables() {
    size_t end = d_.end;
    for (size_t i = d_.body + 1; i < end; ++i) {
      const Token& before = t_[i - 1];
      bool starts = before.is(";") || before.is("{") || before.is("}");
      if (!starts) continue;
      if (t_[i].is("constexpr") || t_[i].is("using") || t_[i].is("typedef") || t_[i].is("const"))
        candidate(i);
      if (t_[i].is("threadgroup")) variable(i);
    }
    hoist();
  }

  // A declaration of the body that a variable's type or dimensions may name. A const may hold a
  // value of run time: only one that begins with a number is a candidate.
  void candidate(size_t i) {
    size_t stop = i;
    bool known = true;
    for (; stop < d_.end && !t_[stop].is(";"); ++stop)
      if (t_[stop].is("=") && t_[stop + 1].kind != Token::number) known = false;
    if (!t_[i].is("const") || known) candidates_.push_back({i, stop});
  }

  // Of the candidates those that are named, the last first: each names only earlier ones. What is
  // not named may well not be known before the kernel runs.
  void hoist() {
    std::set<std::string_view> named = named_;
    for (auto c = candidates_.rbegin(); c != candidates_.rend(); ++c) {
      const auto [begin, stop] = *c;
      bool wanted = t_[begin].is("using") && !t_[begin + 2].is("=");  // of a namespace
      for (size_t i = begin; i < stop; ++i)
        wanted |= named.count(t_[i].view) && (t_[i + 1].is("=") || t_[i + 1].is("[") ||
                                              (t_[begin].is("typedef") && i + 1 == stop));
      if (!wanted) continue;
      identifiers(begin, stop, named);
      out_.hoisted = spelled(t_, begin, stop) + "; " + out_.hoisted;
    }
  }

  void identifiers(size_t begin, size_t end, std::set<std::string_view>& names) const {
    for (size_t i = begin; i < end; ++i)
      if (t_[i].kind == Token::identifier) names.insert(t_[i].view);
  }

  void variable(size_t begin) {
    size_t stop = begin;
    while (stop < d_.end && !t_[stop].is(";")) ++stop;
    size_t name = begin + 1;
    while (name + 1 < stop && !t_[name + 1].is("[") && !t_[name + 1].is(",")) {
      if (t_[name].is("*") || t_[name].is("&") || t_[name].is("=") || t_[name].is("(")) return;
      if (t_[name].is("<")) name = closing(t_, name);
      ++name;
    }
    identifiers(begin + 1, stop, named_);
    std::string type = spelled(t_, begin + 1, name), text;
    for (size_t i = name; i < stop; ++i) {
      size_t dims = i + 1, dims_end = dims;
      while (t_[dims_end].is("[")) dims_end = closing(t_, dims_end) + 1;
      if (!t_[dims_end].is(",") && !t_[dims_end].is(";"))
        refuse(
            t_[i],
            "threadgroup variable `" + std::string(t_[i].view) + "` cannot have an initial value",
            "write it in the kernel's body");
      ThreadgroupVariable v{std::string(t_[i].view), type, spelled(t_, dims, dims_end)};
      text += "__local " + type + "(&" + std::string(t_[i].view) + ")" + v.dimensions +
              " = *(__local " + type + "(*)" + v.dimensions + ")lm_static_threadgroup(" +
              std::to_string(out_.variables.size()) + "); ";
      out_.variables.push_back(v);
      i = dims_end;
    }
    s_.rewrite.remove(begin, stop + 1);
    s_.rewrite.insert_before(begin, text);
  }

  void reach() {
    std::vector<std::string> names = reached_names(t_, s_.declarations, d_);
    for (const std::string& n : names) {
      bool meets = n == "threadgroup_barrier" || n.rfind("simd_", 0) == 0 ||
                   n.rfind("quad_", 0) == 0 || n.rfind("simdgroup_", 0) == 0 ||
                   n == "make_filled_simdgroup_matrix";
      if (meets && !builtins().count(n)) out_.communicates = true;
      for (const FunctionConstant& c : s_.constants)
        if (c.name == n && !c.optional) out_.constants.push_back(c.index);
    }
  }

  const KernelSource& s_;
  const std::vector<Token>& t_;
  const Declaration& d_;
  KernelText out_;
  std::vector<std::pair<size_t, size_t>> candidates_;
  std::set<std::string_view> named_;  // in the types and dimensions of threadgroup variables
};

std::string replaced(std::string text, const std::string& what, const std::string& by) {
  for (size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += by.size())
    text.replace(at, what.size(), by);
  return text;
}

std::string argument_text(const KernelParameter& p) {
  if (!p.pointer && !p.reference)
    return replaced(builtins().at(p.attribute), "$", replaced(p.passed, "const ", ""));
  std::string from = p.attribute == "buffer" ? "(unsigned long)g->buffers[" : "g->threadgroup[";
  std::string value =
      "(" + p.passed + (p.reference ? "*" : "") + ")" + from + std::to_string(p.index) + "]";
  return p.reference ? "*" + value : value;
}

std::string reflection(const KernelText& k) {
  std::string out;
  int at = 0;
  auto add = [&](const std::string& value) {
    out += "  out[" + std::to_string(at++) + "] = " + value + ";\n";
  };
  for (const KernelParameter& p : k.parameters) {
    if (!p.pointer && !p.reference) continue;
    std::string type = p.passed;
    if (p.pointer) type.erase(type.rfind('*'));
    bool sized = type.find("void") == std::string::npos;
    add(sized ? "sizeof(" + type + ")" : "0");
    add(sized ? "alignof(" + type + ")" : "1");
    add(p.condition.empty() ? "1" : "(" + p.condition + ") ? 1 : 0");
  }
  for (const ThreadgroupVariable& v : k.variables) {
    add("sizeof(" + v.type + v.dimensions + ")");
    add("alignof(" + v.type + ")");
  }
  return out;
}

std::string escaped(const std::string& text) {
  std::string out;
  for (char c : text) {
    if (c == '\n') {
      out += "\\n";
      continue;
    }
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

// Lines of words; module.cpp reads them.
std::string info(const Translation& t) {
  std::string out;
  for (const FunctionConstant& c : t.constants)
    out += "constant " + std::to_string(c.index) + " " + c.name + " " + c.type + "\n";
  for (const KernelText& k : t.kernels) {
    out += "kernel " + std::to_string(k.max_threads) + " " + std::to_string(k.communicates) + " " +
           k.host_name + "\n";
    for (const ThreadgroupVariable& v : k.variables) out += "variable " + v.name + "\n";
    for (int c : k.constants) out += "needs " + std::to_string(c) + "\n";
    for (const KernelParameter& p : k.parameters)
      if (p.pointer || p.reference)
        out += "argument " + std::to_string(static_cast<int>(p.space)) + " " +
               std::to_string(p.index) + " " + std::to_string(p.written) + " " +
               std::to_string(p.reference) + " " + p.name + " " + p.type + "\n";
  }
  return out;
}

constexpr const char* kPlainLoop =
    "  lm_group h = *g;\n"
    "  h.index = 0;\n"
    "  for (uint z = 0; z < h.group_threads[2]; ++z)\n"
    "    for (uint y = 0; y < h.group_threads[1]; ++y)\n"
    "      for (uint x = 0; x < h.group_threads[0]; ++x) {\n"
    "        h.thread_at[0] = x; h.thread_at[1] = y; h.thread_at[2] = z;\n";

}  // namespace

KernelText kernel_text(const KernelSource& source) { return Reader(source).run(); }

std::string unquoted(std::string_view text) {
  return text.size() < 2 ? std::string(text) : std::string(text.substr(1, text.size() - 2));
}

std::string template_aliases(const std::vector<Token>& t, const Declaration& kernel, size_t open,
                             size_t close) {
  std::vector<std::string> given;
  auto split = [&](size_t from, size_t to, auto&& use) {
    int depth = 0;
    size_t begin = from;
    for (size_t i = from; i <= to; ++i) {
      if (i < to && (t[i].is("<") || t[i].is("("))) ++depth;
      if (i < to && (t[i].is(">") || t[i].is(")"))) --depth;
      if (i == to ? i > begin : t[i].is(",") && depth == 0) {
        use(begin, i);
        begin = i + 1;
      }
    }
  };
  split(open + 1, close, [&](size_t b, size_t e) { given.push_back(spelled(t, b, e)); });
  std::string out;
  size_t header = kernel.begin + 1, at = 0;
  split(header + 1, closing(t, header), [&](size_t b, size_t e) {
    size_t stop = b;
    while (stop < e && !t[stop].is("=")) ++stop;
    std::string value = at < given.size() ? given[at] : spelled(t, stop + 1, e);
    ++at;
    std::string name(t[stop - 1].view);
    bool type = t[b].is("typename") || t[b].is("class");
    out += (type ? "using " + name : "constexpr " + spelled(t, b, stop - 1) + name) + " = " +
           value + "; ";
  });
  return out;
}

std::string entry_text(const Translation& translation) {
  const std::string bare = "__attribute__((no_sanitize(\"coverage\", \"kernel-address\"))) ";
  std::string out = "\n# 1 \"entries\"\nextern \"C\" {\n";
  out += "__constant char lm_info[] = \"" + escaped(info(translation)) + "\";\n";
  int id = 0;
  for (const KernelText& k : translation.kernels) {
    std::string number = std::to_string(id++), call;
    for (const KernelParameter& p : k.parameters)
      call += (call.empty() ? "" : ", ") + argument_text(p);
    call = "::" + k.qualified + k.arguments + "(" + call + ");";
    out += bare + "void lm_thread_" + number + "(const lm_group* g) { " + k.aliases + call + " }\n";
    out += bare + "void lm_plain_" + number + "(const lm_group* g0) {\n" +
           replaced(kPlainLoop, "*g;", "*g0;") + "        { const lm_group* g = &h; " + k.aliases +
           call + " }\n        ++h.index;\n      }\n}\n";
    out += bare + "void lm_reflect_" + number + "(unsigned long* out) {\n  " + k.aliases +
           k.hoisted + "\n" + reflection(k) + "}\n";
  }
  return out + "}\n";
}

}  // namespace lamina::soft_metal
