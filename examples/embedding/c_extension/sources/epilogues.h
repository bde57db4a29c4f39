/* What is done with a finished tile while it is in the L1 cache. */
#ifndef EPILOGUES_H
#define EPILOGUES_H

#include "product.h"

struct fastact_function;

typedef struct layer {
    const float *bias;                         /* one number for each column; NULL: none */
    const struct fastact_function *activation; /* NULL: none */
} layer;

/* Whether the activation takes one array and gives one: 0, or a status of fastact. */
int check_activation(const struct fastact_function *activation);

/* tile = activation(tile + bias); the context is a layer. */
int finish_dense(const tile *finished, void *context);

/* tile = tile * activation(other); the context is a layer. */
int finish_gated(const tile *finished, void *context);

/* tile = gelu(tile + bias), with the formula of fastact_inline.h in one loop; the context is a layer. */
int finish_gelu_inline(const tile *finished, void *context);

#endif
