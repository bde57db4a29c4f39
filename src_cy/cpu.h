/* Whether this CPU, and the operating system's saving of its registers, can run a build of the kernels.
 * __builtin_cpu_supports asks XGETBV too. */
#ifndef FASTACT_CPU_H
#define FASTACT_CPU_H

#if defined(__x86_64__) && defined(__GNUC__)
#include <cpuid.h>

/* Not __builtin_cpu_supports, which knows "f16c" only in newer compilers.  Needs the registers of AVX, like AVX2. */
static inline int fastact_cpu_has_f16c(void)
{
    unsigned int a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C) != 0;
}
#endif

static inline int fastact_cpu_runs_avx2(void)
{
#if defined(__x86_64__) && defined(__GNUC__)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && fastact_cpu_has_f16c();
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
