// Tells right rows of a matrix product from wrong ones by Freivalds' method, as a `wasm/1` checker program: no imports, no C library.
//
// Layouts, the bound and why honest results never pass it: ../README.md. The seed of the unit input is unknown to whoever made the output.
// Rebuild with ../build.sh; ../build.sh --check compares with the committed module.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef long long i64;
typedef unsigned long long u64;
typedef double pair __attribute__((vector_size(16)));

#define EXPORT(name) __attribute__((export_name(#name), visibility("default")))

enum { PAGE_BYTES = 65536, SEED_BYTES = 32, COMMON_WORDS = 4, UNIT_WORDS = 2, ROUNDS = 16, PAIRS = ROUNDS / 2 };
enum { SIDE_MAX = 16384 };
enum { BAD_COMMON = -1, BAD_UNIT = -2, OUT_OF_MEMORY = -3 };
enum { RIGHT = 0, WRONG = 1 };

// Spacing of single precision at 1: no device's rounding of one operation is off by more, whatever its direction.
static const double SPACING = 1.0 / 8388608.0;
// A sum with random signs of numbers of square sum s^2 is beyond 7 s with probability below 2 exp(-49 / 2) = 4.6e-11.
static const double DEVIATIONS = 7.0;
// Below this a device may take 0: the least normal number of single precision.
static const double LEAST = 1.1754943508222875e-38;

extern u8 __heap_base;
static u64 heap_end = 0;

// A bump allocator: an instance lives for one check. 0 = no memory.
static u32 take(u64 bytes) {
  if (heap_end == 0) heap_end = ((u64)(u32)&__heap_base + 15) & ~15ull;
  u64 begin = heap_end, end = (begin + bytes + 15) & ~15ull;
  u64 have = (u64)__builtin_wasm_memory_size(0) * PAGE_BYTES;
  if (end > have) {
    u64 pages = (end - have + PAGE_BYTES - 1) / PAGE_BYTES;
    if (pages > 65536 || __builtin_wasm_memory_grow(0, (u32)pages) == (__SIZE_TYPE__)-1) return 0;
  }
  heap_end = end;
  return (u32)begin;
}

EXPORT(alloc) u32 alloc(u32 bytes) {
  u32 at = take(bytes);
  if (at == 0) __builtin_trap();
  return at;
}

static u32 word(const u8 *at) { return at[0] | (u32)at[1] << 8 | (u32)at[2] << 16 | (u32)at[3] << 24; }

static u32 rotated(u32 x, u32 bits) { return x << bits | x >> (32 - bits); }

#define QUARTER(a, b, c, d)          \
  a += b, d = rotated(d ^ a, 16);    \
  c += d, b = rotated(b ^ c, 12);    \
  a += b, d = rotated(d ^ a, 8);     \
  c += d, b = rotated(b ^ c, 7)

// One block of ChaCha20 (RFC 8439) with nonce 0: 32 numbers of 16 bits.
static void chacha(const u8 *key, u32 counter, u16 *out) {
  u32 start[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574}, s[16];
  for (u32 i = 0; i < 8; i++) start[4 + i] = word(key + 4 * i);
  start[12] = counter;
  for (u32 i = 0; i < 16; i++) s[i] = start[i];
  for (u32 round = 0; round < 10; round++) {
    QUARTER(s[0], s[4], s[8], s[12]);
    QUARTER(s[1], s[5], s[9], s[13]);
    QUARTER(s[2], s[6], s[10], s[14]);
    QUARTER(s[3], s[7], s[11], s[15]);
    QUARTER(s[0], s[5], s[10], s[15]);
    QUARTER(s[1], s[6], s[11], s[12]);
    QUARTER(s[2], s[7], s[8], s[13]);
    QUARTER(s[3], s[4], s[9], s[14]);
  }
  for (u32 i = 0; i < 16; i++) {
    const u32 value = s[i] + start[i];
    out[2 * i] = (u16)value;
    out[2 * i + 1] = (u16)(value >> 16);
  }
}

// The random vectors, column by column: ROUNDS signs of each.
static void draw(const u8 *seed, u32 columns, double *signs) {
  u16 bits[32];
  for (u32 column = 0; column < columns; column++) {
    if (column % 32 == 0) chacha(seed, column / 32, bits);
    for (u32 round = 0; round < ROUNDS; round++) signs[column * ROUNDS + round] = bits[column % 32] >> round & 1 ? 1.0 : -1.0;
  }
}

// The wasm memory is little-endian, and blobs begin at multiples of 16.
static double element(const float *at) { return (double)*at; }

// out[round] = sum over i of values[i] * vectors[i][round]; returns the sum of squares.
static double project(const float *values, const double *vectors, u32 count, pair *out) {
  pair sums[PAIRS];
  for (u32 p = 0; p < PAIRS; p++) sums[p] = (pair){0.0, 0.0};
  double squares = 0.0;
  for (u32 i = 0; i < count; i++) {
    const double value = element(values + i);
    const pair both = {value, value};
    const pair *vector = (const pair *)(vectors + (u64)i * ROUNDS);
    for (u32 p = 0; p < PAIRS; p++) sums[p] += both * vector[p];
    squares += value * value;
  }
  for (u32 p = 0; p < PAIRS; p++) out[p] = sums[p];
  return squares;
}

static double absolute(double x) { return x < 0.0 ? -x : x; }

typedef struct {
  u32 rows, inner, columns;
  const float *a, *b, *c;
} Product;

// Compares A (B r) with C r for all rows and rounds.
static int judge(const Product *product, const u8 *seed, u8 *verdict) {
  const u32 signs_at = take(8ull * ROUNDS * product->columns), images_at = take(8ull * ROUNDS * product->inner);
  const u32 norms_at = take(8ull * product->inner);
  if (signs_at == 0 || images_at == 0 || norms_at == 0) return OUT_OF_MEMORY;
  double *signs = (double *)signs_at, *images = (double *)images_at, *norms = (double *)norms_at;
  draw(seed, product->columns, signs);
  for (u32 i = 0; i < product->inner; i++) {
    const double squares = project(product->b + (u64)i * product->columns, signs, product->columns, (pair *)(images + (u64)i * ROUNDS));
    norms[i] = __builtin_sqrt(squares);
  }
  // Depth of the kernel's sum: 16 products, 16 sums of them, all those; one for the product itself and one for the last sum.
  const double depth = 34.0 + (double)((product->inner + 255) / 256);
  const double lost = 4.0 * LEAST * (double)product->inner * (double)product->columns;
  u32 wrong = 0;
  for (u32 row = 0; row < product->rows; row++) {
    pair expected[PAIRS], got[PAIRS];
    const float *a = product->a + (u64)row * product->inner;
    project(a, images, product->inner, expected);
    project(product->c + (u64)row * product->columns, signs, product->columns, got);
    double size = 0.0;
    for (u32 i = 0; i < product->inner; i++) size += absolute(element(a + i)) * norms[i];
    const double bound = DEVIATIONS * depth * SPACING * size + lost;
    for (u32 p = 0; p < PAIRS; p++)
      for (u32 half = 0; half < 2; half++)
        // Written so that a difference that is no number is wrong.
        if (!(absolute(expected[p][half] - got[p][half]) <= bound)) wrong = 1;
  }
  *verdict = wrong ? WRONG : RIGHT;
  return 0;
}

EXPORT(run) i64 run(const u8 *common, u32 common_len, const u8 *unit, u32 unit_len) {
  if (common_len < 4 * COMMON_WORDS || word(common) != 1) return BAD_COMMON;
  Product product = {.inner = word(common + 4), .columns = word(common + 8), .b = (const float *)(common + 4 * COMMON_WORDS)};
  if (product.inner < 1 || product.inner > SIDE_MAX || product.columns < 1 || product.columns > SIDE_MAX) return BAD_COMMON;
  if (common_len != 4 * (COMMON_WORDS + (u64)product.inner * product.columns)) return BAD_COMMON;

  if (unit_len < SEED_BYTES + 4 + 4 * UNIT_WORDS) return BAD_UNIT;
  const u64 input_len = word(unit + SEED_BYTES);
  const u8 *input = unit + SEED_BYTES + 4;
  if (SEED_BYTES + 4 + input_len > unit_len) return BAD_UNIT;
  product.rows = word(input);
  if (product.rows < 1 || product.rows > SIDE_MAX || word(input + 4) != product.inner) return BAD_UNIT;
  if (input_len != 4 * (UNIT_WORDS + (u64)product.rows * product.inner)) return BAD_UNIT;
  product.a = (const float *)(input + 4 * UNIT_WORDS);
  product.c = (const float *)(input + input_len);

  const u32 verdict_at = take(1);
  if (verdict_at == 0) return OUT_OF_MEMORY;
  u8 *verdict = (u8 *)verdict_at;
  const u64 output_len = unit_len - SEED_BYTES - 4 - input_len;
  if (output_len != 4 * (u64)product.rows * product.columns) {
    *verdict = WRONG;
  } else {
    const int code = judge(&product, unit, verdict);
    if (code != 0) return code;
  }
  return (i64)((u64)verdict_at << 32 | 1);
}
