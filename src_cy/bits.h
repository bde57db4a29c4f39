/* What the formulas need and Cython cannot say: bit casts, select, an unrounded product; and the CPU's name for
 * itself.  The C versions of formulas/primitives.py, for both precisions.  All of it inlines into the kernel loops and
 * must stay free of branches and of libm, or GCC stops vectorising the loop around it.
 */
#ifndef FASTACT_BITS_H
#define FASTACT_BITS_H

#include <stdint.h>
#include <string.h>

static inline float fastact_select_float32(int condition, float yes, float no) { return condition ? yes : no; }
static inline double fastact_select_float64(int condition, double yes, double no) { return condition ? yes : no; }

static inline float fastact_absolute_float32(float x) { return __builtin_fabsf(x); }
static inline double fastact_absolute_float64(double x) { return __builtin_fabs(x); }

static inline float fastact_copysign_float32(float x, float sign) { return __builtin_copysignf(x, sign); }
static inline double fastact_copysign_float64(double x, double sign) { return __builtin_copysign(x, sign); }

/* shifted = 1.5 * 2**23 + 127 + n: n with the exponent's bias is in its low bits; moved to the exponent field it is 2**n.
 * Unsigned, because shifting the upper bits out of a signed integer is undefined. */
static inline float fastact_power_of_two_float32(float shifted)
{
    uint32_t bits;
    float result;
    memcpy(&bits, &shifted, sizeof bits);
    bits <<= 23;
    memcpy(&result, &bits, sizeof result);
    return result;
}

static inline double fastact_power_of_two_float64(double shifted)
{
    uint64_t bits;
    double result;
    memcpy(&bits, &shifted, sizeof bits);
    bits <<= 52;
    memcpy(&result, &bits, sizeof result);
    return result;
}

/* a * b - c with the product not rounded.  Where the CPU has no FMA: the product of two floats is exact in double;
 * that of two doubles is taken in halves of 26 and 27 bits (Dekker), split by a mask, which cannot overflow. */
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
static inline float fastact_multiply_subtract_float32(float a, float b, float c) { return __builtin_fmaf(a, b, -c); }
static inline double fastact_multiply_subtract_float64(double a, double b, double c) { return __builtin_fma(a, b, -c); }
#else
static inline float fastact_multiply_subtract_float32(float a, float b, float c)
{
    return (float)((double)a * (double)b - (double)c);
}

static inline double fastact_upper_half(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits &= UINT64_C(0xfffffffff8000000);
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline double fastact_multiply_subtract_float64(double a, double b, double c)
{
    double product = a * b;
    double a_high = fastact_upper_half(a), a_low = a - a_high;
    double b_high = fastact_upper_half(b), b_low = b - b_high;
    double error = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low;
    return (product - c) + error;
}
#endif

/* Whether this CPU, and the operating system's saving of its registers, can run a build of the kernels.
 * __builtin_cpu_supports asks XGETBV too. */
static inline int fastact_cpu_runs_avx2(void)
{
#if defined(__x86_64__) && defined(__GNUC__)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
    return 0;
#endif
}

static inline int fastact_cpu_runs_avx512(void)
{
#if defined(__x86_64__) && defined(__GNUC__)
    return fastact_cpu_runs_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
#else
    return 0;
#endif
}

#endif
