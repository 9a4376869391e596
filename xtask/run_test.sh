#!/bin/sh
# Runs one test program for `cargo xtask test`. End-to-end tests wait for blocks more than they compute: more of them run at once than there are cores
# (`Network::beside`).
case "$1" in
*/end_to_end-*) RUST_TEST_THREADS=$((2 * $(getconf _NPROCESSORS_ONLN))) && export RUST_TEST_THREADS ;;
esac
exec "$@"
