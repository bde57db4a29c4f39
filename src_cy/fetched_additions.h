/* Functions that have an addition theorem: f(b + r) out of f(b) and r alone.  So a row is b and f(b), and nothing else:
   half of a row of float32, a quarter of one of float64.  Included by fetched.h, behind what has polynomials.

       tanh(b + r) = c0 + (1 - c0^2) T / (1 + c0 T)                 T = tanh(r)
       s(b + r)    = c0 + c0 (1 - c0) T / (1 + (c0 - 1/2) T)        T = 2 tanh(r / 2), s the logistic function
       s'(b + r)   = c1 (1 - T^2 / 4) / (1 + (c0 - 1/2) T)^2        c1 = c0 (1 - c0) = s'(b)
       E(b + r)    = c0 + (1 - c0) E(r)                             E(t) = 1 - exp(-t)

   c0 = f(b) has hardly any error (tools/fetched_tables.py), and what is added to it is a hundredth of it, or so: float32
   takes the first three terms of the quotient's series in r, float64 as many as are seen in the last place with
   |r| <= 1/128, the length of half an interval.  All in all 40 to 45 instructions for 8 numbers, and 40 to 51 for 4 of
   float64, where rows of polynomials take 50 to 63 and 56 to 77.

   For s' the b are such that c1, as it is computed, has hardly any error either.  The c0 of E have none at all: where E
   is nearly 1, a ten-thousandth of a unit decides whether elu falls from one interval to the next.

   The factors are multiplied so that the one that is rounded last changes slowly: f never falls because of it. */

#ifndef FASTACT_FETCHED_ADDITIONS_H
#define FASTACT_FETCHED_ADDITIONS_H

/* Two rows, of 8 bytes, beside each other. */
FASTACT_FETCHED_INLINE __m128 fastact_two_pairs_float32(const char *lower, const char *upper)
{
    return _mm_loadh_pi(_mm_castpd_ps(_mm_load_sd((const double *)lower)), (const __m64 *)upper);
}

/* b and c0 = f(b) of the numbers whose indices are stored. */
FASTACT_FETCHED_INLINE void fastact_fetch_pair_float32(
    const struct fastact_fetched_float32 *pieces, const char *stored, __m256 *b, __m256 *c0)
{
    __m128 pairs[4];
    /* 0 and 1, 4 and 5, 2 and 3, 6 and 7: as they are wanted by what shuffles within 128 bits */
    static const int places[4] = {0, 16, 8, 24};
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++)
        pairs[k] = fastact_two_pairs_float32(
            pieces->rows + 8 * fastact_row_place_float32(stored + places[k], 1),
            pieces->rows + 8 * fastact_row_place_float32(stored + places[k] + 4, 1));
    const __m256 even = _mm256_insertf128_ps(_mm256_castps128_ps256(pairs[0]), pairs[1], 1);
    const __m256 odd = _mm256_insertf128_ps(_mm256_castps128_ps256(pairs[2]), pairs[3], 1);
    *b = _mm256_shuffle_ps(even, odd, _MM_SHUFFLE(2, 0, 2, 0));
    *c0 = _mm256_shuffle_ps(even, odd, _MM_SHUFFLE(3, 1, 3, 1));
}

FASTACT_FETCHED_INLINE void fastact_fetch_pair_float64(
    const struct fastact_fetched_float64 *pieces, const char *stored, __m256d *b, __m256d *c0)
{
    const char *row[4];
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) row[k] = pieces->rows + fastact_row_place_float64(stored + 8 * k);
    const __m256d even = fastact_two_rows_float64(row[0], row[2]);
    const __m256d odd = fastact_two_rows_float64(row[1], row[3]);
    *b = _mm256_unpacklo_pd(even, odd);
    *c0 = _mm256_unpackhi_pd(even, odd);
}

/* f(b + r) is c0 plus the product of *step and *slope. */
FASTACT_FETCHED_INLINE void fastact_tanh_step_float32(__m256 c0, __m256 r, __m256 *step, __m256 *slope)
{
    const __m256 c1 = _mm256_fnmadd_ps(c0, c0, _mm256_set1_ps(1));
    /* r (1 - r c0 + r^2 (c0^2 - 1/3)) */
    const __m256 cubic = _mm256_sub_ps(_mm256_set1_ps(2.0f / 3), c1);
    const __m256 bend = _mm256_fmsub_ps(cubic, r, c0);
    *step = r;
    *slope = _mm256_fmadd_ps(_mm256_mul_ps(c1, r), bend, c1);
}

FASTACT_FETCHED_INLINE void fastact_logistic_step_float32(__m256 c0, __m256 r, __m256 *step, __m256 *slope)
{
    const __m256 c1 = _mm256_fnmadd_ps(c0, c0, c0);
    /* r (1 + r (1/2 - c0) + r^2 (1/6 - c1)) */
    const __m256 cubic = _mm256_sub_ps(_mm256_set1_ps(1.0f / 6), c1);
    const __m256 bend = _mm256_fmadd_ps(cubic, r, _mm256_sub_ps(_mm256_set1_ps(0.5f), c0));
    *step = r;
    *slope = _mm256_fmadd_ps(_mm256_mul_ps(c1, r), bend, c1);
}

/* y / (1 + z) = y (1 - z) (1 + z^2) (1 + z^4), for |z| < 1/128, out of y (1 - z): factors make a shorter chain than a
   sum.  Without z^6 the logistic function is off by 0.86 units in the last place, tanh by three. */
FASTACT_FETCHED_INLINE __m256d fastact_divided_float64(__m256d y_nearly, __m256d z)
{
    const __m256d square = _mm256_mul_pd(z, z);
    const __m256d nearer = _mm256_fmadd_pd(y_nearly, square, y_nearly);
    return _mm256_fmadd_pd(nearer, _mm256_mul_pd(square, square), nearer);
}

FASTACT_FETCHED_INLINE void fastact_tanh_step_float64(__m256d c0, __m256d r, __m256d *step, __m256d *slope)
{
    const __m256d square = _mm256_mul_pd(r, r);
    const __m256d series = _mm256_fmadd_pd(
        _mm256_fmadd_pd(_mm256_set1_pd(-17.0 / 315), square, _mm256_set1_pd(2.0 / 15)), square,
        _mm256_set1_pd(-1.0 / 3));
    /* -0.0 would lose its sign */
    const __m256d sign = _mm256_and_pd(_mm256_set1_pd(-0.0), r);
    *step = _mm256_or_pd(sign, _mm256_fmadd_pd(_mm256_mul_pd(r, square), series, r));
    /* c1 - c1 (1 - 1 / (1 + z)): beside 0, where what is added is half of the result, the latter has few digits */
    const __m256d c1 = _mm256_fnmadd_pd(c0, c0, _mm256_set1_pd(1));
    const __m256d z = _mm256_mul_pd(c0, *step);
    *slope = _mm256_fnmadd_pd(c1, fastact_divided_float64(_mm256_fnmadd_pd(z, z, z), z), c1);
}

FASTACT_FETCHED_INLINE __m256d fastact_logistic_half_step_float64(__m256d r)
{
    const __m256d square = _mm256_mul_pd(r, r);
    /* 17 r^7 / 20160 is 2**-52 of r */
    const __m256d series = _mm256_fmadd_pd(_mm256_set1_pd(1.0 / 120), square, _mm256_set1_pd(-1.0 / 12));
    return _mm256_fmadd_pd(_mm256_mul_pd(r, square), series, r);
}

FASTACT_FETCHED_INLINE void fastact_logistic_step_float64(__m256d c0, __m256d r, __m256d *step, __m256d *slope)
{
    *step = fastact_logistic_half_step_float64(r);
    const __m256d c1 = _mm256_fnmadd_pd(c0, c0, c0);
    const __m256d z = _mm256_mul_pd(_mm256_sub_pd(c0, _mm256_set1_pd(0.5)), *step);
    *slope = fastact_divided_float64(_mm256_fnmadd_pd(c1, z, c1), z);
}

/* 1 - exp(-r) */
FASTACT_FETCHED_INLINE __m256 fastact_exponential_step_float32(__m256 r)
{
    const __m256 cubic = _mm256_fmadd_ps(r, _mm256_set1_ps(-1.0f / 24), _mm256_set1_ps(1.0f / 6));
    return _mm256_fmadd_ps(_mm256_mul_ps(r, r), _mm256_fmadd_ps(r, cubic, _mm256_set1_ps(-0.5f)), r);
}

FASTACT_FETCHED_INLINE __m256d fastact_exponential_step_float64(__m256d r)
{
    const __m256d square = _mm256_mul_pd(r, r);
    const __m256d odd = _mm256_fmadd_pd(
        _mm256_fmadd_pd(_mm256_set1_pd(1.0 / 5040), square, _mm256_set1_pd(1.0 / 120)), square,
        _mm256_set1_pd(1.0 / 6));
    const __m256d even = _mm256_fmadd_pd(
        _mm256_fmadd_pd(_mm256_set1_pd(-1.0 / 720), square, _mm256_set1_pd(-1.0 / 24)), square,
        _mm256_set1_pd(-0.5));
    return _mm256_fmadd_pd(square, _mm256_fmadd_pd(odd, r, even), r);
}

/* --- kinds -------------------------------------------------------------------------------------------------------- */

/* What is added to f(b), in its two factors, and t. */
#define FASTACT_FETCHED_ADDED(name, dtype, lanes, suffix, argument)                                                    \
    FASTACT_FETCHED_INLINE lanes fastact_added_##name##_##dtype(fastact_fetched_pieces_##dtype pieces, lanes x,        \
        const char *stored, lanes *c0, lanes *step, lanes *slope)                                                      \
    {                                                                                                                  \
        lanes b;                                                                                                       \
        const lanes t = fastact_fetched_##argument##_##dtype(pieces, x);                                               \
        fastact_fetch_pair_##dtype(pieces, stored, &b, c0);                                                            \
        fastact_##name##_step_##dtype(*c0, _mm256_sub_##suffix(t, b), step, slope);                                    \
        return t;                                                                                                      \
    }
/* f(x). */
#define FASTACT_FETCHED_SUM(name, dtype, lanes, suffix)                                                                \
    FASTACT_FETCHED_INLINE lanes fastact_fetched_##name##_##dtype(                                                     \
        fastact_fetched_pieces_##dtype pieces, lanes x, const char *stored)                                            \
    {                                                                                                                  \
        lanes c0, step, slope;                                                                                         \
        fastact_added_##name##_##dtype(pieces, x, stored, &c0, &step, &slope);                                         \
        return _mm256_fmadd_##suffix(step, slope, c0);                                                                 \
    }
/* x f(x).  Where f is 1, what is added to it is 0, but infinity times 0 would be NaN. */
#define FASTACT_FETCHED_GATE(name, dtype, lanes, suffix)                                                               \
    FASTACT_FETCHED_INLINE lanes fastact_fetched_##name##_gate_##dtype(                                                \
        fastact_fetched_pieces_##dtype pieces, lanes x, const char *stored)                                            \
    {                                                                                                                  \
        lanes c0, step, slope;                                                                                         \
        const lanes t = fastact_added_##name##_##dtype(pieces, x, stored, &c0, &step, &slope);                         \
        return _mm256_fmadd_##suffix(x, c0, _mm256_mul_##suffix(t, _mm256_mul_##suffix(step, slope)));                 \
    }

FASTACT_FETCHED_ADDED(tanh, float32, __m256, ps, between)
FASTACT_FETCHED_ADDED(tanh, float64, __m256d, pd, between)
FASTACT_FETCHED_SUM(tanh, float32, __m256, ps)
FASTACT_FETCHED_SUM(tanh, float64, __m256d, pd)

/* What is below the first interval is outside. */
FASTACT_FETCHED_ADDED(logistic, float32, __m256, ps, below)
FASTACT_FETCHED_ADDED(logistic, float64, __m256d, pd, below)
FASTACT_FETCHED_SUM(logistic, float32, __m256, ps)
FASTACT_FETCHED_SUM(logistic, float64, __m256d, pd)
FASTACT_FETCHED_GATE(logistic, float32, __m256, ps)
FASTACT_FETCHED_GATE(logistic, float64, __m256d, pd)

/* The same for s(u(x)), u(x) = sqrt(8 / pi) (x + 0.044715 x^3): rows are b and s(u(b)), and
   u(x) - u(b) = (x - b) sqrt(8 / pi) (1 + 0.044715 (x^2 + x b + b^2)) has all digits. */
FASTACT_FETCHED_INLINE __m256d fastact_added_gelu_tanh_float64(const struct fastact_fetched_float64 *pieces, __m256d x,
    const char *stored, __m256d *c0, __m256d *step, __m256d *slope)
{
    const __m256d linear = _mm256_set1_pd(1.5957691216057308), cubic = _mm256_set1_pd(0.07135481627260025);
    const __m256d t = fastact_fetched_below_float64(pieces, x);
    __m256d b;
    fastact_fetch_pair_float64(pieces, stored, &b, c0);
    const __m256d squares = _mm256_fmadd_pd(b, _mm256_add_pd(t, b), _mm256_mul_pd(t, t));
    const __m256d further = _mm256_mul_pd(_mm256_sub_pd(t, b), _mm256_fmadd_pd(squares, cubic, linear));
    fastact_logistic_step_float64(*c0, further, step, slope);
    return t;
}
FASTACT_FETCHED_GATE(gelu_tanh, float64, __m256d, pd)

/* s'(t) = s'(b) less a hundredth of it, for t <= 0: elsewhere 1 - c0 has lost digits. */
FASTACT_FETCHED_INLINE __m256d fastact_logistic_slope_float64(
    const struct fastact_fetched_float64 *pieces, __m256d t, const char *stored)
{
    __m256d b, c0;
    fastact_fetch_pair_float64(pieces, stored, &b, &c0);
    const __m256d step = fastact_logistic_half_step_float64(_mm256_sub_pd(t, b));
    const __m256d c1 = _mm256_fnmadd_pd(c0, c0, c0);
    const __m256d z = _mm256_mul_pd(_mm256_sub_pd(c0, _mm256_set1_pd(0.5)), step);
    /* (1 + z)^2 - (1 - T^2 / 4) */
    const __m256d less = _mm256_fmadd_pd(
        _mm256_mul_pd(step, _mm256_set1_pd(0.25)), step, _mm256_fmadd_pd(z, z, _mm256_add_pd(z, z)));
    const __m256d inverse = fastact_divided_float64(_mm256_sub_pd(_mm256_set1_pd(1), z), z);
    return _mm256_fnmadd_pd(_mm256_mul_pd(c1, inverse), _mm256_mul_pd(less, inverse), c1);
}

/* f(x) = s'(x), which is even. */
FASTACT_FETCHED_INLINE __m256d fastact_fetched_logistic_slope_float64(
    const struct fastact_fetched_float64 *pieces, __m256d x, const char *stored)
{
    return fastact_logistic_slope_float64(pieces, fastact_fetched_folded_float64(x), stored);
}

/* f(x) = tanh'(x) = 4 s'(2 x). */
FASTACT_FETCHED_INLINE __m256d fastact_fetched_tanh_slope_float64(
    const struct fastact_fetched_float64 *pieces, __m256d x, const char *stored)
{
    const __m256d half = fastact_fetched_folded_float64(x);
    return _mm256_mul_pd(
        _mm256_set1_pd(4), fastact_logistic_slope_float64(pieces, _mm256_add_pd(half, half), stored));
}

/* E(t) = 1 - exp(-t): E(b + r) = E(b) + (1 - E(b)) (1 - exp(-r)). */
#define FASTACT_FETCHED_EXPONENTIAL(dtype, lanes, suffix)                                                              \
    FASTACT_FETCHED_INLINE lanes fastact_fetched_exponential_##dtype(                                                  \
        fastact_fetched_pieces_##dtype pieces, lanes t, const char *stored)                                            \
    {                                                                                                                  \
        lanes b, c0;                                                                                                   \
        fastact_fetch_pair_##dtype(pieces, stored, &b, &c0);                                                           \
        const lanes step = fastact_exponential_step_##dtype(_mm256_sub_##suffix(t, b));                                \
        return _mm256_fmadd_##suffix(step, _mm256_sub_##suffix(_mm256_set1_##suffix(1), c0), c0);                      \
    }
/* f(x) = x for x >= 0 and -E(-x) for x < 0. */
#define FASTACT_FETCHED_ELU(dtype, lanes, suffix)                                                                      \
    FASTACT_FETCHED_INLINE lanes fastact_fetched_elu_##dtype(                                                          \
        fastact_fetched_pieces_##dtype pieces, lanes x, const char *stored)                                            \
    {                                                                                                                  \
        const lanes t = fastact_fetched_within_##dtype(pieces, x);                                                     \
        const lanes below = fastact_fetched_exponential_##dtype(pieces, t, stored);                                    \
        return fastact_fetched_by_sign_##dtype(x, _mm256_or_##suffix(_mm256_set1_##suffix(-0.0), below), x);           \
    }
/* f(y) = E(y); what is below 0 is outside. */
#define FASTACT_FETCHED_ELU_OUTPUT(dtype, lanes)                                                                       \
    FASTACT_FETCHED_INLINE lanes fastact_fetched_elu_output_##dtype(                                                   \
        fastact_fetched_pieces_##dtype pieces, lanes y, const char *stored)                                            \
    {                                                                                                                  \
        return fastact_fetched_exponential_##dtype(pieces, fastact_fetched_below_##dtype(pieces, y), stored);          \
    }
FASTACT_FETCHED_EXPONENTIAL(float32, __m256, ps)
FASTACT_FETCHED_EXPONENTIAL(float64, __m256d, pd)
FASTACT_FETCHED_ELU(float32, __m256, ps)
FASTACT_FETCHED_ELU(float64, __m256d, pd)
FASTACT_FETCHED_ELU_OUTPUT(float32, __m256)
FASTACT_FETCHED_ELU_OUTPUT(float64, __m256d)

/* f(x) = 1 for x > 0 and exp(x) for others: exp(-b - r) = exp(-b) (1 - (1 - exp(-r))). */
#define FASTACT_FETCHED_ELU_SLOPE(dtype, lanes, suffix)                                                                \
    FASTACT_FETCHED_INLINE lanes fastact_fetched_elu_slope_##dtype(                                                    \
        fastact_fetched_pieces_##dtype pieces, lanes x, const char *stored)                                            \
    {                                                                                                                  \
        lanes b, c0;                                                                                                   \
        const lanes t = fastact_fetched_within_##dtype(pieces, x);                                                     \
        fastact_fetch_pair_##dtype(pieces, stored, &b, &c0);                                                           \
        const lanes step = fastact_exponential_step_##dtype(_mm256_sub_##suffix(t, b));                                \
        const lanes is_positive = _mm256_cmp_##suffix(x, _mm256_setzero_##suffix(), _CMP_GT_OQ);                       \
        return _mm256_blendv_##suffix(                                                                                 \
            _mm256_fnmadd_##suffix(c0, step, c0), _mm256_set1_##suffix(1), is_positive);                               \
    }
FASTACT_FETCHED_ELU_SLOPE(float32, __m256, ps)
FASTACT_FETCHED_ELU_SLOPE(float64, __m256d, pd)

#endif
