#include "devices/metal/pipelines.h"

#include "base/error.h"

namespace lamina::metal {

namespace {

std::string sentence(const std::string& head, const Failure& failure) {
  std::string out = head + ": " + failure.text;
  if (!failure.domain.empty())
    out += " (" + failure.domain + " " + std::to_string(failure.code) + ")";
  return out;
}

}  // namespace

Handle Pipelines::library(const std::string& source, const std::string& function) {
  Key key;
  key.hash.add(source);
  auto found = libraries_.find(key);
  if (found != libraries_.end()) return found->second;
  Failure failure;
  Handle made = host_.new_library(source, failure);
  if (!made)
    throw DeviceError(sentence("metal: kernel " + function + ": does not compile", failure));
  ++libraries_made_;
  return libraries_[key] = made;
}

// From disk, or null: never written, damaged, or of another driver.
Handle Pipelines::find(Handle library, PipelineRequest request, const Hash128& hash,
                       PipelineFacts& facts) {
  const std::string path = store_->find_file(hash);
  if (path.empty()) return nullptr;
  Failure useless;
  request.archive = host_.new_archive(path, useless);
  request.found_only = true;
  Handle made = request.archive ? host_.new_pipeline(library, request, facts, useless) : nullptr;
  if (request.archive) host_.release(request.archive);
  if (made)
    ++pipelines_found_;
  else
    store_->drop_file(hash);
  return made;
}

// What was compiled into an archive is not compiled again for the pipeline. An archive that cannot
// be made or written costs the next process a compilation, no more.
Handle Pipelines::make(Handle library, PipelineRequest request, const Hash128& hash,
                       PipelineFacts& facts, Failure& failure) {
  if (!store_) return host_.new_pipeline(library, request, facts, failure);
  if (Handle found = find(library, request, hash, facts)) return found;
  Failure useless;
  Handle archive = host_.new_archive("", useless);
  if (archive && host_.add_to_archive(archive, library, request, useless)) {
    request.archive = archive;
    store_->keep_file(
        hash, [&](const std::string& path) { return host_.write_archive(archive, path, useless); });
  }
  Handle made = host_.new_pipeline(library, request, facts, failure);
  if (archive) host_.release(archive);
  return made;
}

PipelineRef Pipelines::get(const std::string& source, const std::string& function, int threads,
                           const std::vector<FunctionConstant>& constants) {
  Key key;
  key.hash.add(target_);
  key.hash.add(source);
  key.hash.add(function);
  key.hash.add(static_cast<uint64_t>(threads));
  for (const FunctionConstant& c : constants) {
    key.hash.add(static_cast<uint64_t>(c.index));
    key.hash.add(static_cast<uint64_t>(c.type));
    key.hash.add(uint64_t{c.bits});
  }
  std::lock_guard lock(mutex_);
  auto found = pipelines_.find(key);
  if (found != pipelines_.end()) return found->second;
  PipelineFacts facts;
  Failure failure;
  PipelineRequest request{function, constants, threads};
  Handle handle = make(library(source, function), request, key.hash, facts, failure);
  if (!handle) throw DeviceError(sentence("metal: kernel " + function + ": no pipeline", failure));
  auto made = std::make_shared<const Pipeline>(host_, handle, function, facts);
  // A driver that gives such a pipeline drops its dispatches without a word.
  if (facts.max_threads < std::max(threads, 1) || facts.simd_width <= 0)
    throw DeviceError("metal: kernel " + function + ": no pipeline for groups of " +
                      std::to_string(threads) + " threads: at most " +
                      std::to_string(facts.max_threads) + " of SIMD width " +
                      std::to_string(facts.simd_width));
  ++pipelines_made_;
  return pipelines_[key] = std::move(made);
}

void Pipelines::clear() {
  std::lock_guard lock(mutex_);
  pipelines_.clear();
  for (auto& [key, handle] : libraries_) host_.release(handle);
  libraries_.clear();
}

}  // namespace lamina::metal
