// The double of NVRTC: the text becomes a shared library through the machine's C++ compiler, with
// simt.h in front. Messages have NVRTC's form: name.cu(12): error: ...
#include <unistd.h>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <string>

#define DOUBLE extern "C" __attribute__((visibility("default")))

namespace {

namespace fs = std::filesystem;

struct Text {
  std::string source, name, log, code;
};

std::string read(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// Machine instructions that the text may contain, and their meaning.
std::string without_assembly(std::string s) {
  const char* const known[][2] = {
      {R"(asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));)", "bits = simt_half_bits(x);"},
      {R"(asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(bits));)", "x = simt_half_value(bits);"},
      {R"(asm volatile("griddepcontrol.launch_dependents; griddepcontrol.wait;" ::: "memory"))",
       "(void)0"},
      {R"(asm volatile("atom.acq_rel.gpu.global.inc.u32 %0, [%1], %2;" : "=r"(before) : "l"(turns + k), "r"(count - 1) : "memory");)",
       "before = atomicInc(turns + k, count - 1);"},
      {R"(asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x));)", "bits = simt_bfloat_bits(x);"},
  };
  for (auto& [from, to] : known)
    for (size_t at; (at = s.find(from)) != std::string::npos;)
      s.replace(at, std::string(from).size(), to);
  // C++ has no arrays of a size that the launch decides.
  static const std::regex dynamic(R"(extern\s+__shared__\s+(\w[\w ]*?)\s+(\w+)\s*\[\s*\]\s*;)");
  return std::regex_replace(s, dynamic, "$1* $2 = reinterpret_cast<$1*>(simt_dynamic);");
}

std::string entry_of(const std::string& source) {
  static const std::regex head(
      R"(__global__\s+void\s+(?:__launch_bounds__\([^)]*\)\s*)?(\w+)\s*\()");
  std::smatch m;
  return std::regex_search(source, m, head) ? m[1].str() : "";
}

}  // namespace

DOUBLE int nvrtcVersion(int* major, int* minor) {
  *major = 0, *minor = 1;
  return 0;
}
DOUBLE int nvrtcGetNumSupportedArchs(int* n) {
  *n = 1;
  return 0;
}
DOUBLE int nvrtcGetSupportedArchs(int* out) {
  *out = 90;
  return 0;
}
DOUBLE int nvrtcCreateProgram(Text** out, const char* source, const char* name, int,
                              const char* const*, const char* const*) {
  *out = new Text{source, name, "", ""};
  return 0;
}
DOUBLE int nvrtcDestroyProgram(Text** t) {
  delete *t;
  *t = nullptr;
  return 0;
}
DOUBLE int nvrtcCompileProgram(Text* t, int, const char* const*) {
  std::string pattern = (fs::temp_directory_path() / "lamina-nvrtc-XXXXXX").string();
  fs::path folder = mkdtemp(pattern.data());
  const char* here = std::getenv("LAMINA_CUDA_DOUBLE");
  const std::string entry = entry_of(t->source);
  {
    std::ofstream out(folder / "text.cpp");
    out << "#include \"" << (here ? here : ".") << "/simt.h\"\n#line 1 \"" << t->name << "\"\n"
        << without_assembly(t->source) << "\n";
    if (!entry.empty())
      out << "extern \"C\" __attribute__((visibility(\"default\"))) void simt_call(void** at) {\n"
          << "  decltype(simt_call_of(&" << entry << "))::run(&" << entry << ", at);\n}\n"
          << "extern \"C\" __attribute__((visibility(\"default\"))) int simt_parameters(size_t* n) "
             "{\n"
          << "  return simt_sizes(&" << entry << ", n);\n}\n"
          << "extern \"C\" __attribute__((visibility(\"default\"))) int simt_meets = "
          << (t->source.find("__syncthreads") != std::string::npos ||
              t->source.find("__shfl") != std::string::npos ||
              t->source.find("__ballot") != std::string::npos ||
              t->source.find("__syncwarp") != std::string::npos)
          << ";\n";
  }
  const char* cxx = std::getenv("CXX");
  const std::string command =
      std::string(cxx ? cxx : "c++") +
      " -std=c++17 -O1 -w -fPIC -shared -ffp-contract=off -fno-strict-aliasing -fsigned-char "
      "-fvisibility=hidden -o " +
      (folder / "text.so").string() + " " + (folder / "text.cpp").string() + " > " +
      (folder / "log").string() + " 2>&1";
  const int status = std::system(command.c_str());
  // Of any file, the program's own names included.
  static const std::regex place(
      R"((^|\n)([^\n:]+):(\d+):(?:\d+:)? (fatal error|error|warning|note): )");
  t->log = std::regex_replace(read(folder / "log"), place, "$1$2($3): $4: ");
  if (status == 0) t->code = read(folder / "text.so");
  fs::remove_all(folder);
  return status == 0 ? 0 : 6;
}
DOUBLE int nvrtcGetProgramLogSize(Text* t, size_t* n) {
  *n = t->log.size() + 1;
  return 0;
}
DOUBLE int nvrtcGetProgramLog(Text* t, char* out) {
  t->log.copy(out, t->log.size());
  out[t->log.size()] = 0;
  return 0;
}
DOUBLE int nvrtcGetPTXSize(Text*, size_t* n) {
  *n = 0;
  return 0;
}
DOUBLE int nvrtcGetPTX(Text*, char*) { return 0; }
DOUBLE int nvrtcGetCUBINSize(Text* t, size_t* n) {
  *n = t->code.size();
  return 0;
}
DOUBLE int nvrtcGetCUBIN(Text* t, char* out) {
  t->code.copy(out, t->code.size());
  return 0;
}
DOUBLE const char* nvrtcGetErrorString(int e) { return e == 6 ? "NVRTC_ERROR_COMPILATION" : "?"; }
