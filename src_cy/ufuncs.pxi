# The ufunc face: every (activation, direction) is a true np.ufunc whose inner loop calls the driver.
#
# Operands of the ufunc, in order: arrays, per-channel operands, scalar parameters, outputs.  A scalar parameter is an
# operand here because a ufunc has nothing else; it comes with step 0 unless somebody passes an array of parameters.

cdef struct LoopData:
    Entry *entry
    int kind


cdef void ufunc_loop(char **args, const npy_intp *dimensions, const npy_intp *steps, void *data) noexcept nogil:
    cdef LoopData *loop = <LoopData *> data
    cdef Entry *entry = loop.entry
    cdef int kind = loop.kind, k, n_scalars = entry.n_scalars, n_operands = entry.n_inputs + entry.n_outputs
    cdef char *operands[MAX_OPERANDS]
    cdef Py_ssize_t operand_steps[MAX_OPERANDS]
    cdef double scalars[MAX_SCALARS]
    cdef char **scalar_data = args + entry.n_inputs
    cdef const npy_intp *scalar_steps = steps + entry.n_inputs
    cdef Py_ssize_t n = dimensions[0], start = 0, stop
    if n_scalars == 0:
        drive(entry, kind, args, <const Py_ssize_t *> steps, n, NULL, NULL, thread_count)
        return
    for k in range(n_operands):
        operands[k] = args[k if k < entry.n_inputs else k + n_scalars]
        operand_steps[k] = steps[k if k < entry.n_inputs else k + n_scalars]
    while start < n:
        # as far as the parameters stay the same: everything, unless a parameter is an array
        stop = n
        for k in range(n_scalars):
            scalars[k] = read_scalar(kind, scalar_data[k] + start * scalar_steps[k])
            if scalar_steps[k] != 0:
                stop = min(stop, end_of_run(kind, scalar_data[k], scalar_steps[k], start, stop))
        drive(entry, kind, operands, operand_steps, stop - start, scalars, NULL, thread_count)
        for k in range(n_operands):
            operands[k] += (stop - start) * operand_steps[k]
        start = stop


cdef double read_scalar(int kind, const char *address) noexcept nogil:
    return (<const double *> address)[0] if kind == FASTACT_FLOAT64 else (<const float *> address)[0]


cdef Py_ssize_t end_of_run(int kind, const char *address, Py_ssize_t step, Py_ssize_t start,
                           Py_ssize_t stop) noexcept nogil:
    cdef Py_ssize_t size = parameter_size(kind), i
    for i in range(start + 1, stop):
        if memcmp(address + i * step, address + start * step, size) != 0:
            return i
    return stop


cdef object make_ufunc(Entry *entry, bytes name, bytes doc):
    """A ufunc over float16, float32 and float64 (and bfloat16, see bfloat16.pxi); nothing it points to is ever freed."""
    cdef int n_kinds = 3, k, operand
    cdef int n_in = entry.n_inputs + entry.n_scalars, n_operands = n_in + entry.n_outputs
    cdef PyUFuncGenericFunction *loops = <PyUFuncGenericFunction *> malloc(n_kinds * sizeof(PyUFuncGenericFunction))
    cdef void **data = <void **> malloc(n_kinds * sizeof(void *))
    cdef LoopData *loop_data = <LoopData *> malloc(n_kinds * sizeof(LoopData))
    cdef char *types = <char *> malloc(n_kinds * n_operands)
    cdef char *texts = <char *> malloc(len(name) + len(doc) + 2)
    if loops is NULL or data is NULL or loop_data is NULL or types is NULL or texts is NULL:
        raise MemoryError
    for k, (kind, number) in enumerate(
        ((FASTACT_FLOAT16, NPY_HALF), (FASTACT_FLOAT32, np.NPY_FLOAT), (FASTACT_FLOAT64, np.NPY_DOUBLE))
    ):
        loops[k] = <PyUFuncGenericFunction> ufunc_loop
        loop_data[k].entry = entry
        loop_data[k].kind = kind
        data[k] = &loop_data[k]
        for operand in range(n_operands):
            # parameters are taken in the precision that computes: float32 beside float16
            is_scalar = entry.n_inputs <= operand < n_in
            types[k * n_operands + operand] = <char> <int> (np.NPY_FLOAT if is_scalar and k == 0 else number)
    memcpy(texts, <const char *> name, len(name) + 1)
    memcpy(texts + len(name) + 1, <const char *> doc, len(doc) + 1)
    return PyUFunc_FromFuncAndData(
        loops, data, types, n_kinds, n_in, entry.n_outputs, PyUFunc_None, texts, texts + len(name) + 1, 0
    )
