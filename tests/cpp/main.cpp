// core_tests [PART OF A NAME]: runs the tests, all of them or those whose name has the part.
#include <chrono>
#include <cstdio>
#include <exception>

#include "check.h"

namespace lamina::test {

namespace {
std::vector<std::string> notes;
}

const char* program = nullptr;

std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}

Note::Note(std::string text) { notes.push_back(std::move(text)); }
Note::~Note() {
  if (!std::uncaught_exceptions()) notes.pop_back();
}

void fail(const char* file, int line, const std::string& text) {
  throw Failure{std::string(file) + ":" + std::to_string(line) + ": " + text};
}

static bool passes(const Case& test) {
  notes.clear();
  std::string text;
  try {
    test.run();
    return true;
  } catch (const Failure& failure) {
    text = failure.text;
  } catch (const std::exception& e) {
    text = std::string("threw: ") + e.what();
  }
  std::printf("FAILED %s\n  %s\n", test.name, text.c_str());
  for (const std::string& note : notes) std::printf("  with %s\n", note.c_str());
  return false;
}

}  // namespace lamina::test

int main(int count, char** arguments) {
  using Clock = std::chrono::steady_clock;
  lamina::test::program = arguments[0];
  std::setvbuf(stdout, nullptr, _IONBF, 0);  // what was said before a crash is seen
  std::string part = count > 1 ? arguments[1] : "";
  int run = 0, failed = 0;
  auto start = Clock::now();
  for (const auto& test : lamina::test::cases()) {
    if (std::string(test.name).find(part) == std::string::npos) continue;
    ++run;
    failed += !lamina::test::passes(test);
  }
  double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  std::printf("%d of %d tests passed in %.1f s\n", run - failed, run, seconds);
  return failed || run == 0;
}
