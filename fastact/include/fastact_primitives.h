/* The C versions of formulas/primitives.py, for both precisions: what the formulas need besides arithmetic.  For C99
 * and C++11; fastact's own kernels and fastact_inline.h are built on it.
 *
 * All of it inlines into the loop around it, and must stay free of branches and of library calls, or compilers stop
 * vectorising that loop.  Inlining is forced, because one function that is left out costs the loop its vectors.
 *
 * The formulas round by adding and subtracting 1.5 * 2**23, take the rounding error of a product, and let NaN fall
 * through comparisons.  Flags that let a compiler treat such steps as algebra make wrong numbers of them, so they are
 * refused here.  -fno-math-errno and -fno-trapping-math change no value, and GCC needs them to vectorise.  Contraction
 * to FMA is welcome, and not needed, but where the flags of a file have no FMA and a function's attribute has.  The
 * rounding mode must be to nearest.
 */
#ifndef FASTACT_PRIMITIVES_H
#define FASTACT_PRIMITIVES_H

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__FAST_MATH__) || defined(__ASSOCIATIVE_MATH__) || defined(__RECIPROCAL_MATH__) || \
    defined(__NO_SIGNED_ZEROS__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__) || defined(_M_FP_FAST)
#error "fastact does not compute with -ffast-math, -Ofast, /fp:fast or a part of them: use -O3 -fno-math-errno -fno-trapping-math"
#endif
/* 16 is GCC's word for 0 where there is also a half precision type (AVX512-FP16). */
#if defined(FLT_EVAL_METHOD) && FLT_EVAL_METHOD != 0 && FLT_EVAL_METHOD != 16
#error "fastact needs float and double computed in their own precision (FLT_EVAL_METHOD 0): on 32-bit x86 use -msse2 -mfpmath=sse"
#endif

#if defined(__GNUC__)
#define FASTACT_INLINE static inline __attribute__((always_inline))
#define FASTACT_BUILTIN(name) __builtin_##name
#elif defined(_MSC_VER)
#define FASTACT_INLINE static __forceinline
#define FASTACT_BUILTIN(name) name
#else
#define FASTACT_INLINE static inline
#define FASTACT_BUILTIN(name) name
#endif

FASTACT_INLINE float fastact_select_float32(int condition, float yes, float no) { return condition ? yes : no; }
FASTACT_INLINE double fastact_select_float64(int condition, double yes, double no) { return condition ? yes : no; }

FASTACT_INLINE float fastact_absolute_float32(float x) { return FASTACT_BUILTIN(fabsf)(x); }
FASTACT_INLINE double fastact_absolute_float64(double x) { return FASTACT_BUILTIN(fabs)(x); }

FASTACT_INLINE float fastact_copysign_float32(float x, float sign) { return FASTACT_BUILTIN(copysignf)(x, sign); }
FASTACT_INLINE double fastact_copysign_float64(double x, double sign) { return FASTACT_BUILTIN(copysign)(x, sign); }

/* shifted = 1.5 * 2**23 + 127 + n: n with the exponent's bias is in its low bits; moved to the exponent field it is 2**n.
 * Unsigned, because shifting the upper bits out of a signed integer is undefined. */
FASTACT_INLINE float fastact_power_of_two_float32(float shifted)
{
    uint32_t bits;
    float result;
    memcpy(&bits, &shifted, sizeof bits);
    bits <<= 23;
    memcpy(&result, &bits, sizeof result);
    return result;
}

FASTACT_INLINE double fastact_power_of_two_float64(double shifted)
{
    uint64_t bits;
    double result;
    memcpy(&bits, &shifted, sizeof bits);
    bits <<= 52;
    memcpy(&result, &bits, sizeof result);
    return result;
}

/* multiply_add: a * b + c, rounded once where the CPU has FMA; formulas are written for either.  Which products are fused
 * is decided where the formulas are lowered, not by the compiler, so that compilers agree to the bit.
 *
 * multiply_subtract: a * b - c with the product not rounded.  Where the CPU has no FMA: the product of two floats is exact in double;
 * that of two doubles is taken in halves of 26 and 27 bits (Dekker), split by a mask, which cannot overflow.
 * __FP_FAST_FMA besides __FMA__, because GCC contracts with -mavx512f or -mfma4 alone too. */
#if defined(__FMA__) || defined(__FP_FAST_FMA) || defined(__ARM_FEATURE_FMA) || \
    (defined(_MSC_VER) && (defined(__AVX2__) || defined(_M_ARM64)))
#define FASTACT_HAS_FMA 1
FASTACT_INLINE float fastact_multiply_add_float32(float a, float b, float c)
{
    return FASTACT_BUILTIN(fmaf)(a, b, c);
}

FASTACT_INLINE double fastact_multiply_add_float64(double a, double b, double c)
{
    return FASTACT_BUILTIN(fma)(a, b, c);
}

FASTACT_INLINE float fastact_multiply_subtract_float32(float a, float b, float c)
{
    return FASTACT_BUILTIN(fmaf)(a, b, -c);
}

FASTACT_INLINE double fastact_multiply_subtract_float64(double a, double b, double c)
{
    return FASTACT_BUILTIN(fma)(a, b, -c);
}
#else
#define FASTACT_HAS_FMA 0
FASTACT_INLINE float fastact_multiply_add_float32(float a, float b, float c) { return a * b + c; }
FASTACT_INLINE double fastact_multiply_add_float64(double a, double b, double c) { return a * b + c; }

FASTACT_INLINE float fastact_multiply_subtract_float32(float a, float b, float c)
{
    return (float)((double)a * (double)b - (double)c);
}

FASTACT_INLINE double fastact_upper_half(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits &= UINT64_C(0xfffffffff8000000);
    memcpy(&x, &bits, sizeof x);
    return x;
}

FASTACT_INLINE double fastact_multiply_subtract_float64(double a, double b, double c)
{
    double product = a * b;
    double a_high = fastact_upper_half(a), a_low = a - a_high;
    double b_high = fastact_upper_half(b), b_low = b - b_high;
    double error = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low;
    return (product - c) + error;
}
#endif

/* Widened precision: float64 arithmetic for a float32 result. */
#define fastact_select_widened fastact_select_float64
#define fastact_absolute_widened fastact_absolute_float64
#define fastact_copysign_widened fastact_copysign_float64
#define fastact_power_of_two_widened fastact_power_of_two_float64
#define fastact_multiply_add_widened fastact_multiply_add_float64

#endif
