//! Outputs that a lazy or lying provider could deliver: the class' own rule must find each.

use super::{report::Report, trial::Trial};
use keystead_audit::judge::Judgement;
use keystead_job::{Class, check::Element};

/// A wrong output.
struct Forgery {
    what: &'static str,
    output: Vec<u8>,
}

pub(super) async fn find(trial: &Trial<'_>, outputs: &[Vec<u8>], report: &mut Report) {
    let Some(right) = outputs.first() else { return };
    match trial.judge(0, right, right).await {
        Ok(Judgement::Right) => {}
        Ok(Judgement::Inconclusive(why)) => {
            report.failed(
                "check",
                &format!("a right output is not judged: {why}"),
                "the checker must give one byte, 0 or 1: mend it",
            );
            return;
        }
        Ok(Judgement::Wrong(_) | Judgement::Unpaid(_)) => {
            report.failed(
                "check",
                "the checker calls a right output wrong",
                "mend the checker: honest providers would lose their bond",
            );
            return;
        }
        Err(failure) => {
            report.failed("check", &failure.to_string(), "mend the checker, or raise [checker] fuel_max");
            return;
        }
    }
    let forgeries = forgeries(trial, outputs);
    for forgery in &forgeries {
        if matches!(trial.judge(0, &forgery.output, right).await, Ok(Judgement::Right)) {
            let next = match trial.recipe.class {
                Class::SelfChecking => {
                    "the checker must look at every part of the output, or at a part that the seed draws"
                }
                Class::Tolerance => {
                    "narrow the bounds under [tolerance], or lower outliers_ppm: as they are, nothing needs to be computed"
                }
                _ => "",
            };
            report.failed("check", &format!("a wrong output passes: {}", forgery.what), next);
            return;
        }
    }
    let what: Vec<_> = forgeries.iter().map(|forgery| forgery.what).collect();
    report.passed("check", &format!("a right output passes; found wrong: {}", what.join(", ")));
}

fn forgeries(trial: &Trial<'_>, outputs: &[Vec<u8>]) -> Vec<Forgery> {
    let Some(right) = outputs.first() else { return Vec::new() };
    let mut made = vec![Forgery { what: "zeros", output: vec![0; right.len()] }];
    if let Some(other) = outputs.iter().find(|other| *other != right) {
        made.push(Forgery { what: "another unit's output", output: other.clone() });
    }
    match &trial.spec.tolerance {
        Some(tolerance) => {
            made.push(Forgery { what: "everything one percent larger", output: larger(right, tolerance.element) });
        }
        None => {
            let last = right.len().saturating_sub(1);
            for (what, at) in [("a bit at the begin", 0), ("a bit in the middle", last / 2), ("a bit at the end", last)]
            {
                let mut output = right.clone();
                if let Some(byte) = output.get_mut(at) {
                    *byte ^= 1;
                }
                made.push(Forgery { what, output });
            }
        }
    }
    let mut longer = right.clone();
    longer.extend_from_slice(&[0; 8]);
    made.push(Forgery { what: "a longer output", output: longer });
    // What is right by chance is no forgery.
    made.retain(|forgery| forgery.output != *right);
    made
}

fn larger(right: &[u8], element: Element) -> Vec<u8> {
    match element {
        Element::F32 => {
            let grown = |bytes: &[u8; 4]| (f32::from_le_bytes(*bytes) * 1.01).to_le_bytes();
            right.as_chunks().0.iter().flat_map(grown).collect()
        }
        Element::F64 => {
            let grown = |bytes: &[u8; 8]| (f64::from_le_bytes(*bytes) * 1.01).to_le_bytes();
            right.as_chunks().0.iter().flat_map(grown).collect()
        }
    }
}
