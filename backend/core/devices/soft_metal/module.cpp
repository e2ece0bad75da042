#include "devices/soft_metal/module.h"

#include <dlfcn.h>
#include <link.h>

#include <sstream>

#include "base/clock.h"
#include "base/hash.h"
#include "devices/soft_metal/diagnosis.h"
#include "devices/soft_metal/division.h"
#include "devices/soft_metal/kernel_text.h"
#include "devices/soft_metal/module_code.h"

namespace lamina::soft_metal {
namespace {

std::string key_of(const CompileJob& job, const ConstantValues& values) {
  Hash128 hash;
  hash.add(toolchain_key(job.check));
  hash.add(job.source);
  for (const auto& [name, value] : job.macros) {
    hash.add(name);
    hash.add(value);
  }
  auto add = [&](const ConstantValue& v) {
    hash.add(v.type);
    hash.add(std::string(v.bytes.begin(), v.bytes.end()));
  };
  for (const auto& [index, value] : values.by_index) {
    hash.add(static_cast<uint64_t>(index));
    add(value);
  }
  for (const auto& [name, value] : values.by_name) {
    hash.add(name);
    add(value);
  }
  return hash.hex();
}

template <class T>
T symbol(void* handle, const std::string& name) {
  void* at = dlsym(handle, name.c_str());
  if (!at) throw InternalError("soft_metal: a module has no " + name);
  return reinterpret_cast<T>(at);
}

void read_info(Module& m, const char* text) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream in(line);
    std::string word;
    in >> word;
    if (word == "constant") {
      FunctionConstant c;
      in >> c.index >> c.name >> std::ws;
      std::getline(in, c.type);
      m.constants.push_back(c);
    } else if (word == "kernel") {
      KernelInfo k;
      in >> k.max_threads >> k.communicates >> std::ws;
      std::getline(in, k.name);
      m.kernels.push_back(k);
    } else if (word == "variable") {
      in >> m.kernels.back().variables.emplace_back().name;
    } else if (word == "needs") {
      m.kernels.back().constants.emplace_back();
      in >> m.kernels.back().constants.back();
    } else if (word == "argument") {
      Argument a{};
      int space = 0;
      in >> space >> a.index >> a.written >> a.reference >> a.name >> std::ws;
      std::getline(in, a.type);
      a.space = static_cast<Space>(space);
      m.kernels.back().arguments.push_back(a);
    }
  }
}

// Sizes as this machine's compiler sees them; arguments behind a false function constant go.
void reflect(Module& m, size_t id) {
  KernelInfo& k = m.kernels[id];
  std::string number = std::to_string(id);
  k.thread = symbol<Entry>(m.handle, "lm_thread_" + number);
  k.plain = symbol<Entry>(m.handle, "lm_plain_" + number);
  std::vector<uint64_t> out(k.arguments.size() * 3 + k.variables.size() * 2 + 1);
  symbol<void (*)(uint64_t*)>(m.handle, "lm_reflect_" + number)(out.data());
  const uint64_t* at = out.data();
  std::vector<Argument> present;
  for (Argument& a : k.arguments) {
    a.element_bytes = static_cast<int64_t>(at[0]);
    a.alignment = static_cast<int64_t>(at[1]);
    if (at[2]) present.push_back(a);
    at += 3;
  }
  k.arguments = std::move(present);
  for (KernelInfo::Variable& v : k.variables) {
    v.bytes = static_cast<int64_t>(at[0]);
    v.alignment = static_cast<int64_t>(at[1]);
    at += 2;
  }
}

// Where the module lies in memory: its tables of constants may be read.
void find_bounds(Module& m) {
  auto visit = [](dl_phdr_info* info, size_t, void* data) {
    auto& module = *static_cast<Module*>(data);
    auto inside = reinterpret_cast<uintptr_t>(dlsym(module.handle, "lm_calls"));
    uintptr_t low = UINTPTR_MAX, high = 0;
    for (int i = 0; i < info->dlpi_phnum; ++i) {
      const auto& p = info->dlpi_phdr[i];
      if (p.p_type != PT_LOAD) continue;
      low = std::min<uintptr_t>(low, info->dlpi_addr + p.p_vaddr);
      high = std::max<uintptr_t>(high, info->dlpi_addr + p.p_vaddr + p.p_memsz);
    }
    if (inside < low || inside >= high) return 0;
    module.begin = low;
    module.end = high;
    return 1;
  };
  dl_iterate_phdr(visit, &m);
}

std::shared_ptr<Module> open(const std::string& path, bool check) {
  // Kernels call the C library's mathematics; not every program has it in reach.
  static void* mathematics = dlopen("libm.so.6", RTLD_NOW | RTLD_GLOBAL);
  (void)mathematics;
  auto m = std::make_shared<Module>();
  m->check = check;
  m->handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!m->handle)
    throw DeviceError(std::string("soft_metal: cannot load a compiled kernel: ") + dlerror() +
                      "\n  remove the folder it is in: the cache is made anew");
  *symbol<const Calls**>(m->handle, "lm_calls") = &machine_calls();
  m->blocks = *symbol<uint32_t*>(m->handle, "lm_blocks");
  find_bounds(*m);
  catch_divisions();
  add_module_code(reinterpret_cast<void*>(m->begin), reinterpret_cast<void*>(m->end));
  read_info(*m, symbol<const char*>(m->handle, "lm_info"));
  for (size_t id = 0; id < m->kernels.size(); ++id) reflect(*m, id);
  return m;
}

Translation translated(const std::string& text, const CompileJob& job,
                       const ConstantValues& values) {
  try {
    return translate(text, values, job.check);
  } catch (const Refusal& refusal) {
    throw RuleError(Rule::compile, diagnosis(refusal, job.source));
  }
}

}  // namespace

Module::~Module() {
  if (!handle) return;
  remove_module_code(reinterpret_cast<void*>(begin));
  dlclose(handle);
}

std::shared_ptr<const Module> load_module(const CompileJob& job, const ConstantValues& values) {
  std::string key = key_of(job, values), path = cached(key);
  double ms = 0;
  if (path.empty()) {
    int64_t start = now_ns();
    const std::string text = preprocess(job);
    Translation translation = translated(text, job, values);
    path = build(translation.text + entry_text(translation), job.source, key, job.check);
    ms = static_cast<double>(now_ns() - start) * 1e-6;
  }
  std::shared_ptr<Module> m = open(path, job.check);
  m->compile_ms = ms;
  return m;
}

}  // namespace lamina::soft_metal
