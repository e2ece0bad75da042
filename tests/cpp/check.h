// A test runner of our own: what it needs is fewer lines than fetching one would be, and the
// header-only libraries are not in the package registries that both Linux and macOS have.
//
//   TEST(name) { CHECK(x); CHECK_EQ(a, b); CHECK_THROWS(Error, f(), "part of its message"); }
//
// A failed check ends its test. NOTE(text) says what was at hand while its scope lasts.
#pragma once

#include <sstream>
#include <string>
#include <vector>

namespace lamina::test {

struct Case {
  const char* name;
  void (*run)();
};
std::vector<Case>& cases();

struct Failure {
  std::string text;
};
[[noreturn]] void fail(const char* file, int line, const std::string& text);

struct Registered {
  Registered(const char* name, void (*run)()) { cases().push_back({name, run}); }
};

class Note {
 public:
  explicit Note(std::string text);
  ~Note();
  Note(const Note&) = delete;
};

template <class A, class B>
void check_equal(const A& a, const B& b, const char* file, int line, const char* what) {
  if (a == b) return;
  std::ostringstream text;
  text << what << ": " << a << " != " << b;
  fail(file, line, text.str());
}

// How this program was started, to start it again.
extern const char* program;

}  // namespace lamina::test

#define TEST(name)                                                             \
  static void test_##name();                                                   \
  static const lamina::test::Registered registered_##name(#name, test_##name); \
  static void test_##name()
#define CHECK(...)                                                            \
  do {                                                                        \
    if (!(__VA_ARGS__)) lamina::test::fail(__FILE__, __LINE__, #__VA_ARGS__); \
  } while (false)
#define CHECK_EQ(a, ...) \
  lamina::test::check_equal(a, __VA_ARGS__, __FILE__, __LINE__, #a " == " #__VA_ARGS__)
#define CHECK_THROWS(type, expression, part)                           \
  do {                                                                 \
    std::string said = "nothing was thrown";                           \
    try {                                                              \
      static_cast<void>(expression);                                   \
    } catch (const type& e) {                                          \
      said = e.what();                                                 \
    }                                                                  \
    if (said.find(part) == std::string::npos)                          \
      lamina::test::fail(__FILE__, __LINE__, #expression ": " + said); \
  } while (false)
#define NOTE_NAMED(line, text) const lamina::test::Note note_##line(text)
#define NOTE_AT(line, text) NOTE_NAMED(line, text)
#define NOTE(text) NOTE_AT(__LINE__, text)
