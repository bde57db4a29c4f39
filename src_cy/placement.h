/* Where a worker wakes up: not on the core of the caller that wakes it.
 *
 * Linux wakes a thread where it last ran or beside whoever wakes it, unless it finds an idle core nearby, and on some
 * machines, virtual ones above all, it does not look for one.  So a worker wakes up behind the caller, with an idle core
 * next door, and waits there while the caller works: 2.3 ms of gelu of 4 Mi float32, which then took as long as on one
 * thread, call after call.  Therefore the caller takes its own core from the affinity of the worker that it is about to
 * wake, and the worker gives itself back what it had as soon as it is awake: 1 us each, where waking it takes 15.
 *
 * Nothing depends on it: where the system refuses, the worker wakes up where it would have.
 */
#ifndef FASTACT_PLACEMENT_H
#define FASTACT_PLACEMENT_H

/* pool.h has the headers; Python.h defines _GNU_SOURCE */
#if defined(__linux__) && defined(_GNU_SOURCE) && defined(SYS_gettid)

enum { FASTACT_BEDS = 8 }; /* workers that are looked after: where there are more, one of them matters little */

typedef struct {
    _Atomic int thread; /* its number in the system */
    _Atomic int asleep; /* or about to be */
    _Atomic int moved;  /* its affinity is not its own */
    cpu_set_t before;   /* its own; written while `moved` is 0, read while it is 1 */
} fastact_bed;

static fastact_bed fastact_beds[FASTACT_BEDS];

static inline fastact_bed *fastact_take_bed(int number)
{
    fastact_bed *bed = number < FASTACT_BEDS ? fastact_beds + number : 0;
    if (bed)
        bed->thread = (int)syscall(SYS_gettid);
    return bed;
}

static inline void fastact_falls_asleep(fastact_bed *bed)
{
    if (bed)
        bed->asleep = 1;
}

static inline void fastact_is_awake(fastact_bed *bed)
{
    if (!bed)
        return;
    bed->asleep = 0;
    if (bed->moved) {
        sched_setaffinity(0, sizeof bed->before, &bed->before);
        bed->moved = 0;
    }
}

/* Only the owner of the pool calls it. */
static inline void fastact_clear_core(int core, int workers)
{
    for (int k = 0; k < workers && k < FASTACT_BEDS; k++) {
        fastact_bed *bed = fastact_beds + k;
        cpu_set_t elsewhere;
        if (core < 0 || !bed->asleep || bed->moved ||
            sched_getaffinity(bed->thread, sizeof bed->before, &bed->before))
            continue;
        elsewhere = bed->before;
        CPU_CLR(core, &elsewhere);
        if (!CPU_COUNT(&elsewhere))
            continue;
        bed->moved = 1;
        sched_setaffinity(bed->thread, sizeof elsewhere, &elsewhere);
    }
}

static inline void fastact_forget_beds(void) { memset(fastact_beds, 0, sizeof fastact_beds); }

#else

typedef void fastact_bed;
static inline fastact_bed *fastact_take_bed(int number) { return (void)number, (fastact_bed *)0; }
static inline void fastact_falls_asleep(fastact_bed *bed) { (void)bed; }
static inline void fastact_is_awake(fastact_bed *bed) { (void)bed; }
static inline void fastact_clear_core(int core, int workers) { (void)core, (void)workers; }
static inline void fastact_forget_beds(void) {}

#endif

#endif
