//! Small contracts, byte by byte.

use keystead_types::{Address, Bytes};

/// `SSTORE(calldata[0..32], calldata[32..64])`
pub(crate) const STORE: &[u8] = &[0x60, 0x20, 0x35, 0x5f, 0x35, 0x55, 0x00];
/// `LOG1(calldata[0..32], topic 42)`
pub(crate) const LOG: &[u8] = &[0x5f, 0x35, 0x5f, 0x52, 0x60, 0x2a, 0x60, 0x20, 0x5f, 0xa1, 0x00];
/// `REVERT` with the word 42.
pub(crate) const REVERT: &[u8] = &[0x60, 0x2a, 0x5f, 0x52, 0x60, 0x20, 0x5f, 0xfd];
/// A loop without end.
pub(crate) const LOOP: &[u8] = &[0x5b, 0x5f, 0x56];
/// `SELFDESTRUCT` to the address in `calldata[0..32]`.
pub(crate) const DESTROY: &[u8] = &[0x5f, 0x35, 0xff];
/// `CREATE2` with salt 0, the call's value and calldata as init code; the address goes to slot 0.
pub(crate) const FACTORY: &[u8] = &[0x36, 0x5f, 0x5f, 0x37, 0x5f, 0x36, 0x5f, 0x34, 0xf5, 0x5f, 0x55, 0x00];
/// Returns the base fee.
pub(crate) const BASE_FEE: &[u8] = &[0x48, 0x5f, 0x52, 0x60, 0x20, 0x5f, 0xf3];
/// Returns `BLOCKHASH(calldata[0..32])`.
pub(crate) const BLOCK_HASH: &[u8] = &[0x5f, 0x35, 0x40, 0x5f, 0x52, 0x60, 0x20, 0x5f, 0xf3];
/// Returns `PREVRANDAO`.
pub(crate) const RANDOM: &[u8] = &[0x44, 0x5f, 0x52, 0x60, 0x20, 0x5f, 0xf3];
/// Calls itself with all gas until the stack of calls or the gas ends.
pub(crate) const RECURSE: &[u8] = &[0x5f, 0x5f, 0x5f, 0x5f, 0x5f, 0x30, 0x5a, 0xf1, 0x00];
/// Grows its memory by one word in each round of a loop without end.
pub(crate) const HOARD: &[u8] = &[0x5f, 0x5b, 0x5f, 0x81, 0x52, 0x60, 0x20, 0x01, 0x60, 0x01, 0x56];
/// Writes one slot after another for ever.
pub(crate) const FILL: &[u8] = &[0x5f, 0x5b, 0x80, 0x80, 0x55, 0x60, 0x01, 0x01, 0x60, 0x01, 0x56];
/// Returns 64 KiB of zeros.
pub(crate) const SHOUT: &[u8] = &[0x62, 0x01, 0x00, 0x00, 0x5f, 0xf3];
/// Calls the address in `calldata[0..32]` for ever, and lets it return 64 KiB.
pub(crate) const LISTEN: &[u8] = &[0x5b, 0x5f, 0x5f, 0x5f, 0x5f, 0x5f, 0x5f, 0x35, 0x5a, 0xf1, 0x50, 0x5f, 0x56];
/// An opcode that does not exist.
pub(crate) const INVALID: &[u8] = &[0xfe];
/// Init code that stores 1 in slot 1 and destroys itself in favour of its caller.
pub(crate) const BORN_DEAD: &[u8] = &[0x60, 0x01, 0x60, 0x01, 0x55, 0x33, 0xff];

/// Init code that deploys `runtime`.
pub(crate) fn deploy(runtime: &[u8]) -> Bytes {
    let length = u16::try_from(runtime.len()).unwrap().to_be_bytes();
    // PUSH2 length, DUP1, PUSH1 10, PUSH0, CODECOPY, PUSH0, RETURN
    let mut code = vec![0x61, length[0], length[1], 0x80, 0x60, 10, 0x5f, 0x39, 0x5f, 0xf3];
    code.extend(runtime);
    code.into()
}

/// Code that calls `target` with all calldata and gas, and reverts if that fails.
pub(crate) fn forward(target: Address) -> Vec<u8> {
    let mut code = vec![0x36, 0x5f, 0x5f, 0x37, 0x5f, 0x5f, 0x36, 0x5f, 0x5f, 0x73];
    code.extend(target);
    // GAS, CALL, PUSH1 to the end, JUMPI, PUSH0 PUSH0 REVERT, JUMPDEST, STOP
    code.extend([0x5a, 0xf1, 0x60, 0, 0x57, 0x5f, 0x5f, 0xfd, 0x5b, 0x00]);
    let end = code.len() - 2;
    code[end - 5] = end as u8;
    code
}
