// Steps of gravitating bodies in single precision: a `wgsl/1` program of the class tolerance. Its output has the format of its unit input,
// so that a unit is a chain of segments.
//
// Layouts: ../README.md. One workgroup moves one system: kick, drift, kick (leapfrog) with softened gravity, all bodies by direct summation.
// Loops of one invocation for n bodies, b = ceil(n / 64) bodies each and s steps: 3 b + 3 + (s + 1) b (n + 1) + s (1 + b + 1 + b + 1) + s + 1.

@group(0) @binding(0) var<storage, read> common_words: array<u32>;
@group(0) @binding(1) var<storage, read> before: array<u32>;
@group(0) @binding(2) var<storage, read_write> after: array<u32>;

const LANES: u32 = 64u;
const BODIES_MAX: u32 = 512u;
// Bodies of a lane at most.
const OWN_MAX: u32 = 8u;
// Words of the unit input before the bodies, and words of a body: position, mass, velocity, zero.
const HEAD: u32 = 4u;
const BODY: u32 = 8u;

// Position and mass.
var<workgroup> bodies: array<vec4<f32>, BODIES_MAX>;

fn number(at: u32) -> f32 {
    return bitcast<f32>(before[at]);
}

// Acceleration of a place by all bodies. A body does not pull itself: its distance is 0, and the softening keeps the quotient finite; without
// softening the quotient is replaced.
fn pull(place: vec3<f32>, count: u32, softening_2: f32) -> vec3<f32> {
    var sum = vec3<f32>(0.0);
    for (var other = 0u; other < count; other++) {
        let body = bodies[other];
        let away = body.xyz - place;
        let distance_2 = dot(away, away) + softening_2;
        let inverse = select(0.0, 1.0 / sqrt(distance_2), distance_2 > 0.0);
        sum += (body.w * inverse * inverse * inverse) * away;
    }
    return sum;
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let count = min(common_words[1], BODIES_MAX);
    let steps = common_words[2];
    let gravity = bitcast<f32>(common_words[3]);
    let softening_2 = bitcast<f32>(common_words[4]);
    let step_time = bitcast<f32>(common_words[5]);
    let half_time = 0.5 * step_time;
    let base = HEAD + group.x * count * BODY;

    var velocities: array<vec3<f32>, OWN_MAX>;
    var pulls: array<vec3<f32>, OWN_MAX>;
    for (var own = 0u; own * LANES + lane < count; own++) {
        let at = base + (own * LANES + lane) * BODY;
        bodies[own * LANES + lane] = vec4<f32>(number(at), number(at + 1u), number(at + 2u), number(at + 3u));
        velocities[own] = vec3<f32>(number(at + 4u), number(at + 5u), number(at + 6u));
    }
    workgroupBarrier();
    for (var own = 0u; own * LANES + lane < count; own++) {
        pulls[own] = gravity * pull(bodies[own * LANES + lane].xyz, count, softening_2);
    }
    for (var step = 0u; step < steps; step++) {
        workgroupBarrier();
        for (var own = 0u; own * LANES + lane < count; own++) {
            let index = own * LANES + lane;
            velocities[own] += half_time * pulls[own];
            bodies[index] = vec4<f32>(bodies[index].xyz + step_time * velocities[own], bodies[index].w);
        }
        workgroupBarrier();
        for (var own = 0u; own * LANES + lane < count; own++) {
            pulls[own] = gravity * pull(bodies[own * LANES + lane].xyz, count, softening_2);
            velocities[own] += half_time * pulls[own];
        }
    }
    for (var own = 0u; own * LANES + lane < count; own++) {
        let index = own * LANES + lane;
        let at = base + index * BODY;
        let body = bodies[index];
        after[at] = bitcast<u32>(body.x);
        after[at + 1u] = bitcast<u32>(body.y);
        after[at + 2u] = bitcast<u32>(body.z);
        after[at + 3u] = bitcast<u32>(body.w);
        after[at + 4u] = bitcast<u32>(velocities[own].x);
        after[at + 5u] = bitcast<u32>(velocities[own].y);
        after[at + 6u] = bitcast<u32>(velocities[own].z);
    }
    if (group.x == 0u && lane == 0u) {
        // Steps done so far: a small whole number, kept as a float because the output is compared as an array of floats.
        after[0] = bitcast<u32>(number(0u) + f32(steps));
        after[1] = before[1];
        after[2] = before[2];
        after[3] = before[3];
    }
}
