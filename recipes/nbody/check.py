#!/usr/bin/env python3
"""Outside check of the recipe `nbody`: moves the first member with PyPI rebound (IAS15, double precision) and compares places and velocities.

    check.py --result FOLDER [--bodies FILE] [--tolerance 0.005]

Needs PyPI rebound (../requirements.txt). Without a table the figure of eight is taken, which returns to its beginning after one period. The tolerance
is absolute, in the units of the table: it covers leapfrog's error (second order in the step) and single precision. The energy of the
report's first state must be rebound's within 1e-5. Exit 1 on any difference, 2 if the input cannot be read.
"""

import argparse
import csv
import json
import pathlib
import sys

import rebound

VX, VY = -0.93240737, -0.86473146
FIGURE_8 = [
    (1.0, 0.97000436, -0.24308753, 0.0, -VX / 2, -VY / 2, 0.0),
    (1.0, -0.97000436, 0.24308753, 0.0, -VX / 2, -VY / 2, 0.0),
    (1.0, 0.0, 0.0, 0.0, VX, VY, 0.0),
]
COLUMNS = ("mass", "x", "y", "z", "vx", "vy", "vz")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bodies", type=pathlib.Path)
    parser.add_argument("--result", required=True, type=pathlib.Path)
    parser.add_argument("--tolerance", type=float, default=0.005)
    arguments = parser.parse_args()
    try:
        report = json.loads((arguments.result / "energy.json").read_text(encoding="utf-8"))
        with open(arguments.result / "bodies.csv", encoding="utf-8", newline="") as file:
            last = [row for row in csv.DictReader(file) if row["member"] == "0"]
        first = FIGURE_8
        if arguments.bodies:
            with open(arguments.bodies, encoding="utf-8-sig", newline="") as file:
                first = [tuple(float(row[name]) for name in COLUMNS) for row in csv.DictReader(file)]
    except (OSError, KeyError, ValueError) as error:
        print(f"cannot read the input: {error!r}", file=sys.stderr)
        sys.exit(2)

    simulation = rebound.Simulation()
    simulation.G = report["gravity"]
    simulation.softening = report["softening"]
    simulation.integrator = "ias15"
    for body in first:
        simulation.add(**dict(zip(("m",) + COLUMNS[1:], body)))
    energy = simulation.energy()
    simulation.integrate(report["time"])
    worst = 0.0
    for body, row in zip(simulation.particles, last, strict=True):
        for name in COLUMNS[1:]:
            worst = max(worst, abs(getattr(body, name) - float(row[name])))
    energy_error = abs(energy - report["each_member"][0]["energy_before"]) / abs(energy)
    print(f"bodies={len(last)} time={report['time']:.6g} largest_difference={worst:.3g} energy_difference={energy_error:.3g}")
    sys.exit(1 if worst > arguments.tolerance or energy_error > 1e-5 else 0)


if __name__ == "__main__":
    main()
