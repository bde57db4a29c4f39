# The C interface: the table of fastact/include/fastact.h, which other people's extensions find through a capsule.
#
# Everything in it runs without the GIL, on any thread, and answers with a status.  All checks are made here, before the
# driver is called; what they know of memory is in operands.h.  A field may be appended, never moved (see the header).

cdef extern from "operands.h" nogil:
    ctypedef struct fastact_input:
        const void *data
        Py_ssize_t row_step, step
    ctypedef struct fastact_output:
        void *data
        Py_ssize_t row_step, step
    ctypedef struct fastact_call:
        size_t size
        Py_ssize_t rows, columns
        const fastact_input *inputs
        const fastact_output *outputs
        const double *parameters
        int dtype, n_inputs, n_outputs, n_parameters, threads
    ctypedef struct fastact_description:
        size_t size
        const char *name
        const char **inputs
        const char **parameters
        const double *defaults
        int n_inputs, n_outputs, n_parameters
    ctypedef struct fastact_table:
        size_t size
        unsigned int abi_version, api_version
        const char *version
        void *find
        void *kernel
        void *apply
        void *run
        void *get_threads
        void *set_threads
        void *instruction_set
        void *message
        void *activation
        void *describe
        void *sum_channels
    ctypedef struct fastact_operand:
        char *data
        Py_ssize_t row_step, step
    unsigned int FASTACT_ABI_VERSION, FASTACT_API_VERSION
    const char *FASTACT_CAPSULE
    enum:
        FASTACT_OK, FASTACT_ERROR_NULL, FASTACT_ERROR_LENGTH, FASTACT_ERROR_NAME, FASTACT_ERROR_DTYPE
        FASTACT_ERROR_DIRECTION, FASTACT_ERROR_OPERANDS, FASTACT_ERROR_PARAMETER, FASTACT_ERROR_STRIDE
        FASTACT_ERROR_OVERLAP, FASTACT_ERROR_THREADS, FASTACT_ERROR_NO_KERNEL, FASTACT_ERROR_VERSION
        FASTACT_ERROR_MEMORY
    Py_ssize_t FASTACT_MOST_ELEMENTS
    const char *fastact_message()
    int fastact_fail(int status, const char *format, ...)
    bint fastact_place(fastact_operand *operand, const void *data, Py_ssize_t rows, Py_ssize_t row_step,
                       Py_ssize_t columns, Py_ssize_t step, Py_ssize_t size)
    int fastact_check_operands(const char *name, const fastact_operand *operands, int n_inputs, int n_outputs,
                               Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t size)

cdef extern from "openmp.h" nogil:
    bint fastact_inside_openmp()

cdef extern from *:
    """
    #if defined(__GNUC__)
    #define fastact_publish(place, value) __atomic_store_n(&(place), (value), __ATOMIC_RELEASE)
    #define fastact_published(place) __atomic_load_n(&(place), __ATOMIC_ACQUIRE)
    #else
    #define fastact_publish(place, value) ((place) = (value))
    #define fastact_published(place) (place)
    #endif
    """
    void publish "fastact_publish"(Name *place, Name *value) nogil
    Name *published "fastact_published"(Name *place) nogil

cdef enum:
    MAX_THREADS = 1024
    MAX_DIRECTIONS = 3

cdef struct Name:
    # An activation under one of its names; a list that only grows, at its head, so that readers need no lock.
    const char *text
    int number                      # from 0; -1 for an alias
    Entry *directions[MAX_DIRECTIONS]
    Name *next

cdef Name *names = NULL
cdef const char *accepted_names = ""
cdef const char *instruction_set_name = "none"
# what the C strings above and the entries' names belong to; never emptied
cdef list kept = []


cdef const void *table_find(const char *activation, int direction) noexcept nogil:
    cdef Name *name = published(names)
    if activation is NULL:
        fastact_fail(FASTACT_ERROR_NULL, "activation: got NULL; accepted: a name such as \"gelu\"")
        return NULL
    if not 0 <= direction < MAX_DIRECTIONS:
        fastact_fail(FASTACT_ERROR_DIRECTION, "direction: got %d; accepted: 0 (forward), 1 (backward), "
                     "2 (backward from the output)", direction)
        return NULL
    while name is not NULL and strcmp(name.text, activation) != 0:
        name = name.next
    if name is NULL:
        fastact_fail(FASTACT_ERROR_NAME, "activation: got \"%.60s\"; accepted: %s", activation, accepted_names)
        return NULL
    if name.directions[direction] is NULL:
        fastact_fail(FASTACT_ERROR_DIRECTION, "direction: got %d, which %s does not have; its gradient needs the input",
                     direction, activation)
    return name.directions[direction]


cdef int check_dtype(const Entry *entry, int dtype) noexcept nogil:
    if not 0 <= dtype <= FASTACT_BFLOAT16:
        return fastact_fail(FASTACT_ERROR_DTYPE, "%s: dtype: got %d; accepted: 0 (float32), 1 (float64), 2 (float16), "
                            "3 (bfloat16)", entry.name, dtype)
    return FASTACT_OK


cdef int table_kernel(const void *function, int dtype, kernel_function *kernel) noexcept nogil:
    cdef Entry *entry = <Entry *> function
    cdef Kernel *found
    cdef int status
    if entry is NULL or kernel is NULL:
        return fastact_fail(FASTACT_ERROR_NULL, "%s: got NULL", "function" if entry is NULL else "kernel")
    status = check_dtype(entry, dtype)
    if status != FASTACT_OK:
        return status
    if dtype != FASTACT_FLOAT32 and dtype != FASTACT_FLOAT64:
        return fastact_fail(FASTACT_ERROR_DTYPE, "%s: dtype: got %d (%s), whose kernels are not given away: their "
                            "parameters are float32; accepted: 0 (float32), 1 (float64)", entry.name, dtype,
                            "float16" if dtype == FASTACT_FLOAT16 else "bfloat16")
    found = entry.active[dtype]
    if found is NULL:
        found = resolve(entry, dtype)
    if found is NULL:
        return no_kernel(entry)
    kernel[0] = found.function
    return FASTACT_OK


cdef int no_kernel(const Entry *entry) noexcept nogil:
    return fastact_fail(FASTACT_ERROR_NO_KERNEL, "%s: the chosen backend could not make a kernel", entry.name)


cdef int read_parameters(const Entry *entry, int dtype, const double *given, int count, double *scalars) noexcept nogil:
    """The parameters, defaults filled in, if the activation accepts them in the precision that computes."""
    cdef int k
    if not 0 <= count <= entry.n_scalars:
        return fastact_fail(FASTACT_ERROR_PARAMETER, "%s: n_parameters: got %d; accepted: 0 to %d", entry.name, count,
                            entry.n_scalars)
    if count > 0 and given is NULL:
        return fastact_fail(FASTACT_ERROR_NULL, "%s: parameters: got NULL for %d parameters", entry.name, count)
    for k in range(entry.n_scalars):
        scalars[k] = given[k] if k < count else entry.defaults[k]
        if k < count and not (is_accepted(entry.accepts[k], scalars[k])
                              and (dtype == FASTACT_FLOAT64 or is_accepted(entry.accepts[k], single(scalars[k])))):
            return fastact_fail(
                FASTACT_ERROR_PARAMETER, "%s: parameters[%d]: got %g; accepted: a finite number%s, also after rounding "
                "to the precision that computes", entry.name, k, scalars[k],
                "" if entry.accepts[k] == ACCEPTS_FINITE else " > 0" if entry.accepts[k] == ACCEPTS_POSITIVE else " >= 0"
            )
    return FASTACT_OK


cdef int finish(Entry *entry, int dtype, fastact_operand *operands, Py_ssize_t rows_count, Py_ssize_t columns,
                const double *parameters, int n_parameters, int threads) noexcept nogil:
    """What apply and run have in common, once the operands are placed and there is at least one element."""
    cdef int n_operands = entry.n_inputs + entry.n_outputs, k, status
    cdef Py_ssize_t size = element_size(dtype), n = rows_count * columns
    cdef double scalars[MAX_SCALARS]
    cdef char *data[MAX_OPERANDS]
    cdef Py_ssize_t steps[MAX_OPERANDS]
    cdef Rows rows
    cdef bint is_one_run = True
    status = read_parameters(entry, dtype, parameters, n_parameters, scalars)
    if status == FASTACT_OK:
        status = fastact_check_operands(entry.name, operands, entry.n_inputs, entry.n_outputs, rows_count, columns, size)
    if status != FASTACT_OK:
        return status
    rows.columns, rows.cycling, rows.period = columns, -1, 1
    for k in range(n_operands):
        data[k], steps[k], rows.row_steps[k] = operands[k].data, operands[k].step, operands[k].row_step
        if columns == 1:
            steps[k] = rows.row_steps[k]
        elif rows_count > 1 and rows.row_steps[k] != columns * steps[k]:
            is_one_run = False
    threads = thread_count if threads == 0 else threads
    if threads > 1 and n >= entry.parallel_from[dtype] and fastact_inside_openmp():
        threads = 1
    if drive(entry, dtype, data, steps, n, scalars, NULL if is_one_run else &rows, threads) < 0:
        return no_kernel(entry)
    return FASTACT_OK


cdef int check_call(const Entry *entry, int dtype, int threads) noexcept nogil:
    cdef int status = check_dtype(entry, dtype)
    if status != FASTACT_OK:
        return status
    if not 0 <= threads <= MAX_THREADS:
        return fastact_fail(FASTACT_ERROR_THREADS, "%s: threads: got %d; accepted: 0 (as many as the process allows) to "
                            "%d", entry.name, threads, <int> MAX_THREADS)
    return FASTACT_OK


cdef int place(const Entry *entry, fastact_operand *operand, int k, const void *data, Py_ssize_t rows,
               Py_ssize_t row_step, Py_ssize_t columns, Py_ssize_t step, int dtype) noexcept nogil:
    cdef const char *kind = "inputs" if k < entry.n_inputs else "outputs"
    cdef int number = k if k < entry.n_inputs else k - entry.n_inputs
    if data is NULL:
        return fastact_fail(FASTACT_ERROR_NULL, "%s: %s[%d]: got NULL; accepted: an address, for %td x %td elements",
                            entry.name, kind, number, rows, columns)
    if not fastact_place(operand, data, rows, row_step, columns, step, element_size(dtype)):
        return fastact_fail(FASTACT_ERROR_STRIDE, "%s: %s[%d]: got steps %td (rows) and %td for %td x %td elements, which "
                            "leave the address space", entry.name, kind, number, row_step, step, rows, columns)
    return FASTACT_OK


cdef int table_apply(const void *function, int dtype, const void **inputs, void **outputs, Py_ssize_t count,
                     const double *parameters, int n_parameters, int threads) noexcept nogil:
    cdef Entry *entry = <Entry *> function
    cdef fastact_operand operands[MAX_OPERANDS]
    cdef Py_ssize_t size
    cdef int k, status
    if entry is NULL:
        return fastact_fail(FASTACT_ERROR_NULL, "function: got NULL; accepted: what find() returned")
    status = check_call(entry, dtype, threads)
    if status != FASTACT_OK:
        return status
    if not 0 <= count <= FASTACT_MOST_ELEMENTS:
        return fastact_fail(FASTACT_ERROR_LENGTH, "%s: count: got %td; accepted: 0 and more, no more than memory can hold",
                            entry.name, count)
    if count == 0:
        return FASTACT_OK
    if inputs is NULL or outputs is NULL:
        return fastact_fail(FASTACT_ERROR_NULL, "%s: %s: got NULL", entry.name, "inputs" if inputs is NULL else "outputs")
    size = element_size(dtype)
    for k in range(entry.n_inputs + entry.n_outputs):
        status = place(entry, &operands[k], k, inputs[k] if k < entry.n_inputs else outputs[k - entry.n_inputs],
                       1, 0, count, size, dtype)
        if status != FASTACT_OK:
            return status
    return finish(entry, dtype, operands, 1, count, parameters, n_parameters, threads)


cdef int table_run(const void *function, const fastact_call *call) noexcept nogil:
    cdef Entry *entry = <Entry *> function
    cdef fastact_operand operands[MAX_OPERANDS]
    cdef const fastact_input *source
    cdef const fastact_output *target
    cdef int k, status
    if entry is NULL or call is NULL:
        return fastact_fail(FASTACT_ERROR_NULL, "%s: got NULL", "function" if entry is NULL else "call")
    if call.size != sizeof(fastact_call):
        return fastact_fail(FASTACT_ERROR_VERSION, "%s: call->size: got %zu; accepted: %zu (sizeof(fastact_call))",
                            entry.name, call.size, sizeof(fastact_call))
    status = check_call(entry, call.dtype, call.threads)
    if status != FASTACT_OK:
        return status
    if (call.rows < 0 or call.columns < 0 or call.columns > FASTACT_MOST_ELEMENTS
            or (call.rows > 1 and call.columns > FASTACT_MOST_ELEMENTS // call.rows)):
        return fastact_fail(FASTACT_ERROR_LENGTH, "%s: rows, columns: got %td, %td; accepted: 0 and more, in all no more "
                            "than memory can hold", entry.name, call.rows, call.columns)
    if call.n_inputs != entry.n_inputs or call.n_outputs != entry.n_outputs:
        return fastact_fail(FASTACT_ERROR_OPERANDS, "%s: n_inputs, n_outputs: got %d, %d; accepted: %d, %d", entry.name,
                            call.n_inputs, call.n_outputs, entry.n_inputs, entry.n_outputs)
    if call.rows == 0 or call.columns == 0:
        return FASTACT_OK
    if call.inputs is NULL or call.outputs is NULL:
        return fastact_fail(FASTACT_ERROR_NULL, "%s: %s: got NULL", entry.name,
                            "inputs" if call.inputs is NULL else "outputs")
    for k in range(entry.n_inputs):
        source = &call.inputs[k]
        status = place(entry, &operands[k], k, source.data, call.rows, source.row_step, call.columns, source.step,
                       call.dtype)
        if status != FASTACT_OK:
            return status
    for k in range(entry.n_outputs):
        target = &call.outputs[k]
        status = place(entry, &operands[entry.n_inputs + k], entry.n_inputs + k, target.data, call.rows, target.row_step,
                       call.columns, target.step, call.dtype)
        if status != FASTACT_OK:
            return status
    return finish(entry, call.dtype, operands, call.rows, call.columns, call.parameters, call.n_parameters, call.threads)


cdef int table_get_threads() noexcept nogil:
    return thread_count


cdef int table_set_threads(int count) noexcept nogil:
    global thread_count
    if not 1 <= count <= MAX_THREADS:
        return fastact_fail(FASTACT_ERROR_THREADS, "count: got %d; accepted: 1 to %d", count, <int> MAX_THREADS)
    thread_count = count if has_threads() else 1
    return FASTACT_OK


cdef const char *table_instruction_set() noexcept nogil:
    return instruction_set_name


cdef const char *table_activation(int index) noexcept nogil:
    cdef Name *name = published(names)
    if index < 0:
        return NULL
    while name is not NULL and name.number != index:
        name = name.next
    if name is NULL:
        return NULL
    return name.text


cdef int table_describe(const void *function, fastact_description *description) noexcept nogil:
    cdef Entry *entry = <Entry *> function
    if entry is NULL or description is NULL:
        return fastact_fail(FASTACT_ERROR_NULL, "%s: got NULL",
                            "function" if entry is NULL else "description")
    if description.size != sizeof(fastact_description):
        return fastact_fail(FASTACT_ERROR_VERSION, "%s: description->size: got %zu; accepted: %zu "
                            "(sizeof(fastact_description))", entry.name, description.size, sizeof(fastact_description))
    description.name, description.defaults = entry.name, entry.defaults
    description.inputs, description.parameters = entry.input_names, entry.scalar_names
    description.n_inputs, description.n_outputs = entry.n_inputs, entry.n_outputs
    description.n_parameters = entry.n_scalars
    return FASTACT_OK


cdef int table_sum_channels(int dtype, const void *terms, Py_ssize_t count, Py_ssize_t channel_count, Py_ssize_t inner,
                            double *sums) noexcept nogil:
    cdef Channels channels
    if not 0 <= dtype <= FASTACT_FLOAT64:
        return fastact_fail(FASTACT_ERROR_DTYPE, "sum_channels: dtype: got %d; accepted: 0 (float32), 1 (float64)", dtype)
    if (channel_count < 1 or inner < 1 or not 0 <= count <= FASTACT_MOST_ELEMENTS or channel_count > FASTACT_MOST_ELEMENTS // inner
            or count % (channel_count * inner)):
        return fastact_fail(FASTACT_ERROR_LENGTH, "sum_channels: count, channels, inner: got %td, %td, %td; accepted: 1 "
                            "and more, a count that is a multiple of both together", count, channel_count, inner)
    if sums is NULL or (terms is NULL and count):
        return fastact_fail(FASTACT_ERROR_NULL, "sum_channels: %s: got NULL", "sums" if sums is NULL else "terms")
    channels.count, channels.inner = channel_count, inner
    if sum_channels(dtype, <const char *> terms, count, &channels, sums) < 0:
        return fastact_fail(FASTACT_ERROR_MEMORY, "sum_channels: no memory for %td channels", channel_count)
    return FASTACT_OK


cdef fastact_table table


cdef object make_table():
    """Fill in the table and return its capsule; the package then says what it is (``introduce``, ``enter_name``)."""
    table.size = sizeof(fastact_table)
    table.abi_version, table.api_version = FASTACT_ABI_VERSION, FASTACT_API_VERSION
    table.version = ""
    table.find = <void *> table_find
    table.kernel = <void *> table_kernel
    table.apply = <void *> table_apply
    table.run = <void *> table_run
    table.get_threads = <void *> table_get_threads
    table.set_threads = <void *> table_set_threads
    table.instruction_set = <void *> table_instruction_set
    table.message = <void *> fastact_message
    table.activation = <void *> table_activation
    table.describe = <void *> table_describe
    table.sum_channels = <void *> table_sum_channels
    return PyCapsule_New(&table, FASTACT_CAPSULE, NULL)


_C_API = make_table()


cdef const char *keep(str text):
    """The text as a C string that is never freed."""
    cdef bytes encoded = text.encode()
    kept.append(encoded)
    return encoded


def introduce(str version, str instruction_set):
    """What the table says of the package and of its compiled kernels."""
    global instruction_set_name
    table.version = keep(version)
    instruction_set_name = keep(instruction_set)


cdef int name_count():
    """How many activations there are, aliases not counted."""
    cdef int count = 0
    while table_activation(count) is not NULL:
        count += 1
    return count


def enter_name(str text, functions, bint is_alias):
    """Let ``find`` know an activation under a name: its functions in all directions it has."""
    global accepted_names
    cdef ElementwiseFunction function
    cdef Name *name = <Name *> calloc(1, sizeof(Name))
    if name is NULL:
        raise MemoryError
    name.text = keep(text)
    for function in functions:
        name.directions[("forward", "backward", "backward_from_output").index(function.direction)] = &function.entry
        kept.append(function)
    name.next = names
    name.number = -1 if is_alias else name_count()
    publish(names, name)
    accepted_names = keep(accepted_names.decode() + (", " if accepted_names[0] else "") + text)
