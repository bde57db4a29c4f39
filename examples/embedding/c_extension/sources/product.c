/* The product: packed panels, a register tile, and the order of the loops.
 *
 * A block of weight columns is packed so that it stays in the L2 cache while all rows of x pass by.  For each panel of
 * rows, the tiles of that block are computed from left to right, and each is handed to the epilogue as soon as it is
 * complete: it is in the L1 cache then, and it is not read again from anywhere further away.
 *
 * The depth is not split, so a sum stays in a register until it is final, and an element's bits do not depend on the
 * tile that it is in.  The price: with a depth of many thousands the packed panels leave the L2 cache.
 */
#include "product.h"

#include <stdlib.h>
#include <string.h>

/* The sums of a register tile, two vectors of weights and one element of x fill the registers: 32 with AVX-512, 16
 * with AVX2. */
#if defined(__AVX512F__)
enum { LANES = 16, PANEL_ROWS = 12 };
#elif defined(__AVX__)
enum { LANES = 8, PANEL_ROWS = 6 };
#else
enum { LANES = 4, PANEL_ROWS = 6 };
#endif
enum {
    PANEL_COLUMNS = 2 * LANES,
    TILE_COLUMNS = 256, /* whole panels; 12 KiB with AVX-512; README.md has the measurement */
    BLOCK_BYTES = 512 * 1024,         /* half of the L2 cache of most servers */
    ALIGNMENT = 64
};

typedef float vector __attribute__((vector_size(LANES * sizeof(float)), may_alias));
typedef float unaligned_vector __attribute__((vector_size(LANES * sizeof(float)), may_alias, aligned(4)));

static ptrdiff_t smaller(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }

static ptrdiff_t round_up(ptrdiff_t n, ptrdiff_t step) { return (n + step - 1) / step * step; }

/* PANEL_COLUMNS columns of weight side by side for each depth; zeros where there are fewer. */
static void pack_columns(matrix weight, ptrdiff_t first, ptrdiff_t columns, float *packed)
{
    for (ptrdiff_t k = 0; k < weight.rows; k++, packed += PANEL_COLUMNS) {
        memcpy(packed, weight.data + k * weight.stride + first, columns * sizeof(float));
        memset(packed + columns, 0, (PANEL_COLUMNS - columns) * sizeof(float));
    }
}

/* PANEL_ROWS elements of x, one of each row, side by side for each depth; zeros where there are fewer rows. */
static void pack_rows(matrix x, ptrdiff_t first, ptrdiff_t rows, float *packed)
{
    for (ptrdiff_t row = 0; row < PANEL_ROWS; row++) {
        const float *source = x.data + (first + row) * x.stride;
        for (ptrdiff_t k = 0; k < x.columns; k++)
            packed[k * PANEL_ROWS + row] = row < rows ? source[k] : 0.0f;
    }
}

/* The register tile: PANEL_ROWS x PANEL_COLUMNS sums over the whole depth. */
static void multiply_panels(const float *rows, const float *columns, ptrdiff_t depth, float *out, ptrdiff_t stride)
{
    vector sums[PANEL_ROWS][2] = {{{0}}};
    for (ptrdiff_t k = 0; k < depth; k++, rows += PANEL_ROWS, columns += PANEL_COLUMNS) {
        vector left = *(const vector *)columns, right = *(const vector *)(columns + LANES);
#pragma GCC unroll 12
        for (int row = 0; row < PANEL_ROWS; row++) {
            sums[row][0] += rows[row] * left;
            sums[row][1] += rows[row] * right;
        }
    }
#pragma GCC unroll 12
    for (int row = 0; row < PANEL_ROWS; row++) {
        *(unaligned_vector *)(out + row * stride) = sums[row][0];
        *(unaligned_vector *)(out + row * stride + LANES) = sums[row][1];
    }
}

/* A tile from its packed panels; at the edges through a buffer, so that only what belongs to the tile is written. */
static void multiply_tile(const float *rows, const float *panels, ptrdiff_t depth, float *out, ptrdiff_t stride,
                          ptrdiff_t tile_rows, ptrdiff_t tile_columns)
{
    float buffer[PANEL_ROWS * PANEL_COLUMNS];
    for (ptrdiff_t column = 0; column < tile_columns; column += PANEL_COLUMNS, panels += depth * PANEL_COLUMNS) {
        ptrdiff_t columns = smaller(PANEL_COLUMNS, tile_columns - column);
        if (tile_rows == PANEL_ROWS && columns == PANEL_COLUMNS) {
            multiply_panels(rows, panels, depth, out + column, stride);
            continue;
        }
        multiply_panels(rows, panels, depth, buffer, PANEL_COLUMNS);
        for (ptrdiff_t row = 0; row < tile_rows; row++)
            memcpy(out + row * stride + column, buffer + row * PANEL_COLUMNS, columns * sizeof(float));
    }
}

static float *allocate(ptrdiff_t elements)
{
    return aligned_alloc(ALIGNMENT, round_up(elements * (ptrdiff_t)sizeof(float) + 1, ALIGNMENT));
}

/* The columns from first on that are packed at a time: whole tiles, at least one panel. */
static ptrdiff_t block_columns(ptrdiff_t depth, int products)
{
    ptrdiff_t columns = BLOCK_BYTES / (ptrdiff_t)sizeof(float) / products / (depth > 0 ? depth : 1);
    if (columns >= TILE_COLUMNS)
        return columns / TILE_COLUMNS * TILE_COLUMNS;
    return columns < PANEL_COLUMNS ? PANEL_COLUMNS : columns / PANEL_COLUMNS * PANEL_COLUMNS;
}

int multiply(matrix x, matrix weight, matrix other_weight, matrix out, epilogue finish, void *context)
{
    const ptrdiff_t depth = x.columns;
    const int products = other_weight.data ? 2 : 1;
    const ptrdiff_t block = smaller(block_columns(depth, products), round_up(out.columns, PANEL_COLUMNS));
    const matrix weights[2] = {weight, other_weight};
    float *rows = allocate(depth * round_up(out.rows, PANEL_ROWS));
    float *panels = allocate(depth * block * products);
    float *other = allocate(PANEL_ROWS * TILE_COLUMNS);
    int status = rows && panels && other ? PRODUCT_OK : PRODUCT_NO_MEMORY;

    for (ptrdiff_t row = 0; row < out.rows && status == PRODUCT_OK; row += PANEL_ROWS)
        pack_rows(x, row, smaller(PANEL_ROWS, out.rows - row), rows + depth * row);
    for (ptrdiff_t first = 0; first < out.columns && status == PRODUCT_OK; first += block) {
        const ptrdiff_t columns = smaller(block, out.columns - first);
        for (int product = 0; product < products; product++)
            for (ptrdiff_t column = 0; column < columns; column += PANEL_COLUMNS)
                pack_columns(weights[product], first + column, smaller(PANEL_COLUMNS, columns - column),
                             panels + depth * (product * block + column));

        for (ptrdiff_t row = 0; row < out.rows && status == PRODUCT_OK; row += PANEL_ROWS) {
            const ptrdiff_t tile_rows = smaller(PANEL_ROWS, out.rows - row);
            for (ptrdiff_t column = 0; column < columns && status == PRODUCT_OK; column += TILE_COLUMNS) {
                tile finished = {.data = out.data + row * out.stride + first + column,
                                 .rows = tile_rows,
                                 .columns = smaller(TILE_COLUMNS, columns - column),
                                 .stride = out.stride,
                                 .first_column = first + column};
                multiply_tile(rows + depth * row, panels + depth * column, depth, finished.data, out.stride, tile_rows,
                              finished.columns);
                if (products == 2) {
                    finished.other = other;
                    finished.other_stride = TILE_COLUMNS;
                    multiply_tile(rows + depth * row, panels + depth * (block + column), depth, other, TILE_COLUMNS, tile_rows,
                                  finished.columns);
                }
                if (finish)
                    status = finish(&finished, context);
            }
        }
    }
    free(rows);
    free(panels);
    free(other);
    return status;
}
