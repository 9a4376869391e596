//! Frames on the two pipes between parent and worker: a small postcard header and raw bytes behind it.
//!
//! # Format
//! `header_len: u32 LE | payload_len: u32 LE | header (postcard) | payload`. Both lengths are checked before anything is read or
//! allocated; the payload is read in steps, so a length without bytes behind it costs nothing.

use keystead_job::limits::{INPUT_BYTES_MAX, PROGRAM_BYTES_MAX_WASM};
use serde::{Serialize, de::DeserializeOwned};
use std::io::{self, Read, Write};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Largest header, bytes: the longest explanation and a device report fit many times.
pub(crate) const HEADER_BYTES_MAX: u32 = 65_536;
/// Largest payload, bytes: program and common input travel in one frame.
// LOSSY: 144 MiB fits u32.
#[allow(clippy::cast_possible_truncation)]
pub(crate) const PAYLOAD_BYTES_MAX: u32 = (INPUT_BYTES_MAX + PROGRAM_BYTES_MAX_WASM) as u32;
const PREFIX_BYTES: usize = 8;

/// Why a frame could not be moved. The peer broke the protocol or is gone.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("frame header too large: got_bytes={got_bytes} max_bytes={max_bytes}")]
    HeaderTooLarge { got_bytes: usize, max_bytes: u32 },
    #[error("frame payload too large: got_bytes={got_bytes} max_bytes={max_bytes}")]
    PayloadTooLarge { got_bytes: usize, max_bytes: u32 },
    #[error("frame header cannot be read: {0}")]
    Header(#[from] postcard::Error),
    #[error("the other side closed its pipe")]
    Closed,
    #[error("pipe: {0}")]
    Io(io::Error),
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Io(error),
        }
    }
}

fn head<M: Serialize>(message: &M, payload_bytes: usize) -> Result<Vec<u8>, Error> {
    let mut out = postcard::to_extend(message, vec![0; PREFIX_BYTES])?;
    let header_bytes = out.len().saturating_sub(PREFIX_BYTES);
    let bounded = |got: usize, max: u32| u32::try_from(got).ok().filter(|&got| got <= max);
    let header = bounded(header_bytes, HEADER_BYTES_MAX)
        .ok_or(Error::HeaderTooLarge { got_bytes: header_bytes, max_bytes: HEADER_BYTES_MAX })?;
    let payload = bounded(payload_bytes, PAYLOAD_BYTES_MAX)
        .ok_or(Error::PayloadTooLarge { got_bytes: payload_bytes, max_bytes: PAYLOAD_BYTES_MAX })?;
    out[..4].copy_from_slice(&header.to_le_bytes());
    out[4..PREFIX_BYTES].copy_from_slice(&payload.to_le_bytes());
    Ok(out)
}

/// Lengths of header and payload, checked.
fn lengths(prefix: [u8; PREFIX_BYTES], payload_max: u32) -> Result<(u32, u32), Error> {
    let [a, b, c, d, e, f, g, h] = prefix;
    let (header, payload) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
    let max_bytes = payload_max.min(PAYLOAD_BYTES_MAX);
    if header > HEADER_BYTES_MAX {
        return Err(Error::HeaderTooLarge { got_bytes: header as usize, max_bytes: HEADER_BYTES_MAX });
    }
    if payload > max_bytes {
        return Err(Error::PayloadTooLarge { got_bytes: payload as usize, max_bytes });
    }
    Ok((header, payload))
}

fn message<M: DeserializeOwned>(header: &[u8]) -> Result<M, Error> {
    let (message, rest) = postcard::take_from_bytes(header)?;
    if rest.is_empty() { Ok(message) } else { Err(Error::Header(postcard::Error::DeserializeBadEncoding)) }
}

/// Writes one frame; the payload may come in several pieces, which are joined.
pub(crate) fn write<M: Serialize>(to: &mut impl Write, message: &M, payload: &[u8]) -> Result<(), Error> {
    to.write_all(&head(message, payload.len())?)?;
    to.write_all(payload)?;
    Ok(to.flush()?)
}

/// Reads one frame; blocks until it is whole.
pub(crate) fn read<M: DeserializeOwned>(from: &mut impl Read) -> Result<(M, Vec<u8>), Error> {
    let mut prefix = [0; PREFIX_BYTES];
    from.read_exact(&mut prefix)?;
    let (header_bytes, payload_bytes) = lengths(prefix, PAYLOAD_BYTES_MAX)?;
    let mut take = |count: u32| {
        let mut bytes = Vec::new();
        from.by_ref().take(u64::from(count)).read_to_end(&mut bytes)?;
        if bytes.len() == count as usize { Ok(bytes) } else { Err(Error::Closed) }
    };
    let header = take(header_bytes)?;
    Ok((message(&header)?, take(payload_bytes)?))
}

/// Writes one frame without blocking the thread; the payload pieces are joined.
pub(crate) async fn send<M: Serialize + Sync>(
    to: &mut (impl AsyncWrite + Unpin),
    message: &M,
    payload: &[&[u8]],
) -> Result<(), Error> {
    let payload_bytes = payload.iter().map(|piece| piece.len()).fold(0, usize::saturating_add);
    to.write_all(&head(message, payload_bytes)?).await?;
    for piece in payload {
        to.write_all(piece).await?;
    }
    Ok(to.flush().await?)
}

/// Reads one frame without blocking the thread; refuses a payload above `payload_max` bytes before reading it.
pub(crate) async fn receive<M: DeserializeOwned>(
    from: &mut (impl AsyncRead + Unpin),
    payload_max: u32,
) -> Result<(M, Vec<u8>), Error> {
    let mut prefix = [0; PREFIX_BYTES];
    from.read_exact(&mut prefix).await?;
    let (header_bytes, payload_bytes) = lengths(prefix, payload_max)?;
    let mut parts = [Vec::new(), Vec::new()];
    for (part, count) in parts.iter_mut().zip([header_bytes, payload_bytes]) {
        (&mut *from).take(u64::from(count)).read_to_end(part).await?;
        if part.len() != count as usize {
            return Err(Error::Closed);
        }
    }
    let [header, payload] = parts;
    Ok((message(&header)?, payload))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::arithmetic_side_effects)] // A test: a panic is a failure.
mod tests {
    use super::*;

    #[test]
    fn a_frame_comes_back_as_it_was_sent() {
        let mut pipe = Vec::new();
        write(&mut pipe, &("unit", 7u32), b"bytes").unwrap();
        write(&mut pipe, &("empty", 0u32), b"").unwrap();
        let mut from = pipe.as_slice();
        assert_eq!(read::<(String, u32)>(&mut from).unwrap(), (("unit".to_owned(), 7), b"bytes".to_vec()));
        assert_eq!(read::<(String, u32)>(&mut from).unwrap(), (("empty".to_owned(), 0), Vec::new()));
        assert!(matches!(read::<(String, u32)>(&mut from), Err(Error::Closed)));
    }

    #[test]
    fn lengths_above_the_maximum_are_refused_before_anything_is_read() {
        let frame = |header: u32, payload: u32| [header.to_le_bytes(), payload.to_le_bytes()].concat();
        assert!(matches!(read::<u8>(&mut &frame(HEADER_BYTES_MAX + 1, 0)[..]), Err(Error::HeaderTooLarge { .. })));
        assert!(matches!(read::<u8>(&mut &frame(1, PAYLOAD_BYTES_MAX + 1)[..]), Err(Error::PayloadTooLarge { .. })));
        assert!(matches!(read::<u8>(&mut &frame(HEADER_BYTES_MAX, PAYLOAD_BYTES_MAX)[..]), Err(Error::Closed)));
    }

    #[test]
    fn garbage_and_cut_frames_are_errors_and_never_panics() {
        let mut whole = Vec::new();
        write(&mut whole, &("unit", 7u32), b"bytes").unwrap();
        for cut in 0..whole.len() {
            assert!(read::<(String, u32)>(&mut &whole[..cut]).is_err(), "cut at {cut}");
        }
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 0xff;
            let _ = read::<(String, u32)>(&mut changed.as_slice());
        }
    }

    #[test]
    fn the_parent_refuses_an_answer_larger_than_the_unit_may_have() {
        let mut pipe = Vec::new();
        write(&mut pipe, &1u8, &[0; 9]).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert!(runtime.block_on(receive::<u8>(&mut pipe.as_slice(), 9)).is_ok());
        let refused = runtime.block_on(receive::<u8>(&mut pipe.as_slice(), 8));
        assert!(matches!(refused, Err(Error::PayloadTooLarge { got_bytes: 9, max_bytes: 8 })));
    }
}
