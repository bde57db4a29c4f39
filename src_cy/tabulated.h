/* Kernels of 16 bits that compute nothing once they have seen enough: such a number is one of 65536, and so is whatever
   is made of it.  A forward has a table of all results, a backward one of all slopes as float32 numbers, by which it
   multiplies.

   Tables are made by the arithmetic that they stand in for, so the bits of a number are the same whichever serves it.
   That holds in the usual floating-point mode only; in any other one the number is computed.  Nothing waits: while one
   thread makes a table the others compute, and if a process is forked meanwhile its child computes for good. */

#ifndef FASTACT_TABULATED_H
#define FASTACT_TABULATED_H

#include <immintrin.h>
#include <stdint.h>

#include "halves.h"

enum {
    FASTACT_ALL_HALVES = 65536,
    /* A table is made for whoever has had as many numbers computed as are in it: it can't cost more than they did. */
    FASTACT_WORTH_A_TABLE = FASTACT_ALL_HALVES,
    /* Fewer numbers are computed: the lines of a table that they touch may be in no cache.  With emptied caches a table
       takes 0.7 to 0.9 of gelu's time for 1024 to 16384 numbers (AMD Zen 3), and as long as sigmoid's. */
    FASTACT_TABULATED_FROM = 1024,
    /* Numbers whose cache line is asked for ahead of time, as in kernels.pyx.in. */
    FASTACT_TABULATED_AHEAD = 1024
};

struct fastact_tabulated {
    int64_t seen; /* numbers computed so far, at most so many of each call */
    int is_ready;
};

typedef void (*fastact_computing)(const uint16_t **inputs, uint16_t **outputs, ptrdiff_t count, const float *params);
/* Replaces each number by the slope there. */
typedef void (*fastact_slopes)(float *numbers, ptrdiff_t count, const float *params);

/* Rounding to nearest, subnormals neither flushed nor taken for zero. */
static inline int fastact_is_usual_mode(void) { return (_mm_getcsr() & 0xe040u) == 0; }

/* What is to be done with ``count`` numbers.  One caller alone is told to make the table, and looks up then. */
enum fastact_task { FASTACT_COMPUTE, FASTACT_MAKE_TABLE, FASTACT_LOOK_UP };

static inline enum fastact_task fastact_task_of(struct fastact_tabulated *state, ptrdiff_t count)
{
    if (count < FASTACT_TABULATED_FROM || !fastact_is_usual_mode()) return FASTACT_COMPUTE;
    if (__atomic_load_n(&state->is_ready, __ATOMIC_ACQUIRE)) return FASTACT_LOOK_UP;
    const int64_t more = count < FASTACT_WORTH_A_TABLE ? count : FASTACT_WORTH_A_TABLE;
    const int64_t before = __atomic_fetch_add(&state->seen, more, __ATOMIC_RELAXED);
    const int is_enough = before < FASTACT_WORTH_A_TABLE && before + more >= FASTACT_WORTH_A_TABLE;
    return is_enough ? FASTACT_MAKE_TABLE : FASTACT_COMPUTE;
}

static inline void fastact_is_made(struct fastact_tabulated *state)
{
    __atomic_store_n(&state->is_ready, 1, __ATOMIC_RELEASE);
}

/* --- results ------------------------------------------------------------------------------------------------------ */

static __attribute__((noinline)) void fastact_make_results(
    struct fastact_tabulated *state, uint16_t *results, fastact_computing kernel, const float *params)
{
    enum { BLOCK = 1024 };
    uint16_t halves[BLOCK];
    for (int start = 0; start < FASTACT_ALL_HALVES; start += BLOCK) {
        for (int k = 0; k < BLOCK; k++)
            halves[k] = (uint16_t)(start + k);
        const uint16_t *inputs[] = {halves};
        uint16_t *outputs[] = {results + start};
        kernel(inputs, outputs, BLOCK, params);
    }
    fastact_is_made(state);
}

/* One by one in general registers, which takes no longer than to put results together in vectors. */
static __attribute__((noinline)) void fastact_look_up_results(
    const uint16_t *results, const uint16_t *x, uint16_t *out, ptrdiff_t count)
{
    for (ptrdiff_t start = 0; start < count; start += FASTACT_GRANULE) {
        __builtin_prefetch(x + start + FASTACT_TABULATED_AHEAD);
        _Pragma("GCC unroll 16") for (ptrdiff_t k = start; k < start + FASTACT_GRANULE; k++) out[k] = results[x[k]];
    }
}

static inline void fastact_tabulated_forward(struct fastact_tabulated *state, uint16_t *results,
    const uint16_t **inputs, uint16_t **outputs, ptrdiff_t count, const float *params, fastact_computing kernel)
{
    const enum fastact_task task = fastact_task_of(state, count);
    if (task == FASTACT_MAKE_TABLE) fastact_make_results(state, results, kernel, params);
    if (task == FASTACT_COMPUTE) kernel(inputs, outputs, count, params);
    else fastact_look_up_results(results, inputs[0], outputs[0], count);
}

/* --- slopes ------------------------------------------------------------------------------------------------------- */

/* ``numbers`` of one granule, in the order in which halves.h unpacks them, multiplied by the slopes at ``x``. */
#define FASTACT_FOUR_SLOPES(place_of, k)                                                                               \
    _mm_set_ps(slopes[x[place_of((k) + 3)]], slopes[x[place_of((k) + 2)]], slopes[x[place_of((k) + 1)]],               \
        slopes[x[place_of(k)]])
#ifdef __AVX2__
#define FASTACT_MULTIPLY_BY_SLOPES(place_of, k)                                                                        \
    _mm256_storeu_ps(numbers + (k), _mm256_mul_ps(_mm256_loadu_ps(numbers + (k)),                                      \
        _mm256_set_m128(FASTACT_FOUR_SLOPES(place_of, (k) + 4), FASTACT_FOUR_SLOPES(place_of, k))))
#else
#define FASTACT_MULTIPLY_FOUR(place_of, k)                                                                             \
    _mm_storeu_ps(numbers + (k), _mm_mul_ps(_mm_loadu_ps(numbers + (k)), FASTACT_FOUR_SLOPES(place_of, k)))
#define FASTACT_MULTIPLY_BY_SLOPES(place_of, k)                                                                        \
    FASTACT_MULTIPLY_FOUR(place_of, k);                                                                                \
    FASTACT_MULTIPLY_FOUR(place_of, (k) + 4)
#endif

#define FASTACT_TABULATED_BACKWARD(dtype, place_of)                                                                    \
    static __attribute__((noinline)) void fastact_make_slopes_##dtype(                                                 \
        struct fastact_tabulated *state, float *slopes, fastact_slopes make, const float *params)                      \
    {                                                                                                                  \
        uint16_t halves[FASTACT_GRANULE];                                                                              \
        for (int start = 0; start < FASTACT_ALL_HALVES; start += FASTACT_GRANULE) {                                    \
            for (int k = 0; k < FASTACT_GRANULE; k++)                                                                  \
                halves[k] = (uint16_t)(start + k);                                                                     \
            fastact_widen_granule_##dtype(halves, slopes + start);                                                     \
        }                                                                                                              \
        make(slopes, FASTACT_ALL_HALVES, params);                                                                      \
        fastact_is_made(state);                                                                                        \
    }                                                                                                                  \
    static __attribute__((noinline)) void fastact_look_up_slopes_##dtype(                                              \
        const float *slopes, const uint16_t *grad, const uint16_t *x, uint16_t *out, ptrdiff_t count)                  \
    {                                                                                                                  \
        for (ptrdiff_t start = 0; start < count; start += FASTACT_GRANULE, x += FASTACT_GRANULE) {                     \
            float numbers[FASTACT_GRANULE];                                                                            \
            __builtin_prefetch(x + FASTACT_TABULATED_AHEAD);                                                           \
            __builtin_prefetch(grad + start + FASTACT_TABULATED_AHEAD);                                                \
            fastact_unpack_##dtype(grad + start, numbers);                                                             \
            FASTACT_MULTIPLY_BY_SLOPES(place_of, 0);                                                                   \
            FASTACT_MULTIPLY_BY_SLOPES(place_of, 8);                                                                   \
            fastact_pack_##dtype(numbers, out + start);                                                                \
        }                                                                                                              \
    }                                                                                                                  \
    static inline void fastact_tabulated_backward_##dtype(struct fastact_tabulated *state, float *slopes,              \
        const uint16_t **inputs, uint16_t **outputs, ptrdiff_t count, const float *params, fastact_computing kernel,   \
        fastact_slopes make)                                                                                           \
    {                                                                                                                  \
        const enum fastact_task task = fastact_task_of(state, count);                                                  \
        if (task == FASTACT_MAKE_TABLE) fastact_make_slopes_##dtype(state, slopes, make, params);                      \
        if (task == FASTACT_COMPUTE) kernel(inputs, outputs, count, params);                                           \
        else fastact_look_up_slopes_##dtype(slopes, inputs[0], inputs[1], outputs[0], count);                          \
    }
FASTACT_TABULATED_BACKWARD(float16, fastact_unpacked_place_float16)
FASTACT_TABULATED_BACKWARD(bfloat16, fastact_unpacked_place_bfloat16)

#endif
