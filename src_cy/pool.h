/* Threads and forks: what keeps the driver safe inside other people's processes.
 *
 * Why a pool of our own.  With OpenMP every region ends in a barrier for the whole team.  When another process, or
 * OpenBLAS' threads that spin after a matmul, take one of the cores, GCC's runtime waits actively for workers that the
 * system has not yet run.  gelu of 64 Ki float32, two threads on two cores of which another process uses one: 11500 us
 * with OpenMP, 30 us here, 29 us on one thread.  Here the caller never waits for a worker that has not started.  With
 * both cores free there is no price: 13.1 us (OpenMP 13.5) instead of 24.5, and relu of 64 Ki 2.0 (2.5) instead of 2.5.
 *
 * One job at a time in the process.  A caller that finds the pool busy, or is itself inside a job, is told to do the
 * work alone: nested calls and calls from other pools never add threads, never wait and never deadlock.
 *
 * A job is a number of chunks.  The caller publishes it, wakes workers, claims chunks from the front until none is
 * left, and then waits only for workers that hold chunks they have claimed; workers claim from the back.  So the
 * slowest case is the serial time plus one chunk of a worker that was preempted.  (Front and back: with two threads
 * each half of an array stays in the cache of one core from call to call.)
 *
 * Why a late worker cannot touch a finished job, whose context was on the caller's stack.  All that is claimed is in
 * one 64-bit word, `ticket`: the job's generation, the seats left for workers, the first unclaimed chunk and the end.
 * A claim is a compare-and-swap of that word, so it fails when the generation has moved on, and it moves on only
 * after `pending` has counted every chunk as done; a worker reads the task and its context only between its claim and
 * its subtraction from `pending`.  The generation has 40 bits: to be deceived, a worker would have to be stopped
 * between two instructions for 2^40 jobs, twelve days at 1 us each.
 *
 * Fork.  The child has only the thread that forked.  Its handler starts from nothing: no workers, no job, a new
 * generation; the next large call makes workers.  Nothing in the parent has to be waited for, because no lock guards
 * anything that the child reads.  No other library's runtime is involved.
 */
#ifndef FASTACT_POOL_H
#define FASTACT_POOL_H

#if (defined(__unix__) || defined(__APPLE__)) && !defined(FASTACT_NO_THREADS)
#define FASTACT_THREADS 1
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <linux/futex.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#endif
#endif

typedef void (*fastact_task)(void *context, int chunk);

/* Whose threads do the jobs: our own workers, an OpenMP runtime's (team.h), or whichever are there (borrowing.h). */
enum { FASTACT_POOL_OWN, FASTACT_POOL_OPENMP, FASTACT_POOL_AUTO };

#ifdef FASTACT_THREADS

#include "placement.h"
#include "team.h"

enum {
    FASTACT_MAX_CHUNKS = 255,      /* eight bits of the ticket */
    FASTACT_ROW_NS = 100000,       /* a job that begins within this of the last one's end may be one of many */
    FASTACT_SPIN_NS = 150000,      /* so long a worker is awake for the next one, before it sleeps */
    FASTACT_WAKE_NS = 50000,       /* a worker that has been woken is not woken again within this */
    FASTACT_TURN_NS = 5000,        /* sched_yield takes 0.3 us; if it takes this, another thread may have run */
    FASTACT_REST_TURNS = 32,       /* and if so, a worker does not spin for so many times as long */
    FASTACT_CALLER_SPIN_NS = 20000 /* for claimed chunks, before sleeping, which frees a core for their worker */
};

/* Every access to an _Atomic word is sequentially consistent.  What different threads write is on different lines. */
static struct {
    _Alignas(64) _Atomic uint64_t ticket;  /* generation:40 seats:8 front:8 end:8 */
    _Alignas(64) _Atomic uint32_t pending; /* chunks not yet done, and FASTACT_CALLER_SLEEPS */
    _Alignas(64) _Atomic uint32_t bell;    /* workers sleep while it does not change */
    _Atomic int asleep;                    /* workers that do, or are about to */
    _Alignas(64) _Atomic int busy;         /* whoever sets it owns all that follows */
    _Atomic int spins;
    _Atomic int caller_cpu;
    int has_cores;
    int workers;
    int cannot_grow;
    int64_t next_wake, last_end;
    fastact_task task;
    void *context;
    fastact_borrowing borrowing; /* with FASTACT_POOL_AUTO */
} fastact_pool;
static _Atomic int fastact_pool_choice = FASTACT_POOL_AUTO; /* changed by the owner */
static int fastact_forks;
static int fastact_core_count = 1;
static inline int fastact_cores(void) { return fastact_core_count; }

#define FASTACT_SEAT ((uint64_t)1 << 16)
#define FASTACT_FRONT ((uint64_t)1 << 8)
#define FASTACT_CALLER_SLEEPS 0x80000000u
static inline uint64_t fastact_generation(uint64_t ticket) { return ticket >> 24; }
static inline int fastact_seats(uint64_t ticket) { return (int)(ticket >> 16 & 255); }
static inline int fastact_front(uint64_t ticket) { return (int)(ticket >> 8 & 255); }
static inline int fastact_end(uint64_t ticket) { return (int)(ticket & 255); }

#if defined(SYS_futex) && !defined(FASTACT_NO_FUTEX)
static void fastact_sleep(_Atomic uint32_t *word, uint32_t value)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, 0, 0, 0);
}
static void fastact_wake(_Atomic uint32_t *word, int count)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, 0, 0, 0);
}
static void fastact_forget_sleepers(void) {}
#else
/* The same by a condition variable, which wakes more threads than asked: each looks again why it sleeps. */
static pthread_mutex_t fastact_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t fastact_condition = PTHREAD_COND_INITIALIZER;
static void fastact_sleep(_Atomic uint32_t *word, uint32_t value)
{
    pthread_mutex_lock(&fastact_mutex);
    if (*word == value)
        pthread_cond_wait(&fastact_condition, &fastact_mutex);
    pthread_mutex_unlock(&fastact_mutex);
}
static void fastact_wake(_Atomic uint32_t *word, int count)
{
    (void)word, (void)count;
    pthread_mutex_lock(&fastact_mutex); /* not between a sleeper's look at its word and its sleep */
    pthread_cond_broadcast(&fastact_condition);
    pthread_mutex_unlock(&fastact_mutex);
}
static void fastact_forget_sleepers(void)
{
    pthread_mutex_init(&fastact_mutex, 0); /* another thread may have held it when this one forked */
    pthread_cond_init(&fastact_condition, 0);
}
#endif

static inline int fastact_cpu(void)
{
#if defined(__linux__) && defined(_GNU_SOURCE) /* which Python.h defines */
    return sched_getcpu();
#else
    return -1;
#endif
}

static inline int64_t fastact_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now); /* 20 ns */
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Pause; false once `duration` ns have passed since the first of a row of calls, at which *until is 0. */
static inline int fastact_spin(int *round, int64_t *until, int duration)
{
    if ((*round)++ % 32 == 0) {
        int64_t now = fastact_now();
        *until = *until ? *until : now + duration;
        if (now >= *until)
            return 0;
    }
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
    return 1;
}

/* Claim a chunk, which changes the ticket by `step`; -1 if none is left.  Generation 0 stands for any job that has a
 * free seat, and becomes the job's that was joined. */
static inline int fastact_claim(uint64_t *generation, uint64_t step)
{
    uint64_t ticket = fastact_pool.ticket;
    do {
        if (fastact_front(ticket) >= fastact_end(ticket) ||
            (*generation ? fastact_generation(ticket) != *generation : !fastact_seats(ticket)))
            return -1;
    } while (!atomic_compare_exchange_weak(&fastact_pool.ticket, &ticket, ticket + step));
    *generation = fastact_generation(ticket);
    return step == FASTACT_FRONT ? fastact_front(ticket) : fastact_end(ticket) - 1;
}

/* Whether this worker stands in the caller's way: on busy machines the system puts both on one core, where a worker
 * that spins only takes time from the caller (relu of 64 Ki: 6.3 us beside such a spinning worker, 2.4 alone). */
static inline int fastact_in_the_way(void)
{
    int cpu = fastact_cpu();
    return cpu >= 0 && cpu == fastact_pool.caller_cpu;
}

static inline int fastact_job_is_open(void)
{
    uint64_t ticket = fastact_pool.ticket;
    return fastact_front(ticket) < fastact_end(ticket) && fastact_seats(ticket);
}

/* How often another thread has taken this one's core; where the system does not tell, it may have at any time. */
static inline long fastact_turns(void)
{
#if defined(__linux__) && defined(RUSAGE_THREAD)
    struct rusage usage;
    getrusage(RUSAGE_THREAD, &usage);
    return usage.ru_nivcsw;
#else
    static _Thread_local long turns;
    return turns++;
#endif
}

/* Let another thread have this core if one wants it; how long that took, 0 if none did.  While PyTorch's worker waits
 * behind one of ours that spins, all of PyTorch waits; and ours, once it has let the other run, is back after a time
 * slice of milliseconds, so it had better sleep at once the next times, because a thread that is woken comes sooner than
 * one that spins in a queue.  Time alone does not tell: on an idle core of a virtual machine, interrupts and the host
 * take 5 us a hundred times a second and milliseconds now and then; workers that slept for long after each were never
 * there (relu of 256 Ki, calls in a row: 46 us instead of 17). */
static inline int64_t fastact_give_turn(void)
{
    long turns = fastact_turns();
    int64_t before = fastact_now(), taken;
    sched_yield();
    taken = fastact_now() - before;
    return taken > FASTACT_TURN_NS && fastact_turns() != turns ? taken : 0;
}

/* Wait for a job: awake for a while, because calls come in rows, then asleep.  *rests_until is the worker's own. */
static void fastact_await_job(fastact_bed *bed, int64_t *rests_until)
{
    for (;;) {
        int64_t until = 0, turn;
        int round = 0, duration = fastact_pool.spins && fastact_now() > *rests_until ? FASTACT_SPIN_NS : 0;
        uint32_t bell;
        while (!fastact_job_is_open() && fastact_spin(&round, &until, duration)) {
            if (round % 32 == 1 && fastact_in_the_way())
                break;
            if (round % 256 == 128 && (turn = fastact_give_turn())) {
                *rests_until = fastact_now() + turn * FASTACT_REST_TURNS;
                break;
            }
        }
        if (fastact_job_is_open()) {
            if (fastact_in_the_way())
                sched_yield(); /* the caller first; if this returns at once, it is not here any more */
            return;
        }
        /* A caller publishes and then looks who is asleep; a worker says that it is asleep and then looks for a job:
         * one of the two sees the other. */
        bell = fastact_pool.bell;
        fastact_falls_asleep(bed);
        fastact_pool.asleep++;
        if (!fastact_job_is_open())
            fastact_sleep(&fastact_pool.bell, bell);
        fastact_pool.asleep--;
        fastact_is_awake(bed);
    }
}

static void *fastact_worker(void *number)
{
    int64_t rests_until = 0;
    fastact_bed *bed = fastact_take_bed((int)(intptr_t)number);
#if defined(__linux__)
    prctl(PR_SET_NAME, "fastact", 0, 0, 0);
#elif defined(__APPLE__)
    pthread_setname_np("fastact");
#endif
    for (;;) {
        uint64_t generation = 0, step = -FASTACT_SEAT - 1;
        uint32_t done = 0;
        int chunk;
        fastact_await_job(bed, &rests_until);
        for (; (chunk = fastact_claim(&generation, step)) >= 0; done++, step = -(uint64_t)1)
            fastact_pool.task(fastact_pool.context, chunk);
        if (!done)
            continue;
        if (fastact_generation(fastact_pool.ticket) != generation)
            _exit(0); /* this is a child, forked by this thread inside a task: there is nothing to go back to */
        if ((fastact_pool.pending -= done) == FASTACT_CALLER_SLEEPS)
            fastact_wake(&fastact_pool.pending, 1);
    }
}

/* Make workers until there are so many; only the owner of the pool calls it. */
static void fastact_grow(int workers)
{
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t blocked, before;
    if (fastact_pool.workers >= workers || fastact_pool.cannot_grow || pthread_attr_init(&attributes))
        return;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    /* the process's signals are for its own threads; faults stay open, so that faulthandler can tell of them */
    sigfillset(&blocked);
    sigdelset(&blocked, SIGSEGV), sigdelset(&blocked, SIGBUS), sigdelset(&blocked, SIGFPE), sigdelset(&blocked, SIGILL);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    while (fastact_pool.workers < workers && !fastact_pool.cannot_grow)
        if (pthread_create(&thread, &attributes, fastact_worker, (void *)(intptr_t)fastact_pool.workers))
            fastact_pool.cannot_grow = 1; /* to fail at every call would cost more than it can win */
        else
            fastact_pool.workers++;
    pthread_sigmask(SIG_SETMASK, &before, 0);
    pthread_attr_destroy(&attributes);
}

/* Whether this thread's next job is for a runtime's team.  Only the owner of the pool calls it. */
static int fastact_is_for_team(void)
{
    if (fastact_pool_choice != FASTACT_POOL_AUTO)
        return fastact_pool_choice == FASTACT_POOL_OPENMP;
    if (!fastact_borrows_for(&fastact_pool.borrowing, (uintptr_t)pthread_self()))
        return 0;
    if (!fastact_team.start && !fastact_choose_team(&fastact_team)) {
        fastact_pool.borrowing.borrows = 0;
        fastact_pool.borrowing.not_before = INT64_MAX;
    }
    return fastact_team.start != 0;
}

/* Wait for the chunks that workers have claimed; `own` were done here. */
static void fastact_await_workers(uint32_t own)
{
    uint32_t left = fastact_pool.pending -= own;
    int64_t until = 0;
    int round = 0;
    while (left && fastact_pool.has_cores && fastact_spin(&round, &until, FASTACT_CALLER_SPIN_NS))
        left = fastact_pool.pending;
    while (left & ~FASTACT_CALLER_SLEEPS) {
        if (left & FASTACT_CALLER_SLEEPS ||
            atomic_compare_exchange_strong(&fastact_pool.pending, &left, left | FASTACT_CALLER_SLEEPS))
            fastact_sleep(&fastact_pool.pending, left | FASTACT_CALLER_SLEEPS);
        left = fastact_pool.pending;
    }
}

static inline uint64_t fastact_next_generation(void)
{
    uint64_t next = (fastact_generation(fastact_pool.ticket) + 1) & (((uint64_t)1 << 40) - 1);
    return next ? next : 1; /* 0 is no job's */
}

/* Run task(context, 0) ... task(context, chunks - 1) on at most `threads` threads, this one included, and return how
 * many could take part; 1 means that nothing was done and the caller does the work alone.  `lengthy`: 80 us or more for
 * one thread. */
static int fastact_pool_run(fastact_task task, void *context, int chunks, int threads, int lengthy)
{
    uint64_t generation;
    int64_t now, worked, gap;
    int idle = 0, chunk, seats, missing, had, is_served = 1;
    fastact_course course = {chunks, 0, 0, 0, 0};
    course.threads = threads = threads < chunks ? threads : chunks;
    if (threads < 2 || chunks > FASTACT_MAX_CHUNKS || !atomic_compare_exchange_strong(&fastact_pool.busy, &idle, 1))
        return 1;
    now = fastact_now();
    if (fastact_is_for_team()) {
        int forks = fastact_forks;
        fastact_team_run(task, context, &course, now, fastact_now);
        if (forks == fastact_forks) { /* else this is a child that was forked inside a task */
            if (fastact_pool_choice == FASTACT_POOL_AUTO)
                fastact_learn_from_team(&fastact_pool.borrowing, &course, fastact_now());
            fastact_pool.last_end = 0; /* what workers there are sleep, and need not be ready */
            fastact_pool.busy = 0;
        }
        return threads;
    }
    had = fastact_pool.workers;
    fastact_grow(threads - 1);
    lengthy |= fastact_pool.workers > had; /* what was made just now is to work, and may already be asleep */
    seats = fastact_pool.workers < threads - 1 ? fastact_pool.workers : threads - 1;
    if (!seats) {
        fastact_pool.busy = 0;
        return 1;
    }
    fastact_pool.task = task;
    fastact_pool.context = context;
    /* What stands between two calls of ours may be somebody else's work on all cores, where a worker that spins keeps
     * out theirs: alternating with relu of PyTorch, 1 Mi, cost that 95 us instead of 45. */
    gap = now - fastact_pool.last_end;
    fastact_pool.has_cores = threads <= fastact_core_count; /* else spinning would take them from those that work */
    fastact_pool.spins = fastact_pool.has_cores && gap < FASTACT_ROW_NS;
    fastact_pool.caller_cpu = fastact_cpu();
    fastact_pool.pending = (uint32_t)chunks;
    generation = fastact_next_generation();
    fastact_pool.ticket = generation << 24 | (uint64_t)seats * FASTACT_SEAT | (uint64_t)chunks;
    missing = seats - (fastact_pool.workers - fastact_pool.asleep);
    if (missing > 0) {
        /* To wake a worker after milliseconds costs the caller 15-20 us, and it comes 30 us later or more: a lone job
         * of 70 us gains nothing, one of 140 takes 100.  So only for a long job, or when calls come in a row.  But a
         * worker that sleeps again within its spin had no core of its own, and waking it at every call would cost 3 us
         * each. */
        is_served = lengthy || gap < FASTACT_ROW_NS;
        if (is_served && now >= fastact_pool.next_wake) {
            fastact_pool.next_wake = now + FASTACT_WAKE_NS;
            fastact_clear_core(fastact_pool.caller_cpu, fastact_pool.workers);
            fastact_pool.bell++;
            fastact_wake(&fastact_pool.bell, missing);
        }
    }
    for (; (chunk = fastact_claim(&generation, FASTACT_FRONT)) >= 0; course.own++)
        task(context, chunk);
    if (fastact_generation(fastact_pool.ticket) != generation)
        return seats + 1; /* a child that was forked inside a task: it has no pool and nobody to wait for */
    worked = fastact_now();
    fastact_await_workers((uint32_t)course.own);
    fastact_pool.last_end = fastact_now();
    course.work = worked - now;
    course.wait = fastact_pool.last_end - worked;
    /* a short job that comes alone wakes nobody, so it tells nothing */
    if (fastact_pool_choice == FASTACT_POOL_AUTO && is_served && gap < FASTACT_TURNS_GAP_NS &&
        fastact_learn_from_workers(&fastact_pool.borrowing, &course, fastact_pool.last_end) && !fastact_forks &&
        fastact_has_runtime())
        fastact_borrow(&fastact_pool.borrowing, fastact_pool.last_end);
    fastact_pool.busy = 0;
    return seats + 1;
}

/* Callers with work for more than one thread that are inside, on any thread of the process. */
static _Alignas(64) _Atomic int fastact_callers;

/* How many there are with this one.  When they outnumber the cores, this one lets the others go first: the system would
 * take the core from it anyway, after milliseconds, in the middle of some call, which would then last as long as all
 * the others' time slices (eight Python threads, two cores, silu of 256 Ki: of 100 calls one took 12 ms instead of
 * 0.7).  So threads take turns at the beginning of their calls.  A caller that may hold locks of its own never waits
 * here: sched_yield returns as soon as there is a core. */
static inline int fastact_caller_enters(int *forks)
{
    int inside = atomic_fetch_add(&fastact_callers, 1) + 1;
    *forks = fastact_forks;
    if (inside > fastact_core_count)
        sched_yield();
    return inside;
}

/* A child that was forked inside a call has forgotten it. */
static inline void fastact_caller_leaves(int forks)
{
    if (forks == fastact_forks)
        atomic_fetch_sub(&fastact_callers, 1);
}

/* Whose threads do the jobs from now on; 0 if that is to be a runtime's, and there is none. */
static inline int fastact_pool_choose(int choice)
{
    fastact_team_functions team = {0, 0, 0};
    int idle = 0;
    if (choice == FASTACT_POOL_OPENMP && (fastact_forks || !fastact_choose_team(&team)))
        return 0;
    while (!atomic_compare_exchange_strong(&fastact_pool.busy, &idle, 1)) {
        sched_yield(); /* a job runs: it ends without us */
        idle = 0;
    }
    fastact_team = team;
    fastact_pool_choice = choice;
    memset(&fastact_pool.borrowing, 0, sizeof fastact_pool.borrowing);
    fastact_pool.busy = 0;
    return 1;
}

static inline int fastact_pool_chosen(void) { return fastact_pool_choice; }

/* Whether the last job's threads were a runtime's; for a look from outside, so nothing waits for the owner. */
static inline int fastact_pool_borrows(void)
{
    return fastact_pool_choice == FASTACT_POOL_OPENMP ||
           (fastact_pool_choice == FASTACT_POOL_AUTO && fastact_pool.borrowing.borrows);
}

static void fastact_in_forked_child(void)
{
    uint64_t generation = fastact_next_generation();
    memset(&fastact_pool, 0, sizeof fastact_pool);
    fastact_pool.ticket = generation << 24;
    fastact_callers = 0;
    fastact_forks++;
    /* the runtime's threads are lost, and it would wait for them */
    if (fastact_pool_choice == FASTACT_POOL_OPENMP)
        fastact_pool_choice = FASTACT_POOL_OWN;
    fastact_forget_sleepers();
    fastact_forget_beds();
}

static int fastact_pool_start(int cores)
{
    fastact_core_count = cores < 1 ? 1 : cores;
    return pthread_atfork(0, 0, fastact_in_forked_child);
}

#else

enum { FASTACT_MAX_CHUNKS = 1 };
static inline int fastact_cores(void) { return 1; }
static inline int fastact_pool_start(int cores) { return cores & 0; }
static inline int fastact_pool_choose(int choice) { return choice != FASTACT_POOL_OPENMP; }
static inline int fastact_pool_chosen(void) { return FASTACT_POOL_OWN; }
static inline int fastact_pool_borrows(void) { return 0; }
static inline int fastact_caller_enters(int *forks) { return (*forks = 0) + 1; }
static inline void fastact_caller_leaves(int forks) { (void)forks; }
static inline int fastact_pool_run(fastact_task task, void *context, int chunks, int threads, int lengthy)
{
    (void)task, (void)context, (void)chunks, (void)threads, (void)lengthy;
    return 1;
}

#endif

static inline int fastact_has_threads(void) { return FASTACT_MAX_CHUNKS > 1; }

#endif
