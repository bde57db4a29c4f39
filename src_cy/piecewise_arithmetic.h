/* Sums that a table's polynomial enters with what their roundings leave out, for one precision: included by the kinds of
   both ways to look up (piecewise_kinds.h, fetched_kinds.h), once for each, with the macros that those are given. */

/* c0 + r (c1 + r bend), which never falls where the function does not: a slope that is rounded from one number to the
   next may change its share by more than f rises.  So the line c0 + r c1 is in two numbers, and only what bends it is
   rounded. */
static inline __attribute__((always_inline)) FASTACT_LANES FASTACT_OF(bent_line)(
    FASTACT_LANES c0, FASTACT_LANES c1, FASTACT_LANES r, FASTACT_LANES bend)
{
    const FASTACT_LANES line = FASTACT_DO(fmadd)(r, c1, c0);
    const FASTACT_LANES line_rest = FASTACT_DO(fmadd)(r, c1, FASTACT_DO(sub)(c0, line));
    return FASTACT_DO(add)(line, FASTACT_DO(fmadd)(FASTACT_DO(mul)(r, r), bend, line_rest));
}

/* zero + zero_rest - t as the sum of two numbers. */
static inline __attribute__((always_inline)) FASTACT_LANES FASTACT_OF(distance_from_zero)(
    FASTACT_NUMBER zero_high, FASTACT_NUMBER zero_rest, FASTACT_LANES t, FASTACT_LANES *rest)
{
    const FASTACT_LANES zero = FASTACT_DO(set1)(zero_high);
    const FASTACT_LANES distance = FASTACT_DO(sub)(zero, t);
    const FASTACT_LANES minus_t = FASTACT_DO(sub)(distance, zero);
    const FASTACT_LANES rest_of_zero = FASTACT_DO(sub)(zero, FASTACT_DO(sub)(distance, minus_t));
    const FASTACT_LANES rest_of_t = FASTACT_DO(add)(t, minus_t);
    *rest = FASTACT_DO(add)(FASTACT_DO(sub)(rest_of_zero, rest_of_t), FASTACT_DO(set1)(zero_rest));
    return distance;
}
