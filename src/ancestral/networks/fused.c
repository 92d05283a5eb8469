/* Group normalisation, a scale and a shift, and SiLU: one pass over memory forward, one backward.

   x, y and their gradients are (images, pixels, channels) in memory, float32 or bfloat16; all else is float32. With
   d = x + added - mean, over the pixels of a group of channels,

       z = d rstd gain + offset,    y = silu(z) or z                                                     (1)

   and, for g = dy silu'(z) or dy, N the size of a group and sums over a group unless said otherwise,

       dx = rstd gain g - (rstd sum(gain g) + d rstd^3 sum(gain g d)) / N                                (2)
       doffset = sum(g), dgain = rstd sum(g d), dadded = sum(dx), over the pixels of one image's channel.

   An image is read twice, the second time from the cache. Its pixels are cut into blocks whose size depends on the
   channels alone: a block's sums are float32, their sums float64 and in order, so that the number of threads changes no
   bit. Threads are those of the OpenMP that torch has loaded, through its `GOMP_parallel`. */

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#include <immintrin.h>
#define LANES 16
#elif defined(__AVX2__)
#define LANES 8
#else
#define LANES 4
#endif
#define INLINE static inline __attribute__((always_inline))
#define APART static __attribute__((noinline)) /* so that the same instructions serve any number of threads */
#define WIDE 4                 /* vectors side by side in registers */
#define ALONE (1 << 15)        /* numbers that one thread is enough for */

typedef ptrdiff_t size;
typedef float floats __attribute__((vector_size(4 * LANES)));
typedef uint32_t words __attribute__((vector_size(4 * LANES)));
typedef uint16_t halves __attribute__((vector_size(2 * LANES)));
typedef void team(void (*work)(void *), void *data, unsigned threads, unsigned flags);

struct call {
    const void *x, *dy;                                /* dy: NULL forward */
    void *out;                                         /* y or dx */
    const float *gain, *offset, *added;                /* (images, channels); added: or NULL */
    float *mean, *rstd;                                /* (images, groups) */
    float *dgain, *doffset, *dadded;                   /* (images, channels) */
    size stride;                                       /* of gain and offset from image to image: channels or 0 */
    size images, pixels, channels, groups;
    size block, blocks;                                /* pixels of a block; blocks of an image */
    float eps;
    int half, silu, split;                             /* split: threads share images, block by block */
    float *sums;                                       /* (images, blocks, 3, channels) */
    float *factors;                                    /* (images, 5, channels): centre, slope, offset, (2)'s last two */
    double *totals;                                    /* (images, 5, channels) */
    float *kept;                                       /* g of bfloat16: of each thread's image or, split, of all */
    void (*step)(const struct call *, size, size);
    size next, steps, threads;
};

/* What the compiler finds no single instruction for: bfloat16 to float32 and back, and t between -87 and 87. */
#if LANES == 16
INLINE floats widened(halves h) { return (floats)_mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)h), 16); }
INLINE halves narrowed(words u) { return (halves)_mm512_cvtepi32_epi16((__m512i)u); }
INLINE floats bounded(floats t) { return _mm512_range_ps(t, _mm512_set1_ps(87), 2); }
#else
INLINE floats widened(halves h) { return (floats)(__builtin_convertvector(h, words) << 16); }
INLINE halves narrowed(words u) { return __builtin_convertvector(u, halves); }
INLINE floats bounded(floats t) {
    const floats most = (floats){0} + 87, least = -most;
    words high = (words)(t > most), low = (words)(t < least);
    return (floats)((high & (words)most) | (low & (words)least) | (~(high | low) & (words)t));
}
#endif

/* n numbers of an array, float32 or bfloat16, from the place `at`; the other lanes are 0. */
INLINE floats load(const void *from, size at, size n, int half) {
#if LANES == 16
    __mmask16 lanes = 0xffff >> (LANES - n);
    if (!half) return _mm512_maskz_loadu_ps(lanes, (const float *)from + at);
    return widened((halves)_mm256_maskz_loadu_epi16(lanes, (const uint16_t *)from + at));
#else
    floats x = {0};
    halves h = {0};
    if (!half) {
        memcpy(&x, (const float *)from + at, 4 * n);
        return x;
    }
    memcpy(&h, (const uint16_t *)from + at, 2 * n);
    return widened(h);
#endif
}

/* To the nearest bfloat16, to the even one of two: carries are added below the last bit that is kept. */
INLINE halves rounded(floats x) {
#if defined(__AVX512BF16__) && LANES == 16
    return (halves)_mm512_cvtneps_pbh(x);
#else
    words u = (words)x, nan = (words)(x != x);
    return narrowed((nan & 0x7fc0) | (~nan & ((u + 0x7fff + ((u >> 16) & 1)) >> 16)));
#endif
}

INLINE void store(void *to, size at, size n, int half, floats x) {
#if LANES == 16
    __mmask16 lanes = 0xffff >> (LANES - n);
    if (half) _mm256_mask_storeu_epi16((uint16_t *)to + at, lanes, (__m256i)rounded(x));
    else _mm512_mask_storeu_ps((float *)to + at, lanes, x);
#else
    if (half) {
        halves h = rounded(x);
        memcpy((uint16_t *)to + at, &h, 2 * n);
    } else memcpy((float *)to + at, &x, 4 * n);
#endif
}

/* 1 / (1 + e^-z). e^t = 2^n e^r, n the integer next to t / log 2, e^r by its series. */
INLINE floats sigmoid(floats z) {
    const floats magic = (floats){0} + 12582912.0f; /* 1.5 2^23, where neighbours are 1 apart */
    floats t = -bounded(z), shifted = t * 1.44269504f + magic, n = shifted - magic;
    floats r = t - n * 0.693359375f + n * 2.12194440e-4f; /* log 2 in two parts: n times the first is exact */
    floats p = r * (1.0f / 720) + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1;
    p = p * r + 1;
    return 1 / (1 + (floats)((words)p + ((words)shifted << 23)));
}

INLINE floats activated(floats z, int silu) { return silu ? z * sigmoid(z) : z; }

INLINE floats through(floats dy, floats z, int silu) {
    if (!silu) return dy;
    floats s = sigmoid(z);
    return dy * s * (1 + z * (1 - s));
}

struct place { size image, first, count, at; float *sums; const float *factors; float *kept; }; /* of a block */

INLINE struct place place(const struct call *k, size index, size thread) {
    size image = index / k->blocks, first = index % k->blocks * k->block;
    size count = k->pixels - first < k->block ? k->pixels - first : k->block;
    size at = (image * k->pixels + first) * k->channels;
    float *kept = k->kept ? k->kept + ((k->split ? image : thread) * k->pixels + first) * k->channels : (float *)k->out + at;
    return (struct place){image, first, count, at, k->sums + index * 3 * k->channels,
                          k->factors + image * 5 * k->channels, kept};
}

/* Calls `kernel` for all channels: many at once, then as many as a vector has, then the rest. */
#define OVER_CHANNELS(kernel, wide, ...)                                                \
    do {                                                                                \
        size c = 0;                                                                     \
        for (; c + wide * LANES <= k->channels; c += wide * LANES) kernel(k, b, c, wide, LANES, __VA_ARGS__); \
        for (; c + LANES <= k->channels; c += LANES) kernel(k, b, c, 1, LANES, __VA_ARGS__);                  \
        if (c < k->channels) kernel(k, b, c, 1, k->channels - c, __VA_ARGS__);          \
    } while (0)

/* Sums of x and x^2, both from the block's first pixel on, so that a large mean costs no digits. */
INLINE void moments(const struct call *k, struct place b, size c, int wide, size n, int half) {
    floats origin[WIDE], sum[WIDE], square[WIDE];
    for (int v = 0; v < wide; v++) {
        origin[v] = load(k->x, b.at + c + v * LANES, n, half);
        sum[v] = square[v] = (floats){0};
    }
    for (size p = 0; p < b.count; p++)
        for (int v = 0; v < wide; v++) {
            floats d = load(k->x, b.at + p * k->channels + c + v * LANES, n, half) - origin[v];
            sum[v] += d;
            square[v] += d * d;
        }
    for (int v = 0; v < wide; v++) {
        store(b.sums, c + v * LANES, n, 0, origin[v]);
        store(b.sums + k->channels, c + v * LANES, n, 0, sum[v]);
        store(b.sums + 2 * k->channels, c + v * LANES, n, 0, square[v]);
    }
}

INLINE void outputs(const struct call *k, struct place b, size c, int wide, size n, int half, int silu) {
    floats centre[WIDE], slope[WIDE], offset[WIDE];
    for (int v = 0; v < wide; v++) {
        centre[v] = load(b.factors, c + v * LANES, n, 0);
        slope[v] = load(b.factors + k->channels, c + v * LANES, n, 0);
        offset[v] = load(b.factors + 2 * k->channels, c + v * LANES, n, 0);
    }
    for (size p = 0; p < b.count; p++)
        for (int v = 0; v < wide; v++) {
            size at = b.at + p * k->channels + c + v * LANES;
            floats z = (load(k->x, at, n, half) - centre[v]) * slope[v] + offset[v];
            store(k->out, at, n, half, activated(z, silu));
        }
}

/* Sums of g, g d and d. */
INLINE void gradient_sums(const struct call *k, struct place b, size c, int wide, size n, int half, int silu) {
    floats centre[WIDE], slope[WIDE], offset[WIDE], sum[WIDE], product[WIDE], inputs[WIDE];
    for (int v = 0; v < wide; v++) {
        centre[v] = load(b.factors, c + v * LANES, n, 0);
        slope[v] = load(b.factors + k->channels, c + v * LANES, n, 0);
        offset[v] = load(b.factors + 2 * k->channels, c + v * LANES, n, 0);
        sum[v] = product[v] = inputs[v] = (floats){0};
    }
    for (size p = 0; p < b.count; p++)
        for (int v = 0; v < wide; v++) {
            size at = b.at + p * k->channels + c + v * LANES;
            floats d = load(k->x, at, n, half) - centre[v];
            floats g = through(load(k->dy, at, n, half), d * slope[v] + offset[v], silu);
            if (silu) store(b.kept, at - b.at, n, 0, g);
            sum[v] += g;
            product[v] += g * d;
            inputs[v] += d;
        }
    for (int v = 0; v < wide; v++) {
        store(b.sums, c + v * LANES, n, 0, sum[v]);
        store(b.sums + k->channels, c + v * LANES, n, 0, product[v]);
        store(b.sums + 2 * k->channels, c + v * LANES, n, 0, inputs[v]);
    }
}

INLINE void input_gradients(const struct call *k, struct place b, size c, int wide, size n, int half, int silu) {
    floats centre[WIDE], slope[WIDE], along[WIDE], all[WIDE];
    for (int v = 0; v < wide; v++) {
        centre[v] = load(b.factors, c + v * LANES, n, 0);
        slope[v] = load(b.factors + k->channels, c + v * LANES, n, 0);
        along[v] = load(b.factors + 3 * k->channels, c + v * LANES, n, 0);
        all[v] = load(b.factors + 4 * k->channels, c + v * LANES, n, 0);
    }
    for (size p = 0; p < b.count; p++)
        for (int v = 0; v < wide; v++) {
            size at = b.at + p * k->channels + c + v * LANES;
            floats d = load(k->x, at, n, half) - centre[v];
            floats g = silu ? load(b.kept, at - b.at, n, 0) : load(k->dy, at, n, half);
            store(k->out, at, n, half, g * slope[v] - (d * along[v] + all[v]));
        }
}

APART void first_pass(const struct call *k, size index, size thread) {
    struct place b = place(k, index, thread);
    if (!k->dy) {
        if (k->half) OVER_CHANNELS(moments, 4, 1);
        else OVER_CHANNELS(moments, 4, 0);
    } else if (k->half) {
        if (k->silu) OVER_CHANNELS(gradient_sums, 2, 1, 1);
        else OVER_CHANNELS(gradient_sums, 2, 1, 0);
    } else {
        if (k->silu) OVER_CHANNELS(gradient_sums, 2, 0, 1);
        else OVER_CHANNELS(gradient_sums, 2, 0, 0);
    }
}

APART void second_pass(const struct call *k, size index, size thread) {
    struct place b = place(k, index, thread);
    if (!k->dy) {
        if (k->half) {
            if (k->silu) OVER_CHANNELS(outputs, 2, 1, 1);
            else OVER_CHANNELS(outputs, 2, 1, 0);
        } else {
            if (k->silu) OVER_CHANNELS(outputs, 2, 0, 1);
            else OVER_CHANNELS(outputs, 2, 0, 0);
        }
    } else if (k->half) {
        if (k->silu) OVER_CHANNELS(input_gradients, 2, 1, 1);
        else OVER_CHANNELS(input_gradients, 2, 1, 0);
    } else {
        if (k->silu) OVER_CHANNELS(input_gradients, 2, 0, 1);
        else OVER_CHANNELS(input_gradients, 2, 0, 0);
    }
}

/* Centre, slope and offset of an image's channels from its groups' moments. */
APART void set_factors(const struct call *k, size image) {
    size n = k->channels, width = n / k->groups;
    float *restrict centre = k->factors + image * 5 * n, *restrict slope = centre + n;
    const float *gain = k->gain + image * k->stride, *added = k->added ? k->added + image * n : NULL;
    for (size group = 0, c = 0; group < k->groups; group++) {
        float mean = k->mean[image * k->groups + group], rstd = k->rstd[image * k->groups + group];
        for (size end = c + width; c < end; c++) centre[c] = mean, slope[c] = rstd * gain[c];
    }
    if (added)
        for (size c = 0; c < n; c++) centre[c] -= added[c];
    memcpy(slope + n, k->offset + image * k->stride, 4 * n);
}

/* Sums over the channels of each group, `sums` (groups, width): several at a time, in an order that is always the same. */
INLINE double total(const double *sums, size width) {
    double parts[4] = {0};
    size c = 0;
    for (; c + 4 <= width; c += 4)
        for (int i = 0; i < 4; i++) parts[i] += sums[c + i];
    for (; c < width; c++) parts[0] += sums[c];
    return (parts[0] + parts[1]) + (parts[2] + parts[3]);
}

/* Mean and spread of an image's groups from the moments of its blocks. */
APART void join_moments(const struct call *k, size image) {
    size n = k->channels, width = n / k->groups;
    double numbers = (double)k->pixels * width;
    double *restrict sums = k->totals + image * 5 * n, *restrict means = sums + n;
    const float *added = k->added ? k->added + image * n : NULL;
    for (size c = 0; c < n; c++) sums[c] = added ? (double)added[c] * k->pixels : 0;
    for (size i = 0; i < k->blocks; i++) {
        struct place b = place(k, image * k->blocks + i, 0);
        for (size c = 0; c < n; c++) sums[c] += (double)b.sums[c] * b.count + b.sums[n + c];
    }
    for (size group = 0, c = 0; group < k->groups; group++) {
        double mean = total(sums + c, width) / numbers;
        k->mean[image * k->groups + group] = mean;
        for (size end = c + width; c < end; c++) means[c] = mean;
    }
    if (added)
        for (size c = 0; c < n; c++) means[c] -= added[c];
    for (size c = 0; c < n; c++) sums[c] = 0;
    for (size i = 0; i < k->blocks; i++) {
        struct place b = place(k, image * k->blocks + i, 0);
        for (size c = 0; c < n; c++) { /* sum (x - m)^2 = sum (x - o)^2 + (o - m) (2 sum (x - o) + count (o - m)) */
            double away = b.sums[c] - means[c];
            sums[c] += b.sums[2 * n + c] + away * (2.0 * b.sums[n + c] + away * b.count);
        }
    }
    for (size group = 0; group < k->groups; group++) {
        double square = total(sums + group * width, width) / numbers;
        k->rstd[image * k->groups + group] = 1 / sqrt((square < 0 ? 0 : square) + k->eps);
    }
    set_factors(k, image);
}

/* An image's gradients of gain, offset and added, and what (2) takes of its groups. */
APART void join_gradients(const struct call *k, size image) {
    size n = k->channels, width = n / k->groups;
    double numbers = (double)k->pixels * width;
    double *restrict sum = k->totals + image * 5 * n, *restrict product = sum + n, *inputs = sum + 2 * n;
    double *restrict gained = sum + 3 * n, *restrict gained_product = sum + 4 * n;
    float *along = k->factors + (image * 5 + 3) * n, *all = along + n;
    const float *gain = k->gain + image * k->stride;
    for (size c = 0; c < 3 * n; c++) sum[c] = 0;
    for (size i = 0; i < k->blocks; i++) {
        const float *restrict sums = place(k, image * k->blocks + i, 0).sums;
        for (size c = 0; c < 3 * n; c++) sum[c] += sums[c];
    }
    for (size c = 0; c < n; c++) gained[c] = gain[c] * sum[c], gained_product[c] = gain[c] * product[c];
    for (size group = 0, c = 0; group < k->groups; group++) {
        double rstd = k->rstd[image * k->groups + group];
        double of_sums = total(gained + c, width) * rstd / numbers;
        double of_products = total(gained_product + c, width) * rstd * rstd * rstd / numbers;
        for (size end = c + width; c < end; c++) {
            along[c] = of_products;
            all[c] = of_sums;
            k->doffset[image * n + c] = sum[c];
            k->dgain[image * n + c] = rstd * product[c];
            if (k->dadded)
                k->dadded[image * n + c] = rstd * gained[c] - (inputs[c] * of_products + k->pixels * of_sums);
        }
    }
}

static void begin(const struct call *k, size image, size thread) {
    (void)thread;
    if (k->dy) set_factors(k, image);
}

static void join(const struct call *k, size image, size thread) {
    (void)thread;
    (k->dy ? join_gradients : join_moments)(k, image);
}

static void whole(const struct call *k, size image, size thread) {
    begin(k, image, thread);
    for (size i = 0; i < k->blocks; i++) first_pass(k, image * k->blocks + i, thread);
    join(k, image, thread);
    for (size i = 0; i < k->blocks; i++) second_pass(k, image * k->blocks + i, thread);
}

/* What each thread does: the next step that nobody has taken. */
static void work(void *data) {
    struct call *k = data;
    size thread = __atomic_fetch_add(&k->threads, 1, __ATOMIC_RELAXED);
    for (size i; (i = __atomic_fetch_add(&k->next, 1, __ATOMIC_RELAXED)) < k->steps;) k->step(k, i, thread);
}

static void each(struct call *k, void (*step)(const struct call *, size, size), size steps, team *parallel,
                 int threads) {
    k->step = step, k->steps = steps, k->next = k->threads = 0;
    if (threads > 1) parallel(work, k, threads, 0);
    else work(k);
}

/* 0, or 1 where there is no memory. Images are divided among threads or, where they are few, their blocks. */
static int run(struct call *k, team *parallel, int threads) {
    size n = k->channels, block = 8192 / n;
    k->block = block < 64 ? 64 : block > 128 ? 128 : block;
    k->blocks = (k->pixels + k->block - 1) / k->block;
    k->totals = malloc(k->images * n * (5 * sizeof(double) + (3 * k->blocks + 5) * sizeof(float)));
    if (k->images * k->pixels * n < ALONE) threads = 1;
    k->split = k->images % threads && k->images <= 4 * threads;
    int keeps = k->dy && k->half && k->silu; /* float32 is kept where dx will be */
    if (keeps) k->kept = malloc((k->split ? k->images : threads) * k->pixels * n * sizeof(float));
    int failed = !k->totals || (keeps && !k->kept);
    if (!failed) {
        k->factors = (float *)(k->totals + k->images * 5 * n);
        k->sums = k->factors + k->images * 5 * n;
        if (!k->split) each(k, whole, k->images, parallel, threads);
        else {
            each(k, begin, k->images, parallel, 1);
            each(k, first_pass, k->images * k->blocks, parallel, threads);
            each(k, join, k->images, parallel, threads);
            each(k, second_pass, k->images * k->blocks, parallel, threads);
        }
    }
    free(k->totals);
    free(k->kept);
    return failed;
}

/* (1); sets y, mean and rstd. */
int forward(team *parallel, int threads, size images, size pixels, size channels, size groups, float eps, int half,
            int silu, int per_image, const void *x, const float *gain, const float *offset, const float *added,
            float *mean, float *rstd, void *y) {
    struct call k = {.x = x, .out = y, .gain = gain, .offset = offset, .added = added, .mean = mean, .rstd = rstd,
                     .stride = per_image ? channels : 0, .images = images, .pixels = pixels, .channels = channels,
                     .groups = groups, .eps = eps, .half = half, .silu = silu};
    return run(&k, parallel, threads);
}

/* (2); sets dx, dgain, doffset and, unless it is NULL, dadded. */
int backward(team *parallel, int threads, size images, size pixels, size channels, size groups, float eps, int half,
             int silu, int per_image, const void *x, const float *gain, const float *offset, const float *added,
             float *mean, float *rstd, void *dx, const void *dy, float *dgain, float *doffset, float *dadded) {
    struct call k = {.x = x, .dy = dy, .out = dx, .gain = gain, .offset = offset, .added = added, .mean = mean,
                     .rstd = rstd, .dgain = dgain, .doffset = doffset, .dadded = dadded,
                     .stride = per_image ? channels : 0, .images = images, .pixels = pixels, .channels = channels,
                     .groups = groups, .eps = eps, .half = half, .silu = silu};
    return run(&k, parallel, threads);
}
