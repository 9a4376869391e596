// Square roots of a range of numbers in single precision: devices round a little differently, so results agree within a tolerance.
//
// A `wgsl/1` program (specs/0003-job.md §7 of Keystead). Change `item`; the rest finds the invocation's number.

// 0, 1: number of the first item (low word, high word); 2: how many items; 3: 0.
@group(0) @binding(1) var<storage, read> unit_input: array<u32>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;

fn item(number: u32) -> f32 {
  return sqrt(f32(number));
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  // A unit need not fill its last workgroup.
  if (id.x >= unit_input[2]) {
    return;
  }
  output[id.x] = item(unit_input[0] + id.x);
}
