// Rows of a matrix product in single precision: a `wgsl/1` program of the class self-checking.
//
// Layouts and the error that is allowed: ../README.md. A workgroup computes a tile of 64 by 64 elements, each invocation 4 by 4 of them.
// Sums are kept in three levels (16 products, 16 such sums, all of those), so that an element's error grows with 32 + k / 256 and not with k.
// Loops of one invocation: t tiles of 16 along the inner dimension, 17 entries each: 18 t + 1.

@group(0) @binding(0) var<storage, read> b_words: array<u32>;
@group(0) @binding(1) var<storage, read> a_words: array<u32>;
@group(0) @binding(2) var<storage, read_write> product: array<u32>;

// Words before the elements: common input (format, inner, columns, 0), unit input (rows, inner).
const B_AT: u32 = 4u;
const A_AT: u32 = 2u;
const TILE: u32 = 64u;
const STEP: u32 = 16u;

// Both tiles are kept with the inner dimension outermost, four elements of a row or column of the product side by side.
var<workgroup> a_tile: array<vec4<f32>, 256>;
var<workgroup> b_tile: array<vec4<f32>, 256>;

fn a_element(row: u32, inner: u32, rows: u32, inner_count: u32) -> f32 {
    if (row < rows && inner < inner_count) {
        return bitcast<f32>(a_words[A_AT + row * inner_count + inner]);
    }
    return 0.0;
}

fn b_element(inner: u32, column: u32, inner_count: u32, columns: u32) -> f32 {
    if (inner < inner_count && column < columns) {
        return bitcast<f32>(b_words[B_AT + inner * columns + column]);
    }
    return 0.0;
}

fn write(row: u32, column: u32, rows: u32, columns: u32, value: f32) {
    if (row < rows && column < columns) {
        product[row * columns + column] = bitcast<u32>(value);
    }
}

fn write_row(row: u32, column: u32, rows: u32, columns: u32, values: vec4<f32>) {
    write(row, column, rows, columns, values.x);
    write(row, column + 1u, rows, columns, values.y);
    write(row, column + 2u, rows, columns, values.z);
    write(row, column + 3u, rows, columns, values.w);
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let inner_count = b_words[1];
    let columns = b_words[2];
    let rows = a_words[0];
    let row_at = group.y * TILE;
    let column_at = group.x * TILE;
    let across = lane & 15u;
    let down = lane >> 4u;
    let tiles = (inner_count + STEP - 1u) / STEP;

    var all_0 = vec4<f32>(0.0);
    var all_1 = vec4<f32>(0.0);
    var all_2 = vec4<f32>(0.0);
    var all_3 = vec4<f32>(0.0);
    var some_0 = vec4<f32>(0.0);
    var some_1 = vec4<f32>(0.0);
    var some_2 = vec4<f32>(0.0);
    var some_3 = vec4<f32>(0.0);
    for (var tile = 0u; tile < tiles; tile++) {
        let inner_at = tile * STEP;
        // Element (inner = down, four rows or columns from 4 across).
        let a_row = row_at + 4u * across;
        let b_column = column_at + 4u * across;
        let inner = inner_at + down;
        a_tile[lane] = vec4<f32>(
            a_element(a_row, inner, rows, inner_count),
            a_element(a_row + 1u, inner, rows, inner_count),
            a_element(a_row + 2u, inner, rows, inner_count),
            a_element(a_row + 3u, inner, rows, inner_count),
        );
        b_tile[lane] = vec4<f32>(
            b_element(inner, b_column, inner_count, columns),
            b_element(inner, b_column + 1u, inner_count, columns),
            b_element(inner, b_column + 2u, inner_count, columns),
            b_element(inner, b_column + 3u, inner_count, columns),
        );
        workgroupBarrier();
        var sum_0 = vec4<f32>(0.0);
        var sum_1 = vec4<f32>(0.0);
        var sum_2 = vec4<f32>(0.0);
        var sum_3 = vec4<f32>(0.0);
        for (var step = 0u; step < STEP; step++) {
            let a = a_tile[step * 16u + down];
            let b = b_tile[step * 16u + across];
            sum_0 += a.x * b;
            sum_1 += a.y * b;
            sum_2 += a.z * b;
            sum_3 += a.w * b;
        }
        some_0 += sum_0;
        some_1 += sum_1;
        some_2 += sum_2;
        some_3 += sum_3;
        if ((tile & 15u) == 15u) {
            all_0 += some_0;
            all_1 += some_1;
            all_2 += some_2;
            all_3 += some_3;
            some_0 = vec4<f32>(0.0);
            some_1 = vec4<f32>(0.0);
            some_2 = vec4<f32>(0.0);
            some_3 = vec4<f32>(0.0);
        }
        workgroupBarrier();
    }
    let row = row_at + 4u * down;
    let column = column_at + 4u * across;
    write_row(row, column, rows, columns, all_0 + some_0);
    write_row(row + 1u, column, rows, columns, all_1 + some_1);
    write_row(row + 2u, column, rows, columns, all_2 + some_2);
    write_row(row + 3u, column, rows, columns, all_3 + some_3);
}
