/* Whether this thread is inside a parallel region of an OpenMP runtime that somebody else brought into the process.
 *
 * There, the caller's threads have the cores, and ours would only stand in their way.  fastact itself links no OpenMP
 * (team.h borrows a runtime's threads where it is told to): runtimes are looked for among the libraries that are
 * loaded, by file name, so also those that wheels bring along under names like libgomp-a34b3233.so.1.  Callers that are
 * compiled with OpenMP ask their own runtime in fastact.h.
 *
 * The look is made again only when a library was loaded since; otherwise a call costs 0.03 us.  (Asking dlopen with
 * RTLD_NOLOAD for each of the runtimes' names costs 150 us here: for a name that is not loaded it searches the file
 * system.)  A runtime that was found stays loaded: none can be unloaded safely anyway.
 */
#ifndef FASTACT_OPENMP_H
#define FASTACT_OPENMP_H

#if (defined(__linux__) && defined(_GNU_SOURCE)) || defined(__FreeBSD__) || defined(__APPLE__)
#include <dlfcn.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#ifdef __APPLE__
#include <mach-o/dyld.h>
#else
#include <link.h>
#endif

#define FASTACT_HAS_RUNTIMES 1
enum { FASTACT_MAX_RUNTIMES = 8, FASTACT_MAX_PATH = 1024 };

typedef int (*fastact_in_parallel)(void);

/* Filled from the front, each place once, without a lock: threads that look at the same time find the same. */
static _Atomic(fastact_in_parallel) fastact_runtimes[FASTACT_MAX_RUNTIMES];
static atomic_ullong fastact_looked_at; /* how many libraries had been loaded at the last look */

typedef struct fastact_paths {
    int count;
    char path[FASTACT_MAX_RUNTIMES][FASTACT_MAX_PATH];
} fastact_paths;

static void fastact_note_runtime(const char *path, fastact_paths *found)
{
    static const char *const beginnings[] = {"libgomp", "libomp", "libiomp5"};
    const char *name = path ? strrchr(path, '/') : NULL;
    if (!name || found->count == FASTACT_MAX_RUNTIMES || strlen(path) >= FASTACT_MAX_PATH)
        return;
    for (size_t k = 0; k < sizeof beginnings / sizeof *beginnings; k++)
        if (strncmp(name + 1, beginnings[k], strlen(beginnings[k])) == 0) {
            strcpy(found->path[found->count++], path);
            return;
        }
}

#ifdef __APPLE__
static unsigned long long fastact_libraries_loaded(void) { return _dyld_image_count(); }

static void fastact_list_runtimes(fastact_paths *found)
{
    for (uint32_t k = 0; k < _dyld_image_count(); k++)
        fastact_note_runtime(_dyld_get_image_name(k), found);
}
#else
static int fastact_read_counter(struct dl_phdr_info *info, size_t size, void *loaded)
{
    (void)size;
    *(unsigned long long *)loaded = info->dlpi_adds;
    return 1; /* the same for all libraries: one is enough */
}

static unsigned long long fastact_libraries_loaded(void)
{
    unsigned long long loaded = 0;
    dl_iterate_phdr(fastact_read_counter, &loaded);
    return loaded;
}

static int fastact_note_library(struct dl_phdr_info *info, size_t size, void *found)
{
    (void)size;
    fastact_note_runtime(info->dlpi_name, (fastact_paths *)found);
    return 0;
}

static void fastact_list_runtimes(fastact_paths *found) { dl_iterate_phdr(fastact_note_library, found); }
#endif

/* Whether a runtime was not yet known and there was a place for it. */
static int fastact_enter_runtime(fastact_in_parallel in_parallel)
{
    for (int k = 0; k < FASTACT_MAX_RUNTIMES; k++) {
        fastact_in_parallel there = NULL;
        if (atomic_compare_exchange_strong(&fastact_runtimes[k], &there, in_parallel))
            return 1;
        if (there == in_parallel)
            return 0;
    }
    return 0;
}

/* Not inlined: its list of paths has no place on the stack of every call. */
__attribute__((noinline)) static void fastact_look_for_runtimes(void)
{
    fastact_paths found;
    found.count = 0;
    fastact_list_runtimes(&found);
    /* only now: the list is made under a lock of the loader's, which dlopen wants, too */
    for (int k = 0; k < found.count; k++) {
        fastact_in_parallel in_parallel = NULL;
        void *library = dlopen(found.path[k], RTLD_LAZY | RTLD_NOLOAD);
        if (library)
            *(void **)&in_parallel = dlsym(library, "omp_in_parallel");
        if (library && !(in_parallel && fastact_enter_runtime(in_parallel)))
            dlclose(library);
    }
}

static inline int fastact_has_runtime(void)
{
    unsigned long long loaded = fastact_libraries_loaded();
    if (loaded != atomic_load(&fastact_looked_at)) {
        fastact_look_for_runtimes();
        atomic_store(&fastact_looked_at, loaded);
    }
    return atomic_load(&fastact_runtimes[0]) != NULL;
}

static inline int fastact_inside_openmp(void)
{
    if (!fastact_has_runtime())
        return 0;
    for (int k = 0; k < FASTACT_MAX_RUNTIMES; k++) {
        fastact_in_parallel in_parallel = atomic_load(&fastact_runtimes[k]);
        if (!in_parallel || in_parallel())
            return in_parallel != NULL;
    }
    return 0;
}
#else
static inline int fastact_has_runtime(void) { return 0; }
static inline int fastact_inside_openmp(void) { return 0; }
#endif

#endif
