/* The kernels of the networks for WebAssembly with SIMD: products, normalisation, attention, activations, and copies.

   A feature map is (pixels, channels) in memory, float32, and pixels are rows of an image one after another. Weights of
   a product are (blocks, rows, 8): eight output channels are computed at a time, of which only those that exist are
   stored, and a row is one number of the input. A convolution's rows are those of its kernel, top to bottom, each
   (kx, channels), so that a row of the kernel meets neighbours in memory; zeros around an image stand in memory too.
   Loads go up to 7 numbers past the end of an array: whoever hands out memory leaves them. */

#include <wasm_simd128.h>

typedef float quad __attribute__((vector_size(16)));
typedef int ints __attribute__((vector_size(16)));
typedef quad loose __attribute__((aligned(4)));
#define INLINE static inline __attribute__((always_inline))
#define EXPORT(name) __attribute__((export_name(#name))) void name
#define TILE 4      /* pixels of a product at a time: with eight channels, eight quads of sums stay in registers */
#define QUERIES 64  /* whose scores are in memory at a time */

INLINE quad load(const float *from) { return *(const loose *)from; }
INLINE quad splat(float x) { return (quad){x, x, x, x}; }
INLINE float sum(quad x) { return x[0] + x[1] + (x[2] + x[3]); }
INLINE int least(int a, int b) { return a < b ? a : b; }

/* The first n of four numbers, or all. */
INLINE void store(float *to, quad x, int n) {
    if (n >= 4) *(loose *)to = x;
    else {
        if (n > 0) to[0] = x[0];
        if (n > 1) to[1] = x[1];
        if (n > 2) to[2] = x[2];
    }
}

/* e^t = 2^n e^r, n the integer next to t / log 2, e^r by its series: within 1.0e-7 of its value. t is bounded to where
   e^t is a normal number. */
INLINE quad exponential(quad t) {
    const quad magic = splat(12582912); /* 1.5 2^23, where neighbours are 1 apart */
    t = (quad)wasm_f32x4_min(wasm_f32x4_max((v128_t)t, wasm_f32x4_const_splat(-87)), wasm_f32x4_const_splat(88));
    quad shifted = t * 1.44269504f + magic, n = shifted - magic;
    quad r = t - n * 0.693359375f + n * 2.12194440e-4f; /* log 2 in two parts: n times the first is exact */
    quad p = r * (1.0f / 5040) + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1;
    p = p * r + 1;
    return (quad)((ints)p + ((ints)shifted << 23));
}

/* y = x w + bias + added. A pixel's input begins at its row and column of x and is `runs` times `run` numbers in a row,
   `down` apart. */
struct product {
    float *y;
    const float *x, *w, *bias, *added; /* the last two: or NULL */
    int pixels, out, pitch;            /* of y; pitch: numbers from pixel to pixel, of `added` too */
    int width, row, column;            /* pixels of a row; numbers from row to row and from column to column of x */
    int runs, run, down;
    int step, block;                   /* numbers of w from row to row and from block to block */
};

INLINE void multiply(const struct product k) {
    for (int c = 0; c < k.out; c += 8) {
        for (int p = 0; p < k.pixels; p += TILE) {
            const float *from[TILE], *w = k.w + c / 8 * k.block;
            quad sums[TILE][2];
            for (int j = 0; j < TILE; j++) {
                int q = least(p + j, k.pixels - 1);
                from[j] = k.x + q / k.width * k.row + q % k.width * k.column;
                for (int half = 0; half < 2; half++)
                    sums[j][half] = k.bias ? load(k.bias + c + 4 * half) : splat(0);
            }
            for (int r = 0; r < k.runs; r++) {
                for (int i = 0; i < k.run; i++, w += k.step) {
                    quad low = load(w), high = load(w + 4);
                    for (int j = 0; j < TILE; j++) {
                        quad x = splat(from[j][i]);
                        sums[j][0] += x * low;
                        sums[j][1] += x * high;
                    }
                }
                for (int j = 0; j < TILE; j++) from[j] += k.down;
            }
            for (int j = 0; j < TILE && p + j < k.pixels; j++)
                for (int half = 0; half < 2; half++) {
                    int at = (p + j) * k.pitch + c + 4 * half;
                    quad x = sums[j][half];
                    store(k.y + at, k.added ? x + load(k.added + at) : x, k.out - c - 4 * half);
                }
        }
    }
}

/* A convolution with a kernel of side x side, of (height - 1) stride + side rows of x, `pitch` pixels each; to
   (height width, out). A linear layer is one of side 1. */
EXPORT(convolve)(float *y, const float *x, const float *w, const float *bias, const float *added, int height,
                 int width, int pitch, int stride, int side, int in, int out) {
    multiply((struct product){.y = y, .x = x, .w = w, .bias = bias, .added = added, .pixels = height * width,
                              .out = out, .pitch = out, .width = width, .row = stride * pitch * in,
                              .column = stride * in, .runs = side, .run = side * in, .down = pitch * in, .step = 8,
                              .block = 8 * side * side * in});
}

/* softmax(scale row) of `length` numbers, in place; what follows up to `pitch` becomes 0. */
INLINE void softmax(float *row, int length, int pitch, quad scale) {
    float most = row[0];
    quad total = splat(0);
    for (int i = length; i < pitch; i++) row[i] = -1e30f;
    for (int i = 1; i < length; i++) most = row[i] > most ? row[i] : most;
    for (int i = 0; i < pitch; i += 4) {
        quad e = exponential((load(row + i) - most) * scale);
        store(row + i, e, 4);
        total += e;
    }
    for (int i = 0; i < pitch; i += 4) store(row + i, load(row + i) / sum(total), 4);
}

/* softmax(q k' / sqrt(d)) v of heads of d neighbouring channels: q and y (length, channels), k and v (seen, channels).
   If `causal`, a query sees the keys up to its own. `scratch`: seen rounded up to a multiple of four, times
   d + QUERIES. */
EXPORT(attend)(float *y, const float *q, const float *k, const float *v, float *scratch, int length, int seen,
               int channels, int heads, int causal) {
    int d = channels / heads, pitch = (seen + 3) & ~3;
    float *keys = scratch, *scores = scratch + d * pitch;
    quad scale = splat(1 / __builtin_sqrtf(d));
    for (int at = 0; at < channels; at += d) {
        for (int i = 0; i < seen; i++)
            for (int j = 0; j < d; j++) keys[j * pitch + i] = k[i * channels + at + j];
        for (int first = 0; first < length; first += QUERIES) {
            int n = least(QUERIES, length - first);
            multiply((struct product){.y = scores, .x = q + first * channels + at, .w = keys, .pixels = n,
                                      .out = seen, .pitch = pitch, .width = n, .column = channels, .runs = 1,
                                      .run = d, .step = pitch, .block = 8});
            for (int i = 0; i < n; i++) softmax(scores + i * pitch, causal ? first + i + 1 : seen, pitch, scale);
            multiply((struct product){.y = y + first * channels + at, .x = scores, .w = v + at, .pixels = n, .out = d,
                                      .pitch = channels, .width = n, .column = pitch, .runs = 1, .run = seen,
                                      .step = channels, .block = 8});
        }
    }
}

/* Group normalisation of x + added, times 1 + scale, plus shift, and through SiLU if it `activates`: (height width,
   channels) to rows that are `row` numbers apart. `added`, `scale`, `shift`: (channels,) or NULL. `scratch`: channels
   and 4 more, three times. */
EXPORT(normalise)(float *y, const float *x, const float *added, const float *gain, const float *bias,
                  const float *scale, const float *shift, float *scratch, int height, int width, int row, int channels,
                  int groups, float eps, int activates) {
    int pixels = height * width, n = channels / groups;
    float *means = scratch, *slopes = means + channels + 4, *offsets = slopes + channels + 4, *sums = slopes;
    for (int c = 0; c < channels; c++) means[c] = added ? -added[c] : 0;
    for (int squares = 0; squares < 2; squares++) { /* first the means, from which deviations are counted then */
        for (int c = 0; c < channels; c++) sums[c] = 0;
        for (int p = 0; p < pixels; p++)
            for (int c = 0; c < channels; c += 4) {
                quad d = load(x + p * channels + c) - load(means + c);
                store(sums + c, load(sums + c) + (squares ? d * d : d), 4);
            }
        for (int first = 0; first < channels; first += n) {
            double total = 0;
            for (int c = first; c < first + n; c++) total += sums[c];
            float mean = total / pixels / n, rstd = 1 / __builtin_sqrtf(mean + eps);
            for (int c = first; c < first + n; c++)
                if (squares) {
                    float factor = scale ? 1 + scale[c] : 1;
                    slopes[c] = rstd * gain[c] * factor;
                    offsets[c] = bias[c] * factor + (shift ? shift[c] : 0);
                } else means[c] += mean;
        }
    }
    for (int i = 0; i < height; i++)
        for (int j = 0; j < width; j++, x += channels)
            for (int c = 0; c < channels; c += 4) {
                quad z = (load(x + c) - load(means + c)) * load(slopes + c) + load(offsets + c);
                store(y + i * row + j * channels + c, activates ? z / (1 + exponential(-z)) : z, channels - c);
            }
}

/* The first n of four numbers, or all, and zeros. */
INLINE quad only(quad x, int n) {
    return n >= 4 ? x : (quad){n > 0 ? x[0] : 0, n > 1 ? x[1] : 0, n > 2 ? x[2] : 0, 0};
}

/* Layer normalisation of (pixels, channels), each pixel by itself, times base + gain, plus bias. `gain`, `bias`:
   (channels,) or NULL. */
EXPORT(normalise_pixels)(float *y, const float *x, const float *gain, const float *bias, int pixels, int channels,
                         float base, float eps) {
    for (int p = 0; p < pixels; p++, x += channels, y += channels) {
        quad total = splat(0), squares = splat(0);
        for (int c = 0; c < channels; c += 4) total += only(load(x + c), channels - c);
        quad mean = splat(sum(total) / channels);
        for (int c = 0; c < channels; c += 4) {
            quad d = only(load(x + c) - mean, channels - c);
            squares += d * d;
        }
        quad rstd = splat(1 / __builtin_sqrtf(sum(squares) / channels + eps));
        for (int c = 0; c < channels; c += 4) {
            quad z = (load(x + c) - mean) * rstd * (gain ? load(gain + c) + base : splat(base));
            store(y + c, bias ? z + load(bias + c) : z, channels - c);
        }
    }
}

/* x + gate h of (pixels, channels). `gate`: (channels,). */
EXPORT(add_gated)(float *y, const float *x, const float *gate, const float *h, int pixels, int channels) {
    for (int p = 0; p < pixels; p++, x += channels, h += channels, y += channels)
        for (int c = 0; c < channels; c += 4) store(y + c, load(x + c) + load(gate + c) * load(h + c), channels - c);
}

/* x / (1 + e^-(slope x + cubic x^3)) of `count` numbers, in place: SiLU, and gelu by either approximation. */
EXPORT(activate)(float *y, int count, float slope, float cubic) {
    for (int i = 0; i < count; i += 4) {
        quad x = load(y + i);
        store(y + i, x / (1 + exponential(-(x * (slope + cubic * x * x)))), count - i);
    }
}

/* gelu, x Phi(x) = max(x, 0) - a Phi(-a), a = |x|: to 1e-7 of the larger of 1 and a. Phi(-a) e^(a^2/2) is a polynomial
   in t = 1 / (1 + a/2) to 1e-8 where it counts, fitted by least squares. */
INLINE quad gelu(quad x) {
    quad a = (quad)wasm_f32x4_abs((v128_t)x), t = 2 / (2 + a);
    quad p = t * -0.05691929f + 0.26766983f;
    p = p * t - 0.45667255f;
    p = p * t + 0.2394002f;
    p = p * t + 0.10226347f;
    p = p * t + 0.20495422f;
    p = p * t + 0.1993027f;
    return (quad)wasm_f32x4_max((v128_t)x, wasm_f32x4_const_splat(0)) - a * (exponential(-0.5f * a * a) * (p * t));
}

/* The first half of (pixels, 2 width) times gelu of the second. */
EXPORT(gate)(float *y, const float *x, int pixels, int width) {
    for (int p = 0; p < pixels; p++, x += 2 * width, y += width)
        for (int c = 0; c < width; c += 4) store(y + c, load(x + c) * gelu(load(x + width + c)), width - c);
}

/* Copies (h, w, channels) to (height, width, channels), each pixel from the nearest above and to the left. y has `row`
   numbers from row to row and `column` from pixel to pixel: it lies among zeros, or beside other channels. */
EXPORT(place)(float *y, const float *x, int h, int w, int height, int width, int channels, int row, int column) {
    for (int i = 0; i < height; i++)
        for (int j = 0; j < width; j++) {
            const float *from = x + (i * h / height * w + j * w / width) * channels;
            for (int c = 0; c < channels; c += 4) store(y + i * row + j * column + c, load(from + c), channels - c);
        }
}

/* Means of two by two pixels, at an odd edge of those that there are: (h, w, channels) to half the sides, rounded up,
   in rows that are `row` apart. */
EXPORT(halve)(float *y, const float *x, int h, int w, int channels, int row) {
    for (int i = 0; i < h; i += 2)
        for (int j = 0; j < w; j += 2) {
            int below = i + 1 < h ? w * channels : 0, beside = j + 1 < w ? channels : 0; /* else the same pixel again */
            const float *from = x + (i * w + j) * channels;
            for (int c = 0; c < channels; c += 4, from += 4) {
                quad upper = load(from) + load(from + beside), lower = load(from + below) + load(from + below + beside);
                store(y + i / 2 * row + j / 2 * channels + c, 0.25f * (upper + lower), channels - c);
            }
        }
}
