#include "devices/metal/host.h"

namespace lamina::metal {

namespace {
// Written by a static initialiser of host.mm, so it must need none itself.
constinit HostFactory provided = nullptr;
}  // namespace

void provide_host(HostFactory factory) { provided = factory; }
HostFactory host_factory() { return provided; }

// Never destroyed: arrays held by static objects release their memory after main().
Host* system_host() {
  static Host* host = provided ? provided() : nullptr;
  return host;
}

}  // namespace lamina::metal
