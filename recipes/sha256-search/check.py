#!/usr/bin/env python3
"""Outside check of the recipe `sha256-search`: hashes with Python's hashlib what the result claims.

    check.py --result FOLDER [--message FILE | --text TEXT] [--ranges N] [--seed S]

Every row of best.tsv and the best of search.json must be the SHA-256 of message and suffix. N ranges of 16,384 nonces (default 6) are
searched here whole, drawn with a seed, the best row's range among them: none may hold a smaller digest than the table's for that range, and a
range that the table does not list must have no digest below the table's last. The counts of leading zero bits must lie within 5 standard
deviations of their expectation. Exit 1 on any difference, 2 if the input cannot be read.
"""

import argparse
import csv
import hashlib
import json
import math
import pathlib
import random
import sys

RANGE = 16_384


def digest(message, nonce):
    return hashlib.sha256(message + format(nonce, "016x").encode()).hexdigest()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--message", type=pathlib.Path)
    parser.add_argument("--text", default="keystead")
    parser.add_argument("--result", required=True, type=pathlib.Path)
    parser.add_argument("--ranges", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    try:
        message = arguments.message.read_bytes() if arguments.message else arguments.text.encode()
        report = json.loads((arguments.result / "search.json").read_text(encoding="utf-8"))
        with open(arguments.result / "best.tsv", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
    except (OSError, KeyError, ValueError) as error:
        print(f"cannot read the input: {error!r}", file=sys.stderr)
        sys.exit(2)

    failed = 0

    def expect(holds, what):
        nonlocal failed
        if not holds:
            failed += 1
            print(f"wrong: {what}")

    first, nonces = report["first_nonce"], report["nonces"]
    by_range = {}
    for row in rows:
        nonce = int(row["nonce"])
        expect(row["suffix"] == format(nonce, "016x"), f"suffix of {nonce}")
        expect(row["digest"] == digest(message, nonce), f"digest of {nonce}")
        expect(int(row["leading_zero_bits"]) == 256 - int(row["digest"], 16).bit_length(), f"zero bits of {nonce}")
        expect(first <= nonce < first + nonces, f"nonce {nonce} outside of the search")
        by_range[(nonce - first) // RANGE] = row["digest"]
    expect([row["digest"] for row in rows] == sorted(row["digest"] for row in rows), "order of the table")
    expect(rows and rows[0]["digest"] == report["best"]["digest"], "best of report and table")

    best_range = (report["best"]["nonce"] - first) // RANGE
    total = nonces // RANGE
    drawn = random.Random(arguments.seed).sample(range(total), min(arguments.ranges, total))
    for index in {best_range, *drawn}:
        begin = first + index * RANGE
        least = min(digest(message, nonce) for nonce in range(begin, begin + RANGE))
        listed = by_range.get(index)
        expect(least == listed if listed else least > rows[-1]["digest"], f"least digest of range {index}: {least}, listed {listed}")

    counted = 0
    for row in report["leading_zero_bits"]:
        counted += row["digests"]
        bits = row["bits"]
        share = 0.5 ** (bits if bits == 32 else bits + 1)
        deviation = math.sqrt(nonces * share * (1 - share))
        expect(abs(row["digests"] - nonces * share) <= 5 * deviation + 5, f"count of {bits} zero bits: {row['digests']}")
    expect(counted == nonces, f"counts add up to {counted}, not {nonces}")
    print(f"rows={len(rows)} ranges_searched={len({best_range, *drawn})} nonces={nonces} failed={failed}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
