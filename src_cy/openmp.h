/* Whether this thread is inside a parallel region of an OpenMP runtime that somebody else brought into the process.
 *
 * There, the caller's threads have the cores, and ours would only stand in their way.  fastact itself uses no OpenMP
 * and links none: the runtime is looked for among the libraries that are already loaded, under the names that the
 * three runtimes have.  A runtime under another name (wheels rename theirs) is not seen here; callers that are compiled
 * with OpenMP ask their own runtime in fastact.h.  About 1 us, so only work for threads asks.
 */
#ifndef FASTACT_OPENMP_H
#define FASTACT_OPENMP_H

#if defined(__unix__) || defined(__APPLE__)
#include <dlfcn.h>

static int fastact_inside_openmp(void)
{
    static const char *const names[] = {"libgomp.so.1", "libomp.so.5", "libiomp5.so", "libomp.dylib"};
    int inside = 0;
    for (unsigned k = 0; k < sizeof names / sizeof *names && !inside; k++) {
        void *library = dlopen(names[k], RTLD_LAZY | RTLD_NOLOAD);
        if (library) {
            int (*in_parallel)(void);
            *(void **)&in_parallel = dlsym(library, "omp_in_parallel");
            inside = in_parallel && in_parallel();
            dlclose(library);
        }
    }
    return inside;
}
#else
static int fastact_inside_openmp(void) { return 0; }
#endif

#endif
