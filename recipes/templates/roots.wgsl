// Whole square roots of a range of numbers: integers only, so every device gives the same bytes.
//
// A `wgsl/1` program (specs/0003-job.md §7 of Keystead). Change `item`; the rest finds the invocation's number.

// 0, 1: number of the first item (low word, high word); 2: how many items; 3: 0.
@group(0) @binding(1) var<storage, read> unit_input: array<u32>;
@group(0) @binding(2) var<storage, read_write> output: array<u32>;

// Bit by bit from the highest: the square of 16 bits fits into 32.
fn item(number: u32) -> u32 {
  var root = 0u;
  for (var bit = 32768u; bit > 0u; bit >>= 1u) {
    let next = root | bit;
    if (next * next <= number) {
      root = next;
    }
  }
  return root;
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  // A unit need not fill its last workgroup.
  if (id.x >= unit_input[2]) {
    return;
  }
  output[id.x] = item(unit_input[0] + id.x);
}
