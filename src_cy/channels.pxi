# Per-channel operands, such as prelu's weight: x seen as (outer, channels, inner), the operand one value per channel.
#
# To the driver that is rows (rows.pxi) on which the operand is either constant (`inner` elements of one channel) or runs
# along with x (inner is 1: a row of channels).

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
