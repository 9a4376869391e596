//! The four kernels of the proof of hardware. They keep to the interface of jobs (`common_input`, `unit_input`, `output`), so the interpreter of
//! `keystead-kernel` runs them too: that is how their words are compared with the reference where there is no driver.

/// Declarations that all share. `mixed` is the mixing of specs/0010-capability.md §6.2.
macro_rules! kernel {
    ($body:literal) => {
        concat!(
            "
@group(0) @binding(0) var<storage, read> common_input: array<u32>;
@group(0) @binding(1) var<storage, read> unit_input: array<u32>;
@group(0) @binding(2) var<storage, read_write> output: array<u32>;
fn mixed(word: u32) -> u32 {
    var x = word;
    x = (x ^ (x >> 16u)) * 0x85ebca6bu;
    x = (x ^ (x >> 13u)) * 0xc2b2ae35u;
    return x ^ (x >> 16u);
}
",
            $body
        )
    };
}

/// Workgroup of the kernels that go over all words of a matrix: columns at once; the second dimension is the row.
pub(crate) const LINE: u32 = 64;
/// Rows and columns of one workgroup's part of a product.
pub(crate) const TILE: u32 = 64;

/// Fills the matrix: `common_input` is the side, then the key.
pub(crate) const FILL: &str = kernel!(
    "
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let side = common_input[0];
    if (id.x >= side) { return; }
    let row_key = mixed(mixed(id.y ^ common_input[1]) ^ common_input[2]);
    output[id.y * side + id.x] = mixed(mixed(id.x ^ row_key) ^ common_input[3]) + common_input[4];
}"
);

/// Mixes every word: `common_input` is the side.
pub(crate) const MIX: &str = kernel!(
    "
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let side = common_input[0];
    if (id.x >= side) { return; }
    let at = id.y * side + id.x;
    output[at] = mixed(unit_input[at]);
}"
);

/// The square of the matrix, for sides from 64 on: each workgroup makes 64 by 64 words, each of its invocations 4 by 4.
pub(crate) const PRODUCT: &str = kernel!(
    "
var<workgroup> left: array<u32, 1024>;
var<workgroup> right: array<u32, 1024>;
@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let side = common_input[0];
    let first_row = group.y * 64u;
    let first_column = group.x * 64u;
    let row = (lane / 16u) * 4u;
    let column = (lane % 16u) * 4u;
    var sum0 = vec4<u32>(0u, 0u, 0u, 0u);
    var sum1 = vec4<u32>(0u, 0u, 0u, 0u);
    var sum2 = vec4<u32>(0u, 0u, 0u, 0u);
    var sum3 = vec4<u32>(0u, 0u, 0u, 0u);
    for (var depth = 0u; depth < side; depth += 16u) {
        for (var part = 0u; part < 4u; part++) {
            let at = lane + part * 256u;
            left[at] = unit_input[(first_row + at / 16u) * side + depth + at % 16u];
            right[at] = unit_input[(depth + at / 64u) * side + first_column + at % 64u];
        }
        workgroupBarrier();
        for (var k = 0u; k < 16u; k++) {
            let b = k * 64u + column;
            let words = vec4<u32>(right[b], right[b + 1u], right[b + 2u], right[b + 3u]);
            let a = row * 16u + k;
            sum0 += words * left[a];
            sum1 += words * left[a + 16u];
            sum2 += words * left[a + 32u];
            sum3 += words * left[a + 48u];
        }
        workgroupBarrier();
    }
    let to = (first_row + row) * side + first_column + column;
    output[to] = sum0.x; output[to + 1u] = sum0.y; output[to + 2u] = sum0.z; output[to + 3u] = sum0.w;
    let to1 = to + side;
    output[to1] = sum1.x; output[to1 + 1u] = sum1.y; output[to1 + 2u] = sum1.z; output[to1 + 3u] = sum1.w;
    let to2 = to1 + side;
    output[to2] = sum2.x; output[to2 + 1u] = sum2.y; output[to2 + 2u] = sum2.z; output[to2 + 3u] = sum2.w;
    let to3 = to2 + side;
    output[to3] = sum3.x; output[to3 + 1u] = sum3.y; output[to3 + 2u] = sum3.z; output[to3 + 3u] = sum3.w;
}"
);

/// The square of the matrix, for sides below 64: one invocation makes one word.
pub(crate) const SMALL_PRODUCT: &str = kernel!(
    "
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let side = common_input[0];
    if (id.x >= side) { return; }
    var sum = 0u;
    for (var k = 0u; k < side; k++) { sum += unit_input[id.y * side + k] * unit_input[k * side + id.x]; }
    output[id.y * side + id.x] = sum;
}"
);

/// The product with a vector: `common_input` is the side, whether to mix the matrix first, where to write, then the vector. One workgroup a row.
pub(crate) const VECTOR: &str = kernel!(
    "
var<workgroup> sums: array<u32, 64>;
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let side = common_input[0];
    let mixes = common_input[1];
    let row = group.x;
    var sum = 0u;
    for (var column = lane; column < side; column += 64u) {
        var word = unit_input[row * side + column];
        if (mixes == 1u) { word = mixed(word); }
        sum += word * common_input[3u + column];
    }
    sums[lane] = sum;
    workgroupBarrier();
    if (lane == 0u) {
        var total = 0u;
        for (var other = 0u; other < 64u; other++) { total += sums[other]; }
        output[common_input[2] + row] = total;
    }
}"
);
