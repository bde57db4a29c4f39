"""The C interface of ``fastact.h`` for Cython: ``from fastact cimport table``.

For what the typed functions of ``fastact/__init__.pxd`` do not cover: activations by name, strided and 2-D operands,
float16, bfloat16, a number of threads, kernels.  Call ``table.fastact_import()`` once, in the module's own code, before
anything else here; compile with ``fastact.get_include()`` among the include directories.  The meaning of every field and
argument is in ``fastact.h``.
"""

from libc.stdint cimport uint32_t

cdef extern from "fastact.h" nogil:
    unsigned int FASTACT_ABI_VERSION
    unsigned int FASTACT_API_VERSION

    enum fastact_status:
        FASTACT_OK
        FASTACT_ERROR_NULL
        FASTACT_ERROR_LENGTH
        FASTACT_ERROR_NAME
        FASTACT_ERROR_DTYPE
        FASTACT_ERROR_DIRECTION
        FASTACT_ERROR_OPERANDS
        FASTACT_ERROR_PARAMETER
        FASTACT_ERROR_STRIDE
        FASTACT_ERROR_OVERLAP
        FASTACT_ERROR_THREADS
        FASTACT_ERROR_NO_KERNEL
        FASTACT_ERROR_VERSION
        FASTACT_ERROR_MEMORY

    enum fastact_dtype:
        FASTACT_FLOAT32
        FASTACT_FLOAT64
        FASTACT_FLOAT16
        FASTACT_BFLOAT16

    enum fastact_direction:
        FASTACT_FORWARD
        FASTACT_BACKWARD
        FASTACT_BACKWARD_FROM_OUTPUT

    enum:
        FASTACT_GRANULE

    ctypedef struct fastact_function:
        pass

    ctypedef void (*fastact_kernel)(const void *const *inputs, void *const *outputs, Py_ssize_t count,
                                    const void *parameters) noexcept

    ctypedef struct fastact_input:
        const void *data
        Py_ssize_t row_step
        Py_ssize_t step

    ctypedef struct fastact_output:
        void *data
        Py_ssize_t row_step
        Py_ssize_t step

    ctypedef struct fastact_call:
        size_t size
        Py_ssize_t rows
        Py_ssize_t columns
        const fastact_input *inputs
        const fastact_output *outputs
        const double *parameters
        int dtype
        int n_inputs
        int n_outputs
        int n_parameters
        int threads

    ctypedef struct fastact_description:
        size_t size
        const char *name
        const char *const *inputs
        const char *const *parameters
        const double *defaults
        int n_inputs
        int n_outputs
        int n_parameters

    ctypedef struct fastact_table:
        size_t size
        uint32_t abi_version
        uint32_t api_version
        const char *version
        const fastact_function *(*find)(const char *activation, int direction) noexcept
        int (*kernel)(const fastact_function *function, int dtype, fastact_kernel *kernel) noexcept
        int (*apply)(const fastact_function *function, int dtype, const void *const *inputs, void *const *outputs,
                     Py_ssize_t count, const double *parameters, int n_parameters, int threads) noexcept
        int (*run)(const fastact_function *function, const fastact_call *call) noexcept
        int (*get_threads)() noexcept
        int (*set_threads)(int count) noexcept
        const char *(*instruction_set)() noexcept
        const char *(*message)() noexcept
        const char *(*activation)(int index) noexcept
        int (*describe)(const fastact_function *function, fastact_description *description) noexcept
        int (*sum_channels)(int dtype, const void *terms, Py_ssize_t count, Py_ssize_t channels, Py_ssize_t inner,
                            double *sums) noexcept

    const fastact_table *fastact_api

    int fastact_threads(int threads) noexcept
    int fastact_apply(const fastact_function *function, int dtype, const void *const *inputs, void *const *outputs,
                      Py_ssize_t count, const double *parameters, int n_parameters, int threads) noexcept
    int fastact_run(const fastact_function *function, const fastact_call *call) noexcept

cdef extern from "fastact.h":
    int fastact_import() except -1
