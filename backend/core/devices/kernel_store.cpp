#include "devices/kernel_store.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <vector>

namespace lamina {

namespace fs = std::filesystem;

namespace {

constexpr int64_t kMaxBytes = int64_t{256} << 20;
constexpr int kTrimEvery = 64;
constexpr const char *kWithTrailer = ".bin", *kOfOthers = ".archive";

// Stands after the bytes, so that a loader that is given the file finds them at its start.
struct Trailer {
  char mark[8];
  uint64_t lo, hi;
};
constexpr char kMark[8] = {'l', 'a', 'm', 'i', 'n', 'a', 'K', '1'};

Trailer trailer_of(const std::string& bytes) {
  Hash128 h;
  h.add_bytes(bytes.data(), bytes.size());
  Trailer t;
  std::memcpy(t.mark, kMark, sizeof t.mark);
  t.lo = h.lo;
  t.hi = h.hi;
  return t;
}

std::string folder_of(const std::string& device) {
  if (const char* named = std::getenv("LAMINA_CACHE_DIR"))
    return *named ? (fs::path(named) / device).string() : "";
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  if (cache && *cache) return (fs::path(cache) / "lamina" / "kernels" / device).string();
  if (home && *home) return (fs::path(home) / ".cache" / "lamina" / "kernels" / device).string();
  return "";
}

}  // namespace

KernelStore::KernelStore(const std::string& device) : folder_(folder_of(device)) {}

std::string KernelStore::file(const Hash128& key, const char* suffix) const {
  return folder_.empty() ? "" : (fs::path(folder_) / (key.hex() + suffix)).string();
}
std::string KernelStore::path(const Hash128& key) const { return file(key, kWithTrailer); }

std::optional<std::string> KernelStore::read(const Hash128& key) const {
  if (folder_.empty()) return std::nullopt;
  std::ifstream in(path(key), std::ios::binary);
  if (!in) return std::nullopt;
  std::stringstream all;
  all << in.rdbuf();
  std::string bytes = std::move(all).str();
  if (bytes.size() < sizeof(Trailer)) return std::nullopt;
  Trailer found;
  std::memcpy(&found, bytes.data() + bytes.size() - sizeof found, sizeof found);
  bytes.resize(bytes.size() - sizeof found);
  Trailer want = trailer_of(bytes);
  if (std::memcmp(&found, &want, sizeof want) != 0) return std::nullopt;
  std::error_code ignored;
  fs::last_write_time(path(key), fs::file_time_type::clock::now(), ignored);
  return bytes;
}

void KernelStore::write(const Hash128& key, const std::string& bytes) const noexcept {
  if (folder_.empty()) return;
  put(path(key), [&](const std::string& to) {
    std::ofstream out(to, std::ios::binary | std::ios::trunc);
    Trailer t = trailer_of(bytes);
    out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    out.write(reinterpret_cast<const char*>(&t), sizeof t);
    return static_cast<bool>(out.flush());
  });
}

std::string KernelStore::find_file(const Hash128& key) const {
  const std::string path = file(key, kOfOthers);
  std::error_code absent;
  if (path.empty() || !fs::exists(path, absent)) return "";
  fs::last_write_time(path, fs::file_time_type::clock::now(), absent);
  return path;
}
void KernelStore::keep_file(const Hash128& key,
                            const std::function<bool(const std::string&)>& write) const {
  if (!folder_.empty()) put(file(key, kOfOthers), write);
}
void KernelStore::drop_file(const Hash128& key) const noexcept {
  std::error_code ignored;
  if (!folder_.empty()) fs::remove(file(key, kOfOthers), ignored);
}

void KernelStore::put(const std::string& path,
                      const std::function<bool(const std::string&)>& write) const {
  try {
    fs::create_directories(folder_);
    const std::string part = path + "." + std::to_string(getpid());
    if (!write(part)) {
      fs::remove(part);
      return;
    }
    fs::rename(part, path);
    if (++written_ % kTrimEvery == 0) trim(kMaxBytes);
  } catch (const std::exception&) {
    // A full or read-only disk costs compiling again, no more.
  }
}

void KernelStore::trim(int64_t bytes) const noexcept {
  try {
    struct File {
      fs::file_time_type used;
      int64_t size;
      fs::path path;
    };
    std::vector<File> files;
    int64_t total = 0;
    for (const auto& e : fs::directory_iterator(folder_)) {
      if (!e.is_regular_file()) continue;
      files.push_back({e.last_write_time(), static_cast<int64_t>(e.file_size()), e.path()});
      total += files.back().size;
    }
    std::sort(files.begin(), files.end(),
              [](const File& a, const File& b) { return a.used < b.used; });
    std::error_code ignored;
    for (const File& f : files) {
      if (total <= bytes) break;
      fs::remove(f.path, ignored);
      total -= f.size;
    }
  } catch (const std::exception&) {
    // Another process may be trimming the same folder.
  }
}

}  // namespace lamina
