//! Random integer kernels: valid, terminating, without races, with every operator and most functions.

use super::programs;

/// Depth of an expression.
const DEPTH: u32 = 4;

/// The kernel of a seed, always the same.
pub(super) fn kernel(seed: u64) -> String {
    let mut source = Source { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, loops: 0 };
    let declarations = source.declarations();
    let body = source.main();
    programs::kernel(&declarations, &body)
}

struct Source {
    state: u64,
    /// Names of loop variables given out.
    loops: u32,
}

impl Source {
    fn below(&mut self, n: u32) -> u32 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        ((self.state >> 32) as u32) % n
    }

    fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len() as u32) as usize]
    }

    /// A number that the translator cannot compute with: `zero` is a variable.
    fn literal(&mut self) -> String {
        let word = match self.below(4) {
            0 => self.below(40),
            1 => 1 << self.below(32),
            2 => u32::MAX - self.below(9),
            _ => self.below(u32::MAX),
        };
        format!("({word}u ^ zero)")
    }

    fn unsigned(&mut self, depth: u32) -> String {
        if depth == 0 {
            return match self.below(8) {
                0 => self.literal(),
                1 => "t[x & 7u]".to_owned(),
                2 => "v[y & 3u]".to_owned(),
                3 => "p".to_owned(),
                _ => self.of(&["x", "y", "at", "a", "b", "lane", "v.x", "v.w", "t[3]", "s.n", "s.w.y"]).to_owned(),
            };
        }
        let d = depth - 1;
        match self.below(15) {
            0..=4 => {
                let (a, op, b) =
                    (self.unsigned(d), self.of(&["+", "-", "*", "/", "%", "&", "|", "^"]), self.unsigned(d));
                format!("({a} {op} {b})")
            }
            5 => format!("({} {} ({} & 31u))", self.unsigned(d), self.of(&["<<", ">>"]), self.unsigned(d)),
            6 => format!(
                "{}({}, {})",
                self.of(&["min", "max", "dot4U8Packed", "mix_u"]),
                self.unsigned(d),
                self.unsigned(d)
            ),
            7 => {
                let fun = [
                    "countOneBits",
                    "reverseBits",
                    "firstLeadingBit",
                    "firstTrailingBit",
                    "countLeadingZeros",
                    "countTrailingZeros",
                    "~",
                    "abs",
                ];
                format!("{}({})", self.of(&fun), self.unsigned(d))
            }
            8 => format!("extractBits({}, {}, {})", self.unsigned(d), self.unsigned(0), self.unsigned(0)),
            9 => format!(
                "insertBits({}, {}, {}, {})",
                self.unsigned(d),
                self.unsigned(0),
                self.unsigned(0),
                self.unsigned(0)
            ),
            10 => format!("select({}, {}, {})", self.unsigned(d), self.unsigned(d), self.truth(d)),
            11 => format!("bitcast<u32>({})", self.signed(d)),
            12 => format!("u32({})", self.truth(d)),
            13 => format!("({}).{}", self.vector(d), self.of(&["x", "y", "z", "w"])),
            _ => format!("dot({}, {})", self.vector(d), self.vector(0)),
        }
    }

    fn signed(&mut self, depth: u32) -> String {
        if depth == 0 {
            return match self.below(3) {
                0 => format!("bitcast<i32>({})", self.literal()),
                _ => self.of(&["i", "j", "k", "s.w_signed.x"]).to_owned(),
            };
        }
        let d = depth - 1;
        match self.below(8) {
            0..=2 => {
                let (a, op, b) = (self.signed(d), self.of(&["+", "-", "*", "/", "%", "&", "|", "^"]), self.signed(d));
                format!("({a} {op} {b})")
            }
            3 => format!("({} {} ({} & 31u))", self.signed(d), self.of(&["<<", ">>"]), self.unsigned(d)),
            4 => format!("{}({}, {})", self.of(&["min", "max"]), self.signed(d), self.signed(d)),
            5 => format!(
                "{}({})",
                self.of(&["abs", "sign", "-", "~", "firstLeadingBit", "countOneBits"]),
                self.signed(d)
            ),
            6 => format!("bitcast<i32>({})", self.unsigned(d)),
            _ => format!("extractBits({}, {}, {})", self.signed(d), self.unsigned(0), self.unsigned(0)),
        }
    }

    fn truth(&mut self, depth: u32) -> String {
        let d = depth.saturating_sub(1);
        let compare = ["<", "<=", ">", ">=", "==", "!="];
        match if depth == 0 { self.below(2) } else { self.below(6) } {
            0 => format!("({} {} {})", self.unsigned(d), self.of(&compare), self.unsigned(d)),
            1 => format!("({} {} {})", self.signed(d), self.of(&compare), self.signed(d)),
            2 => format!("({} && {})", self.truth(d), self.truth(d)),
            3 => format!("({} || {})", self.truth(d), self.truth(d)),
            4 => format!("!({})", self.truth(d)),
            _ => format!("{}({} {} {})", self.of(&["all", "any"]), self.vector(d), self.of(&compare), self.vector(d)),
        }
    }

    fn vector(&mut self, depth: u32) -> String {
        if depth == 0 {
            return self.of(&["v", "v.wzyx", "v.xxyz", "s.w", "vec4<u32>(x, y, a, b)"]).to_owned();
        }
        let d = depth - 1;
        match self.below(5) {
            0 => {
                let (a, op, b) = (self.vector(d), self.of(&["+", "-", "*", "/", "%", "&", "|", "^"]), self.vector(d));
                format!("({a} {op} {b})")
            }
            1 => format!("vec4<u32>({}, ({}).xz, {})", self.unsigned(d), self.vector(d), self.unsigned(0)),
            2 => format!("vec4<u32>({})", self.unsigned(d)),
            3 => format!("select({}, {}, {} < {})", self.vector(d), self.vector(0), self.vector(0), self.vector(0)),
            _ => format!("({} {} {})", self.vector(d), self.of(&["*", "+"]), self.unsigned(d)),
        }
    }

    fn declarations(&mut self) -> String {
        // Functions see none of main's variables, so their bodies use parameters of the same names.
        format!(
            "struct S {{ n: u32, w: vec4<u32>, w_signed: vec3<i32> }}
            var<private> p: u32 = 3u;
            var<workgroup> tile: array<u32, 64>;
            fn mix_u(x: u32, y: u32) -> u32 {{ var n = x; for (var m = 0u; m < (y & 3u); m++) {{ n = n * 31u + y; if (n == {}u) {{ return m; }} }} p += 1u; return n ^ y; }}
            fn change(q: ptr<function, u32>, by: u32) {{ *q = *q * {}u + by; }}
            fn change_all(q: ptr<function, array<u32, 8>>, by: u32) {{ (*q)[by & 7u] ^= by; (*q)[2] += 1u; }}",
            self.below(1000),
            self.below(1000) | 1
        )
    }

    fn statements(&mut self, depth: u32, count: u32) -> String {
        (0..count).map(|_| self.statement(depth)).collect::<Vec<_>>().join("\n            ")
    }

    fn statement(&mut self, depth: u32) -> String {
        let kinds = if depth == 0 { 9 } else { 13 };
        match self.below(kinds) {
            0 | 1 => format!("{} = {};", self.of(&["x", "y", "v.y", "s.n", "p"]), self.unsigned(DEPTH)),
            2 => format!(
                "{} {}= {};",
                self.of(&["x", "y", "v.z", "s.w.x"]),
                self.of(&["+", "-", "*", "^", "|", "&", "/", "%"]),
                self.unsigned(2)
            ),
            3 => format!("{} = {};", self.of(&["k", "s.w_signed.x", "s.w_signed.z"]), self.signed(DEPTH)),
            4 => format!("v = {};", self.vector(3)),
            5 => format!("t[{} & 7u] = {};", self.unsigned(1), self.unsigned(2)),
            6 => format!("v[{} & 3u] ^= {};", self.unsigned(1), self.unsigned(1)),
            7 => format!("change(&{}, {});", self.of(&["x", "y", "t[y & 7u]", "s.n"]), self.unsigned(1)),
            8 => format!(
                "{{ let old = s; let kept = t; change_all(&t, x); s.w = v; x ^= old.w.z + kept[y & 7u] + {}; }}",
                self.unsigned(1)
            ),
            9 => {
                let (condition, then) = (self.truth(2), self.statements(depth - 1, 2));
                let otherwise = self.statements(depth - 1, 1);
                format!("if {condition} {{ {then} }} else {{ {otherwise} }}")
            }
            10 => {
                self.loops += 1;
                let (n, count, body) = (self.loops, self.below(6), self.statements(depth - 1, 2));
                let (skip, stop) = (self.truth(1), self.truth(1));
                format!(
                    "for (var n{n} = 0u; n{n} < {count}u; n{n}++) {{ x += n{n}; if {skip} {{ continue; }} {body} if {stop} {{ break; }} }}"
                )
            }
            11 => {
                self.loops += 1;
                let (n, body, stop) = (self.loops, self.statements(depth - 1, 1), self.truth(1));
                format!(
                    "{{ var n{n} = 0u; loop {{ n{n}++; y ^= n{n}; if {stop} {{ break; }} {body} continuing {{ x += 1u; break if n{n} > 4u; }} }} }}"
                )
            }
            _ => {
                let (selector, first, second) =
                    (self.unsigned(2), self.statements(depth - 1, 1), self.statements(depth - 1, 1));
                let other = self.statements(depth - 1, 1);
                format!(
                    "switch {selector} % 5u {{ case 0u, 3u: {{ {first} }} case 1u: {{ if (x > y) {{ break; }} {second} }} default: {{ {other} }} }}"
                )
            }
        }
    }

    fn main(&mut self) -> String {
        let (first, second, third) = (self.statements(3, 5), self.statements(3, 5), self.statements(2, 3));
        let shift = self.below(64);
        format!(
            "let zero = unit_input[12] - unit_input[12];
            var x = a + at; var y = b; var k = i ^ j; var v = vec4<u32>(a, b, at, lane); var t = array<u32, 8>(a, b, 1u, 2u, 3u, at, lane, 9u); var s: S;
            {first}
            tile[lane] = x ^ y; workgroupBarrier(); x += tile[(lane + {shift}u) & 63u]; workgroupBarrier();
            {second}
            tile[lane] = tile[lane] * 3u + y; workgroupBarrier(); y ^= tile[63u - lane];
            {third}
            var sum = x + y * 3u + p + bitcast<u32>(k) + dot(v, vec4<u32>(1u, 3u, 5u, 7u)) + s.n + dot(s.w, v) + bitcast<u32>(s.w_signed.x ^ s.w_signed.z);
            for (var n = 0u; n < 8u; n++) {{ sum = sum * 31u + t[n]; }}
            output[at] = sum;"
        )
    }
}
