//! The bytecode of the test contract, written out.
//!
//! Without calldata it returns slot 0. With a word it stores it in slot 0 and logs it under [`TOPIC`] and the caller; a
//! word of zero reverts with `Error("zero is refused")`; all ones loop until the gas is gone.

use alloy_primitives::{B256, b256};

/// First topic of the contract's log.
pub const TOPIC: B256 = b256!("5e7a4d1c00000000000000000000000000000000000000000000000000000001");

const REASON: &[u8; 15] = b"zero is refused";

/// Runtime code.
pub fn runtime() -> Vec<u8> {
    let mut read = Vec::new();
    // slot 0 -> memory -> return
    read.extend([0x60, 0, 0x54, 0x60, 0, 0x52, 0x60, 32, 0x60, 0, 0xf3]);
    // calldatasize; jump to `write` if there is some. The prologue has 4 bytes.
    let write_at = 4 + read.len() as u8;
    let mut code = vec![0x36, 0x60, write_at, 0x57];
    code.extend(read);
    // write: word = calldataload(0); if word == 0 jump to `refuse`; if not(word) == 0 jump to `loop`
    code.extend([0x5b, 0x60, 0, 0x35, 0x80, 0x15]);
    let refuse_patch = code.len() + 1;
    code.extend([0x60, 0, 0x57, 0x80, 0x19, 0x15]);
    let loop_patch = code.len() + 1;
    code.extend([0x60, 0, 0x57]);
    // sstore(0, word); mstore(0, word); log2(0, 32, TOPIC, caller); stop
    code.extend([0x80, 0x60, 0, 0x55, 0x60, 0, 0x52, 0x33, 0x7f]);
    code.extend(TOPIC.as_slice());
    code.extend([0x60, 32, 0x60, 0, 0xa2, 0x00]);
    code[refuse_patch] = code.len() as u8;
    // refuse: memory = Error(string) selector, 0x20, length, text; revert(0, 100)
    code.extend([0x5b, 0x7f, 0x08, 0xc3, 0x79, 0xa0]);
    code.extend([0; 28]);
    code.extend([0x60, 0, 0x52, 0x60, 0x20, 0x60, 4, 0x52, 0x60, REASON.len() as u8, 0x60, 0x24, 0x52, 0x7f]);
    code.extend(REASON);
    code.extend([0; 32 - REASON.len()]);
    code.extend([0x60, 0x44, 0x52, 0x60, 100, 0x60, 0, 0xfd]);
    // loop: jump to itself
    let loop_at = code.len() as u8;
    code[loop_patch] = loop_at;
    code.extend([0x5b, 0x60, loop_at, 0x56]);
    code
}

/// Init code that deploys [`runtime`].
pub fn init() -> Vec<u8> {
    let runtime = runtime();
    let length = runtime.len() as u8;
    // codecopy(0, 11, length); return(0, length)
    let mut code = vec![0x60, length, 0x60, 12, 0x60, 0, 0x39, 0x60, length, 0x60, 0, 0xf3];
    code.extend(runtime);
    code
}
