#!/bin/sh
# Runs one test program for `cargo xtask test`. End-to-end tests wait for blocks more than they compute: many more of them start than there are cores
# and wait for their share of the machine (`Machine` in node/tests/end_to_end/network.rs).
case "$1" in
*/end_to_end-*) RUST_TEST_THREADS=$((24 * $(getconf _NPROCESSORS_ONLN))) && export RUST_TEST_THREADS ;;
esac
exec "$@"
