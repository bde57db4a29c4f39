/* Hammers src_cy/pool.h for some seconds: callers in many threads, nested calls, late workers, forks.
 *
 * Every job's context is on its caller's stack and is poisoned as soon as the job returns, so a worker that touches it
 * late is seen: by the magic number here, by ThreadSanitizer as a race.  Usage: pool_stress SECONDS [fork]
 */
#define _GNU_SOURCE
#include "pool.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { CALLERS = 8, CHUNKS = 200, MAGIC = 0x600d };
#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "pool_stress.c:%d: not true: %s\n", __LINE__, #condition); \
            _exit(1); \
        } \
    } while (0)

typedef struct {
    int magic;
    int chunks;
    int work;      /* loops in each chunk */
    int nested;    /* calls the pool from inside this chunk, unless -1 */
    int forking;   /* forks inside this chunk, unless -1 */
    int done[CHUNKS];
} Job;

static _Atomic int stop;
static _Atomic long jobs, parallel, helped;
static __thread int is_caller;

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int run(unsigned *seed, int depth, int forking);

/* Callers that have entered and not left. */
static int inside(void)
{
#ifdef FASTACT_THREADS
    return fastact_callers;
#else
    return 0;
#endif
}

static void ends_well(pid_t child)
{
    int status = -1;
    CHECK(child > 0);
    while (waitpid(child, &status, 0) < 0)
        CHECK(errno == EINTR);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void task(void *context, int chunk)
{
    Job *job = context;
    volatile int sink = 0;
    CHECK(job->magic == MAGIC);
    CHECK(chunk >= 0 && chunk < job->chunks);
    if (!is_caller) {
        sigset_t blocked;
        pthread_sigmask(SIG_SETMASK, 0, &blocked);
        CHECK(sigismember(&blocked, SIGINT) && sigismember(&blocked, SIGTERM) && !sigismember(&blocked, SIGSEGV));
        helped++;
    }
    for (int k = 0; k < job->work; k++)
        sink = sink + k;
    if (chunk == job->nested) {
        unsigned seed = (unsigned)chunk;
        run(&seed, 1, 0);
    }
    if (chunk == job->forking) {
        pid_t child = fork();
        if (child == 0) {
            unsigned seed = 1;
            is_caller = 1;
            run(&seed, 1, 0); /* the child has a pool of its own, although its parent was inside a job */
            is_caller = 0;
            job->magic = 0;
            return; /* out of the parent's job, which no longer exists */
        }
        ends_well(child);
    }
    job->done[chunk]++; /* plain: each chunk belongs to one thread */
}

/* One job; returns how many threads could take part. */
static int run(unsigned *seed, int depth, int forking)
{
    Job job;
    int threads = 1 + (int)(rand_r(seed) % 6), took_part, forks;
    pid_t self = getpid();
    memset(&job, 0, sizeof job);
    job.magic = MAGIC;
    job.chunks = 1 + (int)(rand_r(seed) % CHUNKS);
    job.work = rand_r(seed) % 4 ? (int)(rand_r(seed) % 50) : (int)(rand_r(seed) % 3000);
    job.nested = depth == 0 && rand_r(seed) % 4 == 0 ? (int)(rand_r(seed) % (unsigned)job.chunks) : -1;
    job.forking = forking ? (int)(rand_r(seed) % (unsigned)job.chunks) : -1;
    CHECK(fastact_caller_enters(&forks) >= 1);
    took_part = fastact_pool_run(task, &job, job.chunks, threads, rand_r(seed) % 2);
    CHECK(took_part >= 1 && took_part <= threads);
    fastact_caller_leaves(forks);
    if (getpid() != self) { /* forked inside the task */
        CHECK(inside() == 0);
        _exit(0);
    }
    if (took_part == 1)
        for (int k = 0; k < job.chunks; k++) {
            CHECK(job.done[k] == 0);
            if (k == job.forking)
                job.forking = -1;
            task(&job, k);
        }
    for (int k = 0; k < job.chunks; k++)
        CHECK(job.done[k] == 1);
    memset(&job, 0x55, sizeof job);
    jobs++;
    parallel += took_part > 1;
    return took_part;
}

static void *caller(void *argument)
{
    unsigned seed = (unsigned)(size_t)argument;
    is_caller = 1;
    while (!stop) {
        run(&seed, 0, 0);
        if (rand_r(&seed) % 64 == 0)
            usleep(rand_r(&seed) % 300); /* long enough for workers to fall asleep */
    }
    return 0;
}

/* In a child: jobs on many threads, then the same in a child of the child. */
static void child_works(void)
{
    for (int generation = 0; generation < 2; generation++) {
        unsigned seed = 7;
        int most = 1;
        for (int k = 0; k < 50; k++) {
            int took_part = run(&seed, 0, 0);
            most = took_part > most ? took_part : most;
        }
        CHECK(most > 1 || !fastact_has_threads());
        pid_t grandchild = generation == 0 ? fork() : 0;
        if (grandchild)
            ends_well(grandchild);
    }
    _exit(0);
}

int main(int count, char **arguments)
{
    double end = seconds() + (count > 1 ? atof(arguments[1]) : 1);
    int forks = count > 2 && strcmp(arguments[2], "fork") == 0;
    unsigned seed = 99;
    pthread_t threads[CALLERS];
    is_caller = 1;
    CHECK(fastact_pool_start(2) == 0);
    CHECK(fastact_pool_run(task, 0, 1000, 4, 1) == 1);
    if (forks) {
        /* before the callers: from inside jobs that do use the pool */
        for (int k = 0; k < 200; k++)
            run(&seed, 0, 1);
    }
    for (size_t k = 0; k < CALLERS; k++)
        CHECK(pthread_create(&threads[k], 0, caller, (void *)(k + 1)) == 0);
    while (seconds() < end) {
        if (forks) {
            pid_t child = fork();
            if (child == 0)
                child_works();
            ends_well(child);
        }
        usleep(1000);
    }
    stop = 1;
    for (int k = 0; k < CALLERS; k++)
        pthread_join(threads[k], 0);
    printf("%ld jobs, %ld parallel, %ld chunks by workers\n", jobs, parallel, helped);
    CHECK(inside() == 0);
    CHECK(!fastact_has_threads() || (parallel > 0 && helped > 0));
    return 0;
}
