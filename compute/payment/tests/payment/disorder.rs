//! Both sides over a bad network, on machines that die at any moment, against a model of the contract.
//!
//! Goal: no window ever gets two vouchers, no side risks more than one window, every claim that is advised is one that the contract
//! takes, and with good luck at the end everything is paid. Method: random operations; after each, everything is compared.

use crate::fixture::{DEPOSIT, PER_UNIT, UNITS, delivery, joined, opened, policy, price, root, sign, standing, terms};
use alloy_primitives::{B256, keccak256};
use keystead_contracts::storage::channel::Status;
use keystead_job::commitment::Secret;
use keystead_payment::{
    Claim, Payee, Payer, Release, Report, Signed, Standing, Voucher, payer,
    watch::{self, PayeeStep, Wish},
};
use proptest::prelude::*;
use std::collections::{BTreeMap, HashMap};

/// Where a side dies within an operation.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Death {
    Never,
    BeforeTheDisk,
    AfterTheDisk,
}

#[derive(Clone, Copy, Debug)]
enum Operation {
    /// The provider begins the next window, runs it and reports.
    Work {
        units: u32,
        salt: u64,
        death: Death,
    },
    /// The provider sends its unpaid report again.
    Again,
    /// A report arrives; `stays` leaves a copy on the way.
    Report {
        index: usize,
        stays: bool,
        death: Death,
    },
    /// A voucher arrives.
    Voucher {
        index: usize,
        stays: bool,
        death: Death,
    },
    LoseReport {
        index: usize,
    },
    LoseVoucher {
        index: usize,
    },
    PayerDies,
    PayeeDies,
    /// The audit answers for the oldest window without an answer.
    Audit {
        convicts: bool,
    },
    /// The provider claims the best voucher, and learns of it or not.
    Claim {
        learns: bool,
    },
}

fn operation() -> impl Strategy<Value = Operation> {
    let death = prop_oneof![
        6 => Just(Death::Never),
        1 => Just(Death::BeforeTheDisk),
        1 => Just(Death::AfterTheDisk),
    ];
    let arrival = (0_usize..4, any::<bool>(), death.clone());
    prop_oneof![
        6 => (1..=UNITS, 0_u64..3, death).prop_map(|(units, salt, death)| Operation::Work { units, salt, death }),
        2 => Just(Operation::Again),
        6 => arrival.clone().prop_map(|(index, stays, death)| Operation::Report { index, stays, death }),
        6 => arrival.prop_map(|(index, stays, death)| Operation::Voucher { index, stays, death }),
        1 => (0_usize..4).prop_map(|index| Operation::LoseReport { index }),
        1 => (0_usize..4).prop_map(|index| Operation::LoseVoucher { index }),
        1 => Just(Operation::PayerDies),
        1 => Just(Operation::PayeeDies),
        3 => (0_u8..12).prop_map(|n| Operation::Audit { convicts: n == 0 }),
        2 => any::<bool>().prop_map(|learns| Operation::Claim { learns }),
    ]
}

struct World {
    audited: bool,
    chain: Standing,
    answers: HashMap<u64, Release>,
    payer: Payer,
    payer_disk: Option<Vec<u8>>,
    payee: Payee,
    payee_disk: Option<Vec<u8>>,
    reports: Vec<(Report, Secret, Vec<B256>)>,
    vouchers: Vec<Signed>,
    /// Outputs that the provider keeps beside its record, by root.
    outputs: HashMap<B256, (Secret, Vec<B256>)>,
    /// Every voucher that ever left the customer's machine.
    signed: BTreeMap<u64, Voucher>,
    /// The price of every window that was reported to the disk.
    worked: BTreeMap<u64, u128>,
    /// The price of every window whose outputs reached the customer.
    received: BTreeMap<u64, u128>,
}

impl World {
    fn new(audited: bool) -> Self {
        Self {
            audited,
            chain: standing(),
            answers: HashMap::new(),
            payer: opened(audited),
            payer_disk: None,
            payee: joined(audited),
            payee_disk: None,
            reports: Vec::new(),
            vouchers: Vec::new(),
            outputs: HashMap::new(),
            signed: BTreeMap::new(),
            worked: BTreeMap::new(),
            received: BTreeMap::new(),
        }
    }

    fn answer(&self, window: u64) -> Release {
        self.answers.get(&window).copied().unwrap_or(Release::Pending)
    }

    fn payer_dies(&mut self) {
        self.payer = match &self.payer_disk {
            Some(record) => Payer::resume(terms(self.audited), price(), record).unwrap(),
            None => opened(self.audited),
        };
    }

    fn payee_dies(&mut self) {
        self.payee = match &self.payee_disk {
            Some(record) => Payee::resume(terms(self.audited), policy(), record).unwrap(),
            None => joined(self.audited),
        };
    }

    fn work(&mut self, units: u32, salt: u64, death: Death) {
        if self.payee.begin(units, &self.chain).is_err() {
            return;
        }
        let window = self.worked.keys().last().copied().unwrap_or(0) + 1;
        let (secret, outputs) = delivery(window, units, salt);
        let draft = self.payee.report(root(window, units, salt)).unwrap();
        if death == Death::BeforeTheDisk {
            return self.payee_dies();
        }
        self.payee_disk = Some(draft.record().to_vec());
        let report = draft.saved();
        assert_eq!(report.window, window);
        self.worked.insert(window, PER_UNIT * u128::from(units));
        self.outputs.insert(report.root, (secret.clone(), outputs.clone()));
        if death == Death::AfterTheDisk {
            return self.payee_dies();
        }
        self.reports.push((report, secret, outputs));
    }

    fn again(&mut self) {
        if let Some(report) = self.payee.reported().copied() {
            let (secret, outputs) = self.outputs[&report.root].clone();
            self.reports.push((report, secret, outputs));
        }
    }

    fn report(&mut self, index: usize, stays: bool, death: Death) {
        if self.reports.is_empty() {
            return;
        }
        let index = index % self.reports.len();
        let (report, secret, outputs) = if stays { self.reports[index].clone() } else { self.reports.remove(index) };
        let received = report.receive(&secret, &outputs, None).unwrap();
        self.received.insert(report.window, PER_UNIT * u128::from(report.units));
        let draft = match self.payer.pay(&received, &self.chain) {
            Ok(draft) => draft,
            // Old copies, and what comes after the end.
            Err(payer::Refusal::AnotherWindow { got, expected }) => return assert!(got < expected),
            Err(payer::Refusal::FoundWrong { .. }) => return,
            Err(refusal) => panic!("{refusal}"),
        };
        if death == Death::BeforeTheDisk {
            return self.payer_dies();
        }
        self.payer_disk = Some(draft.record().to_vec());
        let voucher = draft.saved();
        // The signature exists from here on, whether it arrives or not.
        let before = self.signed.insert(voucher.window, voucher);
        assert!(before.is_none_or(|before| before == voucher), "two vouchers for window {}", voucher.window);
        if death == Death::AfterTheDisk {
            return self.payer_dies();
        }
        self.vouchers.push(sign(voucher));
    }

    fn voucher(&mut self, index: usize, stays: bool, death: Death) {
        if self.vouchers.is_empty() {
            return;
        }
        let index = index % self.vouchers.len();
        let signed = if stays { self.vouchers[index] } else { self.vouchers.remove(index) };
        let earned = self.payee.earned();
        match self.payee.accept(&signed, &self.chain) {
            Ok(Some(draft)) => {
                if death == Death::BeforeTheDisk {
                    return self.payee_dies();
                }
                self.payee_disk = Some(draft.record().to_vec());
                draft.saved();
                if death == Death::AfterTheDisk {
                    self.payee_dies();
                }
                let window = signed.voucher.window;
                assert_eq!(self.payee.earned(), earned + self.worked[&window]);
            }
            // A copy of one that was taken.
            Ok(None) | Err(_) => assert_eq!(self.payee.earned(), earned),
        }
    }

    fn audit(&mut self, convicts: bool) {
        let open = self.signed.keys().copied().find(|window| !self.answers.contains_key(window));
        let Some(window) = open else { return };
        self.answers.insert(window, if convicts { Release::Convicted } else { Release::Released });
        if convicts {
            let draft = self.payer.found_wrong(window);
            self.payer_disk = Some(draft.record().to_vec());
            draft.saved();
        }
    }

    fn claim(&mut self, learns: bool) {
        // The chain did nothing that this side did not ask for.
        let draft = self.payee.settle(&self.chain).unwrap();
        self.payee_disk = Some(draft.record().to_vec());
        draft.saved();
        if let Some(claim) = self.payee.prospect(|window| self.answer(window)).claim {
            self.contract(&claim);
        }
        if learns {
            let draft = self.payee.settle(&self.chain).unwrap();
            self.payee_disk = Some(draft.record().to_vec());
            draft.saved();
        }
    }

    /// The contract's rules (specs/0009-channel.md section 6), written down a second time.
    fn contract(&mut self, claim: &Claim) {
        let voucher = claim.signed.voucher;
        claim.signed.verify(&terms(self.audited).domain, terms(self.audited).signer).unwrap();
        assert!(voucher.window > self.chain.window);
        let (mut window, mut history) = (self.chain.window, self.chain.history);
        let amount = if self.audited {
            assert_eq!(claim.skipped.len() as u64, voucher.window - window - 1);
            for (units, root) in &claim.skipped {
                window += 1;
                let id = keystead_payment::voucher::window_id(voucher.channel_id, window, *units, *root);
                assert_eq!(self.answer(window), Release::Released);
                history = keccak256([history, id].concat());
            }
            assert_eq!(history, voucher.history);
            match self.answer(voucher.window) {
                Release::Convicted => panic!("a claim of a convicted window"),
                Release::Pending => voucher.cumulative - voucher.held_back,
                Release::Released => {
                    window = voucher.window;
                    history = keccak256([history, voucher.window_id()].concat());
                    voucher.cumulative
                }
            }
        } else {
            assert!(claim.skipped.is_empty() && voucher.held_back == 0);
            window = voucher.window;
            voucher.cumulative
        };
        assert_eq!(amount, claim.amount);
        assert!(amount > self.chain.claimed && amount <= self.chain.deposit);
        self.chain = Standing { claimed: amount, window, history, ..self.chain };
    }

    fn apply(&mut self, operation: Operation) {
        match operation {
            Operation::Work { units, salt, death } => self.work(units, salt, death),
            Operation::Again => self.again(),
            Operation::Report { index, stays, death } => self.report(index, stays, death),
            Operation::Voucher { index, stays, death } => self.voucher(index, stays, death),
            Operation::LoseReport { index } if !self.reports.is_empty() => {
                self.reports.swap_remove(index % self.reports.len());
            }
            Operation::LoseVoucher { index } if !self.vouchers.is_empty() => {
                self.vouchers.swap_remove(index % self.vouchers.len());
            }
            Operation::LoseReport { .. } | Operation::LoseVoucher { .. } => {}
            Operation::PayerDies => self.payer_dies(),
            Operation::PayeeDies => self.payee_dies(),
            Operation::Audit { convicts } => self.audit(convicts),
            Operation::Claim { learns } => self.claim(learns),
        }
        self.check();
    }

    fn check(&self) {
        let worked: u128 = self.worked.values().sum();
        let received: u128 = self.received.values().sum();
        let promised = self.signed.values().next_back().map_or(0, |voucher| voucher.cumulative);
        let most = PER_UNIT * u128::from(UNITS);
        // The provider's exposure: what was worked and has no voucher in its hands.
        assert!(worked - self.payee.earned() <= most, "exposure of the provider: {worked} {}", self.payee.earned());
        // The customer's: nothing was promised for what did not arrive.
        assert!(promised <= received, "exposure of the customer: {promised} {received}");
        assert!(self.payee.earned() <= promised);
        assert!(self.chain.claimed <= promised);
        // Held back means held back: what left the deposit was released.
        if self.audited {
            let released = self.signed.values().take_while(|v| self.answer(v.window) == Release::Released);
            assert!(self.chain.claimed <= released.last().map_or(0, |voucher| voucher.cumulative));
        }
    }

    /// Good luck from here on: everything arrives, nothing dies, audits end, and the watcher closes.
    fn finish(&mut self) {
        self.again();
        while !self.reports.is_empty() {
            self.report(0, false, Death::Never);
        }
        while !self.vouchers.is_empty() {
            self.voucher(0, false, Death::Never);
        }
        let convicted = self.signed.values().find(|v| self.answer(v.window) == Release::Convicted).copied();
        for window in self.signed.keys() {
            self.answers.entry(*window).or_insert(Release::Released);
        }
        self.check();
        let worked: u128 = self.worked.values().sum();
        if convicted.is_none() {
            assert_eq!(self.payee.earned(), worked, "all work has a voucher");
            assert!(self.payee.reported().is_none());
        }
        self.chain.status = Status::Closing;
        self.payee.settle(&self.chain).unwrap().saved();
        let prospect = self.payee.prospect(|window| self.answer(window));
        match watch::payee(&self.payee, &self.chain, prospect, Wish::End) {
            PayeeStep::ClaimAndClose { claim, .. } => self.contract(&claim),
            PayeeStep::Close => {}
            step => panic!("{step:?}"),
        }
        let due = match convicted {
            Some(voucher) if self.audited => self.signed.get(&(voucher.window - 1)).map_or(0, |v| v.cumulative),
            _ => self.payee.earned(),
        };
        assert_eq!(self.chain.claimed, due);
        assert!(due <= DEPOSIT);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_lost_repeated_or_killed_nobody_loses_more_than_one_window(
        audited: bool,
        operations in prop::collection::vec(operation(), 1..120),
    ) {
        let mut world = World::new(audited);
        for operation in operations {
            world.apply(operation);
        }
        world.finish();
    }
}
