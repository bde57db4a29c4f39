/* One vector of a function by piecewise polynomials, in the precision of the result: what AVX-512 does faster than any
   formula.

   One instruction picks 16 coefficients out of 32, or 8 out of 16 in float64.  So a function that is cut into as many
   intervals costs a polynomial of degree 5 to 7, 13 to 17 in float64, and as many permutations: about 30 instructions
   for 16 numbers, where a formula in extended precision takes 70 to 150, and 70 for 8, where it takes 120 to 350.  For
   results of 16 bits degree 4 or 5 is enough.  On an interval

       function(t) = c0 + r (c1 + r (c2 + ...)),    r = b - t, or t - b.

   c0 and c1 have hardly any error (tools/piecewise_tables.py), and r is exact or nearly so; what is rounded before the
   last addition is but a part of the result, and so the result is within one unit in the last place.

   The intervals end where the tail of the function would need more of them; outside.h leaves the few numbers outside
   to the formula.  NaN is not outside: it runs through.

   Not here: AVX2, where picking out of 32 takes seven instructions, not one, and which fetches from memory instead
   (fetched.h), and SSE2, which cannot do it at all.  A result there may differ in the last bit; each is within the limit
   of its row. */

#ifndef FASTACT_PIECEWISE_H
#define FASTACT_PIECEWISE_H

#include <immintrin.h>

#include "outside.h"

#define FASTACT_PIECEWISE_INLINE static inline __attribute__((always_inline))

#define FASTACT_OF(name) fastact_##name##_float32
#define FASTACT_DO(operation) _mm512_##operation##_ps
#define FASTACT_NUMBER float
#define FASTACT_LANES __m512
#define FASTACT_MASK __mmask16
#define FASTACT_BITS _mm512_castps_si512
#define FASTACT_NUMBERS _mm512_castsi512_ps
#define FASTACT_COMPARE _mm512_cmp_ps_mask
#define FASTACT_IS_FIRST(index) _mm512_testn_epi32_mask(index, _mm512_set1_epi32(31))
#define FASTACT_INTERVALS 32
#define FASTACT_ROWS 9
/* 1.5 * 2**23: adding it rounds, and leaves the integer in the low bits */
#define FASTACT_TO_INTEGER 12582912.0f
#define FASTACT_CHAINS 1
#include "piecewise_kinds.h"

#define FASTACT_OF(name) fastact_##name##_float64
#define FASTACT_DO(operation) _mm512_##operation##_pd
#define FASTACT_NUMBER double
#define FASTACT_LANES __m512d
#define FASTACT_MASK __mmask8
#define FASTACT_BITS _mm512_castpd_si512
#define FASTACT_NUMBERS _mm512_castsi512_pd
#define FASTACT_COMPARE _mm512_cmp_pd_mask
#define FASTACT_IS_FIRST(index) _mm512_testn_epi64_mask(index, _mm512_set1_epi64(15))
#define FASTACT_INTERVALS 16
#define FASTACT_ROWS 19
/* 1.5 * 2**52 */
#define FASTACT_TO_INTEGER 6755399441055744.0
#define FASTACT_CHAINS 2
#include "piecewise_kinds.h"

/* Kinds for 16 bits, in float32, which a rounding or two more do not reach. */
FASTACT_PIECEWISE_INLINE __m512 fastact_piecewise_narrow_rising_float32(fastact_pieces_float32 pieces, __m512 x)
{
    return fastact_one_number_float32(pieces, x);
}

FASTACT_PIECEWISE_INLINE __m512 fastact_piecewise_narrow_short_of_relu_float32(fastact_pieces_float32 pieces, __m512 x)
{
    const __m512 below = fastact_one_number_float32(pieces, fastact_within_float32(pieces, x));
    return _mm512_mask_add_ps(below, fastact_not_negative_float32(x), x, below);
}

FASTACT_PIECEWISE_INLINE __m512 fastact_piecewise_narrow_multiple_float32(fastact_pieces_float32 pieces, __m512 x)
{
    return _mm512_mul_ps(x, fastact_one_number_float32(pieces, x));
}

FASTACT_PIECEWISE_INLINE __m512 fastact_piecewise_narrow_through_zero_float32(fastact_pieces_float32 pieces, __m512 t)
{
    const __m512 distance = _mm512_sub_ps(_mm512_set1_ps(pieces->zero), t);
    /* beside the zero the difference is exact, and the rest a thousandth of it */
    return _mm512_mul_ps(
        _mm512_add_ps(distance, _mm512_set1_ps(pieces->zero_rest)), fastact_one_number_float32(pieces, t));
}

FASTACT_PIECEWISE_INLINE __m512 fastact_piecewise_narrow_gradient_float32(fastact_pieces_float32 pieces, __m512 x)
{
    const __m512 below
        = fastact_piecewise_narrow_through_zero_float32(pieces, fastact_within_float32(pieces, x));
    return _mm512_mask_sub_ps(below, fastact_not_negative_float32(x), _mm512_set1_ps(1.0f), below);
}

#endif
