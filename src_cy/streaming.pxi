# Streaming: outputs beyond the caches are written past them, where that pays.
#
# Kernels that look up with AVX-512 (piecewise_loops.h) do it themselves: each line goes to memory as soon as it has been
# computed, and that takes 0.55 to 1.05 of the time that ordinary stores take, whatever the function (1.1 where a hundredth
# of the numbers is beyond the table).  With AVX2 (fetched_loops.h) those of float32 do, and take 0.73 to 1.0.
#
# The others know nothing of it.  Such a kernel writes a short block into a buffer in the L1 cache, and the block goes to
# the array with streaming stores (stream.h), while the inputs of a block to come are prefetched.  What is not whole cache
# lines, at both ends, goes through run_range and ordinary stores.
#
# Where it pays: dense operands, whose output is no input.  In place there is nothing to win, because the lines are there
# already.  In blocks only for kernels that wait for memory: those that compute for longer than memory takes get 5 to 50 %
# slower (their stores come in bursts, and memory rests in between); but the more threads share memory, the sooner each
# waits for it.  So each function has a number of threads for each dtype (costs.py).  Python kernels cost too much to be
# called for every block.

cdef extern from "stream.h" nogil:
    enum: FASTACT_STREAMS
    void stream "fastact_stream"(char *to, const char *source, Py_ssize_t n_bytes)
    void stream_end "fastact_stream_end"()
    void prefetch "fastact_prefetch"(const char *source, Py_ssize_t ahead, Py_ssize_t n_bytes)

cdef extern from *:
    """
    enum {
        /* Of a block.  More lines at once than a core can wait for (24 on Zen 4) make it wait: 1024 bytes take 1.0 to
           1.3 of the time on Zen 4, the same on Zen 5 for relu; 256 take 1.0 to 1.1. */
        STREAM_BYTES = 512,
        /* Bytes from a block to the one that is fetched.  On Zen 4 none takes 1.0 to 1.1 of the time, 2048 1.4 to 1.6 and
           6144 1.0 to 1.3, which on Zen 5 was the best by a twentieth, while none took 1.2 to 2.4 there. */
        STREAM_AHEAD = 1024,
        STREAM_ROW = 4096    /* bytes of a row, or it is mostly ends */
    };
    """
    enum: STREAM_BYTES, STREAM_AHEAD, STREAM_ROW

# Bytes of all operands of a call from which its outputs are streamed; set by the package (streaming.py).
cdef Py_ssize_t stream_from = PY_SSIZE_T_MAX
# Fewer elements never reach that, however many operands there are: all that a small call asks.
cdef Py_ssize_t stream_from_elements = PY_SSIZE_T_MAX


cdef bint streams(const Entry *entry, const Kernel *kernel, int kind, char **data, const Py_ssize_t *steps,
                  Py_ssize_t n, const Rows *rows) noexcept nogil:
    """Whether the outputs of this call can be streamed, and are large enough."""
    cdef Py_ssize_t size = element_size(kind), moved = 0
    cdef int k, output, n_operands = entry.n_inputs + entry.n_outputs
    if runs_python(entry, kernel, kind):
        return False
    for k in range(n_operands):
        if (steps[k] != size and (steps[k] != 0 or k >= entry.n_inputs)) or <size_t> data[k] % <size_t> size != 0:
            return False
        moved += steps[k]
    if n < stream_from // moved + (stream_from % moved != 0) or (rows is not NULL and rows.columns * size < STREAM_ROW):
        return False
    for output in range(entry.n_inputs, n_operands):
        for k in range(entry.n_inputs):
            # with rows, operands are the same or apart
            if data[output] == data[k] or (rows is NULL and may_meet(data[output], size, data[k], steps[k], n)):
                return False
    return True


cdef inline bint gains_by_streaming(const Kernel *kernel, const Entry *entry, int kind, int threads) noexcept nogil:
    """Whether so many threads write faster past the caches."""
    return kernel.streaming is not NULL or threads >= entry.streams_on[kind]


cdef void stream_range(const Kernel *kernel, const Entry *entry, int kind, char **data, const Py_ssize_t *steps,
                       Py_ssize_t start, Py_ssize_t stop, const void *params) noexcept nogil:
    """What run_range does, for a call of which ``streams`` is true."""
    cdef char buffers[MAX_OPERANDS][STREAM_BYTES + CACHE_LINE]
    cdef char *block[MAX_OPERANDS]
    cdef int n_inputs = entry.n_inputs, n_operands = entry.n_inputs + entry.n_outputs, k
    cdef Py_ssize_t size = element_size(kind), position = start, count
    # whole lines and whole granules: of 16 bits a granule is half a line
    cdef Py_ssize_t unit = max(<Py_ssize_t> GRANULE, CACHE_LINE // size)
    cdef Py_ssize_t head = to_line(data[n_inputs] + start * size, size)
    cdef kernel_function function = kernel.function, streaming_kernel = kernel.streaming
    cdef const void *parameters = params
    cdef Scalars with_operand
    cdef bint uniform = is_uniform(kernel, entry, steps)
    if uniform:
        take_as_parameter(entry, kind, data, params, &with_operand)
        function, parameters = kernel.uniform, &with_operand
    for k in range(n_operands):
        block[k] = <char *> ((<size_t> &buffers[k][0] + CACHE_LINE - 1) & ~<size_t> (CACHE_LINE - 1))
        if k < n_inputs:
            if steps[k] == 0:
                streaming_kernel = NULL     # it takes dense operands only
            if steps[k] == 0 and not (uniform and k == entry.operand):
                gather(kind, data[k], 0, STREAM_BYTES // size, block[k])
        elif to_line(data[k] + start * size, size) != head:
            # no block is whole lines of both outputs
            run_range(kernel, entry, kind, data, steps, start, stop, params)
            return
    if head:
        position = min(stop, start + head)
        run_range(kernel, entry, kind, data, steps, start, position, params)
    count = (stop - position) // unit * unit
    if streaming_kernel is not NULL and count > 0:
        for k in range(n_operands):
            block[k] = data[k] + position * size
        streaming_kernel(<void **> block, <void **> block + n_inputs, count, params)
        position += count
    while stop - position >= unit:
        count = min(<Py_ssize_t> STREAM_BYTES // size, (stop - position) // unit * unit)
        for k in range(n_inputs):
            if steps[k] != 0:
                block[k] = data[k] + position * size
                prefetch(block[k], STREAM_AHEAD, count * size)
        function(<void **> block, <void **> block + n_inputs, count, parameters)
        for k in range(n_inputs, n_operands):
            stream(data[k] + position * size, block[k], count * size)
        position += count
    stream_end()
    if position < stop:
        run_range(kernel, entry, kind, data, steps, position, stop, params)


def set_stream_from(Py_ssize_t n_bytes):
    """Stream the outputs of calls that move so many bytes or more, at least 1; ``sys.maxsize``: of none."""
    global stream_from, stream_from_elements
    stream_from = n_bytes if FASTACT_STREAMS else PY_SSIZE_T_MAX
    stream_from_elements = stream_from // (MAX_OPERANDS * sizeof(double))


def get_stream_from():
    return stream_from


def can_stream():
    """Whether this build has streaming stores."""
    return bool(FASTACT_STREAMS)
