#include "kernels/dialect.h"

#include <array>
#include <cctype>
#include <mutex>
#include <set>
#include <unordered_map>
#include <vector>

#include "base/error.h"

namespace lamina {
namespace {

using Words = std::unordered_map<std::string, std::string>;

// Calls f(word) for every identifier outside comments, and g(other) for the text between.
template <class F, class G>
void each_word(const std::string& text, F&& f, G&& g) {
  size_t i = 0;
  auto inside = [&](size_t k) {
    return k < text.size() && (std::isalnum(static_cast<unsigned char>(text[k])) || text[k] == '_');
  };
  while (i < text.size()) {
    size_t start = i;
    if (text.compare(i, 2, "//") == 0) {
      i = std::min(text.find('\n', i), text.size());
      g(text.substr(start, i - start));
    } else if (!inside(i)) {
      g(text.substr(i++, 1));
    } else {
      while (inside(i)) ++i;
      std::string word = text.substr(start, i - start);
      std::isdigit(static_cast<unsigned char>(word[0])) ? g(word) : f(word);
    }
  }
}

// An empty replacement takes the blank or the :: behind the word along.
const Words& cuda_words() {
  static const Words words = {
      {"device", ""},
      {"thread", ""},
      {"threadgroup", ""},
      {"constant", "const"},
      {"precise", ""},
      {"inline", "__device__ inline"},
      {"char", "schar"},
      {"group_id", "blockIdx"},
      {"thread_id", "threadIdx.x"},
      {"lamina_erf", "erf"},
      {"lamina_erfinv", "erfinv"},
      {"lamina_expm1", "expm1"},
      {"lamina_log1p", "log1p"},
  };
  return words;
}

std::string to_cuda(const std::string& text) {
  std::string out;
  bool dropped = false;
  int colons = 0;
  each_word(
      text,
      [&](const std::string& word) {
        dropped = false;
        auto it = cuda_words().find(word);
        if (it == cuda_words().end()) {
          out += word;
        } else if (it->second.empty()) {
          dropped = true;
          colons = 0;
        } else {
          out += it->second;
        }
      },
      [&](const std::string& other) {
        if (dropped && other == ":" && colons < 2) {
          ++colons;
        } else if (dropped && other == " " && colons == 0) {
          dropped = false;
        } else {
          dropped = false;
          out += other;
        }
      });
  return out;
}

const Helper* find_helper(const std::string& word) {
  static const auto all = [] {
    std::unordered_map<std::string, const Helper*> map;
    for (auto list : {basic_helpers(), number_helpers(), complex_helpers(), atomic_helpers()})
      for (const Helper& h : list) map.emplace(h.name, &h);
    return map;
  }();
  auto it = all.find(word);
  return it == all.end() ? nullptr : it->second;
}

// Helpers in an order in which each comes after those it uses.
class Collector {
 public:
  explicit Collector(Dialect dialect) : dialect_(dialect) {}

  void scan(const std::string& text) {
    each_word(
        text, [&](const std::string& word) { need(word); }, [](const std::string&) {});
  }
  const std::string& text() const { return out_; }

 private:
  void need(const std::string& word) {
    const Helper* h = find_helper(word);
    if (!h || !seen_.insert(h).second) return;
    bool own = dialect_ == Dialect::cuda && h->cuda;
    std::string text = own ? h->cuda : h->text;
    // A word that CUDA has under another name needs no helper there.
    if (dialect_ == Dialect::cuda && cuda_words().count(word) && !own) return;
    scan(text);
    while (!text.empty() && text.front() == '\n') text.erase(0, 1);
    out_ += text;
  }

  Dialect dialect_;
  std::set<const Helper*> seen_;
  std::string out_;
};

constexpr const char* kMslOpening = R"(#include <metal_stdlib>
using namespace metal;
)";

constexpr const char* kCudaOpening = R"(typedef signed char schar;
typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
typedef unsigned long ulong;
#if __CUDA_ARCH__ >= 900
#define AFTER_EARLIER_KERNELS() \
  asm volatile("griddepcontrol.launch_dependents; griddepcontrol.wait;" ::: "memory")
#else
#define AFTER_EARLIER_KERNELS()
#endif
)";

}  // namespace

const char* text_type(Dtype d) {
  static const char* const names[kDtypeCount] = {"bool",   "uchar", "ushort", "uint",  "ulong",
                                                 "char",   "short", "int",    "long",  "half",
                                                 "bfloat", "float", "double", "float2"};
  return names[static_cast<int>(d)];
}

namespace {

std::string assembled(const std::string& text, Dialect dialect) {
  Collector helpers(dialect);
  helpers.scan(text);
  std::string whole = helpers.text() + "\n" + text;
  if (dialect == Dialect::msl) return kMslOpening + whole;
  return kCudaOpening + to_cuda(whole);
}

constexpr size_t kMaxKept = 4096;

}  // namespace

// Plans that are put on other sizes write the same texts again.
std::string assemble(const std::string& text, Dialect dialect) {
  static std::mutex mutex;
  static auto* kept = new std::array<std::unordered_map<std::string, std::string>, 2>;
  std::lock_guard lock(mutex);
  auto& known = (*kept)[static_cast<size_t>(dialect)];
  if (auto it = known.find(text); it != known.end()) return it->second;
  if (known.size() >= kMaxKept) known.clear();
  return known[text] = assembled(text, dialect);
}

}  // namespace lamina
