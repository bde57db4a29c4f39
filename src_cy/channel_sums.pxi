# Sums over channels, such as the gradient of prelu's weight: terms are summed as soon as they have been made.
#
# A call is cut into stretches, as many as its shape says and nothing else.  A stretch is worked through in blocks: the
# kernel leaves a block of terms in the L1 cache, and they are added to the stretch's own sums, one for each channel.  At
# the end the stretches' sums are added in their order.  So there is one order of summation, whichever threads took part,
# and no array of terms, which would cost three times as much as all the rest.
#
# Terms are summed in the precision that computes: blocks of 16-bit elements are widened, and their gradients narrowed.

cdef extern from "elements.h" nogil:
    void store "fastact_store"(int kind, double number, char *element)

cdef extern from *:
    """
    enum {
        SUM_BLOCK = 512,            /* elements; in float64 six operands of these fit the smallest L1 cache in use */
        /* Bytes of each array that are fetched for a block to come, and from where on: enough that memory does not rest
           while terms are summed.  Whole blocks are more lines than a core can wait for: on Zen 4 prelu_backward takes
           1.3 to 1.7 times as long.  None: the same in float32, 1.1 in float64 and 16 bits; on Zen 5 float64 1.3. */
        SUM_FETCHED = 512,
        SUM_AHEAD = 4096,
        SUM_GROUP = 32,             /* blocks that are summed by themselves, so that errors grow with n / 16 Ki */
        MOST_STRETCHES = 16,
        SHORTEST_STRETCH = 32768,   /* elements: 5 us of work, from which threads pay */
        SCRATCH_NUMBERS = 512       /* of sums on the stack: of up to 204 channels in one stretch */
    };
    """
    enum: SUM_BLOCK, SUM_FETCHED, SUM_AHEAD, SUM_GROUP, MOST_STRETCHES, SHORTEST_STRETCH, SCRATCH_NUMBERS

ctypedef double (*summing)(const char *terms, Py_ssize_t count) noexcept nogil
ctypedef void (*summing_each)(const char *terms, Py_ssize_t count, double *sums) noexcept nogil

cdef extern from "sums.h" nogil:
    double sum_float "fastact_sum_float"(const float *terms, Py_ssize_t count)
    double sum_double "fastact_sum_double"(const double *terms, Py_ssize_t count)
    void sum_each_float "fastact_sum_each_float"(const float *terms, Py_ssize_t count, double *sums)
    void sum_each_double "fastact_sum_each_double"(const double *terms, Py_ssize_t count, double *sums)

# By the dtype that computes; those of the best instruction set that runs here, once the package has supplied them.
cdef summing sums_of[KINDS]
cdef summing_each sums_of_each[KINDS]
sums_of[FASTACT_FLOAT32], sums_of[FASTACT_FLOAT64] = <summing> sum_float, <summing> sum_double
sums_of_each[FASTACT_FLOAT32] = <summing_each> sum_each_float
sums_of_each[FASTACT_FLOAT64] = <summing_each> sum_each_double

ctypedef void (*widening)(const void *halves, float *numbers, Py_ssize_t count) noexcept nogil
ctypedef void (*narrowing)(const float *numbers, void *halves, Py_ssize_t count) noexcept nogil

cdef extern from "halves.h" nogil:
    void widen_float16 "fastact_widen_block_float16"()
    void narrow_float16 "fastact_narrow_block_float16"()
    void widen_bfloat16 "fastact_widen_block_bfloat16"()
    void narrow_bfloat16 "fastact_narrow_block_bfloat16"()

# By dtype; those of the best instruction set that runs here, once the package has supplied them.
cdef widening wideners[KINDS]
cdef narrowing narrowers[KINDS]
wideners[FASTACT_FLOAT16], narrowers[FASTACT_FLOAT16] = <widening> widen_float16, <narrowing> narrow_float16
wideners[FASTACT_BFLOAT16], narrowers[FASTACT_BFLOAT16] = <widening> widen_bfloat16, <narrowing> narrow_bfloat16


cdef void widen(int kind, const char *array, Py_ssize_t count, float *numbers) noexcept nogil:
    """Dense elements of 16 bits in float32."""
    cdef unsigned short rest[GRANULE]
    cdef float single[GRANULE]
    cdef Py_ssize_t whole = count & -GRANULE
    wideners[kind](array, numbers, whole)
    if whole < count:
        memset(rest, 0, sizeof(rest))
        memcpy(rest, array + 2 * whole, 2 * (count - whole))
        wideners[kind](rest, single, GRANULE)
        memcpy(numbers + whole, single, 4 * (count - whole))


cdef void narrow(int kind, const float *numbers, Py_ssize_t count, char *array) noexcept nogil:
    """The other way, rounded once."""
    cdef unsigned short rest[GRANULE]
    cdef float single[GRANULE]
    cdef Py_ssize_t whole = count & -GRANULE
    narrowers[kind](numbers, array, whole)
    if whole < count:
        memset(single, 0, sizeof(single))
        memcpy(single, numbers + whole, 4 * (count - whole))
        narrowers[kind](single, rest, GRANULE)
        memcpy(array + 2 * whole, rest, 2 * (count - whole))


cdef struct Sums:
    # What the stretches of one call share.
    const Kernel *kernel            # NULL: the terms are there already
    const Entry *entry
    const Channels *channels
    int kind
    char **given                    # operands without the terms; or the terms alone
    Py_ssize_t n
    Py_ssize_t length               # of a stretch
    int stretches
    double *sums                    # of each stretch: those of a group of blocks, and those of all before it
    float *operand                  # per-channel values, widened; only of 16-bit elements
    bint streaming                  # the gradient goes past the caches (streaming.pxi)
    fp_state caller


cdef void plan_sums(Sums *job, const Channels *channels, Py_ssize_t n) noexcept nogil:
    """How many stretches there are: sums take an eighth of what the arrays do at most."""
    cdef Py_ssize_t most
    job.channels, job.n = channels, n
    if n <= SUM_BLOCK:
        # what the rest would find, without divisions, which take a tenth of a small call
        job.stretches, job.length = 1, SUM_BLOCK
        return
    most = min(n // SHORTEST_STRETCH, n // 64 // channels.count)
    job.stretches = <int> max(<Py_ssize_t> 1, min(<Py_ssize_t> MOST_STRETCHES, most))
    job.length = ((n + job.stretches - 1) // job.stretches + SUM_BLOCK - 1) // SUM_BLOCK * SUM_BLOCK
    job.stretches = <int> ((n + job.length - 1) // job.length)


cdef Py_ssize_t bytes_for_sums(const Sums *job) noexcept nogil:
    """Memory that the sums of a planned call need, and the operand if it is widened."""
    return job.stretches * 2 * job.channels.count * sizeof(double) + job.channels.count * sizeof(float)


cdef void add_block(int kind, const char *terms, Py_ssize_t start, Py_ssize_t count, const Channels *channels,
                    double *sums) noexcept nogil:
    """Add terms, the first of which is number ``start``, to the sums of their channels."""
    cdef Py_ssize_t channel = start // channels.inner % channels.count, done = 0, run
    cdef Py_ssize_t left = channels.inner - start % channels.inner
    cdef int computed = computing(kind)
    cdef Py_ssize_t size = parameter_size(kind)
    while done < count:
        if channels.inner == 1:
            run = min(count - done, channels.count - channel)
            sums_of_each[computed](terms + done * size, run, sums + channel)
            channel = 0
        else:
            run = min(count - done, left)
            sums[channel] += sums_of[computed](terms + done * size, run)
            left = channels.inner
            channel = channel + 1 if channel + 1 < channels.count else 0
        done += run


cdef void sum_stretch(void *context, int stretch) noexcept nogil:
    """One stretch of a call, on whatever thread, in the floating-point mode of the caller."""
    cdef Sums *job = <Sums *> context
    cdef double terms[SUM_BLOCK]
    cdef Py_ssize_t count = job.channels.count, start = stretch * job.length, block = 0, stop, i
    cdef Py_ssize_t end = min(job.n, start + job.length)
    cdef double *group = job.sums + stretch * 2 * count
    cdef double *before = group + count
    cdef fp_state own = fp_enter_as(job.caller)
    memset(group, 0, 2 * count * sizeof(double))
    while start < end:
        stop = min(end, start + SUM_BLOCK)
        if job.kernel is NULL:
            add_block(job.kind, job.given[0] + start * element_size(job.kind), start, stop - start, job.channels, group)
        else:
            make_terms(job, start, stop, <char *> terms)
            add_block(job.kind, <char *> terms, start, stop - start, job.channels, group)
        block += 1
        if block % SUM_GROUP == 0:
            for i in range(count):
                before[i] += group[i]
                group[i] = 0.0
        start = stop
    for i in range(count):
        before[i] += group[i]
    if job.kernel is not NULL and job.streaming:
        stream_end()
    fp_leave(own)


cdef double sum_block(Sums *job) noexcept nogil:
    """What sum_stretch finds, of one channel in a single block."""
    cdef double terms[SUM_BLOCK]
    make_terms(job, 0, job.n, <char *> terms)
    # a sum begins at 0, so that none is -0.0
    return 0.0 + sums_of[computing(job.kind)](<char *> terms, job.n)


cdef void make_terms(Sums *job, Py_ssize_t start, Py_ssize_t stop, char *terms) noexcept nogil:
    """Elements start..stop of the gradient into its array, and their terms."""
    cdef float numbers[3][SUM_BLOCK]
    cdef char buffer[BLOCK_BYTES + CACHE_LINE]     # as many bytes as SUM_BLOCK numbers of float64
    cdef char *gradient = <char *> ((<size_t> &buffer[0] + CACHE_LINE - 1) & ~<size_t> (CACHE_LINE - 1))
    cdef char *target
    cdef char *data[MAX_OPERANDS]
    cdef Py_ssize_t steps[MAX_OPERANDS]
    cdef Rows rows
    cdef int n_arrays = job.entry.n_inputs - 1, kind = computing(job.kind)
    cdef bint widened = element_size(job.kind) == 2
    cdef Py_ssize_t size = parameter_size(job.kind), n_bytes = (stop - start) * element_size(job.kind), k
    # whole lines alone are streamed: where the array begins within one, none of its blocks is
    cdef bint streaming = job.streaming and n_bytes % CACHE_LINE == 0
    for k in range(n_arrays + 2):
        data[k] = job.given[k]
    target = data[n_arrays + 1] + start * element_size(job.kind)
    streaming = streaming and <size_t> target % CACHE_LINE == 0
    if streaming:
        data[n_arrays + 1] = gradient - start * size
    if job.n >= stream_from_elements:
        for k in range(n_arrays):
            prefetch(job.given[k] + start * element_size(job.kind), SUM_AHEAD, SUM_FETCHED)
    # operands are addressed by the number of the element, so a block begins where it would in an array
    data[n_arrays + 2] = terms - start * size
    if widened:
        for k in range(n_arrays):
            widen(job.kind, job.given[k] + 2 * start, stop - start, numbers[k])
            data[k] = <char *> numbers[k] - start * size
        data[n_arrays] = <char *> job.operand
        data[n_arrays + 1] = <char *> numbers[2] - start * size
    rows_of_channels(job.channels, job.entry, n_arrays, size, steps, &rows)
    if job.channels.count > 1:
        run_rows(job.kernel, job.entry, kind, data, steps, &rows, False, start, stop, NULL)
    else:
        for k in range(n_arrays + 3):
            data[k] += start * steps[k]
        if not run_short(job.kernel, job.entry, kind, data, steps, stop - start, NULL):
            run_range(job.kernel, job.entry, kind, data, steps, 0, stop - start, NULL)
    if widened:
        narrow(job.kind, numbers[2], stop - start, gradient if streaming else target)
    if streaming:
        stream(target, gradient, n_bytes)


cdef void add_stretches(const Sums *job) noexcept nogil:
    """The sums of all stretches, where those of the first one are."""
    cdef Py_ssize_t count = job.channels.count, i
    cdef int stretch
    cdef double *totals = job.sums + count
    for stretch in range(1, job.stretches):
        for i in range(count):
            totals[i] += job.sums[(2 * stretch + 1) * count + i]


cdef int sum_channels(int kind, const char *terms, Py_ssize_t n, const Channels *channels, double *sums) noexcept nogil:
    """Sums of terms that are there already, dense float32 or float64, in the same order.  -1 if there is no memory."""
    cdef Sums job
    cdef char *given = <char *> terms
    cdef int stretch
    if n == 0:
        memset(sums, 0, channels.count * sizeof(double))
        return 0
    plan_sums(&job, channels, n)
    job.sums = <double *> malloc(bytes_for_sums(&job))
    if job.sums is NULL:
        return -1
    job.kernel, job.kind, job.given, job.caller = NULL, kind, &given, fp_enter()
    for stretch in range(job.stretches):
        sum_stretch(&job, stretch)
    add_stretches(&job)
    fp_leave(job.caller)
    memcpy(sums, job.sums + channels.count, channels.count * sizeof(double))
    free(job.sums)
    return 0


cdef bint streams_gradient(const Sums *job, char **given) noexcept nogil:
    """Whether the gradient is to be streamed: one that is no input, of a call beyond the caches.

    What its kernel and its sums take does not matter here: blocks alternate between computing and memory in any case.
    """
    cdef int n_arrays = job.entry.n_inputs - 1, k
    if job.n < stream_from // ((n_arrays + 1) * element_size(job.kind)):
        return False
    for k in range(n_arrays):
        if given[k] == given[n_arrays + 1]:
            return False
    return not runs_python(job.entry, job.kernel, computing(job.kind))


cdef void drive_with_sums(Sums *job, Entry *entry, int kind, char **given, char *scratch, char *target) noexcept nogil:
    """A planned call of a backward whose last output is summed over each channel, into ``target``.

    ``given`` has all other operands.  The sums are stored after everything else has been read, so the target may be
    any memory.
    """
    cdef int computed = computing(kind), threads = 1, stretch
    cdef Py_ssize_t count = job.channels.count, size = element_size(kind), i
    cdef fp_state caller = fp_enter()
    job.kernel, job.entry, job.kind, job.given, job.caller = entry.active[computed], entry, kind, given, caller
    job.streaming = streams_gradient(job, given)
    job.sums = <double *> scratch
    job.operand = <float *> (scratch + job.stretches * 2 * count * sizeof(double))
    if size == 2:
        widen(kind, given[entry.n_inputs - 1], count, job.operand)
    if count == 1 and job.n <= SUM_BLOCK:
        store(kind, sum_block(job), target)
        fp_leave(caller)
        return
    if (thread_count > 1 and job.n >= entry.parallel_from[computed]
            and not runs_python(entry, job.kernel, computed)):
        threads = pool_run(sum_stretch, job, job.stretches, min(thread_count, job.stretches),
                           is_lengthy(entry, computed, job.n, entry.parallel_from[computed]))
    if threads == 1:
        for stretch in range(job.stretches):
            sum_stretch(job, stretch)
    add_stretches(job)
    for i in range(count):
        store(kind, job.sums[count + i], target + i * size)
    fp_leave(caller)
