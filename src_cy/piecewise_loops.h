/* Kernels that look up (piecewise.h): included by the kernels of AVX-512 alone.

   What is outside of the intervals: outside.h.  Every input of a step is read before an output is written: an output may
   be an input. */

#ifndef FASTACT_PIECEWISE_LOOPS_H
#define FASTACT_PIECEWISE_LOOPS_H

#ifdef __AVX512F__

#include <stddef.h>

#include "halves.h"
#include "outside.h"
#include "piecewise.h"

#define FASTACT_SINGLE(operation) _mm512_##operation##_ps
#define FASTACT_DOUBLE(operation) _mm512_##operation##_pd

/* Of one vector, in one go: where many numbers are outside, one after the other takes up to half as long again. */
#define FASTACT_PIECEWISE_SET_ASIDE(dtype, number, operation)                                                          \
    static __attribute__((noinline, cold)) void fastact_set_aside_##number(struct fastact_outside_##number *outside,   \
        unsigned which, fastact_lanes_##dtype first, fastact_lanes_##dtype second, int place)                          \
    {                                                                                                                  \
        const __m512i steps = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);                 \
        const __m512i places = _mm512_add_epi32(steps, _mm512_set1_epi32(place));                                      \
        const int count = outside->count;                                                                              \
        operation(storeu)(outside->numbers[0] + count, operation(maskz_compress)(which, first));                       \
        operation(storeu)(outside->numbers[1] + count, operation(maskz_compress)(which, second));                      \
        _mm512_storeu_si512(outside->places + count, _mm512_maskz_compress_epi32(which, places));                      \
        outside->count = count + __builtin_popcount(which);                                                            \
    }
FASTACT_PIECEWISE_SET_ASIDE(float32, float, FASTACT_SINGLE)
FASTACT_PIECEWISE_SET_ASIDE(float64, double, FASTACT_DOUBLE)

/* ``stride``: from one number of the vector to the next. */
static __attribute__((noinline, cold)) void fastact_set_aside_uint16_t(
    struct fastact_outside_uint16_t *outside, unsigned which, int stride, const uint16_t *first, const uint16_t *second,
    int place)
{
    for (; which; which &= which - 1) {
        const int k = __builtin_ctz(which) * stride;
        outside->numbers[0][outside->count] = first[k];
        outside->numbers[1][outside->count] = second[k];
        outside->places[outside->count++] = place + k;
    }
}

/* --- steps: one or two vectors from ``place`` on, whose chains run side by side; ``start`` is where the chunk begins.
   One at a time takes 3 to 20 % longer, four change nothing.

   ``streams``: the output, which begins at a cache line, goes past the caches. ------------------------------------- */

#define FASTACT_PIECEWISE_NUMBERS_STEP(dtype, number, width, operation, parameter)                                     \
    FASTACT_PIECEWISE_INLINE void fastact_piecewise_step_##dtype(                                                      \
        fastact_pieces_##dtype pieces, fastact_piecewise_value_##dtype value, enum fastact_ends ends, int is_chained,  \
        int streams, const number *grad, const number *x, number *out, ptrdiff_t start, ptrdiff_t place, int vectors,  \
        struct fastact_outside_##number *outside, fastact_formula_##number formula, const parameter *params)           \
    {                                                                                                                  \
        fastact_lanes_##dtype given[2], factor[2], result[2];                                                          \
        unsigned is_outside[2];                                                                                        \
        _Pragma("GCC unroll 2") for (int k = 0; k < vectors; k++)                                                      \
        {                                                                                                              \
            given[k] = operation(loadu)(x + place + width * k);                                                        \
            factor[k] = is_chained ? operation(loadu)(grad + place + width * k) : given[k];                            \
            is_outside[k] = fastact_is_outside_##dtype(pieces, given[k], ends);                                        \
            result[k] = value(pieces, given[k]);                                                                       \
            if (is_chained) result[k] = operation(mul)(factor[k], result[k]);                                          \
        }                                                                                                              \
        _Pragma("GCC unroll 2") for (int k = 0; k < vectors; k++)                                                      \
        {                                                                                                              \
            if (streams) operation(stream)(out + place + width * k, result[k]);                                        \
            else operation(storeu)(out + place + width * k, result[k]);                                                \
        }                                                                                                              \
        if (ends == FASTACT_NOWHERE) return;                                                                           \
        if (__builtin_expect((is_outside[0] | is_outside[vectors - 1]) == 0, 1)) return;                               \
        fastact_make_room_##number(outside, out + start, formula, params);                                             \
        for (int k = 0; k < vectors; k++)                                                                              \
            fastact_set_aside_##number(outside, is_outside[k], factor[k], given[k], (int)(place - start) + width * k); \
    }
FASTACT_PIECEWISE_NUMBERS_STEP(float32, float, 16, FASTACT_SINGLE, float)
FASTACT_PIECEWISE_NUMBERS_STEP(float64, double, 8, FASTACT_DOUBLE, double)

/* A line that packing has left in registers, in parts of their width. */
FASTACT_PIECEWISE_INLINE void fastact_stream_line_float16(const uint16_t *line, uint16_t *out)
{
    _mm256_stream_si256((__m256i *)out, _mm256_load_si256((const __m256i *)line));
    _mm256_stream_si256((__m256i *)(out + 16), _mm256_load_si256((const __m256i *)(line + 16)));
}

FASTACT_PIECEWISE_INLINE void fastact_stream_line_bfloat16(const uint16_t *line, uint16_t *out)
{
    _mm512_stream_si512((__m512i *)out, _mm512_load_si512(line));
}

/* ``pair_stride``: 2 where halves.h unpacks two vectors into even and odd numbers, 1 where it keeps their order. */
#define FASTACT_PIECEWISE_HALVES_STEP(dtype, pair_stride)                                                              \
    FASTACT_PIECEWISE_INLINE void fastact_piecewise_step_##dtype(                                                      \
        fastact_pieces_float32 pieces, fastact_piecewise_value_float32 value, enum fastact_ends ends, int is_chained,  \
        int streams, const uint16_t *grad, const uint16_t *x, uint16_t *out, ptrdiff_t start, ptrdiff_t place,         \
        int vectors, struct fastact_outside_uint16_t *outside, fastact_formula_uint16_t formula, const float *params)  \
    {                                                                                                                  \
        float given[2][16], factor[2][16], result[2][16];                                                              \
        __mmask16 is_outside[2];                                                                                       \
        if (vectors == 2) fastact_unpack_pair_##dtype(x + place, given[0], given[1]);                                  \
        else fastact_unpack_##dtype(x + place, given[0]);                                                              \
        if (is_chained && vectors == 2) fastact_unpack_pair_##dtype(grad + place, factor[0], factor[1]);               \
        if (is_chained && vectors == 1) fastact_unpack_##dtype(grad + place, factor[0]);                               \
        _Pragma("GCC unroll 2") for (int k = 0; k < vectors; k++)                                                      \
        {                                                                                                              \
            const __m512 number = _mm512_loadu_ps(given[k]);                                                           \
            __m512 found = value(pieces, number);                                                                      \
            if (is_chained) found = _mm512_mul_ps(_mm512_loadu_ps(factor[k]), found);                                  \
            is_outside[k] = fastact_is_outside_float32(pieces, number, ends);                                          \
            _mm512_storeu_ps(result[k], found);                                                                        \
        }                                                                                                              \
        if (ends != FASTACT_NOWHERE                                                                                    \
            && __builtin_expect(!_kortestz_mask16_u8(is_outside[0], is_outside[vectors - 1]), 0)) {                    \
            fastact_make_room_uint16_t(outside, out + start, formula, params);                                         \
            for (int k = 0; k < vectors; k++) {                                                                        \
                const int stride = vectors == 2 ? pair_stride : 1;                                                     \
                const ptrdiff_t first = place + (stride == 2 ? k : 16 * k);                                            \
                fastact_set_aside_uint16_t(outside, is_outside[k], stride, (is_chained ? grad : x) + first, x + first, \
                    (int)(first - start));                                                                             \
            }                                                                                                          \
        }                                                                                                              \
        if (streams && vectors == 2) {                                                                                 \
            uint16_t line[32] __attribute__((aligned(64)));                                                            \
            fastact_pack_pair_##dtype(result[0], result[1], line);                                                     \
            fastact_stream_line_##dtype(line, out + place);                                                            \
        } else if (vectors == 2) fastact_pack_pair_##dtype(result[0], result[1], out + place);                         \
        else fastact_pack_##dtype(result[0], out + place);                                                             \
    }
FASTACT_PIECEWISE_HALVES_STEP(float16, 1)
FASTACT_PIECEWISE_HALVES_STEP(bfloat16, 2)

/* --- loops: `is_chained` where the result is multiplied by `grad`; `streams` where it goes past the caches -------- */

/* ``computed``: what it is computed in.  The count is a multiple of 16, of two vectors in float64. */
#define FASTACT_PIECEWISE_LOOP(dtype, number, computed, width, parameter)                                              \
    FASTACT_PIECEWISE_INLINE void fastact_piecewise_loop_##dtype(                                                      \
        fastact_pieces_##computed pieces, fastact_piecewise_value_##computed value, enum fastact_ends ends,            \
        int is_chained, int streams, const number *grad, const number *x, number *out, ptrdiff_t count,                \
        fastact_formula_##number formula, const parameter *params)                                                     \
    {                                                                                                                  \
        struct fastact_outside_##number outside;                                                                       \
        outside.count = outside.put_into_place = 0;                                                                    \
        count &= -(ptrdiff_t)16;                                                                                       \
        for (ptrdiff_t start = 0; start < count; start += FASTACT_PIECEWISE_CHUNK) {                                   \
            const ptrdiff_t end = count - start < FASTACT_PIECEWISE_CHUNK ? count : start + FASTACT_PIECEWISE_CHUNK;   \
            const int streams_here = streams && outside.put_into_place <= FASTACT_FEW_OUTSIDE;                         \
            ptrdiff_t place = start;                                                                                   \
            outside.put_into_place = 0;                                                                                \
            for (; place <= end - 2 * width; place += 2 * width)                                                       \
                fastact_piecewise_step_##dtype(pieces, value, ends, is_chained, streams_here, grad, x, out, start,     \
                    place, 2, &outside, formula, params);                                                              \
            if (width == 16 && place < end)                                                                            \
                fastact_piecewise_step_##dtype(pieces, value, ends, is_chained, streams_here, grad, x, out, start,     \
                    place, 1, &outside, formula, params);                                                              \
            if (ends != FASTACT_NOWHERE && outside.count)                                                              \
                fastact_put_into_place_##number(&outside, out + start, formula, params);                               \
        }                                                                                                              \
    }
FASTACT_PIECEWISE_LOOP(float32, float, float32, 16, float)
FASTACT_PIECEWISE_LOOP(float64, double, float64, 8, double)
FASTACT_PIECEWISE_LOOP(float16, uint16_t, float32, 16, float)
FASTACT_PIECEWISE_LOOP(bfloat16, uint16_t, float32, 16, float)

/* --- kernels, but for the formula's, for each dtype --------------------------------------------------------------- */

/* What is below the last interval is nothing but zero in float16. */
#define FASTACT_FLOAT16_ENDS(ends) ((ends) == FASTACT_BELOW ? FASTACT_NOWHERE : (ends))

/* Of a loop, the table, the kind and the ends; 16 bits have tables and kinds of their own.  The result of a backward is
   multiplied by its first input. */
#define FASTACT_PIECEWISE_FORWARD_FLOAT32(loop, table, kind, ends)                                                     \
    FASTACT_PIECEWISE_KERNEL(loop, table, float32, kind, ends, float32, float, float32, float, 0, NULL, inputs[0])
#define FASTACT_PIECEWISE_FORWARD_FLOAT64(loop, table, kind, ends)                                                     \
    FASTACT_PIECEWISE_KERNEL(loop, table, float64, kind, ends, float64, double, float64, double, 0, NULL, inputs[0])
#define FASTACT_PIECEWISE_FORWARD_NARROW(loop, table, kind, ends)                                                      \
    FASTACT_PIECEWISE_HALVES(loop, table, kind, ends, 0, NULL, inputs[0])
#define FASTACT_PIECEWISE_BACKWARD_FLOAT32(loop, table, kind, ends)                                                    \
    FASTACT_PIECEWISE_KERNEL(loop, table, float32, kind, ends, float32, float, float32, float, 1, inputs[0], inputs[1])
#define FASTACT_PIECEWISE_BACKWARD_FLOAT64(loop, table, kind, ends)                                                    \
    FASTACT_PIECEWISE_KERNEL(                                                                                          \
        loop, table, float64, kind, ends, float64, double, float64, double, 1, inputs[0], inputs[1])
#define FASTACT_PIECEWISE_BACKWARD_NARROW(loop, table, kind, ends)                                                     \
    FASTACT_PIECEWISE_HALVES(loop, table, kind, ends, 1, inputs[0], inputs[1])
#define FASTACT_PIECEWISE_HALVES(loop, table, kind, ends, is_chained, grad, x)                                         \
    FASTACT_PIECEWISE_KERNEL(loop, table, narrow, kind, FASTACT_FLOAT16_ENDS(ends), float16, uint16_t, float32, float, \
        is_chained, grad, x)                                                                                           \
    FASTACT_PIECEWISE_KERNEL(                                                                                          \
        loop, table, narrow, kind, ends, bfloat16, uint16_t, float32, float, is_chained, grad, x)
#define FASTACT_PIECEWISE_KERNEL(                                                                                      \
    loop, table, pieces, kind, ends, dtype, number, computed, parameter, is_chained, grad, x)                          \
    FASTACT_PIECEWISE_INLINE void fastact_piecewise_##loop##_##dtype(const number **inputs, number **outputs,          \
        ptrdiff_t count, const parameter *params, fastact_formula_##number formula, int streams)                       \
    {                                                                                                                  \
        fastact_piecewise_loop_##dtype(&fastact_##table##_pieces_##pieces, fastact_piecewise_##kind##_##computed,      \
            ends, is_chained, streams, grad, x, outputs[0], count, formula, params);                                   \
    }

#include "piecewise_tables.h"

#endif
#endif
