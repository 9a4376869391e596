//! The bodies of a simulation: a table that a person brings, or one of the known systems.
#![allow(clippy::arithmetic_side_effects, reason = "floating point, and counters below the number of bodies or lines")]
#![allow(clippy::cast_possible_truncation, reason = "LOSSY: bodies are simulated in single precision")]

use super::blob::{BODIES_MAX, Body};
use crate::{Error, InputFile};

const HEADER: &str = "name,mass,x,y,z,vx,vy,vz";
/// Longest name, bytes.
const NAME_BYTES_MAX: usize = 64;
/// Greatest absolute value of a number in a table: squares and cubes of distances stay inside of single precision.
const NUMBER_MAX: f64 = 1e9;

/// A body with its name.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) body: Body,
}

/// Numbers of [0, 1) from a seed (`SplitMix64`).
#[derive(Clone, Debug)]
pub(super) struct Draws(u64);

impl Draws {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    #[allow(clippy::cast_precision_loss, reason = "53 bits are exact in double precision")]
    pub(super) fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((x ^ (x >> 31)) >> 11) as f64 / 9_007_199_254_740_992.0
    }

    /// A vector of this length in a direction of equal chance: a point of the unit ball, drawn from its cube.
    fn direction(&mut self, length: f64) -> [f64; 3] {
        loop {
            let point: [f64; 3] = core::array::from_fn(|_| 2.0 * self.next() - 1.0);
            let square: f64 = point.iter().map(|part| part * part).sum();
            if square > 1e-6 && square <= 1.0 {
                return point.map(|part| part / square.sqrt() * length);
            }
        }
    }
}

/// Reads a table of bodies: the header, then a line for each.
pub(super) fn read(file: &InputFile) -> Result<Vec<Named>, Error> {
    let whole = |what: String| Error::InputWhole { path: file.path.clone(), what };
    let text = core::str::from_utf8(&file.bytes).map_err(|_| whole("is no UTF-8 text".to_owned()))?;
    let mut lines = text.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty());
    if lines.next().is_none_or(|(_, line)| line.trim_start_matches('\u{feff}') != HEADER) {
        return Err(whole(format!("must begin with the line {HEADER}")));
    }
    let mut bodies = Vec::new();
    for (index, line) in lines {
        if bodies.len() == BODIES_MAX {
            return Err(whole(format!("has more than {BODIES_MAX} bodies")));
        }
        bodies.push(parse(line).map_err(|what| Error::InputLine { path: file.path.clone(), line: index + 1, what })?);
    }
    if bodies.is_empty() {
        return Err(Error::InputEmpty { path: file.path.clone(), expected: "a line for each body" });
    }
    Ok(bodies)
}

fn parse(line: &str) -> Result<Named, String> {
    let fields: Vec<&str> = line.split(',').map(str::trim).collect();
    let [name, numbers @ ..] = fields.as_slice() else { return Err("is empty".to_owned()) };
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(['"', '\'']) {
        return Err(format!("the name must have 1 to {NAME_BYTES_MAX} bytes and no quotes"));
    }
    let number = |text: &&str| {
        let number = text.parse::<f64>().ok().filter(|number| number.abs() <= NUMBER_MAX);
        number.map(|number| number as f32).ok_or_else(|| format!("not a number of at most 1e9: {text:.40}"))
    };
    let numbers: Vec<f32> = numbers.iter().map(number).collect::<Result<_, _>>()?;
    let &[mass, x, y, z, vx, vy, vz] = numbers.as_slice() else {
        return Err(format!("must have 8 fields ({HEADER}), has {}", fields.len()));
    };
    if mass < 0.0 {
        return Err("a mass is negative".to_owned());
    }
    Ok(Named { name: (*name).to_owned(), body: Body { mass, place: [x, y, z], velocity: [vx, vy, vz] } })
}

/// Three equal masses on one curve like an eight (Chenciner and Montgomery 2000, numbers by Simó); period 6.3259.
pub(super) fn figure_8() -> Vec<Named> {
    let (x, y, vx, vy) = (0.970_004_36, -0.243_087_53, -0.932_407_37, -0.864_731_46);
    let bodies = [
        ("a", [x, y, 0.0], [-0.5 * vx, -0.5 * vy, 0.0]),
        ("b", [-x, -y, 0.0], [-0.5 * vx, -0.5 * vy, 0.0]),
        ("c", [0.0; 3], [vx, vy, 0.0]),
    ];
    let named = |(name, place, velocity): (&str, [f64; 3], [f64; 3])| Named {
        name: name.to_owned(),
        body: Body { mass: 1.0, place: place.map(|x| x as f32), velocity: velocity.map(|x| x as f32) },
    };
    bodies.map(named).to_vec()
}

/// A Plummer sphere of total mass 1 and scale length 1 in equilibrium, for gravity 1 (Aarseth, Hénon and Wielen 1974). Only `+ - * /` and
/// `sqrt`, so that it is equal on every machine.
pub(super) fn plummer(count: usize, seed: u64) -> Vec<Named> {
    let mut draws = Draws::new(seed);
    // LOSSY: at most 512 bodies.
    let mass = 1.0 / count.max(1) as f32;
    let one = |index: usize| {
        // The share of the mass inside of the radius is r^3 / (1 + r^2)^(3/2); the outermost 2 % are left out.
        let root = cube_root(0.001 + 0.979 * draws.next());
        let radius = (1.0 / (1.0 / (root * root) - 1.0)).sqrt();
        let place = draws.direction(radius);
        // The speed as a share q of the escape speed has the density q^2 (1 - q^2)^(7/2), nowhere above 0.1.
        let share = loop {
            let (q, level) = (draws.next(), 0.1 * draws.next());
            let rest = 1.0 - q * q;
            if level < q * q * rest * rest * rest * rest.sqrt() {
                break q;
            }
        };
        let escape = (2.0 / (1.0 + radius * radius).sqrt()).sqrt();
        let velocity = draws.direction(share * escape);
        let body = Body { mass, place: place.map(|x| x as f32), velocity: velocity.map(|x| x as f32) };
        Named { name: format!("p{index}"), body }
    };
    (0..count).map(one).collect()
}

/// Newton's method from above, a fixed number of rounds; for numbers of 0.001 to 1.
fn cube_root(number: f64) -> f64 {
    (0..40).fold(1.0_f64, |root, _| root - (root * root * root - number) / (3.0 * root * root))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::cast_precision_loss, reason = "tests")]
    use super::*;
    use crate::nbody::motion::{Law, System};

    fn file(text: &str) -> InputFile {
        InputFile { path: "b.csv".to_owned(), bytes: text.as_bytes().to_vec() }
    }

    #[test]
    fn tables_are_read_and_mistakes_named_by_line() {
        let good = format!("{HEADER}\nSun, 1, 0,0,0, 0,0,0\r\n\nEarth,3e-6,1,0,0,0,6.25,-1e-3\n");
        let bodies = read(&file(&good)).unwrap();
        assert_eq!((bodies.len(), bodies[1].body.velocity), (2, [0.0, 6.25, -1e-3]));
        for (line, what) in [
            ("a,1,0,0,0,0,0", "8 fields"),
            ("a,1,0,0,0,0,0,0,0", "8 fields"),
            ("a,-1,0,0,0,0,0,0", "negative"),
            ("a,1,x,0,0,0,0,0", "not a number"),
            ("a,1,inf,0,0,0,0,0", "not a number"),
            ("a,1,nan,0,0,0,0,0", "not a number"),
            ("a,1,1e10,0,0,0,0,0", "not a number"),
            (",1,0,0,0,0,0,0", "name"),
        ] {
            let error = read(&file(&format!("{HEADER}\n{line}\n"))).unwrap_err().to_string();
            assert!(error.starts_with("b.csv:2: ") && error.contains(what), "{line}: {error}");
        }
        assert!(read(&file("mass,x\n")).unwrap_err().to_string().contains(HEADER));
        assert!(matches!(read(&file(HEADER)), Err(Error::InputEmpty { .. })));
        let many = format!("{HEADER}\n{}", "a,1,0,0,0,0,0,0\n".repeat(513));
        assert!(read(&file(&many)).unwrap_err().to_string().contains("more than 512"));
    }

    #[test]
    fn a_plummer_sphere_has_the_energy_of_the_model() {
        let bodies: Vec<Body> = plummer(512, 7).into_iter().map(|named| named.body).collect();
        let law = Law { gravity: 1.0, softening_2: 0.0, step_time: 0.0 };
        // The model's energy is -3 pi / 64 G M^2 / a; 512 bodies scatter around it.
        let energy = System::new(&bodies).energy(law);
        assert!((energy + 3.0 * core::f64::consts::PI / 64.0).abs() < 0.03, "{energy}");
        assert_ne!(plummer(3, 1), plummer(3, 2));
        assert!((cube_root(0.125) - 0.5).abs() < 1e-15 && (cube_root(0.001) - 0.1).abs() < 1e-15);
    }
}
