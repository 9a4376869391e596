#!/usr/bin/env python3
"""Outside check of the recipe `align`: compares a result table with parasail, pair by pair.

    check.py --queries FILE --targets FILE --result alignments.tsv
             [--gap-open 11] [--gap-extend 1] [--score-min 1] [--sample N] [--seed S]

Needs PyPI parasail (../requirements.txt). With --sample N, N pairs are drawn with a seeded generator; without, every pair is compared.
For each pair: the score, both ranges and the CIGAR must be those of parasail's `sw_trace`. If ranges or CIGAR differ, the table's
alignment is scored again here: it must score the same (another optimal alignment). Pairs that are missing in the table must score below
--score-min. Prints the counts; exit 1 on any wrong score or wrong alignment, 2 if the input cannot be read.
"""

import argparse
import csv
import random
import re
import sys

import parasail

KNOWN = set("ARNDCQEGHILKMFPSTWYVBZX*")


def read_fasta(path):
    """Sequences by name, with the recipe's rules (README.md): upper case, J O U as X, one `*` at the end dropped."""
    sequences, name = {}, None
    with open(path, encoding="utf-8-sig") as file:
        for line in file:
            line = line.strip()
            if line.startswith(">"):
                name = line[1:].split()[0]
                sequences[name] = []
            elif line:
                sequences[name].append("".join(line.split()).upper())
    joined = {}
    for name, parts in sequences.items():
        text = "".join(parts)
        text = text[:-1] if text.endswith("*") else text
        joined[name] = "".join("X" if letter in "JOU" else letter for letter in text)
        assert set(joined[name]) <= KNOWN, name
    return joined


def runs_of(cigar):
    return [(int(length), operation) for length, operation in re.findall(r"(\d+)([=XID])", cigar)]


def parasail_alignment(query, target, arguments):
    """Score, 1-based inclusive ranges and CIGAR. Parasail pads a CIGAR that reaches a sequence's start with the other's leading
    residues as one gap run; a local alignment never begins with a gap, so leading gap runs are removed."""
    result = parasail.sw_trace(query, target, arguments.gap_open, arguments.gap_extend, parasail.blosum62)
    if result.score == 0:
        return 0, None, ""
    query_begin, target_begin = result.cigar.beg_query, result.cigar.beg_ref
    runs = runs_of(result.cigar.decode.decode())
    while runs[0][1] in "ID":
        length, operation = runs.pop(0)
        query_begin += length if operation == "I" else 0
        target_begin += length if operation == "D" else 0
    ranges = (query_begin + 1, result.end_query + 1, target_begin + 1, result.end_ref + 1)
    return result.score, ranges, "".join(f"{length}{operation}" for length, operation in runs)


def score_again(query, target, ranges, cigar, arguments):
    """The score of a CIGAR over the ranges, or None if it does not fit them."""
    matrix, letters = parasail.blosum62.matrix, "ARNDCQEGHILKMFPSTWYVBZX*"
    query, target = query[ranges[0] - 1 : ranges[1]], target[ranges[2] - 1 : ranges[3]]
    q = t = score = 0
    for length, operation in runs_of(cigar):
        if operation in "=X":
            for _ in range(length):
                if q >= len(query) or t >= len(target) or (query[q] == target[t]) != (operation == "="):
                    return None
                score += int(matrix[letters.index(query[q])][letters.index(target[t])])
                q, t = q + 1, t + 1
        else:
            score -= arguments.gap_open + (length - 1) * arguments.gap_extend
            q, t = (q + length, t) if operation == "I" else (q, t + length)
    return score if (q, t) == (len(query), len(target)) else None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("queries", "targets", "result"):
        parser.add_argument(f"--{name}", required=True)
    for name, default in (("gap-open", 11), ("gap-extend", 1), ("score-min", 1), ("sample", 0), ("seed", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()
    try:
        queries, targets = read_fasta(arguments.queries), read_fasta(arguments.targets)
        with open(arguments.result, encoding="utf-8", newline="") as file:
            rows = {(row["query"], row["target"]): row for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)}
    except (OSError, KeyError, AssertionError, UnicodeDecodeError) as error:
        print(f"cannot read the input: {error!r}", file=sys.stderr)
        sys.exit(2)

    pairs = [(query, target) for query in queries for target in targets]
    unknown = [pair for pair in rows if pair[0] not in queries or pair[1] not in targets]
    sampled = random.Random(arguments.seed).sample(pairs, arguments.sample) if 0 < arguments.sample < len(pairs) else pairs
    counts = dict.fromkeys(("wrong score", "wrong alignment", "equal score", "no alignment", "equal CIGAR", "other optimal CIGAR"), 0)
    for pair in sampled:
        query, target, row = queries[pair[0]], targets[pair[1]], rows.get(pair)
        score, ranges, cigar = parasail_alignment(query, target, arguments)
        if row is None:
            counts["no alignment" if score < arguments.score_min else "wrong score"] += 1
            continue
        if int(row["score"]) != score:
            counts["wrong score"] += 1
            print(f"wrong score: {pair} table={row['score']} parasail={score}")
            continue
        counts["equal score"] += 1
        got = tuple(int(row[name]) for name in ("query_begin", "query_end", "target_begin", "target_end"))
        if got == ranges and row["cigar"] == cigar:
            counts["equal CIGAR"] += 1
        elif score_again(query, target, got, row["cigar"], arguments) == score:
            counts["other optimal CIGAR"] += 1
        else:
            counts["wrong alignment"] += 1
            print(f"wrong alignment: {pair} table={got} {row['cigar']} parasail={ranges} {cigar}")
    print(f"pairs={len(pairs)} compared={len(sampled)} rows={len(rows)} unknown_rows={len(unknown)}")
    print(" ".join(f"{name.replace(' ', '_')}={count}" for name, count in counts.items()))
    if counts["wrong score"] or counts["wrong alignment"] or unknown or not sampled:
        sys.exit(1)


if __name__ == "__main__":
    main()
