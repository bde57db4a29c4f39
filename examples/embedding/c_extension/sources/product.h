/* A cache-blocked product of float32 matrices that hands out each finished tile while it is still in the cache.
 *
 * It knows nothing of activations.  What follows the product is the caller's: a function that gets the tile.
 */
#ifndef PRODUCT_H
#define PRODUCT_H

#include <stddef.h>

/* Elements of a row are contiguous; stride is the distance between rows, in elements. */
typedef struct matrix {
    float *data;
    ptrdiff_t rows, columns, stride;
} matrix;

/* A rectangle of the result, and where it stands there.  other is the same rectangle of the second product, or NULL. */
typedef struct tile {
    float *data, *other;
    ptrdiff_t rows, columns;
    ptrdiff_t stride, other_stride;
    ptrdiff_t first_column;
} tile;

/* What is done with a finished tile, in place; 0, or a status that ends the product. */
typedef int (*epilogue)(const tile *finished, void *context);

enum { PRODUCT_OK = 0, PRODUCT_NO_MEMORY = -1 };

/* out = x @ weight, tile by tile; finish may be NULL.  With other_weight (its data may be NULL) each tile comes with
 * the same tile of x @ other_weight, which is stored nowhere.  Returns PRODUCT_OK, PRODUCT_NO_MEMORY, or the first
 * status of finish that is not 0.  out must not overlap the others. */
int multiply(matrix x, matrix weight, matrix other_weight, matrix out, epilogue finish, void *context);

#endif
