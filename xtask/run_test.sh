#!/bin/sh
# Runs one test program for `cargo xtask test`. End-to-end tests wait for blocks more than they compute: all of them start at once, the longest go first,
# and each waits for its share of the machine (`Machine` in node/tests/end_to_end/network.rs).
case "$1" in
*/end_to_end-*) RUST_TEST_THREADS=256 && export RUST_TEST_THREADS ;;
esac
exec "$@"
