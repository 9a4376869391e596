//! Maps in a world of our own: channels and windows laid out as the contracts lay them out, and the file about them, written without
//! the writer that is tested.

use crate::{
    audited::{account, job_over, key, sign},
    network::{BLOCK_MS, CHAIN_ID, Chain, World, address},
};
use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U256, hex, keccak256};
use keystead_proof::{
    AUDIT_ADDRESS, CHANNEL_ADDRESS, CustomerStatement, Job, MapCertificate, MapChannel, MapParts, MapStep, MapWindow,
    OwnCheck, OwnFinding, certificate_json, channel_slots, channel_window_slots, header_bytes, output_hash,
    result_root,
};
use keystead_types::{Account, Certificate, Header};
use std::collections::BTreeMap;

/// A window: what its parties agreed to, and what came of it.
#[derive(Clone)]
pub(crate) struct Window {
    pub(crate) steps: Vec<MapStep>,
    pub(crate) results: Vec<B256>,
    pub(crate) secret: B256,
    /// Whether the customer kept the three above.
    pub(crate) is_kept: bool,
    /// 0 none, 1 open, 2 closed, 3 convicted.
    pub(crate) status: u8,
    pub(crate) class: u8,
    pub(crate) checkers: u8,
    pub(crate) rate_ppm: u32,
    pub(crate) unpaid: u32,
    pub(crate) is_convicted: bool,
    pub(crate) verified: u32,
    pub(crate) segments: u32,
    pub(crate) named: B256,
    pub(crate) provider: Option<Address>,
    pub(crate) customer: Option<Address>,
}

/// A channel and its windows.
#[derive(Clone)]
pub(crate) struct Channel {
    pub(crate) id: B256,
    pub(crate) number: u64,
    /// 0 none, 1 open, 2 closing, 3 to 5 closed.
    pub(crate) status: u8,
    pub(crate) audited: u8,
    pub(crate) provider: Address,
    pub(crate) customer: Address,
    /// If it is not that of the plan.
    pub(crate) job_hash: Option<B256>,
    /// If it is not the number of the windows.
    pub(crate) announced: Option<u64>,
    /// Behind each of its windows.
    pub(crate) bond_wei: u128,
    pub(crate) windows: Vec<Window>,
}

/// A map: the job, its channels, and what the customer says.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) job: Bytes,
    pub(crate) inputs: Vec<B256>,
    pub(crate) results: Vec<B256>,
    pub(crate) channels: Vec<Channel>,
    pub(crate) statement: CustomerStatement,
    /// Number of the key that signs it.
    pub(crate) signer: u8,
    /// Whether the certificate is that of the grandchild.
    pub(crate) is_by_descendant: bool,
}

pub(crate) const SAID: CustomerStatement =
    CustomerStatement { check: OwnCheck::Sample, finding: OwnFinding::Right, checked: 2, right: 2, rate_ppm: 30_000 };

/// Name of the state of a unit after so many segments; after none it is the input.
pub(crate) fn state(unit: u32, segments: u32) -> B256 {
    output_hash(format!("unit {unit} after {segments}").as_bytes())
}

/// A closed window of honest steps, each drawn, three machines for each.
pub(crate) fn window(steps: &[(u32, u32)]) -> Window {
    let list: Vec<MapStep> = steps
        .iter()
        .map(|(unit, segment)| MapStep { unit: *unit, segment: *segment, input: state(*unit, *segment) })
        .collect();
    Window {
        results: steps.iter().map(|(unit, segment)| state(*unit, segment + 1)).collect(),
        secret: keccak256(list_of(&list)),
        is_kept: true,
        status: 2,
        class: 1,
        checkers: 3,
        rate_ppm: 1_000_000,
        unpaid: 0,
        is_convicted: false,
        verified: steps.len() as u32,
        segments: 1,
        named: B256::ZERO,
        provider: None,
        customer: None,
        steps: list,
    }
}

/// Channel `number` with the provider of that number, and an id that ascends with it.
pub(crate) fn channel(number: u64, windows: Vec<Window>) -> Channel {
    let mut id = keccak256(format!("channel {number}"));
    id[0] = number as u8;
    Channel {
        id,
        number,
        status: 1,
        audited: 1,
        provider: address(100 + number),
        customer: account(&key(1)),
        job_hash: None,
        announced: None,
        bond_wei: 12_500_000_000_000_000_000,
        windows,
    }
}

/// A job over `units` units of `segments` segments and its honest results.
pub(crate) fn plan(class: u8, units: u32, segments: u32, channels: Vec<Channel>) -> Plan {
    let inputs: Vec<B256> = (0..units).map(|unit| state(unit, 0)).collect();
    let outliers_ppm = if class == 3 { 1_000 } else { 0 };
    let job = job_over(class, units as u16, segments as u8, outliers_ppm, result_root(inputs.iter().copied()));
    let mut channels = channels;
    channels.iter_mut().flat_map(|channel| &mut channel.windows).for_each(|window| window.class = class);
    let results = (0..units).map(|unit| state(unit, segments)).collect();
    Plan { job, inputs, results, channels, statement: SAID, signer: 1, is_by_descendant: false }
}

pub(crate) fn list_of(steps: &[MapStep]) -> Vec<u8> {
    let bytes = |step: &MapStep| {
        [step.unit.to_be_bytes().as_slice(), &step.segment.to_be_bytes(), step.input.as_slice()].concat()
    };
    steps.iter().flat_map(bytes).collect()
}

/// The commitment of specs/0003-job.md §4, recursively.
fn commitment(secret: B256, results: &[B256]) -> B256 {
    fn root(nodes: &[B256]) -> B256 {
        if let [only] = nodes {
            return *only;
        }
        let pair = |pair: &[B256]| match pair {
            [left, right] => keccak256([[1].as_slice(), left.as_slice(), right.as_slice()].concat()),
            _ => pair[0],
        };
        root(&nodes.chunks(2).map(pair).collect::<Vec<B256>>())
    }
    let leaf = |(at, result): (u32, &B256)| {
        let salt = keccak256([secret.as_slice(), &at.to_be_bytes()].concat());
        keccak256([[0].as_slice(), &at.to_be_bytes(), salt.as_slice(), result.as_slice()].concat())
    };
    root(&(0..).zip(results).map(leaf).collect::<Vec<B256>>())
}

fn put(value: u32, bit: usize) -> U256 {
    U256::from(value) << bit
}

fn party(account: Address) -> U256 {
    U256::from_be_bytes(account.into_word().0)
}

impl Channel {
    fn words(&self, job_hash: B256) -> [U256; 6] {
        let opened_at = U256::from(BLOCK_MS / 1_000 - 900);
        let head = U256::from(self.status)
            | (U256::from(self.audited) << 8)
            | (opened_at << 16)
            | ((opened_at + U256::from(86_400)) << 56)
            | put(3_600, 176);
        let announced = self.announced.unwrap_or(self.windows.len() as u64);
        [
            head,
            party(self.customer) | put(1, 160),
            party(self.provider) | (U256::from(announced) << 160),
            party(account(&key(9))) | (U256::from(self.number) << 160),
            U256::from_be_bytes(self.job_hash.unwrap_or(job_hash).0),
            U256::from(self.bond_wei),
        ]
    }

    /// The eight words of a window, and the two of its draw.
    fn window_words(&self, window: &Window) -> [U256; 10] {
        let word = |hash: B256| U256::from_be_bytes(hash.0);
        // As the contract has it: only behind an open window is something locked, and behind a convicted one nothing.
        let is_locked = window.status == 1 && !window.is_convicted;
        let locked_wei = if is_locked { self.bond_wei } else { 0 };
        [
            party(window.provider.unwrap_or(self.provider))
                | put(window.status.into(), 160)
                | put(window.class.into(), 168)
                | put(window.checkers.into(), 176)
                | put(1, 184)
                | put(window.steps.len() as u32, 192)
                | put(window.rate_ppm, 224),
            party(window.customer.unwrap_or(self.customer))
                | put(window.unpaid, 192)
                | put(window.is_convicted.into(), 224)
                | put(3_600, 232),
            U256::from(1_000_000_u64) | (U256::from(locked_wei) << 128),
            U256::from(90_000_000_u64) | put(120, 128) | put(60, 160) | put(window.segments, 192),
            U256::from(window.verified),
            word(commitment(window.secret, &window.results)),
            word(window.named),
            word(output_hash(&list_of(&window.steps))),
            put(40, 0) | (U256::from(BLOCK_MS / 1_000 - 60) << 40) | put(1, 80) | put(9, 112),
            word(randomness()),
        ]
    }
}

pub(crate) fn randomness() -> B256 {
    keccak256("randomness")
}

impl Plan {
    pub(crate) fn job_hash(&self) -> B256 {
        Job::read(&self.job).unwrap().hash
    }

    pub(crate) fn world(&self) -> World {
        let mut world = World::default();
        for n in 1..=4 {
            let account = Account { nonce: n, balance: U256::from(n), code_hash: KECCAK256_EMPTY };
            world.accounts.insert(address(n), account);
        }
        world.contract(CHANNEL_ADDRESS);
        world.contract(AUDIT_ADDRESS);
        for channel in &self.channels {
            for (slot, word) in channel_slots(channel.id).into_iter().zip(channel.words(self.job_hash())) {
                world.put(CHANNEL_ADDRESS, slot.into(), word);
            }
            for (number, window) in (1..).zip(&channel.windows) {
                let slots = channel_window_slots(channel.number, number).into_iter();
                for (slot, word) in slots.zip(channel.window_words(window)) {
                    world.put(AUDIT_ADDRESS, slot.into(), word);
                }
            }
        }
        world
    }

    pub(crate) fn chain(&self) -> Chain {
        Chain::with(self.world(), 1)
    }

    /// Nodes of all slots that a file about this plan names, by their hashes.
    pub(crate) fn nodes(&self, world: &World) -> BTreeMap<B256, Bytes> {
        let mut paths = vec![world.account_path(CHANNEL_ADDRESS), world.account_path(AUDIT_ADDRESS)];
        for channel in &self.channels {
            paths.extend(channel_slots(channel.id).map(|slot| world.storage_path(CHANNEL_ADDRESS, slot.into())));
            for window in 1..=channel.windows.len() as u64 {
                let slots = channel_window_slots(channel.number, window);
                paths.extend(slots.map(|slot| world.storage_path(AUDIT_ADDRESS, slot.into())));
            }
        }
        paths.into_iter().flatten().map(|node| (keccak256(&node), node)).collect()
    }

    fn headers<'a>(&self, chain: &'a Chain) -> (Certificate, Vec<&'a Header>) {
        if self.is_by_descendant {
            (chain.network.certify(CHAIN_ID, 300, &chain.headers[3]), chain.headers[1..].iter().rev().collect())
        } else {
            (chain.network.certify(CHAIN_ID, 57, &chain.headers[1]), vec![&chain.headers[1]])
        }
    }

    pub(crate) fn signature(&self) -> [u8; 65] {
        let digest = MapCertificate::statement_digest(&self.statement, CHAIN_ID, self.job_hash(), &self.results);
        sign(&key(self.signer), digest)
    }

    /// What a customer hands to the composer.
    pub(crate) fn parts<'a>(&self, chain: &Chain, headers: &'a mut Vec<Header>) -> MapParts<'a> {
        let (certificate, own) = self.headers(chain);
        *headers = own.into_iter().cloned().collect();
        let channels = self.channels.iter().map(|channel| {
            let windows = channel.windows.iter().map(|window| match window {
                Window { is_kept: false, .. } => MapWindow::default(),
                Window { steps, results, secret, .. } => {
                    MapWindow { steps: steps.clone(), results: results.clone(), secret: *secret }
                }
            });
            MapChannel { id: channel.id, windows: windows.collect() }
        });
        MapParts {
            chain_id: CHAIN_ID,
            certificate,
            headers,
            nodes: self.nodes(&chain.world).into_values().collect(),
            job_bytes: self.job.clone(),
            inputs: self.inputs.clone(),
            results: self.results.clone(),
            channels: channels.collect(),
            statement: self.statement,
            signature: self.signature(),
        }
    }

    /// The file about this plan in a chain that may hold another one, with the nodes that this chain has.
    pub(crate) fn file(&self, chain: &Chain) -> String {
        let nodes: Vec<Bytes> = self.nodes(&chain.world).into_values().collect();
        self.file_with(chain, &nodes)
    }

    pub(crate) fn file_with(&self, chain: &Chain, nodes: &[Bytes]) -> String {
        let text = |bytes: &[u8]| format!("\"{}\"", hex::encode_prefixed(bytes));
        let list = |items: Vec<String>| format!("[{}]", items.join(","));
        let names = |names: &[B256]| text(&names.iter().flat_map(|name| name.0).collect::<Vec<u8>>());
        let (certificate, headers) = self.headers(chain);
        let window = |window: &Window| {
            if !window.is_kept {
                return r#"{"steps":"0x","results":"0x","secret":"0x"}"#.to_owned();
            }
            let (steps, results) = (text(&list_of(&window.steps)), names(&window.results));
            format!("{{\"steps\":{steps},\"results\":{results},\"secret\":{}}}", text(window.secret.as_slice()))
        };
        let channel = |channel: &Channel| {
            let windows = list(channel.windows.iter().map(window).collect());
            format!("{{\"channelId\":{},\"windows\":{windows}}}", text(channel.id.as_slice()))
        };
        let CustomerStatement { checked, right, rate_ppm, .. } = self.statement;
        let check = ["none", "sample", "checker-program"][self.statement.check as usize];
        let finding = ["none", "right", "wrong", "unknown"][self.statement.finding as usize];
        let fields = [
            ("format", "\"keystead-map/1\"".to_owned()),
            ("chainId", format!("\"{CHAIN_ID:#x}\"")),
            ("certificate", certificate_json(&certificate)),
            ("headers", list(headers.into_iter().map(|header| text(&header_bytes(header))).collect())),
            ("block", "\"0x2a\"".to_owned()),
            ("nodes", list(nodes.iter().map(|node| text(node)).collect())),
            ("job", text(&self.job)),
            ("inputs", names(&self.inputs)),
            ("results", names(&self.results)),
            ("channels", list(self.channels.iter().map(channel).collect())),
            (
                "statement",
                format!(
                    "{{\"check\":\"{check}\",\"finding\":\"{finding}\",\"checked\":\"{checked:#x}\",\"right\":\"{right:#x}\",\"ownRatePpm\":\"{rate_ppm:#x}\"}}"
                ),
            ),
            ("signature", text(&self.signature())),
        ];
        let fields: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        format!("{{{}}}", fields.join(","))
    }
}
