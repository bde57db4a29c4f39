/* When jobs go to the threads of an OpenMP runtime without anybody's having asked for it (team.h), and when they come
 * back.
 *
 * A program that takes turns between PyTorch's operators and fastact leaves our workers no core: PyTorch's threads spin
 * on it for milliseconds after each operator.  Nothing says so, but it shows: the caller does most of a job by
 * itself, or waits for a worker that was stopped in the middle of a chunk, 4 ms in every hundredth job.  So an account
 * is kept of the time that is lost, and where it is too much, the runtime's threads are tried.  Another account tells
 * what they save against the caller alone: where another process takes a core, a region waits for it, a time slice long,
 * and a few such waits end the trial; each next one waits twice as long.  A trial that goes well ends after some
 * seconds, too, because the program may have stopped calling PyTorch, and workers of our own keep no core awake.
 *
 * Only jobs of one thread in a row count, and only that thread borrows: any other would get a team of its own.
 *
 * It decides, and touches neither threads nor clocks, so that a test can tell it any story (tests/c/borrowing_story.c).
 */
#ifndef FASTACT_BORROWING_H
#define FASTACT_BORROWING_H

#include <stdint.h>

/* More than an eighth of the time of jobs is too much.  Where nobody is in the way 1 to 4 % are lost, in turn with
 * PyTorch 15 to 50 % (relu and gelu of 256 Ki and 1 Mi, two threads). */
enum { FASTACT_MOST_LOST = 8 };
/* So much beyond that: a program's first jobs, before the system has placed a worker, lose up to 1 ms, and a virtual
 * machine takes a core away for up to 4 ms now and then. */
#define FASTACT_LOST_NS INT64_C(5000000)
#define FASTACT_TURNS_GAP_NS INT64_C(20000000) /* between two calls there may be so much of somebody else's work */
#define FASTACT_STAY_NS INT64_C(4000000000)
#define FASTACT_FIRST_PAUSE_NS INT64_C(20000000)
#define FASTACT_LAST_PAUSE_NS INT64_C(60000000000)
/* Linux gives slices of 3 ms and more, and a virtual machine takes a core away for 1 or 2 now and then: one wait for a
 * slice is more than what may have been saved and what may be owed together. */
#define FASTACT_MOST_SAVED_NS INT64_C(2000000)
#define FASTACT_MOST_OWED_NS INT64_C(1000000)

typedef struct fastact_borrowing {
    _Atomic int borrows; /* whether the next job is for the runtime's threads */
    uintptr_t thread;    /* whose jobs count */
    int64_t lost, saved, since, not_before, pause;
} fastact_borrowing;

/* What became of a job: of its chunks the caller did `own`, worked for `work` ns and then waited for `wait` ns. */
typedef struct fastact_course {
    int chunks, own, threads;
    int64_t work, wait;
} fastact_course;

/* What the others saved the caller, ns; if they were not there at all, what they might have. */
static inline int64_t fastact_saved(const fastact_course *course)
{
    int64_t others = course->chunks - course->own;
    return others > 0 && course->own > 0 ? course->work * others / course->own - course->wait : -course->work;
}

/* How much longer than with all threads at work it took, ns. */
static inline int64_t fastact_lost(const fastact_course *course)
{
    return course->own ? course->work + course->wait - course->work * course->chunks / (course->own * course->threads) : 0;
}

/* Of the next job of a thread: whether it is for the runtime's threads. */
static inline int fastact_borrows_for(fastact_borrowing *state, uintptr_t thread)
{
    if (thread != state->thread) {
        state->thread = thread;
        state->lost = 0;
        state->borrows = 0;
    }
    return state->borrows;
}

/* Learn from a job of the runtime's threads. */
static inline void fastact_learn_from_team(fastact_borrowing *state, const fastact_course *course, int64_t now)
{
    state->saved += fastact_saved(course);
    if (state->saved > FASTACT_MOST_SAVED_NS)
        state->saved = FASTACT_MOST_SAVED_NS;
    if (state->saved < -FASTACT_MOST_OWED_NS) {
        state->pause = state->pause ? 2 * state->pause : FASTACT_FIRST_PAUSE_NS;
        if (state->pause > FASTACT_LAST_PAUSE_NS)
            state->pause = FASTACT_LAST_PAUSE_NS;
        state->not_before = now + state->pause;
        state->borrows = 0;
    } else if (now - state->since > FASTACT_STAY_NS) {
        state->pause = 0;
        state->borrows = 0;
    }
}

/* Learn from a job of our own workers: whether to borrow. */
static inline int fastact_learn_from_workers(fastact_borrowing *state, const fastact_course *course, int64_t now)
{
    state->lost += fastact_lost(course) - (course->work + course->wait) / FASTACT_MOST_LOST;
    if (state->lost < 0)
        state->lost = 0;
    if (state->lost < FASTACT_LOST_NS)
        return 0;
    state->lost = FASTACT_LOST_NS;
    return now >= state->not_before;
}

static inline void fastact_borrow(fastact_borrowing *state, int64_t now)
{
    state->lost = 0;
    state->saved = 0;
    state->since = now;
    state->borrows = 1;
}

#endif
