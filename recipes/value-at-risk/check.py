#!/usr/bin/env python3
"""Outside check of the recipe `value-at-risk`: an independent Monte-Carlo in numpy from the same price file.

    check.py --prices stocks.csv --result FOLDER [--paths 4000000] [--seed 1]

FOLDER holds risk.json and losses.csv; holdings, horizon, confidence and drift are read from risk.json. Needs PyPI numpy
(../requirements.txt). Compared: each asset's mean and standard deviation of log returns (to 1e-8), value at risk, expected shortfall
and mean loss (within 3 standard errors of the two simulations together), the closed form of the mean loss (to 1e-8), and for one
asset the closed forms of value at risk and expected shortfall (within 3 standard errors). The histogram must count every path and
must contain the value at risk at its rank. Prints every comparison; exit 1 if one fails, 2 if the input cannot be read.
"""

import argparse
import csv
import datetime
import json
import pathlib
import statistics
import sys

import numpy

STANDARD_ERRORS = 3.0


def monthly_log_returns(path, symbols):
    """A row per month, a column per asset, over the months that all have."""
    prices = {symbol: {} for symbol in symbols}
    with open(path, encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file):
            if row["symbol"] in prices:
                date = row["date"]
                day = datetime.date.fromisoformat(date) if "-" in date else datetime.datetime.strptime(date, "%b %d %Y").date()
                prices[row["symbol"]][(day.year, day.month)] = float(row["price"])
    months = sorted(set.intersection(*(set(one) for one in prices.values())))
    table = numpy.array([[prices[symbol][month] for symbol in symbols] for month in months])
    return numpy.diff(numpy.log(table), axis=0)


def simulate(mean, covariance, weights, paths, seed):
    """Losses as shares of gross value, sorted."""
    generator = numpy.random.Generator(numpy.random.PCG64(seed))
    losses = []
    while paths > 0:
        count = min(paths, 500_000)
        paths -= count
        returns = generator.multivariate_normal(mean, covariance, size=count, method="cholesky")
        losses.append(-(numpy.expm1(returns) @ weights))
    return numpy.sort(numpy.concatenate(losses))


def figures(losses, confidence):
    """Value at risk and expected shortfall with their standard errors."""
    count = len(losses)
    rank = int(numpy.ceil(count * confidence - 1e-9))
    risk, tail = losses[rank - 1], losses[rank:]
    tail_size = count * (1 - confidence)
    shortfall = (tail.sum() + risk * (tail_size - len(tail))) / tail_size
    spread = numpy.sqrt(count * confidence * (1 - confidence))
    low, high = (losses[int(numpy.clip(rank - 1 + sign * round(spread), 0, count - 1))] for sign in (-1, 1))
    variance = ((tail - shortfall) ** 2).sum() / tail_size + confidence * (shortfall - risk) ** 2
    return risk, (high - low) / 2, shortfall, numpy.sqrt(variance / tail_size)


class Comparison:
    """Prints each comparison and remembers whether one failed."""

    def __init__(self):
        self.failed = 0

    def near(self, what, got, expected, allowed):
        good = abs(got - expected) <= allowed
        self.failed += not good
        distance = abs(got - expected) / allowed if allowed else 0.0
        print(f"{'ok  ' if good else 'FAIL'} {what}: result={got:.9f} here={expected:.9f} allowed={allowed:.3e} used={distance:.2f}")


def compare_histogram(comparison, rows, report):
    total = sum(int(row["paths"]) for row in rows)
    comparison.near("paths in histogram", total, report["paths"], 0)
    below = [int(row["paths"]) for row in rows if float(row["loss_to_fraction"]) <= report["value_at_risk"]["fraction_of_gross_value"]]
    inside = [int(row["paths"]) for row in rows if float(row["loss_from_fraction"]) <= report["value_at_risk"]["fraction_of_gross_value"]]
    rank = report["paths"] * report["confidence"]
    comparison.near("rank of value at risk in histogram", (sum(below) <= rank <= sum(inside) + 1) * 1.0, 1.0, 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prices", required=True)
    parser.add_argument("--result", required=True, type=pathlib.Path)
    parser.add_argument("--paths", type=int, default=4_000_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    try:
        report = json.loads((arguments.result / "risk.json").read_text(encoding="utf-8"))
        with open(arguments.result / "losses.csv", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        returns = monthly_log_returns(arguments.prices, [asset["symbol"] for asset in report["assets"]])
    except (OSError, KeyError, ValueError) as error:
        print(f"cannot read the input: {error!r}", file=sys.stderr)
        sys.exit(2)

    comparison = Comparison()
    horizon = report["horizon_months"]
    amounts = numpy.array([asset["holding_amount"] for asset in report["assets"]], dtype=float)
    weights = amounts / numpy.abs(amounts).sum()
    mean = returns.mean(axis=0) * horizon * (report["drift"] == "historical")
    covariance = numpy.atleast_2d(numpy.cov(returns, rowvar=False)) * horizon
    deviations = numpy.sqrt(numpy.diag(covariance))
    for index, asset in enumerate(report["assets"]):
        symbol = asset["symbol"]
        comparison.near(f"mean log return of {symbol}", asset["mean_log_return_over_horizon"], mean[index], 1e-8)
        comparison.near(f"deviation of {symbol}", asset["standard_deviation_of_log_return_over_horizon"], deviations[index], 1e-8)

    losses = simulate(mean, covariance, weights, arguments.paths, arguments.seed)
    confidence = report["confidence"]
    risk, risk_error, shortfall, shortfall_error = figures(losses, confidence)
    ratio = numpy.sqrt(1 + arguments.paths / report["paths"])
    got_risk = report["value_at_risk"]["fraction_of_gross_value"]
    got_shortfall = report["expected_shortfall"]["fraction_of_gross_value"]
    comparison.near("value at risk", got_risk, risk, STANDARD_ERRORS * risk_error * ratio)
    comparison.near("expected shortfall", got_shortfall, shortfall, STANDARD_ERRORS * shortfall_error * ratio)
    mean_error = losses.std() / numpy.sqrt(len(losses))
    comparison.near("mean loss", report["loss"]["mean_fraction"], losses.mean(), STANDARD_ERRORS * mean_error * ratio)
    closed_mean = -(weights * numpy.expm1(mean + deviations**2 / 2)).sum()
    comparison.near("closed form of mean loss", report["loss"]["mean_fraction_in_closed_form"], closed_mean, 1e-8)
    single_error = numpy.sqrt(arguments.paths / report["paths"])
    comparison.near("mean loss to closed form", report["loss"]["mean_fraction"], closed_mean, STANDARD_ERRORS * mean_error * single_error)
    if len(weights) == 1 and weights[0] > 0:
        normal = statistics.NormalDist()
        quantile = normal.inv_cdf(1 - confidence)
        exact_risk = -numpy.expm1(mean[0] + deviations[0] * quantile)
        growth = numpy.exp(mean[0] + deviations[0] ** 2 / 2)
        exact_shortfall = 1 - growth * normal.cdf(quantile - deviations[0]) / (1 - confidence)
        comparison.near("value at risk to closed form", got_risk, exact_risk, STANDARD_ERRORS * risk_error * single_error)
        comparison.near("shortfall to closed form", got_shortfall, exact_shortfall, STANDARD_ERRORS * shortfall_error * single_error)
    gross = report["gross_value"]
    comparison.near("amount of value at risk", report["value_at_risk"]["amount"], got_risk * gross, 0.01 + 1e-9 * gross)
    comparison.near("amount of shortfall", report["expected_shortfall"]["amount"], got_shortfall * gross, 0.01 + 1e-9 * gross)
    compare_histogram(comparison, rows, report)
    print(f"paths={report['paths']} paths_here={arguments.paths} failed={comparison.failed}")
    if comparison.failed:
        sys.exit(1)


if __name__ == "__main__":
    main()
