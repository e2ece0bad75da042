// The compiler of kernels (clang, from the wheel `ziglang`) and the cache of what it made.
#pragma once

#include <string>
#include <vector>

namespace lamina::soft_metal {

// What is compiled: Metal source to preprocess, or translated text to make a module of.
struct CompileJob {
  std::string source;
  std::vector<std::pair<std::string, std::string>> macros;
  bool check = true;
};

// Metal source with its macros expanded. Throws RuleError(compile) or DeviceError.
std::string preprocess(const CompileJob& job);

// A shared object of translated text, at its place in the cache. Throws RuleError(compile) with the
// compiler's messages in the user's terms and, for each, the line of `original` it speaks of.
std::string build(const std::string& text, const std::string& original, const std::string& key,
                  bool check);

// Where the cache has the module of this key, or empty. A key is 32 hexadecimal digits.
std::string cached(const std::string& key);

// What every module depends on besides its source: compiler, prelude, options, processor.
std::string toolchain_key(bool check);

}  // namespace lamina::soft_metal
