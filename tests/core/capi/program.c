/* A program without Python: every function of the table, each answer checked. Prints what failed.
 * With an argument, the name of the device that LAMINA_DEVICE should choose. */
#include <lamina.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static int failures = 0;
#define EXPECT(condition)                                                           \
  do {                                                                              \
    if (!(condition)) {                                                             \
      ++failures;                                                                   \
      printf("%d: %s (last error: %s)\n", __LINE__, #condition, api->last_error()); \
    }                                                                               \
  } while (0)

static const lamina_api* api;
static int released = 0;
static void on_release(void* owner) { released += *(int*)owner; }

static lamina_array call(const char* name, lamina_array a, lamina_array b) {
  lamina_array in[2], out = NULL;
  in[0] = a;
  in[1] = b;
  EXPECT(api->op(name, in, b ? 2 : 1, NULL, 0, &out, 1) == LAMINA_OK);
  return out;
}

static void arrays(void) {
  float numbers[6] = {1, 2, 3, 4, 5, 6}, back[6];
  int64_t shape[2] = {2, 3}, strides[2] = {1, 2}, backwards[2] = {-3, -1};
  lamina_view view = {numbers, LAMINA_FLOAT32, 2, shape, NULL}, seen;
  lamina_array a = NULL, b = NULL, c = NULL;
  int weight = 7;
  EXPECT(api->array_copy(&view, &a) == LAMINA_OK);
  EXPECT(api->array_type(a, &seen) == LAMINA_OK && seen.dtype == LAMINA_FLOAT32);
  EXPECT(seen.ndim == 2 && seen.shape[1] == 3 && seen.data == NULL);
  EXPECT(api->array_read(a, back, sizeof back) == LAMINA_OK && !memcmp(back, numbers, 24));
  view.strides = strides;
  EXPECT(api->array_copy(&view, &b) == LAMINA_OK);
  EXPECT(api->array_read(b, back, sizeof back) == LAMINA_OK && back[1] == 3 && back[3] == 2);
  view.strides = backwards;
  view.data = numbers + 5;
  EXPECT(api->array_adopt(&view, on_release, &weight, &c) == LAMINA_OK);
  EXPECT(api->array_data(c, &seen) == LAMINA_OK && seen.data == numbers + 5);
  EXPECT(seen.strides[0] == -3 && seen.strides[1] == -1);
  EXPECT(api->array_read(c, back, sizeof back) == LAMINA_OK && back[0] == 6 && back[5] == 1);
  api->retain(c);
  api->release(c);
  EXPECT(released == 0);
  api->release(c);
  EXPECT(released == 7);
  api->release(a);
  api->release(b);
  api->release(NULL);
}

static void operations(void) {
  const int64_t axes[1] = {0};
  lamina_type type = {LAMINA_FLOAT32, 2, {2, 3}};
  lamina_param params[2] = {{"axes", LAMINA_INTS, 0, 0, 0, axes, 1},
                            {"keepdims", LAMINA_BOOLEAN, 0, 1, 0, NULL, 0}};
  lamina_array x = NULL, two = NULL, y, z, sum = NULL;
  lamina_view seen;
  float back[3];
  EXPECT(api->array_full(&type, 1.5, &x) == LAMINA_OK);
  EXPECT(api->array_scalar(2, LAMINA_FLOAT32, &two) == LAMINA_OK);
  y = call("multiply", x, two);
  z = call("exp", y, NULL);
  EXPECT(api->op("sum", &z, 1, params, 2, &sum, 1) == LAMINA_OK);
  EXPECT(api->eval(&sum, 1) == LAMINA_OK);
  EXPECT(api->array_data(sum, &seen) == LAMINA_OK && seen.shape[0] == 1 && seen.shape[1] == 3);
  EXPECT(api->array_read(sum, back, sizeof back) == LAMINA_OK);
  EXPECT(fabsf(back[1] - 2 * expf(3)) < 1e-3f);
  api->release(x), api->release(two), api->release(y), api->release(z), api->release(sum);
}

static void mistakes(void) {
  lamina_type type = {LAMINA_FLOAT32, 2, {2, 3}}, wrong = {99, 0, {0}};
  lamina_param odd = {"axis_of_evil", LAMINA_INTEGER, 0, 0, 0, NULL, 0};
  lamina_array x = NULL, out = NULL, pair[2];
  float back[1];
  EXPECT(api->array_full(&type, 0, &x) == LAMINA_OK);
  pair[0] = pair[1] = x;
  EXPECT(api->op("matmul", pair, 2, NULL, 0, &out, 1) == LAMINA_ERROR_SHAPE);
  EXPECT(strstr(api->last_error(), "inner sizes differ") != NULL);
  EXPECT(api->op("no_such", pair, 1, NULL, 0, &out, 1) == LAMINA_ERROR_VALUE);
  EXPECT(api->op("exp", pair, 2, NULL, 0, &out, 1) == LAMINA_ERROR_VALUE);
  EXPECT(strstr(api->last_error(), "takes 1 arrays, got 2") != NULL);
  EXPECT(api->op("sum", pair, 1, &odd, 1, &out, 1) == LAMINA_ERROR_VALUE);
  EXPECT(strstr(api->last_error(), "axes, keepdims") != NULL);
  EXPECT(api->op("reshape", pair, 1, NULL, 0, &out, 1) == LAMINA_ERROR_VALUE);
  EXPECT(api->op("exp", pair, 1, NULL, 0, &out, 0) == LAMINA_ERROR_VALUE);
  EXPECT(api->array_read(x, back, sizeof back) == LAMINA_ERROR_VALUE);
  EXPECT(api->array_full(&wrong, 0, &out) == LAMINA_ERROR_DTYPE);
  EXPECT(api->eval(&out, 1) == LAMINA_ERROR_VALUE);
  EXPECT(api->fail(LAMINA_ERROR_INDEX, "mine") == LAMINA_ERROR_INDEX);
  EXPECT(!strcmp(api->last_error(), "mine"));
  api->release(x);
}

static int known(const char* name) {
  size_t i;
  for (i = 0; api->device_name(i); ++i)
    if (!strcmp(api->device_name(i), name)) return 1;
  return 0;
}

static void devices(const char* wanted) {
  EXPECT(!strcmp(api->device_name(0), "cpu") && known("apart") && !known("abacus"));
  EXPECT(!strcmp(api->default_device(), "cpu"));
  EXPECT(api->set_default_device("abacus") == LAMINA_ERROR_DEVICE);
  EXPECT(strstr(api->last_error(), "unknown name \"abacus\"; this build has cpu, apart") != NULL);
  EXPECT(!strcmp(api->default_device(), "cpu"));
  EXPECT(api->set_default_device("apart") == LAMINA_OK);
  EXPECT(!strcmp(api->default_device(), "apart"));
  operations(); /* in memory that is not the CPU's */
  EXPECT(api->set_default_device("cpu") == LAMINA_OK);
  EXPECT(!strcmp(api->default_device(), "cpu"));
  EXPECT(api->set_default_device(NULL) == LAMINA_OK);
  EXPECT(!strcmp(api->default_device(), wanted));
}

int main(int count, char** arguments) {
  if (lamina_get_api(LAMINA_ABI_VERSION + 1)) return puts("another version was given"), 1;
  api = lamina_get_api(LAMINA_ABI_VERSION);
  if (!api || api->size < sizeof(lamina_api)) return puts("no table"), 1;
  devices(count > 1 ? arguments[1] : "cpu");
  arrays();
  operations();
  mistakes();
  if (!failures) printf("lamina %s on %s: ok\n", api->version, api->default_device());
  return failures;
}
