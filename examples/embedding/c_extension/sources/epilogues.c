/* The epilogues that call fastact: one call for each tile.
 *
 * No GIL is needed here, nothing is allocated, and several threads may be in these functions at once.
 */
#include "epilogues.h"

/* module.c defines fastact_api and imports the table; this unit only uses it. */
#define FASTACT_API_EXTERN
#include <fastact.h>

/* Rows that are stride elements apart, in place.  One thread: whoever computes the tile is a thread of the caller. */
static int apply_in_place(const fastact_function *activation, float *data, ptrdiff_t rows, ptrdiff_t columns,
                          ptrdiff_t stride)
{
    const ptrdiff_t size = sizeof(float);
    const fastact_input input = {data, stride * size, size};
    const fastact_output output = {data, stride * size, size};
    const fastact_call call = {.size = sizeof call,
                               .rows = rows,
                               .columns = columns,
                               .inputs = &input,
                               .outputs = &output,
                               .dtype = FASTACT_FLOAT32,
                               .n_inputs = 1,
                               .n_outputs = 1,
                               .threads = 1};
    return fastact_run(activation, &call);
}

/* A call without elements is checked like any other, so an error is found before anything is computed. */
int check_activation(const fastact_function *activation) { return apply_in_place(activation, NULL, 0, 0, 0); }

int finish_dense(const tile *finished, void *context)
{
    const layer *settings = context;
    if (settings->bias) {
        const float *bias = settings->bias + finished->first_column;
        for (ptrdiff_t row = 0; row < finished->rows; row++) {
            float *elements = finished->data + row * finished->stride;
            for (ptrdiff_t column = 0; column < finished->columns; column++)
                elements[column] += bias[column];
        }
    }
    if (!settings->activation)
        return FASTACT_OK;
    return apply_in_place(settings->activation, finished->data, finished->rows, finished->columns, finished->stride);
}

int finish_gated(const tile *finished, void *context)
{
    const layer *settings = context;
    int status = apply_in_place(settings->activation, finished->other, finished->rows, finished->columns,
                                finished->other_stride);
    if (status != FASTACT_OK)
        return status;
    for (ptrdiff_t row = 0; row < finished->rows; row++) {
        float *elements = finished->data + row * finished->stride;
        const float *gate = finished->other + row * finished->other_stride;
        for (ptrdiff_t column = 0; column < finished->columns; column++)
            elements[column] *= gate[column];
    }
    return FASTACT_OK;
}
