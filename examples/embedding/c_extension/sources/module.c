/* The Python module fused_dense: arguments in, the GIL released around the work, statuses turned into exceptions.
 *
 * Arrays come through the buffer protocol, so NumPy's headers are not needed.  Everything is checked before the
 * product starts; out must not share memory with an input.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#define FASTACT_API_GLOBAL
#include <fastact.h>

#include "epilogues.h"
#include "product.h"

enum { MOST_ARRAYS = 5 };

/* The buffers of one call, released together. */
typedef struct arrays {
    Py_buffer buffers[MOST_ARRAYS];
    int count;
} arrays;

static void release(arrays *held)
{
    while (held->count > 0)
        PyBuffer_Release(&held->buffers[--held->count]);
}

/* A float32 array with contiguous rows; a vector becomes a matrix of one row. */
static int get_array(arrays *held, PyObject *object, const char *name, int dimensions, int flags, matrix *result)
{
    Py_buffer *buffer = &held->buffers[held->count];
    if (PyObject_GetBuffer(object, buffer, PyBUF_STRIDES | PyBUF_FORMAT | flags) < 0)
        return -1;
    held->count++;
    if (buffer->ndim != dimensions || strcmp(buffer->format, "f") != 0) {
        PyErr_Format(PyExc_TypeError, "%s: got %d dimensions of format \"%s\"; accepted: %d of \"f\" (float32)", name,
                     buffer->ndim, buffer->format, dimensions);
        return -1;
    }
    result->data = buffer->buf;
    result->rows = dimensions == 2 ? buffer->shape[0] : 1;
    result->columns = buffer->shape[dimensions - 1];
    result->stride = dimensions == 2 ? buffer->strides[0] / (Py_ssize_t)sizeof(float) : 0;
    if ((result->columns > 1 && buffer->strides[dimensions - 1] != sizeof(float)) ||
        (dimensions == 2 && buffer->strides[0] % (Py_ssize_t)sizeof(float)) ||
        (size_t)buffer->buf % sizeof(float)) {
        PyErr_Format(PyExc_ValueError, "%s: got strided or unaligned rows; accepted: contiguous float32 in each row",
                     name);
        return -1;
    }
    return 0;
}

static int expect_shape(const char *name, matrix got, ptrdiff_t rows, ptrdiff_t columns)
{
    if (got.rows == rows && got.columns == columns)
        return 0;
    PyErr_Format(PyExc_ValueError, "%s: got %zd x %zd; accepted: %zd x %zd", name, got.rows, got.columns, rows, columns);
    return -1;
}

/* The bytes from the first to behind the last element. */
static void extent(const Py_buffer *buffer, const char **low, const char **high)
{
    *low = *high = buffer->buf;
    for (int axis = 0; axis < buffer->ndim; axis++) {
        Py_ssize_t span = (buffer->shape[axis] - 1) * buffer->strides[axis];
        if (span < 0)
            *low += span;
        else
            *high += span;
    }
    *high += buffer->itemsize;
}

/* out, which was taken last, against all others. */
static int expect_apart(const arrays *held)
{
    const char *out_low, *out_high, *low, *high;
    extent(&held->buffers[held->count - 1], &out_low, &out_high);
    for (int k = 0; k < held->count - 1; k++) {
        extent(&held->buffers[k], &low, &high);
        if (held->buffers[k].len && held->buffers[held->count - 1].len && low < out_high && out_low < high) {
            PyErr_SetString(PyExc_ValueError, "out: got an array that shares memory with an input; accepted: its own");
            return -1;
        }
    }
    return 0;
}

static PyObject *raise(int status)
{
    if (status == PRODUCT_NO_MEMORY)
        return PyErr_NoMemory();
    PyErr_SetString(PyExc_ValueError, fastact_api->message());
    return NULL;
}

/* What the functions below have in common, once their arguments are apart. */
static PyObject *compute(PyObject *x_object, PyObject *weight_object, PyObject *other_object, PyObject *bias_object,
                         PyObject *out_object, epilogue finish, layer settings)
{
    arrays held = {.count = 0};
    matrix x, weight, other = {0}, bias = {0}, out;
    int status = 0;
    const int failed =
        get_array(&held, x_object, "x", 2, 0, &x) < 0 ||
        get_array(&held, weight_object, "weight", 2, 0, &weight) < 0 ||
        expect_shape("weight", weight, x.columns, weight.columns) < 0 ||
        (other_object && (get_array(&held, other_object, "gate_weight", 2, 0, &other) < 0 ||
                          expect_shape("gate_weight", other, x.columns, weight.columns) < 0)) ||
        (bias_object != Py_None && (get_array(&held, bias_object, "bias", 1, 0, &bias) < 0 ||
                                    expect_shape("bias", bias, 1, weight.columns) < 0)) ||
        get_array(&held, out_object, "out", 2, PyBUF_WRITABLE, &out) < 0 ||
        expect_shape("out", out, x.rows, weight.columns) < 0 || expect_apart(&held) < 0;
    if (!failed) {
        settings.bias = bias.data;
        Py_BEGIN_ALLOW_THREADS
        status = multiply(x, weight, other, out, finish, &settings);
        Py_END_ALLOW_THREADS
    }
    release(&held);
    if (failed)
        return NULL;
    return status ? raise(status) : Py_NewRef(out_object);
}

/* The function of a name; -1 with an exception where there is none, or where it takes more than one array. */
static int find_activation(const char *name, layer *settings)
{
    int status;
    settings->activation = fastact_api->find(name, FASTACT_FORWARD);
    status = settings->activation ? check_activation(settings->activation) : FASTACT_ERROR_NAME;
    if (status != FASTACT_OK)
        raise(status);
    return status == FASTACT_OK ? 0 : -1;
}

static PyObject *dense(PyObject *module, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"x", "weight", "out", "bias", "activation", NULL};
    PyObject *x, *weight, *out, *bias = Py_None;
    const char *activation = NULL;
    layer settings = {0};
    (void)module;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "OOO|Oz:dense", names, &x, &weight, &out, &bias, &activation))
        return NULL;
    if (activation && find_activation(activation, &settings) < 0)
        return NULL;
    return compute(x, weight, NULL, bias, out, bias != Py_None || activation ? finish_dense : NULL, settings);
}

static PyObject *gated(PyObject *module, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"x", "weight", "gate_weight", "out", "activation", NULL};
    PyObject *x, *weight, *gate_weight, *out;
    const char *activation = "silu";
    layer settings = {0};
    (void)module;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "OOOO|s:gated", names, &x, &weight, &gate_weight, &out,
                                     &activation))
        return NULL;
    if (find_activation(activation, &settings) < 0)
        return NULL;
    return compute(x, weight, gate_weight, Py_None, out, finish_gated, settings);
}

static PyObject *dense_gelu_inline(PyObject *module, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"x", "weight", "out", "bias", NULL};
    PyObject *x, *weight, *out, *bias;
    (void)module;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "OOOO:dense_gelu_inline", names, &x, &weight, &out, &bias))
        return NULL;
    return compute(x, weight, NULL, bias, out, finish_gelu_inline, (layer){0});
}

static PyMethodDef methods[] = {
    {"dense", (PyCFunction)(void (*)(void))dense, METH_VARARGS | METH_KEYWORDS,
     "dense(x, weight, out, bias=None, activation=None)\n--\n\nout = activation(x @ weight + bias); returns out."},
    {"gated", (PyCFunction)(void (*)(void))gated, METH_VARARGS | METH_KEYWORDS,
     "gated(x, weight, gate_weight, out, activation=\"silu\")\n--\n\n"
     "out = (x @ weight) * activation(x @ gate_weight); returns out."},
    {"dense_gelu_inline", (PyCFunction)(void (*)(void))dense_gelu_inline, METH_VARARGS | METH_KEYWORDS,
     "dense_gelu_inline(x, weight, out, bias)\n--\n\n"
     "out = gelu(x @ weight + bias), with the formula compiled into this module; returns out."},
    {NULL, NULL, 0, NULL}};

static int start(PyObject *module)
{
    (void)module;
    return fastact_import();
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, start}, {0, NULL}};

static PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "fused_dense",
    .m_doc = "Dense layers whose bias, activation and gate are computed on tiles that are still in the cache.",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit_fused_dense(void) { return PyModuleDef_Init(&definition); }
