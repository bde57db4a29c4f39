/* float16 and bfloat16 to float32 and back, FASTACT_GRANULE numbers at a time, in the instructions that the file is
 * compiled for: what a kernel of such numbers does before and after its float32 arithmetic.
 *
 * "Widen" and "narrow" are for any numbers and keep their order.  "Unpack" and "pack" are for kernels, which compute
 * each number by itself: they take the order that costs least, the same for every array.
 *
 * A granule is one register of AVX-512, so that compilers keep the numbers between in registers: the arrays in which
 * kernels hand them over never reach memory.  Widening is exact; narrowing rounds once, to nearest even, whatever the
 * rounding mode.  Subnormals are kept whatever the flush-to-zero mode: F16C's instructions disregard that mode where
 * halves are concerned, and the rest is integer arithmetic.  (vcvtneps2bf16 flushes, and is not used.)  A NaN stays a NaN
 * of its sign, and narrowed is a quiet one that keeps the upper bits of its payload.
 */
#ifndef FASTACT_HALVES_H
#define FASTACT_HALVES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifndef FASTACT_NO_PYTHON
#define FASTACT_NO_PYTHON
#endif
#include "fastact.h" /* FASTACT_GRANULE */

#if defined(__AVX2__) && defined(__F16C__)
#include <immintrin.h>
#endif

static inline float fastact_float_of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t fastact_bits_of_float(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float fastact_widen_float16(uint16_t half)
{
    uint32_t magnitude = half & 0x7fffu;
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    uint32_t normal = (magnitude << 13) + (112u << 23);                      /* exponent bias 15 -> 127 */
    uint32_t special = (magnitude << 13) | 0x7f800000u;                      /* inf and NaN */
    uint32_t tiny = fastact_bits_of_float((float)(int32_t)magnitude * 0x1p-24f); /* subnormals count in 2**-24 */
    uint32_t bits = magnitude >= 0x7c00u ? special : (magnitude < 0x400u ? tiny : normal);
    return fastact_float_of_bits(bits | sign);
}

static inline uint16_t fastact_narrow_float16(float value)
{
    uint32_t bits = fastact_bits_of_float(value);
    uint32_t sign = bits & 0x80000000u;
    uint32_t magnitude = bits ^ sign;
    /* below 2**-14: adding 0.5 leaves the multiple of 2**-24, rounded to nearest even, in the low bits */
    uint32_t tiny = fastact_bits_of_float(fastact_float_of_bits(magnitude) + 0.5f) - 0x3f000000u;
    uint32_t normal = (magnitude - (112u << 23) + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
    uint32_t special = magnitude > 0x7f800000u ? 0x7e00u | ((magnitude >> 13) & 0x3ffu) : 0x7c00u;
    uint32_t half = magnitude >= 0x477ff000u ? special : (magnitude < 0x38800000u ? tiny : normal); /* 65520, 2**-14 */
    return (uint16_t)(half | (sign >> 16));
}

/* bfloat16 is the upper half of a float32, subnormals and NaN included. */
static inline float fastact_widen_bfloat16(uint16_t half) { return fastact_float_of_bits((uint32_t)half << 16); }

/* Rounded to nearest even; a NaN may lose its payload to its sign. */
static inline uint16_t fastact_round_to_bfloat16(float value)
{
    uint32_t bits = fastact_bits_of_float(value);
    return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16); /* from the largest number on it carries into infinity */
}

static inline uint16_t fastact_narrow_bfloat16(float value)
{
    uint32_t bits = fastact_bits_of_float(value);
    uint32_t quiet = (bits | 0x400000u) >> 16; /* or a NaN might lose all that tells it from infinity */
    return (bits & 0x7fffffffu) > 0x7f800000u ? (uint16_t)quiet : fastact_round_to_bfloat16(value);
}

#if defined(__AVX512F__)

static inline void fastact_widen_granule_float16(const uint16_t *halves, float *numbers)
{
    _mm512_storeu_ps(numbers, _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)halves)));
}

static inline void fastact_narrow_granule_float16(const float *numbers, uint16_t *halves)
{
    __m256i narrow = _mm512_cvtps_ph(_mm512_loadu_ps(numbers), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    _mm256_storeu_si256((__m256i *)halves, narrow);
}

static inline void fastact_widen_granule_bfloat16(const uint16_t *halves, float *numbers)
{
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)halves));
    _mm512_storeu_si512(numbers, _mm512_slli_epi32(wide, 16));
}

static inline __m512i fastact_rounded_bfloat16(__m512i bits)
{
    /* a half, and a little less where the last bit that stays is even: ties go there */
    __mmask16 odd = _mm512_test_epi32_mask(bits, _mm512_set1_epi32(0x10000));
    __m512i rounded = _mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff));
    return _mm512_mask_add_epi32(rounded, odd, bits, _mm512_set1_epi32(0x8000));
}

static inline void fastact_narrow_granule_bfloat16(const float *numbers, uint16_t *halves)
{
    /* for each class of number, four bits: 2, the number itself as a quiet NaN, for the two kinds of NaN, which are the
     * lowest classes; 0, leave what is there, for all others */
    __m512i only_nan = _mm512_set1_epi32(0x22);
    __m512 number = _mm512_loadu_ps(numbers);
    __m512 rounded = _mm512_castsi512_ps(fastact_rounded_bfloat16(_mm512_castps_si512(number)));
    __m512i fixed = _mm512_castps_si512(_mm512_fixupimm_ps(rounded, number, only_nan, 0));
    _mm256_storeu_si256((__m256i *)halves, _mm512_cvtepi32_epi16(_mm512_srli_epi32(fixed, 16)));
}

#elif defined(__AVX2__) && defined(__F16C__)

static inline void fastact_widen_granule_float16(const uint16_t *halves, float *numbers)
{
    _mm256_storeu_ps(numbers, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)halves)));
    _mm256_storeu_ps(numbers + 8, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(halves + 8))));
}

static inline void fastact_narrow_granule_float16(const float *numbers, uint16_t *halves)
{
    __m128i low = _mm256_cvtps_ph(_mm256_loadu_ps(numbers), _MM_FROUND_TO_NEAREST_INT);
    __m128i high = _mm256_cvtps_ph(_mm256_loadu_ps(numbers + 8), _MM_FROUND_TO_NEAREST_INT);
    _mm_storeu_si128((__m128i *)halves, low);
    _mm_storeu_si128((__m128i *)(halves + 8), high);
}

static inline void fastact_widen_granule_bfloat16(const uint16_t *halves, float *numbers)
{
    __m256i low = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)halves));
    __m256i high = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(halves + 8)));
    _mm256_storeu_ps(numbers, _mm256_castsi256_ps(_mm256_slli_epi32(low, 16)));
    _mm256_storeu_ps(numbers + 8, _mm256_castsi256_ps(_mm256_slli_epi32(high, 16)));
}

static inline __m256i fastact_rounded_bfloat16(__m256i bits)
{
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    return _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
}

/* Eight numbers rounded to bfloat16, each in the lower half of its 32 bits. */
static inline __m256i fastact_narrowed_bfloat16(__m256 number)
{
    __m256i bits = _mm256_castps_si256(number);
    __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    __m256 is_nan = _mm256_cmp_ps(number, number, _CMP_UNORD_Q);
    __m256 rounded = _mm256_castsi256_ps(fastact_rounded_bfloat16(bits));
    __m256 chosen = _mm256_blendv_ps(rounded, _mm256_castsi256_ps(quiet), is_nan);
    return _mm256_srli_epi32(_mm256_castps_si256(chosen), 16);
}

static inline void fastact_narrow_granule_bfloat16(const float *numbers, uint16_t *halves)
{
    __m256i low = fastact_narrowed_bfloat16(_mm256_loadu_ps(numbers));
    __m256i high = fastact_narrowed_bfloat16(_mm256_loadu_ps(numbers + 8));
    /* packs within each half of the register; the two middle quarters change places afterwards */
    __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(low, high), 0xd8);
    _mm256_storeu_si256((__m256i *)halves, packed);
}

#else /* what every compiler makes SIMD of, on any CPU */

#define FASTACT_CONVERT_GRANULE(from_type, from, convert, to_type, to)                                                 \
    for (int i = 0; i < FASTACT_GRANULE; i++) {                                                                       \
        from_type before;                                                                                             \
        memcpy(&before, (from) + i, sizeof before);                                                                   \
        to_type after = convert(before);                                                                              \
        memcpy((to) + i, &after, sizeof after);                                                                       \
    }

static inline void fastact_widen_granule_float16(const uint16_t *halves, float *numbers)
{
    FASTACT_CONVERT_GRANULE(uint16_t, halves, fastact_widen_float16, float, numbers)
}

static inline void fastact_narrow_granule_float16(const float *numbers, uint16_t *halves)
{
    FASTACT_CONVERT_GRANULE(float, numbers, fastact_narrow_float16, uint16_t, halves)
}

static inline void fastact_widen_granule_bfloat16(const uint16_t *halves, float *numbers)
{
    FASTACT_CONVERT_GRANULE(uint16_t, halves, fastact_widen_bfloat16, float, numbers)
}

static inline void fastact_narrow_granule_bfloat16(const float *numbers, uint16_t *halves)
{
    FASTACT_CONVERT_GRANULE(float, numbers, fastact_narrow_bfloat16, uint16_t, halves)
}

#endif

/* For kernels.  In bfloat16 every second number is in the upper half of 32 bits, where it is a float32 already, but for
 * what stands below it; the others need one shift.  So the even ones and the odd ones are registers of their own.
 *
 * Packing does not look for NaN, whose payload a rounding could carry into the sign: the lower half of every NaN here is
 * zero, because it comes from a bfloat16 or from an invalid operation.  (Parameters are numbers: Acceptance in
 * driver.pxi.)  "Cut" is for results that are bfloat16 numbers already (Loop.is_exact), which need no rounding. */
#if defined(__AVX512F__)

static inline void fastact_unpack_bfloat16(const uint16_t *halves, float *numbers)
{
    fastact_widen_granule_bfloat16(halves, numbers);
}

static inline void fastact_cut_bfloat16(const float *numbers, uint16_t *halves)
{
    __m512i bits = _mm512_srli_epi32(_mm512_loadu_si512(numbers), 16);
    _mm256_storeu_si256((__m256i *)halves, _mm512_cvtepi32_epi16(bits));
}

static inline void fastact_pack_bfloat16(const float *numbers, uint16_t *halves)
{
    __m512i bits = fastact_rounded_bfloat16(_mm512_loadu_si512(numbers));
    _mm256_storeu_si256((__m256i *)halves, _mm512_cvtepi32_epi16(_mm512_srli_epi32(bits, 16)));
}

static inline void fastact_unpack_pair_bfloat16(const uint16_t *halves, float *even, float *odd)
{
    __m512i both = _mm512_loadu_si512(halves);
    _mm512_storeu_si512(even, _mm512_slli_epi32(both, 16));
    _mm512_storeu_si512(odd, _mm512_and_si512(both, _mm512_set1_epi32((int)0xffff0000)));
}

static inline void fastact_store_pair_bfloat16(__m512i even, __m512i odd, uint16_t *halves)
{
    _mm512_storeu_si512(halves, _mm512_mask_blend_epi16(0xaaaaaaaa, _mm512_srli_epi32(even, 16), odd));
}

static inline void fastact_cut_pair_bfloat16(const float *even, const float *odd, uint16_t *halves)
{
    fastact_store_pair_bfloat16(_mm512_loadu_si512(even), _mm512_loadu_si512(odd), halves);
}

static inline void fastact_pack_pair_bfloat16(const float *even, const float *odd, uint16_t *halves)
{
    __m512i low = fastact_rounded_bfloat16(_mm512_loadu_si512(even));
    __m512i high = fastact_rounded_bfloat16(_mm512_loadu_si512(odd));
    fastact_store_pair_bfloat16(low, high, halves);
}

#elif defined(__AVX2__) && defined(__F16C__)

static inline void fastact_unpack_bfloat16(const uint16_t *halves, float *numbers)
{
    __m256i both = _mm256_loadu_si256((const __m256i *)halves);
    __m256i odd = _mm256_and_si256(both, _mm256_set1_epi32((int)0xffff0000));
    _mm256_storeu_ps(numbers, _mm256_castsi256_ps(_mm256_slli_epi32(both, 16)));
    _mm256_storeu_ps(numbers + 8, _mm256_castsi256_ps(odd));
}

static inline void fastact_store_bfloat16(__m256i even, __m256i odd, uint16_t *halves)
{
    _mm256_storeu_si256((__m256i *)halves, _mm256_blend_epi16(_mm256_srli_epi32(even, 16), odd, 0xaa));
}

static inline void fastact_cut_bfloat16(const float *numbers, uint16_t *halves)
{
    __m256i even = _mm256_castps_si256(_mm256_loadu_ps(numbers)), odd = _mm256_castps_si256(_mm256_loadu_ps(numbers + 8));
    fastact_store_bfloat16(even, odd, halves);
}

static inline void fastact_pack_bfloat16(const float *numbers, uint16_t *halves)
{
    __m256i even = _mm256_castps_si256(_mm256_loadu_ps(numbers)), odd = _mm256_castps_si256(_mm256_loadu_ps(numbers + 8));
    fastact_store_bfloat16(fastact_rounded_bfloat16(even), fastact_rounded_bfloat16(odd), halves);
}

#else

static inline uint16_t fastact_upper_bits(float value) { return (uint16_t)(fastact_bits_of_float(value) >> 16); }

static inline void fastact_unpack_bfloat16(const uint16_t *halves, float *numbers)
{
    fastact_widen_granule_bfloat16(halves, numbers);
}

static inline void fastact_cut_bfloat16(const float *numbers, uint16_t *halves)
{
    FASTACT_CONVERT_GRANULE(float, numbers, fastact_upper_bits, uint16_t, halves)
}

static inline void fastact_pack_bfloat16(const float *numbers, uint16_t *halves)
{
    FASTACT_CONVERT_GRANULE(float, numbers, fastact_round_to_bfloat16, uint16_t, halves)
}

#endif

/* float16 has instructions for all of it, and a result that needs no rounding costs no less. */
static inline void fastact_unpack_float16(const uint16_t *halves, float *numbers)
{
    fastact_widen_granule_float16(halves, numbers);
}

static inline void fastact_pack_float16(const float *numbers, uint16_t *halves)
{
    fastact_narrow_granule_float16(numbers, halves);
}

static inline void fastact_cut_float16(const float *numbers, uint16_t *halves)
{
    fastact_narrow_granule_float16(numbers, halves);
}

/* Which number of a granule stands at a place of what is unpacked. */
static inline ptrdiff_t fastact_unpacked_place_float16(ptrdiff_t place) { return place; }
#if defined(__AVX2__) && !defined(__AVX512F__)
static inline ptrdiff_t fastact_unpacked_place_bfloat16(ptrdiff_t place) { return (place & 7) * 2 + place / 8; }
#else
static inline ptrdiff_t fastact_unpacked_place_bfloat16(ptrdiff_t place) { return place; }
#endif

#define FASTACT_UNPACK_PAIR(type)                                                                                      \
    static inline void fastact_unpack_pair_##type(const uint16_t *halves, float *first, float *second)                \
    {                                                                                                                 \
        fastact_unpack_##type(halves, first);                                                                         \
        fastact_unpack_##type(halves + FASTACT_GRANULE, second);                                                      \
    }
#define FASTACT_PACK_PAIR(pack, type)                                                                                  \
    static inline void fastact_##pack##_pair_##type(const float *first, const float *second, uint16_t *halves)        \
    {                                                                                                                 \
        fastact_##pack##_##type(first, halves);                                                                       \
        fastact_##pack##_##type(second, halves + FASTACT_GRANULE);                                                    \
    }

FASTACT_UNPACK_PAIR(float16)
FASTACT_PACK_PAIR(pack, float16)
FASTACT_PACK_PAIR(cut, float16)
#ifndef __AVX512F__
FASTACT_UNPACK_PAIR(bfloat16)
FASTACT_PACK_PAIR(pack, bfloat16)
FASTACT_PACK_PAIR(cut, bfloat16)
#endif

/* Any multiple of FASTACT_GRANULE numbers. */
#define FASTACT_BLOCKS(type)                                                                                           \
    static inline void fastact_widen_block_##type(const uint16_t *halves, float *numbers, ptrdiff_t count)            \
    {                                                                                                                 \
        for (ptrdiff_t i = 0; i < count; i += FASTACT_GRANULE)                                                        \
            fastact_widen_granule_##type(halves + i, numbers + i);                                                    \
    }                                                                                                                 \
    static inline void fastact_narrow_block_##type(const float *numbers, uint16_t *halves, ptrdiff_t count)           \
    {                                                                                                                 \
        for (ptrdiff_t i = 0; i < count; i += FASTACT_GRANULE)                                                        \
            fastact_narrow_granule_##type(numbers + i, halves + i);                                                   \
    }

FASTACT_BLOCKS(float16)
FASTACT_BLOCKS(bfloat16)

#endif
