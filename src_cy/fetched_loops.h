/* Kernels that fetch (fetched.h): included by the kernels of AVX2 alone.

   Some hundred numbers at a time: their indices first, and whatever is outside of the intervals is set aside
   (outside.h); then the results.  So every input of such a block is read before an output of it is written, but for what
   a vector reads itself: an output may be an input. */

#ifndef FASTACT_FETCHED_LOOPS_H
#define FASTACT_FETCHED_LOOPS_H

#include "fetched.h"

/* A block's indices take 1 KiB, or 2.  Blocks of 64 to 1024 numbers take the same time. */
enum { FASTACT_FETCHED_BLOCK = FASTACT_OUTSIDE_BLOCK };

#define FASTACT_SINGLE(operation) _mm256_##operation##_ps
#define FASTACT_DOUBLE(operation) _mm256_##operation##_pd

/* Of a block of numbers ``second``: which are outside is written down first, in bits.  Of 64 bits the first two that are
   set are taken without asking whether they are there: where 1 % of the numbers is outside, the CPU answers half of such
   questions wrongly, at twenty cycles. */
#define FASTACT_FETCHED_SET_ASIDE(dtype, number, width, operation)                                                     \
    FASTACT_FETCHED_INLINE void fastact_fetched_take_##dtype(struct fastact_outside_##number *outside,                 \
        const number *first, const number *second, ptrdiff_t place, ptrdiff_t start, ptrdiff_t end, uint64_t *which)   \
    {                                                                                                                  \
        const uint64_t bits = *which;                                                                                  \
        const ptrdiff_t here = start + __builtin_ctzll(bits | (uint64_t)1 << (end - 1));                               \
        outside->numbers[0][outside->count] = first[here];                                                             \
        outside->numbers[1][outside->count] = second[here];                                                            \
        outside->places[outside->count] = (int)(place + here);                                                         \
        outside->count += bits != 0;                                                                                   \
        *which = bits & (bits - 1);                                                                                    \
    }                                                                                                                  \
    static __attribute__((noinline)) void fastact_fetched_set_aside_##dtype(                                           \
        fastact_fetched_pieces_##dtype pieces, enum fastact_ends ends, const number *first, const number *second,      \
        ptrdiff_t place, ptrdiff_t block, struct fastact_outside_##number *outside, number *chunk,                     \
        fastact_formula_##number formula, const number *params)                                                        \
    {                                                                                                                  \
        fastact_make_room_##number(outside, chunk, formula, params);                                                   \
        for (ptrdiff_t start = 0; start < block; start += 64) {                                                        \
            const ptrdiff_t end = block - start < 64 ? block - start : 64;                                             \
            uint64_t which = 0;                                                                                        \
            for (ptrdiff_t k = 0; k < end; k += width) {                                                               \
                const unsigned beyond = (unsigned)operation(movemask)(                                                 \
                    fastact_fetched_is_outside_##dtype(pieces, operation(loadu)(second + start + k), ends));           \
                which |= (uint64_t)beyond << k;                                                                        \
            }                                                                                                          \
            fastact_fetched_take_##dtype(outside, first, second, place, start, end, &which);                           \
            fastact_fetched_take_##dtype(outside, first, second, place, start, end, &which);                           \
            while (__builtin_expect(which != 0, 0))                                                                    \
                fastact_fetched_take_##dtype(outside, first, second, place, start, end, &which);                       \
        }                                                                                                              \
    }
FASTACT_FETCHED_SET_ASIDE(float32, float, 8, FASTACT_SINGLE)
FASTACT_FETCHED_SET_ASIDE(float64, double, 4, FASTACT_DOUBLE)

/* Results of a block; ``place`` is where it begins in its chunk.  In float64 the block to come is prefetched meanwhile,
   because no prefetcher runs ahead while nothing of it is asked for: beyond the L2 cache 0.8 to 0.9 of the time, in it the
   same.  In float32, whose blocks are half as long, that is 0.97 to 1.0, and 1.01 in cache. */
#define FASTACT_FETCHED_NUMBERS(dtype, number, width, operation, size)                                                 \
    FASTACT_FETCHED_INLINE void fastact_fetched_block_##dtype(                                                         \
        fastact_fetched_pieces_##dtype pieces, fastact_fetched_value_##dtype value, enum fastact_ends ends,            \
        int is_chained, int streams, const number *grad, const number *x, number *out, ptrdiff_t place,                \
        ptrdiff_t block, struct fastact_outside_##number *outside, fastact_formula_##number formula,                   \
        const number *params)                                                                                          \
    {                                                                                                                  \
        char stored[size * FASTACT_FETCHED_BLOCK] __attribute__((aligned(64)));                                        \
        struct fastact_fetched_extremes_##dtype extremes = fastact_fetched_no_extremes_##dtype();                      \
        _Pragma("GCC unroll 2") for (ptrdiff_t k = 0; k < block; k += width)                                           \
        {                                                                                                              \
            const fastact_fetched_lanes_##dtype given = operation(loadu)(x + k);                                       \
            fastact_fetched_widen_extremes_##dtype(pieces, ends, given, &extremes);                                    \
            _mm256_store_si256((__m256i *)(stored + size * k),                                                         \
                fastact_indices_##dtype(pieces, fastact_fetched_argument_##dtype(pieces, given)));                     \
        }                                                                                                              \
        if (__builtin_expect(fastact_fetched_reaches_outside_##dtype(pieces, ends, &extremes), 0))                     \
            fastact_fetched_set_aside_##dtype(                                                                         \
                pieces, ends, is_chained ? grad : x, x, place, block, outside, out - place, formula, params);          \
        _Pragma("GCC unroll 2") for (ptrdiff_t k = 0; k < block; k += width)                                           \
        {                                                                                                              \
            if (size == sizeof(double)) __builtin_prefetch(x + k + FASTACT_FETCHED_BLOCK);                             \
            fastact_fetched_lanes_##dtype result = value(pieces, operation(loadu)(x + k), stored + size * k);          \
            if (is_chained) result = operation(mul)(operation(loadu)(grad + k), result);                               \
            if (streams) operation(stream)(out + k, result);                                                           \
            else operation(storeu)(out + k, result);                                                                   \
        }                                                                                                              \
    }
FASTACT_FETCHED_NUMBERS(float32, float, 8, FASTACT_SINGLE, 4)
FASTACT_FETCHED_NUMBERS(float64, double, 4, FASTACT_DOUBLE, 8)

/* The count is a multiple of 16. */
#define FASTACT_FETCHED_LOOP(dtype, number)                                                                            \
    FASTACT_FETCHED_INLINE void fastact_fetched_loop_##dtype(                                                          \
        fastact_fetched_pieces_##dtype pieces, fastact_fetched_value_##dtype value, enum fastact_ends ends,            \
        int is_chained, int streams, const number *grad, const number *x, number *out, ptrdiff_t count,                \
        fastact_formula_##number formula, const number *params)                                                        \
    {                                                                                                                  \
        struct fastact_outside_##number outside;                                                                       \
        outside.count = outside.put_into_place = 0;                                                                    \
        count &= -(ptrdiff_t)16;                                                                                       \
        for (ptrdiff_t start = 0; start < count; start += FASTACT_PIECEWISE_CHUNK) {                                   \
            const ptrdiff_t end = count - start < FASTACT_PIECEWISE_CHUNK ? count : start + FASTACT_PIECEWISE_CHUNK;   \
            const int streams_here = streams && outside.put_into_place <= FASTACT_FEW_OUTSIDE;                         \
            outside.put_into_place = 0;                                                                                \
            for (ptrdiff_t place = start; place < end; place += FASTACT_FETCHED_BLOCK) {                               \
                const ptrdiff_t block = end - place < FASTACT_FETCHED_BLOCK ? end - place : FASTACT_FETCHED_BLOCK;     \
                fastact_fetched_block_##dtype(pieces, value, ends, is_chained, streams_here,                           \
                    is_chained ? grad + place : NULL, x + place, out + place, place - start, block, &outside, formula, \
                    params);                                                                                           \
            }                                                                                                          \
            if (ends != FASTACT_NOWHERE && outside.count)                                                              \
                fastact_put_into_place_##number(&outside, out + start, formula, params);                               \
        }                                                                                                              \
    }
FASTACT_FETCHED_LOOP(float32, float)
FASTACT_FETCHED_LOOP(float64, double)

/* --- kernels, but for the formula's, for each dtype --------------------------------------------------------------- */

/* Of a loop, the table, the kind and the ends.  The result of a backward is multiplied by its first input. */
#define FASTACT_FETCHED_FORWARD_FLOAT32(loop, table, kind, ends)                                                       \
    FASTACT_FETCHED_KERNEL(loop, table, kind, ends, float32, float, 0, NULL, inputs[0])
#define FASTACT_FETCHED_FORWARD_FLOAT64(loop, table, kind, ends)                                                       \
    FASTACT_FETCHED_KERNEL(loop, table, kind, ends, float64, double, 0, NULL, inputs[0])
#define FASTACT_FETCHED_BACKWARD_FLOAT32(loop, table, kind, ends)                                                      \
    FASTACT_FETCHED_KERNEL(loop, table, kind, ends, float32, float, 1, inputs[0], inputs[1])
#define FASTACT_FETCHED_BACKWARD_FLOAT64(loop, table, kind, ends)                                                      \
    FASTACT_FETCHED_KERNEL(loop, table, kind, ends, float64, double, 1, inputs[0], inputs[1])
#define FASTACT_FETCHED_KERNEL(loop, table, kind, ends, dtype, number, is_chained, grad, x)                            \
    FASTACT_FETCHED_INLINE void fastact_fetched_##loop##_##dtype(const number **inputs, number **outputs,              \
        ptrdiff_t count, const number *params, fastact_formula_##number formula, int streams)                          \
    {                                                                                                                  \
        fastact_fetched_loop_##dtype(&fastact_##table##_fetched_##dtype, fastact_fetched_##kind##_##dtype, ends,       \
            is_chained, streams, grad, x, outputs[0], count, formula, params);                                         \
    }

#include "fetched_tables.h"

#endif
