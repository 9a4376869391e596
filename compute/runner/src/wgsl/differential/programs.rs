//! Small kernels, each about one part of the language.

use super::HEAD;

/// A kernel of 64 invocations a workgroup. `at` is the invocation's number in the dispatch, `a` and `b` are words of the inputs, `i` and `j` the
/// same as signed numbers.
pub(super) fn kernel(declarations: &str, body: &str) -> String {
    format!(
        "{HEAD}{declarations}
        @compute @workgroup_size(8, 8)
        fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(local_invocation_index) lane: u32,
                @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {{
            let at = lane + 64u * (group.x + groups.x * group.y);
            let a = common_input[at & 15u]; let b = unit_input[(at >> 4u) % 13u]; let i = bitcast<i32>(a); let j = bitcast<i32>(b);
            {body}
        }}"
    )
}

pub(super) const INTEGER: &[(&str, &str, &str)] = &[
    ("add, subtract, multiply", "", "output[at] = (a + b) ^ ((a - b) * 3u) ^ (a * b);"),
    ("unsigned division", "", "output[at] = (a / b) ^ ((a % b) << 1u);"),
    ("signed division", "", "output[at] = bitcast<u32>(i / j) ^ bitcast<u32>((i % j) * 5);"),
    ("shifts", "", "output[at] = (a << (b & 31u)) ^ (a >> (b & 31u)) ^ bitcast<u32>(i >> (b & 31u));"),
    ("bitwise", "", "output[at] = (a & b) + (a | b) * 3u + (a ^ ~b) * 7u + bitcast<u32>(-i);"),
    (
        "comparisons",
        "",
        "var n = 0u; if (a < b) { n += 1u; } if (a <= b) { n += 2u; } if (a > b) { n += 4u; } if (a >= b) { n += 8u; } if (a == b) { n += 16u; } if (a != b) { n += 32u; } if (i < j) { n += 64u; } if (i >= j) { n += 128u; } if (!(i > j)) { n += 256u; } if (i <= j && a != 3u || b == 7u) { n += 512u; } output[at] = n + 1u;",
    ),
    (
        "minimum, maximum, clamp",
        "",
        "output[at] = min(a, b) ^ (max(a, b) << 1u) ^ bitcast<u32>(min(i, j) * 3) ^ bitcast<u32>(max(i, j) * 5) ^ clamp(a, 5u, 200u) ^ bitcast<u32>(clamp(i, -7, 70));",
    ),
    ("absolute value and sign", "", "output[at] = bitcast<u32>(abs(i)) ^ bitcast<u32>(sign(j) * 17) ^ abs(a);"),
    (
        "counting bits",
        "",
        "output[at] = countOneBits(a) + 64u * countLeadingZeros(a) + 4096u * countTrailingZeros(a) + 262144u * countLeadingZeros(b);",
    ),
    (
        "first bits",
        "",
        "output[at] = firstLeadingBit(a) ^ (firstTrailingBit(a) << 6u) ^ bitcast<u32>(firstLeadingBit(i) << 12u) ^ bitcast<u32>(firstTrailingBit(j) << 18u);",
    ),
    ("reversal", "", "output[at] = reverseBits(a) ^ bitcast<u32>(reverseBits(j));"),
    (
        "extraction",
        "",
        "output[at] = extractBits(a, b, 7u) ^ bitcast<u32>(extractBits(i, b & 31u, 5u)) ^ extractBits(a, 3u, b);",
    ),
    ("insertion", "", "output[at] = insertBits(a, b, 5u, 11u) ^ insertBits(a, b, b, 9u) ^ insertBits(a, b, 0u, 32u);"),
    ("dot of packed", "", "output[at] = bitcast<u32>(dot4I8Packed(a, b)) ^ (dot4U8Packed(a, b) << 1u);"),
    (
        "packing",
        "",
        "let v = unpack4xI8(a); let w = unpack4xU8(b); output[at] = pack4xI8(v * 3) ^ pack4xU8(w + vec4<u32>(250u, 0u, 1u, 5u)) ^ (pack4xI8Clamp(v * 3) << 1u) ^ pack4xU8Clamp(w * 2u);",
    ),
    (
        "select",
        "",
        "output[at] = select(a, b, a < b) ^ select(3u, 4u, i == j); let v = select(vec2<u32>(a, b), vec2<u32>(b, a), vec2<bool>(a < 9u, b < 9u)); output[at] += v.x * 3u + v.y;",
    ),
    (
        "conversions",
        "",
        "let t = bool(a & 1u); output[at] = u32(t) + 2u * u32(i32(b) & 1) + 4u * u32(bool(j)) + u32(!t) * 8u;",
    ),
    (
        "vectors",
        "",
        "var v = vec4<u32>(a, b, a + b, at); v = v.wzyx * vec4<u32>(1u, 3u, 5u, 7u) + v.yyxx; v.y ^= v.x; let w = v.zy - vec2<u32>(b); output[at] = dot(v, vec4<u32>(2u, 3u, 4u, 5u)) ^ w.x ^ (w.y << 3u);",
    ),
    (
        "signed vectors",
        "",
        "let v = vec3<i32>(i, j, i32(at)); let w = v / vec3<i32>(j, 3, i) + v % vec3<i32>(-7, i, j) + abs(v) + max(v, v.zxy); output[at] = bitcast<u32>(w.x ^ w.y ^ w.z) ^ bitcast<u32>(dot(v, w));",
    ),
    (
        "vector comparisons",
        "",
        "let v = vec3<u32>(a, b, at); output[at] = u32(all(v > vec3<u32>(2u))) + 2u * u32(any(v == vec3<u32>(7u, 3u, 9u))) + 4u * u32(all(v.xy <= v.yx)) + 8u;",
    ),
    (
        "dynamic component",
        "",
        "var v = vec4<u32>(a, b, at, 9u); v[at & 3u] += 7u; let w = v; output[at] = w[b & 3u] * 3u + v[(at >> 2u) & 3u];",
    ),
    (
        "local array",
        "",
        "var t: array<u32, 9>; for (var n = 0u; n < 9u; n++) { t[n] = n * a + b; } t[a % 9u] ^= t[b % 9u]; let copy = t; t[0] = 1u; output[at] = copy[0] ^ copy[at % 9u] ^ t[(at + 1u) % 9u];",
    ),
    (
        "array out of bounds",
        "",
        "var t = array<u32, 5>(1u, 2u, 3u, 4u, 5u); t[a] = 77u; output[at] = t[4] + 100u * t[b] + t[i32(at) - 3];",
    ),
    (
        "constant table",
        "const TABLE = array<u32, 18>(3u, 1u, 4u, 1u, 5u, 9u, 2u, 6u, 5u, 3u, 5u, 8u, 9u, 7u, 9u, 3u, 2u, 3u); const K = vec3<u32>(7u, 8u, 9u);",
        "output[at] = TABLE[at % 18u] * 100u + TABLE[a] + K.y * K[b];",
    ),
    (
        "structures",
        "struct P { x: u32, v: vec3<i32>, t: array<vec2<u32>, 3> } fn make(n: u32) -> P { return P(n, vec3<i32>(i32(n), 2, 3), array<vec2<u32>, 3>(vec2<u32>(n, 1u), vec2<u32>(2u, n), vec2<u32>(n * n, 5u))); }",
        "var p = make(a); let q = make(b); p.t[at % 3u].y += 9u; p.v.z = q.v.x; var s = array<P, 2>(p, q); s[at & 1u].x = 5u; output[at] = s[0].x ^ s[1].t[b % 3u].x ^ p.t[a % 3u].y ^ bitcast<u32>(p.v.z + s[1].v.y);",
    ),
    (
        "pointers",
        "fn bump(p: ptr<function, u32>, by: u32) -> u32 { let old = *p; *p = old * 3u + by; return old; } fn all(p: ptr<function, array<u32, 4>>) { for (var n = 0; n < 4; n++) { (*p)[n] += u32(n); } } var<private> g: array<u32, 4>; fn deep(p: ptr<private, array<u32, 4>>, n: u32) { (*p)[n] = n + 50u; }",
        "var t = array<u32, 4>(a, b, at, 1u); let p = &t[at & 3u]; let old = bump(p, 5u); all(&t); deep(&g, b & 3u); let r = &t; (*r)[1] ^= 8u; output[at] = old ^ t[0] ^ (t[1] << 1u) ^ (t[2] << 2u) ^ t[3] ^ g[b & 3u] ^ g[at & 3u];",
    ),
    (
        "loops",
        "",
        "var s = 0u; var n = 0u; loop { if (n > 20u) { break; } n++; if (n % 3u == a % 3u) { continue; } s = s * 5u + n; continuing { s ^= b; break if s == 77u; } } while (s > 9u) { s /= 2u; if (s == 13u) { break; } } output[at] = s * 100u + n;",
    ),
    (
        "loop with early return",
        "fn find(x: u32) -> u32 { for (var n = 0u; n < 16u; n++) { if (common_input[n] == x) { return n; } var m = n; loop { m += 5u; if (m > 40u) { break; } if (m == x) { return 1000u + n; } } } return 99u; }",
        "output[at] = find(a) + 100u * find(b & 63u);",
    ),
    (
        "switch",
        "fn f(x: u32) -> u32 { switch x % 7u { case 0u, 3u: { return 10u; } case 1u: { if (x > 30u) { break; } return 20u; } case 2u, default: { return x; } case 5u: {} } return 40u; }",
        "var n = 0u; for (var k = 0u; k < 5u; k++) { switch i32(k) - 2 { case -2: { n += 1u; continue; } case 1: { n *= 2u; break; } default: { n += f(a + k); } } n += 100u; } output[at] = n + f(b);",
    ),
    (
        "short circuit",
        "var<private> calls: u32; fn t(x: u32) -> bool { calls += 1u; return x > 5u; }",
        "let r = t(a) && t(b) || t(at) && !t(3u); output[at] = calls * 2u + u32(r);",
    ),
    (
        "shadowing and blocks",
        "",
        "var x = a; { var x = b; x += 1u; output[at] = x; } { let x = x * 2u; output[at] += x; } x += 3u; output[at] ^= x;",
    ),
    (
        "variables begin at zero",
        "fn f(n: u32) -> u32 { var z: u32; var v: vec2<u32>; z += n; v.x += z; return z + v.x + v.y; }",
        "var s = 0u; for (var n = 0u; n < 4u; n++) { var z: u32; z += n + 1u; s += z + f(n); } output[at] = s + 1u;",
    ),
    (
        "private variables",
        "var<private> p: u32 = 7u; var<private> q: vec3<u32>; fn f() { p *= 3u; q.y += p; }",
        "f(); q.x = a; f(); output[at] = p + q.y * 3u + q.x + q.z;",
    ),
    (
        "workgroup memory",
        "var<workgroup> t: array<vec2<u32>, 64>; var<workgroup> n: atomic<u32>; var<workgroup> m: atomic<i32>;",
        "t[lane] = vec2<u32>(a, b); atomicAdd(&n, a); atomicMin(&m, j); workgroupBarrier(); let v = t[(lane * 7u + 3u) & 63u]; workgroupBarrier(); t[lane] = v.yx; atomicSub(&n, 1u); workgroupBarrier(); output[at] = t[63u - lane].x ^ atomicLoad(&n) ^ bitcast<u32>(atomicLoad(&m)) ^ v.y;",
    ),
    (
        "barriers in functions and loops",
        "var<workgroup> t: array<u32, 64>; fn step(lane: u32, by: u32) { let other = t[lane ^ by]; workgroupBarrier(); t[lane] = t[lane] * 3u + other; workgroupBarrier(); }",
        "t[lane] = a + lane; workgroupBarrier(); for (var by = 32u; by > 0u; by >>= 1u) { step(lane, by); } storageBarrier(); output[at] = t[lane];",
    ),
    (
        "uniform load",
        "var<workgroup> w: u32; var<workgroup> v: vec3<u32>;",
        "if (lane == 9u) { w = 5u + group.x; v = vec3<u32>(1u, 2u, group.y); } let x = workgroupUniformLoad(&w); let y = workgroupUniformLoad(&v); for (var n = 0u; n < x; n++) { output[at] += y.z + n; workgroupBarrier(); } output[at] += 1u;",
    ),
    (
        "built-in values",
        "",
        "output[at] = id.x + 100u * id.y + 10000u * lane + 1000000u * group.x + 10000000u * group.y + 100000000u * groups.x;",
    ),
    (
        "lengths",
        "",
        "output[at] = arrayLength(&common_input) + 100u * arrayLength(&unit_input) + 10000u * arrayLength(&output) + at;",
    ),
    (
        "matrices of no number",
        "struct T { a: array<array<u32, 3>, 2>, b: bool }",
        "var t: T; t.a[at & 1u][b % 3u] = a; t.b = a > b; let row = t.a[1]; output[at] = t.a[0][1] + row[2] * 3u + u32(t.b) + row[at % 3u];",
    ),
    (
        "compound assignment",
        "",
        "var x = a; x += b; x -= 3u; x *= 7u; x ^= b; x |= 1u; x &= 0xffff00ffu; x <<= 2u; x >>= 1u; x %= 1000003u; x /= 3u; x++; x--; output[at] = x;",
    ),
    (
        "values that outlive their variable",
        "",
        "var x = a; let before = x; x = b; let after = x; x = before + after; var v = vec2<u32>(a, b); let w = v; v = w.yx + v; output[at] = x ^ before ^ (after << 3u) ^ v.x ^ (w.x << 1u);",
    ),
];

/// Name, body, largest relative and absolute difference. `f` and `g` are numbers of moderate size.
pub(super) const FLOAT: &[(&str, &str, f64, f64)] = &[
    (
        "add and multiply",
        "let f = f32(at) * 0.37 - 9.0; let g = f32(a & 63u) + 0.5; output[at] = bitcast<u32>(f * g + f);",
        1e-6,
        1e-5,
    ),
    (
        "divide",
        "let f = f32(at) * 0.37 - 9.0; let g = f32(a & 63u) + 0.5; output[at] = bitcast<u32>(f / g);",
        1e-6,
        1e-12,
    ),
    ("square root", "let f = f32(at) * 0.37 + 0.1; output[at] = bitcast<u32>(sqrt(f) + inverseSqrt(f));", 1e-6, 1e-7),
    (
        "exponential and logarithm",
        "let f = f32(at) * 0.05 - 5.0; output[at] = bitcast<u32>(exp(f) + exp2(f * 0.5) + log(f + 6.0) + log2(f + 7.0));",
        1e-5,
        1e-5,
    ),
    ("power", "let f = f32(at) * 0.05 + 0.2; output[at] = bitcast<u32>(pow(f, 1.7));", 1e-5, 1e-6),
    ("sine and cosine", "let f = f32(at) * 0.024 - 3.1; output[at] = bitcast<u32>(sin(f) + cos(f) * 2.0);", 1e-3, 2e-3),
    (
        "rounding",
        "let f = f32(at) * 0.25 - 30.0; output[at] = bitcast<u32>(floor(f) + 10.0 * ceil(f) + 100.0 * round(f) + 1000.0 * trunc(f) + fract(f));",
        1e-6,
        1e-5,
    ),
    (
        "geometry",
        "let v = vec3<f32>(f32(at) * 0.1, 1.5, -2.0); let w = vec3<f32>(0.5, f32(lane) * 0.2, 1.0); output[at] = bitcast<u32>(dot(v, w) + length(cross(v, w)) + distance(v, w) + normalize(w).y + reflect(v, normalize(w)).x + faceForward(v, w, v).y);",
        1e-5,
        1e-4,
    ),
    (
        "matrices",
        "let m = mat3x3<f32>(1.0, 2.0, f32(at), 0.5, 3.0, 1.0, 2.0, 1.0, 4.0); let v = m * vec3<f32>(1.0, 0.5, 0.25); let w = vec3<f32>(1.0, 0.5, 0.25) * m; let n = m * transpose(m); output[at] = bitcast<u32>(v.x + w.z + n[1].z + determinant(m));",
        1e-5,
        1e-3,
    ),
    (
        "mix and steps",
        "let f = f32(at) / 256.0; output[at] = bitcast<u32>(mix(2.0, 5.0, f) + smoothstep(0.2, 0.8, f) + step(0.5, f) + clamp(f, 0.25, 0.75) + saturate(f * 2.0 - 0.5) + sign(f - 0.5) + abs(f - 0.3) + min(f, 0.4) + max(f, 0.6));",
        1e-5,
        1e-5,
    ),
    (
        "conversions",
        "let f = f32(at) * 1.75 - 100.0; output[at] = bitcast<u32>(f32(i32(f)) + f32(u32(f + 200.0)) + f32(a >> 9u) + f32(i >> 9u));",
        1e-6,
        1e-3,
    ),
    (
        "packing",
        "let f = f32(at) / 256.0; let h = pack2x16float(vec2<f32>(f, -f * 3.0)); let v = unpack2x16float(h); let w = unpack4x8unorm(pack4x8unorm(vec4<f32>(f, 0.1, 0.9, 2.0))); let s = unpack2x16snorm(pack2x16snorm(vec2<f32>(-f, f))); output[at] = bitcast<u32>(v.x + v.y + w.x * 3.0 + w.w + s.x * 2.0 + quantizeToF16(f));",
        1e-4,
        1.3e-2,
    ),
    (
        "parts of numbers",
        "let f = f32(at) * 3.3 + 0.7; let r = frexp(f); let m = modf(f); output[at] = bitcast<u32>(ldexp(r.fract, r.exp) + m.fract + m.whole + f32(r.exp) + ldexp(f, 3));",
        1e-6,
        1e-5,
    ),
    (
        "accumulation",
        "var s = 0.0; for (var n = 0u; n < 100u; n++) { s = s * 0.99 + f32((n * a) & 15u); } output[at] = bitcast<u32>(s);",
        1e-5,
        1e-4,
    ),
];
