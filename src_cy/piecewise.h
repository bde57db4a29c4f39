/* One vector of a function by piecewise polynomials, in float32 arithmetic: what AVX-512 does faster than any formula.

   One instruction picks 16 coefficients out of 32, so a function that is cut into 32 intervals costs a polynomial of
   degree 5 to 7, and as many permutations: about 25 instructions for 16 numbers, where a formula in extended precision
   takes 70 to 150.  On an interval

       function(t) = c0 + r (c1 + r (c2 + ...)),    r = b - t.

   c0 and c1 have hardly any error (tools/piecewise_tables.py), and r is exact or nearly so; what is rounded before the
   last addition is but a small part of the result, and so the result is within one unit in the last place.

   The intervals end where the tail of the function would need more of them; piecewise_loops.h leaves the few numbers
   outside to the formula.  NaN is not outside: it runs through.

   Not here: AVX2, where picking out of 32 takes seven instructions, not one, and SSE2, which cannot do it at all.  A
   result there may differ in the last bit; each is within the limit of its row. */

#ifndef FASTACT_PIECEWISE_H
#define FASTACT_PIECEWISE_H

#include <immintrin.h>

#define FASTACT_PIECEWISE_INLINE static inline __attribute__((always_inline))

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

FASTACT_PIECEWISE_INLINE fastact_lanes fastact_pick(const float *row, __m512i index)
{
    return _mm512_permutex2var_ps(_mm512_load_ps(row), index, _mm512_load_ps(row + 16));
}

/* The function at t is *leading plus what is returned, which is *r times *slope; the index is of use as well. */
FASTACT_PIECEWISE_INLINE __m512i fastact_look_up(
    const struct fastact_piecewise *pieces, fastact_lanes t, fastact_lanes *leading, fastact_lanes *r,
    fastact_lanes *slope)
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
FASTACT_PIECEWISE_INLINE fastact_lanes fastact_piecewise_complement(
    const struct fastact_piecewise *pieces, fastact_lanes x)
{
    fastact_lanes leading, r, slope;
    fastact_look_up(pieces, fastact_within(pieces, x), &leading, &r, &slope);
    const fastact_lanes below = _mm512_fmadd_ps(r, slope, leading);
    return _mm512_mask_sub_ps(below, fastact_not_negative(x), _mm512_set1_ps(1.0f), below);
}

/* f(x) = x T(|x|) for x < 0 and x - x T(|x|) for x >= 0. */
FASTACT_PIECEWISE_INLINE fastact_lanes fastact_piecewise_gate(
    const struct fastact_piecewise *pieces, fastact_lanes x)
{
    fastact_lanes leading, r, slope;
    const fastact_lanes a = fastact_within(pieces, x);
    fastact_look_up(pieces, a, &leading, &r, &slope);
    const fastact_lanes below = _mm512_fnmsub_ps(a, leading, _mm512_mul_ps(a, _mm512_mul_ps(r, slope)));
    return _mm512_mask_add_ps(below, fastact_not_negative(x), x, below);
}

/* The same for a T that is so steep that r slope is as much as half of the result. */
FASTACT_PIECEWISE_INLINE fastact_lanes fastact_piecewise_steep_gate(
    const struct fastact_piecewise *pieces, fastact_lanes x)
{
    fastact_lanes sum, rest;
    const fastact_lanes a = fastact_within(pieces, x);
    fastact_two_numbers(pieces, a, &sum, &rest);
    const fastact_lanes minus_a = _mm512_xor_ps(a, _mm512_set1_ps(-0.0f));
    const fastact_lanes below = _mm512_fmadd_ps(minus_a, sum, _mm512_mul_ps(minus_a, rest));
    return _mm512_mask_add_ps(below, fastact_not_negative(x), x, below);
}

/* f(x) = T(|x|) with the sign of x; in the first interval the table has T(t) - t. */
FASTACT_PIECEWISE_INLINE fastact_lanes fastact_piecewise_odd(
    const struct fastact_piecewise *pieces, fastact_lanes x)
{
    fastact_lanes leading, r, slope;
    const fastact_lanes a = fastact_within(pieces, x);
    const __m512i index = fastact_look_up(pieces, a, &leading, &r, &slope);
    const __mmask16 is_first = _mm512_testn_epi32_mask(index, _mm512_set1_epi32(31));
    return fastact_with_sign(_mm512_fmadd_ps(r, slope, _mm512_mask_mov_ps(leading, is_first, a)), x);
}

/* f(x) = T(|x|). */
FASTACT_PIECEWISE_INLINE fastact_lanes fastact_piecewise_even(
    const struct fastact_piecewise *pieces, fastact_lanes x)
{
    fastact_lanes leading, r, slope;
    fastact_look_up(pieces, fastact_within(pieces, x), &leading, &r, &slope);
    return _mm512_fmadd_ps(r, slope, leading);
}

/* f(x) = x T(x). */
FASTACT_PIECEWISE_INLINE fastact_lanes fastact_piecewise_multiple(
    const struct fastact_piecewise *pieces, fastact_lanes x)
{
    fastact_lanes sum, rest;
    fastact_two_numbers(pieces, x, &sum, &rest);
    return fastact_with_sign(_mm512_fmadd_ps(x, sum, _mm512_mul_ps(x, rest)), x);
}

/* (zero - t) T(t), with what the difference leaves out: rounded once, beside the zero as well. */
FASTACT_PIECEWISE_INLINE fastact_lanes fastact_piecewise_through_zero(
    const struct fastact_piecewise *pieces, fastact_lanes t)
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
FASTACT_PIECEWISE_INLINE fastact_lanes fastact_piecewise_gradient(
    const struct fastact_piecewise *pieces, fastact_lanes x)
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

#endif
