//! Reading and writing the certificate of a map.
//!
//! Spec: specs/0002-proof-bundle.md §12.

use super::{
    JOB_STEPS_MAX, MAP_BYTES_MAX, MAP_CHANNELS_MAX, MAP_FORMAT, MAP_NODES_MAX, MAP_WINDOWS_MAX, MapCertificate,
    MapChannel, MapStep, MapWindow, NODE_BYTES_MAX, WINDOW_STEPS_MAX,
    state::Pool,
    steps::{STEP_BYTES, list_bytes},
};
use crate::{
    bundle::{ParseError, read_certificate, read_headers},
    certificate::{CustomerStatement, Job},
    compose::certificate_json,
    json::{self, Fields, Json, Writer},
};
use alloy_primitives::B256;

const ONE_A_UNIT: &str = "the names of the job's units, 32 bytes each";

impl MapCertificate {
    /// Reads exactly one certificate of a map.
    ///
    /// Trust: hostile input; nothing is verified. Limits: [`MAP_BYTES_MAX`]. Cost: linear in the input, and a hash for each trie node.
    ///
    /// # Errors
    /// [`ParseError`]; whoever made the file was wrong.
    pub fn from_json(bytes: &[u8]) -> Result<Self, ParseError> {
        let mut fields = Fields::open(json::parse_up_to(bytes, MAP_BYTES_MAX)?, "map")?;
        if fields.text("format")? != MAP_FORMAT {
            return Err(ParseError::Form { field: "format", want: MAP_FORMAT });
        }
        Self::read(fields)
    }

    /// Reads the fields after `format`.
    pub(crate) fn read(mut fields: Fields<'_>) -> Result<Self, ParseError> {
        let chain_id = fields.number("chainId")?;
        let certificate = read_certificate(&mut fields)?;
        let headers = read_headers(&mut fields)?;
        let block = fields.number("block")?;
        let nodes = Pool::ordered(fields.list("nodes", MAP_NODES_MAX)?);
        let nodes = nodes.ok_or(ParseError::Form { field: "nodes", want: "nodes in the order of their hashes" })?;
        let job_bytes = fields.bytes("job")?;
        let job = Job::read(&job_bytes)
            .ok_or(ParseError::Form { field: "job", want: "a job spec as specs/0003-job.md has it" })?;
        let inputs = read_names(&mut fields, "inputs")?;
        let results = read_names(&mut fields, "results")?;
        let channels = fields.array("channels", MAP_CHANNELS_MAX)?;
        let channels = channels.into_iter().map(read_channel).collect::<Result<Vec<_>, _>>()?;
        let statement = CustomerStatement::read(Fields::open(fields.take("statement")?, "statement")?)?;
        let signature = fields.fixed("signature")?;
        fields.close()?;
        let map = Self {
            chain_id,
            certificate,
            headers,
            block,
            nodes,
            job_bytes,
            job,
            inputs,
            results,
            channels,
            statement,
            signature,
        };
        map.check_form()?;
        Ok(map)
    }

    /// Bounds and order of what was read, or is to be written.
    pub(super) fn check_form(&self) -> Result<(), ParseError> {
        let form = |field, want| Err(ParseError::Form { field, want });
        if self.job_steps() > JOB_STEPS_MAX {
            return form("job", "a job of at most 1048576 steps");
        }
        let units = usize::try_from(self.job.units).unwrap_or(usize::MAX);
        for (field, names) in [("inputs", &self.inputs), ("results", &self.results)] {
            if names.len() != units {
                return form(field, ONE_A_UNIT);
            }
        }
        if self.nodes.len() == 0 || self.nodes.nodes().iter().any(|node| !(1..=NODE_BYTES_MAX).contains(&node.len())) {
            return form("nodes", "at least one node, of 1 to 1024 bytes each");
        }
        within("nodes", self.nodes.len(), MAP_NODES_MAX)?;
        within("channels", self.channels.len(), MAP_CHANNELS_MAX)?;
        if self.channels.is_empty() || !self.channels.is_sorted_by(|one, next| one.id < next.id) {
            return form("channels", "at least one channel, in the order of their numbers, none twice");
        }
        let windows = || self.channels.iter().flat_map(|channel| &channel.windows);
        within("windows", windows().count(), MAP_WINDOWS_MAX)?;
        for window in windows() {
            within("steps", window.steps.len(), WINDOW_STEPS_MAX)?;
            if window.results.len() != window.steps.len() {
                return form("results", "a result for each step");
            }
        }
        Ok(())
    }

    /// The file's one written form: fields in the order of the spec, no white space.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut out = Writer::object();
        out.text("format", MAP_FORMAT);
        out.number("chainId", self.chain_id);
        out.raw("certificate", &certificate_json(&self.certificate));
        out.list("headers", &self.headers);
        out.number("block", self.block);
        out.list("nodes", &self.nodes.nodes());
        out.bytes("job", &self.job_bytes);
        out.bytes("inputs", &joined(&self.inputs));
        out.bytes("results", &joined(&self.results));
        let channels: Vec<String> = self.channels.iter().map(channel_json).collect();
        out.raw("channels", &format!("[{}]", channels.join(",")));
        out.raw("statement", &self.statement.write());
        out.bytes("signature", &self.signature);
        out.finish()
    }
}

const fn within(field: &'static str, got: usize, max: usize) -> Result<(), ParseError> {
    if got > max { Err(ParseError::TooMany { field, got, max }) } else { Ok(()) }
}

/// Names of 32 bytes each.
fn read_names(fields: &mut Fields<'_>, name: &'static str) -> Result<Vec<B256>, ParseError> {
    let bytes = fields.bytes(name)?;
    let names = bytes.chunks(32).map(B256::try_from).collect::<Result<Vec<_>, _>>();
    names.map_err(|_| ParseError::Form { field: name, want: "names of 32 bytes each" })
}

fn joined(names: &[B256]) -> Vec<u8> {
    names.iter().flat_map(|name| name.0).collect()
}

fn read_channel(json: Json<'_>) -> Result<MapChannel, ParseError> {
    let mut fields = Fields::open(json, "channels")?;
    let id = fields.word("channelId")?;
    let windows = fields.array("windows", MAP_WINDOWS_MAX)?;
    let windows = windows.into_iter().map(read_window).collect::<Result<Vec<_>, _>>()?;
    fields.close()?;
    Ok(MapChannel { id, windows })
}

fn read_window(json: Json<'_>) -> Result<MapWindow, ParseError> {
    let mut fields = Fields::open(json, "windows")?;
    let bytes = fields.bytes("steps")?;
    let steps = bytes.chunks(STEP_BYTES).map(read_step).collect::<Option<Vec<MapStep>>>();
    let steps = steps.ok_or(ParseError::Form { field: "steps", want: "a list of steps, 40 bytes each" })?;
    let results = read_names(&mut fields, "results")?;
    // Without steps nothing was kept, and there is no secret either.
    let secret =
        if steps.is_empty() { fields.fixed::<0>("secret").map(|_| B256::ZERO)? } else { fields.word("secret")? };
    fields.close()?;
    Ok(MapWindow { steps, results, secret })
}

fn read_step(bytes: &[u8]) -> Option<MapStep> {
    let (unit, rest) = bytes.split_first_chunk::<4>()?;
    let (segment, input) = rest.split_first_chunk::<4>()?;
    let input = B256::try_from(input).ok()?;
    Some(MapStep { unit: u32::from_be_bytes(*unit), segment: u32::from_be_bytes(*segment), input })
}

fn channel_json(channel: &MapChannel) -> String {
    let windows: Vec<String> = channel.windows.iter().map(window_json).collect();
    let mut out = Writer::object();
    out.bytes("channelId", channel.id.as_slice());
    out.raw("windows", &format!("[{}]", windows.join(",")));
    out.finish()
}

fn window_json(window: &MapWindow) -> String {
    let mut out = Writer::object();
    out.bytes("steps", &list_bytes(&window.steps));
    out.bytes("results", &joined(&window.results));
    out.bytes("secret", if window.steps.is_empty() { &[] } else { window.secret.as_slice() });
    out.finish()
}
