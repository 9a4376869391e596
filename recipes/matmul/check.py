#!/usr/bin/env python3
"""Outside check of the recipe `matmul`: multiplies with numpy in double precision and compares every element.

    check.py --result FOLDER [--a FILE] [--b FILE] [--rows 1024] [--inner 1024] [--columns 1024] [--seed 1]

Needs PyPI numpy (../requirements.txt). Without files the invented matrices are made here from their definition (README.md). Each element may differ by
its rounding: (34 + ceil(k / 256)) 2^-23 times the sum of absolute products. Exit 1 on any difference, 2 if the input cannot be read.
"""

import argparse
import pathlib
import sys

import numpy


def invented(rows, columns, seed):
    index = numpy.arange(1, rows * columns + 1, dtype=numpy.uint64)
    with numpy.errstate(over="ignore"):
        x = numpy.uint64(seed) + index * numpy.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
    x = (x ^ (x >> numpy.uint64(31))) >> numpy.uint64(40)
    return ((x.astype(numpy.float64) - 2.0**23) / 2.0**23).astype(numpy.float32).reshape(rows, columns)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--a", type=pathlib.Path)
    parser.add_argument("--b", type=pathlib.Path)
    parser.add_argument("--result", required=True, type=pathlib.Path)
    for name, default in (("rows", 1024), ("inner", 1024), ("columns", 1024), ("seed", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()
    try:
        product = numpy.load(arguments.result / "product.npy", allow_pickle=False)
        a = numpy.load(arguments.a) if arguments.a else invented(arguments.rows, arguments.inner, arguments.seed)
        b = numpy.load(arguments.b) if arguments.b else invented(a.shape[1], arguments.columns, arguments.seed ^ 1 << 63)
    except (OSError, ValueError) as error:
        print(f"cannot read the input: {error!r}", file=sys.stderr)
        sys.exit(2)
    a, b = a.astype(numpy.float64), b.astype(numpy.float64)
    exact = a @ b
    inner = a.shape[1]
    bound = (34 + -(-inner // 256)) * 2.0**-23 * (numpy.abs(a) @ numpy.abs(b)) + 1e-30
    right_form = product.shape == exact.shape and product.dtype == numpy.float32
    wrong = int((~(numpy.abs(product - exact) <= bound)).sum()) if right_form else exact.size
    worst = float((numpy.abs(product - exact) / bound).max()) if right_form else float("inf")
    print(f"shape={product.shape} dtype={product.dtype} elements={exact.size} wrong={wrong} largest_share_of_bound={worst:.3g}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
