// What the scenarios share: their argument, the test accounts' keys, the compiled contracts, and how one ends.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

/** The argument: `http` and `ws` are lists of URLs of one network, `artifacts` is the folder of our compiled contracts. */
export const network = JSON.parse(process.argv[2]);

/** Keys of the first ten accounts of the mnemonic `test test test test test test test test test test test junk`. */
export const KEYS = [
  "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
  "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
  "0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
  "0x7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6",
  "0x47e179ec197488593b187f80a00eb0da91f1b9d0b13f8733639f19c30a34926a",
  "0x8b3a350cf5c34c9194ca85829a2df0ec3153be0318b5e2d3348e872092edffba",
  "0x92db14e403b83dfe3df233f83dfa3a0d7096f21ca9b0d6d6b8d88b2b4ec1564e",
  "0x4bbbf85ce3377467afe5d46f804f221813b2bb87f24d81f60f1fcdbf7cbf4356",
  "0xdbda1821b80551c9d65939329250298aa3472ba22feea921c0cf5d620ea67b97",
  "0x2a871d0798f97d79848a013d4936a73bf4cc922c825d33c1cf7073dff6d409c6",
];

/** One of our own contracts, with `abi` and `bytecode`. */
export function artifact(name) {
  return JSON.parse(readFileSync(join(network.artifacts, `${name}.json`), "utf8"));
}

/** A file of an npm package that the package means to be read: canonical bytecode comes from where users get it. */
export function packaged(path) {
  return createRequire(import.meta.url)(path);
}

/** Polls until `answer` gives something; bounded, since a network that stands still must fail the test. */
export async function until(what, answer) {
  const deadline = Date.now() + 60_000;
  for (;;) {
    const found = await answer();
    if (found) return found;
    if (Date.now() > deadline) throw new Error(`waited in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Prints what the test compares with other nodes, and ends: sockets may still be open. */
export function report(facts) {
  const text = JSON.stringify(facts, (_, value) => (typeof value === "bigint" ? value.toString() : value));
  process.stdout.write(`${text}\n`, () => process.exit(0));
}
