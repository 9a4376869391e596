// Builds the committed artifacts, or checks that they are what the sources give.
//
//   node build.mjs            compiles and writes artifacts/*.json
//   node build.mjs --check    compiles and compares; exit code 1 and a list of differences if anything differs
//
// It runs the compiler of npm's `solc` package directly, so neither forge nor a native compiler is needed. Each contract is
// compiled with exactly the sources that it imports, so that a change elsewhere cannot move its bytes, and each artifact
// names the compiler, the settings and a hash of those sources. Nothing in an artifact depends on the machine, the path of
// the checkout or the time.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, posix } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = dirname(fileURLToPath(import.meta.url));
const ARTIFACTS = join(ROOT, "artifacts");

/** What is built: source file by contract name. `genesis` contracts must run from their runtime code over empty storage. */
const CONTRACTS = [
  { name: "Providers", source: "src/Providers.sol", genesis: true },
  { name: "Market", source: "src/Market.sol", genesis: true },
  { name: "Beacon", source: "src/Beacon.sol", genesis: true },
  { name: "Bond", source: "src/Bond.sol", genesis: true },
  { name: "Audit", source: "src/Audit.sol", genesis: true },
  { name: "Referee", source: "src/Referee.sol", genesis: true },
  { name: "Panels", source: "src/Panels.sol", genesis: true },
  { name: "Channel", source: "src/Channel.sol", genesis: true },
  { name: "Touchstone", source: "src/Touchstone.sol", genesis: true },
  { name: "Counter", source: "test/fixtures/Counter.sol", genesis: false },
  { name: "BenchToken", source: "test/fixtures/BenchToken.sol", genesis: false },
  { name: "FeeToken", source: "test/fixtures/FeeToken.sol", genesis: false },
  { name: "Token", source: "test/fixtures/Token.sol", genesis: false },
  { name: "Collection", source: "test/fixtures/Collection.sol", genesis: false },
  { name: "Batch", source: "test/fixtures/Batch.sol", genesis: false },
  { name: "FlashBorrower", source: "test/fixtures/FlashBorrower.sol", genesis: false },
];

/** The settings of the compiler. `foundry.toml` states the same for the tests; `checkFoundryToml` compares them. */
const SETTINGS = {
  evmVersion: "osaka",
  metadata: { appendCBOR: false, bytecodeHash: "none" },
  optimizer: { enabled: true, runs: 10000 },
  remappings: ["@openzeppelin/=node_modules/@openzeppelin/"],
  viaIR: false,
};

/** The longest code that EIP-170 lets an account hold, in bytes. */
const CODE_BYTES_MAX = 24576;

/** A failure that the person at the keyboard can mend; printed without a stack. */
class BuildError extends Error {}

/** SHA-256 of a text as 0x-prefixed hex. */
function sha256(text) {
  return `0x${createHash("sha256").update(text, "utf8").digest("hex")}`;
}

/** JSON with the keys of every object in order, so that equal values have equal bytes. */
function canonical(value, indent) {
  const sorted = (node) => {
    if (Array.isArray(node)) return node.map(sorted);
    if (node === null || typeof node !== "object") return node;
    return Object.fromEntries(Object.keys(node).sort().map((key) => [key, sorted(node[key])]));
  };
  return JSON.stringify(sorted(value), null, indent);
}

function loadCompiler() {
  const require = createRequire(import.meta.url);
  try {
    return require("solc");
  } catch (error) {
    if (error.code !== "MODULE_NOT_FOUND") throw error;
    throw new BuildError("the compiler is not installed: run `npm ci` in contracts/");
  }
}

/** The compiler's version must be the one that package.json pins, or the bytes would differ for no visible reason. */
function checkCompilerVersion(version) {
  const pinned = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")).devDependencies.solc;
  if (!version.startsWith(`${pinned}+`)) {
    throw new BuildError(`the installed compiler is ${version}, package.json pins ${pinned}: run \`npm ci\` in contracts/`);
  }
}

/** The value of `key` in the section `[profile.default]` of foundry.toml, as text. */
function foundryValue(toml, key) {
  const section = toml.split(/^\[profile\.default\]$/m)[1]?.split(/^\[/m)[0] ?? "";
  return new RegExp(`^${key} = (.*)$`, "m").exec(section)?.[1];
}

/** The tests must run what is deployed: forge's settings equal ours. */
function checkFoundryToml() {
  const toml = readFileSync(join(ROOT, "foundry.toml"), "utf8");
  const expected = {
    evm_version: JSON.stringify(SETTINGS.evmVersion),
    optimizer: String(SETTINGS.optimizer.enabled),
    optimizer_runs: String(SETTINGS.optimizer.runs),
    via_ir: String(SETTINGS.viaIR),
    bytecode_hash: JSON.stringify(SETTINGS.metadata.bytecodeHash),
    cbor_metadata: String(SETTINGS.metadata.appendCBOR),
    remappings: JSON.stringify(SETTINGS.remappings),
  };
  for (const [key, value] of Object.entries(expected)) {
    const found = foundryValue(toml, key);
    if (found !== value) {
      throw new BuildError(`foundry.toml and build.mjs differ: ${key} is ${found} there and ${value} here`);
    }
  }
}

/** The file in which the compiler finds an import, relative to contracts/, with forward slashes. */
function resolveImport(from, path) {
  if (path.startsWith(".")) return posix.normalize(posix.join(posix.dirname(from), path));
  for (const remapping of SETTINGS.remappings) {
    const [prefix, target] = remapping.split("=");
    if (path.startsWith(prefix)) return target + path.slice(prefix.length);
  }
  return path;
}

/** Every source that `entry` imports, directly or not, by its path relative to contracts/. */
function closure(entry) {
  const sources = new Map();
  const queue = [entry];
  while (queue.length > 0) {
    const path = queue.pop();
    if (sources.has(path)) continue;
    const file = join(ROOT, path);
    if (!existsSync(file)) throw new BuildError(`missing source: ${path} (run \`npm ci\` in contracts/?)`);
    // A checkout on Windows may have changed the line ends.
    const content = readFileSync(file, "utf8").replaceAll("\r\n", "\n");
    sources.set(path, content);
    for (const match of content.matchAll(/^import\s+(?:[^"';]*?\sfrom\s+)?["']([^"']+)["'];/gm)) {
      queue.push(resolveImport(path, match[1]));
    }
  }
  return Object.fromEntries([...sources].sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** The storage layout without the compiler's internal numbers, which change with every edit. */
function layoutOf(output) {
  const bare = (type) => type.replace(/(t_(?:enum|struct|contract|userDefinedValueType)\([^()]*\))\d+/g, "$1");
  const members = (list) => list.map(({ label, offset, slot, type }) => ({ label, offset, slot, type: bare(type) }));
  const types = Object.entries(output.types ?? {}).map(([name, type]) => {
    const { encoding, label, numberOfBytes } = type;
    const entry = { encoding, label, numberOfBytes };
    for (const key of ["base", "key", "value"]) if (type[key] !== undefined) entry[key] = bare(type[key]);
    if (type.members !== undefined) entry.members = members(type.members);
    return [bare(name), entry];
  });
  return { storage: members(output.storage), types: Object.fromEntries(types) };
}

function compile(solc, sources) {
  const input = {
    language: "Solidity",
    sources: Object.fromEntries(Object.entries(sources).map(([path, content]) => [path, { content }])),
    settings: {
      ...SETTINGS,
      outputSelection: {
        "*": {
          "*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object", "evm.deployedBytecode.immutableReferences", "storageLayout"],
        },
      },
    },
  };
  const output = JSON.parse(solc.compile(JSON.stringify(input)));
  // A warning in our own source is an error; one in a library is the library's.
  const problems = (output.errors ?? [])
    .filter(({ severity, sourceLocation }) => severity === "error" || !sourceLocation?.file.startsWith("node_modules/"))
    .map((problem) => problem.formattedMessage);
  if (problems.length > 0) throw new BuildError(`the compiler complains:\n${problems.join("\n")}`);
  return output;
}

/** The text of one artifact file. */
function artifact(solc, { name, source, genesis }) {
  const sources = closure(source);
  const output = compile(solc, sources).contracts[source][name];
  const { bytecode, deployedBytecode } = output.evm;
  const runtimeBytes = deployedBytecode.object.length / 2;
  if (runtimeBytes > CODE_BYTES_MAX) {
    throw new BuildError(`${name}: code too long: got_bytes=${runtimeBytes} max_bytes=${CODE_BYTES_MAX}`);
  }
  if (genesis && Object.keys(deployedBytecode.immutableReferences ?? {}).length > 0) {
    throw new BuildError(`${name}: a contract of the genesis must not have immutables`);
  }
  if (genesis && output.abi.some((item) => item.type === "constructor")) {
    throw new BuildError(`${name}: a contract of the genesis must not have a constructor`);
  }
  const body = {
    contractName: name,
    sourceName: source,
    compiler: `solc ${solc.version()}`.replace(/\.Emscripten.*$/, ""),
    settings: SETTINGS,
    settingsHash: sha256(canonical(SETTINGS)),
    sources: Object.fromEntries(Object.entries(sources).map(([path, content]) => [path, sha256(content)])),
    sourceHash: sha256(canonical(sources)),
    abi: output.abi,
    bytecode: `0x${bytecode.object}`,
    deployedBytecode: `0x${deployedBytecode.object}`,
    storageLayout: layoutOf(output.storageLayout),
  };
  return `${JSON.stringify(body, null, 2)}\n`;
}

/** Where two texts part, with a little of each from there. */
function textDifference(committed, rebuilt) {
  let at = 0;
  while (at < committed.length && at < rebuilt.length && committed[at] === rebuilt[at]) at += 1;
  const part = (text) => `"${text.slice(at, at + 16)}" (${text.length} characters)`;
  return `from character ${at}: committed ${part(committed)}, rebuilt ${part(rebuilt)}`;
}

/** What differs between a committed artifact and the rebuilt one, one line per part. */
function differences(name, committed, rebuilt) {
  if (committed === undefined) return [`${name}: not committed`];
  if (committed === rebuilt) return [];
  let old;
  try {
    old = JSON.parse(committed);
  } catch {
    return [`${name}: the committed file is not JSON`];
  }
  const now = JSON.parse(rebuilt);
  const lines = [];
  for (const key of new Set([...Object.keys(old), ...Object.keys(now)])) {
    if (canonical(old[key]) === canonical(now[key])) continue;
    if (key === "sources") {
      for (const path of new Set([...Object.keys(old.sources ?? {}), ...Object.keys(now.sources)])) {
        if (old.sources?.[path] !== now.sources[path]) lines.push(`${name}: source changed: ${path}`);
      }
    } else if (key === "abi" || key === "storageLayout" || key === "settings") {
      lines.push(`${name}: ${key} changed`);
    } else {
      lines.push(`${name}: ${key} differs: ${textDifference(String(old[key] ?? ""), String(now[key] ?? ""))}`);
    }
  }
  return lines.length > 0 ? lines : [`${name}: same content, written differently`];
}

function run(args) {
  const unknown = args.filter((arg) => arg !== "--check");
  if (unknown.length > 0) throw new BuildError(`unknown argument: ${unknown[0]} (there is only --check)`);
  const check = args.includes("--check");
  checkFoundryToml();
  const solc = loadCompiler();
  checkCompilerVersion(solc.version());

  const lines = [];
  mkdirSync(ARTIFACTS, { recursive: true });
  for (const contract of CONTRACTS) {
    const file = join(ARTIFACTS, `${contract.name}.json`);
    const rebuilt = artifact(solc, contract);
    const committed = existsSync(file) ? readFileSync(file, "utf8").replaceAll("\r\n", "\n") : undefined;
    const found = differences(contract.name, committed, rebuilt);
    lines.push(...found);
    if (!check && found.length > 0) writeFileSync(file, rebuilt);
  }
  const known = new Set(CONTRACTS.map(({ name }) => `${name}.json`));
  for (const file of readdirSync(ARTIFACTS).filter((entry) => !known.has(entry))) {
    lines.push(`${file}: no contract has this artifact`);
    if (!check) rmSync(join(ARTIFACTS, file));
  }
  for (const line of lines) console.log(line);
  if (lines.length === 0) console.log(`artifacts are up to date: ${CONTRACTS.length} contracts, ${solc.version()}`);
  else if (check) console.log(`artifacts differ: ${lines.length} differences; run \`node build.mjs\` in contracts/ and review the change`);
  else console.log("artifacts written");
  return check && lines.length > 0 ? 1 : 0;
}

try {
  process.exitCode = run(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof BuildError)) throw error;
  console.error(`contracts: ${error.message}`);
  process.exitCode = 1;
}
