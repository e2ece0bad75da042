// Between exceptions inside and statuses outside.
#pragma once

#include <string>

#include "base/error.h"
#include "capi/lamina.h"
#include "custom/custom.h"

namespace lamina::capi {

// Notes the message for last_error and returns the status.
lamina_status fail(lamina_status status, const char* message) noexcept;
const char* last_error() noexcept;
// The status of the exception in flight, its message noted.
lamina_status fail_in_flight() noexcept;
// Throws the error that the status stands for, unless it is LAMINA_OK. The message is what the
// callback noted since `forget_error`.
void check(const std::string& who, lamina_status status);
void forget_error() noexcept;

// Runs f; what it throws becomes a status.
template <class F>
lamina_status guarded(F&& f) noexcept {
  try {
    f();
    return LAMINA_OK;
  } catch (...) {
    return fail_in_flight();
  }
}

}  // namespace lamina::capi
