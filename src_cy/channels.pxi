# Per-channel operands, such as prelu's weight: x seen as (outer, channels, inner), the operand one value per channel.
#
# To the driver that is rows (rows.pxi) on which the operand is either constant (`inner` elements of one channel) or runs
# along with x (inner is 1: a row of channels).

cdef enum:
    SUM_BLOCK = 256


cdef struct Channels:
    Py_ssize_t count        # channels; 1 for a scalar operand
    Py_ssize_t inner        # elements of one channel that stand side by side


cdef void rows_of_channels(const Channels *channels, const Entry *entry, int operand, Py_ssize_t size, Py_ssize_t *steps,
                           Rows *rows) noexcept nogil:
    """The rows and steps of dense operands of elements of this size, of which one has a value per channel."""
    cdef int k
    rows.columns = channels.count if channels.inner == 1 else channels.inner
    for k in range(entry.n_inputs + entry.n_outputs):
        steps[k] = size
        rows.row_steps[k] = rows.columns * size
    steps[operand] = size if channels.inner == 1 else 0
    rows.row_steps[operand] = 0 if channels.inner == 1 else size
    rows.cycling, rows.period = operand, channels.count


cdef int sum_channels(int kind, const char *terms, Py_ssize_t n, const Channels *channels,
                      double *sums) noexcept nogil:
    """Sums of the terms of each channel, in float64 and in one order whatever the number of threads.

    In two levels, BLOCK terms at a time, so that the error grows with n / BLOCK.  -1 if there is no memory.
    """
    cdef Py_ssize_t position = 0, channel = 0, rows = 0, stop, i
    cdef double partial
    cdef double *block
    cdef fp_state caller
    memset(sums, 0, channels.count * sizeof(double))
    if channels.inner == 1 and channels.count > 1:
        block = <double *> calloc(channels.count, sizeof(double))
        if block is NULL:
            return -1
        caller = fp_enter()
        while position < n:
            for i in range(channels.count):
                block[i] += term(kind, terms, position + i)
            position += channels.count
            rows += 1
            if rows == SUM_BLOCK or position == n:
                for i in range(channels.count):
                    sums[i] += block[i]
                    block[i] = 0.0
                rows = 0
        fp_leave(caller)
        free(block)
        return 0
    caller = fp_enter()
    while position < n:
        stop = min(n, position + channels.inner)
        while position < stop:
            partial = 0.0
            for i in range(position, min(stop, position + SUM_BLOCK)):
                partial += term(kind, terms, i)
            sums[channel] += partial
            position = min(stop, position + SUM_BLOCK)
        channel = channel + 1 if channel + 1 < channels.count else 0
    fp_leave(caller)
    return 0


cdef inline double term(int kind, const char *terms, Py_ssize_t i) noexcept nogil:
    return (<const double *> terms)[i] if kind == FASTACT_FLOAT64 else (<const float *> terms)[i]


cdef int layout_of(np.ndarray x, object operand, object axis, Channels *channels) except -1:
    """Fill in ``channels``; 0 if this is not a plain case, which general_call then takes or refuses."""
    cdef int ndim = PyArray_NDIM(x), position, k
    cdef Py_ssize_t size
    channels.count = channels.inner = 1
    if PyArray_CheckExact(operand):
        if not PyArray_ISCARRAY_RO(<np.ndarray> operand) or PyArray_NDIM(<np.ndarray> operand) > 1:
            return 0
        if PyArray_TYPE(<np.ndarray> operand) != PyArray_TYPE(x):
            return 0
        size = PyArray_SIZE(<np.ndarray> operand)
    elif type(operand) is float:
        size = 1
    else:
        return 0
    if size == 1:
        # one channel that never ends
        channels.inner = max(<Py_ssize_t> PyArray_SIZE(x), <Py_ssize_t> 2)
        return 1
    if type(axis) is not int or not -ndim <= axis < ndim + (ndim == 1 and axis == 1):
        return 0
    position = 0 if ndim == 1 else <int> (axis if axis >= 0 else axis + ndim)
    if PyArray_DIMS(x)[position] != size:
        return 0
    channels.count = size
    for k in range(position + 1, ndim):
        channels.inner *= PyArray_DIMS(x)[k]
    return 1
