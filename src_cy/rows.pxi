# Rows: operands that are not one strided run of elements, such as a block of a larger matrix, or a value per channel.
#
# Elements are numbered row by row, so threads take stretches of that numbering as they do of a plain array.  Each row,
# or the part of it that belongs to a thread, goes through run_from_line by itself; its last elements are padded there.

cdef struct Rows:
    Py_ssize_t columns                      # elements of a row
    Py_ssize_t row_steps[MAX_OPERANDS]      # bytes from a row to the next, for each operand
    int cycling                             # an operand that starts again after `period` rows; -1: none does
    Py_ssize_t period


cdef void run_rows(const Kernel *kernel, const Entry *entry, int kind, char **data, const Py_ssize_t *steps,
                   const Rows *rows, bint streaming, Py_ssize_t start, Py_ssize_t stop,
                   const void *params) noexcept nogil:
    """Elements start..stop on this thread, row by row."""
    cdef char *segment[MAX_OPERANDS]
    cdef Py_ssize_t position = start, row, column, end
    cdef int k
    while position < stop:
        row = position // rows.columns
        column = position - row * rows.columns
        end = min(stop, position - column + rows.columns)
        for k in range(entry.n_inputs + entry.n_outputs):
            segment[k] = data[k] + (row % rows.period if k == rows.cycling else row) * rows.row_steps[k]
            segment[k] += column * steps[k]
        if streaming:
            stream_range(kernel, entry, kind, segment, steps, 0, end - position, params)
        else:
            run_from_line(kernel, entry, kind, segment, steps, 0, end - position, params)
        position = end
