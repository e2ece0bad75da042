// Libraries and pipelines, compiled once per text, function and values of function constants; the
// machine code of pipelines is kept on disk as archives of Metal's own, one a pipeline and never
// changed, where a store is given.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/hash.h"
#include "devices/kernel_store.h"
#include "devices/metal/host.h"

namespace lamina::metal {

// Immutable. Kept by whoever encodes it until the command buffer has completed.
class Pipeline {
 public:
  Pipeline(Host& host, Handle handle, std::string name, PipelineFacts facts)
      : host(host), handle(handle), name(std::move(name)), facts(facts) {}
  ~Pipeline() { host.release(handle); }
  Pipeline(const Pipeline&) = delete;
  Pipeline& operator=(const Pipeline&) = delete;

  Host& host;
  const Handle handle;
  const std::string name;
  const PipelineFacts facts;
};
using PipelineRef = std::shared_ptr<const Pipeline>;

// Thread safe.
class Pipelines {
 public:
  // `store` outlives this. `target`: all beside the text that decides what machine code is, or
  // whether it can be read again: system, driver, chip.
  explicit Pipelines(Host& host, const KernelStore* store = nullptr, std::string target = "")
      : host_(host), store_(store), target_(std::move(target)) {}
  ~Pipelines() { clear(); }

  // Throws DeviceError with the compiler's own words. `threads`: of the groups it will be launched
  // with; 0: not known.
  PipelineRef get(const std::string& source, const std::string& function, int threads = 0,
                  const std::vector<FunctionConstant>& constants = {});
  void clear();
  // Compilations so far, for the cache's tests and figures.
  int64_t libraries_made() const { return libraries_made_; }
  int64_t pipelines_made() const { return pipelines_made_; }
  // Of these, whose machine code came from disk.
  int64_t pipelines_found() const { return pipelines_found_; }

 private:
  struct Key {
    Hash128 hash;
    bool operator<(const Key& o) const {
      return hash.hi != o.hash.hi ? hash.hi < o.hash.hi : hash.lo < o.hash.lo;
    }
  };
  Handle library(const std::string& source, const std::string& function);
  Handle make(Handle library, PipelineRequest request, const Hash128& hash, PipelineFacts& facts,
              Failure& failure);
  Handle find(Handle library, PipelineRequest request, const Hash128& hash, PipelineFacts& facts);

  Host& host_;
  const KernelStore* store_;
  const std::string target_;
  std::mutex mutex_;
  std::map<Key, Handle> libraries_;
  std::map<Key, PipelineRef> pipelines_;
  int64_t libraries_made_ = 0, pipelines_made_ = 0, pipelines_found_ = 0;
};

}  // namespace lamina::metal
