/* Numbers outside of the intervals of a function that is looked up (piecewise.h, fetched.h): set aside, and put into place
   some hundred at a time, when the formula's own kernel has computed them, because it takes several vectors at once.
   Which of both serves a number depends on the number alone. */

#ifndef FASTACT_OUTSIDE_H
#define FASTACT_OUTSIDE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Which numbers are outside: those with |x| > last; those below -last, where the function is what its last interval
   gives for every greater number; none, where that holds for both sides. */
enum fastact_ends { FASTACT_BEYOND, FASTACT_BELOW, FASTACT_NOWHERE };

/* What is set aside is put into place when there are so many of them, or at the end of a chunk of so many numbers, while
   their places are in the L2 cache.  What is kept fits the L1 cache beside input and output.  With 1024 numbers of a
   chunk there were 15 of gelu or softplus with a deviation of 2.5, for which the formula took as long as for 64: all in
   all 8 to 14 % longer.  4096 or 16384 change 1 %. */
enum { FASTACT_MOST_OUTSIDE = 512, FASTACT_PIECEWISE_CHUNK = 8192 };
/* A chunk goes past the caches if no more of the last one's numbers were outside: each line of theirs is read again when
   it is put into place.  With 1 % of them (gelu, a deviation of 2.5) streaming still takes 0.82 to 1.1 of the time, with
   5 to 9 % (4) 1.2 to 1.6.  (Ordinary stores for such lines alone take 1.0 to 1.3 with 1 %: they break up what the CPU
   fetches by itself.) */
enum { FASTACT_FEW_OUTSIDE = FASTACT_PIECEWISE_CHUNK / 50 };
/* What is set aside at once, before anybody asks whether there is room. */
enum { FASTACT_OUTSIDE_BLOCK = 256 };
/* Room for that, and to fill up to whole vectors. */
enum { FASTACT_OUTSIDE_ROOM = FASTACT_MOST_OUTSIDE + FASTACT_OUTSIDE_BLOCK + 16 };

/* Kernels of formulas, by what their arrays hold. */
typedef void (*fastact_formula_float)(const float **inputs, float **outputs, ptrdiff_t count, const float *params);
typedef void (*fastact_formula_double)(const double **inputs, double **outputs, ptrdiff_t count, const double *params);
typedef void (*fastact_formula_uint16_t)(
    const uint16_t **inputs, uint16_t **outputs, ptrdiff_t count, const float *params);

/* What is outside, and how it comes back.  The formula takes sixteen at a time. */
#define FASTACT_PIECEWISE_OUTSIDE(number, parameter)                                                                   \
    struct fastact_outside_##number {                                                                                  \
        number numbers[2][FASTACT_OUTSIDE_ROOM];                                                                       \
        number results[FASTACT_OUTSIDE_ROOM];                                                                          \
        int places[FASTACT_OUTSIDE_ROOM];                                                                              \
        int count;                                                                                                     \
        int put_into_place;                                                                                            \
    };                                                                                                                 \
    static __attribute__((noinline, cold)) void fastact_put_into_place_##number(                                       \
        struct fastact_outside_##number *outside, number *out, fastact_formula_##number formula,                       \
        const parameter *params)                                                                                       \
    {                                                                                                                  \
        memset(outside->numbers[0] + outside->count, 0, 16 * sizeof(number));                                          \
        memset(outside->numbers[1] + outside->count, 0, 16 * sizeof(number));                                          \
        const number *inputs[2] = {outside->numbers[0], outside->numbers[1]};                                          \
        number *outputs[1] = {outside->results};                                                                       \
        formula(inputs, outputs, (outside->count + 15) & -16, params);                                                 \
        for (int k = 0; k < outside->count; k++) out[outside->places[k]] = outside->results[k];                        \
        outside->put_into_place += outside->count;                                                                     \
        outside->count = 0;                                                                                            \
    }                                                                                                                  \
    static inline __attribute__((always_inline)) void fastact_make_room_##number(                                      \
        struct fastact_outside_##number *outside, number *out, fastact_formula_##number formula,                       \
        const parameter *params)                                                                                       \
    {                                                                                                                  \
        if (__builtin_expect(outside->count > FASTACT_MOST_OUTSIDE, 0))                                                \
            fastact_put_into_place_##number(outside, out, formula, params);                                            \
    }
FASTACT_PIECEWISE_OUTSIDE(float, float)
FASTACT_PIECEWISE_OUTSIDE(double, double)
FASTACT_PIECEWISE_OUTSIDE(uint16_t, float)

#endif
