// The link from delivered files to the result root of a proved order. Spec: specs/0002-proof-bundle.md §7.

import { blake3 } from '@noble/hashes/blake3.js';
import { concat, toHex } from './bytes.js';

/** Result root of a job: BLAKE3 of the BLAKE3 hashes of the unit outputs, in unit order. */
export function resultRoot(outputs: Iterable<Uint8Array>): string {
  return toHex(blake3(concat(...Array.from(outputs, (output) => blake3(output)))));
}
