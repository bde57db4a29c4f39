# bfloat16, which NumPy knows only as a type of the package ml_dtypes.
#
# Whoever has an array of that type has imported ml_dtypes, so it is never imported here.  The type has no number before,
# and so the ufuncs get their loops for it when the first such array arrives: in a public function, which asks
# is_bfloat16, or in a ufunc, which asks its promoter about all types that it has no loop for.

from cpython.pycapsule cimport PyCapsule_New
from cpython.ref cimport Py_INCREF

cdef extern from "numpy/ufuncobject.h":
    int PyUFunc_RegisterLoopForType(np.ufunc ufunc, int type_number, PyUFuncGenericFunction loop, const int *types,
                                    void *data) except -1
    int PyUFunc_AddPromoter(object ufunc, object types, object promoter) except -1

cdef int bfloat16_number = -1           # no type has this number
cdef object bfloat16_type = None
cdef dict functions_by_ufunc = {}
# Python's own numbers, which are as precise as what stands beside them; and no type at all
cdef frozenset WEAK = frozenset([bool, int, float, None])


cdef bint is_bfloat16_type(object scalar_type) except -1:
    """Whether this is the type of ml_dtypes; from the first time on there are loops for it."""
    global bfloat16_number, bfloat16_type
    if bfloat16_type is None:
        module = sys.modules.get("ml_dtypes")
        if module is None or scalar_type is not getattr(module, "bfloat16", None):
            return False
        bfloat16_number = numpy.dtype(scalar_type).num
        for function in list(functions_by_ufunc.values()):
            add_bfloat16_loop(function)
        # last, so that a thread that comes in between does not rely on loops that are not there; it makes its own
        bfloat16_type = scalar_type
    return scalar_type is bfloat16_type


def is_bfloat16(dtype):
    """Whether a NumPy dtype is bfloat16, in either byte order."""
    return is_bfloat16_type(dtype.type)


def common_dtype(dtypes):
    """The dtype in which arrays of these dtypes are computed together.

    That of np.result_type, which has no answer for bfloat16 beside float16 and some integers where arithmetic on such
    arrays does: what np.add gives counts.
    """
    cdef list others = [dtype for dtype in dtypes if not is_bfloat16_type(dtype.type)]
    if len(others) == len(dtypes):
        return numpy.result_type(*dtypes)
    common = numpy.dtype(bfloat16_type)
    for dtype in others:
        if common.type is bfloat16_type:
            common = numpy.add.resolve_dtypes((common, dtype, None))[2]
        else:
            common = numpy.result_type(common, dtype)
    return common


cdef int add_bfloat16_loop(ElementwiseFunction function) except -1:
    cdef int types[MAX_OPERANDS + MAX_SCALARS]
    cdef Entry *entry = &function.entry
    cdef int n_in = entry.n_inputs + entry.n_scalars, k
    # never freed, like the ufunc
    cdef LoopData *data = <LoopData *> malloc(sizeof(LoopData))
    if data is NULL:
        raise MemoryError
    data.entry, data.kind = entry, FASTACT_BFLOAT16
    for k in range(n_in + entry.n_outputs):
        types[k] = np.NPY_FLOAT if entry.n_inputs <= k < n_in else bfloat16_number
    PyUFunc_RegisterLoopForType(<np.ufunc> function.ufunc, bfloat16_number, <PyUFuncGenericFunction> ufunc_loop, types,
                                data)
    return 0


cdef int promote(PyObject *ufunc, PyObject **operands, PyObject **signature, PyObject **promoted) except -1:
    """The types of the loop for these types of operands, if bfloat16 is among them.

    -1 without an exception: the ufunc goes on as if it had no promoter.
    """
    cdef int k
    try:
        types = promoted_types(functions_by_ufunc[<object> ufunc], operands, signature)
    except TypeError:
        # no common type: NumPy's own message is about the call
        return -1
    if types is None:
        return -1
    for k, cls in enumerate(types):
        Py_INCREF(cls)
        promoted[k] = <PyObject *> cls
    return 0


cdef list promoted_types(ElementwiseFunction function, PyObject **operands, PyObject **signature):
    cdef int n_inputs = function.entry.n_inputs, n_in = n_inputs + function.entry.n_scalars, k
    cdef int n_operands = n_in + function.entry.n_outputs
    cdef list given = []
    for k in range(n_operands):
        # an output counts only if the caller asked for its type: dtype=, signature=
        cls = class_or_none(signature[k]) or (class_or_none(operands[k]) if k < n_in else None)
        given.append(None if cls is None else cls.type)
    if not any([scalar_type is not None and is_bfloat16_type(scalar_type) for scalar_type in given]):
        return None
    asked = [scalar_type for scalar_type in given[n_in:] if scalar_type is not None]
    beside = [scalar_type for scalar_type in given[:n_inputs] if scalar_type not in WEAK]
    common = common_dtype([numpy.dtype(scalar_type) for scalar_type in asked or beside or [float]])
    if not (common.type is bfloat16_type or common.type in (numpy.float16, numpy.float32, numpy.float64)):
        return None
    computed = common if common.type is numpy.float64 else numpy.dtype(numpy.float32)
    return [type(computed if n_inputs <= k < n_in else common) for k in range(n_operands)]


cdef object class_or_none(PyObject *cls):
    return None if cls is NULL else <object> cls


cdef int add_promoter(ElementwiseFunction function) except -1:
    """Let the ufunc ask ``promote`` whenever it has no loop for exactly the types that it was given."""
    functions_by_ufunc[function.ufunc] = function
    any_types = (None,) * function.ufunc.nargs
    PyUFunc_AddPromoter(function.ufunc, any_types, PyCapsule_New(<void *> promote, "numpy._ufunc_promoter", NULL))
    if bfloat16_type is not None:
        add_bfloat16_loop(function)
    return 0
