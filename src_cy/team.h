/* A job of ours on the threads of an OpenMP runtime that somebody else brought into the process, PyTorch above all.
 *
 * Why.  GCC's runtime lets the threads of a team spin for milliseconds after each region.  A program that takes turns
 * between PyTorch's operators and fastact finds the cores taken by them, and workers of our own wait behind: relu of
 * 1 Mi float32 on 16 cores took 9 times as long after a product of matrices as alone.  The threads that spin could do
 * the work at once, and they have PyTorch's share of the array in their caches, for every member of a team takes the
 * same part of the array in both.
 *
 * Why not always.  A region ends when the last member has been there: where another process takes a core, that is a
 * time slice later (pool.h has the figures), every thread that calls gets a team of its own, and after a fork the
 * runtime hangs.  So borrowing.h does it where it is seen to help, or the user chooses it (set_thread_pool), and a
 * forked child is back with workers of our own.
 *
 * The team is as large as the runtime would make it for anybody: to ask for another size makes it end threads and
 * start them anew.  Members that are not wanted return at once.
 */
#ifndef FASTACT_TEAM_H
#define FASTACT_TEAM_H

#include "borrowing.h"
#include "openmp.h"

/* GOMP_parallel is what GCC compiles a region to; LLVM's and Intel's runtimes have it, too. */
typedef struct fastact_team_functions {
    void (*start)(void (*member)(void *), void *shared, unsigned threads, unsigned flags);
    int (*number)(void), (*size)(void); /* of this thread in its team; of the team */
} fastact_team_functions;

/* Of the runtime that was chosen; `start` is 0 until one was.  The owner of the pool reads and writes it. */
static fastact_team_functions fastact_team;

typedef struct fastact_team_job {
    fastact_task task;
    void *context;
    fastact_course *course; /* the caller's part */
    int64_t (*now)(void);
} fastact_team_job;

static void fastact_team_member(void *shared)
{
    const fastact_team_job *job = (const fastact_team_job *)shared;
    fastact_course *course = job->course;
    int size = fastact_team.size(), number = fastact_team.number();
    int members = size < course->threads ? size : course->threads;
    int first = number * course->chunks / members, end = (number + 1) * course->chunks / members;
    if (number >= members)
        return;
    for (int k = first; k < end; k++)
        job->task(job->context, k);
    if (number == 0) {
        course->own = end - first;
        course->work = job->now();
    }
}

/* Do course->chunks chunks on course->threads threads at most, and tell what became of it; `began`: when. */
static void fastact_team_run(
    fastact_task task, void *context, fastact_course *course, int64_t began, int64_t (*now)(void))
{
    fastact_team_job job = {task, context, course, now};
    fastact_team.start(fastact_team_member, &job, 0, 0);
    course->wait = now() - course->work;
    course->work -= began;
}

#ifdef FASTACT_HAS_RUNTIMES
/* PyTorch's runtime if it brought one, else the first that was loaded; 0 if there is none. */
static int fastact_choose_team(fastact_team_functions *team)
{
    fastact_paths found;
    int chosen = 0;
    void *library;
    found.count = 0;
    fastact_list_runtimes(&found);
    for (int k = found.count - 1; k >= 0; k--)
        if (strstr(found.path[k], "/torch/"))
            chosen = k;
    library = found.count ? dlopen(found.path[chosen], RTLD_LAZY | RTLD_NOLOAD) : 0;
    if (!library)
        return 0;
    *(void **)&team->start = dlsym(library, "GOMP_parallel");
    *(void **)&team->number = dlsym(library, "omp_get_thread_num");
    *(void **)&team->size = dlsym(library, "omp_get_num_threads");
    if (!team->number || !team->size)
        team->start = 0;
    return team->start != 0; /* it stays open: its threads run our code */
}
#else
static int fastact_choose_team(fastact_team_functions *team) { return (void)team, 0; }
#endif

#endif
