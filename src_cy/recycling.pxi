# Recycled outputs: large new arrays whose memory comes from recycling.h, by NumPy's memory handlers (NEP 49).
#
# Such an array is an ordinary one that owns its data.  It carries the handler that its memory came from, so it can be
# resized, pickled and freed like any other.  The handler is set only while the array is made; whoever has set one of
# their own gets theirs.

cdef extern from "recycling.h" nogil:
    bint FASTACT_RECYCLES
    void *handler_malloc "fastact_handler_malloc"(void *context, size_t size)
    void *handler_calloc "fastact_handler_calloc"(void *context, size_t count, size_t size)
    void *handler_realloc "fastact_handler_realloc"(void *context, void *block, size_t size)
    void handler_free "fastact_handler_free"(void *context, void *block, size_t size)
    int recycling_start "fastact_recycling_start"()
    void set_bound "fastact_set_recycling"(size_t n_bytes, bint huge)
    size_t release_kept_blocks "fastact_release_kept"()
    size_t recycling_bound "fastact_recycling_bound"()
    size_t recycling_kept "fastact_recycling_kept"()

cdef extern from "numpy/arrayobject.h":
    ctypedef struct PyDataMemAllocator:
        void *ctx
        void *(*malloc)(void *, size_t) noexcept nogil
        void *(*calloc)(void *, size_t, size_t) noexcept nogil
        void *(*realloc)(void *, void *, size_t) noexcept nogil
        void (*free)(void *, void *, size_t) noexcept nogil
    ctypedef struct PyDataMem_Handler:
        char *name
        unsigned char version
        PyDataMemAllocator allocator
    object PyDataMem_SetHandler(object)
    object PyDataMem_GetHandler()
    PyObject *PyDataMem_DefaultHandler

cdef extern from "pycapsule.h":
    object PyCapsule_New(void *pointer, const char *name, void *destructor)

cdef enum:
    # NumPy asks for huge pages from 4 MiB on, and up to 32 MiB malloc may or may not reuse what was freed, depending on
    # what lies above it: relu of 1 Mi float32 takes 0.06 ns for an element or 0.6, of 4 Mi 0.17 or 0.45.
    RECYCLE_FROM = 4194304

# Arrays may outlive the module, and point to both.
cdef PyDataMem_Handler recycling_handler
cdef object recycling_capsule = None


cdef np.ndarray new_output(np.ndarray x, bint fortran, Py_ssize_t n_bytes):
    """An array as x is, with any content."""
    cdef object former
    if n_bytes < RECYCLE_FROM or <size_t> n_bytes > recycling_bound():
        return <np.ndarray> PyArray_EMPTY(PyArray_NDIM(x), PyArray_DIMS(x), PyArray_TYPE(x), fortran)
    former = PyDataMem_GetHandler()
    if <PyObject *> former is not PyDataMem_DefaultHandler:
        return <np.ndarray> PyArray_EMPTY(PyArray_NDIM(x), PyArray_DIMS(x), PyArray_TYPE(x), fortran)
    PyDataMem_SetHandler(recycling_capsule)
    try:
        return <np.ndarray> PyArray_EMPTY(PyArray_NDIM(x), PyArray_DIMS(x), PyArray_TYPE(x), fortran)
    finally:
        PyDataMem_SetHandler(former)


def start_recycling():
    """Make the handler; the package calls it once."""
    global recycling_capsule
    memcpy(recycling_handler.name, b"fastact", sizeof(b"fastact"))
    recycling_handler.version = 1
    recycling_handler.allocator.malloc = handler_malloc
    recycling_handler.allocator.calloc = handler_calloc
    recycling_handler.allocator.realloc = handler_realloc
    recycling_handler.allocator.free = handler_free
    recycling_capsule = PyCapsule_New(&recycling_handler, "mem_handler", NULL)
    if recycling_start() != 0:
        raise OSError("fastact could not register its fork handler")


def set_recycling_bound(size_t n_bytes, bint huge):
    """Keep at most so many bytes of freed outputs, in huge pages or not."""
    with nogil:
        set_bound(n_bytes, huge)


def get_recycling_bound():
    return recycling_bound()


def get_recycling_kept():
    """Bytes of the freed outputs that are kept now."""
    return recycling_kept()


def release_kept():
    """Give back what is kept; returns how many bytes that was."""
    cdef size_t n_bytes
    with nogil:
        n_bytes = release_kept_blocks()
    return n_bytes


def can_recycle():
    """Whether this build can keep freed outputs."""
    return bool(FASTACT_RECYCLES)
