// A test in C++: run by name, one process each, by tests/devices/test_metal_host.py.
#pragma once

#include <cstdlib>
#include <iostream>
#include <map>
#include <sstream>
#include <string>

namespace check {

using Body = void (*)();
std::map<std::string, Body>& cases();
[[noreturn]] void fail(const char* file, int line, const std::string& what);

struct Register {
  Register(const char* name, Body body) { cases()[name] = body; }
};

template <class T>
std::string show(const T& value) {
  std::ostringstream out;
  out << value;
  return out.str();
}

template <class A, class B>
void equal(const A& a, const B& b, const char* text, const char* file, int line) {
  if (!(a == b)) fail(file, line, std::string(text) + ": " + show(a) + " and " + show(b));
}

// The message of what `body` throws, which must be an Error and no other exception.
template <class Error, class F>
std::string thrown(F&& body, const char* file, int line) {
  try {
    body();
  } catch (const Error& e) {
    return e.what();
  } catch (const std::exception& e) {
    fail(file, line, std::string("threw something else: ") + e.what());
  }
  fail(file, line, "threw nothing");
}

}  // namespace check

#define TEST(name)                                             \
  static void test_##name();                                   \
  static const check::Register reg_##name(#name, test_##name); \
  static void test_##name()
#define CHECK(condition) \
  if (!(condition)) check::fail(__FILE__, __LINE__, #condition)
#define EQUAL(a, b) check::equal(a, b, #a " == " #b, __FILE__, __LINE__)
#define THROWN(Error, ...) check::thrown<Error>([&] { __VA_ARGS__; }, __FILE__, __LINE__)
#define CONTAINS(text, part)                             \
  if (std::string(text).find(part) == std::string::npos) \
  check::fail(__FILE__, __LINE__, "no \"" + std::string(part) + "\" in: " + std::string(text))
