// Monte-Carlo losses of a portfolio, one path per invocation, in integers only: a `wgsl/1` program of the exact class.
//
// Layouts, fixed-point formats and rounding: ../README.md. The CPU reference, equal to the bit, is
// ../../src/value_at_risk/path.rs. Loops of one invocation: at most 4 blocks, 40 rounds, 16 normals, 16 rows and 136 products.

@group(0) @binding(0) var<storage, read> common_words: array<u32>;
@group(0) @binding(1) var<storage, read> unit_words: array<u32>;
@group(0) @binding(2) var<storage, read_write> losses: array<u32>;

// Word offsets in the common input.
const ASSETS_AT: u32 = 1u;
const SEED_AT: u32 = 2u;
const MEANS_AT: u32 = 4u;
const WEIGHTS_AT: u32 = 20u;
const FACTOR_AT: u32 = 36u;
const TAIL_AT: u32 = 172u;
const SEGMENTS_AT: u32 = 300u;
const POWERS_AT: u32 = 4908u;

const GROWTH_MAX: u32 = 0x7fffffffu;
const ONE_Q24: u32 = 0x01000000u;
const LOG2_E_Q30: u32 = 1549082005u;
const LN_2_Q32: u32 = 2977044472u;

// 64-bit numbers are vec2(low, high), two's complement.

fn multiply(a: u32, b: u32) -> vec2<u32> {
    let a_low = a & 0xffffu;
    let a_high = a >> 16u;
    let b_low = b & 0xffffu;
    let b_high = b >> 16u;
    let low = a_low * b_low;
    let cross = a_high * b_low + (low >> 16u);
    let middle = a_low * b_high + (cross & 0xffffu);
    return vec2<u32>(a * b, a_high * b_high + (cross >> 16u) + (middle >> 16u));
}

fn high(a: u32, b: u32) -> u32 {
    return multiply(a, b).y;
}

// Product of two's complement words: the unsigned product, less what the sign bits stand for.
fn multiply_signed(a: u32, b: u32) -> vec2<u32> {
    let product = multiply(a, b);
    let correction = select(0u, b, (a >> 31u) == 1u) + select(0u, a, (b >> 31u) == 1u);
    return vec2<u32>(product.x, product.y - correction);
}

fn add(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let low = a.x + b.x;
    return vec2<u32>(low, a.y + b.y + select(0u, 1u, low < a.x));
}

// Round and shift right by 30; the low word.
fn round_shift_30(value: vec2<u32>) -> u32 {
    let rounded = add(value, vec2<u32>(0x20000000u, 0u));
    return (rounded.x >> 30u) | (rounded.y << 2u);
}

// Philox4x32, 10 rounds.
fn philox(start: vec4<u32>, key_start: vec2<u32>) -> vec4<u32> {
    var counter = start;
    var key = key_start;
    for (var round = 0u; round < 10u; round++) {
        let first = multiply(counter.x, 0xD2511F53u);
        let second = multiply(counter.z, 0xCD9E8D57u);
        counter = vec4<u32>(second.y ^ counter.y ^ key.x, second.x, first.y ^ counter.w ^ key.y, first.x);
        key += vec2<u32>(0x9E3779B9u, 0xBB67AE85u);
    }
    return counter;
}

// Normal quantile of a word, Q3.28: the top bit is the sign, the others v are the probability (v + 1/2) / 2^32 of the tail.
fn normal(word: u32) -> u32 {
    let v = word & 0x7fffffffu;
    var depth: u32;
    if (v < 128u) {
        depth = common_words[TAIL_AT + v];
    } else {
        let octave = firstLeadingBit(v);
        let width_bits = octave - 6u;
        let segment = (octave - 7u) * 64u + ((v >> width_bits) & 63u);
        let t = (v << (32u - width_bits)) | (1u << (31u - width_bits));
        let at = SEGMENTS_AT + 3u * segment;
        depth = common_words[at] - high(common_words[at + 1u] - high(common_words[at + 2u], t), t);
    }
    return select(0u - depth, depth, (word >> 31u) == 1u);
}

// exp of a log return in Q5.26, as Q7.24, at most GROWTH_MAX.
fn growth(log_return: u32) -> u32 {
    let exponent = multiply_signed(log_return, LOG2_E_Q30);
    let whole = bitcast<i32>(exponent.y) >> 24u;
    let fraction = (exponent.y << 8u) | (exponent.x >> 24u);
    let power = common_words[POWERS_AT + (fraction >> 24u)];
    let x = high(fraction << 8u, LN_2_Q32);
    let rest = x + (high(x, x) >> 9u);
    let mantissa = power + (high(power, rest) >> 8u);
    if (whole >= 7) {
        return GROWTH_MAX;
    }
    if (whole < -24) {
        return 0u;
    }
    let shift = u32(7 - whole);
    return (mantissa >> shift) + ((mantissa >> (shift - 1u)) & 1u);
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let index = id.x;
    if (index >= unit_words[2]) {
        return;
    }
    let path_low = unit_words[0] + index;
    let path_high = unit_words[1] + select(0u, 1u, path_low < index);
    let key = vec2<u32>(common_words[SEED_AT], common_words[SEED_AT + 1u]);
    let assets = min(common_words[ASSETS_AT], 16u);

    var normals: array<u32, 16>;
    for (var block = 0u; 4u * block < assets; block++) {
        let words = philox(vec4<u32>(path_low, path_high, block, 0u), key);
        for (var lane = 0u; lane < 4u; lane++) {
            normals[4u * block + lane] = normal(words[lane]);
        }
    }

    // Gain of the portfolio in Q9.54.
    var gain = vec2<u32>(0u, 0u);
    var at = FACTOR_AT;
    for (var asset = 0u; asset < assets; asset++) {
        // Q7.56 from Q5.26: shifted left by 30, which is by 32 and back by 2 with the sign.
        let mean = common_words[MEANS_AT + asset];
        var sum = vec2<u32>(mean << 30u, bitcast<u32>(bitcast<i32>(mean) >> 2u));
        for (var column = 0u; column <= asset; column++) {
            sum = add(sum, multiply_signed(common_words[at], normals[column]));
            at++;
        }
        let change = growth(round_shift_30(sum)) - ONE_Q24;
        gain = add(gain, multiply_signed(common_words[WEIGHTS_AT + asset], change));
    }
    // The loss is the negated gain: invert, add one.
    losses[index] = round_shift_30(add(~gain, vec2<u32>(1u, 0u)));
}
