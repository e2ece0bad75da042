#include "capi/status.h"

#include <new>

namespace lamina::capi {

namespace {

std::string& message_of_thread() {
  thread_local std::string message;
  return message;
}

}  // namespace

lamina_status fail(lamina_status status, const char* message) noexcept {
  try {
    message_of_thread() = message ? message : "";
  } catch (...) {
    message_of_thread().clear();  // no memory for the words; the status still says what
  }
  return status;
}

const char* last_error() noexcept { return message_of_thread().c_str(); }

void forget_error() noexcept { message_of_thread().clear(); }

lamina_status fail_in_flight() noexcept {
  try {
    throw;
  } catch (const OutOfMemory& e) {
    return fail(LAMINA_ERROR_MEMORY, e.what());
  } catch (const ShapeError& e) {
    return fail(LAMINA_ERROR_SHAPE, e.what());
  } catch (const ValueError& e) {
    return fail(LAMINA_ERROR_VALUE, e.what());
  } catch (const DtypeError& e) {
    return fail(LAMINA_ERROR_DTYPE, e.what());
  } catch (const IndexError& e) {
    return fail(LAMINA_ERROR_INDEX, e.what());
  } catch (const DeviceError& e) {
    return fail(LAMINA_ERROR_DEVICE, e.what());
  } catch (const TraceError& e) {
    return fail(LAMINA_ERROR_TRANSFORM, e.what());
  } catch (const Interrupted& e) {
    return fail(LAMINA_ERROR_INTERRUPTED, e.what());
  } catch (const PrimitiveError& e) {
    return fail(LAMINA_ERROR_PRIMITIVE, e.what());
  } catch (const std::bad_alloc&) {
    return fail(LAMINA_ERROR_MEMORY, "out of memory");
  } catch (const std::exception& e) {
    return fail(LAMINA_ERROR_INTERNAL, e.what());
  } catch (...) {
    return fail(LAMINA_ERROR_INTERNAL, "an exception that is no std::exception");
  }
}

void check(const std::string& who, lamina_status status) {
  if (status == LAMINA_OK) return;
  std::string said = last_error();
  std::string what =
      who + ": " + (said.empty() ? "failed with status " + std::to_string(status) : said);
  switch (status) {
    case LAMINA_ERROR_VALUE:
      throw ValueError(what);
    case LAMINA_ERROR_SHAPE:
      throw ShapeError(what);
    case LAMINA_ERROR_DTYPE:
      throw DtypeError(what);
    case LAMINA_ERROR_INDEX:
      throw IndexError(what);
    case LAMINA_ERROR_MEMORY:
      throw OutOfMemory(what, 0, 0);
    case LAMINA_ERROR_DEVICE:
      throw DeviceError(what);
    case LAMINA_ERROR_TRANSFORM:
      throw TraceError(what);
    case LAMINA_ERROR_INTERRUPTED:
      throw Interrupted(what);
    default:
      throw PrimitiveError(what);
  }
}

}  // namespace lamina::capi
