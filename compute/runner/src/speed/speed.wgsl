// How fast wgsl/1 is here. Word 0 of the unit input says what is done (0 nothing, 1 integer, 2 float, 3 memory), word 1 how many turns. A turn of an
// invocation is eight multiplications with addition, or four bytes read. 1,024 workgroups of 256 invocations.

@group(0) @binding(0) var<storage, read> common_input: array<u32>;
@group(0) @binding(1) var<storage, read> unit_input: array<u32>;
@group(0) @binding(2) var<storage, read_write> output: array<u32>;

const INVOCATIONS: u32 = 262144u;

fn integer(seed: u32, turns: u32) -> u32 {
    var a = seed;
    var b = seed ^ 0x9e3779b9u;
    var c = seed + 7u;
    var d = seed * 3u;
    for (var i = 0u; i < turns; i++) {
        a = a * 1664525u + b;
        b = b * 22695477u + c;
        c = c * 1103515245u + d;
        d = d * 214013u + a;
        a = a * 69069u + c;
        b = b * 134775813u + d;
        c = c * 16843009u + a;
        d = d * 2654435761u + b;
    }
    return a ^ b ^ c ^ d;
}

fn float(seed: u32, turns: u32) -> u32 {
    var a = f32(seed) * 0.000001;
    var b = a + 0.25;
    var c = a + 0.5;
    var d = a + 0.75;
    for (var i = 0u; i < turns; i++) {
        a = a * 0.4995 + b;
        b = b * 0.4375 + 0.125;
        c = c * 0.4995 + d;
        d = d * 0.4375 + 0.125;
        a = a * 0.25 + c;
        b = b * 0.4995 + a * 0.5;
        c = c * 0.25 + 0.0625;
        d = d * 0.4995 + c;
    }
    return bitcast<u32>(a + b + c + d);
}

fn memory(id: u32, turns: u32) -> u32 {
    let last = arrayLength(&common_input) - 1u;
    var sum = id;
    for (var i = 0u; i < turns; i++) {
        sum += common_input[(id + i * INVOCATIONS) & last];
    }
    return sum;
}

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let turns = unit_input[1];
    var word = id.x;
    switch unit_input[0] {
        case 1u: { word = integer(id.x, turns); }
        case 2u: { word = float(id.x, turns); }
        case 3u: { word = memory(id.x, turns); }
        default: {}
    }
    output[id.x] = word;
}
