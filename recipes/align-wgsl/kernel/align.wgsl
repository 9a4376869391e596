// Scores and ends of Smith-Waterman alignments with affine gaps (Gotoh), in integers only: a `wgsl/1` program of the exact class.
//
// Layouts: ../../align/README.md, format 2. Equal to the bit: the WebAssembly program ../../align/kernel/align.c and the CPU reference
// ../../src/align/gotoh.rs. One workgroup aligns one pair: blocks of 512 query rows, four rows of each lane, and a wave that runs along
// the target one column a step and one lane behind the lane above. Negative gap values are kept as 0, which no cell can tell apart.
// Loops of one invocation for b blocks and a target of t residues: b + 1 + b (25 + t + 128) + 8 entries.

@group(0) @binding(0) var<storage, read> common_words: array<u32>;
@group(0) @binding(1) var<storage, read> unit_words: array<u32>;
@group(0) @binding(2) var<storage, read_write> ends: array<u32>;

// Word offsets.
const GAP_OPEN_AT: u32 = 1u;
const GAP_EXTEND_AT: u32 = 2u;
const MATRIX_AT: u32 = 4u;
const TARGET_COUNT_AT: u32 = 148u;
const TARGET_OFFSETS_AT: u32 = 150u;
const QUERY_OFFSETS_AT: u32 = 3u;

const LETTERS: u32 = 24u;
const LANES: u32 = 128u;
const ROWS: u32 = 4u;
const TARGET_LENGTH_MAX: u32 = 3072u;

struct Best {
    score: i32,
    query_end: u32,
    target_end: u32,
}

// A cell passed on: value in the low half, insertion in the high half. The last row of the block above, by column.
var<workgroup> bottom_row: array<u32, TARGET_LENGTH_MAX>;
// The last row of each lane; the halves are read and written in turns.
var<workgroup> passed: array<u32, 256>;
var<workgroup> bests: array<Best, LANES>;

fn common_byte(at: u32) -> u32 {
    return (common_words[at >> 2u] >> ((at & 3u) << 3u)) & 0xffu;
}

fn unit_byte(at: u32) -> u32 {
    return (unit_words[at >> 2u] >> ((at & 3u) << 3u)) & 0xffu;
}

fn better(a: Best, b: Best) -> bool {
    let earlier = a.target_end < b.target_end || (a.target_end == b.target_end && a.query_end < b.query_end);
    return a.score > b.score || (a.score == b.score && earlier);
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let query_count = unit_words[0];
    let target_count = unit_words[2];
    if (group.x >= query_count * target_count) {
        return;
    }
    let query_offset_at = QUERY_OFFSETS_AT + group.x / target_count;
    let target_offset_at = TARGET_OFFSETS_AT + unit_words[1] + group.x % target_count;
    let query_at = 4u * (QUERY_OFFSETS_AT + query_count + 1u) + unit_words[query_offset_at];
    let query_length = unit_words[query_offset_at + 1u] - unit_words[query_offset_at];
    let target_at = 4u * (TARGET_OFFSETS_AT + common_words[TARGET_COUNT_AT] + 1u) + common_words[target_offset_at];
    let target_length = min(common_words[target_offset_at + 1u] - common_words[target_offset_at], TARGET_LENGTH_MAX);
    let open = i32(common_words[GAP_OPEN_AT]);
    let extend = i32(common_words[GAP_EXTEND_AT]);
    let blocks = (query_length + LANES * ROWS - 1u) / (LANES * ROWS);

    var best = Best(0, 0u, 0u);
    for (var block = 0u; block < blocks; block++) {
        let first_row = block * LANES * ROWS + lane * ROWS;
        // For each target letter the scores of the four rows, a byte each. Rows past the query read what is there and count for nothing.
        var rows = vec4<u32>(first_row, first_row + 1u, first_row + 2u, first_row + 3u);
        rows = min(rows, vec4<u32>(query_length - 1u)) + vec4<u32>(query_at);
        let letters = 4u * MATRIX_AT + LETTERS * vec4<u32>(unit_byte(rows.x), unit_byte(rows.y), unit_byte(rows.z), unit_byte(rows.w));
        var scores: array<u32, LETTERS>;
        for (var letter = 0u; letter < LETTERS; letter++) {
            scores[letter] = common_byte(letters.x + letter) | (common_byte(letters.y + letter) << 8u)
                | (common_byte(letters.z + letter) << 16u) | (common_byte(letters.w + letter) << 24u);
        }
        var left = vec4<i32>(0);
        var deletions = vec4<i32>(0);
        var diagonal_above = 0;
        for (var step = 0u; step < target_length + LANES - 1u; step++) {
            // Lanes that have not begun wrap to a large column.
            let column = step - lane;
            if (column < target_length) {
                var above = 0u;
                if (lane > 0u) {
                    above = passed[(step & 1u) * LANES + lane - 1u];
                } else if (block > 0u) {
                    above = bottom_row[column];
                }
                let packed = bitcast<i32>(scores[min(common_byte(target_at + column), LETTERS - 1u)]);
                var up = i32(above & 0xffffu);
                var insertion = i32(above >> 16u);
                var diagonal = diagonal_above;
                diagonal_above = up;
                deletions = max(max(left - open, deletions - extend), vec4<i32>(0));

                insertion = max(max(up - open, insertion - extend), 0);
                up = max(max(diagonal + extractBits(packed, 0u, 8u), insertion), deletions.x);
                diagonal = left.x;
                left.x = up;
                insertion = max(max(up - open, insertion - extend), 0);
                up = max(max(diagonal + extractBits(packed, 8u, 8u), insertion), deletions.y);
                diagonal = left.y;
                left.y = up;
                insertion = max(max(up - open, insertion - extend), 0);
                up = max(max(diagonal + extractBits(packed, 16u, 8u), insertion), deletions.z);
                diagonal = left.z;
                left.z = up;
                insertion = max(max(up - open, insertion - extend), 0);
                up = max(max(diagonal + extractBits(packed, 24u, 8u), insertion), deletions.w);
                left.w = up;

                let handed = u32(up) | (u32(insertion) << 16u);
                if (lane == LANES - 1u) {
                    bottom_row[column] = handed;
                } else {
                    passed[((step + 1u) & 1u) * LANES + lane] = handed;
                }
                let inside = vec4<u32>(first_row, first_row + 1u, first_row + 2u, first_row + 3u) < vec4<u32>(query_length);
                let end = column + 1u;
                let cells = select(vec4<i32>(-1), left, inside);
                // The rows from above: of equal cells in a column the first one stays.
                if (cells.x > best.score || (cells.x == best.score && end < best.target_end)) {
                    best = Best(cells.x, first_row + 1u, end);
                }
                if (cells.y > best.score || (cells.y == best.score && end < best.target_end)) {
                    best = Best(cells.y, first_row + 2u, end);
                }
                if (cells.z > best.score || (cells.z == best.score && end < best.target_end)) {
                    best = Best(cells.z, first_row + 3u, end);
                }
                if (cells.w > best.score || (cells.w == best.score && end < best.target_end)) {
                    best = Best(cells.w, first_row + 4u, end);
                }
            }
            workgroupBarrier();
        }
    }

    bests[lane] = best;
    workgroupBarrier();
    for (var stride = LANES / 2u; stride > 0u; stride >>= 1u) {
        if (lane < stride && better(bests[lane + stride], bests[lane])) {
            bests[lane] = bests[lane + stride];
        }
        workgroupBarrier();
    }
    if (lane == 0u) {
        ends[3u * group.x] = u32(bests[0].score);
        ends[3u * group.x + 1u] = bests[0].query_end;
        ends[3u * group.x + 2u] = bests[0].target_end;
    }
}
