#include "io/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/error.h"

namespace lamina {
namespace {

// Some systems refuse single writes of 2 GiB and more.
constexpr int64_t kMaxWrite = int64_t{1} << 30;

std::string reason() { return std::strerror(errno); }

// The file a chain of symbolic links ends at, so that a link is written through, not replaced.
std::string resolved(const std::string& path) {
  char buffer[PATH_MAX];
  return realpath(path.c_str(), buffer) ? std::string(buffer) : path;
}

}  // namespace

std::shared_ptr<const MappedFile> MappedFile::open(const std::string& path) {
  int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) throw FileError("load: cannot open '" + path + "': " + reason());
  struct stat status;
  if (fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode)) {
    close(descriptor);
    throw FileError("load: '" + path + "' is not a regular file");
  }
  void* data = nullptr;
  // Writable because consumers of DLPack may write; private, so that the file stays as it is; and
  // without a reservation of memory, of which a file may be larger than there is.
  if (status.st_size > 0)
    data = mmap(nullptr, static_cast<size_t>(status.st_size), PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_NORESERVE, descriptor, 0);
  std::string why = reason();
  close(descriptor);
  if (data == MAP_FAILED) throw FileError("load: cannot map '" + path + "': " + why);
  return std::shared_ptr<const MappedFile>(new MappedFile(data, status.st_size, path));
}

MappedFile::~MappedFile() {
  if (data_) munmap(data_, static_cast<size_t>(size_));
}

FileWriter::FileWriter(const std::string& path) : path_(resolved(path)) {
  static std::atomic<int> serial{0};
  struct stat status;
  bool exists = stat(path_.c_str(), &status) == 0;
  if (exists && !S_ISREG(status.st_mode)) {
    // A pipe or a device is written, not replaced.
    descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CLOEXEC);
  } else {
    partial_ = path_ + ".partial-" + std::to_string(getpid()) + "-" + std::to_string(serial++);
    descriptor_ = ::open(partial_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (exists && descriptor_ >= 0) fchmod(descriptor_, status.st_mode & 07777);
  }
  if (descriptor_ < 0) throw FileError("save: cannot create '" + path + "': " + reason());
}

void FileWriter::discard() noexcept {
  if (descriptor_ < 0) return;
  close(descriptor_);
  descriptor_ = -1;
  if (!partial_.empty()) unlink(partial_.c_str());
}

void FileWriter::fail(const char* what) {
  throw FileError(std::string("save: cannot ") + what + " '" + path_ + "': " + reason());
}

void FileWriter::write(const void* data, int64_t bytes) {
  if (descriptor_ < 0) throw FileError("save: '" + path_ + "' is finished");
  const char* at = static_cast<const char*>(data);
  while (bytes > 0) {
    ssize_t done = ::write(descriptor_, at, static_cast<size_t>(std::min(bytes, kMaxWrite)));
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) fail("write");
    at += done;
    bytes -= done;
  }
}

void FileWriter::commit() {
  if (descriptor_ < 0) throw FileError("save: '" + path_ + "' is finished");
  // close reports delayed write errors of network file systems.
  int closed = close(descriptor_);
  descriptor_ = -1;
  if (closed != 0) {
    if (!partial_.empty()) unlink(partial_.c_str());
    fail("finish");
  }
  if (!partial_.empty() && std::rename(partial_.c_str(), path_.c_str()) != 0) {
    int why = errno;
    unlink(partial_.c_str());
    errno = why;
    fail("replace");
  }
}

}  // namespace lamina
