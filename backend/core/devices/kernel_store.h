// Compiled kernels on disk, shared by processes: one file a kernel, named by its key.
// LAMINA_CACHE_DIR names the folder, else it is lamina/kernels in the user's cache folder; an empty
// LAMINA_CACHE_DIR turns it off. A file that is damaged, or cannot be read or written, counts as
// absent.
#pragma once

#include <optional>
#include <string>

#include "base/hash.h"

namespace lamina {

class KernelStore {
 public:
  // `device` is the sub-folder.
  explicit KernelStore(const std::string& device);

  std::optional<std::string> read(const Hash128& key) const;
  // Atomic: other processes see no file or all of it.
  void write(const Hash128& key, const std::string& bytes) const noexcept;
  // Where `key` lies once written; the bytes stand at its start. "" where the store is off.
  std::string path(const Hash128& key) const;
  // Removes the files used longest ago until at most `bytes` are left.
  void trim(int64_t bytes) const noexcept;

 private:
  std::string folder_;  // "": off
  mutable int written_ = 0;
};

}  // namespace lamina
