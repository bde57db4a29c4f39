/* Tells src_cy/borrowing.h stories of jobs and compares what it makes of them with what it promises. */
#include "borrowing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "borrowing_story.c:%d: not true: %s\n", __LINE__, #condition); \
            exit(1); \
        } \
    } while (0)

enum { US = 1000, MS = 1000 * US };

/* Of 8 chunks on two threads: shared fairly; done by the caller alone; with somebody who was stopped for a time slice. */
static const fastact_course SHARED = {8, 4, 2, 50 * US, 2 * US};
static const fastact_course ALONE = {8, 8, 2, 100 * US, 0};
static const fastact_course STOPPED = {8, 4, 2, 50 * US, 4 * MS};

static fastact_borrowing state;
static int64_t now;
static int has_runtime = 1;

/* `count` jobs of thread 1, one every 0.1 ms; how many it took until what serves changed, 0 if it did not. */
static int tell(const fastact_course *course, int count)
{
    for (int k = 1; k <= count; k++) {
        int before = fastact_borrows_for(&state, 1);
        now += 100 * US;
        if (before)
            fastact_learn_from_team(&state, course, now);
        else if (fastact_learn_from_workers(&state, course, now) && has_runtime)
            fastact_borrow(&state, now);
        if (state.borrows != before)
            return k;
    }
    return 0;
}

static void begin(void)
{
    memset(&state, 0, sizeof state);
    now = 1000 * (int64_t)MS;
    has_runtime = 1;
}

/* What one job tells. */
static void jobs(void)
{
    const fastact_course by_none = {8, 0, 2, 0, 50 * US}, six = {8, 6, 2, 60 * US, 0}, on_16 = {32, 2, 16, 10 * US, 5 * US};
    CHECK(fastact_lost(&SHARED) == 2 * US && fastact_lost(&ALONE) == 50 * US);
    CHECK(fastact_lost(&STOPPED) == 4 * MS && fastact_lost(&six) == 20 * US);
    CHECK(fastact_lost(&on_16) == 5 * US && fastact_lost(&by_none) == 0);
    CHECK(fastact_saved(&SHARED) == 48 * US && fastact_saved(&STOPPED) == 50 * US - 4 * MS);
    CHECK(fastact_saved(&ALONE) == -100 * US && fastact_saved(&on_16) == 145 * US);
}

static void borrows(void)
{
    begin();
    CHECK(tell(&SHARED, 10000) == 0);
    /* 5 ms lost beyond an eighth of the time: 50 - 12.5 us of each job */
    CHECK(tell(&ALONE, 1000) == 134);
    /* a time slice now and then is no reason, often it is */
    begin();
    for (int k = 0; k < 100; k++)
        CHECK(tell(&STOPPED, 1) == 0 && tell(&SHARED, 1000) == 0);
    for (int k = 0; k < 100 && !state.borrows; k++)
        tell(&STOPPED, 1), tell(&SHARED, 100);
    CHECK(state.borrows);
    /* nor is every tenth job without a worker, but every third one is */
    begin();
    for (int k = 0; k < 1000; k++)
        CHECK(tell(&ALONE, 1) == 0 && tell(&SHARED, 9) == 0);
    for (int k = 0; k < 1000 && !state.borrows; k++)
        tell(&ALONE, 1), tell(&SHARED, 2);
    CHECK(state.borrows);
    begin();
    has_runtime = 0;
    CHECK(tell(&ALONE, 10000) == 0);
    has_runtime = 1;
    CHECK(tell(&ALONE, 10000) == 1);
}

static void gives_back(void)
{
    const fastact_course hiccup = {8, 4, 2, 50 * US, 2 * MS}, woken = {8, 4, 2, 13 * US, 50 * US};
    /* after 4 seconds, when the workers get another chance at once */
    begin();
    tell(&ALONE, 1000);
    CHECK(tell(&SHARED, 100000) == 40001 && tell(&ALONE, 1000) == 134);
    /* what the host of a virtual machine takes now and then is forgiven, a time slice is not */
    for (int k = 0; k < 50; k++)
        CHECK(tell(&SHARED, 100) == 0 && tell(&hiccup, 1) == 0);
    CHECK(tell(&STOPPED, 1) == 1);
    /* nor are threads that have to be woken each time, or that are not there */
    begin();
    tell(&ALONE, 1000);
    CHECK(tell(&woken, 100) == 28);
    begin();
    tell(&ALONE, 1000);
    CHECK(tell(&ALONE, 100) == 11);
}

/* Where the runtime's threads are no better, trials become rare. */
static void trials(void)
{
    int count = 0;
    int64_t pause = FASTACT_FIRST_PAUSE_NS, end;
    begin();
    for (int k = 0; k < 20; k++) {
        CHECK(tell(&ALONE, 1000000) > 0 && state.borrows);
        CHECK(tell(&STOPPED, 1) == 1 && !state.borrows);
        CHECK(state.not_before == now + pause);
        while (now < state.not_before - MS) {
            CHECK(tell(&ALONE, 1) == 0);
            now += MS / 2;
        }
        pause = 2 * pause < FASTACT_LAST_PAUSE_NS ? 2 * pause : FASTACT_LAST_PAUSE_NS;
    }
    /* an hour of it: borrowed and given back again, once a minute */
    for (end = now + INT64_C(3600000) * MS; now < end; now += MS)
        count += tell(state.borrows ? &STOPPED : &ALONE, 1) > 0;
    CHECK(count >= 2 * 50 && count <= 2 * 61);
    /* a stay that goes well makes the next pause the first one again */
    while (!state.borrows)
        tell(&ALONE, 1000000);
    CHECK(tell(&SHARED, 100000) == 40001 && tell(&ALONE, 1000) == 134);
    CHECK(tell(&STOPPED, 1) == 1 && state.not_before == now + FASTACT_FIRST_PAUSE_NS);
}

/* One thread borrows, and only while nobody else has jobs. */
static void threads(void)
{
    begin();
    CHECK(tell(&ALONE, 1000) == 134 && fastact_borrows_for(&state, 1));
    CHECK(!fastact_borrows_for(&state, 2));
    fastact_learn_from_workers(&state, &SHARED, now);
    CHECK(!fastact_borrows_for(&state, 1));
    for (int k = 0; k < 1000; k++) {
        CHECK(!fastact_borrows_for(&state, (uintptr_t)(1 + k % 2)));
        CHECK(!fastact_learn_from_workers(&state, &ALONE, now += US));
    }
}

int main(void)
{
    jobs();
    borrows();
    gives_back();
    trials();
    threads();
    return 0;
}
