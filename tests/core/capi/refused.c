/* Plugins that define wrongly; CASE says how. */
#include <lamina.h>
#include <string.h>

static lamina_status types(const lamina_call* call, const lamina_view* in, lamina_type* out) {
  (void)call, (void)in, (void)out;
  return LAMINA_OK;
}
static lamina_status cpu(const lamina_call* call, const lamina_view* in, const lamina_view* out) {
  (void)call, (void)in, (void)out;
  return LAMINA_OK;
}

LAMINA_EXPORT lamina_status lamina_register(const lamina_api* api) {
  lamina_primitive p;
  memset(&p, 0, sizeof p);
  p.size = sizeof p;
  p.name = "refused.p";
  p.inputs = p.outputs = 1;
  p.types = types;
  p.cpu = cpu;
#if CASE == 1
  p.size = 8;
#elif CASE == 2
  p.name = "matmul";
#elif CASE == 3
  p.types = NULL;
#elif CASE == 4
  p.cpu = NULL;
#elif CASE == 5
  if (api->define(&p)) return api->fail(LAMINA_ERROR_INTERNAL, "the first was refused");
#elif CASE == 6
  return api->fail(LAMINA_ERROR_DEVICE, "this plugin needs a newer processor");
#elif CASE == 7
  p.name = "refused.none";
  p.outputs = 0;
#endif
  return api->define(&p);
}
