#include "check.h"
#include "rig.h"

namespace check {

std::map<std::string, Body>& cases() {
  static std::map<std::string, Body> all;
  return all;
}

void fail(const char* file, int line, const std::string& what) {
  std::cerr << file << ":" << line << ": " << what << "\n";
  std::_Exit(1);
}

}  // namespace check

// --list names the cases; a name runs that one.
int main(int count, char** words) {
  const std::string asked = count == 2 ? words[1] : "";
  if (asked == "--list") {
    for (auto& [name, body] : check::cases()) std::cout << name << "\n";
    return 0;
  }
  auto found = check::cases().find(asked);
  if (found == check::cases().end()) {
    std::cerr << "no case named " << asked << "\n";
    return 2;
  }
  register_kernels();
  found->second();
  // What a case expects to have violated, it takes.
  std::lock_guard lock(world().mutex);
  for (const std::string& text : world().violations) std::cerr << "violated: " << text << "\n";
  if (world().seen.live_objects)
    std::cerr << "leaked: " << world().seen.live_objects << " objects\n";
  return world().violations.empty() && world().seen.live_objects == 0 ? 0 : 1;
}
