/* The ways to put a function together from what fetched.h fetches, for one precision: included by it once for each, with
   the macros that it defines.  piecewise_kinds.h says why each of them is as exact as it is. */

#include "piecewise_arithmetic.h"

typedef FASTACT_LANES FASTACT_OF(fetched_lanes);
typedef const struct FASTACT_OF(fetched) *FASTACT_OF(fetched_pieces);
typedef FASTACT_LANES (*FASTACT_OF(fetched_value))(FASTACT_OF(fetched_pieces), FASTACT_LANES, const char *);

FASTACT_FETCHED_INLINE FASTACT_LANES FASTACT_OF(fetched_magnitude)(FASTACT_LANES x)
{
    return FASTACT_DO(andnot)(FASTACT_DO(set1)((FASTACT_NUMBER)-0.0), x);
}

FASTACT_FETCHED_INLINE FASTACT_LANES FASTACT_OF(fetched_with_sign)(FASTACT_LANES magnitude, FASTACT_LANES sign)
{
    return FASTACT_DO(or)(magnitude, FASTACT_DO(and)(FASTACT_DO(set1)((FASTACT_NUMBER)-0.0), sign));
}

/* What belongs to the negative numbers, and what to the others. */
FASTACT_FETCHED_INLINE FASTACT_LANES FASTACT_OF(fetched_by_sign)(
    FASTACT_LANES x, FASTACT_LANES negative, FASTACT_LANES positive)
{
    return FASTACT_DO(blendv)(positive, negative, x);
}

/* |x|, not beyond the last interval; NaN stays. */
FASTACT_FETCHED_INLINE FASTACT_LANES FASTACT_OF(fetched_within)(FASTACT_OF(fetched_pieces) pieces, FASTACT_LANES x)
{
    return FASTACT_DO(min)(FASTACT_DO(set1)(pieces->last), FASTACT_OF(fetched_magnitude)(x));
}

/* x, not beyond the last interval; NaN stays. */
FASTACT_FETCHED_INLINE FASTACT_LANES FASTACT_OF(fetched_below)(FASTACT_OF(fetched_pieces) pieces, FASTACT_LANES x)
{
    return FASTACT_DO(min)(FASTACT_DO(set1)(pieces->last), x);
}

/* Nor before the first one. */
FASTACT_FETCHED_INLINE FASTACT_LANES FASTACT_OF(fetched_between)(FASTACT_OF(fetched_pieces) pieces, FASTACT_LANES x)
{
    return FASTACT_DO(max)(FASTACT_DO(set1)(pieces->first), FASTACT_OF(fetched_below)(pieces, x));
}

/* -|x|. */
FASTACT_FETCHED_INLINE FASTACT_LANES FASTACT_OF(fetched_folded)(FASTACT_LANES x)
{
    return FASTACT_DO(or)(FASTACT_DO(set1)((FASTACT_NUMBER)-0.0), x);
}

/* What the indices are of: within the intervals for NaN, too, because min and max give their second operand then. */
FASTACT_FETCHED_INLINE FASTACT_LANES FASTACT_OF(fetched_argument)(FASTACT_OF(fetched_pieces) pieces, FASTACT_LANES x)
{
    const FASTACT_LANES first = FASTACT_DO(set1)(pieces->first), last = FASTACT_DO(set1)(pieces->last);
    if (pieces->is_folded) return FASTACT_DO(max)(FASTACT_OF(fetched_folded)(x), first);
    if (pieces->is_signed) return FASTACT_DO(max)(FASTACT_DO(min)(x, last), first);
    return FASTACT_DO(min)(FASTACT_OF(fetched_magnitude)(x), last);
}

/* The function at t is *leading plus the product of *r and *slope.  What it is multiplied by is multiplied by r first,
   which is there earlier: the chain from a row to the result is long, and registers for the three vectors that a CPU has
   under way then (Zen 3) are all that it has. */
FASTACT_FETCHED_INLINE void FASTACT_OF(fetched_parts)(
    FASTACT_OF(fetched_pieces) pieces, FASTACT_LANES t, const char *stored, FASTACT_LANES *leading,
    FASTACT_LANES *r, FASTACT_LANES *slope)
{
    FASTACT_LANES c1, bend;
    FASTACT_OF(fetch)(pieces, t, stored, leading, &c1, r, &bend);
    *slope = FASTACT_DO(fmadd)(bend, *r, c1);
}

/* The function at t. */
FASTACT_FETCHED_INLINE FASTACT_LANES FASTACT_OF(fetched_number)(
    FASTACT_OF(fetched_pieces) pieces, FASTACT_LANES t, const char *stored)
{
    FASTACT_LANES c0, c1, r, bend;
    FASTACT_OF(fetch)(pieces, t, stored, &c0, &c1, &r, &bend);
    return FASTACT_DO(fmadd)(r, FASTACT_DO(fmadd)(bend, r, c1), c0);
}

/* f(x) = x T(|x|) for x < 0 and x - x T(|x|) for x >= 0. */
FASTACT_FETCHED_INLINE FASTACT_LANES FASTACT_OF(fetched_gate)(
    FASTACT_OF(fetched_pieces) pieces, FASTACT_LANES x, const char *stored)
{
    FASTACT_LANES leading, r, slope;
    const FASTACT_LANES a = FASTACT_OF(fetched_within)(pieces, x);
    FASTACT_OF(fetched_parts)(pieces, a, stored, &leading, &r, &slope);
    const FASTACT_LANES below = FASTACT_DO(fnmsub)(a, leading, FASTACT_DO(mul)(FASTACT_DO(mul)(a, r), slope));
    return FASTACT_OF(fetched_by_sign)(x, below, FASTACT_DO(add)(x, below));
}

/* f(x) = T(|x|). */
FASTACT_FETCHED_INLINE FASTACT_LANES FASTACT_OF(fetched_even)(
    FASTACT_OF(fetched_pieces) pieces, FASTACT_LANES x, const char *stored)
{
    return FASTACT_OF(fetched_number)(pieces, FASTACT_OF(fetched_within)(pieces, x), stored);
}

/* f(x) = T(x), which never falls. */
FASTACT_FETCHED_INLINE FASTACT_LANES FASTACT_OF(fetched_rising)(
    FASTACT_OF(fetched_pieces) pieces, FASTACT_LANES x, const char *stored)
{
    FASTACT_LANES c0, c1, r, bend;
    FASTACT_OF(fetch)(pieces, x, stored, &c0, &c1, &r, &bend);
    return FASTACT_OF(bent_line)(c0, c1, r, bend);
}

/* f(x) = x T(x); from 0 on the table has T - 1. */
FASTACT_FETCHED_INLINE FASTACT_LANES FASTACT_OF(fetched_multiple)(
    FASTACT_OF(fetched_pieces) pieces, FASTACT_LANES x, const char *stored)
{
    FASTACT_LANES leading, r, slope;
    FASTACT_OF(fetched_parts)(pieces, x, stored, &leading, &r, &slope);
    const FASTACT_LANES product
        = FASTACT_DO(fmadd)(x, leading, FASTACT_DO(mul)(FASTACT_DO(mul)(x, r), slope));
    const FASTACT_LANES more = FASTACT_DO(andnot)(FASTACT_OF(is_before_turn)(pieces, stored), x);
    return FASTACT_OF(fetched_with_sign)(FASTACT_DO(add)(product, more), x);
}

/* (zero - t) T(t), with what the difference leaves out: rounded once, beside the zero as well. */
FASTACT_FETCHED_INLINE FASTACT_LANES FASTACT_OF(fetched_through_zero)(
    FASTACT_OF(fetched_pieces) pieces, FASTACT_LANES t, const char *stored)
{
    FASTACT_LANES leading, r, slope, rest;
    FASTACT_OF(fetched_parts)(pieces, t, stored, &leading, &r, &slope);
    const FASTACT_LANES distance = FASTACT_OF(distance_from_zero)(pieces->zero, pieces->zero_rest, t, &rest);
    const FASTACT_LANES part = FASTACT_DO(mul)(FASTACT_DO(mul)(distance, r), slope);
    const FASTACT_LANES small = FASTACT_DO(fmadd)(rest, FASTACT_DO(fmadd)(r, slope, leading), part);
    return FASTACT_DO(fmadd)(distance, leading, small);
}

/* f(x) = (zero - |x|) T(|x|) for x < 0 and 1 less that for x >= 0. */
FASTACT_FETCHED_INLINE FASTACT_LANES FASTACT_OF(fetched_gradient)(
    FASTACT_OF(fetched_pieces) pieces, FASTACT_LANES x, const char *stored)
{
    const FASTACT_LANES below
        = FASTACT_OF(fetched_through_zero)(pieces, FASTACT_OF(fetched_within)(pieces, x), stored);
    return FASTACT_OF(fetched_by_sign)(x, below, FASTACT_DO(sub)(FASTACT_DO(set1)(1), below));
}

/* All bits set where a number is outside. */
FASTACT_FETCHED_INLINE FASTACT_LANES FASTACT_OF(fetched_is_outside)(
    FASTACT_OF(fetched_pieces) pieces, FASTACT_LANES x, enum fastact_ends ends)
{
    const FASTACT_LANES a = FASTACT_OF(fetched_magnitude)(x);
    if (ends == FASTACT_NOWHERE) return FASTACT_DO(setzero)();
    if (ends == FASTACT_BELOW) return FASTACT_DO(cmp)(x, FASTACT_DO(set1)(pieces->first), _CMP_LT_OQ);
    const FASTACT_LANES beyond = FASTACT_DO(cmp)(a, FASTACT_DO(set1)(pieces->last), _CMP_GT_OQ);
    if (pieces->least == 0) return beyond;
    const FASTACT_LANES near = FASTACT_DO(cmp)(a, FASTACT_DO(set1)(pieces->least), _CMP_LT_OQ);
    return FASTACT_DO(or)(beyond, FASTACT_DO(and)(near, FASTACT_DO(cmp)(x, FASTACT_DO(setzero)(), _CMP_NEQ_OQ)));
}

/* What a block of numbers reaches: the greatest |x|, the least x, the least |x| but for 0, as far as the ends ask. */
struct FASTACT_OF(fetched_extremes) {
    FASTACT_LANES farthest, lowest, nearest;
};

FASTACT_FETCHED_INLINE struct FASTACT_OF(fetched_extremes) FASTACT_OF(fetched_no_extremes)(void)
{
    const FASTACT_LANES infinity = FASTACT_DO(set1)((FASTACT_NUMBER)INFINITY);
    return (struct FASTACT_OF(fetched_extremes)){FASTACT_DO(setzero)(), infinity, infinity};
}

/* min and max give their second operand where the first is NaN. */
FASTACT_FETCHED_INLINE void FASTACT_OF(fetched_widen_extremes)(
    FASTACT_OF(fetched_pieces) pieces, enum fastact_ends ends, FASTACT_LANES x,
    struct FASTACT_OF(fetched_extremes) * extremes)
{
    const FASTACT_LANES a = FASTACT_OF(fetched_magnitude)(x);
    if (ends == FASTACT_BEYOND) extremes->farthest = FASTACT_DO(max)(a, extremes->farthest);
    if (ends == FASTACT_BELOW) extremes->lowest = FASTACT_DO(min)(x, extremes->lowest);
    if (pieces->least != 0) {
        /* 0 becomes NaN */
        const FASTACT_LANES not_zero
            = FASTACT_DO(or)(a, FASTACT_DO(cmp)(a, FASTACT_DO(setzero)(), _CMP_EQ_OQ));
        extremes->nearest = FASTACT_DO(min)(not_zero, extremes->nearest);
    }
}

FASTACT_FETCHED_INLINE int FASTACT_OF(fetched_reaches_outside)(
    FASTACT_OF(fetched_pieces) pieces, enum fastact_ends ends, const struct FASTACT_OF(fetched_extremes) * extremes)
{
    if (ends == FASTACT_NOWHERE) return 0;
    if (ends == FASTACT_BELOW)
        return FASTACT_DO(movemask)(FASTACT_OF(fetched_is_outside)(pieces, extremes->lowest, ends));
    int found = FASTACT_DO(movemask)(FASTACT_OF(fetched_is_outside)(pieces, extremes->farthest, ends));
    if (pieces->least != 0)
        found |= FASTACT_DO(movemask)(
            FASTACT_DO(cmp)(extremes->nearest, FASTACT_DO(set1)(pieces->least), _CMP_LT_OQ));
    return found;
}

#undef FASTACT_OF
#undef FASTACT_DO
#undef FASTACT_NUMBER
#undef FASTACT_LANES
