/* Moving elements between an array and a kernel's block buffer: strides, unaligned addresses, half precision.
 *
 * The step is in bytes and may be anything; elements go through memcpy, so no address need be aligned.  float16 is
 * widened exactly and narrowed once, to nearest even, by integer arithmetic that keeps subnormals whatever the
 * flush-to-zero mode, and that compilers vectorise.
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

static inline float fastact_widen(uint16_t half)
{
    uint32_t magnitude = half & 0x7fffu;
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    uint32_t normal = (magnitude << 13) + (112u << 23);                      /* exponent bias 15 -> 127 */
    uint32_t special = (magnitude << 13) | 0x7f800000u;                      /* inf and NaN */
    uint32_t tiny = fastact_bits_of_float((float)(int32_t)magnitude * 0x1p-24f); /* subnormals count in 2**-24 */
    uint32_t bits = magnitude >= 0x7c00u ? special : (magnitude < 0x400u ? tiny : normal);
    return fastact_float_of_bits(bits | sign);
}

static inline uint16_t fastact_narrow(float value)
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

static inline ptrdiff_t fastact_element_size(int kind)
{
    return kind == FASTACT_FLOAT64 ? 8 : (kind == FASTACT_FLOAT16 ? 2 : 4);
}

/* What a kernel sees of an element: float16 is computed in float32. */
static inline ptrdiff_t fastact_computed_size(int kind) { return kind == FASTACT_FLOAT64 ? 8 : 4; }

/* Volatile, so that the compiler does not move the rounding, and the flag it raises, out of fp_enter ... fp_leave. */
static inline double fastact_round_to_float32(double number)
{
    volatile double exact = number;
    volatile float rounded = (float)exact;
    return rounded;
}

#define FASTACT_MOVE(type, from, from_step, to, to_step)                                                   \
    for (ptrdiff_t i = 0; i < count; i++) {                                                                           \
        type element;                                                                                                 \
        memcpy(&element, (from) + i * (from_step), sizeof element);                                                   \
        memcpy((to) + i * (to_step), &element, sizeof element);                                                       \
    }

static inline void fastact_gather(int kind, const char *array, ptrdiff_t step, ptrdiff_t count, char *buffer)
{
    if (kind == FASTACT_FLOAT16) {
        for (ptrdiff_t i = 0; i < count; i++) {
            uint16_t half;
            memcpy(&half, array + i * step, sizeof half);
            float value = fastact_widen(half);
            memcpy(buffer + i * 4, &value, sizeof value);
        }
    } else if (step == fastact_element_size(kind)) {
        memcpy(buffer, array, (size_t)(count * step));
    } else if (kind == FASTACT_FLOAT64) {
        FASTACT_MOVE(uint64_t, array, step, buffer, 8)
    } else {
        FASTACT_MOVE(uint32_t, array, step, buffer, 4)
    }
}

static inline void fastact_scatter(int kind, const char *buffer, ptrdiff_t count, char *array, ptrdiff_t step)
{
    if (kind == FASTACT_FLOAT16) {
        for (ptrdiff_t i = 0; i < count; i++) {
            float value;
            memcpy(&value, buffer + i * 4, sizeof value);
            uint16_t half = fastact_narrow(value);
            memcpy(array + i * step, &half, sizeof half);
        }
    } else if (step == fastact_element_size(kind)) {
        memcpy(array, buffer, (size_t)(count * step));
    } else if (kind == FASTACT_FLOAT64) {
        FASTACT_MOVE(uint64_t, buffer, 8, array, step)
    } else {
        FASTACT_MOVE(uint32_t, buffer, 4, array, step)
    }
}

#endif
