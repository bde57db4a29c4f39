/* The C interface as somebody else's extension uses it: C99, no Cython, fastact.h and nothing else.
 *
 * A Python extension module whose functions are plain C, called through ctypes.  ctypes releases the GIL around them,
 * as a real extension would, and lets tests pass any address, length and number.  The file is also compiled against
 * stored older headers, so what a later version appended stands under an #if of that version.
 *
 * tests/extensions.py compiles it, with and without OpenMP; tests/table_calls.py is its Python side.
 */
#define _POSIX_C_SOURCE 200809L
#include <fastact.h>

#include <fenv.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#define EXPORTED __attribute__((visibility("default")))

enum { MOST_CALLERS = 64 };

EXPORTED const char *harness_version(void) { return fastact_api->version; }
EXPORTED size_t harness_table_size(void) { return fastact_api->size; }
EXPORTED unsigned harness_abi_version(void) { return fastact_api->abi_version; }
EXPORTED unsigned harness_api_version(void) { return fastact_api->api_version; }
EXPORTED const char *harness_message(void) { return fastact_api->message(); }
EXPORTED const char *harness_instruction_set(void) { return fastact_api->instruction_set(); }
EXPORTED int harness_get_threads(void) { return fastact_api->get_threads(); }
EXPORTED int harness_set_threads(int count) { return fastact_api->set_threads(count); }

EXPORTED const fastact_function *harness_find(const char *activation, int direction)
{
    return fastact_api->find(activation, direction);
}

EXPORTED int harness_kernel(const fastact_function *function, int dtype, fastact_kernel *kernel)
{
    return fastact_api->kernel(function, dtype, kernel);
}

EXPORTED void harness_call_kernel(fastact_kernel kernel, const void *const *inputs, void *const *outputs,
                                  ptrdiff_t count, const void *parameters)
{
    kernel(inputs, outputs, count, parameters);
}

EXPORTED int harness_apply(const fastact_function *function, int dtype, const void *const *inputs,
                           void *const *outputs, ptrdiff_t count, const double *parameters, int n_parameters,
                           int threads)
{
    return fastact_apply(function, dtype, inputs, outputs, count, parameters, n_parameters, threads);
}

EXPORTED int harness_run(const fastact_function *function, const fastact_call *call)
{
    return fastact_run(function, call);
}

#if FASTACT_API_VERSION >= 2
EXPORTED const char *harness_activation(int index) { return fastact_api->activation(index); }

EXPORTED int harness_describe(const fastact_function *function, fastact_description *description)
{
    return fastact_api->describe(function, description);
}

EXPORTED int harness_sum_channels(int dtype, const void *terms, ptrdiff_t count, ptrdiff_t channels, ptrdiff_t inner,
                                  double *sums)
{
    return fastact_api->sum_channels(dtype, terms, count, channels, inner, sums);
}
#endif

/* The floating-point exception flags that a call raised, or -1 if it failed. */
EXPORTED int harness_flags(const fastact_function *function, const fastact_call *call)
{
    feclearexcept(FE_ALL_EXCEPT);
    return fastact_run(function, call) == FASTACT_OK ? fetestexcept(FE_ALL_EXCEPT) : -1;
}

/* One caller among several: repeats a call with one input and one output, and counts what went wrong. */
typedef struct caller {
    const fastact_function *function;
    const void *input, *expected;
    void *output;
    ptrdiff_t count, bytes;
    int dtype, threads, repetitions, through_table;
    int failed, wrong;
} caller;

static void *repeat(void *argument)
{
    caller *self = argument;
    const void *inputs[1];
    void *outputs[1];
    int k, status;
    inputs[0] = self->input;
    outputs[0] = self->output;
    for (k = 0; k < self->repetitions; k++) {
        memset(self->output, 0xee, (size_t)self->bytes);
        if (self->through_table) /* past the header's own look for OpenMP */
            status = fastact_api->apply(self->function, self->dtype, inputs, outputs, self->count, NULL, 0, self->threads);
        else
            status = fastact_apply(self->function, self->dtype, inputs, outputs, self->count, NULL, 0, self->threads);
        self->failed += status != FASTACT_OK;
        self->wrong += memcmp(self->output, self->expected, (size_t)self->bytes) != 0;
    }
    return NULL;
}

/* Callers on threads that Python knows nothing of, all at once; 0, or an error number. */
EXPORTED int harness_at_once(caller *callers, int count)
{
    pthread_t threads[MOST_CALLERS];
    int k, started = 0, error = 0;
    if (count > MOST_CALLERS)
        return -1;
    while (started < count && !error) {
        error = pthread_create(&threads[started], NULL, repeat, &callers[started]);
        started += !error;
    }
    for (k = 0; k < started; k++)
        pthread_join(threads[k], NULL);
    return error;
}

/* One failure on a thread of its own, whose message is copied while the thread still lives. */
typedef struct failure {
    int direction;
    char message[256];
} failure;

static void *fail(void *argument)
{
    failure *self = argument;
    struct timespec pause = {0, 20000000};
    fastact_api->find("gelu", self->direction);
    nanosleep(&pause, NULL); /* the others fail meanwhile */
    strncpy(self->message, fastact_api->message(), sizeof self->message - 1);
    return NULL;
}

EXPORTED int harness_failures(failure *failures, int count)
{
    pthread_t threads[MOST_CALLERS];
    int k, started = 0, error = 0;
    while (started < count && started < MOST_CALLERS && !error) {
        error = pthread_create(&threads[started], NULL, fail, &failures[started]);
        started += !error;
    }
    for (k = 0; k < started; k++)
        pthread_join(threads[k], NULL);
    return error;
}

/* What the header asks for when the caller asks for this many threads. */
EXPORTED int harness_threads(int threads) { return fastact_threads(threads); }

#ifdef _OPENMP
EXPORTED int harness_threads_in_region(int threads)
{
    int asked[2] = {-1, -1};
#pragma omp parallel num_threads(2)
    asked[omp_get_thread_num() & 1] = fastact_threads(threads);
    return asked[0] > asked[1] ? asked[0] : asked[1];
}

/* Callers inside one parallel region; the number of threads that it had. */
EXPORTED int harness_in_region(caller *callers, int count)
{
    int k, threads = 0;
#pragma omp parallel num_threads(count)
    {
#pragma omp single
        threads = omp_get_num_threads();
#pragma omp for schedule(static, 1)
        for (k = 0; k < count; k++)
            repeat(&callers[k]);
    }
    return threads;
}
#endif

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Nanoseconds of one call, the least of 20 rounds: of run where there is a call, of apply otherwise. */
EXPORTED double harness_time(const fastact_function *function, const fastact_call *call, const void *input,
                             void *output, ptrdiff_t count, int calls)
{
    double least = 1e9, start, passed;
    int round, k, failed = 0;
    const void *inputs[1];
    void *outputs[1];
    inputs[0] = input;
    outputs[0] = output;
    for (round = 0; round < 20; round++) {
        start = seconds();
        for (k = 0; k < calls; k++)
            failed |= call ? fastact_run(function, call)
                           : fastact_apply(function, FASTACT_FLOAT32, inputs, outputs, count, NULL, 0, 0);
        passed = (seconds() - start) * 1e9 / calls;
        if (passed < least)
            least = passed;
    }
    return failed ? -1.0 : least;
}

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "table_harness", NULL, -1, NULL, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_table_harness(void)
{
    if (fastact_import() < 0)
        return NULL;
    return PyModule_Create(&module);
}
