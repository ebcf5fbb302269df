"""The parts of an exported C file that are the same for every surrogate.

C99 and its standard library alone. Where the compiler knows GNU C's vectors (gcc, clang), sums run in lanes of four or
eight; elsewhere the same lines work on single numbers.
"""

from __future__ import annotations

LANES = 8

HEAD = r"""
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#if defined(__GNUC__)
#if defined(__AVX__)
#define LANES 8
#else
#define LANES 4
#endif
#define ALIGNED __attribute__((aligned(64)))
#define UNUSED __attribute__((unused))
typedef float vec __attribute__((vector_size(4 * LANES), may_alias));
typedef uint32_t bits __attribute__((vector_size(4 * LANES), may_alias));
#define TO_BITS(x) ((bits)(x))
#define TO_VEC(x) ((vec)(x))
#define SELECT(mask, a, b) ((vec)(((bits)(mask) & (bits)(a)) | (~(bits)(mask) & (bits)(b))))
#else
#define LANES 1
#define ALIGNED
#define UNUSED
typedef float vec;
typedef uint32_t bits;
static uint32_t to_bits(float x) { uint32_t b; memcpy(&b, &x, sizeof b); return b; }
static float to_vec(uint32_t b) { float x; memcpy(&x, &b, sizeof x); return x; }
#define TO_BITS(x) to_bits(x)
#define TO_VEC(x) to_vec(x)
#define SELECT(mask, a, b) ((mask) ? (a) : (b))
#endif
/* x times y plus z, of lanes, rounded once where the machine can; lanes held within limits. Not a number stays so. */
#if defined(__GNUC__) && defined(__AVX__) && defined(__FMA__)
#include <immintrin.h>
#define LANES_OF(number) ((vec)_mm256_set1_ps(number))
#define FUSED(x, y, z) ((vec)_mm256_fmadd_ps((__m256)(x), (__m256)(y), (__m256)(z)))
#define LARGER(x, y) ((vec)_mm256_max_ps((__m256)(x), (__m256)(y)))
#define HELD(x, low, high) \
    ((vec)_mm256_min_ps(_mm256_set1_ps(high), _mm256_max_ps(_mm256_set1_ps(low), (__m256)(x))))
#else
#define LANES_OF(number) ((number) + (vec){0})
#define FUSED(x, y, z) ((x) * (y) + (z))
#define LARGER(x, y) SELECT((x) > (y), (x), (y))
#define HELD(x, low, high) \
    SELECT((x) < (low), (x) * 0.0f + (low), SELECT((x) > (high), (x) * 0.0f + (high), (x)))
#endif
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#endif
"""

NOISE = r"""
/* Philox 4x32-10 (Salmon, Moraes, Dror, Shaw, SC11): four random words of a counter and a key. */
static void philox(uint32_t c[4], uint32_t k0, uint32_t k1)
{
    for (int r = 0; r < 10; r++) {
        const uint64_t p0 = (uint64_t)0xD2511F53u * c[0], p1 = (uint64_t)0xCD9E8D57u * c[2];
        c[0] = (uint32_t)(p1 >> 32) ^ c[1] ^ k0;
        c[1] = (uint32_t)p1;
        c[2] = (uint32_t)(p0 >> 32) ^ c[3] ^ k1;
        c[3] = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
}

/* Standard normal number of a word, the same bits on every machine; compile with -ffp-contract=off (-std=c99 implies
   it for gcc). */
static float normal_of_word(uint32_t w)
{
    const double d = 2.0 * (double)w + (1.0 - 4294967296.0);
    double t = 4294967296.0 - fabs(d);
    uint64_t b;
    memcpy(&b, &t, sizeof b);
    const int row = (int)(b >> 47) - (1023 << 5);
    b = ((b & (((uint64_t)1 << 47) - 1)) << 5) | ((uint64_t)1023 << 52);
    memcpy(&t, &b, sizeof t);
    double x = normal_table[row][3];
    x = x * t;
    x = x + normal_table[row][2];
    x = x * t;
    x = x + normal_table[row][1];
    x = x * t;
    x = x + normal_table[row][0];
    return (float)(x * d);
}
"""

KERNELS = r"""
/* Rows of a first layer that a condition and its noise touch: most ramps are 0 or 1, and runs of ones are summed
   beforehand. */
typedef struct {
    int count;
    int row[MOST_ROWS];
    float value[MOST_ROWS];
} rows;

UNUSED static void take(rows *in, int row, double value)
{
    in->row[in->count] = row;
    in->value[in->count++] = (float)value;
}

/* Ramps between rising marks: those below x are 1, one is x's share of its way, those above are 0. */
UNUSED static void ramps(rows *in, int first, int count, const double *marks, double x)
{
    int k = 0, top = count;
    while (k < top) {
        const int middle = (k + top) / 2;
        if (x >= marks[middle + 1]) k = middle + 1; else top = middle;
    }
    if (k > 0) take(in, first + count + k - 1, 1.0);
    if (k < count && x > marks[k]) {
        const double width = marks[k + 1] - marks[k];
        const double share = (x - marks[k]) / (width > 1e-9 ? width : 1e-9);
        take(in, first + k, share < 1.0 ? share : 1.0);
    }
}

/* Square of the share that `ramps` gave last, if it gave one, for rows from `to`. */
UNUSED static void squares(rows *in, int first, int count, int to)
{
    const int last = in->row[in->count - 1];
    if (last >= first && last < first + count) {
        const double share = (double)in->value[in->count - 1];
        take(in, to + last - first, share * share);
    }
}

/* A quantile function: location, log scale, coefficients of given functions; heights, places and slopes of sigmoids. */
UNUSED static float curve(const float *o, const float *basis, float z, int functions, int steps)
{
    const float *height = o + 2 + functions, *at = height + steps, *slope = at + steps;
    float smooth = 0.0f, sharp = 0.0f;
    for (int j = 0; j < functions; j++) smooth += o[2 + j] * basis[j];
    for (int j = 0; j < steps; j++) sharp += height[j] / (1.0f + expf((at[j] - z) * slope[j]));
    return o[0] + expf(o[1]) * smooth + sharp;
}

/* y = bias + sum over rows of value * w[row]; width is a multiple of 8. */
UNUSED static void gather(float *y, const rows *in, const float *w, const float *bias, int width)
{
    const int lanes = width / LANES;
    const vec *b = (const vec *)bias, *m = (const vec *)w;
    vec *out = (vec *)y;
    int j = 0;
    for (; j + 4 <= lanes; j += 4) {
        vec a0 = b[j], a1 = b[j + 1], a2 = b[j + 2], a3 = b[j + 3];
        for (int i = 0; i < in->count; i++) {
            const vec *k = m + (long)in->row[i] * lanes + j;
            const vec v = LANES_OF(in->value[i]);
            a0 = FUSED(v, k[0], a0); a1 = FUSED(v, k[1], a1); a2 = FUSED(v, k[2], a2); a3 = FUSED(v, k[3], a3);
        }
        out[j] = a0; out[j + 1] = a1; out[j + 2] = a2; out[j + 3] = a3;
    }
    for (; j < lanes; j++) {
        vec a = b[j];
        for (int i = 0; i < in->count; i++) a = FUSED(LANES_OF(in->value[i]), m[(long)in->row[i] * lanes + j], a);
        out[j] = a;
    }
}

/* y = bias + x w; width is a multiple of 8. */
UNUSED static void dense(float *y, const float *x, const float *w, const float *bias, int inputs, int width)
{
    const int lanes = width / LANES;
    const vec *b = (const vec *)bias;
    vec *out = (vec *)y;
    int j = 0;
    for (; j + 4 <= lanes; j += 4) {
        const vec *k = (const vec *)w + j;
        vec a0 = b[j], a1 = b[j + 1], a2 = b[j + 2], a3 = b[j + 3];
        for (int i = 0; i < inputs; i++, k += lanes) {
            const vec v = LANES_OF(x[i]);
            a0 = FUSED(v, k[0], a0); a1 = FUSED(v, k[1], a1); a2 = FUSED(v, k[2], a2); a3 = FUSED(v, k[3], a3);
        }
        out[j] = a0; out[j + 1] = a1; out[j + 2] = a2; out[j + 3] = a3;
    }
    for (; j < lanes; j++) {
        const vec *k = (const vec *)w + j;
        vec a = b[j];
        for (int i = 0; i < inputs; i++, k += lanes) a = FUSED(LANES_OF(x[i]), k[0], a);
        out[j] = a;
    }
}

/* exp of up to 87 in magnitude (held there): 2^n times a polynomial, good to a few units of the last place. */
UNUSED static inline vec exponential_of(vec v)
{
    v = HELD(v, -87.0f, 87.0f);
    const vec shifted = FUSED(v, LANES_OF(1.44269504f), LANES_OF(12582912.0f));
    const vec n = shifted - 12582912.0f;
    const vec r = FUSED(n, LANES_OF(-1.42860677e-6f), FUSED(n, LANES_OF(-0.693145752f), v));
    vec p = FUSED(r, LANES_OF(1.98756915e-4f), LANES_OF(1.39819994e-3f));
    p = FUSED(p, r, LANES_OF(8.33345205e-3f));
    p = FUSED(p, r, LANES_OF(4.16657962e-2f));
    p = FUSED(p, r, LANES_OF(1.66666655e-1f));
    p = FUSED(p, r, LANES_OF(5.00000012e-1f));
    p = FUSED(p * r, r, r + 1.0f);
    return p * TO_VEC((TO_BITS(shifted) + 127u) << 23);
}

UNUSED static void exponential(float *y, const float *x, int width)
{
    for (int j = 0; j < width / LANES; j++) ((vec *)y)[j] = exponential_of(((const vec *)x)[j]);
}

UNUSED static void relu(float *y, const float *x, int width)
{
    for (int j = 0; j < width / LANES; j++) {
        const vec v = ((const vec *)x)[j];
        ((vec *)y)[j] = SELECT(v > 0.0f, v, v * 0.0f);
    }
}

UNUSED static void leaky_relu(float *y, const float *x, int width)
{
    for (int j = 0; j < width / LANES; j++) {
        const vec v = ((const vec *)x)[j];
        ((vec *)y)[j] = SELECT(v > 0.0f, v, v * SLOPE);
    }
}

UNUSED static void silu(float *y, const float *x, int width)
{
    for (int j = 0; j < width / LANES; j++) {
        const vec v = ((const vec *)x)[j];
        ((vec *)y)[j] = v / (1.0f + exponential_of(-v));
    }
}

UNUSED static void elu(float *y, const float *x, int width)
{
    for (int j = 0; j < width; j++) y[j] = x[j] > 0.0f ? x[j] : expm1f(x[j]);
}

UNUSED static void hyperbolic_tangent(float *y, const float *x, int width)
{
    for (int j = 0; j < width; j++) y[j] = tanhf(x[j]);
}

UNUSED static void add(float *y, const float *x, int width)
{
    for (int j = 0; j < width / LANES; j++) ((vec *)y)[j] += ((const vec *)x)[j];
}

/* Piecewise-linear map through evenly spaced points; linear beyond the ends, up to the bounds. */
UNUSED static float interpolate(float y, const float *from, const float *to, int knots, float lowest, float highest)
{
    const float place = (y - from[0]) / (from[knots - 1] - from[0]) * (float)(knots - 1);
    int k = place > 0.0f ? (place < (float)(knots - 2) ? (int)place : knots - 2) : 0;
    while (k > 0 && y < from[k]) k--;
    while (k < knots - 2 && y >= from[k + 1]) k++;
    const float x = to[k] + (to[k + 1] - to[k]) / (from[k + 1] - from[k]) * (y - from[k]);
    return x < lowest ? lowest : x > highest ? highest : x;
}
"""

RUN = r"""
void NAME_noise(uint64_t seed, uint64_t event_id, uint32_t stage, float *noise)
{
    for (uint32_t block = 0; 4 * block < NAME_NOISE; block++) {
        uint32_t c[4] = {(uint32_t)event_id, (uint32_t)(event_id >> 32), stage, block};
        philox(c, (uint32_t)seed, (uint32_t)(seed >> 32));
        for (uint32_t i = 0; i < 4 && 4 * block + i < NAME_NOISE; i++) noise[4 * block + i] = normal_of_word(c[i]);
    }
}

int NAME_generate(size_t n, const double *condition, const uint64_t *event_id, uint64_t seed, uint32_t stage, int mode,
                  float *response, unsigned char *outside, size_t *count)
{
    size_t found = 0;
    for (size_t i = 0; i < n; i++) {
        const int odd = NAME_outside(condition + i * NAME_CONDITION) > 0;
        found += (size_t)odd;
        if (outside) outside[i] = (unsigned char)odd;
    }
    if (count) *count = found;
    if (found && mode == NAME_REFUSE) return 1;
    for (size_t i = 0; i < n; i += GROUP) {
        const size_t rows = n - i < GROUP ? n - i : GROUP;
        double c[GROUP * NAME_CONDITION];
        float noise[GROUP * NAME_NOISE];
        memcpy(c, condition + i * NAME_CONDITION, rows * NAME_CONDITION * sizeof *c);
        for (size_t k = 0; k < rows; k++) {
            if (mode == NAME_CLAMP) {
                NAME_clamp(c + k * NAME_CONDITION);
                if (NAME_outside(c + k * NAME_CONDITION)) return 1;
            }
            NAME_noise(seed, event_id[i + k], stage, noise + k * NAME_NOISE);
        }
        respond_rows((int)rows, c, noise, response + i * NAME_RESPONSE);
    }
    return 0;
}

int NAME_self_test(void)
{
    int odd = 0;
    for (int i = 0; i < GOLDEN_ROWS; i++) {
        float noise[NAME_NOISE], response[NAME_RESPONSE];
        NAME_noise(golden_seed, golden_event[i], 0, noise);
        NAME_respond(golden_condition[i], noise, response);
        int same = memcmp(noise, golden_noise[i], sizeof noise) == 0;
        for (int j = 0; j < NAME_RESPONSE; j++)
            if (!(fabsf(response[j] - golden_response[i][j]) <= golden_tolerance[i][j])) same = 0;
        odd += !same;
    }
    return odd;
}

#ifdef NAME_SELF_TEST
int main(void)
{
    const int odd = NAME_self_test();
    printf("NAME: %d of %d golden rows differ\n", odd, GOLDEN_ROWS);
    return odd != 0;
}
#endif
"""
