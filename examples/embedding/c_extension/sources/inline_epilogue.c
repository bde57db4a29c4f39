/* The epilogue that contains fastact's formula instead of calling it: one loop, compiled by this extension's compiler.
 *
 * It reads and writes a tile once and needs no call.  The price: it is compiled for the instruction set that this file
 * is compiled for, not for the best one of the machine that it runs on; and its last bit may differ from the package's.
 */
#include "epilogues.h"

#include <fastact_inline.h>

int finish_gelu_inline(const tile *finished, void *context)
{
    const layer *settings = context;
    const float *bias = settings->bias + finished->first_column;
    for (ptrdiff_t row = 0; row < finished->rows; row++) {
        float *elements = finished->data + row * finished->stride;
        for (ptrdiff_t column = 0; column < finished->columns; column++)
            elements[column] = fastact_gelu_float32(elements[column] + bias[column]);
    }
    return 0;
}
