// Files as the formats need them: mapped for reading, replaced whole when written.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/file_error.h"

namespace lamina {

// A file's bytes, mapped and unmapped with the last reference. Pages are read when they are first
// touched; what is written to them is never written to the file. Replacing the file (as FileWriter
// does) leaves a mapping intact; truncating it in place does not. Thread safe.
class MappedFile {
 public:
  // Throws FileError naming the file when it cannot be opened or mapped.
  static std::shared_ptr<const MappedFile> open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  unsigned char* data() const { return static_cast<unsigned char*>(data_); }
  int64_t size() const { return size_; }
  const std::string& path() const { return path_; }

 private:
  MappedFile(void* data, int64_t size, std::string path)
      : data_(data), size_(size), path_(std::move(path)) {}
  void* data_;
  int64_t size_;
  std::string path_;
};

// Where written bytes go; a Python file object is one too.
using ByteSink = std::function<void(const void* data, int64_t bytes)>;

// Writes beside `path` and takes its place on commit, so that a failure leaves the old file whole
// and arrays mapped from it stay valid. Without commit the destructor leaves nothing behind.
class FileWriter {
 public:
  explicit FileWriter(const std::string& path);  // ValueError when it cannot be created
  ~FileWriter() { discard(); }
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;

  void write(const void* data, int64_t bytes);  // ValueError when the disk is full, ...
  void commit();
  void discard() noexcept;  // what is not committed is gone

 private:
  [[noreturn]] void fail(const char* what);
  std::string path_, partial_;
  int descriptor_ = -1;
};

}  // namespace lamina
