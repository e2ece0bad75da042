// A 128-bit structural hash, fed 64 bits at a time. Not cryptographic; collisions of independent
// inputs are as unlikely as 2^-64 among 2^32 keys.
#pragma once

#include <cstdint>
#include <cstring>
#include <functional>
#include <string>

namespace lamina {

struct Hash128 {
  uint64_t lo = 0x9ae16a3b2f90404fULL;
  uint64_t hi = 0xc949d7c7509e6557ULL;

  void add(uint64_t v) {
    lo = mix(lo ^ v, 0x9e3779b97f4a7c15ULL);
    hi = mix(hi + v, 0xd6e8feb86659fd93ULL) ^ (lo >> 7);
  }
  void add(const std::string& s) {
    for (unsigned char c : s) add(uint64_t{c});
    add(s.size());
  }
  // Eight bytes at a time; not the hash of the same bytes as a string.
  void add_bytes(const void* data, size_t size) {
    const char* at = static_cast<const char*>(data);
    add(size);
    for (; size >= 8; at += 8, size -= 8) {
      uint64_t word;
      std::memcpy(&word, at, 8);
      add(word);
    }
    uint64_t rest = 0;
    std::memcpy(&rest, at, size);
    add(rest);
  }
  friend bool operator==(const Hash128&, const Hash128&) = default;
  std::string hex() const {
    static const char* digits = "0123456789abcdef";
    std::string out;
    for (uint64_t word : {hi, lo})
      for (int shift = 60; shift >= 0; shift -= 4) out += digits[(word >> shift) & 15];
    return out;
  }

 private:
  static uint64_t mix(uint64_t a, uint64_t b) {
    unsigned __int128 p = static_cast<unsigned __int128>(a ^ (a >> 32)) * b;
    return static_cast<uint64_t>(p) ^ static_cast<uint64_t>(p >> 64);
  }
};

}  // namespace lamina

template <>
struct std::hash<lamina::Hash128> {
  size_t operator()(const lamina::Hash128& h) const { return h.lo ^ h.hi; }
};
