/* src_cy/elements.h between float32 and the 16-bit types, in whatever floating-point mode the caller asks for:
 * test_bfloat16.py calls it through ctypes. */
#include "elements.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
enum { FLUSH_TO_ZERO = 0x8000, DENORMALS_ARE_ZERO = 0x0040 };
#endif

static unsigned int enter(int flushing)
{
#if defined(__x86_64__)
    unsigned int before = _mm_getcsr();
    if (flushing)
        _mm_setcsr(before | FLUSH_TO_ZERO | DENORMALS_ARE_ZERO);
    return before;
#else
    return (unsigned int)flushing;
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

void widen(int kind, const char *array, ptrdiff_t step, ptrdiff_t count, char *buffer, int flushing)
{
    unsigned int before = enter(flushing);
    fastact_gather(kind, array, step, count, buffer);
    leave(before);
}

void narrow(int kind, const char *buffer, ptrdiff_t count, char *array, ptrdiff_t step, int flushing)
{
    unsigned int before = enter(flushing);
    fastact_scatter(kind, buffer, count, array, step);
    leave(before);
}
