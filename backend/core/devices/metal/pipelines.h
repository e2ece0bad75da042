// Libraries and pipelines, compiled once per text, function and values of function constants.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/hash.h"
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
  explicit Pipelines(Host& host) : host_(host) {}
  ~Pipelines() { clear(); }

  // Throws DeviceError with the compiler's own words. `threads`: of the groups it will be launched
  // with; 0: not known.
  PipelineRef get(const std::string& source, const std::string& function, int threads = 0,
                  const std::vector<FunctionConstant>& constants = {});
  void clear();
  // Compilations so far, for the cache's tests and figures.
  int64_t libraries_made() const { return libraries_made_; }
  int64_t pipelines_made() const { return pipelines_made_; }

 private:
  struct Key {
    Hash128 hash;
    bool operator<(const Key& o) const {
      return hash.hi != o.hash.hi ? hash.hi < o.hash.hi : hash.lo < o.hash.lo;
    }
  };
  Handle library(const std::string& source, const std::string& function);

  Host& host_;
  std::mutex mutex_;
  std::map<Key, Handle> libraries_;
  std::map<Key, PipelineRef> pipelines_;
  int64_t libraries_made_ = 0, pipelines_made_ = 0;
};

}  // namespace lamina::metal
