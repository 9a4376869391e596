//! The results as a page for people and as JSON for programs.

use crate::{
    attacks::Row,
    money::{Bill, Gas, UNIT_GAS},
    world::{CheatRow, CrookRow, Outcome},
};
use serde::Serialize;
use std::fmt::Write as _;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    pub(crate) seed: u64,
    pub(crate) providers: u32,
    pub(crate) hours: f64,
    pub(crate) world: Outcome,
    /// The same with sessions so short that about a third of all leases is left.
    pub(crate) churn: Outcome,
    /// With latency, cheats among the providers, and a third of the seats in one ring.
    pub(crate) cheats: Outcome,
    /// With more orders than the machines can bear.
    pub(crate) overload: Outcome,
    /// The usual one with latency of messages and blocks.
    pub(crate) latency: Outcome,
    /// The same with customers that cheat.
    pub(crate) crooks: Outcome,
    #[serde(skip)]
    pub(crate) gas: Gas,
    /// What the first four cost.
    pub(crate) bills: [Bill; 4],
    pub(crate) attacks: Vec<Row>,
}

impl Report {
    pub(crate) fn json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// Nothing lost, nothing paid twice, no honest provider slashed, every cheat caught as the formula says and worse off than honesty.
    pub(crate) fn holds(&self) -> bool {
        let whole =
            |outcome: &Outcome| (outcome.units_lost, outcome.units_paid_twice, outcome.false_slashes) == (0, 0, 0);
        self.worlds().into_iter().chain([&self.latency, &self.crooks]).all(whole)
            && self.crooks.crooks.iter().all(CrookRow::holds)
            && self.cheats.cheats.iter().all(CheatRow::holds)
            && self.attacks.iter().all(Row::holds)
    }

    const fn worlds(&self) -> [&Outcome; 4] {
        [&self.world, &self.churn, &self.cheats, &self.overload]
    }

    pub(crate) fn markdown(&self) -> String {
        let mut page = String::new();
        let Self { seed, providers, hours, .. } = self;
        // Writing to a string does not fail.
        let _ = writeln!(page, "Seed {seed}, {providers} providers, {hours} h.\n");
        let _ = writeln!(page, "| | usual churn | heavy churn | latency, cheats, a ring of a third | above capacity |");
        let _ = writeln!(page, "|---|---|---|---|---|");
        for (name, value) in figures() {
            let [a, b, c, d] = self.worlds().map(value);
            let _ = writeln!(page, "| {name} | {a} | {b} | {c} | {d} |");
        }
        for (name, value) in money() {
            let [a, b, c, d] = self.bills.each_ref().map(value);
            let _ = writeln!(page, "| {name} | {a} | {b} | {c} | {d} |");
        }
        self.waits_table(&mut page);
        self.crooks_table(&mut page);
        self.cheats_table(&mut page);
        let _ = writeln!(page, "\n| attack | variant | tried | caught | measured | formula | sigmas | gain | honest |");
        let _ = writeln!(page, "|---|---|---|---|---|---|---|---|---|");
        for row in &self.attacks {
            let Row { attack, variant, tried, caught, formula, sigmas, gain, honest } = row;
            let measured = *caught as f64 / *tried as f64;
            let _ = writeln!(
                page,
                "| {attack} | {variant} | {tried} | {caught} | {measured:.5} | {formula:.5} | {sigmas:+.2} | {gain:.2} | {honest:.2} |"
            );
        }
        page
    }

    /// How long customers wait until their provider computes, without latency and with it.
    fn waits_table(&self, page: &mut String) {
        let _ = writeln!(
            page,
            "\n| order to running | p50, ms | p95, ms | p99, ms | commitment to claimable pay p50, p95, ms | order to last unit over the first provider's time alone p50, p95 | honest providers slashed |"
        );
        let _ = writeln!(page, "|---|---|---|---|---|---|---|");
        let worlds = [
            ("usual churn, no latency", &self.world),
            ("usual churn, latency", &self.latency),
            ("usual churn, latency, crooked customers", &self.crooks),
            ("usual churn, latency, cheats, a ring of a third", &self.cheats),
        ];
        for (name, o) in worlds {
            let _ = writeln!(
                page,
                "| {name} | {} | {} | {} | {}, {} | {:.3}, {:.3} | {} |",
                o.run_ms_p50,
                o.run_ms_p95,
                o.run_ms_p99,
                o.hold_ms_p50,
                o.hold_ms_p95,
                o.stretch_p50,
                o.stretch_p95,
                o.false_slashes
            );
        }
    }

    /// What customers that cheat did in the world that has them.
    fn crooks_table(&self, page: &mut String) {
        let _ = writeln!(
            page,
            "\n| crooked customers | variant | trials | of each | measured | formula | sigmas | gas of the customer | fees it lost | machines kept from others | honest not paid or served | honest convicted | silence delays pay (set), ms |"
        );
        let _ = writeln!(page, "|---|---|---|---|---|---|---|---|---|---|---|---|---|");
        for row in &self.crooks.crooks {
            let gas = row.placed * self.gas.order + row.expired * self.gas.expired;
            let units = gas / UNIT_GAS;
            let CrookRow { attack, variant, figure, orders, measured, formula, sigmas, fees, .. } = row;
            let CrookRow { held, unpaid, convicted, late_ms, .. } = row;
            let _ = writeln!(
                page,
                "| {attack} | {variant} | {orders} | {figure} | {measured:.4} | {formula:.4} | {sigmas:+.2} | {gas:.0} ({units:.3} units) | {fees:.2} | {held} | {unpaid} | {convicted} | {late_ms} |"
            );
        }
    }

    /// What each kind of cheat did in the world that has them.
    fn cheats_table(&self, page: &mut String) {
        let _ = writeln!(
            page,
            "\n| among churn and latency | variant | tried | caught | formula | sigmas | leases | windows convicted | wrong units paid | gain | honest |"
        );
        let _ = writeln!(page, "|---|---|---|---|---|---|---|---|---|---|---|");
        for row in &self.cheats.cheats {
            let CheatRow {
                attack,
                variant,
                tried,
                caught,
                expected,
                sigmas,
                leases,
                convicted,
                wrong_paid,
                gain,
                honest,
            } = row;
            let _ = writeln!(
                page,
                "| {attack} | {variant} | {tried} | {caught} | {expected:.1} | {sigmas:+.2} | {leases} | {convicted} | {wrong_paid} | {gain:.2} | {honest:.2} |"
            );
        }
    }
}

type Figure = (&'static str, fn(&Outcome) -> String);

fn figures() -> [Figure; 19] {
    [
        ("units paid", |o| o.units_paid.to_string()),
        ("units lost, paid twice", |o| format!("{}, {}", o.units_lost, o.units_paid_twice)),
        ("leases left before their end", |o| format!("{:.1} %", o.churn * 100.0)),
        ("units computed per unit paid", |o| format!("{:.3}", o.units_run as f64 / o.units_paid.max(1) as f64)),
        ("checks per unit paid, all providers", |o| format!("{:.2} %", o.overhead * 100.0)),
        ("checks per unit paid, providers from 1,000 verified units", |o| {
            format!("{:.2} %", o.overhead_settled * 100.0)
        }),
        ("honest providers slashed", |o| o.false_slashes.to_string()),
        ("checkers with a broken machine that accused, and lost", |o| o.broken_checkers.to_string()),
        ("drawn units that ended inconclusive", |o| o.inconclusive.to_string()),
        ("wait for a provider p50, p95", |o| format!("{} ms, {} ms", o.wait_ms_p50, o.wait_ms_p95)),
        ("commitment to claimable pay p50, p95", |o| format!("{} ms, {} ms", o.hold_ms_p50, o.hold_ms_p95)),
        ("order to last unit over the first provider's time alone p50, p95", |o| {
            format!("{:.2}, {:.2}", o.stretch_p50, o.stretch_p95)
        }),
        ("windows waiting for a provider, at most", |o| o.waiting_max.to_string()),
        ("windows that a conviction forfeited, and that were done again", |o| {
            format!("{} of {}", o.refunded, o.commitments)
        }),
        ("wrong units that were paid for", |o| {
            format!("{}, {:.2} %", o.wrong_paid, o.wrong_paid as f64 * 100.0 / o.units_paid.max(1) as f64)
        }),
        ("panels, of so many disputes", |o| format!("{}, {}", o.panels, o.disputes)),
        ("leases that straggled", |o| o.leases_straggled.to_string()),
        ("checkers on duty who were away", |o| o.seats_offline.to_string()),
        ("events", |o| o.events.to_string()),
    ]
}

type Cost = (&'static str, fn(&Bill) -> String);

fn money() -> [Cost; 8] {
    [
        ("**a paid unit costs its customer, all in, in units' prices**", |b| format!("{:.3}", b.all_in())),
        ("of that, fees of checks", |b| format!("{:.3}", b.fees)),
        ("of that, ten fees to each who found a canary", |b| format!("{:.3}", b.bounties)),
        ("of that, gas of the customer", |b| format!("{:.0}", b.customer_gas)),
        ("gas of providers for a paid unit; what it leaves them of the price", |b| {
            format!("{:.0}; {:.3}", b.provider_gas, b.left()[0])
        }),
        ("gas of checkers for a paid unit; what it leaves them of a check's fee", |b| {
            format!("{:.0}; {:.3}", b.checker_gas, b.left()[1])
        }),
        ("gas of disputes for a paid unit", |b| format!("{:.0}", b.dispute_gas)),
        ("fees of ballots for a paid unit, which losers pay, in units' prices", |b| format!("{:.4}", b.ballots)),
    ]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::{
        money::Gas,
        world::{Scenario, run},
    };

    fn report() -> Report {
        let world = run(Scenario { cheating: 0.5, ..Scenario::new(1, 300, 0.5) });
        let gas = Gas::measured().unwrap();
        let bill = Bill::new(&world, &gas);
        let [churn, cheats, overload] = [world.clone(), world.clone(), world.clone()];
        let far = Scenario { latency: true, ..Scenario::new(1, 300, 0.5) };
        let [latency, crooks] = [far, Scenario { crooked: true, ..far }].map(run);
        let (bills, attacks) = ([bill; 4], Vec::new());
        Report {
            seed: 1,
            providers: 300,
            hours: 0.5,
            world,
            churn,
            cheats,
            overload,
            latency,
            crooks,
            gas,
            bills,
            attacks,
        }
    }

    #[test]
    fn the_page_has_every_world_cheat_and_cost_and_tables_are_whole() {
        let report = report();
        let page = report.markdown();
        for row in &report.cheats.cheats {
            assert!(page.contains(&format!("| {} | {} | {} |", row.attack, row.variant, row.tried)), "{page}");
        }
        let columns = |begin: &str| {
            let lines = page.split("\n\n").find(|part| part.starts_with(begin)).unwrap();
            let counts: Vec<usize> = lines.trim().lines().map(|line| line.matches('|').count()).collect();
            assert!(counts.len() >= 5 && counts.iter().all(|count| *count == counts[0]), "{lines}");
            counts[0]
        };
        assert_eq!((columns("| | usual churn"), columns("| among churn and latency")), (6, 12));
        assert_eq!((columns("| order to running"), columns("| crooked customers")), (8, 14));
        assert!(report.bills.iter().all(|bill| bill.all_in() > 1.0), "{page}");
        assert!(page.contains(&format!("all in, in units' prices** | {:.3} |", report.bills[0].all_in())), "{page}");
    }

    #[test]
    fn one_honest_provider_slashed_in_any_world_is_an_error() {
        let whole = || {
            let mut report = report();
            report.cheats.cheats.clear();
            report.crooks.crooks.clear();
            report
        };
        assert!(whole().holds());
        let spoil: [fn(&mut Report); 6] = [
            |report| report.latency.units_lost = 1,
            |report| report.crooks.false_slashes = 1,
            |report| report.churn.false_slashes = 1,
            |report| report.cheats.false_slashes = 1,
            |report| report.overload.units_lost = 1,
            |report| report.world.units_paid_twice = 1,
        ];
        for spoil in spoil {
            let mut report = whole();
            spoil(&mut report);
            assert!(!report.holds());
        }
    }
}
