# The driver: takes any kernel and any strided operands of one dtype and does the rest.
#
# It splits the work over threads, hands dense operands to the kernel as they are, and moves everything else (strided,
# broadcast, unaligned) through block buffers that stay in the L1 cache.  The last elements, fewer than GRANULE, and those
# before the first cache line of a large output go through padded buffers and the same kernel, so an element's bits never
# depend on where it stands.
# A kernel never knows of any of this.

cdef extern from "fp_state.h" nogil:
    ctypedef unsigned int fp_state "fastact_fp_state"
    fp_state fp_enter "fastact_fp_enter"()
    fp_state fp_enter_as "fastact_fp_enter_as"(fp_state caller)
    void fp_leave "fastact_fp_leave"(fp_state state)

cdef extern from "pool.h" nogil:
    ctypedef void (*pool_task "fastact_task")(void *context, int chunk) noexcept nogil
    enum: FASTACT_MAX_CHUNKS
    int pool_start "fastact_pool_start"(int cores)
    int pool_choose "fastact_pool_choose"(int choice)
    int pool_chosen "fastact_pool_chosen"()
    bint pool_borrows "fastact_pool_borrows"()
    int pool_run "fastact_pool_run"(pool_task task, void *context, int chunks, int threads, bint lengthy)
    int has_threads "fastact_has_threads"()
    int cores "fastact_cores"()
    int caller_enters "fastact_caller_enters"(int *forks)
    void caller_leaves "fastact_caller_leaves"(int forks)

cdef extern from "elements.h" nogil:
    enum: FASTACT_FLOAT32, FASTACT_FLOAT64, FASTACT_FLOAT16, FASTACT_BFLOAT16
    Py_ssize_t element_size "fastact_element_size"(int kind)
    int computing "fastact_computing"(int kind)
    Py_ssize_t parameter_size "fastact_parameter_size"(int kind)
    void load_parameter "fastact_load_parameter"(int kind, const char *element, char *parameter)
    void gather "fastact_gather"(int kind, const char *array, Py_ssize_t step, Py_ssize_t count, char *buffer)
    double round_to_float32 "fastact_round_to_float32"(double number)
    void scatter "fastact_scatter"(int kind, const char *buffer, Py_ssize_t count, char *array, Py_ssize_t step)

cdef extern from *:
    """
    enum {
        GRANULE = FASTACT_GRANULE, /* one 512-bit register of float32, two of float64 */
        BLOCK_BYTES = 4096,   /* five buffers of this size fit the smallest L1 cache in use (32 KiB) */
        KINDS = FASTACT_BFLOAT16 + 1, /* dtypes that there are kernels for */
        MAX_OPERANDS = 6,
        MAX_SCALARS = 4,
        CACHE_LINE = 64,
        /* Bytes of an output that begins at a cache line: what leaves the L1 cache.  Vectors that straddle two lines cost
           relu in place 1.1 to 1.4 of its time in the caches, relu to another array 1.05 to 1.2, tanh 1.03 (AVX2, Zen 3);
           what is then left over at both ends takes 0.1 us, as long as 4 % of relu of so many. */
        ALIGNED_FROM = 32768,
        SHORT = 2048,         /* elements; beyond, what run_short saves is less than 2 % */
        NUMPY_BACKEND = 2,    /* position in dispatch.BACKENDS of the kernels that run Python */
        CHUNKS_PER_THREAD = 4,    /* with 8, two threads take 3 to 6 % longer for 64 and 256 Ki float32 */
        CHUNKS_PER_THRESHOLD = 8, /* a threshold of work is about 7 us, claiming a chunk 0.1 us */
        LENGTHY_THRESHOLDS = 16   /* about 80 us: waking a thread that has slept for long pays from here on */
    };
    """
    enum: KINDS, GRANULE, BLOCK_BYTES, MAX_OPERANDS, MAX_SCALARS, CACHE_LINE, SHORT
    enum: ALIGNED_FROM
    enum: NUMPY_BACKEND, CHUNKS_PER_THREAD, CHUNKS_PER_THRESHOLD, LENGTHY_THRESHOLDS

ctypedef void (*kernel_function)(void **inputs, void **outputs, Py_ssize_t count, const void *params) noexcept nogil

cdef struct Kernel:
    # What a backend supplies for one (activation, direction, dtype); parameters of 16-bit elements are float32.
    kernel_function function
    # The outputs must not be inputs: the kernel is slow (not wrong) then, so in place goes through a block buffer.
    bint distinct
    # The same for a per-channel operand of one value, which follows the parameters; NULL: that is an array for it, too.
    kernel_function uniform
    # The same for dense operands, past the caches, if the output begins at a cache line; NULL: stream_range does that.
    kernel_function streaming

cdef enum Acceptance:
    ACCEPTS_FINITE, ACCEPTS_POSITIVE, ACCEPTS_NON_NEGATIVE

cdef struct Entry:
    # One (activation, direction): the row of the kernel table.
    int n_inputs
    int n_outputs
    int n_scalars
    int operand                     # the input that has a value per channel, the last one; -1: none has
    const char *input_names[MAX_OPERANDS]
    const char *scalar_names[MAX_SCALARS]
    double defaults[MAX_SCALARS]
    int accepts[MAX_SCALARS]        # Acceptance
    Kernel kernels[3][KINDS]        # [backend][dtype, as in fastact.h]
    Kernel *active[KINDS]           # what serves now; NULL: ask the resolver first
    Py_ssize_t parallel_from[KINDS] # elements from which threads pay
    int streams_on[KINDS]           # threads from which large outputs are streamed; 1: the kernel waits for memory alone
    const char *name                # of the public function
    PyObject *owner                 # the ElementwiseFunction, which lives as long as the module

cdef union Scalars:
    float float32[MAX_SCALARS]
    double float64[MAX_SCALARS]

cdef int thread_count = 1


cdef inline bint is_uniform(const Kernel *kernel, const Entry *entry, const Py_ssize_t *steps) noexcept nogil:
    """Whether the per-channel operand is one value, and the kernel can take it as one."""
    return entry.operand >= 0 and steps[entry.operand] == 0 and kernel.uniform is not NULL


cdef inline void take_as_parameter(const Entry *entry, int kind, char **data, const void *params,
                                   Scalars *with_operand) noexcept nogil:
    """The parameters, and after them the one value of the per-channel operand."""
    cdef Py_ssize_t n_bytes = entry.n_scalars * parameter_size(kind)
    if params is not NULL:
        memcpy(with_operand, params, n_bytes)
    load_parameter(kind, data[entry.operand], <char *> with_operand + n_bytes)


cdef inline bint run_short(const Kernel *kernel, const Entry *entry, int kind, char **data, const Py_ssize_t *steps,
                           Py_ssize_t n, const void *params) noexcept nogil:
    """Hand few dense elements, whole granules of them, to the kernel; False if this is anything else.

    run_range would do the same, but on the way it sets up its buffers, which is half the cost of a call on 16 elements.
    """
    cdef void *pointers[MAX_OPERANDS]
    cdef Scalars with_operand
    cdef Py_ssize_t size = element_size(kind)
    cdef int n_operands = entry.n_inputs + entry.n_outputs, k
    cdef bint uniform
    if n > SHORT or n % GRANULE or kernel.distinct:
        return False
    uniform = is_uniform(kernel, entry, steps)
    for k in range(n_operands):
        if (steps[k] != size or <size_t> data[k] & <size_t> (size - 1)) and not (uniform and k == entry.operand):
            return False
        pointers[k] = data[k]
    if uniform:
        take_as_parameter(entry, kind, data, params, &with_operand)
        kernel.uniform(pointers, pointers + entry.n_inputs, n, &with_operand)
    else:
        kernel.function(pointers, pointers + entry.n_inputs, n, params)
    return True


cdef inline Py_ssize_t to_line(const char *element, Py_ssize_t size) noexcept nogil:
    """Elements from this one to the next cache line."""
    return <Py_ssize_t> (-<size_t> element % CACHE_LINE) // size


cdef inline Py_ssize_t before_line(const Kernel *kernel, const Entry *entry, int kind, char **data,
                                   const Py_ssize_t *steps, Py_ssize_t start, Py_ssize_t stop) noexcept nogil:
    """Elements that stand before the output's first cache line; 0 where it does not pay to begin at one."""
    cdef Py_ssize_t size = element_size(kind)
    cdef const char *output = data[entry.n_inputs] + start * size
    if ((stop - start) * size < ALIGNED_FROM or steps[entry.n_inputs] != size or <size_t> output % <size_t> size != 0
            or runs_python(entry, kernel, kind)):
        return 0
    return to_line(output, size)


cdef void run_range(const Kernel *kernel, const Entry *entry, int kind, char **data, const Py_ssize_t *steps,
                    Py_ssize_t start, Py_ssize_t stop, const void *params) noexcept nogil:
    """Elements start..stop on this thread."""
    cdef char buffers[MAX_OPERANDS][BLOCK_BYTES + CACHE_LINE]
    cdef char *buffer[MAX_OPERANDS]
    cdef void *pointers[MAX_OPERANDS]
    cdef bint buffered[MAX_OPERANDS]
    cdef bint constant_ready[MAX_OPERANDS]
    cdef int n_inputs = entry.n_inputs, n_operands = entry.n_inputs + entry.n_outputs
    cdef Py_ssize_t size = element_size(kind)
    cdef Py_ssize_t block = BLOCK_BYTES // size
    cdef Py_ssize_t position = start, count, padded
    cdef bint any_buffered = False
    cdef kernel_function function = kernel.function
    cdef Scalars with_operand
    cdef int k, other, unread = -1
    if is_uniform(kernel, entry, steps):
        take_as_parameter(entry, kind, data, params, &with_operand)
        function, params, unread = kernel.uniform, &with_operand, entry.operand
    for k in range(n_operands):
        buffer[k] = <char *> ((<size_t> &buffers[k][0] + CACHE_LINE - 1) & ~<size_t> (CACHE_LINE - 1))
        buffered[k] = k != unread and (steps[k] != size or (<size_t> data[k] & <size_t> (size - 1)) != 0)
        constant_ready[k] = False
        if kernel.distinct and k >= n_inputs:
            for other in range(n_inputs):
                buffered[k] = buffered[k] or data[other] == data[k]
        any_buffered = any_buffered or buffered[k]
    while position < stop:
        count = stop - position
        if count < GRANULE:
            # the tail: everything through buffers, the rest of the granule zero
            any_buffered = True
            for k in range(n_operands):
                buffered[k] = k != unread
                if buffered[k] and not constant_ready[k]:
                    memset(buffer[k], 0, GRANULE * size)
        elif any_buffered and count > block:
            count = block
        else:
            count -= count % GRANULE
        padded = (count + GRANULE - 1) & -GRANULE
        for k in range(n_operands):
            if not buffered[k]:
                pointers[k] = data[k] + position * size
                continue
            pointers[k] = buffer[k]
            if k < n_inputs and not constant_ready[k]:
                gather(kind, data[k] + position * steps[k], steps[k], count, buffer[k])
                # a broadcast operand is the same in every block: the first block is the longest
                constant_ready[k] = steps[k] == 0
        function(pointers, pointers + n_inputs, padded, params)
        for k in range(n_inputs, n_operands):
            if buffered[k]:
                scatter(kind, buffer[k], count, data[k] + position * steps[k], steps[k])
        position += count


cdef inline void run_from_line(const Kernel *kernel, const Entry *entry, int kind, char **data, const Py_ssize_t *steps,
                               Py_ssize_t start, Py_ssize_t stop, const void *params) noexcept nogil:
    """The same, what stands before a cache line apart."""
    cdef Py_ssize_t head = before_line(kernel, entry, kind, data, steps, start, stop)
    if head:
        run_range(kernel, entry, kind, data, steps, start, start + head, params)
    run_range(kernel, entry, kind, data, steps, start + head, stop, params)


cdef extern from *:
    Py_ssize_t abs "llabs"(Py_ssize_t) nogil

include "streaming.pxi"
include "rows.pxi"
include "channels.pxi"


cdef struct Job:
    # What the chunks of one call share.
    const Kernel *kernel
    const Entry *entry
    int kind
    char **data
    const Py_ssize_t *steps
    Py_ssize_t n
    Py_ssize_t length               # of a chunk
    Py_ssize_t head                 # by so many elements more the first chunk is longer: the others begin at a cache line
    const void *params
    const Rows *rows                # NULL: one run of elements
    int threads                     # at most
    bint streaming                  # outputs go past the caches
    fp_state caller


cdef void run_chunk(void *context, int chunk) noexcept nogil:
    """One chunk of a job, on whatever thread claimed it, in the floating-point mode of the caller."""
    cdef Job *job = <Job *> context
    cdef Py_ssize_t start = chunk * job.length + job.head if chunk else 0
    cdef fp_state own = fp_enter_as(job.caller)
    cdef Py_ssize_t stop = min(job.n, (chunk + 1) * job.length + job.head)
    run_part(job.kernel, job.entry, job.kind, job.data, job.steps, job.rows, job.streaming, start, stop, job.params)
    fp_leave(own)


cdef inline void run_part(const Kernel *kernel, const Entry *entry, int kind, char **data, const Py_ssize_t *steps,
                          const Rows *rows, bint streaming, Py_ssize_t start, Py_ssize_t stop,
                          const void *params) noexcept nogil:
    if rows is not NULL:
        run_rows(kernel, entry, kind, data, steps, rows, streaming, start, stop, params)
    elif streaming:
        stream_range(kernel, entry, kind, data, steps, start, stop, params)
    else:
        run_from_line(kernel, entry, kind, data, steps, start, stop, params)


cdef inline bint is_lengthy(const Entry *entry, int kind, Py_ssize_t n, Py_ssize_t parallel_from) noexcept nogil:
    """Whether so many elements are worth waking a thread for that has slept for long.

    Beyond the caches, where so many elements are, those that wait for memory take twice as long as in them.
    """
    return n * (2 if entry.streams_on[kind] == 1 else 1) // LENGTHY_THRESHOLDS >= parallel_from


cdef int run_parallel(Job *job, Py_ssize_t parallel_from) noexcept nogil:
    """Let several threads do the job; returns how many could take part, 1 if it is still to be done."""
    # at least half the threshold for each thread, or its share is not worth waking it
    cdef Py_ssize_t threads = min(<Py_ssize_t> job.threads, 2 * job.n // parallel_from)
    # more chunks than threads, so that a thread that comes late or is slow costs little, but none so small that
    # claiming it shows
    cdef Py_ssize_t shortest = max(<Py_ssize_t> 512, parallel_from // CHUNKS_PER_THRESHOLD)
    cdef Py_ssize_t chunks = min(CHUNKS_PER_THREAD * threads, job.n // shortest)
    # and twice as many where each is still a threshold of work: a thread that had to be woken comes 10 to 20 us late
    chunks = max(chunks, min(2 * CHUNKS_PER_THREAD * threads, job.n // max(<Py_ssize_t> 512, parallel_from)))
    chunks = min(chunks, <Py_ssize_t> FASTACT_MAX_CHUNKS)
    if chunks < 2:
        return 1
    # a multiple of the widest cache line, so that two threads do not write to one
    job.length = ((job.n + chunks - 1) // chunks + 511) & ~<Py_ssize_t> 511
    job.head = 0
    if job.rows is NULL:
        job.head = before_line(job.kernel, job.entry, job.kind, job.data, job.steps, 0, job.n)
    chunks = (job.n - job.head + job.length - 1) // job.length
    return pool_run(run_chunk, job, <int> chunks, <int> threads, is_lengthy(job.entry, job.kind, job.n, parallel_from))


cdef int drive(Entry *entry, int kind, char **data, const Py_ssize_t *steps, Py_ssize_t n,
               const double *scalars, const Rows *rows, int most_threads) noexcept nogil:
    """Run one activation over n elements of strided operands; returns the number of threads that worked.

    With ``rows``, outputs must be inputs or be apart from them.  -1: there is no kernel.
    """
    cdef Kernel *kernel = entry.active[kind]
    cdef Scalars params
    cdef Job job
    cdef fp_state caller
    cdef int k, threads = 1, forks = 0, others
    cdef bint divisible, takes_turns, streaming
    if n <= 0:
        return 0
    if kernel is NULL:
        kernel = resolve(entry, kind)
        if kernel is NULL:
            return -1
    caller = fp_enter()
    for k in range(entry.n_scalars):
        if kind == FASTACT_FLOAT64:
            params.float64[k] = scalars[k]
        else:
            params.float32[k] = <float> round_to_float32(scalars[k])
    divisible = n >= entry.parallel_from[kind] and not runs_python(entry, kernel, kind)
    # with fewer elements this thread may hold the GIL, with which it must not wait for its turn
    takes_turns = divisible and n >= RELEASE_GIL_FROM
    if takes_turns:
        # what other callers compute at the same time keeps as many cores busy
        others = caller_enters(&forks) - 1
        most_threads = min(most_threads, max(1, cores() - others)) if others else most_threads
    streaming = (n >= stream_from_elements and gains_by_streaming(kernel, entry, kind, most_threads)
                 and streams(entry, kernel, kind, data, steps, n, rows))
    if (divisible and most_threads > 1
            and (rows is not NULL or chunks_are_independent(entry, data, steps, n))):
        job.kernel, job.entry, job.kind, job.data, job.steps, job.n = kernel, entry, kind, data, steps, n
        job.rows, job.threads, job.params, job.caller = rows, most_threads, &params, caller
        job.streaming = streaming
        threads = run_parallel(&job, entry.parallel_from[kind])
    if threads == 1:
        if rows is not NULL or not run_short(kernel, entry, kind, data, steps, n, &params):
            streaming = streaming and gains_by_streaming(kernel, entry, kind, 1)
            run_part(kernel, entry, kind, data, steps, rows, streaming, 0, n, &params)
    if takes_turns:
        caller_leaves(forks)
    fp_leave(caller)
    return threads


cdef bint chunks_are_independent(const Entry *entry, char **data, const Py_ssize_t *steps, Py_ssize_t n) noexcept nogil:
    """Whether chunks may run in any order: no output overlaps an input, unless it is that input.

    NumPy does not copy an input that an output trails in memory, because one loop from front to back reads each
    element before it is overwritten; two threads do not.
    """
    cdef int k, output
    cdef Py_ssize_t distance
    for output in range(entry.n_inputs, entry.n_inputs + entry.n_outputs):
        for k in range(entry.n_inputs):
            distance = data[output] - data[k]
            if distance == 0 and steps[output] == steps[k]:
                continue
            # operands that interleave without touching are taken for overlapping, too
            if may_meet(data[output], steps[output], data[k], steps[k], n):
                return False
    return True


cdef inline bint may_meet(const char *a, Py_ssize_t a_step, const char *b, Py_ssize_t b_step, Py_ssize_t n) noexcept nogil:
    """Whether the stretches of memory of two operands touch; 8 bytes for the last element."""
    cdef const char *a_low = a + min(<Py_ssize_t> 0, a_step * (n - 1))
    cdef const char *b_low = b + min(<Py_ssize_t> 0, b_step * (n - 1))
    return a_low < b_low + abs(b_step) * (n - 1) + 8 and b_low < a_low + abs(a_step) * (n - 1) + 8


cdef inline bint runs_python(const Entry *entry, const Kernel *kernel, int kind) noexcept nogil:
    """Whether a kernel is Python code: on threads it would only queue for the GIL, five times slower."""
    return kernel is &entry.kernels[NUMPY_BACKEND][kind]


cdef Kernel *resolve(Entry *entry, int kind) noexcept with gil:
    """Ask Python for a kernel that is made on first use, in a ufunc's loop, which cannot pass an exception on.

    An interrupt, say, is printed and another backend's kernel serves: never a result that nobody computed.
    """
    cdef int backend
    if entry.active[kind] is NULL:
        try:
            resolver(<object> entry.owner, KIND_NAMES[kind])
        except BaseException as error:
            # what was caught is no longer the current exception, and only that one is printed
            PyErr_SetObject(type(error), error)
            PyErr_WriteUnraisable(<object> entry.owner)
            for backend in range(3):
                if entry.kernels[backend][kind].function is not NULL:
                    return &entry.kernels[backend][kind]
    return entry.active[kind]


include "channel_sums.pxi"
