/* One replay of a merger: what merging.py computes of every value by itself, to the bit.

   The addends are added to each other and to the weight in the order given, in float32, and rounded to the
   merger's grid where it rounds. There is no sum over values, and so no order of one. Compiled without
   contraction, since a fused multiply-add would round once where NumPy rounds twice. */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define WIDTH 8
#define INLINE static inline __attribute__((always_inline))
#define VECTOR(type) __attribute__((vector_size(sizeof(type) * WIDTH))) type

typedef VECTOR(float) floats;
typedef VECTOR(uint32_t) words;

enum grid { NONE, BFLOAT16, FLOAT16 };
enum rounds { UPDATES = 1, BASE = 2, IN_TURN = 4 };

struct way {
    enum grid grid, stored;
    int rounds;
    size_t addends;
    const float *const *updates, *shares;
};

/* To nearest, ties to even, by the bits. */
INLINE floats to_bfloat16(floats values) {
    const words bits = (words)values;
    return (floats)((bits + (((bits >> 16) & 1) + 0x7fff)) & 0xffff0000);
}

/* Below its normal numbers float16 has a step of 2⁻²⁴, which float32 has from ½ to 1. */
INLINE floats to_float16(floats values) {
    const words bits = (words)values, size = bits & 0x7fffffff;
    const words small = (words)(((floats)size + 0.5f) - 0.5f);
    const words normal = (size + (((size >> 13) & 1) + 0xfff)) & 0xffffe000;
    const words subnormal = (words)(size < 0x38800000), endless = (words)(normal >= 0x47800000);
    const words no_number = (words)(size > 0x7f800000);
    const words finite = (small & subnormal) | (normal & ~subnormal);
    const words found = (finite & ~endless) | (endless & 0x7f800000) | (no_number & 0x00400000);
    return (floats)(found | (bits & 0x80000000));
}

INLINE floats rounded(enum grid grid, floats values) {
    return grid == BFLOAT16 ? to_bfloat16(values) : grid == FLOAT16 ? to_float16(values) : values;
}

INLINE floats loaded(const float *from, size_t count) {
    floats values = {0};
    memcpy(&values, from, count * sizeof *from);
    return values;
}

INLINE floats share(const struct way *way, size_t which, size_t at, size_t count) {
    return loaded(way->updates[which] + at, count) * way->shares[which];
}

/* Up to WIDTH values from `at` on. */
INLINE floats merged(const struct way *way, enum grid grid, const float *before, size_t at, size_t count) {
    const enum grid updates = way->rounds & UPDATES ? grid : NONE;
    floats made = rounded(way->rounds & BASE ? grid : NONE, loaded(before + at, count));
    if (way->rounds & IN_TURN) {
        for (size_t i = 0; i < way->addends; i++)
            made = rounded(grid, made + rounded(updates, share(way, i, at, count)));
    } else {
        floats total = share(way, 0, at, count);
        for (size_t i = 1; i < way->addends; i++)
            total += share(way, i, at, count);
        made = rounded(grid, rounded(updates, total) + made);
    }
    return rounded(way->stored, made);
}

INLINE void pass(const struct way *way, enum grid grid, size_t count, const float *before, float *out) {
    size_t at = 0;
    for (; at + WIDTH <= count; at += WIDTH) {
        const floats made = merged(way, grid, before, at, WIDTH);
        memcpy(out + at, &made, sizeof made);
    }
    if (at < count) {
        const floats made = merged(way, grid, before, at, count - at);
        memcpy(out + at, &made, (count - at) * sizeof *out);
    }
}

/* A function of its own for every grid, so that no loop asks which it is. */
#define DEFINE_PASSES(name)                                                                                      \
    static void name(const struct way *way, size_t count, const float *before, float *out) {                    \
        if (way->grid == BFLOAT16)                                                                               \
            pass(way, BFLOAT16, count, before, out);                                                             \
        else                                                                                                     \
            pass(way, FLOAT16, count, before, out);                                                              \
    }

DEFINE_PASSES(plain)
#if defined(__x86_64__)
__attribute__((target("avx2"))) DEFINE_PASSES(avx2)
#endif

/* Of `count` values `before`: what a merger on `grid` makes of them, stored on `stored`, as `rounds` says, with
   `addends` (one at least) updates, each times its share. */
void tunescope_replay(int grid, int stored, int rounds, size_t count, size_t addends, const float *before,
                      const float *const *updates, const float *shares, float *out) {
    const struct way way = {(enum grid)grid, (enum grid)stored, rounds, addends, updates, shares};
#if defined(__x86_64__)
    (__builtin_cpu_supports("avx2") ? avx2 : plain)(&way, count, before, out);
#else
    plain(&way, count, before, out);
#endif
}

/* What this was compiled from, so that a library of another version is not taken for it. */
const char *tunescope_source(void) { return SOURCE; }
