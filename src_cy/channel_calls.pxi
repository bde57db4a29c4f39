# The direct way of a function with one per-channel operand, such as prelu: dense ndarrays of one dtype.
#
# It takes what it can take without Python; calls.py takes or refuses everything else.

cdef object direct_channels(ElementwiseFunction self, PyObject **args, Py_ssize_t n_positional, PyObject *keywords):
    """The plain case of a function with one per-channel operand; None if this call is not one."""
    cdef char *data[MAX_OPERANDS]
    cdef Py_ssize_t steps[MAX_OPERANDS]
    cdef Channels channels
    cdef Rows rows
    cdef const Rows *by_row
    cdef double number          # in whatever format the elements have
    cdef PyObject *out = NULL
    cdef PyObject *out_of_operand = NULL
    cdef PyObject *name
    cdef int n_arrays = self.entry.n_inputs - 1, kind, computed_kind, k
    cdef Py_ssize_t n, n_bytes, distance, position
    cdef np.ndarray x, result, sums = None, scratch
    cdef double stack[SCRATCH_NUMBERS]
    cdef char *space = <char *> stack
    cdef Sums job
    cdef char *target = NULL
    axis = 1
    if self.entry.n_scalars or not n_arrays < n_positional <= n_arrays + 2:
        return None
    if n_positional == n_arrays + 2:
        axis = <object> args[n_arrays + 1]
    if keywords is not NULL:
        for position in range(PyTuple_GET_SIZE(keywords)):
            name = PyTuple_GET_ITEM(keywords, position)
            if name is <PyObject *> OUT:
                out = args[n_positional + position]
            elif name is <PyObject *> AXIS and n_positional == n_arrays + 1:
                axis = <object> args[n_positional + position]
            else:
                return None
    if out is not NULL and PyTuple_CheckExact(<object> out):
        if PyTuple_GET_SIZE(out) != self.entry.n_outputs:
            return None
        if self.entry.n_outputs == 2:
            out_of_operand = PyTuple_GET_ITEM(out, 1)
        out = PyTuple_GET_ITEM(out, 0)
        if out is Py_None:
            return None
    if not PyArray_CheckExact(<object> args[0]):
        return None
    x = <np.ndarray> args[0]
    kind = kind_of(PyArray_TYPE(x))
    n = PyArray_SIZE(x)
    if kind < 0 or n == 0 or not PyArray_ISCARRAY_RO(x):
        return None
    n_bytes = n * element_size(kind)
    operand = <object> args[n_arrays]
    if not layout_of(x, operand, axis, &channels):
        return None
    for k in range(n_arrays):
        if not same_layout(x, <object> args[k], True):
            return None
        data[k] = PyArray_BYTES(<np.ndarray> args[k])
    if PyArray_CheckExact(operand):
        data[n_arrays] = PyArray_BYTES(<np.ndarray> operand)
    else:
        data[n_arrays] = <char *> &number
        store_one(kind, operand, data[n_arrays])
    if out is NULL or out is Py_None:
        result = new_output(x, False, n_bytes)
    else:
        if not same_layout(x, <object> out, True) or not PyArray_ISWRITEABLE(<np.ndarray> out):
            return None
        result = <np.ndarray> out
        for k in range(n_arrays + 1):
            distance = PyArray_BYTES(result) - data[k]
            # each operand has its own length: what lies behind a weight, near it, does not overlap it
            if (distance != 0 or k == n_arrays) and (
                    -n_bytes < distance < (n_bytes if k < n_arrays else channels.count * element_size(kind))):
                return None
    data[n_arrays + 1] = PyArray_BYTES(result)
    if self.entry.n_outputs == 2:
        sums = array_for_sums(x, operand, out_of_operand)
        if sums is None:
            return None
        target = PyArray_BYTES(sums)
    # sums are of terms in the precision that computes: drive_with_sums
    computed_kind = kind if self.entry.n_outputs == 1 or kind == FASTACT_FLOAT64 else FASTACT_FLOAT32
    if self.entry.active[computed_kind] is NULL:
        resolver(self, KIND_NAMES[computed_kind])
    if self.entry.n_outputs == 1:
        rows_of_channels(&channels, &self.entry, n_arrays, element_size(kind), steps, &rows)
        by_row = &rows if channels.count > 1 else NULL
        if n < RELEASE_GIL_FROM:
            drive(&self.entry, kind, data, steps, n, NULL, by_row, thread_count)
        else:
            with nogil:
                drive(&self.entry, kind, data, steps, n, NULL, by_row, thread_count)
        return result
    plan_sums(&job, &channels, n)
    n_bytes = bytes_for_sums(&job)
    if n_bytes > SCRATCH_NUMBERS * <Py_ssize_t> sizeof(double):
        scratch = <np.ndarray> PyArray_EMPTY(1, <npy_intp *> &n_bytes, np.NPY_BYTE, 0)
        space = PyArray_BYTES(scratch)
    if n < RELEASE_GIL_FROM:
        drive_with_sums(&job, &self.entry, kind, data, space, target)
    else:
        with nogil:
            drive_with_sums(&job, &self.entry, kind, data, space, target)
    return result, sums


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
