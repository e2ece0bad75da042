#include "devices/cuda/nvrtc.h"

#include <algorithm>
#include <set>
#include <sstream>
#include <vector>

#include "base/error.h"
#include "devices/cuda/driver.h"

namespace lamina::cuda {

namespace {

// Nothing is relaxed. A program's own text says __device__ nowhere.
const char* const kFlags[] = {"--std=c++17", "--ftz=false", "--prec-div=true", "--prec-sqrt=true",
                              "--device-as-default-execution-space"};

void require(int result, const char* what) {
  if (result != 0)
    throw DeviceError(std::string("cuda: NVRTC: ") + what + ": " + compiler().error_text(result));
}

// The lines that messages of the form "name(12): error: ..." speak of.
std::string quoted_lines(const std::string& source, const std::string& log,
                         const std::string& file) {
  std::set<size_t> wanted;
  const std::string mark = file + "(";
  for (size_t at = log.find(mark); at != std::string::npos; at = log.find(mark, at + 1))
    wanted.insert(std::strtoul(log.c_str() + at + mark.size(), nullptr, 10));
  std::string out, line;
  std::istringstream in(source);
  for (size_t number = 1; std::getline(in, line); ++number)
    if (wanted.count(number)) out += "\n  " + std::to_string(number) + " | " + line;
  return out;
}

// The compiler's messages with the places in a program's own text, which `#line` names, as other
// compilers write them: name:12: in place of name(12):.
std::string with_own_places(const std::string& source, const std::string& log) {
  std::set<std::string> own;
  std::string line, out;
  for (std::istringstream in(source); std::getline(in, line);)
    if (const size_t quote = line.find('"'); line.rfind("#line ", 0) == 0 && quote < line.size())
      own.insert(line.substr(quote + 1, line.rfind('"') - quote - 1));
  for (std::istringstream in(log); std::getline(in, line);) {
    const size_t open = line.find('('), close = line.find("): ");
    const bool place = open < close && close != std::string::npos && close > open + 1 &&
                       line.find_first_not_of("0123456789", open + 1) == close;
    if (place && own.count(line.substr(0, open)))
      line = line.substr(0, open) + ":" + line.substr(open + 1, close - open - 1) +
             line.substr(close + 1);
    out += (out.empty() ? "" : "\n") + line;
  }
  return out;
}

}  // namespace

Target target_for(int compute_capability) {
  int count = 0;
  require(compiler().arch_count(&count), "nvrtcGetNumSupportedArchs");
  std::vector<int> known(static_cast<size_t>(count));
  require(compiler().archs(known.data()), "nvrtcGetSupportedArchs");
  if (std::find(known.begin(), known.end(), compute_capability) != known.end())
    return {"sm_" + std::to_string(compute_capability), true};
  int best = 0;
  for (int a : known)
    if (a <= compute_capability) best = std::max(best, a);
  if (!best)
    throw DeviceError("cuda: this NVRTC knows no architecture as old as compute capability " +
                      std::to_string(compute_capability / 10) + "." +
                      std::to_string(compute_capability % 10));
  return {"compute_" + std::to_string(best), false};
}

std::string compile_options(const Target& target) {
  int major = 0, minor = 0;
  require(compiler().version(&major, &minor), "nvrtcVersion");
  std::string out =
      "NVRTC " + std::to_string(major) + "." + std::to_string(minor) + " " + target.architecture;
  for (const char* flag : kFlags) out += std::string(" ") + flag;
  return out;
}

std::string compile(const TextKernel& kernel, const Target& target) {
  const Compiler& c = compiler();
  const std::string file = kernel.name + ".cu";
  Program program = nullptr;
  require(c.create(&program, kernel.source.c_str(), file.c_str(), 0, nullptr, nullptr),
          "nvrtcCreateProgram");
  struct Owner {
    Program program;
    ~Owner() { compiler().destroy(&program); }
  } owner{program};
  const std::string architecture = "--gpu-architecture=" + target.architecture;
  std::vector<const char*> options{architecture.c_str()};
  options.insert(options.end(), std::begin(kFlags), std::end(kFlags));
  // A difference of equal products is zero, and a result depends on no neighbour in its text.
  options.push_back(kernel.contracts ? "--fmad=true" : "--fmad=false");
  int result = c.compile(program, static_cast<int>(options.size()), options.data());
  if (result != 0) {
    size_t size = 0;
    c.log_size(program, &size);
    std::string log(size, '\0');
    if (size) c.log(program, log.data());
    while (!log.empty() && (log.back() == '\0' || log.back() == '\n')) log.pop_back();
    throw DeviceError("cuda: kernel " + kernel.name + " does not compile (" + c.error_text(result) +
                      ")\n" + with_own_places(kernel.source, log) +
                      quoted_lines(kernel.source, log, file));
  }
  size_t size = 0;
  require(target.machine_code ? c.cubin_size(program, &size) : c.ptx_size(program, &size),
          "size of the compiled kernel");
  std::string image(size, '\0');
  require(target.machine_code ? c.cubin(program, image.data()) : c.ptx(program, image.data()),
          "the compiled kernel");
  return image;
}

}  // namespace lamina::cuda
