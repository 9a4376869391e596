#!/usr/bin/env bash
# Runs Safe's own test suite (npm @safe-global/safe-smart-account) against a node, for instance `keystead dev`.
#
#   run.sh FOLDER            against http://127.0.0.1:8545, or $NODE_URL
#   run.sh FOLDER hardhat    against Hardhat's own node, to compare
#
# FOLDER is made and kept: the package, about 490 npm packages of its developers, and what is compiled. It is not part of CI:
# it takes minutes, and the versions are those that the package's ranges give.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
folder="$1"
network="${2:-custom}"

if [ ! -d "$folder/package" ]; then
  mkdir -p "$folder"
  (cd "$folder" && npm pack --silent @safe-global/safe-smart-account@1.5.0 && tar xzf safe-global-safe-smart-account-1.5.0.tgz)
fi
cd "$folder/package"
cp "$here/hardhat.config.ts" hardhat.config.ts
cat > tsconfig.json <<'JSON'
{ "compilerOptions": { "target": "es2022", "module": "commonjs", "esModuleInterop": true, "resolveJsonModule": true, "skipLibCheck": true } }
JSON
export HARDHAT_DISABLE_TELEMETRY_PROMPT=true TS_NODE_TRANSPILE_ONLY=1
if [ ! -d typechain-types ]; then
  # Without the tools for style and release; with what its toolbox would bring.
  node -e '
    const fs = require("node:fs");
    const it = JSON.parse(fs.readFileSync("package.json", "utf8"));
    const drop = /eslint|prettier|husky|solhint|rimraf|hardhat-toolbox/;
    for (const name of Object.keys(it.devDependencies)) if (drop.test(name)) delete it.devDependencies[name];
    delete it.scripts.prepare;
    fs.writeFileSync("package.json", JSON.stringify(it, null, 2));'
  npm install --save-dev --ignore-scripts --no-audit --no-fund --legacy-peer-deps \
    "@nomicfoundation/hardhat-chai-matchers@^2.1.0" "@nomicfoundation/hardhat-ethers@^3.1.3" "@nomicfoundation/hardhat-network-helpers@^1.1.0" \
    "@typechain/ethers-v6@^0.5.0" "@typechain/hardhat@^9.0.0" "typechain@^8.3.0" "chai@^4.2.0" "ethers@^6.14.0"
  npx hardhat compile
fi
exec npx hardhat test --no-compile --network "$network"
