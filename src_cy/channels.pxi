# Per-channel operands, such as prelu's weight: x seen as (outer, channels, inner), the operand one value per channel.
#
# To the driver that is rows (rows.pxi) on which the operand is either constant (`inner` elements of one channel) or runs
# along with x (inner is 1: a row of channels).

cdef struct Channels:
    Py_ssize_t count        # channels; 1 for a scalar operand
    Py_ssize_t inner        # elements of one channel that stand side by side


cdef void rows_of_channels(const Channels *channels, const Entry *entry, int operand, Py_ssize_t size, Py_ssize_t *steps,
                           Rows *rows) noexcept nogil:
    """The rows and steps of dense operands of elements of this size, of which one has a value per channel."""
    cdef int k
    rows.columns = channels.count if channels.inner == 1 else channels.inner
    for k in range(entry.n_inputs + entry.n_outputs):
        steps[k] = size
        rows.row_steps[k] = rows.columns * size
    steps[operand] = size if channels.inner == 1 else 0
    rows.row_steps[operand] = 0 if channels.inner == 1 else size
    rows.cycling, rows.period = operand, channels.count
