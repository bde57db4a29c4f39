# Per-channel operands, such as prelu's weight: x seen as (outer, channels, inner), the operand one value per channel.
#
# To the driver that is rows (rows.pxi) on which the operand is either constant (`inner` elements of one channel) or runs
# along with x (inner is 1: a row of channels).

cdef extern from "elements.h" nogil:
    void store "fastact_store"(int kind, double number, char *element)
    void widen "fastact_widen"(int kind, const char *array, Py_ssize_t count, float *numbers)
    void narrow "fastact_narrow"(int kind, const float *numbers, Py_ssize_t count, char *array)

cdef enum:
    SUM_BLOCK = 256
    SCRATCH_BYTES = 4096        # what drive_with_sums may need on the stack: 200 elements of 16 bits, 500 float32


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
    cdef Py_ssize_t position = 0, channel = 0, rows = 0, stop, count, i
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
            count = min(stop - position, <Py_ssize_t> SUM_BLOCK)
            if kind == FASTACT_FLOAT64:
                sums[channel] += sum_of_doubles(<const double *> terms + position, count)
            else:
                sums[channel] += sum_of_singles(<const float *> terms + position, count)
            position += count
        channel = channel + 1 if channel + 1 < channels.count else 0
    fp_leave(caller)
    return 0


cdef extern from *:
    """
    /* Eight sums that do not wait for each other, in one order: an eighth of the time of a single one. */
    #define FASTACT_SUM(name, type)                                                                          \\
        static double name(const type *terms, Py_ssize_t count)                                              \\
        {                                                                                                    \\
            double lanes[8] = {0, 0, 0, 0, 0, 0, 0, 0};                                                      \\
            Py_ssize_t i = 0;                                                                                \\
            for (; i + 8 <= count; i += 8)                                                                   \\
                for (int k = 0; k < 8; k++)                                                                  \\
                    lanes[k] += (double)terms[i + k];                                                        \\
            for (; i < count; i++)                                                                           \\
                lanes[i % 8] += (double)terms[i];                                                            \\
            return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7])); \\
        }
    FASTACT_SUM(fastact_sum_of_doubles, double)
    FASTACT_SUM(fastact_sum_of_singles, float)
    """
    double sum_of_doubles "fastact_sum_of_doubles"(const double *terms, Py_ssize_t count) noexcept nogil
    double sum_of_singles "fastact_sum_of_singles"(const float *terms, Py_ssize_t count) noexcept nogil


cdef inline double term(int kind, const char *terms, Py_ssize_t i) noexcept nogil:
    return (<const double *> terms)[i] if kind == FASTACT_FLOAT64 else (<const float *> terms)[i]


cdef Py_ssize_t scratch_bytes(const Entry *entry, int kind, Py_ssize_t n, Py_ssize_t count) noexcept nogil:
    """Memory that drive_with_sums needs: the sums, the terms, and of 16-bit arrays everything in float32."""
    cdef Py_ssize_t computed = parameter_size(kind)
    cdef Py_ssize_t arrays = 1 if computed == element_size(kind) else entry.n_inputs + 1
    return count * sizeof(double) + arrays * n * computed + (count * computed if arrays > 1 else 0)


cdef int drive_with_sums(Entry *entry, int kind, char **given, Py_ssize_t n, const Channels *channels, char *scratch,
                         char *target) noexcept nogil:
    """A backward whose last output is summed over each channel, into ``target``; ``given`` has all other operands.

    The sums are stored after everything else has been read, so the target may be any memory.  Terms are not rounded
    to 16 bits before they are summed: 16-bit arrays are widened, and the gradient is narrowed once.  -1: no memory.
    """
    cdef char *data[MAX_OPERANDS]
    cdef Py_ssize_t steps[MAX_OPERANDS]
    cdef Rows rows
    cdef int n_arrays = entry.n_inputs - 1, computed_kind = kind, status, k
    cdef Py_ssize_t size = parameter_size(kind), own = element_size(kind), i
    cdef double *totals = <double *> scratch
    cdef fp_state caller = fp_enter()
    scratch += channels.count * sizeof(double)
    data[n_arrays + 2] = scratch
    scratch += n * size
    for k in range(n_arrays + 2):
        data[k] = given[k]
    if own != size:
        computed_kind = FASTACT_FLOAT32
        for k in range(n_arrays + 2):
            data[k] = scratch
            scratch += (channels.count if k == n_arrays else n) * size
            if k <= n_arrays:
                widen(kind, given[k], channels.count if k == n_arrays else n, <float *> data[k])
    rows_of_channels(channels, entry, n_arrays, size, steps, &rows)
    drive(entry, computed_kind, data, steps, n, NULL, &rows, thread_count)
    status = sum_channels(computed_kind, data[n_arrays + 2], n, channels, totals)
    if status == 0:
        if own != size:
            narrow(kind, <float *> data[n_arrays + 1], n, given[n_arrays + 1])
        for i in range(channels.count):
            store(kind, totals[i], target + i * own)
    fp_leave(caller)
    return status


cdef void store_one(int kind, double number, char *element) noexcept nogil:
    """The number as an element, rounded once, without leaving a flag of that in the caller's state."""
    cdef fp_state caller = fp_enter()
    store(kind, number, element)
    fp_leave(caller)


cdef np.ndarray array_for_sums(np.ndarray x, object operand, PyObject *out):
    """An array of x's dtype and the operand's shape: ``out``, if it is one, or a new one; None if it is not."""
    cdef int ndim = PyArray_NDIM(<np.ndarray> operand) if PyArray_CheckExact(operand) else 0
    cdef npy_intp *dims = PyArray_DIMS(<np.ndarray> operand) if ndim else NULL
    cdef np.ndarray array
    if out is NULL or out is Py_None:
        return <np.ndarray> PyArray_EMPTY(ndim, dims, PyArray_TYPE(x), 0)
    if not PyArray_CheckExact(<object> out):
        return None
    array = <np.ndarray> out
    if PyArray_TYPE(array) != PyArray_TYPE(x) or PyArray_NDIM(array) != ndim:
        return None
    if not PyArray_ISCARRAY_RO(array) or not PyArray_ISWRITEABLE(array):
        return None
    return array if not ndim or PyArray_DIMS(array)[0] == dims[0] else None


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
