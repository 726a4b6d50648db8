/* One pass over a unit of two rows of values: the sums of unit_sums.py, in its order, to the bit.

   Value i belongs to lane i mod LANES and to row i / LANES. A lane adds its products down the ROWS of a block, in
   float32 or float64; blocks are added in float64, and then the lanes, by halves. The order is that of this file
   and not of the processor: vectors of any width, and none, give the same bits. Compiled without contraction,
   since a fused multiply-add would round once where NumPy rounds twice. */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define LANES 512
#define ROWS 16
#define BLOCK (LANES * ROWS)

enum kind { BFLOAT16, FLOAT16, FLOAT32, FLOAT64 };
enum sum { SQUARES, CROSS, BASE_SQUARES, TOTAL, ABSOLUTE, BASE_ABSOLUTE, SUMS };

static const size_t size_of[] = {2, 2, 4, 8};

#define INLINE static inline __attribute__((always_inline))
#define VECTOR(type, width) __attribute__((vector_size(sizeof(type) * width))) type

/* What one step works on: eight values in float32, or four in float64. */
typedef VECTOR(uint16_t, 8) half8;
typedef VECTOR(uint32_t, 8) word8;
typedef VECTOR(int32_t, 8) flag8;
typedef VECTOR(float, 8) float8;
typedef VECTOR(double, 8) double8;
typedef VECTOR(uint16_t, 4) half4;
typedef VECTOR(uint32_t, 4) word4;
typedef VECTOR(int32_t, 4) int4;
typedef VECTOR(float, 4) float4;
typedef VECTOR(int64_t, 4) flag4;
typedef VECTOR(double, 4) double4;

/* Exactly the numbers of 16-bit words, in float32. Subnormal numbers of float16 are integers times a power of
   two; its infinities and NaN keep their exponent of ones. */
#define DEFINE_WIDEN(name, word, integer, single)                                                                \
    INLINE single name(enum kind kind, word half) {                                                              \
        if (kind == BFLOAT16)                                                                                    \
            return (single)(half << 16);                                                                         \
        const word subnormal = (word)((half & 0x7c00) == 0), endless = (word)((half & 0x7c00) == 0x7c00);        \
        const word small = (word)(__builtin_convertvector((integer)(half & 0x03ff), single) * 0x1p-24f);         \
        const word normal = (((half & 0x7fff) << 13) + (112u << 23)) | (endless & 0x7f800000);                   \
        return (single)((normal & ~subnormal) | (small & subnormal) | (half & 0x8000) << 16);                    \
    }

DEFINE_WIDEN(widen8, word8, flag8, float8)
DEFINE_WIDEN(widen4, word4, int4, float4)

INLINE float8 load8(enum kind kind, const char *row, size_t i) {
    half8 halves;
    memcpy(&halves, row + 2 * i, sizeof halves);
    return widen8(kind, __builtin_convertvector(halves, word8));
}

INLINE double4 load4(enum kind kind, const char *row, size_t i) {
    if (kind == FLOAT64) {
        double4 values;
        memcpy(&values, row + 8 * i, sizeof values);
        return values;
    }
    if (kind == FLOAT32) {
        float4 values;
        memcpy(&values, row + 4 * i, sizeof values);
        return __builtin_convertvector(values, double4);
    }
    half4 halves;
    memcpy(&halves, row + 2 * i, sizeof halves);
    return __builtin_convertvector(widen4(kind, __builtin_convertvector(halves, word4)), double4);
}

struct found {
    double sums[SUMS][LANES];
    double largest, counts[3];
};

/* Rows of one block, up to ROWS of them: of both sides, and of one alone. */
#define DEFINE_BLOCK(suffix, real, vector, flag, WIDTH, joined, ALL_BUT_SIGN)                                    \
    INLINE vector absolute##suffix(vector values) { return (vector)((flag)values & ALL_BUT_SIGN); }              \
                                                                                                                 \
    INLINE void add##suffix(double *lane, vector values) {                                                       \
        joined held;                                                                                             \
        memcpy(&held, lane, sizeof held);                                                                        \
        held += __builtin_convertvector(values, joined);                                                         \
        memcpy(lane, &held, sizeof held);                                                                        \
    }                                                                                                            \
                                                                                                                 \
    INLINE void block##suffix(enum kind kind, size_t rows, const char *before, const char *after,                \
                              const double *edges, struct found *found) {                                        \
        const vector zero = {0};                                                                                 \
        const vector low = zero + (real)edges[0], high = zero + (real)edges[1];                                  \
        vector largest = zero;                                                                                   \
        flag changed = {0}, above_low = {0}, above_high = {0};                                                   \
        for (size_t lane = 0; lane < LANES; lane += WIDTH) {                                                     \
            vector squares = zero, cross = zero, base_squares = zero, total = zero, size = zero, base = zero;    \
            for (size_t row = 0; row < rows; row++) {                                                            \
                const vector w = load##suffix(kind, before, row * LANES + lane);                                 \
                const vector d = load##suffix(kind, after, row * LANES + lane) - w;                              \
                const vector moved = absolute##suffix(d);                                                        \
                const flag larger = moved > largest;                                                             \
                squares += d * d;                                                                                \
                cross += w * d;                                                                                  \
                base_squares += w * w;                                                                           \
                total += d;                                                                                      \
                size += moved;                                                                                   \
                base += absolute##suffix(w);                                                                     \
                largest = (vector)(((flag)moved & larger) | ((flag)largest & ~larger));                          \
                changed -= moved > zero;                                                                         \
                above_low -= moved > low;                                                                        \
                above_high -= moved > high;                                                                      \
            }                                                                                                    \
            add##suffix(found->sums[SQUARES] + lane, squares);                                                   \
            add##suffix(found->sums[CROSS] + lane, cross);                                                       \
            add##suffix(found->sums[BASE_SQUARES] + lane, base_squares);                                         \
            add##suffix(found->sums[TOTAL] + lane, total);                                                       \
            add##suffix(found->sums[ABSOLUTE] + lane, size);                                                     \
            add##suffix(found->sums[BASE_ABSOLUTE] + lane, base);                                                \
        }                                                                                                        \
        for (size_t i = 0; i < WIDTH; i++) {                                                                     \
            found->largest = largest[i] > found->largest ? largest[i] : found->largest;                          \
            found->counts[0] += (double)changed[i];                                                              \
            found->counts[1] += (double)above_low[i];                                                            \
            found->counts[2] += (double)above_high[i];                                                           \
        }                                                                                                        \
    }                                                                                                            \
                                                                                                                 \
    INLINE void base##suffix(enum kind kind, size_t rows, const char *before, struct found *found) {             \
        for (size_t lane = 0; lane < LANES; lane += WIDTH) {                                                     \
            vector squares = {0}, base = {0};                                                                    \
            for (size_t row = 0; row < rows; row++) {                                                            \
                const vector w = load##suffix(kind, before, row * LANES + lane);                                 \
                squares += w * w;                                                                                \
                base += absolute##suffix(w);                                                                     \
            }                                                                                                    \
            add##suffix(found->sums[BASE_SQUARES] + lane, squares);                                              \
            add##suffix(found->sums[BASE_ABSOLUTE] + lane, base);                                                \
        }                                                                                                        \
    }

DEFINE_BLOCK(8, float, float8, flag8, 8, double8, INT32_MAX)
DEFINE_BLOCK(4, double, double4, flag4, 4, double4, INT64_MAX)

INLINE void add_rows(enum kind kind, int single, size_t rows, const char *before, const char *after,
                     const double *edges, struct found *found) {
    if (single && after)
        block8(kind, rows, before, after, edges, found);
    else if (single)
        base8(kind, rows, before, found);
    else if (after)
        block4(kind, rows, before, after, edges, found);
    else
        base4(kind, rows, before, found);
}

/* The last row is filled up with zeros, which add nothing. */
INLINE void pass(enum kind kind, int single, size_t count, const char *before, const char *after,
                 const double *edges, struct found *found) {
    char rest[2][8 * BLOCK];
    const size_t size = size_of[kind], whole = count / BLOCK * BLOCK;
    for (size_t i = 0; i < whole; i += BLOCK)
        add_rows(kind, single, ROWS, before + size * i, after ? after + size * i : NULL, edges, found);
    if (whole == count)
        return;
    const size_t rows = (count - whole + LANES - 1) / LANES;
    for (int side = 0; side < (after ? 2 : 1); side++) {
        memset(rest[side], 0, size * rows * LANES);
        memcpy(rest[side], (side ? after : before) + size * whole, size * (count - whole));
    }
    add_rows(kind, single, rows, rest[0], after ? rest[1] : NULL, edges, found);
}

/* A function of its own for every kind, so that no loop asks which it is. */
#define DEFINE_PASSES(name)                                                                                      \
    static void name(int kind, int single, size_t count, const char *before, const char *after,                  \
                     const double *edges, struct found *found) {                                                 \
        switch (2 * kind + (single != 0)) {                                                                      \
        case 2 * BFLOAT16: pass(BFLOAT16, 0, count, before, after, edges, found); break;                         \
        case 2 * BFLOAT16 + 1: pass(BFLOAT16, 1, count, before, after, edges, found); break;                     \
        case 2 * FLOAT16: pass(FLOAT16, 0, count, before, after, edges, found); break;                           \
        case 2 * FLOAT16 + 1: pass(FLOAT16, 1, count, before, after, edges, found); break;                       \
        case 2 * FLOAT32: pass(FLOAT32, 0, count, before, after, edges, found); break;                           \
        case 2 * FLOAT64: pass(FLOAT64, 0, count, before, after, edges, found); break;                           \
        }                                                                                                        \
    }

DEFINE_PASSES(plain)
#if defined(__x86_64__)
__attribute__((target("avx2"))) DEFINE_PASSES(avx2)
#define FASTEST(name) (__builtin_cpu_supports("avx2") ? avx2##name : plain##name)
#else
#define FASTEST(name) plain##name
#endif

static double joined_lanes(double *lanes) {
    for (size_t half = LANES / 2; half; half /= 2)
        for (size_t i = 0; i < half; i++)
            lanes[i] += lanes[i + half];
    return lanes[0];
}

/* Of `count` values: the six sums, the largest |d|, and how many |d| lie above zero and above both edges.
   `after` is null for a row that did not change: of it alone are the sums. `single` (of 16-bit kinds): products
   and rows of a block in float32. */
void tunescope_unit_sums(int kind, int single, size_t count, const void *before, const void *after,
                         const double *edges, double *out) {
    struct found found;
    memset(&found, 0, sizeof found);
    FASTEST()(kind, single, count, before, after, edges, &found);
    for (size_t i = 0; i < SUMS; i++)
        out[i] = joined_lanes(found.sums[i]);
    out[SUMS] = found.largest;
    memcpy(out + SUMS + 1, found.counts, sizeof found.counts);
}

/* Σ d² of every row or every column of a matrix, in float64. A row is added in SQUARE_LANES lanes, value i in lane
   i mod SQUARE_LANES, which are added by halves; a column from the first row to the last. */
#define SQUARE_LANES 32

INLINE double4 squared(enum kind kind, const char *before, const char *after, size_t i) {
    const double4 d = load4(kind, after, i) - load4(kind, before, i);
    return d * d;
}

INLINE void row_squares(enum kind kind, size_t rows, size_t columns, const char *before, const char *after,
                        double *out) {
    const size_t size = size_of[kind], whole = columns / SQUARE_LANES * SQUARE_LANES;
    char rest[2][8 * SQUARE_LANES] = {{0}};
    for (size_t row = 0; row < rows; row++, before += size * columns, after += size * columns) {
        union { double4 four[SQUARE_LANES / 4]; double one[SQUARE_LANES]; } lanes = {{{0}}};
        for (size_t i = 0; i < whole; i += SQUARE_LANES)
#pragma GCC unroll 8
            for (size_t k = 0; k < SQUARE_LANES / 4; k++)
                lanes.four[k] += squared(kind, before, after, i + 4 * k);
        if (whole < columns) {
            memcpy(rest[0], before + size * whole, size * (columns - whole));
            memcpy(rest[1], after + size * whole, size * (columns - whole));
            for (size_t k = 0; k < SQUARE_LANES / 4; k++)
                lanes.four[k] += squared(kind, rest[0], rest[1], 4 * k);
        }
        for (size_t half = SQUARE_LANES / 2; half; half /= 2)
            for (size_t i = 0; i < half; i++)
                lanes.one[i] += lanes.one[i + half];
        out[row] = lanes.one[0];
    }
}

INLINE void column_squares(enum kind kind, size_t rows, size_t columns, const char *before, const char *after,
                           double *out) {
    const size_t size = size_of[kind], whole = columns / 4 * 4, left = columns - whole;
    char rest[2][8 * 4] = {{0}};
    memset(out, 0, sizeof(double) * columns);
    for (size_t row = 0; row < rows; row++, before += size * columns, after += size * columns) {
        double4 held;
        for (size_t i = 0; i < whole; i += 4) {
            memcpy(&held, out + i, sizeof held);
            held += squared(kind, before, after, i);
            memcpy(out + i, &held, sizeof held);
        }
        if (!left)
            continue;
        memcpy(rest[0], before + size * whole, size * left);
        memcpy(rest[1], after + size * whole, size * left);
        held = squared(kind, rest[0], rest[1], 0);
        for (size_t i = 0; i < left; i++)
            out[whole + i] += held[i];
    }
}

#define DEFINE_SQUARES(name)                                                                                     \
    static void name##_squares(int kind, int by_column, size_t rows, size_t columns, const char *before,         \
                               const char *after, double *out) {                                                 \
        switch (2 * kind + (by_column != 0)) {                                                                   \
        case 2 * BFLOAT16: row_squares(BFLOAT16, rows, columns, before, after, out); break;                      \
        case 2 * BFLOAT16 + 1: column_squares(BFLOAT16, rows, columns, before, after, out); break;               \
        case 2 * FLOAT16: row_squares(FLOAT16, rows, columns, before, after, out); break;                        \
        case 2 * FLOAT16 + 1: column_squares(FLOAT16, rows, columns, before, after, out); break;                 \
        case 2 * FLOAT32: row_squares(FLOAT32, rows, columns, before, after, out); break;                        \
        case 2 * FLOAT32 + 1: column_squares(FLOAT32, rows, columns, before, after, out); break;                 \
        case 2 * FLOAT64: row_squares(FLOAT64, rows, columns, before, after, out); break;                        \
        case 2 * FLOAT64 + 1: column_squares(FLOAT64, rows, columns, before, after, out); break;                 \
        }                                                                                                        \
    }

DEFINE_SQUARES(plain)
#if defined(__x86_64__)
__attribute__((target("avx2"))) DEFINE_SQUARES(avx2)
#endif

void tunescope_squares(int kind, int by_column, size_t rows, size_t columns, const void *before,
                       const void *after, double *out) {
    FASTEST(_squares)(kind, by_column, rows, columns, before, after, out);
}

/* What this was compiled from, so that a library of another version is not taken for it. */
const char *tunescope_source(void) { return SOURCE; }
