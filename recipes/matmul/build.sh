#!/bin/sh
# Rebuilds the committed checker program of this recipe, or compares it with a fresh build.
#   build.sh          writes kernel/check.wasm and kernel/check.wasm.compiler
#   build.sh --check  exit 0: equal, or skipped because the compiler is another version; exit 1: different
# Needs clang and wasm-ld (Debian: apt-get install clang lld).
set -eu
cd "$(dirname "$0")/kernel"
if ! command -v clang >/dev/null || ! command -v wasm-ld >/dev/null; then
    [ "${1:-}" = "--check" ] && { echo "skipped: clang or wasm-ld is missing (apt-get install clang lld)" >&2; exit 0; }
    echo "clang and wasm-ld are needed: apt-get install clang lld" >&2
    exit 1
fi
version="$(clang --version | head -n 1); $(wasm-ld --version | head -n 1)"
build() {
    clang --target=wasm32 -std=c11 -O3 -Wall -Wextra -Werror -ffreestanding -nostdlib -fno-builtin -fvisibility=hidden \
        -mbulk-memory -msimd128 -Wl,--no-entry -Wl,--strip-all -Wl,-z,stack-size=16384 -o "$1" check.c
}
if [ "${1:-}" = "--check" ]; then
    recorded="$(cat check.wasm.compiler)"
    if [ "$version" != "$recorded" ]; then
        echo "skipped: committed module was built by [$recorded], this machine has [$version]" >&2
        exit 0
    fi
    fresh="$(mktemp)"
    trap 'rm -f "$fresh"' EXIT
    build "$fresh"
    if cmp "$fresh" check.wasm; then echo "equal: check.wasm, $version"; else echo "different: run recipes/matmul/build.sh and commit" >&2; exit 1; fi
else
    build check.wasm
    printf '%s\n' "$version" > check.wasm.compiler
    echo "built: check.wasm, $(wc -c < check.wasm) bytes, $version"
fi
