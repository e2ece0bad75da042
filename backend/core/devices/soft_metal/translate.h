// From Metal's source to what the compiler of this machine takes: C++ for OpenCL, a language with
// the same address spaces, vectors and prohibitions, plus one entry function for each kernel.
//
// Input is preprocessed text. Lines keep their places, so that the compiler speaks of the user's.
#pragma once

#include <string>
#include <vector>

#include "devices/soft_metal/runtime.h"
#include "devices/soft_metal/tokens.h"

namespace lamina::soft_metal {

struct FunctionConstant {
  int index = 0;
  std::string name, type;
  bool optional = true;  // read only through is_function_constant_defined
};

struct KernelParameter {
  std::string name, type;  // as written
  std::string passed;      // the same type for the compiler, without a reference's &
  std::string attribute;   // "buffer", "threadgroup", "thread_position_in_grid", ...
  std::string condition;   // the constant of [[function_constant(..)]], or empty
  int index = -1;
  bool pointer = false, reference = false, written = false;
  Space space = Space::device;
};

struct ThreadgroupVariable {
  std::string name, type, dimensions;
};

struct KernelText {
  std::string host_name, qualified;
  std::string aliases;    // declarations that give template parameters their arguments
  std::string arguments;  // "<float, 4>" or empty
  std::vector<KernelParameter> parameters;
  std::vector<ThreadgroupVariable> variables;
  std::string hoisted;         // declarations in the body that the variables' types may need
  std::vector<int> constants;  // indices of the function constants it reaches
  int max_threads = 1024;
  bool communicates = false;
};

struct Translation {
  std::string text;
  std::vector<KernelText> kernels;
  std::vector<FunctionConstant> constants;
};

// `values` holds what the function constants are; one that is missing there gets 1, which makes
// text that can be looked at but not run. Throws Refusal for what MSL does not have.
Translation translate(const std::string& preprocessed, const ConstantValues& values, bool check);

// The declarations of a text, found without a parser.
struct Declaration {
  enum Kind : uint8_t { function, type, variable, other };
  Kind kind = other;
  size_t begin = 0, end = 0;  // tokens, end exclusive
  size_t name = 0, open = 0;  // function: its name and the ( of its parameters
  size_t body = 0;            // the {, or 0
  std::string scope;          // "a::b::"
};
std::vector<Declaration> declarations_of(const std::vector<Token>& tokens);

// The names that a kernel's body reaches, through functions and types of this text.
std::vector<std::string> reached_names(const std::vector<Token>& tokens,
                                       const std::vector<Declaration>& declarations,
                                       const Declaration& kernel);

// Brackets that close nothing or are never closed: the rest of the translation takes them for
// pairs.
void refuse_brackets(const std::vector<Token>& tokens);
// Functions that call themselves, directly or through others.
void refuse_recursion(const std::vector<Token>& tokens,
                      const std::vector<Declaration>& declarations);
// What this machine's compiler would take, and Metal's does not: casts of several values, atomic
// operations that are ordered, methods and arguments of structs where they cannot be.
void refuse_forms(const std::vector<Token>& tokens, const std::vector<Declaration>& declarations);

// Text that Metal does not have.
struct Refusal {
  std::string file;
  int line;
  std::string fact, fix;
};
[[noreturn]] void refuse(const Token& at, const std::string& fact, const std::string& fix);

}  // namespace lamina::soft_metal
