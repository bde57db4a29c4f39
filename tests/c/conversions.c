/* src_cy/halves.h in the instructions that this is compiled for, in whatever floating-point mode the caller asks for:
 * test_bfloat16.py calls it through ctypes.  Counts are multiples of FASTACT_GRANULE. */
#include "halves.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
enum { FLUSH_TO_ZERO = 0x8000, DENORMALS_ARE_ZERO = 0x0040, ROUNDING = 0x6000 };
#endif

/* With `rounding` 0 to nearest, 1 down, 2 up, 3 toward zero. */
static unsigned int enter(int flushing, int rounding)
{
#if defined(__x86_64__)
    unsigned int before = _mm_getcsr();
    _mm_setcsr((before & ~(unsigned int)ROUNDING) | (unsigned int)rounding << 13 |
               (flushing ? FLUSH_TO_ZERO | DENORMALS_ARE_ZERO : 0));
    return before;
#else
    return (unsigned int)flushing + (unsigned int)rounding;
#endif
}

static void leave(unsigned int before)
{
#if defined(__x86_64__)
    _mm_setcsr(before);
#else
    (void)before;
#endif
}

#define DEFINE(dtype)                                                                                                  \
    void widen_##dtype(const uint16_t *halves, float *numbers, ptrdiff_t count, int flushing, int rounding)           \
    {                                                                                                                 \
        unsigned int before = enter(flushing, rounding);                                                              \
        for (ptrdiff_t i = 0; i < count; i += FASTACT_GRANULE)                                                        \
            fastact_widen_granule_##dtype(halves + i, numbers + i);                                                   \
        leave(before);                                                                                                \
    }                                                                                                                 \
    void narrow_##dtype(const float *numbers, uint16_t *halves, ptrdiff_t count, int flushing, int rounding)          \
    {                                                                                                                 \
        unsigned int before = enter(flushing, rounding);                                                              \
        for (ptrdiff_t i = 0; i < count; i += FASTACT_GRANULE)                                                        \
            fastact_narrow_granule_##dtype(numbers + i, halves + i);                                                  \
        leave(before);                                                                                                \
    }

DEFINE(float16)
DEFINE(bfloat16)
