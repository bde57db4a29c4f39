/* fastact.h: the activation kernels of the Python package fastact, for C99 and C++ code inside Python extensions.
 *
 * Header only; nothing is linked.  fastact_import() finds the table of functions that the installed package offers;
 * after it everything here may be called without the GIL, from any thread.  No function raises, prints or exits: each
 * returns a status, and fastact_api->message() tells in words what was wrong.  Nothing has been written by then.
 *
 *     #include <fastact.h>
 *
 *     static const fastact_function *gelu;
 *
 *     PyMODINIT_FUNC PyInit_mine(void) {
 *         if (fastact_import() < 0) return NULL;            (with the GIL; sets ImportError)
 *         gelu = fastact_api->find("gelu", FASTACT_FORWARD);
 *         ...
 *     }
 *     ...
 *     const void *inputs[] = {x};
 *     void *outputs[] = {x};                                (in place)
 *     int status = fastact_apply(gelu, FASTACT_FLOAT32, inputs, outputs, n, NULL, 0, 0);
 *
 * The table grows at its end and never changes otherwise: FASTACT_API_VERSION counts its growth, and an extension built
 * with an older header works with every newer package of the same FASTACT_ABI_VERSION.  So a field may be appended
 * here, but none moved, removed or given another type; tests/test_table_stability.py compares with stored headers.
 *
 * One import serves one translation unit.  Other units of the same extension call fastact_import() as well (it is
 * cheap), or define FASTACT_API_EXTERN before the include, while one unit defines FASTACT_API_GLOBAL.
 */
#ifndef FASTACT_H
#define FASTACT_H

/* Without Python.h (FASTACT_NO_PYTHON) there are only the types, for code that is handed the table. */
#ifndef FASTACT_NO_PYTHON
#include <Python.h>
#endif
#include <stddef.h>
#include <stdint.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define FASTACT_ABI_VERSION 1u /* changes when an extension must be built again */
#define FASTACT_API_VERSION 2u /* changes when the table grows */
#define FASTACT_CAPSULE "fastact._core._C_API"

/* What every function returns; FASTACT_OK is 0 and all others are positive.  Numbers never change their meaning. */
enum fastact_status {
    FASTACT_OK = 0,
    FASTACT_ERROR_NULL = 1,       /* a pointer that is needed is NULL */
    FASTACT_ERROR_LENGTH = 2,     /* a length is negative, or more than memory can hold */
    FASTACT_ERROR_NAME = 3,       /* no such activation */
    FASTACT_ERROR_DTYPE = 4,      /* no such dtype, or not for this function */
    FASTACT_ERROR_DIRECTION = 5,  /* no such direction, or not for this activation */
    FASTACT_ERROR_OPERANDS = 6,   /* too few or too many inputs or outputs */
    FASTACT_ERROR_PARAMETER = 7,  /* too many parameters, or one that the activation does not accept */
    FASTACT_ERROR_STRIDE = 8,     /* strides that leave the address space, or let an output overlap itself */
    FASTACT_ERROR_OVERLAP = 9,    /* an output overlaps an input without being it, or another output */
    FASTACT_ERROR_THREADS = 10,   /* a number of threads out of 0..1024 (1..1024 where it is to be set) */
    FASTACT_ERROR_NO_KERNEL = 11, /* the chosen backend could not make a kernel; Python's stderr says why */
    FASTACT_ERROR_VERSION = 12,   /* a struct of a size that this package does not know */
    FASTACT_ERROR_MEMORY = 13     /* no memory for a temporary */
};

/* float16 and bfloat16 are 16 bits each, computed in float32 and rounded once.  A package from before bfloat16 answers
 * FASTACT_ERROR_DTYPE to it. */
enum fastact_dtype { FASTACT_FLOAT32 = 0, FASTACT_FLOAT64 = 1, FASTACT_FLOAT16 = 2, FASTACT_BFLOAT16 = 3 };

/* f(x); grad * f'(x) from the input; grad * f'(x) from the output y, for the activations that have it. */
enum fastact_direction { FASTACT_FORWARD = 0, FASTACT_BACKWARD = 1, FASTACT_BACKWARD_FROM_OUTPUT = 2 };

/* A kernel takes whole granules only: its count is a multiple of this, and what is beyond is left alone. */
enum { FASTACT_GRANULE = 16 };

/* One activation in one direction.  Lives as long as the process. */
typedef struct fastact_function fastact_function;

/* The innermost loop, for those who bring everything else: contiguous aligned elements of float or double, a count
 * that is a multiple of FASTACT_GRANULE, parameters in the precision of the elements (all of them: no defaults).
 * An output may be an input.  It checks nothing, and leaves exception flags in the floating-point state. */
typedef void (*fastact_kernel)(const void *const *inputs, void *const *outputs, ptrdiff_t count,
                               const void *parameters);

/* Operands are rows of elements; steps are in bytes, may be negative, and need not keep elements aligned.  In inputs
 * they may be 0: one value for a whole row (step), or one row for all rows (row_step). */
typedef struct fastact_input {
    const void *data;
    ptrdiff_t row_step;
    ptrdiff_t step;
} fastact_input;

typedef struct fastact_output {
    void *data;
    ptrdiff_t row_step;
    ptrdiff_t step;
} fastact_output;

/* Inputs in this order: grad (unless forward), x (or the output y), then operands such as prelu's weight.  Outputs: the
 * result, then, in a backward, one gradient for each operand: per element, not yet summed over what shares a value.
 * Outputs may be inputs (same data and steps) or be apart from them; anything between is refused.  Parameters that are
 * not given have their defaults. */
typedef struct fastact_call {
    size_t size;                   /* sizeof(fastact_call) */
    ptrdiff_t rows, columns;       /* one row of n elements: 1, n */
    const fastact_input *inputs;
    const fastact_output *outputs;
    const double *parameters;      /* may be NULL */
    int dtype;
    int n_inputs, n_outputs, n_parameters;
    int threads;                   /* 0: as many as the process allows; n: at most n; small arrays never use two */
} fastact_call;

/* What a function takes and gives, for code that is written for any of them. */
typedef struct fastact_description {
    size_t size;                       /* sizeof(fastact_description): set it before the call */
    const char *name;                  /* of the Python function: "elu_backward" */
    const char *const *inputs;         /* names, as many as n_inputs: "grad", "x" */
    const char *const *parameters;     /* names, as many as n_parameters: "alpha" */
    const double *defaults;            /* of the parameters */
    int n_inputs, n_outputs, n_parameters;
} fastact_description;

typedef struct fastact_table {
    size_t size;          /* of this struct in the installed package */
    uint32_t abi_version; /* FASTACT_ABI_VERSION of the installed package */
    uint32_t api_version; /* FASTACT_API_VERSION of the installed package */
    const char *version;  /* of the installed package, such as "0.1.0" */

    /* The function of an activation's name or alias, or NULL. */
    const fastact_function *(*find)(const char *activation, int direction);

    /* The kernel that serves now, for FASTACT_FLOAT32 or FASTACT_FLOAT64.  It stays valid if another is chosen. */
    int (*kernel)(const fastact_function *function, int dtype, fastact_kernel *kernel);

    /* Contiguous elements; as many inputs and outputs as the function has. */
    int (*apply)(const fastact_function *function, int dtype, const void *const *inputs, void *const *outputs,
                 ptrdiff_t count, const double *parameters, int n_parameters, int threads);

    /* Anything else: strided and 2-D operands. */
    int (*run)(const fastact_function *function, const fastact_call *call);

    /* Threads for large arrays, for the whole process: the number that fastact.set_num_threads sets. */
    int (*get_threads)(void);
    int (*set_threads)(int count);

    /* "avx512", "avx2", "base"; "none" if no compiled kernels serve. */
    const char *(*instruction_set)(void);

    /* What was wrong in the last call on this thread that failed. */
    const char *(*message)(void);

    /* -- since API version 2 -- */

    /* Name of the activation number `index`, counted from 0, or NULL if there are not so many. */
    const char *(*activation)(int index);

    int (*describe)(const fastact_function *function, fastact_description *description);

    /* Sums over the channels of contiguous float32 or float64 terms, such as the second output of prelu's backward.
     * The terms are seen as (outer, channels, inner); sums[channel] is in double, and does not depend on threads. */
    int (*sum_channels)(int dtype, const void *terms, ptrdiff_t count, ptrdiff_t channels, ptrdiff_t inner,
                        double *sums);
} fastact_table;

#if defined(FASTACT_API_EXTERN)
extern const fastact_table *fastact_api;
#elif defined(FASTACT_API_GLOBAL)
const fastact_table *fastact_api = NULL;
#else
static const fastact_table *fastact_api = NULL;
#endif

/* The number of threads to ask for: 1 inside a parallel region of the caller's OpenMP, whose threads are busy. */
static inline int fastact_threads(int threads)
{
#ifdef _OPENMP
    if (omp_in_parallel())
        return 1;
#endif
    return threads;
}

/* fastact_api->apply and ->run, and serial inside the caller's OpenMP regions. */
static inline int fastact_apply(const fastact_function *function, int dtype, const void *const *inputs,
                                void *const *outputs, ptrdiff_t count, const double *parameters, int n_parameters,
                                int threads)
{
    return fastact_api->apply(function, dtype, inputs, outputs, count, parameters, n_parameters,
                              fastact_threads(threads));
}

static inline int fastact_run(const fastact_function *function, const fastact_call *call)
{
    fastact_call changed;
    if (!call || call->size < sizeof changed || fastact_threads(call->threads) == call->threads)
        return fastact_api->run(function, call);
    changed = *call;
    changed.threads = fastact_threads(call->threads);
    return fastact_api->run(function, &changed);
}

#ifndef FASTACT_NO_PYTHON
/* Find the table of the installed package.  Needs the GIL; returns 0, or -1 with an exception set: an ImportError, or
 * what the import of fastact raised. */
static inline int fastact_import(void)
{
    const fastact_table *table;
    PyObject *package = PyImport_ImportModule("fastact"); /* PyCapsule_Import would not tell why it fails */
    if (!package)
        return -1;
    Py_DECREF(package);
    table = (const fastact_table *)PyCapsule_Import(FASTACT_CAPSULE, 0);
    if (!table) {
        if (PyErr_ExceptionMatches(PyExc_AttributeError))
            PyErr_SetString(PyExc_ImportError,
                            "the installed fastact has no C interface, which this extension module was built for; "
                            "pip install --upgrade fastact");
        return -1;
    }
    if (table->abi_version != FASTACT_ABI_VERSION) {
        PyErr_Format(PyExc_ImportError,
                     "this extension module was built for ABI %u of fastact, and the installed fastact %s has ABI %u; "
                     "build the extension again",
                     (unsigned)FASTACT_ABI_VERSION, table->version, (unsigned)table->abi_version);
        return -1;
    }
    if (table->size < sizeof(fastact_table)) {
        PyErr_Format(PyExc_ImportError,
                     "this extension module was built for API %u of fastact or newer, and the installed fastact %s has "
                     "API %u; pip install --upgrade fastact",
                     (unsigned)FASTACT_API_VERSION, table->version, (unsigned)table->api_version);
        return -1;
    }
    fastact_api = table;
    return 0;
}
#endif

#ifdef __cplusplus
}
#endif

#endif
