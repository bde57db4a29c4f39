/* The floating-point state: every thread computes in the caller's mode, and no thread finds its own changed. */
#ifndef FASTACT_FP_STATE_H
#define FASTACT_FP_STATE_H

#if defined(__x86_64__) || defined(_M_X64)
#include <xmmintrin.h>
typedef unsigned int fastact_fp_state;
#define FASTACT_FP_MASK_ALL 0x1f80u
/* Kernels compute both sides of every choice and may raise any flag, so they run with traps masked and the caller
 * gets its state back, flags and all. */
static inline fastact_fp_state fastact_fp_enter(void)
{
    fastact_fp_state state = _mm_getcsr();
    if ((state & FASTACT_FP_MASK_ALL) != FASTACT_FP_MASK_ALL)
        _mm_setcsr(state | FASTACT_FP_MASK_ALL);
    return state;
}
static inline fastact_fp_state fastact_fp_enter_as(fastact_fp_state caller)
{
    fastact_fp_state own = _mm_getcsr();
    _mm_setcsr(caller | FASTACT_FP_MASK_ALL);
    return own;
}
static inline void fastact_fp_leave(fastact_fp_state state) { _mm_setcsr(state); }
#else
#include <fenv.h>
typedef fenv_t fastact_fp_state;
static inline fastact_fp_state fastact_fp_enter(void)
{
    fastact_fp_state state;
    feholdexcept(&state);
    return state;
}
static inline fastact_fp_state fastact_fp_enter_as(fastact_fp_state caller)
{
    fastact_fp_state own;
    fegetenv(&own);
    fesetenv(&caller);
    return own;
}
static inline void fastact_fp_leave(fastact_fp_state state) { fesetenv(&state); }
#endif

#endif
