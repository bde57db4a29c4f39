/* One vector of a function by short polynomials that are fetched from memory: what AVX2 does faster than most formulas.

   What piecewise.h does with AVX-512, whose instruction picks out of 32, needs another way here, where one picks out of
   8 and gathering 8 numbers takes ten cycles (AMD Zen 3).  So there are hundreds of intervals instead, each of them a
   row of four numbers in float32, and of eight in float64: no more than degree 3 and 6.  A row is loaded as it is, with
   the index in a general register, and rows are transposed in registers: 16 instructions for 8 numbers in float32, 24
   for 4 in float64.  All in all 50 to 63 and 56 to 77, where formulas take 50 to 140 and 60 to 430.  What has an addition
   theorem (fetched_additions.h) does with rows of two numbers.

   The indices of a few hundred numbers are computed first and stored.  Taken out of a vector register, or stored and
   loaded at once, they take as long as all the rest: 8 numbers took 18 cycles, or 25, instead of 14.

   As there, function(t) = c0 + r (c1 + r (c2 + ...)) with r = b - t, where c0 and c1 have hardly any error
   (tools/fetched_tables.py).  Intervals are so narrow that r (c1 + ...) is a hundredth of the result or a tenth, and so
   is what its roundings count: two numbers for a sum are needed nowhere.

   NaN runs through: its index is that of the last interval, and r is NaN. */

#ifndef FASTACT_FETCHED_H
#define FASTACT_FETCHED_H

#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "outside.h"

#define FASTACT_FETCHED_INLINE static inline __attribute__((always_inline))

struct fastact_fetched_float32 {
    /* the intervals are those of t, not of |t| */
    int is_signed;
    /* the intervals are those of -|t| */
    int is_folded;
    /* 16, or 8 (fetched_additions.h) */
    int row_bytes;
    /* the first index of those for which the rows are of T - 1, where a kind wants that */
    int turn;
    /* that of the index 0 */
    const char *rows;
    /* index = round(t linear); b is a multiple of step = 1 / (linear * 2**20) where a row has four numbers */
    float linear, step;
    /* the least t, and the largest |t| of the last interval; first = -last where intervals are those of |t| */
    float first, last;
    /* numbers nearer to 0, but not 0 itself, are outside as well; if not 0 */
    float least;
    /* of a function that is divided by (zero - t); in two parts */
    float zero, zero_rest;
};

struct fastact_fetched_float64 {
    int is_signed, is_folded;
    int turn;
    int row_bytes;
    const char *rows;
    /* index = round(t (linear + t quadratic)), or round(t (linear + t^2 cubic)) */
    double linear, quadratic, cubic;
    double first, last, least, zero, zero_rest;
};

/* A row's place behind the row of the index 0, out of the 2 bytes that have it, of 4 that were stored for a number, or
   of the 8 bytes; the index of anything is one of the table's. */
FASTACT_FETCHED_INLINE ptrdiff_t fastact_row_place_float32(const void *stored, int is_signed)
{
    uint16_t bits;
    memcpy(&bits, stored, sizeof bits);
    return is_signed ? (int16_t)bits : bits;
}

FASTACT_FETCHED_INLINE ptrdiff_t fastact_row_place_float64(const void *stored)
{
    int32_t bits;
    memcpy(&bits, stored, sizeof bits);
    return bits;
}

/* Two rows, of 16 bytes, beside each other. */
FASTACT_FETCHED_INLINE __m256 fastact_two_rows_float32(const char *lower, const char *upper)
{
    return _mm256_insertf128_ps(
        _mm256_castps128_ps256(_mm_load_ps((const float *)lower)), _mm_load_ps((const float *)upper), 1);
}

FASTACT_FETCHED_INLINE __m256d fastact_two_rows_float64(const char *lower, const char *upper)
{
    return _mm256_insertf128_pd(
        _mm256_castpd128_pd256(_mm_load_pd((const double *)lower)), _mm_load_pd((const double *)upper), 1);
}

/* 1.5 * 2**23 and 1.5 * 2**52: adding them rounds, and leaves the integer in the low bits. */
#define FASTACT_TO_INTEGER_float32 12582912.0f
#define FASTACT_TO_INTEGER_float64 6755399441055744.0

/* The indices of 8 numbers, at 2**20 each, so that their upper half is where the row lies; the index itself, in the
   lower half, of rows that are as long as an address can be scaled. */
FASTACT_FETCHED_INLINE __m256i fastact_indices_float32(const struct fastact_fetched_float32 *pieces, __m256 t)
{
    const __m256 rounded
        = _mm256_fmadd_ps(t, _mm256_set1_ps(pieces->linear), _mm256_set1_ps(FASTACT_TO_INTEGER_float32));
    if (pieces->row_bytes == 8) return _mm256_castps_si256(rounded);
    return _mm256_slli_epi32(_mm256_castps_si256(rounded), 20);
}

/* Those of 4 numbers, at 16 each. */
FASTACT_FETCHED_INLINE __m256i fastact_indices_float64(const struct fastact_fetched_float64 *pieces, __m256d t)
{
    __m256d step = _mm256_set1_pd(pieces->linear);
    if (pieces->quadratic != 0) step = _mm256_fmadd_pd(t, _mm256_set1_pd(pieces->quadratic), step);
    if (pieces->cubic != 0) step = _mm256_fmadd_pd(_mm256_mul_pd(t, t), _mm256_set1_pd(pieces->cubic), step);
    const __m256d rounded = _mm256_fmadd_pd(t, step, _mm256_set1_pd(FASTACT_TO_INTEGER_float64));
    return _mm256_slli_epi64(_mm256_castpd_si256(rounded), __builtin_ctz((unsigned)pieces->row_bytes));
}

/* c0, c1, r and bend = c2 + r c3 at the t whose indices are stored. */
FASTACT_FETCHED_INLINE void fastact_fetch_float32(
    const struct fastact_fetched_float32 *pieces, __m256 t, const char *stored, __m256 *c0, __m256 *c1, __m256 *r,
    __m256 *bend)
{
    __m256 both[4];
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++)
        both[k] = fastact_two_rows_float32(
            pieces->rows + fastact_row_place_float32(stored + 4 * k + 2, pieces->is_signed),
            pieces->rows + fastact_row_place_float32(stored + 4 * k + 18, pieces->is_signed));
    const __m256d low_even = _mm256_castps_pd(_mm256_unpacklo_ps(both[0], both[1]));
    const __m256d low_odd = _mm256_castps_pd(_mm256_unpacklo_ps(both[2], both[3]));
    const __m256d high_even = _mm256_castps_pd(_mm256_unpackhi_ps(both[0], both[1]));
    const __m256d high_odd = _mm256_castps_pd(_mm256_unpackhi_ps(both[2], both[3]));
    const __m256 c2 = _mm256_castpd_ps(_mm256_unpacklo_pd(high_even, high_odd));
    const __m256 c3 = _mm256_castpd_ps(_mm256_unpackhi_pd(high_even, high_odd));
    *c0 = _mm256_castpd_ps(_mm256_unpacklo_pd(low_even, low_odd));
    *c1 = _mm256_castpd_ps(_mm256_unpackhi_pd(low_even, low_odd));
    /* b is the index and, in the low half, what the low half of c3 says */
    const __m256i steps
        = _mm256_blend_epi16(_mm256_load_si256((const __m256i *)stored), _mm256_castps_si256(c3), 0x55);
    *r = _mm256_fmsub_ps(_mm256_cvtepi32_ps(steps), _mm256_set1_ps(pieces->step), t);
    *bend = _mm256_fmadd_ps(c3, *r, c2);
}

/* The same for 4 numbers, with bend = c2 + r (c3 + ...). */
FASTACT_FETCHED_INLINE void fastact_fetch_float64(
    const struct fastact_fetched_float64 *pieces, __m256d t, const char *stored, __m256d *c0, __m256d *c1, __m256d *r,
    __m256d *bend)
{
    const char *row[4];
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) row[k] = pieces->rows + fastact_row_place_float64(stored + 8 * k);
    /* b, c0, c1, ... */
    __m256d numbers[8];
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) {
        const __m256d even = fastact_two_rows_float64(row[0] + 16 * k, row[2] + 16 * k);
        const __m256d odd = fastact_two_rows_float64(row[1] + 16 * k, row[3] + 16 * k);
        numbers[2 * k] = _mm256_unpacklo_pd(even, odd);
        numbers[2 * k + 1] = _mm256_unpackhi_pd(even, odd);
    }
    *c0 = numbers[1];
    *c1 = numbers[2];
    *r = _mm256_sub_pd(numbers[0], t);
    /* two chains side by side */
    const __m256d square = _mm256_mul_pd(*r, *r);
    const __m256d even = _mm256_fmadd_pd(_mm256_fmadd_pd(numbers[7], square, numbers[5]), square, numbers[3]);
    const __m256d odd = _mm256_fmadd_pd(numbers[6], square, numbers[4]);
    *bend = _mm256_fmadd_pd(odd, *r, even);
}

/* Where a number's index is below the turn. */
FASTACT_FETCHED_INLINE __m256 fastact_is_before_turn_float32(
    const struct fastact_fetched_float32 *pieces, const char *stored)
{
    return _mm256_castsi256_ps(_mm256_cmpgt_epi32(
        _mm256_set1_epi32(pieces->turn * (1 << 20)), _mm256_load_si256((const __m256i *)stored)));
}

FASTACT_FETCHED_INLINE __m256d fastact_is_before_turn_float64(
    const struct fastact_fetched_float64 *pieces, const char *stored)
{
    /* the bits of FASTACT_TO_INTEGER stand above the index */
    const uint64_t turn = (0x4338000000000000u + (uint64_t)(int64_t)pieces->turn) * (uint64_t)pieces->row_bytes;
    return _mm256_castsi256_pd(_mm256_cmpgt_epi64(
        _mm256_set1_epi64x((long long)turn), _mm256_load_si256((const __m256i *)stored)));
}

#define FASTACT_OF(name) fastact_##name##_float32
#define FASTACT_DO(operation) _mm256_##operation##_ps
#define FASTACT_NUMBER float
#define FASTACT_LANES __m256
#include "fetched_kinds.h"

#define FASTACT_OF(name) fastact_##name##_float64
#define FASTACT_DO(operation) _mm256_##operation##_pd
#define FASTACT_NUMBER double
#define FASTACT_LANES __m256d
#include "fetched_kinds.h"

#include "fetched_additions.h"

#endif
