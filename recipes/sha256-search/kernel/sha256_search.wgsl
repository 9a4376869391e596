// Searches a range of nonces for small SHA-256 digests: a `wgsl/1` program of the exact class.
//
// Layouts: ../README.md. The CPU reference, equal to the bit, is ../../src/sha256_search/search.rs. A message is a prefix, whose whole blocks
// the customer has compressed already, and the nonce as 16 hexadecimal digits. Loops of one invocation: 256 nonces, 2 blocks of 4 quarters
// each, 6 steps of the comparison inside the workgroup: at most 255 + 1 + 256 * (2 + 1 + 2 * 5) + 6 + 1 = 3,591.

@group(0) @binding(0) var<storage, read> common_words: array<u32>;
@group(0) @binding(1) var<storage, read> unit_words: array<u32>;
@group(0) @binding(2) var<storage, read_write> output: array<atomic<u32>>;

// Word offsets in the common input.
const BLOCKS_AT: u32 = 1u;
const NONCE_WORD_AT: u32 = 2u;
const NONCE_SHIFT_AT: u32 = 3u;
const MIDSTATE_AT: u32 = 4u;
const TEMPLATE_AT: u32 = 12u;
const ROUND_CONSTANTS_AT: u32 = 44u;

const INVOCATIONS: u32 = 64u;
const NONCES_PER_INVOCATION: u32 = 256u;
// Words of the histogram in front of the records, and words of a record.
const HISTOGRAM_WORDS: u32 = 33u;
const RECORD_WORDS: u32 = 10u;

struct State {
    abcd: vec4<u32>,
    efgh: vec4<u32>,
}

struct Found {
    digest: State,
    nonce: vec2<u32>,
}

var<workgroup> best: array<Found, INVOCATIONS>;
var<workgroup> histogram: array<atomic<u32>, HISTOGRAM_WORDS>;

fn rotated(x: u32, bits: u32) -> u32 {
    return (x >> bits) | (x << (32u - bits));
}

fn big_0(x: u32) -> u32 {
    return rotated(x, 2u) ^ rotated(x, 13u) ^ rotated(x, 22u);
}

fn big_1(x: u32) -> u32 {
    return rotated(x, 6u) ^ rotated(x, 11u) ^ rotated(x, 25u);
}

fn small_0(x: u32) -> u32 {
    return rotated(x, 7u) ^ rotated(x, 18u) ^ (x >> 3u);
}

fn small_1(x: u32) -> u32 {
    return rotated(x, 17u) ^ rotated(x, 19u) ^ (x >> 10u);
}

fn round(s: State, word: u32) -> State {
    let e = s.efgh.x;
    let choice = (e & s.efgh.y) ^ (~e & s.efgh.z);
    let t1 = s.efgh.w + big_1(e) + choice + word;
    let a = s.abcd.x;
    let majority = (a & s.abcd.y) ^ (a & s.abcd.z) ^ (s.abcd.y & s.abcd.z);
    let t2 = big_0(a) + majority;
    return State(vec4<u32>(t1 + t2, s.abcd.xyz), vec4<u32>(s.abcd.w + t1, s.efgh.xyz));
}

// FIPS 180-4, 6.2.2: four quarters of 16 rounds; between them the 16 words of the schedule are replaced in place.
fn compress(start: State, block: array<u32, 16>) -> State {
    var w = block;
    var s = start;
    for (var quarter = 0u; quarter < 4u; quarter++) {
        let at = ROUND_CONSTANTS_AT + 16u * quarter;
        s = round(s, w[0] + common_words[at + 0u]);
        s = round(s, w[1] + common_words[at + 1u]);
        s = round(s, w[2] + common_words[at + 2u]);
        s = round(s, w[3] + common_words[at + 3u]);
        s = round(s, w[4] + common_words[at + 4u]);
        s = round(s, w[5] + common_words[at + 5u]);
        s = round(s, w[6] + common_words[at + 6u]);
        s = round(s, w[7] + common_words[at + 7u]);
        s = round(s, w[8] + common_words[at + 8u]);
        s = round(s, w[9] + common_words[at + 9u]);
        s = round(s, w[10] + common_words[at + 10u]);
        s = round(s, w[11] + common_words[at + 11u]);
        s = round(s, w[12] + common_words[at + 12u]);
        s = round(s, w[13] + common_words[at + 13u]);
        s = round(s, w[14] + common_words[at + 14u]);
        s = round(s, w[15] + common_words[at + 15u]);
        w[0] += small_1(w[14]) + w[9] + small_0(w[1]);
        w[1] += small_1(w[15]) + w[10] + small_0(w[2]);
        w[2] += small_1(w[0]) + w[11] + small_0(w[3]);
        w[3] += small_1(w[1]) + w[12] + small_0(w[4]);
        w[4] += small_1(w[2]) + w[13] + small_0(w[5]);
        w[5] += small_1(w[3]) + w[14] + small_0(w[6]);
        w[6] += small_1(w[4]) + w[15] + small_0(w[7]);
        w[7] += small_1(w[5]) + w[0] + small_0(w[8]);
        w[8] += small_1(w[6]) + w[1] + small_0(w[9]);
        w[9] += small_1(w[7]) + w[2] + small_0(w[10]);
        w[10] += small_1(w[8]) + w[3] + small_0(w[11]);
        w[11] += small_1(w[9]) + w[4] + small_0(w[12]);
        w[12] += small_1(w[10]) + w[5] + small_0(w[13]);
        w[13] += small_1(w[11]) + w[6] + small_0(w[14]);
        w[14] += small_1(w[12]) + w[7] + small_0(w[15]);
        w[15] += small_1(w[13]) + w[8] + small_0(w[0]);
    }
    return State(start.abcd + s.abcd, start.efgh + s.efgh);
}

// Four hexadecimal digits of the low half of a word, as four bytes, the first in the high byte.
fn digits(half: u32) -> u32 {
    var spread = (half & 0xffffu);
    spread = (spread | (spread << 8u)) & 0x00ff00ffu;
    spread = (spread | (spread << 4u)) & 0x0f0f0f0fu;
    // 0 to 9 become '0' to '9'; above, 39 more leads to 'a' to 'f'. Bit 4 of (digit + 6) tells which.
    let letters = ((spread + 0x06060606u) >> 4u) & 0x01010101u;
    return spread + 0x30303030u + letters * 39u;
}

// The digest of prefix and nonce (low, high).
fn digest(nonce: vec2<u32>) -> State {
    let text = vec4<u32>(digits(nonce.y >> 16u), digits(nonce.y), digits(nonce.x >> 16u), digits(nonce.x));
    let shift = common_words[NONCE_SHIFT_AT];
    // The 16 bytes lie in four words, or in five if they begin inside a word. A shift by 32 is avoided: it is not defined.
    let back = (32u - shift) & 31u;
    let carried = vec4<u32>(text.x << back, text.y << back, text.z << back, text.w << back);
    let begun = shift != 0u;
    var parts: array<u32, 5>;
    parts[0] = text.x >> shift;
    parts[1] = (text.y >> shift) | select(0u, carried.x, begun);
    parts[2] = (text.z >> shift) | select(0u, carried.y, begun);
    parts[3] = (text.w >> shift) | select(0u, carried.z, begun);
    parts[4] = select(0u, carried.w, begun);
    let first = common_words[NONCE_WORD_AT];
    var state = State(
        vec4<u32>(common_words[MIDSTATE_AT], common_words[MIDSTATE_AT + 1u], common_words[MIDSTATE_AT + 2u], common_words[MIDSTATE_AT + 3u]),
        vec4<u32>(common_words[MIDSTATE_AT + 4u], common_words[MIDSTATE_AT + 5u], common_words[MIDSTATE_AT + 6u], common_words[MIDSTATE_AT + 7u]),
    );
    for (var block = 0u; block < min(common_words[BLOCKS_AT], 2u); block++) {
        var words: array<u32, 16>;
        let base = 16u * block;
        words[0] = common_words[TEMPLATE_AT + base + 0u] | part(parts, base + 0u - first);
        words[1] = common_words[TEMPLATE_AT + base + 1u] | part(parts, base + 1u - first);
        words[2] = common_words[TEMPLATE_AT + base + 2u] | part(parts, base + 2u - first);
        words[3] = common_words[TEMPLATE_AT + base + 3u] | part(parts, base + 3u - first);
        words[4] = common_words[TEMPLATE_AT + base + 4u] | part(parts, base + 4u - first);
        words[5] = common_words[TEMPLATE_AT + base + 5u] | part(parts, base + 5u - first);
        words[6] = common_words[TEMPLATE_AT + base + 6u] | part(parts, base + 6u - first);
        words[7] = common_words[TEMPLATE_AT + base + 7u] | part(parts, base + 7u - first);
        words[8] = common_words[TEMPLATE_AT + base + 8u] | part(parts, base + 8u - first);
        words[9] = common_words[TEMPLATE_AT + base + 9u] | part(parts, base + 9u - first);
        words[10] = common_words[TEMPLATE_AT + base + 10u] | part(parts, base + 10u - first);
        words[11] = common_words[TEMPLATE_AT + base + 11u] | part(parts, base + 11u - first);
        words[12] = common_words[TEMPLATE_AT + base + 12u] | part(parts, base + 12u - first);
        words[13] = common_words[TEMPLATE_AT + base + 13u] | part(parts, base + 13u - first);
        words[14] = common_words[TEMPLATE_AT + base + 14u] | part(parts, base + 14u - first);
        words[15] = common_words[TEMPLATE_AT + base + 15u] | part(parts, base + 15u - first);
        state = compress(state, words);
    }
    return state;
}

// The part of this index, 0 if there is none. An index below the first has wrapped and is large.
fn part(parts: array<u32, 5>, index: u32) -> u32 {
    return select(0u, parts[0], index == 0u) | select(0u, parts[1], index == 1u) | select(0u, parts[2], index == 2u)
        | select(0u, parts[3], index == 3u) | select(0u, parts[4], index == 4u);
}

// -1, 0 or 1 as a is below, equal to or above b; the first word that differs decides.
fn order(a: vec4<u32>, b: vec4<u32>) -> i32 {
    let above = vec4<i32>(select(vec4<i32>(0), vec4<i32>(1), a > b)) - select(vec4<i32>(0), vec4<i32>(1), a < b);
    if (above.x != 0) {
        return above.x;
    }
    if (above.y != 0) {
        return above.y;
    }
    if (above.z != 0) {
        return above.z;
    }
    return above.w;
}

// Whether a is better than b: the smaller digest, and of equal ones the smaller nonce.
fn better(a: Found, b: Found) -> bool {
    let first = order(a.digest.abcd, b.digest.abcd);
    let second = order(a.digest.efgh, b.digest.efgh);
    let nonce = a.nonce.y < b.nonce.y || (a.nonce.y == b.nonce.y && a.nonce.x < b.nonce.x);
    return first < 0 || (first == 0 && (second < 0 || (second == 0 && nonce)));
}

@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let offset = (group.x * INVOCATIONS + lane) * NONCES_PER_INVOCATION;
    let low = unit_words[0] + offset;
    let start = vec2<u32>(low, unit_words[1] + select(0u, 1u, low < offset));
    var found = Found(digest(start), start);
    atomicAdd(&histogram[countLeadingZeros(found.digest.abcd.x)], 1u);
    // Units begin at a multiple of 16,384, so no carry leaves the low word here.
    for (var step = 1u; step < NONCES_PER_INVOCATION; step++) {
        let nonce = vec2<u32>(start.x + step, start.y);
        let next = Found(digest(nonce), nonce);
        atomicAdd(&histogram[countLeadingZeros(next.digest.abcd.x)], 1u);
        if (better(next, found)) {
            found = next;
        }
    }
    best[lane] = found;
    workgroupBarrier();
    for (var stride = INVOCATIONS / 2u; stride > 0u; stride >>= 1u) {
        if (lane < stride && better(best[lane + stride], best[lane])) {
            best[lane] = best[lane + stride];
        }
        workgroupBarrier();
    }
    if (lane < HISTOGRAM_WORDS) {
        atomicAdd(&output[lane], atomicLoad(&histogram[lane]));
    }
    if (lane == 0u) {
        let at = HISTOGRAM_WORDS + RECORD_WORDS * group.x;
        let digest = best[0].digest;
        atomicStore(&output[at], best[0].nonce.x);
        atomicStore(&output[at + 1u], best[0].nonce.y);
        atomicStore(&output[at + 2u], digest.abcd.x);
        atomicStore(&output[at + 3u], digest.abcd.y);
        atomicStore(&output[at + 4u], digest.abcd.z);
        atomicStore(&output[at + 5u], digest.abcd.w);
        atomicStore(&output[at + 6u], digest.efgh.x);
        atomicStore(&output[at + 7u], digest.efgh.y);
        atomicStore(&output[at + 8u], digest.efgh.z);
        atomicStore(&output[at + 9u], digest.efgh.w);
    }
}
