"""The part of an exported C file that divides energies as a cascade does, the same for every cascade."""

from __future__ import annotations

# What a row of blocks shares: patterns of hits, padded.
PATTERN_LANES = 16
# Numbers of one component: three means, logarithms of widths, slopes, padded.
NUMBER_LANES = 16

DIVIDING = r"""
/* One network's blocks, divided together. Indices are places in the maps from that of its level on. */
typedef struct {
    int blocks, sees, width, padded, slots, noise, told;
    const int *see, *parts, *inside, *place;
    const float *near, *places, *inner, *inner_bias, *heads, *heads_bias, *embed, *which, *which_bias, *numbers,
        *numbers_bias;
} phase;

/* One level: where its map begins, its phases, and the layers that tell them of the shower. */
typedef struct {
    int map, first, last, seen, told;
    const int *entries;
    const float *far, *far_bias, *tell, *tell_bias;
} level;

/* A shower in the making: encoded condition, turn, response in units of its fluctuations, and all maps of energies,
   beside them as networks see them. */
typedef struct {
    float condition[FEATURES > 0 ? FEATURES : 1], momentum, response, total;
    int turn, pattern;
    float energy[ENTRIES], view[ENTRIES];
} shower;

#define ROWS 32

#define TILE(R, V) \
    do { \
        vec a[R][V]; \
        for (int r = 0; r < (R); r++) \
            for (int v = 0; v < (V); v++) a[r][v] = ((const vec *)(y + (i + r) * width))[j + v]; \
        for (int k = 0; k < inputs; k++) \
            for (int r = 0; r < (R); r++) { \
                const vec number = LANES_OF(x[(i + r) * step + k]); \
                for (int v = 0; v < (V); v++) \
                    a[r][v] = FUSED(number, ((const vec *)(w + k * width))[j + v], a[r][v]); \
            } \
        for (int r = 0; r < (R); r++) \
            for (int v = 0; v < (V); v++) ((vec *)(y + (i + r) * width))[j + v] = a[r][v]; \
    } while (0)

/* y += x w for rows of x that lie `step` apart; the width of y and w is a multiple of 8. */
static void product(float *y, const float *x, const float *w, int rows, int inputs, int step, int width)
{
    const int lanes = width / LANES;
    int j = 0;
    for (; j + 2 <= lanes; j += 2) {
        int i = 0;
        for (; i + 4 <= rows; i += 4) TILE(4, 2);
        for (; i + 2 <= rows; i += 2) TILE(2, 2);
        if (i < rows && j + 4 <= lanes && rows == 1) { TILE(1, 4); j += 2; }
        else if (i < rows) TILE(1, 2);
    }
    for (; j < lanes; j++)
        for (int i = 0; i < rows; i++) TILE(1, 1);
}

/* Rows of a layer without its products: its bias. */
static void biased(float *y, const float *bias, int rows, int width)
{
    for (int r = 0; r < rows; r++) memcpy(y + r * width, bias, (size_t)width * sizeof *y);
}

/* 0.3 log(1 + energy / threshold) of numbers that are not negative: by 2 artanh((m - 1) / (m + 1)) of the mantissa m
   between 0.707 and 1.414. */
static void seen_as(float *y, const float *energy, int width)
{
    for (int j = 0; j < width / LANES; j++) {
        const bits b = TO_BITS(1.0f + ((const vec *)energy)[j] * PER_THRESHOLD) + (0x3F800000u - 0x3F3504F3u);
        const vec n = TO_VEC((b >> 23) | 0x4B000000u) - (8388608.0f + 127.0f);
        const vec m = TO_VEC((b & 0x7FFFFFu) + 0x3F3504F3u);
        const vec s = (m - 1.0f) / (m + 1.0f), z = s * s;
        vec p = FUSED(z, LANES_OF(1.0f / 9.0f), LANES_OF(1.0f / 7.0f));
        p = FUSED(p, z, LANES_OF(1.0f / 5.0f));
        p = FUSED(p, z, LANES_OF(1.0f / 3.0f));
        p = FUSED(p, z, LANES_OF(1.0f));
        ((vec *)y)[j] = FUSED(n, LANES_OF(0.3f * 0.693147181f), 0.6f * s * p);
    }
}

/* Uniform number of a normal one, below 1. */
static float uniform_of(float z)
{
    const float u = 0.5f + 0.5f * erff(z * 0.707106781f);
    return u < 0.999999940f ? u : 0.999999940f;
}

/* One of `count` by its share of the sum, and what is left of the uniform number. */
static int choose(const float *share, int count, float at, float *rest)
{
    float sums[MOST_CHOICES], sum = 0.0f;
    for (int k = 0; k < count; k++) sums[k] = sum += share[k];
    const float u = at * sum;
    int found = 0;
    for (int k = 0; k < count - 1; k++) found += u >= sums[k];
    const float size = share[found];
    const float left = (u - (sums[found] - size)) / (size > 1e-12f ? size : 1e-12f);
    *rest = left < 0.0f ? 0.0f : left > 1.0f ? 1.0f : left;
    return found;
}

/* Shares of the components from logarithms, which are overwritten, `padded` a row. */
static void shares(float *q, int rows, int count, int padded)
{
    for (int r = 0; r < rows; r++) {
        float *own = q + r * padded, most = own[0];
        for (int k = 1; k < count; k++) most = own[k] > most ? own[k] : most;
        for (int k = 0; k < padded; k++) own[k] -= most;
    }
    exponential(q, q, rows * padded);
}

static float within(float x, float low, float high) { return x < low ? low : x > high ? high : x; }

/* Share of a whole that reaches beyond it by the slack on both sides, folded back. */
static float part(float share, float whole, float slack)
{
    const float folded = whole - fabsf(whole - fabsf(share * (whole + 2.0f * slack) - slack));
    return folded > 0.0f ? folded : 0.0f;
}

/* Where blocks are worked on: which they are, and all numbers on the way. */
typedef struct {
    float h[ROWS * MOST_PADDED] ALIGNED, o[ROWS * (16 + MOST_PADDED)] ALIGNED, e[ROWS * 16] ALIGNED,
        y[ROWS * 16] ALIGNED, q[ROWS * COMPONENTS_PADDED] ALIGNED, x[ROWS * MOST_SEEN], free_z[ROWS][3], whole[ROWS],
        rest[ROWS];
    int pattern[ROWS], who[ROWS], which[ROWS], rank[ROWS];
} desk;

/* Blocks of several showers, up to ROWS of them, each divided among its four parts. */
static void divide(const phase *p, int map, shower *showers, const float *told, int tells, const float *noise, int rows,
                   desk *d)
{
    float *x = d->x, *h = d->h, *o = d->o, *e = d->e, *q = d->q, *y = d->y, *whole = d->whole, *rest = d->rest;
    float (*free_z)[3] = d->free_z;
    int *pattern = d->pattern;
    const int *who = d->who, *which = d->which, *rank = d->rank;
    const int width = p->width, padded = p->padded, outputs = 16 + padded;
    for (int r = 0; r < rows; r++) {
        const float *view = showers[who[r]].view + map;
        const int *see = p->see + which[r] * p->sees;
        for (int i = 0; i < p->sees; i++) x[r * p->sees + i] = view[see[i]];
        whole[r] = showers[who[r]].energy[map + see[0]];
        const vec *a = (const vec *)(told + who[r] * tells + p->told);
        const vec *b = (const vec *)(p->places + (p->place ? p->place[which[r]] : which[r]) * padded);
        for (int j = 0; j < padded / LANES; j++) ((vec *)(h + r * padded))[j] = a[j] + b[j];
    }
    product(h, x, p->near, rows, p->sees, p->sees, padded);
    silu(h, h, rows * padded);
    if (p->inner) {
        biased(o, p->inner_bias, rows, padded);
        product(o, h, p->inner, rows, width, padded, padded);
        silu(o, o, rows * padded);
        add(h, o, rows * padded);
    }
    biased(o, p->heads_bias, rows, outputs);
    product(o, h, p->heads, rows, width, padded, outputs);
    /* Which parts have energy. */
    for (int r = 0; r < rows; r++) {
        const float units = whole[r] * PER_THRESHOLD_AND_ROUNDING;
        const int afforded = units >= 4.0f ? 4 : units >= 1.0f ? (int)units : 1;
        const vec *logit = (const vec *)(o + r * outputs), *keep = (const vec *)possible[p->inside[which[r]]][afforded];
        vec *to = (vec *)(e + r * 16), most = LANES_OF(-1e4f);
        for (int j = 0; j < 16 / LANES; j++) {
            to[j] = FUSED(keep[j] - 1.0f, LANES_OF(1e4f), logit[j]);
            most = LARGER(to[j], most);
        }
        float lanes[LANES], largest;
        memcpy(lanes, &most, sizeof lanes);
        largest = lanes[0];
        for (int k = 1; k < LANES; k++) largest = lanes[k] > largest ? lanes[k] : largest;
        for (int j = 0; j < 16 / LANES; j++) to[j] = exponential_of(to[j] - largest) * keep[j];
    }
    for (int r = 0; r < rows; r++) {
        const int turn = rank[r] / p->slots;
        const float *z = noise + (size_t)who[r] * NAME_NOISE + p->noise + 4 * (rank[r] - turn * p->slots);
        const int found = choose(e + r * 16, 15, uniform_of(z[turn & 3]), rest + r);
        pattern[r] = found;
        for (int i = 0; i < 3; i++) free_z[r][i] = z[(turn + 1 + i) & 3] * free_share[found][i];
        const vec *a = (const vec *)(o + r * outputs + 16), *b = (const vec *)(p->embed + found * padded);
        for (int j = 0; j < padded / LANES; j++) ((vec *)(h + r * padded))[j] = a[j] + b[j];
    }
    silu(h, h, rows * padded);
    /* Which component of the mixture, and its numbers. */
    biased(q, p->which_bias, rows, COMPONENTS_PADDED);
    product(q, h, p->which, rows, width, padded, COMPONENTS_PADDED);
    shares(q, rows, COMPONENTS, COMPONENTS_PADDED);
    for (int r = 0; r < rows; r++) {
        float unused;
        const int k = choose(q + r * COMPONENTS_PADDED, COMPONENTS, rest[r], &unused);
        memcpy(y + r * 16, p->numbers_bias + k * 16, 16 * sizeof *y);
        product(y + r * 16, h + r * padded, p->numbers + k * width * 16, 1, width, padded, 16);
        for (int i = 0; i < 4; i++) e[r * 4 + i] = i < 3 ? within(y[r * 16 + 3 + i], LEAST_SCALE, MOST_SCALE) : 0.0f;
    }
    const int four = (rows * 4 + 7) / 8 * 8;
    for (int i = rows * 4; i < four; i++) e[i] = 0.0f;
    exponential(e, e, four);
    for (int r = 0; r < rows; r++) {
        const float *n = y + r * 16, *z = free_z[r];
        float *s = e + r * 4;
        s[0] = -(n[0] + s[0] * z[0]);
        s[1] = -(n[1] + s[1] * z[1] + n[6] * z[0]);
        s[2] = -(n[2] + s[2] * z[2] + (n[7] * z[0] + n[8] * z[1]));
        s[3] = 0.0f;
    }
    exponential(e, e, four);
    for (int r = 0; r < rows; r++) {
        const int found = pattern[r];
        float *s = e + r * 4, above = whole[r] - THRESHOLD * hits[found];
        float a[3];
        for (int i = 0; i < 3; i++) a[i] = lead[found][i] + free_share[found][i] / (1.0f + s[i]);
        above = above > 0.0f ? above : 0.0f;
        const float left = part(a[0], above, SLACK * free_share[found][0]), right = above - left;
        const float first = part(a[1], left, SLACK * free_share[found][1]);
        const float third = part(a[2], right, SLACK * free_share[found][2]);
        const float excess[4] = {first, left - first, third, right - third};
        for (int i = 0; i < 4; i++) s[i] = (found + 1) >> i & 1 ? excess[i] + THRESHOLD : 0.0f;
    }
    seen_as(o, e, four);
    for (int r = 0; r < rows; r++) {
        const int *to = p->parts + which[r] * 4;
        float *energy = showers[who[r]].energy + map, *view = showers[who[r]].view + map;
        for (int i = 0; i < 4; i++) {
            energy[to[i]] = e[r * 4 + i];
            view[to[i]] = o[r * 4 + i];
        }
    }
}

/* Total energies: a mixture of normal distributions of the response's logarithm. */
static void begin(int n, shower *showers, const float *noise)
{
    float x[GROUP * (FEATURES > 0 ? FEATURES : 1)], h[GROUP * MOST_PADDED] ALIGNED, g[GROUP * MOST_PADDED] ALIGNED;
    float q[GROUP * TOTALS_PADDED] ALIGNED, y[8] ALIGNED;
    for (int r = 0; r < n; r++) memcpy(x + r * FEATURES, showers[r].condition, FEATURES * sizeof *x);
    biased(h, first_b, n, TOTAL_PADDED);
    product(h, x, first_w, n, FEATURES, FEATURES, TOTAL_PADDED);
    silu(h, h, n * TOTAL_PADDED);
    biased(g, second_b, n, TOTAL_PADDED);
    product(g, h, second_w, n, TOTAL_WIDTH, TOTAL_PADDED, TOTAL_PADDED);
    silu(g, g, n * TOTAL_PADDED);
    biased(q, totals_b, n, TOTALS_PADDED);
    product(q, g, totals_w, n, TOTAL_WIDTH, TOTAL_PADDED, TOTALS_PADDED);
    shares(q, n, TOTALS, TOTALS_PADDED);
    for (int r = 0; r < n; r++) {
        shower *s = showers + r;
        const float *z = noise + (size_t)r * NAME_NOISE;
        float unused;
        const int k = choose(q + r * TOTALS_PADDED, TOTALS, uniform_of(z[0]), &unused);
        memcpy(y, total_numbers_b + k * 8, sizeof y);
        product(y, g + r * TOTAL_PADDED, total_numbers_w + k * TOTAL_WIDTH * 8, 1, TOTAL_WIDTH, TOTAL_PADDED, 8);
        s->response = y[0] + expf(within(y[1], LEAST_SCALE, MOST_SCALE)) * z[1];
        const float spread = sqrtf(SPREAD_A + SPREAD_B * expf(-s->momentum) + SPREAD_LEAST);
        const float total = expf(s->response * spread + RESPONSE_MEAN + s->momentum);
        float eight[8] ALIGNED = {total < THRESHOLD ? THRESHOLD : total}, seen[8] ALIGNED;
        seen_as(seen, eight, 8);
        memset(s->energy, 0, sizeof s->energy);
        memset(s->view, 0, sizeof s->view);
        s->energy[ROOT] = eight[0];
        s->total = s->view[ROOT] = seen[0];
    }
}

/* All levels of up to GROUP showers, which share the networks' weights while these are at hand. */
static void cascade(int n, shower *showers, const float *noise)
{
    float x[GROUP * MOST_FAR], h[GROUP * FAR_PADDED] ALIGNED, told[GROUP * MOST_TOLD] ALIGNED;
    desk d;
    begin(n, showers, noise);
    for (const level *l = levels; l < levels + LEVELS; l++) {
        const int inputs = FEATURES + 2 + l->seen;
        for (int r = 0; r < n; r++) {
            const shower *s = showers + r;
            float *to = x + r * inputs;
            memcpy(to, s->condition, FEATURES * sizeof *to);
            to[FEATURES] = s->total - 3.0f;
            to[FEATURES + 1] = within(s->response, -FARTHEST, FARTHEST);
            for (int i = 0; i < l->seen; i++) to[FEATURES + 2 + i] = s->view[l->entries[i]] - s->total;
        }
        biased(h, l->far_bias, n, FAR_PADDED);
        product(h, x, l->far, n, inputs, inputs, FAR_PADDED);
        silu(h, h, n * FAR_PADDED);
        biased(told, l->tell_bias, n, l->told);
        product(told, h, l->tell, n, FAR_WIDTH, FAR_PADDED, l->told);
        for (const phase *p = phases + l->first; p < phases + l->last; p++) {
            int rows = 0;
            for (int r = 0; r < n; r++) {
                int found = 0;
                for (int b = 0; b < p->blocks; b++) {
                    if (!(showers[r].energy[l->map + p->see[b * p->sees]] > 0.0f)) continue;
                    d.who[rows] = r;
                    d.which[rows] = b;
                    d.rank[rows++] = found++;
                    if (rows == ROWS) {
                        divide(p, l->map, showers, told, l->told, noise, rows, &d);
                        rows = 0;
                    }
                }
            }
            if (rows) divide(p, l->map, showers, told, l->told, noise, rows, &d);
        }
    }
}
"""
