// Compiled kernels on disk, shared by processes: one file a kernel, named by its key.
// LAMINA_CACHE_DIR names the folder, else it is lamina/kernels in the user's cache folder; an empty
// LAMINA_CACHE_DIR turns it off. A file that is damaged, or cannot be read or written, counts as
// absent.
#pragma once

#include <functional>
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
  // The same for files that somebody else reads, writes and checks. "" where there is none, or the
  // store is off.
  std::string find_file(const Hash128& key) const;
  // `write` is given a path and says whether it has put a file there.
  void keep_file(const Hash128& key, const std::function<bool(const std::string&)>& write) const;
  void drop_file(const Hash128& key) const noexcept;
  // Removes the files used longest ago until at most `bytes` are left.
  void trim(int64_t bytes) const noexcept;

 private:
  std::string file(const Hash128& key, const char* suffix) const;
  void put(const std::string& path, const std::function<bool(const std::string&)>& write) const;

  std::string folder_;  // "": off
  mutable int written_ = 0;
};

}  // namespace lamina
