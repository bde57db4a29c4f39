/* Moving elements between an array and a kernel's block buffer: strides, unaligned addresses.
 *
 * The step is in bytes and may be anything; elements go through memcpy, so no address need be aligned.  Nothing is
 * converted: kernels take elements of every dtype as they are.
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
#include "halves.h"

static inline ptrdiff_t fastact_element_size(int kind)
{
    return kind == FASTACT_FLOAT64 ? 8 : (kind == FASTACT_FLOAT32 ? 4 : 2);
}

/* What computes: float32 for itself, float16 and bfloat16. */
static inline int fastact_computing(int kind) { return kind == FASTACT_FLOAT64 ? FASTACT_FLOAT64 : FASTACT_FLOAT32; }

/* A parameter, which is taken in the precision that computes. */
static inline ptrdiff_t fastact_parameter_size(int kind) { return fastact_element_size(fastact_computing(kind)); }

/* One element as a parameter. */
static inline void fastact_load_parameter(int kind, const char *element, char *parameter)
{
    uint16_t half;
    float number;
    if (fastact_element_size(kind) != 2) {
        memcpy(parameter, element, (size_t)fastact_parameter_size(kind));
        return;
    }
    memcpy(&half, element, sizeof half);
    number = kind == FASTACT_FLOAT16 ? fastact_widen_float16(half) : fastact_widen_bfloat16(half);
    memcpy(parameter, &number, sizeof number);
}

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

static inline void fastact_gather(int kind, const char *restrict array, ptrdiff_t step, ptrdiff_t count,
                                  char *restrict buffer)
{
    ptrdiff_t size = fastact_element_size(kind);
    if (step == 0 && count > 1) {
        /* a broadcast operand: a loop that becomes SIMD (prelu of 1 Ki: 190 ns instead of 380) */
        memcpy(buffer, array, (size_t)size);
        if (size == 8) {
            FASTACT_REPEAT(uint64_t, buffer)
        } else if (size == 4) {
            FASTACT_REPEAT(uint32_t, buffer)
        } else {
            FASTACT_REPEAT(uint16_t, buffer)
        }
    } else if (step == size) {
        memcpy(buffer, array, (size_t)(count * step));
    } else if (size == 8) {
        FASTACT_MOVE(uint64_t, array, step, buffer, 8)
    } else if (size == 4) {
        FASTACT_MOVE(uint32_t, array, step, buffer, 4)
    } else {
        FASTACT_MOVE(uint16_t, array, step, buffer, 2)
    }
}

static inline void fastact_scatter(int kind, const char *restrict buffer, ptrdiff_t count, char *restrict array,
                                   ptrdiff_t step)
{
    ptrdiff_t size = fastact_element_size(kind);
    if (step == size) {
        memcpy(array, buffer, (size_t)(count * step));
    } else if (size == 8) {
        FASTACT_MOVE(uint64_t, buffer, 8, array, step)
    } else if (size == 4) {
        FASTACT_MOVE(uint32_t, buffer, 4, array, step)
    } else {
        FASTACT_MOVE(uint16_t, buffer, 2, array, step)
    }
}

#endif
