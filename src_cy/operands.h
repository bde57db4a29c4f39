/* What the C interface must know of a caller's operands before it touches them: whether lengths and strides stay in
 * the address space, whether an output overlaps itself, an input or another output; and the message if so.
 *
 * No address is read or written here.  Overlap is decided for what callers do (the same array, apart, columns or rows
 * or elements of one array that alternate); an arrangement that is apart in a way not seen here is refused.  Everything
 * is computed without overflow: once an operand is placed, no product of its steps and lengths leaves a ptrdiff_t.
 */
#ifndef FASTACT_OPERANDS_H
#define FASTACT_OPERANDS_H

#ifndef FASTACT_NO_PYTHON
#define FASTACT_NO_PYTHON
#endif
#include "fastact.h"
#include "elements.h"

#include <stdarg.h>
#include <stdio.h>

#if defined(_MSC_VER) && !defined(__clang__)
#define FASTACT_THREAD_LOCAL __declspec(thread)
#else
#define FASTACT_THREAD_LOCAL _Thread_local
#endif

static FASTACT_THREAD_LOCAL char fastact_message_text[2048];

static const char *fastact_message(void) { return fastact_message_text; }

/* Keep a message for this thread, and return the status. */
static int fastact_fail(int status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(fastact_message_text, sizeof fastact_message_text, format, arguments);
    va_end(arguments);
    return status;
}

/* One operand over rows * columns elements; steps along a single row or column do not count and are 0. */
typedef struct fastact_operand {
    char *data;
    ptrdiff_t row_step, step;
    uintptr_t low, high; /* first byte, and the one after the last */
} fastact_operand;

/* More bytes than any process has: x86-64 and RISC-V give one 2^56 at most.  A caller's steps beyond it are a mistake that
 * would otherwise end the process.  Small enough that sums and one more step never overflow. */
#define FASTACT_MOST_BYTES (PTRDIFF_MAX >> (sizeof(void *) > 4 ? 6 : 0))
#define FASTACT_MOST_ELEMENTS (FASTACT_MOST_BYTES / 8)

static inline uintptr_t fastact_magnitude(ptrdiff_t step)
{
    return step < 0 ? (uintptr_t)0 - (uintptr_t)step : (uintptr_t)step;
}

/* Bytes from the first to the last of `count` elements; 0 if they are more than memory can hold. */
static inline int fastact_span(ptrdiff_t count, ptrdiff_t step, uintptr_t *span)
{
    uintptr_t steps = (uintptr_t)(count - 1), bytes = fastact_magnitude(step);
#if defined(__GNUC__)
    if (__builtin_mul_overflow(steps, bytes, span)) /* a division would be a tenth of a small call */
        return 0;
#else
    if (steps && bytes > UINTPTR_MAX / steps)
        return 0;
    *span = steps * bytes;
#endif
    return *span <= (uintptr_t)FASTACT_MOST_BYTES;
}

/* Fill in an operand; 0 if it leaves the address space. */
static inline int fastact_place(fastact_operand *operand, const void *data, ptrdiff_t rows, ptrdiff_t row_step,
                                ptrdiff_t columns, ptrdiff_t step, ptrdiff_t size)
{
    uintptr_t by_row, by_column, start = (uintptr_t)data, before = 0, after = (uintptr_t)size;
    operand->data = (char *)data;
    operand->row_step = rows > 1 ? row_step : 0;
    operand->step = columns > 1 ? step : 0;
    if (!fastact_span(rows, operand->row_step, &by_row) || !fastact_span(columns, operand->step, &by_column))
        return 0;
    before += (operand->row_step < 0 ? by_row : 0) + (operand->step < 0 ? by_column : 0);
    after += (operand->row_step < 0 ? 0 : by_row) + (operand->step < 0 ? 0 : by_column);
    if (before > start || after > UINTPTR_MAX - start)
        return 0;
    operand->low = start - before;
    operand->high = start + after;
    return 1;
}

/* Whether no two elements share a byte: one of the two steps passes over all that the other one reaches. */
static inline int fastact_is_spread(const fastact_operand *operand, ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t size)
{
    uintptr_t row_step = fastact_magnitude(operand->row_step), step = fastact_magnitude(operand->step);
    uintptr_t row_bytes = (uintptr_t)(columns - 1) * step + (uintptr_t)size;
    uintptr_t column_bytes = (uintptr_t)(rows - 1) * row_step + (uintptr_t)size;
    return (columns == 1 || step >= (uintptr_t)size) && (rows == 1 || row_step >= (uintptr_t)size) &&
           (rows == 1 || columns == 1 || row_step >= row_bytes || step >= column_bytes);
}

/* Bytes that `count` elements touch of what recurs with a period: those of one element if their step is a multiple of
 * it, as that of the real parts of a complex matrix is, from row to row. */
static inline uintptr_t fastact_stretch(ptrdiff_t count, ptrdiff_t step, uintptr_t period, uintptr_t size)
{
    uintptr_t bytes = fastact_magnitude(step);
    return (bytes % period ? (uintptr_t)(count - 1) * bytes : 0) + size;
}

/* Whether stretches that recur with one period, a of `a_bytes` and b of `b_bytes`, never meet. */
static inline int fastact_alternate(uintptr_t a, uintptr_t a_bytes, uintptr_t b, uintptr_t b_bytes, uintptr_t period)
{
    uintptr_t offset = a >= b ? (a - b) % period : (period - (b - a) % period) % period;
    return offset >= b_bytes && a_bytes <= period && offset <= period - a_bytes;
}

static inline int fastact_are_apart(const fastact_operand *a, const fastact_operand *b, ptrdiff_t rows,
                                    ptrdiff_t columns, ptrdiff_t size)
{
    uintptr_t unit = (uintptr_t)size, period = fastact_magnitude(a->row_step);
    if (a->high <= b->low || b->high <= a->low)
        return 1;
    if (period && period == fastact_magnitude(b->row_step) &&
        fastact_alternate(a->low, fastact_stretch(columns, a->step, period, unit), b->low,
                          fastact_stretch(columns, b->step, period, unit), period))
        return 1;
    period = fastact_magnitude(a->step);
    return period && period == fastact_magnitude(b->step) &&
           fastact_alternate(a->low, fastact_stretch(rows, a->row_step, period, unit), b->low,
                             fastact_stretch(rows, b->row_step, period, unit), period);
}

static inline int fastact_are_the_same(const fastact_operand *a, const fastact_operand *b)
{
    return a->data == b->data && a->row_step == b->row_step && a->step == b->step;
}

/* Whether `operands`, inputs first, may be computed; the name is for the message. */
static int fastact_check_operands(const char *name, const fastact_operand *operands, int n_inputs, int n_outputs,
                                  ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t size)
{
    int output, other;
    for (output = n_inputs; output < n_inputs + n_outputs; output++) {
        if (!fastact_is_spread(&operands[output], rows, columns, size))
            return fastact_fail(FASTACT_ERROR_STRIDE,
                                "%s: outputs[%d]: got steps %td (rows) and %td, with which it overlaps itself; accepted: "
                                "steps that keep its elements apart",
                                name, output - n_inputs, operands[output].row_step, operands[output].step);
        for (other = 0; other < output; other++) {
            if (other < n_inputs && fastact_are_the_same(&operands[output], &operands[other]))
                continue;
            if (!fastact_are_apart(&operands[output], &operands[other], rows, columns, size))
                return fastact_fail(FASTACT_ERROR_OVERLAP,
                                    "%s: outputs[%d]: got memory that overlaps %s[%d]; accepted: an input itself, or "
                                    "memory apart from all operands",
                                    name, output - n_inputs, other < n_inputs ? "inputs" : "outputs",
                                    other < n_inputs ? other : other - n_inputs);
        }
    }
    return FASTACT_OK;
}

#endif
