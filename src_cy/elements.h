/* Moving elements between an array and a kernel's block buffer: strides, unaligned addresses, half precision.
 *
 * The step is in bytes and may be anything; elements go through memcpy, so no address need be aligned.  float16 and
 * bfloat16 are widened exactly and narrowed once, to nearest even, by integer arithmetic that keeps subnormals whatever
 * the flush-to-zero mode, and that compilers vectorise.
 */
#ifndef FASTACT_ELEMENTS_H
#define FASTACT_ELEMENTS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifndef FASTACT_NO_PYTHON
#define FASTACT_NO_PYTHON
#endif
#include "fastact.h" /* enum fastact_dtype */

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
    uint32_t special = magnitude > 0x7f800000u ? 0x7e00u : 0x7c00u;
    uint32_t half = magnitude >= 0x477ff000u ? special : (magnitude < 0x38800000u ? tiny : normal); /* 65520, 2**-14 */
    return (uint16_t)(half | (sign >> 16));
}

/* bfloat16 is the upper half of a float32, subnormals and NaN included. */
static inline float fastact_widen_bfloat16(uint16_t half) { return fastact_float_of_bits((uint32_t)half << 16); }

static inline uint16_t fastact_narrow_bfloat16(float value)
{
    uint32_t bits = fastact_bits_of_float(value);
    uint32_t rounded = bits + 0x7fffu + ((bits >> 16) & 1u); /* from the largest number on it carries into infinity */
    uint32_t quiet = bits | 0x400000u;                       /* or a NaN might lose all that tells it from infinity */
    return (uint16_t)(((bits & 0x7fffffffu) > 0x7f800000u ? quiet : rounded) >> 16);
}

static inline ptrdiff_t fastact_element_size(int kind)
{
    return kind == FASTACT_FLOAT64 ? 8 : (kind == FASTACT_FLOAT32 ? 4 : 2);
}

/* What a kernel sees of an element: float16 and bfloat16 are computed in float32. */
static inline ptrdiff_t fastact_computed_size(int kind) { return kind == FASTACT_FLOAT64 ? 8 : 4; }

/* Volatile, so that the compiler does not move the rounding, and the flag it raises, out of fp_enter ... fp_leave. */
static inline double fastact_round_to_float32(double number)
{
    volatile double exact = number;
    volatile float rounded = (float)exact;
    return rounded;
}

/* Cut off after float32's bits, with an odd last bit wherever something was: rounding that to 16 bits is to round once,
 * because no tie arises that was none. */
static inline float fastact_round_to_odd(double number)
{
    float nearest = (float)fastact_round_to_float32(number);
    uint32_t bits = fastact_bits_of_float(nearest);
    if (nearest == number || number != number)
        return nearest;
    bits -= (nearest < 0 ? -nearest : nearest) > (number < 0 ? -number : number);
    return fastact_float_of_bits(bits | 1u);
}

/* A double as one element, rounded once. */
static inline void fastact_store(int kind, double number, char *element)
{
    float single = (float)fastact_round_to_float32(number);
    uint16_t half = kind == FASTACT_FLOAT16 ? fastact_narrow_float16(fastact_round_to_odd(number))
                                            : fastact_narrow_bfloat16(fastact_round_to_odd(number));
    if (kind == FASTACT_FLOAT64)
        memcpy(element, &number, sizeof number);
    else if (kind == FASTACT_FLOAT32)
        memcpy(element, &single, sizeof single);
    else
        memcpy(element, &half, sizeof half);
}

#define FASTACT_MOVE(type, from, from_step, to, to_step)                                                   \
    for (ptrdiff_t i = 0; i < count; i++) {                                                                           \
        type element;                                                                                                 \
        memcpy(&element, (from) + i * (from_step), sizeof element);                                                   \
        memcpy((to) + i * (to_step), &element, sizeof element);                                                       \
    }

#define FASTACT_REPEAT(type, buffer)                                                                                  \
    type element;                                                                                                     \
    memcpy(&element, (buffer), sizeof element);                                                                       \
    for (ptrdiff_t i = 1; i < count; i++)                                                                             \
        memcpy((buffer) + i * (ptrdiff_t)sizeof element, &element, sizeof element);

#define FASTACT_CONVERT(from_type, from, from_step, convert, to_type, to, to_step)                                     \
    for (ptrdiff_t i = 0; i < count; i++) {                                                                           \
        from_type before;                                                                                             \
        memcpy(&before, (from) + i * (from_step), sizeof before);                                                     \
        to_type after = convert(before);                                                                              \
        memcpy((to) + i * (to_step), &after, sizeof after);                                                           \
    }

/* A loop of its own for dense elements: only one whose step is written down becomes SIMD. */
#define FASTACT_WIDEN(convert)                                                                                         \
    if (step == 2) {                                                                                                  \
        FASTACT_CONVERT(uint16_t, array, 2, convert, float, buffer, 4)                                                \
    } else {                                                                                                          \
        FASTACT_CONVERT(uint16_t, array, step, convert, float, buffer, 4)                                             \
    }

#define FASTACT_NARROW(convert)                                                                                        \
    if (step == 2) {                                                                                                  \
        FASTACT_CONVERT(float, buffer, 4, convert, uint16_t, array, 2)                                                \
    } else {                                                                                                          \
        FASTACT_CONVERT(float, buffer, 4, convert, uint16_t, array, step)                                             \
    }

static inline void fastact_gather(int kind, const char *restrict array, ptrdiff_t step, ptrdiff_t count,
                                  char *restrict buffer)
{
    if (step == 0 && count > 1) {
        /* a broadcast operand: converted once, and a loop that becomes SIMD (prelu of 1 Ki: 190 ns instead of 380) */
        fastact_gather(kind, array, fastact_element_size(kind), 1, buffer);
        if (fastact_computed_size(kind) == 8) {
            FASTACT_REPEAT(uint64_t, buffer)
        } else {
            FASTACT_REPEAT(uint32_t, buffer)
        }
    } else if (kind == FASTACT_FLOAT16) {
        FASTACT_WIDEN(fastact_widen_float16)
    } else if (kind == FASTACT_BFLOAT16) {
        FASTACT_WIDEN(fastact_widen_bfloat16)
    } else if (step == fastact_element_size(kind)) {
        memcpy(buffer, array, (size_t)(count * step));
    } else if (kind == FASTACT_FLOAT64) {
        FASTACT_MOVE(uint64_t, array, step, buffer, 8)
    } else {
        FASTACT_MOVE(uint32_t, array, step, buffer, 4)
    }
}

static inline void fastact_scatter(int kind, const char *restrict buffer, ptrdiff_t count, char *restrict array,
                                   ptrdiff_t step)
{
    if (kind == FASTACT_FLOAT16) {
        FASTACT_NARROW(fastact_narrow_float16)
    } else if (kind == FASTACT_BFLOAT16) {
        FASTACT_NARROW(fastact_narrow_bfloat16)
    } else if (step == fastact_element_size(kind)) {
        memcpy(array, buffer, (size_t)(count * step));
    } else if (kind == FASTACT_FLOAT64) {
        FASTACT_MOVE(uint64_t, buffer, 8, array, step)
    } else {
        FASTACT_MOVE(uint32_t, buffer, 4, array, step)
    }
}

#endif
