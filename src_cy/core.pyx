# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# distutils: language=c
"""The compiled middle of fastact: the kernel table, the driver, the ufuncs and the public callables.

A public callable takes the direct way to the driver when it is given exact, dense ndarrays of one native dtype, and
hands everything else to Python (``calls.py``), which checks the arguments and calls the ufunc of the same name.  The
ufunc's inner loop is the same driver: there is no second semantics.

The direct way is a vectorcall function written by hand, because Cython's ``__call__`` builds a tuple and a dict for
each call, which costs more than all the rest.
"""

cimport cython
from cpython.object cimport PyObject
from libc.math cimport INFINITY, isfinite
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memset, strcmp

import sys

import numpy

cimport numpy as np
from numpy cimport npy_intp

np.import_array()
np.import_ufunc()

cdef extern from "numpy/ufuncobject.h":
    ctypedef void (*PyUFuncGenericFunction)(char **, const npy_intp *, const npy_intp *, void *)
    object PyUFunc_FromFuncAndData(
        PyUFuncGenericFunction *loops, void **data, char *types, int n_types, int n_in, int n_out, int identity,
        const char *name, const char *doc, int unused
    )
    int PyUFunc_None

cdef extern from "numpy/arrayobject.h":
    enum: NPY_HALF
    bint PyArray_CheckExact(object)
    bint PyArray_ISCARRAY_RO(np.ndarray)
    bint PyArray_ISFARRAY_RO(np.ndarray)
    bint PyArray_ISWRITEABLE(np.ndarray)
    int PyArray_TYPE(np.ndarray)
    int PyArray_NDIM(np.ndarray)
    npy_intp *PyArray_DIMS(np.ndarray)
    char *PyArray_BYTES(np.ndarray)
    npy_intp PyArray_SIZE(np.ndarray)
    object PyArray_EMPTY(int ndim, npy_intp *dims, int type_number, int fortran)

cdef extern from "Python.h":
    ctypedef struct PyTypeObject:
        unsigned long tp_flags
        Py_ssize_t tp_vectorcall_offset
    ctypedef PyObject *(*vectorcallfunc)(PyObject *, PyObject **, size_t, PyObject *)
    Py_ssize_t PyVectorcall_NARGS(size_t)
    void PyErr_SetObject(object, object)
    void PyErr_WriteUnraisable(object)
    unsigned long Py_TPFLAGS_HAVE_VECTORCALL
    Py_ssize_t PyTuple_GET_SIZE(PyObject *)
    PyObject *PyTuple_GET_ITEM(PyObject *, Py_ssize_t)
    bint PyTuple_CheckExact(object)
    PyObject *Py_None
    enum: PY_SSIZE_T_MAX

# Set once by the package (install): what makes a missing kernel; what serves every call that is not the plain case;
# what writes docstrings and signatures; what knows the functions for other people's compiled code.
cdef object resolver = None
cdef object general_call = None
cdef object documentation = None
cdef object embedding = None

# Of the dtypes that there are kernels for, by their numbers in fastact.h.
cdef tuple KIND_NAMES = ("float32", "float64", "float16", "bfloat16")
cdef tuple POOLS = ("own", "openmp", "auto")  # as in pool.h

cdef enum:
    # From here on the GIL is released: below, giving it back and forth costs more than the work.
    RELEASE_GIL_FROM = 8192

include "driver.pxi"
include "ufuncs.pxi"
include "recycling.pxi"

cdef dict ACCEPTS = {
    "a finite number": ACCEPTS_FINITE,
    "a finite number > 0": ACCEPTS_POSITIVE,
    "a finite number >= 0": ACCEPTS_NON_NEGATIVE,
}


cdef class ElementwiseFunction:
    """One activation in one direction: the public callable ``fastact.gelu``, ``fastact.gelu_backward`` ..."""

    cdef vectorcallfunc vectorcall
    cdef Entry entry
    cdef bint plain
    cdef object __weakref__
    cdef readonly object row
    cdef readonly str direction
    cdef readonly str name
    cdef readonly tuple array_names
    cdef readonly tuple operand_names
    cdef readonly tuple scalar_names
    cdef readonly tuple scalar_accepts
    cdef readonly object ufunc

    def __init__(self, row, str direction):
        cdef int k
        chained = direction != "forward"
        from_output = direction == "backward_from_output"
        self.row = row
        self.direction = direction
        self.name = sys.intern(row.function_name(direction))
        self.array_names = (("grad",) if chained else ()) + (("y",) if from_output else ("x",))
        self.operand_names = tuple(p.name for p in row.operands)
        self.scalar_names = tuple(sys.intern(p.name) for p in row.scalars)
        self.scalar_accepts = tuple(p.accepts_from_output if from_output else p.accepts for p in row.scalars)
        self.entry.n_inputs = len(self.array_names) + len(self.operand_names)
        self.entry.n_outputs = 1 + (len(self.operand_names) if direction == "backward" else 0)
        self.entry.n_scalars = len(self.scalar_names)
        self.entry.operand = self.entry.n_inputs - 1 if self.operand_names else -1
        if (self.entry.n_inputs + self.entry.n_outputs > MAX_OPERANDS
                or self.entry.n_scalars + len(self.operand_names) > MAX_SCALARS):
            raise ValueError(f"{self.name}: more operands or parameters than the driver has room for")
        for k in range(self.entry.n_scalars):
            self.entry.defaults[k] = row.scalars[k].default
            self.entry.accepts[k] = ACCEPTS[self.scalar_accepts[k]]
        self.entry.owner = <PyObject *> self
        self.entry.name = keep(self.name)
        for k, name in enumerate(self.array_names + self.operand_names):
            self.entry.input_names[k] = keep(name)
        for k, name in enumerate(self.scalar_names):
            self.entry.scalar_names[k] = keep(name)
        self.plain = not self.operand_names
        if len(self.operand_names) > 1:
            raise ValueError(f"{self.name}: more than one per-channel operand, which nobody has needed yet")
        self.vectorcall = <vectorcallfunc> call_vector
        self.ufunc = make_ufunc(&self.entry, self.name.encode(), f"ufunc of fastact.{self.name}".encode())
        add_promoter(self)

    # -- the kernel table -----------------------------------------------------------------------------------------

    def supply(self, int backend, int kind, size_t address, bint distinct, size_t uniform=0, size_t streaming=0):
        """Enter a kernel of a backend: address of a ``kernel_function``; kinds are the dtypes of ``dispatch.DTYPES``.

        ``uniform``: of the kernel for a per-channel operand of one value, ``streaming``: of the one that writes past the
        caches, if there are such.
        """
        # first they are taken away: a call in another thread never finds those of another kernel
        self.entry.kernels[backend][kind].uniform = self.entry.kernels[backend][kind].streaming = NULL
        self.entry.kernels[backend][kind].distinct = distinct
        self.entry.kernels[backend][kind].function = <kernel_function> <void *> address
        self.entry.kernels[backend][kind].uniform = <kernel_function> <void *> uniform
        self.entry.kernels[backend][kind].streaming = <kernel_function> <void *> streaming

    def activate(self, int backend, int kind):
        """Let a backend's kernel serve from now on; a backend without a kernel here is resolved at the next call."""
        cdef Kernel *kernel = &self.entry.kernels[backend][kind] if backend >= 0 else NULL
        # one pointer is swapped, so a call in another thread sees the old kernel or the new one, whole
        self.entry.active[kind] = kernel if kernel is not NULL and kernel.function is not NULL else NULL

    def prepare(self, int kind):
        """Make the kernel now if it is yet to be made: here an exception reaches the caller, in a ufunc's loop not."""
        if self.entry.active[kind] is NULL:
            resolver(self, KIND_NAMES[kind])

    def serving(self, int kind):
        """Index of the backend whose kernel is active, or -1 if it is yet to be made."""
        cdef int backend
        for backend in range(3):
            if self.entry.active[kind] is &self.entry.kernels[backend][kind]:
                return backend
        return -1

    @property
    def parallel_from(self):
        """Numbers of elements from which threads are used, for each dtype of ``dispatch.DTYPES``."""
        return tuple([self.entry.parallel_from[kind] for kind in range(KINDS)])

    @parallel_from.setter
    def parallel_from(self, numbers):
        for kind, number in zip(range(KINDS), numbers, strict=True):
            self.entry.parallel_from[kind] = number

    @property
    def streams_on(self):
        """Numbers of threads from which large outputs are streamed, for each dtype of ``dispatch.DTYPES``."""
        return tuple([self.entry.streams_on[kind] for kind in range(KINDS)])

    @streams_on.setter
    def streams_on(self, numbers):
        for kind, number in zip(range(KINDS), numbers, strict=True):
            self.entry.streams_on[kind] = number

    # -- calls ----------------------------------------------------------------------------------------------------

    def __call__(self, *args, **kwargs):
        return general_call(self, args, kwargs)

    cdef bint bind(self, PyObject **args, Py_ssize_t n_positional, PyObject *keywords, double *scalars,
                   PyObject **out) except -1:
        """Find the parameters and ``out``; False if this call is not for the compiled ways."""
        cdef int n_inputs = self.entry.n_inputs, n_scalars = self.entry.n_scalars, k
        cdef Py_ssize_t position
        cdef PyObject *name
        cdef PyObject *value
        if n_positional < n_inputs or n_positional > n_inputs + n_scalars:
            return False
        for k in range(n_scalars):
            scalars[k] = self.entry.defaults[k]
            if n_inputs + k < n_positional:
                scalars[k] = self.scalar(k, <object> args[n_inputs + k])
        if keywords is NULL:
            return True
        for position in range(PyTuple_GET_SIZE(keywords)):
            name = PyTuple_GET_ITEM(keywords, position)
            value = args[n_positional + position]
            if name is <PyObject *> OUT:
                if PyTuple_CheckExact(<object> value) and PyTuple_GET_SIZE(value) == 1:
                    value = PyTuple_GET_ITEM(value, 0)
                    if not PyArray_CheckExact(<object> value):
                        return False
                out[0] = value
                continue
            for k in range(n_scalars):
                if name is <PyObject *> self.scalar_names[k] and n_inputs + k >= n_positional:
                    scalars[k] = self.scalar(k, <object> value)
                    break
            else:
                return False
        return True

    cdef object direct(self, PyObject **args, Py_ssize_t n_positional, PyObject *keywords):
        """The plain case: exact dense ndarrays of one dtype.  None if this call is not one."""
        cdef double scalars[MAX_SCALARS]
        cdef char *data[MAX_OPERANDS]
        cdef Py_ssize_t steps[MAX_OPERANDS]
        cdef PyObject *out = NULL
        cdef int n_inputs = self.entry.n_inputs, n_scalars = self.entry.n_scalars, k, kind
        cdef Py_ssize_t n, n_bytes, position
        cdef np.ndarray x, other, result
        cdef bint is_c
        if not self.bind(args, n_positional, keywords, scalars, &out):
            return None
        if not PyArray_CheckExact(<object> args[0]):
            return None
        x = <np.ndarray> args[0]
        kind = kind_of(PyArray_TYPE(x))
        if kind < 0:
            return None
        if kind != FASTACT_FLOAT64:
            for k in range(n_scalars):
                self.check(k, single(scalars[k]), scalars[k])
        is_c = PyArray_ISCARRAY_RO(x)
        if not (is_c or PyArray_ISFARRAY_RO(x)):
            return None
        n = PyArray_SIZE(x)
        n_bytes = n * element_size(kind)
        data[0] = PyArray_BYTES(x)
        steps[0] = element_size(kind)
        for k in range(1, n_inputs):
            if not same_layout(x, <object> args[k], is_c):
                return None
            data[k] = PyArray_BYTES(<np.ndarray> args[k])
            steps[k] = steps[0]
        if out is NULL or out is Py_None:
            result = new_output(x, not is_c, n_bytes)
        else:
            if not same_layout(x, <object> out, is_c):
                return None
            result = <np.ndarray> out
            if not PyArray_ISWRITEABLE(result):
                return None
            for k in range(n_inputs):
                # in place and disjoint are fine; overlap needs a copy, which NumPy's machinery makes
                position = PyArray_BYTES(result) - data[k]
                if position != 0 and -n_bytes < position < n_bytes:
                    return None
        data[n_inputs] = PyArray_BYTES(result)
        steps[n_inputs] = steps[0]
        if self.entry.active[kind] is NULL:
            resolver(self, KIND_NAMES[kind])
        if n < RELEASE_GIL_FROM:
            drive(&self.entry, kind, data, steps, n, scalars, NULL, thread_count)
        else:
            with nogil:
                drive(&self.entry, kind, data, steps, n, scalars, NULL, thread_count)
        return result

    cdef double scalar(self, int k, object value) except? -1.0:
        """A parameter as a number that the row accepts."""
        cdef double number
        try:
            number = value
        except TypeError:
            raise TypeError(
                f"{self.name}: {self.scalar_names[k]}: got {value!r}; accepted: {self.scalar_accepts[k]}"
            ) from None
        except OverflowError:  # an int beyond every float
            number = INFINITY
        self.check(k, number, value)
        return number

    cdef int check(self, int k, double number, object value) except -1:
        """Whether a parameter, rounded to the precision that computes, is what the row accepts."""
        if not is_accepted(self.entry.accepts[k], number):
            raise ValueError(
                f"{self.name}: {self.scalar_names[k]}: got {value!r}; accepted: {self.scalar_accepts[k]}, "
                "also after rounding to the precision that computes"
            )
        return 0

    def check_scalar(self, int k, value, bint double_precision):
        """``value`` as a float, if the k-th scalar parameter accepts it in that precision."""
        cdef double number = self.scalar(k, value)
        if not double_precision:
            self.check(k, single(number), value)
        return number

    # -- other people's compiled code -----------------------------------------------------------------------------

    def kernel_address(self, int kind):
        """Address of the kernel that serves now."""
        self.prepare(kind)
        return <size_t> <void *> self.entry.active[kind].function

    def address(self, dtype, direction=None, form="array"):
        """Return the address of a C function that computes this activation, for ctypes, cffi and others.

        Parameters
        ----------
        dtype : {"float32", "float64"}
            Type of the elements.
        direction : {"forward", "backward", "backward_from_output"}, optional
            By default this function's own.
        form : {"array", "scalar", "kernel"}, optional
            ``array``: a status (0, or an error of ``fastact.h``) from pointers to contiguous elements, their number,
            and the parameters.  ``scalar``: one number from numbers.  ``kernel``: the innermost loop, see
            ``fastact_kernel`` in ``fastact.h``; it takes multiples of 16 elements.

        Returns
        -------
        int
            Valid as long as the process lives.  ``c_signature`` with the same arguments tells the function's type.

        Raises
        ------
        ValueError
            If an argument is none of these, or the activation has no such direction.

        Examples
        --------
        >>> import ctypes, fastact
        >>> fastact.gelu.c_signature("float64", form="scalar")
        'double (double x)'
        >>> gelu = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)(fastact.gelu.address("float64", form="scalar"))
        >>> gelu(1.5) == fastact.gelu(1.5)
        True
        """
        return embedding.address(self, dtype, direction, form)

    def c_signature(self, dtype, direction=None, form="array"):
        """Return the C type of the function whose address ``address`` returns for the same arguments.

        Examples
        --------
        >>> import fastact
        >>> fastact.elu.c_signature("float32", "backward")
        'int (const float *grad, const float *x, float *out, ptrdiff_t count, double alpha)'
        """
        return embedding.signature(self, dtype, direction, form)

    def low_level_callable(self, **parameters):
        """Return a ``scipy.LowLevelCallable`` of one float64 element, for SciPy's integrators and filters.

        Its signature is ``double (double)``, with one more ``double`` in front for ``grad`` in a backward, and one
        ``void *`` behind for an activation that has parameters.

        Parameters
        ----------
        **parameters
            Values of the activation's parameters; the others have their defaults.

        Raises
        ------
        TypeError
            If there is no such parameter.
        ValueError
            If the activation does not accept the value.

        Examples
        --------
        >>> import fastact
        >>> from scipy.integrate import quad
        >>> round(quad(fastact.softplus.low_level_callable(beta=2.0), -1, 1)[0], 6)
        0.845727
        """
        return embedding.low_level_callable(self, parameters)

    # -- how Python sees it ---------------------------------------------------------------------------------------

    @property
    def __name__(self):
        return self.name

    @property
    def __qualname__(self):
        return self.name

    @property
    def __module__(self):
        return "fastact"

    @property
    def __doc__(self):
        return documentation.docstring(self)

    @property
    def __signature__(self):
        return documentation.signature(self)

    def __repr__(self):
        return f"<fastact function {self.name}>"

    def __reduce__(self):
        return self.name


cdef bint is_accepted(int accepts, double number) noexcept nogil:
    return isfinite(number) and not (
        (accepts == ACCEPTS_POSITIVE and number <= 0) or (accepts == ACCEPTS_NON_NEGATIVE and number < 0)
    )


def quietly(function, *arguments):
    """Call a Python function with floating-point traps masked; the caller's state is what it was afterwards."""
    cdef fp_state caller = fp_enter()
    try:
        return function(*arguments)
    finally:
        fp_leave(caller)


cdef inline int kind_of(int type_number) noexcept nogil:
    """Which of the four kinds of element a NumPy type is; -1: none, or bfloat16 that nobody has met yet."""
    if type_number == np.NPY_FLOAT:
        return FASTACT_FLOAT32
    if type_number == np.NPY_DOUBLE:
        return FASTACT_FLOAT64
    if type_number == NPY_HALF:
        return FASTACT_FLOAT16
    return FASTACT_BFLOAT16 if type_number == bfloat16_number else -1


cdef double single(double number) noexcept nogil:
    """The number rounded to float32, without leaving a flag of that in the caller's floating-point state."""
    cdef fp_state caller = fp_enter()
    cdef double rounded = round_to_float32(number)
    fp_leave(caller)
    return rounded


include "bfloat16.pxi"
include "table.pxi"
include "ufunc_calls.pxi"
include "channel_calls.pxi"

cdef str OUT = sys.intern("out")
cdef str AXIS = sys.intern("axis")


cdef bint same_layout(np.ndarray x, object other, bint is_c):
    """Whether ``other`` is an exact ndarray with x's dtype and shape, laid out in memory as x is."""
    cdef np.ndarray array
    cdef int k
    if not PyArray_CheckExact(other):
        return False
    array = <np.ndarray> other
    if PyArray_TYPE(array) != PyArray_TYPE(x) or PyArray_NDIM(array) != PyArray_NDIM(x):
        return False
    for k in range(PyArray_NDIM(x)):
        if PyArray_DIMS(array)[k] != PyArray_DIMS(x)[k]:
            return False
    return PyArray_ISCARRAY_RO(array) if is_c else PyArray_ISFARRAY_RO(array)


cdef object call_vector(object function, PyObject **args, size_t n_args, PyObject *keywords):
    cdef ElementwiseFunction self = <ElementwiseFunction> function
    cdef Py_ssize_t n_positional = PyVectorcall_NARGS(n_args), k
    if self.plain:
        result = self.direct(args, n_positional, keywords)
        if result is None:
            result = through_ufunc(self, args, n_positional, keywords)
    else:
        result = direct_channels(self, args, n_positional, keywords)
    if result is not None:
        return result
    positional = tuple([<object> args[k] for k in range(n_positional)])
    named = {}
    if keywords is not NULL:
        for k in range(PyTuple_GET_SIZE(keywords)):
            named[<object> PyTuple_GET_ITEM(keywords, k)] = <object> args[n_positional + k]
    return general_call(self, positional, named)


cdef void enable_vectorcall():
    """Tell CPython that instances are called through their ``vectorcall`` member: Cython has no word for it."""
    cdef PyTypeObject *cls = <PyTypeObject *> ElementwiseFunction
    cdef ElementwiseFunction probe = ElementwiseFunction.__new__(ElementwiseFunction)
    cls.tp_vectorcall_offset = <char *> &probe.vectorcall - <char *> <PyObject *> probe
    cls.tp_flags |= Py_TPFLAGS_HAVE_VECTORCALL


enable_vectorcall()


def supply_conversions(int kind, size_t widen_address, size_t narrow_address):
    """Enter what widens and narrows 16-bit elements in the instructions of this CPU."""
    wideners[kind], narrowers[kind] = <widening> <void *> widen_address, <narrowing> <void *> narrow_address


def supply_sums(int kind, size_t address, size_t address_of_each):
    """Enter what sums float32 or float64 terms in the instructions of this CPU, all of them or each for itself."""
    sums_of[kind], sums_of_each[kind] = <summing> <void *> address, <summing_each> <void *> address_of_each


def channel_sums(np.ndarray terms, Py_ssize_t count, Py_ssize_t inner):
    """Sums in float64 over all but the channels of a dense float32 or float64 array (outer, count, inner).

    The one order of summation there is: the direct path and general_call give the same bits.
    """
    cdef Channels channels
    cdef npy_intp size = count
    if not PyArray_ISCARRAY_RO(terms) or PyArray_TYPE(terms) not in (np.NPY_FLOAT, np.NPY_DOUBLE):
        raise TypeError("terms: accepted: a dense float32 or float64 array")
    if count < 1 or inner < 1 or (count > 1 and PyArray_SIZE(terms) % (count * inner)):
        raise ValueError(f"count, inner: got {count}, {inner}; accepted: divisors of the array's size")
    channels.count, channels.inner = count, inner
    cdef np.ndarray sums = <np.ndarray> PyArray_EMPTY(1, &size, np.NPY_DOUBLE, 0)
    if sum_channels(kind_of(PyArray_TYPE(terms)), PyArray_BYTES(terms), PyArray_SIZE(terms), &channels,
                    <double *> PyArray_BYTES(sums)) < 0:
        raise MemoryError
    return sums


def install(resolve_kernel, call, documents, embedded, int cores):
    """Give the compiled side its Python side; with more threads than ``cores`` none spins."""
    global resolver, general_call, documentation, embedding
    resolver, general_call, documentation, embedding = resolve_kernel, call, documents, embedded
    if pool_start(cores) != 0:
        raise OSError("fastact could not register its fork handler")


def set_thread_count(int count):
    global thread_count
    thread_count = count


def get_thread_count():
    return thread_count


def choose_pool(str name):
    """Whose threads do the jobs, a name of POOLS; False if that is an OpenMP runtime's, and the process has none."""
    cdef int choice = POOLS.index(name)
    with nogil:
        choice = pool_choose(choice)
    return bool(choice)


def chosen_pool():
    return POOLS[pool_chosen()]


def borrows_openmp():
    """Whether the threads that do the jobs are an OpenMP runtime's at present."""
    return bool(pool_borrows())


def built_with_threads():
    """Whether this build can use threads."""
    return bool(has_threads())
