#include "devices/soft_metal/diagnosis.h"

#include <functional>
#include <map>
#include <regex>
#include <sstream>

namespace lamina::soft_metal {
namespace {

// A line of the user's text as the compiler names it: #line directives obeyed.
struct Line {
  std::string file;
  long number;
  const std::string& text;
  bool directive;
};

void each_line(const std::string& source, const std::function<void(const Line&)>& use) {
  static const std::regex directive(R"lit(^\s*#\s*line\s+(\d+)(\s+"([^"]*)")?.*$)lit");
  std::string file = kProgram;
  long number = 1;
  std::stringstream in(source);
  for (std::string line; std::getline(in, line);) {
    std::smatch m;
    if (line.find('#') != std::string::npos && std::regex_match(line, m, directive)) {
      use({file, number, line, true});
      number = std::stol(m[1]);
      if (m[2].matched) file = m[3];
    } else {
      use({file, number++, line, false});
    }
  }
}

std::map<std::pair<std::string, long>, std::string> lines_by_place(const std::string& original) {
  std::map<std::pair<std::string, long>, std::string> out;
  each_line(original, [&](const Line& line) {
    if (!line.directive) out.emplace(std::pair{line.file, line.number}, line.text);
  });
  return out;
}

std::string error_at(const std::string& file, long number) {
  return file + ":" + std::to_string(number) + ": error: ";
}

std::string in_metals_terms(std::string text) {
  static const std::pair<std::regex, const char*> words[] = {
      {std::regex("__global "), "device "},
      {std::regex("__constant "), "constant "},
      {std::regex("__local "), "threadgroup "},
      {std::regex("__private "), "thread "},
      {std::regex("__generic "), ""},
      {std::regex("__bf16"), "bfloat"},
      {std::regex("lm_id_|lm_(?=atomic_|memory_)"), ""},
      {std::regex("(\\w+) __attribute__\\(\\(ext_vector_type\\((\\d)\\)\\)\\)"), "$1$2"},
      {std::regex(" \\(vector of \\d '\\w+' values\\)"), ""},
      {std::regex("use of type 'double' requires cl_khr_fp64( and __opencl_c_fp64)? support"),
       "'double' is not in the Metal language"},
      {std::regex("C\\+\\+ for OpenCL( version \\d+)?|OpenCL C"), "Metal"},
  };
  for (const auto& [what, by] : words) text = std::regex_replace(text, what, by);
  return text;
}

// "half tile<half, 4>(half)" -> tile
std::string function_name(std::string text) {
  text = text.substr(0, text.find('('));
  text = text.substr(0, text.find('<'));
  const size_t blank = text.rfind(' ');
  return blank == std::string::npos ? text : text.substr(blank + 1);
}

}  // namespace

std::string diagnosis(const std::string& messages, const std::string& original) {
  static const std::regex form(R"(^(.*?):(\d+):\d+: (error|fatal error|warning|note): (.*)$)");
  const auto lines = lines_by_place(original);
  std::string out;
  bool keep = false;
  std::stringstream in(messages);
  for (std::string line; std::getline(in, line);) {
    std::smatch m;
    if (!std::regex_match(line, m, form)) continue;
    const auto place = lines.find({m[1].str(), std::stol(m[2])});
    const bool users = place != lines.end();
    bool bfloat = m[4].str().find("'bfloat'") != std::string::npos ||
                  m[4].str().find("'__bf16'") != std::string::npos;
    bool narrowing = m[3] == "warning" && bfloat &&
                     m[4].str().find("loses floating-point precision") != std::string::npos &&
                     users;
    if (m[3] != "note") keep = m[3] != "warning" || narrowing;
    if (!keep || (m[3] == "note" && !users)) continue;
    std::string text = m[4];
    if (narrowing) text = "no implicit conversion to 'bfloat': write bfloat(x)";
    out += (out.empty() ? "" : "\n") + (users ? m[1].str() + ":" + m[2].str() : "metal_stdlib") +
           ": " + (m[3] == "note" ? "note" : "error") + ": " + in_metals_terms(text);
    if (users) out += "\n  " + place->second;
  }
  return out;
}

std::string diagnosis(const Refusal& r, const std::string& original) {
  const auto lines = lines_by_place(original);
  const auto line = lines.find({r.file, r.line});
  return error_at(r.file, r.line) + r.fact + (line == lines.end() ? "" : "\n  " + line->second) +
         (r.fix.empty() ? "" : "\n  " + r.fix);
}

void refuse_private_memory(const std::string& messages, const std::string& original) {
  static const std::regex form(
      R"lit(^(.*?):(\d+):\d+: warning: stack frame size \((\d+)\) exceeds limit \((\d+)\) in '(.*)'.*$)lit");
  const auto lines = lines_by_place(original);
  std::stringstream in(messages);
  for (std::string line; std::getline(in, line);) {
    std::smatch m;
    if (!std::regex_match(line, m, form)) continue;
    const auto at = lines.find({m[1].str(), std::stol(m[2])});
    const bool users = at != lines.end();
    const std::string name = function_name(m[5]);
    RuleError error(Rule::private_memory,
                    (users ? error_at(m[1], std::stol(m[2])) : std::string("soft_metal: ")) +
                        (users ? "`" + name + "`" : std::string("a kernel")) + " asks for " +
                        m[3].str() + " bytes of private memory for each thread, over " +
                        m[4].str() + (users ? "\n  " + at->second : "") +
                        "\n  make the arrays that a thread keeps smaller, or put them into "
                        "threadgroup or device memory");
    if (users) error.kernel = name;
    throw error;
  }
}

std::string without_includes(const std::string& source) {
  static const std::regex include(R"(^\s*#\s*(include|import)\s*[<"]([^>"]*)[>"].*$)");
  std::string out;
  each_line(source, [&](const Line& line) {
    std::smatch m;
    if (line.text.find('#') == std::string::npos || !std::regex_match(line.text, m, include)) {
      out += line.text + "\n";
      return;
    }
    const std::string name = m[2];
    if (name.rfind("metal_", 0) != 0 && name.rfind("simd/", 0) != 0)
      throw RuleError(Rule::compile, error_at(line.file, line.number) + "'" + name +
                                         "' file not found\n  " + line.text +
                                         "\n  a library made from source sees only Metal's own "
                                         "headers: paste the text");
    out += "\n";
  });
  return out;
}

}  // namespace lamina::soft_metal
