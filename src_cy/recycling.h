/* Memory for large outputs: a block whose array is gone is kept for the next array of its size, within a bound.
 *
 * malloc maps 32 MiB and more anew each time and gives them back at once, and does the same with less if it lay at the
 * heap's end.  So a new output may cost a page fault for every page, in which the kernel clears it: with the huge pages
 * that NumPy asks for, relu of 16 Mi float32 takes twice as long (docs/memory.md), with small ones ten times.
 *
 * What is kept is nobody's loss.  Each block is handed to the kernel with MADV_FREE, which takes its pages when memory
 * is short, in this process's group or the whole machine, and until then leaves them as they are: 0.1 ms for 256 MiB,
 * where clearing them again takes 12.  A kernel that refuses MADV_FREE gets the block back instead.  The address
 * space that is kept never exceeds the bound.  An array gets a block of exactly its size, rounded up to huge pages; so
 * no array holds more than one of them too many.
 *
 * Each block is a mapping of its own: a page with its size, then the data, at a huge page's start.  Blocks may be freed
 * in any thread, with the GIL or without.  A forked child keeps none of its parent's: writing to those would copy them.
 */
#ifndef FASTACT_RECYCLING_H
#define FASTACT_RECYCLING_H

#include <stddef.h>
#include <stdint.h>

#if defined(__linux__) && defined(FASTACT_THREADS) /* pool.h: there are pthreads */
#define FASTACT_RECYCLES 1
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_FREE
#define MADV_FREE 8 /* since Linux 4.5; an older one refuses it */
#endif

enum {
    FASTACT_HUGE_PAGE = 2 << 20, /* of x86-64 and, with pages of 4 KiB, AArch64; elsewhere only a unit of size */
    FASTACT_KEPT_BLOCKS = 16     /* at most; looking through them takes less than a page fault */
};

static struct {
    pthread_mutex_t lock;
    _Atomic size_t bound, kept; /* bytes */
    int count;
    char *blocks[FASTACT_KEPT_BLOCKS]; /* the oldest first */
    size_t page;
    _Atomic int huge;
} fastact_recycling = {.lock = PTHREAD_MUTEX_INITIALIZER};

static inline size_t *fastact_capacity(char *data) { return (size_t *)(data - fastact_recycling.page); }

static void fastact_unmap(char *data)
{
    munmap(data - fastact_recycling.page, fastact_recycling.page + *fastact_capacity(data));
}

/* Take a block out of those that are kept; the lock is held. */
static char *fastact_take(int place)
{
    char *data = fastact_recycling.blocks[place];
    fastact_recycling.kept -= *fastact_capacity(data);
    fastact_recycling.count--;
    memmove(&fastact_recycling.blocks[place], &fastact_recycling.blocks[place + 1],
            (size_t)(fastact_recycling.count - place) * sizeof(char *));
    return data;
}

/* Give back the oldest blocks until one of so many bytes fits beside the rest; returns how many bytes were given back. */
static size_t fastact_make_room(size_t bytes)
{
    char *gone[FASTACT_KEPT_BLOCKS];
    size_t before;
    int count = 0;
    pthread_mutex_lock(&fastact_recycling.lock);
    before = fastact_recycling.kept;
    while (fastact_recycling.count && (fastact_recycling.kept + bytes > fastact_recycling.bound ||
                                       (bytes && fastact_recycling.count == FASTACT_KEPT_BLOCKS)))
        gone[count++] = fastact_take(0);
    before -= fastact_recycling.kept;
    pthread_mutex_unlock(&fastact_recycling.lock);
    while (count)
        fastact_unmap(gone[--count]); /* which takes long, and needs no lock */
    return before;
}

/* A new mapping; NULL without memory. */
static char *fastact_map(size_t capacity)
{
    size_t page = fastact_recycling.page, length = page + capacity + FASTACT_HUGE_PAGE;
    char *start = mmap(0, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *data, *end;
    if (start == MAP_FAILED)
        return 0;
    data = (char *)(((uintptr_t)start + page + FASTACT_HUGE_PAGE - 1) & ~((uintptr_t)FASTACT_HUGE_PAGE - 1));
    end = data + capacity;
    if (data - page > start)
        munmap(start, (size_t)(data - page - start));
    if (end < start + length)
        munmap(end, (size_t)(start + length - end));
    *fastact_capacity(data) = capacity;
    if (fastact_recycling.huge)
        madvise(data, capacity, MADV_HUGEPAGE);
    return data;
}

/* 0: there is no such size. */
static inline size_t fastact_round_up(size_t size)
{
    if (size > PTRDIFF_MAX / 2)
        return 0;
    return ((size ? size : 1) + FASTACT_HUGE_PAGE - 1) & ~((size_t)FASTACT_HUGE_PAGE - 1);
}

static char *fastact_allocate(size_t size, int *is_new)
{
    size_t capacity = fastact_round_up(size);
    char *data = 0;
    int place;
    *is_new = 0;
    if (!capacity)
        return 0;
    pthread_mutex_lock(&fastact_recycling.lock);
    for (place = fastact_recycling.count - 1; place >= 0 && !data; place--)
        if (*fastact_capacity(fastact_recycling.blocks[place]) == capacity)
            data = fastact_take(place);
    pthread_mutex_unlock(&fastact_recycling.lock);
    if (data)
        return data;
    *is_new = 1;
    data = fastact_map(capacity);
    if (!data && fastact_make_room(SIZE_MAX / 2)) /* what is kept may be what is missing */
        data = fastact_map(capacity);
    return data;
}

/* The four functions of a NumPy memory handler. */
static void *fastact_handler_malloc(void *context, size_t size)
{
    int is_new;
    (void)context;
    return fastact_allocate(size, &is_new);
}

static void *fastact_handler_calloc(void *context, size_t count, size_t size)
{
    int is_new;
    char *data;
    (void)context;
    if (size && count > SIZE_MAX / size)
        return 0;
    data = fastact_allocate(count * size, &is_new);
    if (data && !is_new)
        memset(data, 0, count * size);
    return data;
}

static void fastact_handler_free(void *context, void *block, size_t size)
{
    size_t capacity;
    (void)context, (void)size;
    if (!block)
        return;
    capacity = *fastact_capacity(block);
    if (capacity > fastact_recycling.bound || madvise(block, capacity, MADV_FREE) != 0) {
        fastact_unmap(block);
        return;
    }
    fastact_make_room(capacity);
    pthread_mutex_lock(&fastact_recycling.lock);
    /* another thread may have taken the room, or lowered the bound */
    if (fastact_recycling.kept + capacity <= fastact_recycling.bound &&
        fastact_recycling.count < FASTACT_KEPT_BLOCKS) {
        fastact_recycling.blocks[fastact_recycling.count++] = block;
        fastact_recycling.kept += capacity;
        block = 0;
    }
    pthread_mutex_unlock(&fastact_recycling.lock);
    if (block)
        fastact_unmap(block);
}

static void *fastact_handler_realloc(void *context, void *block, size_t size)
{
    size_t before, capacity = fastact_round_up(size);
    void *larger;
    if (!block)
        return fastact_handler_malloc(context, size);
    if (!capacity)
        return 0;
    before = *fastact_capacity(block);
    if (capacity <= before) {
        if (capacity < before)
            munmap((char *)block + capacity, before - capacity);
        *fastact_capacity(block) = capacity;
        return block;
    }
    larger = fastact_handler_malloc(context, size);
    if (larger) {
        memcpy(larger, block, before);
        fastact_handler_free(context, block, 0);
    }
    return larger;
}

/* No thread is in the middle of anything when the process forks. */
static void fastact_before_fork(void) { pthread_mutex_lock(&fastact_recycling.lock); }
static void fastact_after_fork(void) { pthread_mutex_unlock(&fastact_recycling.lock); }
static void fastact_after_fork_in_child(void)
{
    while (fastact_recycling.count)
        fastact_unmap(fastact_take(fastact_recycling.count - 1));
    pthread_mutex_unlock(&fastact_recycling.lock);
}

static int fastact_recycling_start(void)
{
    fastact_recycling.page = (size_t)sysconf(_SC_PAGESIZE);
    return pthread_atfork(fastact_before_fork, fastact_after_fork, fastact_after_fork_in_child);
}

/* Keep at most so many bytes from now on; with `huge`, ask for huge pages. */
static void fastact_set_recycling(size_t bound, int huge)
{
    pthread_mutex_lock(&fastact_recycling.lock);
    fastact_recycling.bound = bound;
    fastact_recycling.huge = huge;
    pthread_mutex_unlock(&fastact_recycling.lock);
    fastact_make_room(0);
}

static size_t fastact_release_kept(void) { return fastact_make_room(SIZE_MAX / 2); }
static size_t fastact_recycling_bound(void) { return fastact_recycling.bound; }
static size_t fastact_recycling_kept(void) { return fastact_recycling.kept; }

#else
#define FASTACT_RECYCLES 0
static inline void *fastact_handler_malloc(void *context, size_t size) { return (void)context, (void)size, (void *)0; }
static inline void *fastact_handler_calloc(void *context, size_t count, size_t size)
{
    return (void)context, (void)count, (void)size, (void *)0;
}
static inline void *fastact_handler_realloc(void *context, void *block, size_t size)
{
    return (void)context, (void)block, (void)size, (void *)0;
}
static inline void fastact_handler_free(void *context, void *block, size_t size)
{
    (void)context, (void)block, (void)size;
}
static inline int fastact_recycling_start(void) { return 0; }
static inline void fastact_set_recycling(size_t bound, int huge) { (void)bound, (void)huge; }
static inline size_t fastact_release_kept(void) { return 0; }
static inline size_t fastact_recycling_bound(void) { return 0; }
static inline size_t fastact_recycling_kept(void) { return 0; }
#endif

#endif
