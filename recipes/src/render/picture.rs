//! From sums of light to a PNG: exposure, a film curve, sRGB, and an uncompressed PNG.
//!
//! # Design
//! Only `+ - * /` and `sqrt`, so that equal sums give an equal file on every machine.
#![allow(
    clippy::arithmetic_side_effects,
    reason = "floating point; lengths of a picture of at most 16,384 pixels a side"
)]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "LOSSY: to 8 bits, after clamping; lengths below 2^32"
)]

/// A picture's rows of red, green and blue bytes from mean light: scaled, bent by a film curve, encoded as sRGB.
pub(super) fn developed(light: impl Iterator<Item = f64>, exposure: f64) -> Vec<u8> {
    light.map(|light| encoded(film(light * exposure))).collect()
}

/// A film-like curve: straight in the shadows, soft in the lights (Narkowicz's fit of ACES).
fn film(x: f64) -> f64 {
    let x = 0.6 * x;
    (x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14)).clamp(0.0, 1.0)
}

/// sRGB in 8 bits (IEC 61966-2-1). x^(1/2.4) is the product of the fourth and the sixth root.
fn encoded(x: f64) -> u8 {
    let value = if x <= 0.003_130_8 {
        12.92 * x
    } else {
        let cube_root = (0..60).fold(1.0_f64, |root, _| root - (root * root * root - x) / (3.0 * root * root));
        1.055 * x.sqrt().sqrt() * cube_root.sqrt() - 0.055
    };
    (value.clamp(0.0, 1.0) * 255.0 + 0.5) as u8
}

/// A PNG of 8-bit red, green and blue rows, stored without compression (PNG specification, zlib and deflate formats).
pub(super) fn png(width: u32, height: u32, pixels: &[u8]) -> Vec<u8> {
    let mut header = Vec::new();
    header.extend(width.to_be_bytes());
    header.extend(height.to_be_bytes());
    // 8 bits, colour, no interlacing.
    header.extend([8, 2, 0, 0, 0]);
    let row_bytes = 3 * width as usize;
    let mut raw = Vec::with_capacity(pixels.len() + height as usize);
    for row in pixels.chunks(row_bytes.max(1)) {
        // Filter 0: as it is.
        raw.push(0);
        raw.extend(row);
    }
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    chunk(&mut file, *b"IHDR", &header);
    chunk(&mut file, *b"IDAT", &zlib(&raw));
    chunk(&mut file, *b"IEND", &[]);
    file
}

fn zlib(raw: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x78, 0x01];
    let mut parts = raw.chunks(65_535).peekable();
    while let Some(part) = parts.next() {
        // LOSSY: a stored block has at most 65,535 bytes.
        let length = part.len() as u16;
        bytes.push(u8::from(parts.peek().is_none()));
        bytes.extend(length.to_le_bytes());
        bytes.extend((!length).to_le_bytes());
        bytes.extend(part);
    }
    let (mut a, mut b) = (1_u32, 0_u32);
    for byte in raw {
        a = (a + u32::from(*byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    bytes.extend(((b << 16) | a).to_be_bytes());
    bytes
}

fn chunk(file: &mut Vec<u8>, kind: [u8; 4], content: &[u8]) {
    file.extend((content.len() as u32).to_be_bytes());
    let begin = file.len();
    file.extend(kind);
    file.extend(content);
    let check = crc(&file[begin..]);
    file.extend(check.to_be_bytes());
}

fn crc(bytes: &[u8]) -> u32 {
    let table: [u32; 256] = core::array::from_fn(|index| {
        (0..8).fold(index as u32, |c, _| if c & 1 == 1 { 0xedb8_8320 ^ (c >> 1) } else { c >> 1 })
    });
    !bytes.iter().fold(!0_u32, |c, byte| table[((c ^ u32::from(*byte)) & 0xff) as usize] ^ (c >> 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_the_published_ones() {
        assert_eq!(crc(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc(b"IEND"), 0xae42_6082);
        // RFC 1950's Adler-32 of "Wikipedia" is a well-known answer.
        assert_eq!(zlib(b"Wikipedia")[16..], [0x11, 0xe6, 0x03, 0x98]);
    }

    #[test]
    fn srgb_is_that_of_the_standard_and_the_curve_rises() {
        for (linear, byte) in [(0.0, 0), (0.002, 7), (0.215_861, 128), (0.5, 188), (1.0, 255), (9.0, 255)] {
            assert_eq!(encoded(linear), byte, "{linear}");
        }
        let steps: Vec<f64> = (0..1_000_u32).map(|at| film(f64::from(at) * 0.02)).collect();
        assert!(steps.array_windows().all(|[a, b]| a <= b));
    }
}
