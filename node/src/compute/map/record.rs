//! `map.json`: how a map ended, for programs and for later.
//!
//! # Invariants
//! Its `assurance` has the values of `job.json`, and is *verified* only where strangers' checks cover every step that is kept.

use super::{
    certificate::{self, Missing},
    closing::Left,
    conduct::Ending,
    folder::Folder,
    state::State,
    window::{self, Tally},
};
use crate::compute::{customer::plan::Prepared, files, money::Money};
use eyre::Result;
use serde_json::json;

/// Writes it. Of a map in a token, all amounts are in its smallest units.
///
/// # Errors
/// The disk's.
pub(super) fn write(
    folder: &Folder,
    prepared: &Prepared,
    (state, money): (&State, &Money),
    ending: &Ending,
    (left, missing): (&[Left], Option<&Missing>),
) -> Result<()> {
    let providers: Vec<_> = state
        .providers()
        .map(|(provider, partner)| {
            json!({
                "account": partner.account,
                "priceWei": partner.price_wei.to_string(),
                "steps": partner.steps,
                "windows": partner.windows,
                "checked": partner.checked,
                "claimedWei": partner.claimed_wei.to_string(),
                "lostWei": partner.lost_wei.to_string(),
                "leftOut": state.table.out(provider),
                "audit": Tally::of(state.windows_of(provider)).json(),
            })
        })
        .collect();
    let (name, reason) = match ending {
        Ending::Whole => ("done", None),
        Ending::Failed(reason) => ("failed", Some(reason.clone())),
        Ending::Stopped => ("stopped", None),
    };
    let unit = money.unit();
    let text = serde_json::to_vec_pretty(&json!({
        "status": name,
        "reason": reason,
        "job": prepared.spec.hash(),
        "spec": *prepared.spec,
        "currency": {"token": money.currency().contract(), "unit": unit.symbol, "decimals": unit.decimals},
        "unitsLeft": state.table.units_left(),
        "promisedWei": state.promised_wei().to_string(),
        "said": state.promise.map(|promise| promise.json()),
        "lostWei": state.lost_wei().to_string(),
        "stepsUnchecked": state.steps_unchecked,
        "providers": providers,
        "assurance": window::assurance(state).name(),
        "audit": audit(state),
        "certificate": missing.is_none().then_some(certificate::FILE),
        "certificateMissing": missing.map(ToString::to_string),
        "channelsLeft": left.iter().map(|left| left.channel).collect::<Vec<_>>(),
    }))?;
    files::replace(&folder.path("map.json"), &text)
}

/// What strangers checked of what is kept; null in a map without audits.
fn audit(state: &State) -> serde_json::Value {
    if state.windows.is_empty() {
        return serde_json::Value::Null;
    }
    let (kept, all) = (window::kept(state), Tally::of(state.windows.values()));
    json!({"sentence": kept.sentence(state.steps_done()), "kept": kept.json(), "all": all.json()})
}
