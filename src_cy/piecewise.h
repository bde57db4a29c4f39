/* Functions of one number by piecewise polynomials, in float32 arithmetic: what AVX-512 does faster than any formula.

   One instruction picks 16 coefficients out of 32, so a function that is cut into 32 intervals costs a polynomial of
   degree 5 to 7, and as many permutations: about 25 instructions for 16 numbers, where a formula in extended precision
   takes 70 to 150.  On an interval

       function(t) = c0 + r (c1 + r (c2 + ...)),    r = b - t.

   c0 and c1 have hardly any error (tools/piecewise_tables.py), and r is exact or nearly so; what is rounded before the
   last addition is but a small part of the result, and so the result is within one unit in the last place.

   The intervals end where the tail of the function would need more of them.  The few numbers outside are collected,
   given to the formula's own kernel at the end of a chunk, and what it gives is put into place.  Which of both serves
   a number depends on the number alone.  NaN is not outside: it runs through.

   Not here: AVX2, where picking out of 32 takes seven instructions, not one, and SSE2, which cannot do it at all.  A
   result there may differ in the last bit; each is within the limit of its row. */

#ifndef FASTACT_PIECEWISE_H
#define FASTACT_PIECEWISE_H

#ifdef __AVX512F__

#include <immintrin.h>
#include <stddef.h>
#include <string.h>

#include "halves.h"

#define FASTACT_PIECEWISE_INLINE static inline __attribute__((always_inline))
/* Numbers of a chunk: what is kept of it fits the L1 cache beside input and output. */
#define FASTACT_PIECEWISE_CHUNK 1024
/* Two vectors at a time, whose chains run side by side.  One takes 3 to 20 % longer, four change nothing. */
#define FASTACT_PIECEWISE_STRIDE 32

struct fastact_piecewise {
    int degree;
    /* index = round(t (linear + t quadratic)), modulo 32 */
    float linear, quadratic;
    /* the largest |t| of the last interval */
    float last;
    /* numbers nearer to 0, but not 0 itself, are outside as well; if not 0 */
    float least;
    /* of a function that is divided by (zero - t); in two parts */
    float zero, zero_rest;
    /* b, c0, c1, ... */
    float rows[9][32] __attribute__((aligned(64)));
};

typedef __m512 fastact_lanes;
typedef fastact_lanes (*fastact_piecewise_value)(const struct fastact_piecewise *, fastact_lanes);
typedef void (*fastact_formula)(const float **inputs, float **outputs, ptrdiff_t count, const float *params);

FASTACT_PIECEWISE_INLINE fastact_lanes fastact_pick(const float *row, __m512i index)
{
    return _mm512_permutex2var_ps(_mm512_load_ps(row), index, _mm512_load_ps(row + 16));
}

/* The function at t is *leading plus what is returned, which is *r times *slope; the index is of use as well. */
FASTACT_PIECEWISE_INLINE __m512i fastact_look_up(
    const struct fastact_piecewise *pieces, fastact_lanes t, fastact_lanes *leading, fastact_lanes *r, fastact_lanes *slope)
{
    fastact_lanes step = _mm512_set1_ps(pieces->linear);
    if (pieces->quadratic != 0.0f) step = _mm512_fmadd_ps(t, _mm512_set1_ps(pieces->quadratic), step);
    /* 1.5 * 2**23: adding it rounds, and leaves the integer in the low bits */
    const __m512i index = _mm512_castps_si512(_mm512_fmadd_ps(t, step, _mm512_set1_ps(12582912.0f)));
    const fastact_lanes distance = _mm512_sub_ps(fastact_pick(pieces->rows[0], index), t);
    fastact_lanes value = fastact_pick(pieces->rows[pieces->degree + 1], index);
#pragma GCC unroll 8
    for (int k = pieces->degree; k > 1; k--)
        value = _mm512_fmadd_ps(value, distance, fastact_pick(pieces->rows[k], index));
    *leading = fastact_pick(pieces->rows[1], index);
    *r = distance;
    *slope = value;
    return index;
}

/* The function at t as the sum of two numbers: only the rounding of the slope is left out. */
FASTACT_PIECEWISE_INLINE void fastact_two_numbers(
    const struct fastact_piecewise *pieces, fastact_lanes t, fastact_lanes *sum, fastact_lanes *rest)
{
    fastact_lanes leading, r, slope;
    fastact_look_up(pieces, t, &leading, &r, &slope);
    *sum = _mm512_fmadd_ps(r, slope, leading);
    *rest = _mm512_fmadd_ps(r, slope, _mm512_sub_ps(leading, *sum));
}

/* |x|, not beyond the last interval; NaN stays. */
FASTACT_PIECEWISE_INLINE fastact_lanes fastact_within(const struct fastact_piecewise *pieces, fastact_lanes x)
{
    return _mm512_min_ps(_mm512_set1_ps(pieces->last), _mm512_abs_ps(x));
}

FASTACT_PIECEWISE_INLINE __mmask16 fastact_not_negative(fastact_lanes x)
{
    return _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_GE_OQ);
}

FASTACT_PIECEWISE_INLINE fastact_lanes fastact_with_sign(fastact_lanes magnitude, fastact_lanes sign)
{
    /* (sign & mask) | (magnitude & ~mask) */
    return _mm512_castsi512_ps(_mm512_ternarylogic_epi32(
        _mm512_set1_epi32((int)0x80000000u), _mm512_castps_si512(sign), _mm512_castps_si512(magnitude), 0xca));
}

/* f(x) = T(|x|) for x < 0 and 1 - T(|x|) for x >= 0: of the two roundings there the first is of a number below 1/2. */
FASTACT_PIECEWISE_INLINE fastact_lanes fastact_piecewise_complement(const struct fastact_piecewise *pieces, fastact_lanes x)
{
    fastact_lanes leading, r, slope;
    fastact_look_up(pieces, fastact_within(pieces, x), &leading, &r, &slope);
    const fastact_lanes below = _mm512_fmadd_ps(r, slope, leading);
    return _mm512_mask_sub_ps(below, fastact_not_negative(x), _mm512_set1_ps(1.0f), below);
}

/* f(x) = x T(|x|) for x < 0 and x - x T(|x|) for x >= 0. */
FASTACT_PIECEWISE_INLINE fastact_lanes fastact_piecewise_gate(const struct fastact_piecewise *pieces, fastact_lanes x)
{
    fastact_lanes leading, r, slope;
    const fastact_lanes a = fastact_within(pieces, x);
    fastact_look_up(pieces, a, &leading, &r, &slope);
    const fastact_lanes below = _mm512_fnmsub_ps(a, leading, _mm512_mul_ps(a, _mm512_mul_ps(r, slope)));
    return _mm512_mask_add_ps(below, fastact_not_negative(x), x, below);
}

/* The same for a T that is so steep that r slope is as much as half of the result. */
FASTACT_PIECEWISE_INLINE fastact_lanes fastact_piecewise_steep_gate(const struct fastact_piecewise *pieces, fastact_lanes x)
{
    fastact_lanes sum, rest;
    const fastact_lanes a = fastact_within(pieces, x);
    fastact_two_numbers(pieces, a, &sum, &rest);
    const fastact_lanes minus_a = _mm512_xor_ps(a, _mm512_set1_ps(-0.0f));
    const fastact_lanes below = _mm512_fmadd_ps(minus_a, sum, _mm512_mul_ps(minus_a, rest));
    return _mm512_mask_add_ps(below, fastact_not_negative(x), x, below);
}

/* f(x) = T(|x|) with the sign of x; in the first interval the table has T(t) - t. */
FASTACT_PIECEWISE_INLINE fastact_lanes fastact_piecewise_odd(const struct fastact_piecewise *pieces, fastact_lanes x)
{
    fastact_lanes leading, r, slope;
    const fastact_lanes a = fastact_within(pieces, x);
    const __m512i index = fastact_look_up(pieces, a, &leading, &r, &slope);
    const __mmask16 is_first = _mm512_testn_epi32_mask(index, _mm512_set1_epi32(31));
    return fastact_with_sign(_mm512_fmadd_ps(r, slope, _mm512_mask_mov_ps(leading, is_first, a)), x);
}

/* f(x) = T(|x|). */
FASTACT_PIECEWISE_INLINE fastact_lanes fastact_piecewise_even(const struct fastact_piecewise *pieces, fastact_lanes x)
{
    fastact_lanes leading, r, slope;
    fastact_look_up(pieces, fastact_within(pieces, x), &leading, &r, &slope);
    return _mm512_fmadd_ps(r, slope, leading);
}

/* f(x) = x T(x). */
FASTACT_PIECEWISE_INLINE fastact_lanes fastact_piecewise_multiple(const struct fastact_piecewise *pieces, fastact_lanes x)
{
    fastact_lanes sum, rest;
    fastact_two_numbers(pieces, x, &sum, &rest);
    return fastact_with_sign(_mm512_fmadd_ps(x, sum, _mm512_mul_ps(x, rest)), x);
}

/* (zero - t) T(t), with what the difference leaves out: rounded once, beside the zero as well. */
FASTACT_PIECEWISE_INLINE fastact_lanes fastact_piecewise_through_zero(const struct fastact_piecewise *pieces, fastact_lanes t)
{
    fastact_lanes sum, rest_of_sum;
    fastact_two_numbers(pieces, t, &sum, &rest_of_sum);
    const fastact_lanes zero = _mm512_set1_ps(pieces->zero);
    const fastact_lanes distance = _mm512_sub_ps(zero, t);
    const fastact_lanes minus_t = _mm512_sub_ps(distance, zero);
    const fastact_lanes rest_of_zero = _mm512_sub_ps(zero, _mm512_sub_ps(distance, minus_t));
    const fastact_lanes rest_of_t = _mm512_add_ps(t, minus_t);
    const fastact_lanes rest
        = _mm512_add_ps(_mm512_sub_ps(rest_of_zero, rest_of_t), _mm512_set1_ps(pieces->zero_rest));
    return _mm512_fmadd_ps(distance, sum, _mm512_fmadd_ps(distance, rest_of_sum, _mm512_mul_ps(rest, sum)));
}

/* f(x) = (zero - |x|) T(|x|) for x < 0 and 1 less that for x >= 0. */
FASTACT_PIECEWISE_INLINE fastact_lanes fastact_piecewise_gradient(const struct fastact_piecewise *pieces, fastact_lanes x)
{
    const fastact_lanes below = fastact_piecewise_through_zero(pieces, fastact_within(pieces, x));
    return _mm512_mask_sub_ps(below, fastact_not_negative(x), _mm512_set1_ps(1.0f), below);
}

/* The same three for 16 bits, which two roundings more do not reach. */
FASTACT_PIECEWISE_INLINE fastact_lanes fastact_piecewise_narrow_multiple(
    const struct fastact_piecewise *pieces, fastact_lanes x)
{
    fastact_lanes leading, r, slope;
    fastact_look_up(pieces, x, &leading, &r, &slope);
    return _mm512_mul_ps(x, _mm512_fmadd_ps(r, slope, leading));
}

FASTACT_PIECEWISE_INLINE fastact_lanes fastact_piecewise_narrow_through_zero(
    const struct fastact_piecewise *pieces, fastact_lanes t)
{
    fastact_lanes leading, r, slope;
    fastact_look_up(pieces, t, &leading, &r, &slope);
    const fastact_lanes distance = _mm512_sub_ps(_mm512_set1_ps(pieces->zero), t);
    /* beside the zero the difference is exact, and the rest a thousandth of it */
    return _mm512_mul_ps(
        _mm512_add_ps(distance, _mm512_set1_ps(pieces->zero_rest)), _mm512_fmadd_ps(r, slope, leading));
}

FASTACT_PIECEWISE_INLINE fastact_lanes fastact_piecewise_narrow_gradient(
    const struct fastact_piecewise *pieces, fastact_lanes x)
{
    const fastact_lanes below = fastact_piecewise_narrow_through_zero(pieces, fastact_within(pieces, x));
    return _mm512_mask_sub_ps(below, fastact_not_negative(x), _mm512_set1_ps(1.0f), below);
}

/* --- the loop ----------------------------------------------------------------------------------------------------- */

/* Which numbers are outside: those with |x| > last; those below -last, where the function is what its last interval
   gives for every greater number; none, where that holds for both sides. */
enum fastact_ends { FASTACT_BEYOND, FASTACT_BELOW, FASTACT_NOWHERE };

FASTACT_PIECEWISE_INLINE __mmask16 fastact_is_outside(
    const struct fastact_piecewise *pieces, fastact_lanes x, enum fastact_ends ends)
{
    if (ends == FASTACT_NOWHERE) return 0;
    if (ends == FASTACT_BELOW) return _mm512_cmp_ps_mask(x, _mm512_set1_ps(-pieces->last), _CMP_LT_OQ);
    const __mmask16 beyond = _mm512_cmp_ps_mask(_mm512_abs_ps(x), _mm512_set1_ps(pieces->last), _CMP_GT_OQ);
    if (pieces->least == 0.0f) return beyond;
    const __mmask16 near = _mm512_cmp_ps_mask(_mm512_abs_ps(x), _mm512_set1_ps(pieces->least), _CMP_LT_OQ);
    return beyond | _mm512_mask_cmp_ps_mask(near, x, _mm512_setzero_ps(), _CMP_NEQ_OQ);
}

/* What is outside, until the end of a chunk. */
struct fastact_outside {
    float numbers[2][FASTACT_PIECEWISE_CHUNK + 16];
    float results[FASTACT_PIECEWISE_CHUNK + 16];
    int places[FASTACT_PIECEWISE_CHUNK + 16];
    int count;
};

static __attribute__((noinline, cold)) void fastact_set_aside(
    struct fastact_outside *outside, __mmask16 which, fastact_lanes first, fastact_lanes second, int place)
{
    const __m512i steps = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i places = _mm512_add_epi32(steps, _mm512_set1_epi32(place));
    const int count = outside->count;
    _mm512_storeu_ps(outside->numbers[0] + count, _mm512_maskz_compress_ps(which, first));
    _mm512_storeu_ps(outside->numbers[1] + count, _mm512_maskz_compress_ps(which, second));
    _mm512_storeu_si512(outside->places + count, _mm512_maskz_compress_epi32(which, places));
    outside->count = count + __builtin_popcount(which);
}

static __attribute__((noinline, cold)) void fastact_put_into_place(
    struct fastact_outside *outside, float *out, fastact_formula formula, const float *params)
{
    /* the formula takes sixteen at a time; what pads them is 0 */
    _mm512_storeu_ps(outside->numbers[0] + outside->count, _mm512_setzero_ps());
    _mm512_storeu_ps(outside->numbers[1] + outside->count, _mm512_setzero_ps());
    const float *inputs[2] = {outside->numbers[0], outside->numbers[1]};
    float *outputs[1] = {outside->results};
    formula(inputs, outputs, (outside->count + 15) & -16, params);
    for (int k = 0; k < outside->count; k++) out[outside->places[k]] = outside->results[k];
    outside->count = 0;
}

/* One or two vectors from ``place`` on; ``start`` is where the chunk begins. */
FASTACT_PIECEWISE_INLINE void fastact_piecewise_step(
    const struct fastact_piecewise *pieces, fastact_piecewise_value value, enum fastact_ends ends, int is_chained,
    const float *grad, const float *x, float *out, ptrdiff_t start, ptrdiff_t place, int vectors, struct fastact_outside *outside)
{
    fastact_lanes given[2], factor[2], result[2];
    __mmask16 is_outside[2];
#pragma GCC unroll 2
    for (int k = 0; k < vectors; k++) {
        given[k] = _mm512_loadu_ps(x + place + 16 * k);
        factor[k] = is_chained ? _mm512_loadu_ps(grad + place + 16 * k) : given[k];
        is_outside[k] = fastact_is_outside(pieces, given[k], ends);
        result[k] = value(pieces, given[k]);
        if (is_chained) result[k] = _mm512_mul_ps(factor[k], result[k]);
    }
    /* an output may be an input: every input is read by now */
#pragma GCC unroll 2
    for (int k = 0; k < vectors; k++) _mm512_storeu_ps(out + place + 16 * k, result[k]);
    if (ends == FASTACT_NOWHERE) return;
    if (__builtin_expect(_kortestz_mask16_u8(is_outside[0], is_outside[vectors - 1]), 1)) return;
    for (int k = 0; k < vectors; k++)
        fastact_set_aside(outside, is_outside[k], factor[k], given[k], (int)(place - start) + 16 * k);
}

/* `is_chained`: the result is multiplied by `grad`. */
FASTACT_PIECEWISE_INLINE void fastact_piecewise_loop(
    const struct fastact_piecewise *pieces, fastact_piecewise_value value, enum fastact_ends ends, int is_chained,
    const float *grad, const float *x, float *out, ptrdiff_t count, fastact_formula formula, const float *params)
{
    struct fastact_outside outside;
    outside.count = 0;
    count &= -(ptrdiff_t)16;
    for (ptrdiff_t start = 0; start < count; start += FASTACT_PIECEWISE_CHUNK) {
        const ptrdiff_t end = count - start < FASTACT_PIECEWISE_CHUNK ? count : start + FASTACT_PIECEWISE_CHUNK;
        ptrdiff_t place = start;
        for (; place <= end - FASTACT_PIECEWISE_STRIDE; place += FASTACT_PIECEWISE_STRIDE)
            fastact_piecewise_step(pieces, value, ends, is_chained, grad, x, out, start, place, 2, &outside);
        if (place < end)
            fastact_piecewise_step(pieces, value, ends, is_chained, grad, x, out, start, place, 1, &outside);
        if (ends != FASTACT_NOWHERE && outside.count)
            fastact_put_into_place(&outside, out + start, formula, params);
    }
}

/* --- 16 bits ------------------------------------------------------------------------------------------------------ */

typedef void (*fastact_half_formula)(const uint16_t **inputs, uint16_t **outputs, ptrdiff_t count, const float *params);

struct fastact_outside_halves {
    uint16_t numbers[2][FASTACT_PIECEWISE_CHUNK + 16];
    uint16_t results[FASTACT_PIECEWISE_CHUNK + 16];
    int places[FASTACT_PIECEWISE_CHUNK + 16];
    int count;
};

/* ``step``: 2 for what was unpacked into even and odd numbers. */
static __attribute__((noinline, cold)) void fastact_set_halves_aside(
    struct fastact_outside_halves *outside, unsigned which, int step, const uint16_t *first, const uint16_t *second,
    int place)
{
    for (; which; which &= which - 1) {
        const int k = __builtin_ctz(which) * step;
        outside->numbers[0][outside->count] = first[k];
        outside->numbers[1][outside->count] = second[k];
        outside->places[outside->count++] = place + k;
    }
}

static __attribute__((noinline, cold)) void fastact_put_halves_into_place(
    struct fastact_outside_halves *outside, uint16_t *out, fastact_half_formula formula, const float *params)
{
    memset(outside->numbers[0] + outside->count, 0, 32);
    memset(outside->numbers[1] + outside->count, 0, 32);
    const uint16_t *inputs[2] = {outside->numbers[0], outside->numbers[1]};
    uint16_t *outputs[1] = {outside->results};
    formula(inputs, outputs, (outside->count + 15) & -16, params);
    for (int k = 0; k < outside->count; k++) out[outside->places[k]] = outside->results[k];
    outside->count = 0;
}

/* 32 numbers from ``place`` on, or the 16 that are left; in the order in which halves.h unpacks them. */
FASTACT_PIECEWISE_INLINE void fastact_piecewise_halves_step(
    const struct fastact_piecewise *pieces, fastact_piecewise_value value, enum fastact_ends ends, int is_bfloat16,
    int is_chained, const uint16_t *grad, const uint16_t *x, uint16_t *out, ptrdiff_t start, ptrdiff_t place, int vectors,
    struct fastact_outside_halves *outside)
{
    float given[2][16], factor[2][16], result[2][16];
    __mmask16 is_outside[2];
    if (vectors == 2) {
        (is_bfloat16 ? fastact_unpack_pair_bfloat16 : fastact_unpack_pair_float16)(x + place, given[0], given[1]);
        if (is_chained)
            (is_bfloat16 ? fastact_unpack_pair_bfloat16 : fastact_unpack_pair_float16)(
                grad + place, factor[0], factor[1]);
    } else {
        (is_bfloat16 ? fastact_unpack_bfloat16 : fastact_unpack_float16)(x + place, given[0]);
        if (is_chained) (is_bfloat16 ? fastact_unpack_bfloat16 : fastact_unpack_float16)(grad + place, factor[0]);
    }
#pragma GCC unroll 2
    for (int k = 0; k < vectors; k++) {
        const fastact_lanes number = _mm512_loadu_ps(given[k]);
        fastact_lanes found = value(pieces, number);
        if (is_chained) found = _mm512_mul_ps(_mm512_loadu_ps(factor[k]), found);
        is_outside[k] = fastact_is_outside(pieces, number, ends);
        _mm512_storeu_ps(result[k], found);
    }
    if (ends != FASTACT_NOWHERE && __builtin_expect(!_kortestz_mask16_u8(is_outside[0], is_outside[vectors - 1]), 0))
        /* before an output is written, which may be an input */
        for (int k = 0; k < vectors; k++) {
            const int step = vectors == 2 && is_bfloat16 ? 2 : 1;
            const ptrdiff_t first = place + (step == 2 ? k : 16 * k);
            fastact_set_halves_aside(
                outside, is_outside[k], step, (is_chained ? grad : x) + first, x + first, (int)(first - start));
        }
    if (vectors == 2)
        (is_bfloat16 ? fastact_pack_pair_bfloat16 : fastact_pack_pair_float16)(result[0], result[1], out + place);
    else
        (is_bfloat16 ? fastact_pack_bfloat16 : fastact_pack_float16)(result[0], out + place);
}

FASTACT_PIECEWISE_INLINE void fastact_piecewise_halves_loop(
    const struct fastact_piecewise *pieces, fastact_piecewise_value value, enum fastact_ends ends, int is_bfloat16,
    int is_chained, const uint16_t *grad, const uint16_t *x, uint16_t *out, ptrdiff_t count, fastact_half_formula formula,
    const float *params)
{
    struct fastact_outside_halves outside;
    /* what is below the last interval is nothing but zero in float16 */
    if (!is_bfloat16 && ends == FASTACT_BELOW) ends = FASTACT_NOWHERE;
    outside.count = 0;
    count &= -(ptrdiff_t)16;
    for (ptrdiff_t start = 0; start < count; start += FASTACT_PIECEWISE_CHUNK) {
        const ptrdiff_t end = count - start < FASTACT_PIECEWISE_CHUNK ? count : start + FASTACT_PIECEWISE_CHUNK;
        ptrdiff_t place = start;
        for (; place <= end - FASTACT_PIECEWISE_STRIDE; place += FASTACT_PIECEWISE_STRIDE)
            fastact_piecewise_halves_step(
                pieces, value, ends, is_bfloat16, is_chained, grad, x, out, start, place, 2, &outside);
        if (place < end)
            fastact_piecewise_halves_step(
                pieces, value, ends, is_bfloat16, is_chained, grad, x, out, start, place, 1, &outside);
        if (ends != FASTACT_NOWHERE && outside.count)
            fastact_put_halves_into_place(&outside, out + start, formula, params);
    }
}

/* --- kernels ------------------------------------------------------------------------------------------------------ */

/* A kernel without its formula's, for each dtype; 16 bits may do with another kind. */
#define FASTACT_PIECEWISE_FORWARD(loop, table, kind, narrow_kind, ends)                                                \
    FASTACT_PIECEWISE_FLOAT32(loop, table, kind, ends, 0, NULL, inputs[0])                                             \
    FASTACT_PIECEWISE_HALVES(loop, table, narrow_kind, ends, float16, 0, 0, NULL, inputs[0])                           \
    FASTACT_PIECEWISE_HALVES(loop, table, narrow_kind, ends, bfloat16, 1, 0, NULL, inputs[0])
/* The result is multiplied by the first input. */
#define FASTACT_PIECEWISE_BACKWARD(loop, table, kind, narrow_kind, ends)                                               \
    FASTACT_PIECEWISE_FLOAT32(loop, table, kind, ends, 1, inputs[0], inputs[1])                                        \
    FASTACT_PIECEWISE_HALVES(loop, table, narrow_kind, ends, float16, 0, 1, inputs[0], inputs[1])                      \
    FASTACT_PIECEWISE_HALVES(loop, table, narrow_kind, ends, bfloat16, 1, 1, inputs[0], inputs[1])
#define FASTACT_PIECEWISE_FLOAT32(loop, table, kind, ends, is_chained, grad, x)                                        \
    FASTACT_PIECEWISE_INLINE void fastact_piecewise_##loop##_float32(                                                  \
        const float **inputs, float **outputs, ptrdiff_t count, const float *params, fastact_formula formula)          \
    {                                                                                                                  \
        fastact_piecewise_loop(&fastact_##table##_pieces, fastact_piecewise_##kind, ends, is_chained, grad, x,         \
            outputs[0], count, formula, params);                                                                       \
    }
#define FASTACT_PIECEWISE_HALVES(loop, table, kind, ends, dtype, is_bfloat16, is_chained, grad, x)                     \
    FASTACT_PIECEWISE_INLINE void fastact_piecewise_##loop##_##dtype(const uint16_t **inputs, uint16_t **outputs,      \
        ptrdiff_t count, const float *params, fastact_half_formula formula)                                            \
    {                                                                                                                  \
        fastact_piecewise_halves_loop(&fastact_##table##_pieces, fastact_piecewise_##kind, ends, is_bfloat16,          \
            is_chained, grad, x, outputs[0], count, formula, params);                                                  \
    }

#include "piecewise_tables.h"

#endif
#endif
