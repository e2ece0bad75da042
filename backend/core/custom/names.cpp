#include "custom/names.h"

#include <algorithm>
#include <cctype>
#include <string_view>

namespace lamina {

namespace {

bool letter(char c) { return std::isalpha(static_cast<unsigned char>(c)) || c == '_'; }
bool part(char c) { return letter(c) || std::isdigit(static_cast<unsigned char>(c)); }

// Between blanks.
constexpr std::string_view kKeywords =
    " alignas alignof and and_eq asm auto bitand bitor bool break case catch char char16_t "
    "char32_t "
    "class compl const const_cast constexpr continue decltype default delete do double "
    "dynamic_cast "
    "else enum explicit export extern false float for friend goto if inline int long mutable "
    "namespace new noexcept not not_eq nullptr operator or or_eq private protected public register "
    "reinterpret_cast return short signed sizeof static static_assert static_cast struct switch "
    "template this thread_local throw true try typedef typeid typename union unsigned using "
    "virtual "
    "void volatile wchar_t while xor xor_eq ";
constexpr std::string_view kMetalKeywords =
    " device constant thread threadgroup kernel vertex fragment ";
constexpr std::string_view kTypes =
    " uchar ushort uint ulong half bfloat size_t ptrdiff_t int8_t int16_t int32_t int64_t uint8_t "
    "uint16_t uint32_t uint64_t float16_t bfloat16_t atomic_int atomic_uint atomic_float ";
constexpr std::string_view kMetalPlaces =
    " thread_position_in_grid thread_position_in_threadgroup threadgroup_position_in_grid "
    "threads_per_threadgroup dispatch_threads_per_threadgroup threadgroups_per_grid "
    "threads_per_grid grid_size thread_index_in_threadgroup thread_index_in_simdgroup "
    "simdgroup_index_in_threadgroup simdgroups_per_threadgroup dispatch_simdgroups_per_threadgroup "
    "threads_per_simdgroup thread_execution_width grid_origin quadgroup_index_in_threadgroup "
    "quadgroups_per_threadgroup dispatch_quadgroups_per_threadgroup thread_index_in_quadgroup ";
constexpr std::string_view kCudaPlaces = " threadIdx blockIdx blockDim gridDim warpSize ";

bool holds(std::string_view words, const std::string& word) {
  return words.find(" " + word + " ") != std::string_view::npos;
}

// float4 and the like.
bool is_vector(const std::string& name) {
  if (name.size() < 4 || name.back() < '2' || name.back() > '4') return false;
  return holds(" bool char uchar short ushort int uint long ulong half bfloat float double ",
               name.substr(0, name.size() - 1));
}

}  // namespace

bool is_identifier(const std::string& s) {
  return !s.empty() && letter(s[0]) && std::all_of(s.begin(), s.end(), part);
}

std::string taken_as(const std::string& name, Dialect dialect) {
  const bool metal = dialect == Dialect::msl;
  if (holds(kKeywords, name) || (metal && holds(kMetalKeywords, name)))
    return "a keyword of the kernel's language";
  if (holds(kTypes, name) || is_vector(name)) return "a type of the kernel's language";
  if (holds(kCudaPlaces, name) || (metal && holds(kMetalPlaces, name)))
    return "an attribute of a thread";
  if (name.rfind("lamina_", 0) == 0 || name == "LaminaBlock") return "lamina's own";
  if (name.rfind("__", 0) == 0) return "the compiler's own";
  return {};
}

std::string without_comments(const std::string& text) {
  std::string out = text;
  auto blank = [&](size_t from, size_t to) {
    for (size_t i = from; i < std::min(to, out.size()); ++i)
      if (out[i] != '\n') out[i] = ' ';
    return std::min(to, out.size());
  };
  for (size_t i = 0; i < text.size();) {
    const std::string_view rest = std::string_view(text).substr(i);
    // A quote behind a digit parts digits.
    const bool quote = text[i] == '"' || (text[i] == '\'' && (i == 0 || !part(text[i - 1])));
    if (rest.starts_with("//")) {
      i = blank(i, text.find('\n', i));
    } else if (rest.starts_with("/*")) {
      const size_t end = text.find("*/", i + 2);
      i = blank(i, end == std::string::npos ? end : end + 2);
    } else if (quote) {
      size_t end = i + 1;
      while (end < text.size() && text[end] != text[i] && text[end] != '\n')
        end += text[end] == '\\' ? 2 : 1;
      i = end + 1;
    } else {
      ++i;
    }
  }
  return out;
}

bool mentions(const std::string& text, const std::string& name) {
  for (size_t at = text.find(name); at != std::string::npos; at = text.find(name, at + 1))
    if ((at == 0 || !part(text[at - 1])) &&
        (at + name.size() >= text.size() || !part(text[at + name.size()])))
      return true;
  return false;
}

}  // namespace lamina
