/* A plugin in C whose primitives do what the tests ask about. */
#include <lamina.h>
#include <string.h>

static const lamina_api* api;

static lamina_status same_type(const lamina_call* call, const lamina_view* in, lamina_type* out) {
  for (size_t k = 0; k < call->outputs; ++k) {
    out[k].dtype = in[0].dtype;
    out[k].ndim = in[0].ndim;
    memcpy(out[k].shape, in[0].shape, sizeof(int64_t) * (size_t)in[0].ndim);
  }
  return LAMINA_OK;
}

/* y = factor * x + sum(shift), float32 vectors; with a stride. */
static lamina_status affine(const lamina_call* call, const lamina_view* in,
                            const lamina_view* out) {
  const float *x = in[0].data, factor = (float)call->params[0].real;
  float* y = out[0].data;
  int64_t shift = 0;
  for (size_t i = 0; i < call->params[1].count; ++i) shift += call->params[1].ints[i];
  if (call->params[2].integer) shift = -shift;
  for (int64_t i = 0; i < in[0].shape[0]; ++i)
    y[i] = factor * x[i * in[0].strides[0]] + (float)shift;
  return LAMINA_OK;
}

static lamina_status scaled(const lamina_call* call, lamina_array by, lamina_array* result) {
  lamina_array pair[2] = {by, NULL};
  lamina_status s = api->array_scalar(call->params[0].real, LAMINA_FLOAT32, &pair[1]);
  if (s) return s;
  s = api->op("multiply", pair, 2, NULL, 0, result, 1);
  api->release(pair[1]);
  return s;
}
static lamina_status affine_vjp(const lamina_call* call, const lamina_array* in,
                                const lamina_array* out, const lamina_array* cotangents,
                                lamina_array* results) {
  (void)in, (void)out;
  return scaled(call, cotangents[0], results);
}
static lamina_status affine_jvp(const lamina_call* call, const lamina_array* in,
                                const lamina_array* tangents, lamina_array* results) {
  (void)in;
  return scaled(call, tangents[0], results);
}
static int64_t affine_flops(const lamina_call* call, const lamina_view* in) {
  (void)call;
  return 2 * in[0].shape[0];
}

/* Results of three dtypes and shapes: the largest element, its index, and how many there are. */
static lamina_status peak_types(const lamina_call* call, const lamina_view* in, lamina_type* out) {
  (void)call;
  memset(out, 0, 3 * sizeof *out);
  out[0].dtype = in[0].dtype;
  out[1].dtype = LAMINA_INT64;
  out[1].ndim = 1;
  out[1].shape[0] = 1;
  out[2].dtype = LAMINA_UINT8;
  out[2].ndim = 2;
  out[2].shape[0] = 2;
  out[2].shape[1] = 3;
  return LAMINA_OK;
}
static lamina_status peak(const lamina_call* call, const lamina_view* in, const lamina_view* out) {
  (void)call;
  const float* x = in[0].data;
  int64_t best = 0;
  for (int64_t i = 1; i < in[0].shape[0]; ++i)
    if (x[i * in[0].strides[0]] > x[best * in[0].strides[0]]) best = i;
  *(float*)out[0].data = x[best * in[0].strides[0]];
  *(int64_t*)out[1].data = best;
  memset(out[2].data, (int)in[0].shape[0], 6);
  return LAMINA_OK;
}

/* Fails with the status that it is told. */
static lamina_status failing(const lamina_call* call, const lamina_view* in,
                             const lamina_view* out) {
  if (call->params[0].integer == 0) {
    memcpy(out[0].data, in[0].data, 4 * (size_t)in[0].shape[0]);
    return LAMINA_OK;
  }
  if (call->params[0].integer == 100) return 100; /* no message, no known status */
  return api->fail((lamina_status)call->params[0].integer, "the sensor is cold");
}

/* Makes an array where it must not. */
static lamina_status impure(const lamina_call* call, const lamina_view* in,
                            const lamina_view* out) {
  lamina_array never;
  (void)call, (void)in, (void)out;
  return api->array_scalar(1, LAMINA_FLOAT32, &never);
}

static lamina_status bad_rule(const lamina_call* call, const lamina_array* in,
                              const lamina_array* out, const lamina_array* cotangents,
                              lamina_array* results) {
  lamina_array pair[2] = {in[0], cotangents[0]};
  (void)call, (void)out;
  return api->op("matmul_of_my_own", pair, 2, NULL, 0, results, 1);
}
static lamina_status empty_rule(const lamina_call* call, const lamina_array* in,
                                const lamina_array* tangents, lamina_array* results) {
  (void)call, (void)in, (void)tangents, (void)results;
  return LAMINA_OK;
}
static lamina_status no_type(const lamina_call* call, const lamina_view* in, lamina_type* out) {
  (void)call, (void)in, (void)out;
  return LAMINA_OK;
}

LAMINA_EXPORT lamina_status lamina_register(const lamina_api* table) {
  static const int64_t none[1];
  const lamina_param affine_params[] = {
      {"factor", LAMINA_REAL, 1, 0, 0, NULL, 0},
      {"shift", LAMINA_INTS, 0, 0, 0, none, 0},
      {"negate", LAMINA_BOOLEAN, 0, 0, 0, NULL, 0},
      {"like", LAMINA_DTYPE, 0, LAMINA_FLOAT32, 0, NULL, 0},
  };
  const lamina_param code = {"code", LAMINA_INTEGER, 0, 0, 0, NULL, 0};
  lamina_primitive p;
  lamina_status s;
  api = table;
  memset(&p, 0, sizeof p);
  p.size = sizeof p;
  p.name = "trial.affine";
  p.doc = "factor * x + sum(shift).";
  p.inputs = p.outputs = 1;
  p.params = affine_params;
  p.param_count = 4;
  p.types = same_type;
  p.cpu = affine;
  p.vjp = affine_vjp;
  p.jvp = affine_jvp;
  p.flops = affine_flops;
  if ((s = api->define(&p))) return s;
  p.name = "trial.bare";
  p.vjp = NULL;
  p.jvp = NULL;
  p.flops = NULL;
  if ((s = api->define(&p))) return s;

  memset(&p, 0, sizeof p);
  p.size = sizeof p;
  p.inputs = 1;
  p.outputs = 3;
  p.name = "trial.peak";
  p.types = peak_types;
  p.cpu = peak;
  if ((s = api->define(&p))) return s;

  p.outputs = 1;
  p.types = same_type;
  p.params = &code;
  p.param_count = 1;
  p.name = "trial.failing";
  p.cpu = failing;
  p.vjp = bad_rule;
  p.jvp = empty_rule;
  if ((s = api->define(&p))) return s;
  p.name = "trial.impure";
  p.cpu = impure;
  if ((s = api->define(&p))) return s;
  p.name = "trial.typeless";
  p.types = no_type;
  return api->define(&p);
}
