/* Hammers src_cy/recycling.h from several threads, with forks between; ends with 0 if nothing was handed out twice, no
 * more was kept than the bound allows, and everything could be given back.  test_recycling.py runs it under sanitizers.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "pool.h"
#include "recycling.h"

enum { THREADS = 4, BLOCKS = 4, MIB = 1 << 20, LARGEST_BOUND = 24 * MIB };

#define CHECK(condition)                                                                                              \
    do {                                                                                                              \
        if (!(condition)) {                                                                                           \
            fprintf(stderr, "line %d: %s\n", __LINE__, #condition);                                                   \
            exit(1);                                                                                                  \
        }                                                                                                             \
    } while (0)

static int rounds;

/* Marks both ends of its blocks with a byte that no other thread uses, and looks for it again. */
static void *make_and_free(void *number)
{
    unsigned seed = (unsigned)(size_t)number;
    char *blocks[BLOCKS] = {0};
    size_t sizes[BLOCKS] = {0};
    for (int round = 0; round < rounds; round++) {
        int k = rand_r(&seed) % BLOCKS, zeroed = rand_r(&seed) % 3 == 0;
        char mark = (char)((size_t)number * BLOCKS + k);
        size_t size = (size_t)(1 + rand_r(&seed) % 6) * MIB;
        CHECK(fastact_recycling_kept() <= LARGEST_BOUND);
        if (!blocks[k]) {
            blocks[k] = zeroed ? fastact_handler_calloc(0, size / 4, 4) : fastact_handler_malloc(0, size);
            CHECK(blocks[k]);
            CHECK(!zeroed || (blocks[k][0] == 0 && blocks[k][size - 1] == 0));
        } else {
            CHECK(blocks[k][0] == mark && blocks[k][sizes[k] - 1] == mark);
            if (rand_r(&seed) % 3) {
                fastact_handler_free(0, blocks[k], sizes[k]);
                blocks[k] = 0;
                continue;
            }
            blocks[k] = fastact_handler_realloc(0, blocks[k], size);
            CHECK(blocks[k] && blocks[k][0] == mark);
        }
        sizes[k] = size;
        blocks[k][0] = blocks[k][size - 1] = mark;
        if (round % 100 == 0)
            fastact_set_recycling((size_t)(8 + rand_r(&seed) % 17) * MIB, round % 200 == 0);
        if (round % 150 == 0)
            fastact_release_kept();
    }
    for (int k = 0; k < BLOCKS; k++)
        fastact_handler_free(0, blocks[k], sizes[k]);
    return 0;
}

static void fork_once(void)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        char *block;
        CHECK(fastact_recycling_kept() == 0);
        block = fastact_handler_malloc(0, 5 * MIB);
        CHECK(block);
        block[0] = 1;
        fastact_handler_free(0, block, 5 * MIB);
        _exit(fastact_recycling_kept() > LARGEST_BOUND);
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
}

int main(int count, char **arguments)
{
    pthread_t threads[THREADS];
    int forks = count > 2;
    rounds = count > 1 ? atoi(arguments[1]) : 1000;
    CHECK(fastact_recycling_start() == 0);
    fastact_set_recycling(LARGEST_BOUND, 0);
    CHECK(!fastact_handler_malloc(0, SIZE_MAX) && !fastact_handler_calloc(0, SIZE_MAX / 2, 4));
    fastact_handler_free(0, 0, 0);
    for (size_t k = 0; k < THREADS; k++)
        CHECK(pthread_create(&threads[k], 0, make_and_free, (void *)(k + 1)) == 0);
    for (int k = 0; k < 30 * forks; k++)
        fork_once();
    for (int k = 0; k < THREADS; k++)
        pthread_join(threads[k], 0);
    CHECK(fastact_recycling_kept() > 0);
    fastact_release_kept();
    CHECK(fastact_recycling_kept() == 0);
    return 0;
}
