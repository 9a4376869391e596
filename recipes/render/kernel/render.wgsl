// A path tracer in single precision: a `wgsl/1` program of the class tolerance. A unit is a band of rows; its output has the format of its input,
// sums of light to which each segment adds samples.
//
// Layouts: ../README.md. Random numbers are a function of seed, pixel, sample and their place in the path, so a sample is the same wherever it is
// computed, but for rounding. Matte surfaces look for flat lamps directly. Loops of one invocation for s samples, b bounces and n shapes:
// at most s + 1 + s (b + 1 + 2 b (n + 1)).

@group(0) @binding(0) var<storage, read> scene: array<u32>;
@group(0) @binding(1) var<storage, read> before: array<u32>;
@group(0) @binding(2) var<storage, read_write> after: array<u32>;

const SHAPES_AT: u32 = 24u;
const SHAPE_WORDS: u32 = 12u;
const MATERIAL_WORDS: u32 = 8u;
const HEAD: u32 = 4u;

const SPHERE: u32 = 0u;
const TRIANGLE: u32 = 1u;
const MATTE: u32 = 0u;
const METAL: u32 = 1u;
const GLASS: u32 = 2u;
const LIGHT: u32 = 3u;

// Rays begin this far from a surface, and end at this distance.
const NEAR: f32 = 1e-3;
const FAR: f32 = 1e30;
const HALF_PI: f32 = 1.5707964;
const PI: f32 = 3.1415927;

struct Hit {
    distance: f32,
    shape: u32,
}

var<private> random_state: u32;

// PCG's output function over a linear congruential step.
fn mixed(value: u32) -> u32 {
    let state = value * 747796405u + 2891336453u;
    let word = ((state >> ((state >> 28u) + 4u)) ^ state) * 277803737u;
    return (word >> 22u) ^ word;
}

fn random() -> f32 {
    random_state = mixed(random_state);
    return f32(random_state >> 8u) * (1.0 / 16777216.0);
}

// A point of the unit sphere. Sine and cosine of half the angle by their series, as a device's own may be off by 2^-11.
fn direction() -> vec3<f32> {
    let z = 1.0 - 2.0 * random();
    let t = (random() * 2.0 - 1.0) * HALF_PI;
    let t2 = t * t;
    let s = t * (1.0 - t2 * (1.0 / 6.0 - t2 * (1.0 / 120.0 - t2 * (1.0 / 5040.0 - t2 * (1.0 / 362880.0 - t2 / 39916800.0)))));
    let c = 1.0 - t2 * (0.5 - t2 * (1.0 / 24.0 - t2 * (1.0 / 720.0 - t2 * (1.0 / 40320.0 - t2 / 3628800.0))));
    let across = sqrt(max(0.0, 1.0 - z * z));
    return vec3<f32>(across * (c * c - s * s), across * (2.0 * s * c), z);
}

fn number(at: u32) -> f32 {
    return bitcast<f32>(scene[at]);
}

fn vector(at: u32) -> vec3<f32> {
    return vec3<f32>(number(at), number(at + 1u), number(at + 2u));
}

// Distance along the ray, FAR if it misses. Triangles and parallelograms by Möller and Trumbore.
fn meet(at: u32, origin: vec3<f32>, way: vec3<f32>) -> f32 {
    let place = vector(at + 2u);
    if (scene[at] == SPHERE) {
        let radius = number(at + 5u);
        let away = origin - place;
        let half_b = dot(away, way);
        // The distance of the centre from the ray: more exact than b^2 - c for large spheres.
        let offset = away - half_b * way;
        let rest = radius * radius - dot(offset, offset);
        if (rest < 0.0) {
            return FAR;
        }
        let root = sqrt(rest);
        let first = -half_b - root;
        let second = -half_b + root;
        if (first > NEAR) {
            return first;
        }
        return select(FAR, second, second > NEAR);
    }
    let edge_u = vector(at + 5u);
    let edge_v = vector(at + 8u);
    let p = cross(way, edge_v);
    let determinant = dot(edge_u, p);
    if (abs(determinant) < 1e-12) {
        return FAR;
    }
    let inverse = 1.0 / determinant;
    let away = origin - place;
    let u = dot(away, p) * inverse;
    let q = cross(away, edge_u);
    let v = dot(way, q) * inverse;
    let distance = dot(edge_v, q) * inverse;
    let inside = u >= 0.0 && v >= 0.0 && select(u <= 1.0 && v <= 1.0, u + v <= 1.0, scene[at] == TRIANGLE);
    return select(FAR, distance, inside && distance > NEAR);
}

fn nearest(origin: vec3<f32>, way: vec3<f32>) -> Hit {
    var hit = Hit(FAR, 0u);
    for (var shape = 0u; shape < scene[3]; shape++) {
        let distance = meet(SHAPES_AT + shape * SHAPE_WORDS, origin, way);
        if (distance < hit.distance) {
            hit = Hit(distance, shape);
        }
    }
    return hit;
}

fn normal_of(at: u32, place: vec3<f32>) -> vec3<f32> {
    if (scene[at] == SPHERE) {
        return (place - vector(at + 2u)) / number(at + 5u);
    }
    return normalize(cross(vector(at + 5u), vector(at + 8u)));
}

// The way on through or off glass, by chance as Schlick's approximation says.
fn through_glass(way: vec3<f32>, outward: vec3<f32>, index: f32) -> vec3<f32> {
    let inside = dot(way, outward) > 0.0;
    let normal = select(outward, -outward, inside);
    let ratio = select(1.0 / index, index, inside);
    let cosine = min(-dot(way, normal), 1.0);
    let sine_2 = ratio * ratio * (1.0 - cosine * cosine);
    let base = (1.0 - index) / (1.0 + index);
    let base_2 = base * base;
    let other = sqrt(max(0.0, 1.0 - sine_2));
    let grazing = 1.0 - select(cosine, other, inside);
    let grazing_2 = grazing * grazing;
    let mirrored = base_2 + (1.0 - base_2) * grazing_2 * grazing_2 * grazing;
    let chance = random();
    if (sine_2 > 1.0 || chance < mirrored) {
        return way + (2.0 * cosine) * normal;
    }
    return ratio * way + (ratio * cosine - other) * normal;
}

// The light of a flat lamp, one of the last shapes, on a matte surface of colour 1: a point of a lamp by chance, if nothing is between.
fn lamp_light(origin: vec3<f32>, normal: vec3<f32>, materials_at: u32) -> vec3<f32> {
    let lamps = scene[11];
    let shape = scene[3] - lamps + min(u32(random() * f32(lamps)), lamps - 1u);
    var u = random();
    var v = random();
    let at = SHAPES_AT + shape * SHAPE_WORDS;
    var size = 1.0;
    if (scene[at] == TRIANGLE) {
        size = 0.5;
        if (u + v > 1.0) {
            u = 1.0 - u;
            v = 1.0 - v;
        }
    }
    let edge_u = vector(at + 5u);
    let edge_v = vector(at + 8u);
    let away = vector(at + 2u) + u * edge_u + v * edge_v - origin;
    let distance_2 = dot(away, away);
    let way = away / sqrt(distance_2);
    // Twice the area times the cosine at the lamp; lamps show on both sides.
    let facing = abs(dot(cross(edge_u, edge_v), way)) * size;
    let cosine = dot(normal, way);
    if (cosine <= 0.0 || distance_2 < NEAR) {
        return vec3<f32>(0.0);
    }
    let hit = nearest(origin, way);
    if (hit.shape != shape || hit.distance >= FAR) {
        return vec3<f32>(0.0);
    }
    let colour = vector(materials_at + scene[at + 1u] * MATERIAL_WORDS + 1u);
    return (cosine * facing * f32(lamps) / (PI * distance_2)) * colour;
}

// The light that comes from a direction.
fn trace(origin_start: vec3<f32>, way_start: vec3<f32>) -> vec3<f32> {
    var origin = origin_start;
    var way = way_start;
    var share = vec3<f32>(1.0);
    var light = vec3<f32>(0.0);
    // Whether the last surface has looked for the flat lamps: then their light has been counted.
    var looked = false;
    let sky = vector(8u);
    let materials_at = SHAPES_AT + scene[3] * SHAPE_WORDS;
    for (var bounce = 0u; bounce < scene[6]; bounce++) {
        let hit = nearest(origin, way);
        if (hit.distance >= FAR) {
            return light + share * sky;
        }
        let at = SHAPES_AT + hit.shape * SHAPE_WORDS;
        let material = materials_at + scene[at + 1u] * MATERIAL_WORDS;
        let kind = scene[material];
        let colour = vector(material + 1u);
        if (kind == LIGHT) {
            return select(light + share * colour, light, looked && hit.shape >= scene[3] - scene[11]);
        }
        origin += hit.distance * way;
        let outward = normal_of(at, origin);
        let normal = select(outward, -outward, dot(way, outward) > 0.0);
        let chance = direction();
        share *= colour;
        looked = kind == MATTE && scene[11] > 0u;
        if (kind == MATTE) {
            if (looked) {
                light += share * lamp_light(origin, normal, materials_at);
            }
            way = normal + chance;
        } else if (kind == METAL) {
            way = way - 2.0 * dot(way, normal) * normal + number(material + 4u) * chance;
            if (dot(way, normal) <= 0.0) {
                return light;
            }
        } else {
            way = through_glass(way, outward, number(material + 4u));
        }
        let length_2 = dot(way, way);
        // A chance exactly against the normal leaves nothing; the normal is as good as any.
        way = select(way / sqrt(length_2), normal, length_2 < 1e-12);
    }
    return light;
}

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let width = scene[1];
    let first_row = u32(bitcast<f32>(before[1]));
    let rows = u32(bitcast<f32>(before[2]));
    let done = bitcast<f32>(before[0]);
    let samples = scene[5];
    if (id.x == 0u && id.y == 0u) {
        after[0] = bitcast<u32>(done + f32(samples));
        after[1] = before[1];
        after[2] = before[2];
        after[3] = before[3];
    }
    if (id.x >= width || id.y >= rows) {
        return;
    }
    let pixel = (first_row + id.y) * width + id.x;
    let origin = vector(12u);
    var sum = vec3<f32>(0.0);
    for (var sample = 0u; sample < samples; sample++) {
        random_state = mixed(pixel ^ mixed((u32(done) + sample) ^ mixed(scene[7])));
        let x = f32(id.x) + random();
        let y = f32(first_row + id.y) + random();
        let way = vector(15u) + x * vector(18u) + y * vector(21u);
        sum += trace(origin, normalize(way));
    }
    let at = HEAD + 3u * (id.y * width + id.x);
    after[at] = bitcast<u32>(bitcast<f32>(before[at]) + sum.x);
    after[at + 1u] = bitcast<u32>(bitcast<f32>(before[at + 1u]) + sum.y);
    after[at + 2u] = bitcast<u32>(bitcast<f32>(before[at + 2u]) + sum.z);
}
