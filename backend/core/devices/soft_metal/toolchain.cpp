#include "devices/soft_metal/toolchain.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <mutex>
#include <sstream>

#include "base/hash.h"
#include "devices/soft_metal/diagnosis.h"
#include "devices/soft_metal/prelude.h"
#include "devices/soft_metal/runtime.h"

extern char** environ;

namespace lamina::soft_metal {
namespace {

namespace fs = std::filesystem;

std::mutex settings_mutex;
std::string compiler_path, cache_path;
std::function<std::string()> compiler_finder;

#if defined(__x86_64__)
constexpr const char* kTarget = "x86_64-linux-gnu";
#else
constexpr const char* kTarget = "aarch64-linux-gnu";
#endif

// LAMINA_CACHE_DIR, else the user's cache folder. The loader wants files: with the cache off (an
// empty LAMINA_CACHE_DIR) they lie among the temporary ones.
fs::path cache_folder() {
  std::string path;
  {
    std::lock_guard lock(settings_mutex);
    path = cache_path;
  }
  const char* set = std::getenv("LAMINA_CACHE_DIR");
  const char* caches = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  if (set && *set)
    path = set;
  else if (set || (path.empty() && !caches && !home))
    path = fs::temp_directory_path() / ("lamina-" + std::to_string(getuid()));
  else if (path.empty())
    path = caches ? std::string(caches) + "/lamina" : std::string(home) + "/.cache/lamina";
  fs::path folder = fs::path(path) / "soft_metal";
  std::error_code error;
  fs::create_directories(folder, error);
  if (error)
    throw DeviceError("soft_metal: cannot make its cache folder " + folder.string() + ": " +
                      error.message() + "\n  set LAMINA_CACHE_DIR to a folder that can be written");
  return folder;
}

std::string read(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream out;
  out << in.rdbuf();
  return out.str();
}

void write(const fs::path& path, const std::string& text) {
  std::ofstream out(path, std::ios::binary);
  out << text;
  if (!out.flush())
    throw DeviceError("soft_metal: cannot write " + path.string() + ": " + std::strerror(errno));
}

// Files of one compilation; gone with it.
class Scratch {
 public:
  Scratch() {
    static std::atomic<uint64_t> next{0};
    folder_ = cache_folder() / ("tmp-" + std::to_string(getpid()) + "-" + std::to_string(next++));
    fs::create_directories(folder_);
  }
  ~Scratch() {
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
  }
  std::string operator/(const std::string& name) const { return (folder_ / name).string(); }

 private:
  fs::path folder_;
};

// Runs the compiler; false and its messages when it fails.
bool run(const std::vector<std::string>& arguments, const std::string& log, std::string& messages) {
  std::string program = compiler();
  if (program.empty())
    throw DeviceError(
        "soft_metal: no compiler for kernels\n  pip install \"lamina[softmetal]\", or set "
        "LAMINA_ZIG "
        "to the path of the zig program");
  std::vector<char*> argv{program.data()};
  for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  pid_t pid = 0;
  int error = posix_spawn(&pid, program.c_str(), &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0)
    throw DeviceError("soft_metal: cannot start the compiler " + program + ": " +
                      std::strerror(error) + "\n  check LAMINA_ZIG");
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  messages = read(log);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

std::vector<std::string> options(bool check) {
  std::vector<std::string> out{
      "clang", "-x", "clcpp", "-cl-std=clc++2021", "-cl-no-stdinc", "-cl-single-precision-constant",
      "-target", kTarget, "-fPIC", "-march=native", "-fno-strict-float-cast-overflow",
      "-fno-strict-aliasing", "-fno-delete-null-pointer-checks",
      // A loop without end is one, and not a way out of the function.
      "-fno-finite-loops", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=on",
      "-fsigned-char", "-Xclang", "-cl-ext=-cl_khr_fp64,-__opencl_c_fp64", "-Wall", "-Wno-unused",
      "-Wno-unknown-attributes", "-Wno-unknown-pragmas", "-Wno-ignored-attributes",
      "-Wno-missing-braces", "-Wno-unused-const-variable", "-Wimplicit-float-conversion",
      "-Wno-pass-failed", "-fno-caret-diagnostics", "-ferror-limit=10",
      "-Wframe-larger-than=" + std::to_string(limits().private_bytes)};
  if (!check) {
    out.insert(out.end(), {"-O2", "-DLM_CHECK=0"});
    return out;
  }
  out.insert(out.end(), {"-O1", "-DLM_CHECK=1"});
  for (const char* o : {"-fsanitize-coverage-type=3", "-fsanitize-coverage-trace-pc-guard",
                        "-fsanitize=kernel-address"})
    out.insert(out.end(), {"-Xclang", o});
  for (const char* o :
       {"-asan-instrumentation-with-call-threshold=0", "-asan-stack=0", "-asan-globals=0",
        "-asan-opt=0", "-asan-instrument-atomics=0", "-asan-kernel-mem-intrinsic-prefix=1"})
    out.insert(out.end(), {"-mllvm", o});
  return out;
}

// A module calls its own glue, whatever else the process has under those names: a sanitizer has.
const std::vector<std::string>& link_options() {
  static const auto* options = new std::vector<std::string>{"-shared", "-Bsymbolic"};
  return *options;
}

std::string prelude_text() {
  return std::string(kPreludeTypes) + kPreludeMath + kPreludeAtomics + kPreludeLanes;
}

std::string fresh_toolchain_key(const std::string& program, bool check) {
  // Of what the translator makes of a text: raised when that changes.
  constexpr uint64_t kTranslator = 2;
  Hash128 hash;
  hash.add(kTranslator);
  hash.add(prelude_text() + kPreludeMacros + kGlue);
  for (const std::string& o : options(check)) hash.add(o);
  for (const std::string& o : link_options()) hash.add(o);
  struct stat file {};
  if (stat(program.c_str(), &file) == 0) {
    hash.add(static_cast<uint64_t>(file.st_size));
    hash.add(static_cast<uint64_t>(file.st_mtime));
  }
  // -march=native: a module is for the processor it was made on.
  std::ifstream cpu("/proc/cpuinfo");
  for (std::string line; std::getline(cpu, line) && !line.empty();)
    if (line.rfind("model name", 0) == 0 || line.rfind("flags", 0) == 0 ||
        line.rfind("Features", 0) == 0)
      hash.add(line);
  return hash.hex();
}

// A file of the cache, made once by whoever comes first; make(path) writes to another name.
template <class Make>
std::string cache_file(const std::string& name, Make&& make) {
  static std::mutex mutex;
  fs::path path = cache_folder() / name;
  if (fs::exists(path)) return path.string();
  std::lock_guard lock(mutex);
  if (fs::exists(path)) return path.string();
  Scratch scratch;
  std::string fresh = scratch / name;
  make(fresh, scratch);
  fs::rename(fresh, path);
  return path.string();
}

void must(const std::vector<std::string>& arguments, const std::string& log) {
  std::string messages;
  if (!run(arguments, log, messages)) throw InternalError("soft_metal's prelude: " + messages);
}

std::string prelude_source() {
  Hash128 hash;
  hash.add(prelude_text());
  return cache_file("prelude-" + hash.hex() + ".cl",
                    [](const std::string& path, const Scratch&) { write(path, prelude_text()); });
}

// The prelude, parsed once: most of a compilation's time otherwise.
std::string prelude_parsed(bool check) {
  return cache_file("prelude-" + toolchain_key(check) + ".pch", [&](const std::string& path,
                                                                    const Scratch& scratch) {
    std::vector<std::string> args = options(check);
    args.insert(args.end(), {"-Xclang", "-emit-pch", "-Xclang", "-fno-pch-timestamp", "-c",
                             prelude_source(), "-o", path});
    must(args, scratch / "log");
  });
}

std::string glue_object() {
  return cache_file(
      "glue-" + toolchain_key(true) + ".o", [](const std::string& path, const Scratch& scratch) {
        write(scratch / "glue.c", kGlue);
        must({"clang", "-x", "c", "-std=c2x", "-O2", "-fPIC", "-target", kTarget, "-march=native",
              "-ffreestanding", "-c", scratch / "glue.c", "-o", path},
             scratch / "log");
      });
}

std::string macros_header() {
  Hash128 hash;
  hash.add(std::string(kPreludeMacros));
  return cache_file("macros-" + hash.hex() + ".h",
                    [](const std::string& path, const Scratch&) { write(path, kPreludeMacros); });
}

}  // namespace

void set_compiler_finder(std::function<std::string()> finder) {
  std::lock_guard lock(settings_mutex);
  compiler_finder = std::move(finder);
}

std::string compiler() {
  if (const char* set = std::getenv("LAMINA_ZIG")) return set;
  std::function<std::string()> find;
  {
    std::lock_guard lock(settings_mutex);
    if (!compiler_path.empty() || !compiler_finder) return compiler_path;
    find = compiler_finder;
  }
  // Outside of the lock: it takes the interpreter's.
  std::string path = find();
  std::lock_guard lock(settings_mutex);
  return compiler_path = path;
}

void set_cache_folder(const std::string& path) {
  std::lock_guard lock(settings_mutex);
  cache_path = path;
}

std::string toolchain_key(bool check) {
  static std::mutex mutex;
  static std::map<std::pair<std::string, bool>, std::string> known;
  std::string program = compiler();
  std::lock_guard lock(mutex);
  std::string& key = known[{program, check}];
  if (key.empty()) key = fresh_toolchain_key(program, check);
  return key;
}

std::string preprocess(const CompileJob& job) {
  Scratch scratch;
  write(scratch / "program_source", without_includes(job.source));
  std::vector<std::string> args{"clang",    "-x",           "c++",       "-std=c++17",
                                "-E",       "-undef",       "-nostdinc", "-fno-caret-diagnostics",
                                "-include", macros_header()};
  for (const auto& [name, value] : job.macros) args.push_back("-D" + name + "=" + value);
  args.insert(args.end(), {scratch / "program_source", "-o", scratch / "out"});
  std::string messages;
  const std::string file = scratch / "program_source";
  bool done = run(args, scratch / "log", messages);
  auto rename = [&](std::string text) {
    for (size_t at = 0; (at = text.find(file, at)) != std::string::npos;)
      text.replace(at, file.size(), "program_source");
    return text;
  };
  if (!done) throw RuleError(Rule::compile, diagnosis(rename(messages), job.source));
  return rename(read(scratch / "out"));
}

std::string cached(const std::string& key) {
  fs::path path = cache_folder() / (key + ".so");
  return fs::exists(path) ? path.string() : "";
}

std::string build(const std::string& text, const std::string& original, const std::string& key,
                  bool check) {
  Scratch scratch;
  write(scratch / "kernel.cl", text);
  std::vector<std::string> args = options(check);
  args.insert(args.end(), {"-Xclang", "-include-pch", "-Xclang", prelude_parsed(check), "-c",
                           scratch / "kernel.cl", "-o", scratch / "kernel.o"});
  std::string messages;
  bool done = run(args, scratch / "log", messages);
  std::string errors = diagnosis(messages, original);
  if (!errors.empty()) throw RuleError(Rule::compile, errors);
  refuse_private_memory(messages, original);
  if (!done) throw RuleError(Rule::compile, messages);
  fs::path target = cache_folder() / (key + ".so");
  std::vector<std::string> link{"ld.lld"};
  link.insert(link.end(), link_options().begin(), link_options().end());
  link.insert(link.end(), {"-o", scratch / "kernel.so", scratch / "kernel.o", glue_object()});
  if (!run(link, scratch / "log", messages))
    throw InternalError("soft_metal's linker: " + messages);
  fs::rename(scratch / "kernel.so", target);
  return target.string();
}

}  // namespace lamina::soft_metal
