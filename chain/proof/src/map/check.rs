//! The seven steps over the certificate of a map.
//!
//! # Invariants
//! Nothing but *proved* and *not proved* comes out; what is said about the windows rests on words of the state alone.
//!
//! Spec: specs/0002-proof-bundle.md §12.

use super::{
    MapCertificate, MapChannel, MapFault, MapStep, MapWindow, Place, is_counted,
    meaning::meaning,
    state::{self, ChannelState, WindowState},
    steps::{Coverage, commitment, cover, list_name},
};
use crate::{
    audit::WindowStatus,
    certificate::recover,
    header,
    outputs::{NamedOutput, Results, result_root},
    report::Step,
    verify::{Clock, OrStop as _, Progress, Stop, check_age, led_by, vouch},
};
use alloy_primitives::{Address, B256};

/// The steps from *headers* on of a file that was parsed.
pub(crate) fn run(
    progress: &mut Progress,
    map: &MapCertificate,
    network_key: &[u8; 96],
    clock: Clock,
) -> Result<(), Stop> {
    let facts = map.facts();
    progress.map = Some(facts);

    let sealed = header::link(&map.headers, map.certificate.block_hash).or_stop(Step::Headers)?;
    progress.pass(Step::Headers, led_by(map.headers.len()));

    header::bind(&sealed, map.block).or_stop(Step::Binding)?;
    progress.pass(Step::Binding, format!("the windows are those of this block, number {}", map.block));

    let found = state::find(sealed.header.state_root, &map.nodes, &map.channels).or_stop(Step::Path)?;
    found.all_used().or_stop(Step::Path)?;
    progress.pass(
        Step::Path,
        format!(
            "{} trie nodes lead from the header to the words of channels ({}) and windows ({})",
            map.nodes.len(),
            facts.channels,
            facts.windows
        ),
    );

    vouch(progress, (&map.certificate, map.chain_id), &sealed, network_key, clock)?;
    check_age(progress, sealed.time_ms, clock, false)?;

    let coverage = value(map, &found.channels).or_stop(Step::Value)?;
    progress.pass(
        Step::Value,
        "job, windows and results belong together, and the customer signed the statement".to_owned(),
    );
    progress.meaning = meaning(map, &found.channels, &coverage);
    let named = map.results.iter().zip(coverage.whole);
    progress.results =
        Some(Results::Names(named.map(|(name, is_covered)| NamedOutput { name: *name, is_covered }).collect()));
    Ok(())
}

/// The step *value*: whether the parts belong together, and which steps make the results.
pub(super) fn value(map: &MapCertificate, found: &[ChannelState]) -> Result<Coverage, MapFault> {
    let (got, expected) = (result_root(map.inputs.iter().copied()), map.job.units_hash);
    if got != expected {
        return Err(MapFault::Inputs { got, expected });
    }
    // A file has at least one channel.
    let customer = found.first().map_or(Address::ZERO, |first| first.customer);
    let mut counted = Vec::new();
    for (channel, state) in map.channels.iter().zip(found) {
        check_channel(map, channel, state, customer)?;
        for (number, (window, of_window)) in (1u64..).zip(channel.windows.iter().zip(&state.windows)) {
            let place = Place { channel: channel.id, window: number };
            check_window(map, place, of_window, state)?;
            if !window.steps.is_empty() {
                check_kept(map, place, window, of_window)?;
            }
            counted.push(is_counted(window, &of_window.audit));
        }
    }
    let coverage = cover(map, &counted)?;
    let digest = MapCertificate::statement_digest(&map.statement, map.chain_id, map.job.hash, &map.results);
    if recover(&map.signature, digest) == Some(customer) { Ok(coverage) } else { Err(MapFault::Signature { customer }) }
}

fn check_channel(
    map: &MapCertificate,
    channel: &MapChannel,
    state: &ChannelState,
    customer: Address,
) -> Result<(), MapFault> {
    let MapChannel { id: channel, windows } = channel;
    if !state.is_there {
        return Err(MapFault::NoChannel { channel: *channel });
    }
    if !state.is_audited {
        return Err(MapFault::NotAudited { channel: *channel });
    }
    let other = |what, (got, expected): (String, String)| MapFault::Channel { channel: *channel, what, got, expected };
    equal(&state.job_hash, &map.job.hash).map_err(|both| other("job", both))?;
    equal(&state.customer, &customer).map_err(|both| other("customer", both))?;
    let listed = u64::try_from(windows.len()).unwrap_or(u64::MAX);
    equal(&state.announced, &listed).map_err(|both| other("number of windows", both))
}

/// What holds for each announced window, whether it was kept or not.
fn check_window(
    map: &MapCertificate,
    place: Place,
    found: &WindowState,
    channel: &ChannelState,
) -> Result<(), MapFault> {
    let WindowState { audit, .. } = found;
    if audit.status() == WindowStatus::None {
        let Place { channel, window } = place;
        return Err(MapFault::NoWindow { channel, window });
    }
    same(place, "provider", &audit.provider(), &channel.provider)?;
    same(place, "customer", &audit.customer(), &channel.customer)?;
    same(place, "class", &audit.class(), &map.job.class)?;
    same(place, "number of segments", &audit.segments(), &1)?;
    if audit.named() == B256::ZERO {
        return Ok(());
    }
    let Place { channel, window } = place;
    Err(MapFault::Private { channel, window })
}

/// What holds for a window that was kept: it is what was announced, and of this job.
fn check_kept(map: &MapCertificate, place: Place, window: &MapWindow, found: &WindowState) -> Result<(), MapFault> {
    let steps = u32::try_from(window.steps.len()).unwrap_or(u32::MAX);
    same(place, "number of steps", &found.audit.units(), &steps)?;
    same(place, "list of steps", &found.list, &list_name(&window.steps))?;
    same(place, "commitment", &found.commitment, &commitment(window.secret, &window.results))?;
    let foreign = |(_, step): &(usize, &MapStep)| step.unit >= map.job.units || step.segment >= map.job.segments;
    match window.steps.iter().enumerate().find(foreign) {
        None => Ok(()),
        Some((step, &MapStep { unit, segment, .. })) => {
            let Place { channel, window } = place;
            Err(MapFault::Step { channel, window, step, unit, segment })
        }
    }
}

/// `got` is what the chain holds.
fn same<T: PartialEq + ToString>(place: Place, what: &'static str, got: &T, expected: &T) -> Result<(), MapFault> {
    let Place { channel, window } = place;
    equal(got, expected).map_err(|(got, expected)| MapFault::Window { channel, window, what, got, expected })
}

/// An error with both as text, unless they are equal.
fn equal<T: PartialEq + ToString>(got: &T, expected: &T) -> Result<(), (String, String)> {
    if got == expected { Ok(()) } else { Err((got.to_string(), expected.to_string())) }
}
