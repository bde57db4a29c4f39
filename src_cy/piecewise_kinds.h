/* What piecewise.h describes, for one precision: included by it once for each, with the macros that it defines.

   ``rest`` and ``_rest`` are what a rounded number leaves out, as in fastact/formulas/. */

#include "piecewise_arithmetic.h"

struct FASTACT_OF(piecewise) {
    int degree;
    /* how many sums, before that with c0, are kept in two numbers, because their rounding would count */
    int sharp;
    /* r = t - b, not b - t */
    int forwards;
    /* index = round(t (linear + t quadratic)), modulo the number of intervals */
    FASTACT_NUMBER linear, quadratic;
    /* the largest |t| of the last interval */
    FASTACT_NUMBER last;
    /* numbers nearer to 0, but not 0 itself, are outside as well; if not 0 */
    FASTACT_NUMBER least;
    /* of a function that is divided by (zero - t); in two parts */
    FASTACT_NUMBER zero, zero_rest;
    /* b, c0, c1, ... */
    FASTACT_NUMBER rows[FASTACT_ROWS][FASTACT_INTERVALS] __attribute__((aligned(64)));
};

typedef const struct FASTACT_OF(piecewise) *FASTACT_OF(pieces);
typedef FASTACT_LANES FASTACT_OF(lanes);
typedef FASTACT_LANES (*FASTACT_OF(piecewise_value))(FASTACT_OF(pieces), FASTACT_LANES);

FASTACT_PIECEWISE_INLINE FASTACT_LANES FASTACT_OF(pick)(const FASTACT_NUMBER *row, __m512i index)
{
    return FASTACT_DO(permutex2var)(FASTACT_DO(load)(row), index, FASTACT_DO(load)(row + FASTACT_INTERVALS / 2));
}

/* c0, c1, r and bend = c2 + r (c3 + ...) with what its rounding leaves out; the index is of use as well. */
FASTACT_PIECEWISE_INLINE __m512i FASTACT_OF(look_up)(
    FASTACT_OF(pieces) pieces, FASTACT_LANES t, FASTACT_LANES *c0, FASTACT_LANES *c1, FASTACT_LANES *r,
    FASTACT_LANES *bend, FASTACT_LANES *bend_rest)
{
    FASTACT_LANES step = FASTACT_DO(set1)(pieces->linear);
    if (pieces->quadratic != 0) step = FASTACT_DO(fmadd)(t, FASTACT_DO(set1)(pieces->quadratic), step);
    const __m512i index = FASTACT_BITS(FASTACT_DO(fmadd)(t, step, FASTACT_DO(set1)(FASTACT_TO_INTEGER)));
    const FASTACT_LANES b = FASTACT_OF(pick)(pieces->rows[0], index);
    const FASTACT_LANES distance = pieces->forwards ? FASTACT_DO(sub)(t, b) : FASTACT_DO(sub)(b, t);
    /* c3 + r (c4 + ...); two chains side by side where that is long */
    FASTACT_LANES value = FASTACT_OF(pick)(pieces->rows[pieces->degree + 1], index);
    const int chains = FASTACT_CHAINS;
    const FASTACT_LANES power = chains == 2 ? FASTACT_DO(mul)(distance, distance) : distance;
#pragma GCC unroll 20
    for (int k = pieces->degree + 1 - chains; k > 3; k -= chains)
        value = FASTACT_DO(fmadd)(value, power, FASTACT_OF(pick)(pieces->rows[k], index));
    if (chains == 2) {
        FASTACT_LANES other = FASTACT_OF(pick)(pieces->rows[pieces->degree], index);
#pragma GCC unroll 20
        for (int k = pieces->degree - 2; k > 3; k -= 2)
            other = FASTACT_DO(fmadd)(other, power, FASTACT_OF(pick)(pieces->rows[k], index));
        value = pieces->degree % 2 ? FASTACT_DO(fmadd)(other, distance, value)
                                   : FASTACT_DO(fmadd)(value, distance, other);
    }
    const FASTACT_LANES c2 = FASTACT_OF(pick)(pieces->rows[3], index);
    *c0 = FASTACT_OF(pick)(pieces->rows[1], index);
    *c1 = FASTACT_OF(pick)(pieces->rows[2], index);
    *r = distance;
    *bend = FASTACT_DO(fmadd)(value, distance, c2);
    *bend_rest = FASTACT_DO(fmadd)(value, distance, FASTACT_DO(sub)(c2, *bend));
    return index;
}

/* The function at t is *leading plus *r times *slope; with what the slope's rounding leaves out. */
FASTACT_PIECEWISE_INLINE __m512i FASTACT_OF(look_up_slope)(
    FASTACT_OF(pieces) pieces, FASTACT_LANES t, FASTACT_LANES *leading, FASTACT_LANES *r, FASTACT_LANES *slope,
    FASTACT_LANES *slope_rest)
{
    FASTACT_LANES c1, bend, bend_rest;
    const __m512i index = FASTACT_OF(look_up)(pieces, t, leading, &c1, r, &bend, &bend_rest);
    *slope = FASTACT_DO(fmadd)(bend, *r, c1);
    *slope_rest = FASTACT_DO(fmadd)(bend, *r, FASTACT_DO(sub)(c1, *slope));
    if (pieces->sharp > 1) *slope_rest = FASTACT_DO(fmadd)(bend_rest, *r, *slope_rest);
    return index;
}

/* The function at t as the sum of two numbers. */
FASTACT_PIECEWISE_INLINE void FASTACT_OF(two_numbers)(
    FASTACT_OF(pieces) pieces, FASTACT_LANES t, FASTACT_LANES *sum, FASTACT_LANES *rest)
{
    FASTACT_LANES leading, r, slope, slope_rest;
    FASTACT_OF(look_up_slope)(pieces, t, &leading, &r, &slope, &slope_rest);
    if (pieces->sharp) {
        /* where what is added takes more than half of the leading number away, leading - sum is no number any more */
        const FASTACT_LANES added = FASTACT_DO(mul)(r, slope);
        const FASTACT_LANES added_rest = FASTACT_DO(fmadd)(r, slope_rest, FASTACT_DO(fmsub)(r, slope, added));
        *sum = FASTACT_DO(add)(leading, added);
        *rest = FASTACT_DO(add)(FASTACT_DO(sub)(added, FASTACT_DO(sub)(*sum, leading)), added_rest);
    } else {
        *sum = FASTACT_DO(fmadd)(r, slope, leading);
        *rest = FASTACT_DO(fmadd)(r, slope, FASTACT_DO(sub)(leading, *sum));
    }
}

/* The function at t. */
FASTACT_PIECEWISE_INLINE FASTACT_LANES FASTACT_OF(one_number)(FASTACT_OF(pieces) pieces, FASTACT_LANES t)
{
    FASTACT_LANES sum, rest;
    FASTACT_OF(two_numbers)(pieces, t, &sum, &rest);
    return pieces->sharp ? FASTACT_DO(add)(sum, rest) : sum;
}

/* |x|, not beyond the last interval; NaN stays. */
FASTACT_PIECEWISE_INLINE FASTACT_LANES FASTACT_OF(within)(FASTACT_OF(pieces) pieces, FASTACT_LANES x)
{
    return FASTACT_DO(min)(FASTACT_DO(set1)(pieces->last), FASTACT_DO(abs)(x));
}

FASTACT_PIECEWISE_INLINE FASTACT_MASK FASTACT_OF(not_negative)(FASTACT_LANES x)
{
    return FASTACT_COMPARE(x, FASTACT_DO(setzero)(), _CMP_GE_OQ);
}

FASTACT_PIECEWISE_INLINE FASTACT_LANES FASTACT_OF(with_sign)(FASTACT_LANES magnitude, FASTACT_LANES sign)
{
    /* (sign & mask) | (magnitude & ~mask) */
    return FASTACT_NUMBERS(_mm512_ternarylogic_epi32(
        FASTACT_BITS(FASTACT_DO(set1)((FASTACT_NUMBER)-0.0)), FASTACT_BITS(sign), FASTACT_BITS(magnitude), 0xca));
}

/* f(x) = T(|x|) for x < 0 and 1 - T(|x|) for x >= 0: of the two roundings there the first is of a number below 1/2. */
FASTACT_PIECEWISE_INLINE FASTACT_LANES FASTACT_OF(piecewise_complement)(FASTACT_OF(pieces) pieces, FASTACT_LANES x)
{
    const FASTACT_LANES below = FASTACT_OF(one_number)(pieces, FASTACT_OF(within)(pieces, x));
    return FASTACT_DO(mask_sub)(below, FASTACT_OF(not_negative)(x), FASTACT_DO(set1)(1), below);
}

/* f(x) = T(|x|) for x < 0 and x + T(|x|) for x >= 0; in the first interval the table has T(t) + t / 2.  The sum is exact
   where it is no longer than T, and else T's error is half as much beside it. */
FASTACT_PIECEWISE_INLINE FASTACT_LANES FASTACT_OF(piecewise_short_of_relu)(FASTACT_OF(pieces) pieces, FASTACT_LANES x)
{
    FASTACT_LANES leading, r, slope, slope_rest;
    const FASTACT_LANES a = FASTACT_OF(within)(pieces, x);
    const __m512i index = FASTACT_OF(look_up_slope)(pieces, a, &leading, &r, &slope, &slope_rest);
    leading = FASTACT_DO(mask3_fmadd)(r, FASTACT_DO(set1)((FASTACT_NUMBER)-0.5), leading, FASTACT_IS_FIRST(index));
    const FASTACT_LANES below = FASTACT_DO(fmadd)(r, slope, leading);
    return FASTACT_DO(mask_add)(below, FASTACT_OF(not_negative)(x), x, below);
}

/* f(x) = x T(|x|) for x < 0 and x - x T(|x|) for x >= 0. */
FASTACT_PIECEWISE_INLINE FASTACT_LANES FASTACT_OF(piecewise_gate)(FASTACT_OF(pieces) pieces, FASTACT_LANES x)
{
    FASTACT_LANES leading, r, slope, slope_rest;
    const FASTACT_LANES a = FASTACT_OF(within)(pieces, x);
    FASTACT_OF(look_up_slope)(pieces, a, &leading, &r, &slope, &slope_rest);
    const FASTACT_LANES below
        = FASTACT_DO(fnmsub)(a, leading, FASTACT_DO(mul)(a, FASTACT_DO(mul)(r, slope)));
    return FASTACT_DO(mask_add)(below, FASTACT_OF(not_negative)(x), x, below);
}

/* The same for a T that is so steep that r slope is as much as half of the result. */
FASTACT_PIECEWISE_INLINE FASTACT_LANES FASTACT_OF(piecewise_steep_gate)(FASTACT_OF(pieces) pieces, FASTACT_LANES x)
{
    FASTACT_LANES sum, rest;
    const FASTACT_LANES a = FASTACT_OF(within)(pieces, x);
    FASTACT_OF(two_numbers)(pieces, a, &sum, &rest);
    const FASTACT_LANES minus_a = FASTACT_DO(xor)(a, FASTACT_DO(set1)((FASTACT_NUMBER)-0.0));
    const FASTACT_LANES below = FASTACT_DO(fmadd)(minus_a, sum, FASTACT_DO(mul)(minus_a, rest));
    return FASTACT_DO(mask_add)(below, FASTACT_OF(not_negative)(x), x, below);
}

/* f(x) = T(|x|) with the sign of x; in the first interval the table has T(t) - t. */
FASTACT_PIECEWISE_INLINE FASTACT_LANES FASTACT_OF(piecewise_odd)(FASTACT_OF(pieces) pieces, FASTACT_LANES x)
{
    FASTACT_LANES leading, r, slope, slope_rest;
    const FASTACT_LANES a = FASTACT_OF(within)(pieces, x);
    const __m512i index = FASTACT_OF(look_up_slope)(pieces, a, &leading, &r, &slope, &slope_rest);
    const FASTACT_MASK is_first = FASTACT_IS_FIRST(index);
    return FASTACT_OF(with_sign)(FASTACT_DO(fmadd)(r, slope, FASTACT_DO(mask_mov)(leading, is_first, a)), x);
}

/* f(x) = T(|x|). */
FASTACT_PIECEWISE_INLINE FASTACT_LANES FASTACT_OF(piecewise_even)(FASTACT_OF(pieces) pieces, FASTACT_LANES x)
{
    return FASTACT_OF(one_number)(pieces, FASTACT_OF(within)(pieces, x));
}

/* f(x) = T(x), which never falls. */
FASTACT_PIECEWISE_INLINE FASTACT_LANES FASTACT_OF(piecewise_rising)(FASTACT_OF(pieces) pieces, FASTACT_LANES x)
{
    FASTACT_LANES c0, c1, r, bend, bend_rest;
    FASTACT_OF(look_up)(pieces, x, &c0, &c1, &r, &bend, &bend_rest);
    return FASTACT_OF(bent_line)(c0, c1, r, bend);
}

/* f(x) = x T(x). */
FASTACT_PIECEWISE_INLINE FASTACT_LANES FASTACT_OF(piecewise_multiple)(FASTACT_OF(pieces) pieces, FASTACT_LANES x)
{
    FASTACT_LANES sum, rest;
    FASTACT_OF(two_numbers)(pieces, x, &sum, &rest);
    return FASTACT_OF(with_sign)(FASTACT_DO(fmadd)(x, sum, FASTACT_DO(mul)(x, rest)), x);
}

/* (zero - t) T(t), with what the difference leaves out: rounded once, beside the zero as well. */
FASTACT_PIECEWISE_INLINE FASTACT_LANES FASTACT_OF(piecewise_through_zero)(FASTACT_OF(pieces) pieces, FASTACT_LANES t)
{
    FASTACT_LANES sum, rest_of_sum;
    FASTACT_OF(two_numbers)(pieces, t, &sum, &rest_of_sum);
    FASTACT_LANES rest;
    const FASTACT_LANES distance = FASTACT_OF(distance_from_zero)(pieces->zero, pieces->zero_rest, t, &rest);
    return FASTACT_DO(fmadd)(
        distance, sum, FASTACT_DO(fmadd)(distance, rest_of_sum, FASTACT_DO(mul)(rest, sum)));
}

/* f(x) = (zero - |x|) T(|x|) for x < 0 and 1 less that for x >= 0. */
FASTACT_PIECEWISE_INLINE FASTACT_LANES FASTACT_OF(piecewise_gradient)(FASTACT_OF(pieces) pieces, FASTACT_LANES x)
{
    const FASTACT_LANES below = FASTACT_OF(piecewise_through_zero)(pieces, FASTACT_OF(within)(pieces, x));
    return FASTACT_DO(mask_sub)(below, FASTACT_OF(not_negative)(x), FASTACT_DO(set1)(1), below);
}

FASTACT_PIECEWISE_INLINE FASTACT_MASK FASTACT_OF(is_outside)(
    FASTACT_OF(pieces) pieces, FASTACT_LANES x, enum fastact_ends ends)
{
    if (ends == FASTACT_NOWHERE) return 0;
    if (ends == FASTACT_BELOW) return FASTACT_COMPARE(x, FASTACT_DO(set1)(-pieces->last), _CMP_LT_OQ);
    const FASTACT_MASK beyond = FASTACT_COMPARE(FASTACT_DO(abs)(x), FASTACT_DO(set1)(pieces->last), _CMP_GT_OQ);
    if (pieces->least == 0) return beyond;
    const FASTACT_MASK near = FASTACT_COMPARE(FASTACT_DO(abs)(x), FASTACT_DO(set1)(pieces->least), _CMP_LT_OQ);
    return beyond | (near & FASTACT_COMPARE(x, FASTACT_DO(setzero)(), _CMP_NEQ_OQ));
}

#undef FASTACT_OF
#undef FASTACT_DO
#undef FASTACT_NUMBER
#undef FASTACT_LANES
#undef FASTACT_MASK
#undef FASTACT_BITS
#undef FASTACT_NUMBERS
#undef FASTACT_COMPARE
#undef FASTACT_IS_FIRST
#undef FASTACT_INTERVALS
#undef FASTACT_CHAINS
#undef FASTACT_ROWS
#undef FASTACT_TO_INTEGER
