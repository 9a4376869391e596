//! The proof of hardware in real workers: every device gives the words of the reference, and can be stopped at any moment.

use crate::machine::{block_on, command};
use alloy_primitives::{Address, B256};
use keystead_market::touchstone::{
    Challenge, Commitment, Prover, Shape,
    arithmetic::to_bytes,
    challenge::{OPENED, Round},
    verify::{Committed, Times, verify},
};
use keystead_runner::{Failure, Stop, Task, Touchstone};
use std::collections::BTreeMap;

crate::tests![
    the_processor_gives_the_words_of_the_reference_whatever_the_size_and_the_threads,
    an_adapter_gives_the_words_of_the_reference_whatever_the_size,
    an_answer_made_by_a_device_is_verified,
    sizes_outside_the_format_rows_that_are_not_there_and_devices_that_are_not_there_are_refused,
    a_stop_ends_the_work_and_so_does_dropping_it,
];

fn challenge(device: u8, side: u32, links: u32) -> Challenge {
    let Round { chain_id, height, time_s, beacon } =
        Round { chain_id: 19_283, height: 7, time_s: 8, beacon: B256::repeat_byte(9) };
    Challenge {
        chain_id,
        height,
        time_s,
        beacon,
        provider: Address::repeat_byte(7),
        device,
        shape: Shape::new(side, links).unwrap(),
        opened: OPENED,
        deadline_ms: 1_000_000,
    }
}

fn task(challenge: &Challenge, threads: u16) -> Task {
    let Challenge { device, shape, .. } = challenge;
    Task { device: *device, key: challenge.key(), side: shape.side(), links: shape.links(), threads }
}

async fn contents(touchstone: &mut Touchstone) -> Vec<B256> {
    let mut contents = Vec::new();
    while let Some(hashes) = touchstone.step().await.unwrap() {
        contents.extend(hashes.into_iter().map(B256::from));
    }
    contents
}

/// Compares everything that a device says of a challenge with the reference.
async fn compare(challenge: Challenge, threads: u16) {
    let reference = Prover::new(challenge);
    let mut device = Touchstone::begin(&command(), task(&challenge, threads), Stop::new()).await.unwrap();
    let commitment = Commitment::new(challenge, &contents(&mut device).await).unwrap();
    let shape = challenge.shape;
    assert_eq!(commitment.root(), reference.root(), "{shape:?} threads={threads} on {}", device.device());
    assert_eq!(device.step().await.unwrap(), None, "it stays over");
    let beacon = B256::repeat_byte(3);
    let vectors = device.vectors(commitment.vector_key(beacon)).await.unwrap();
    assert_eq!(vectors, reference.vectors(beacon), "{shape:?}");
    // A second key, backwards in nothing: the device still holds all.
    let again = B256::repeat_byte(4);
    assert_eq!(device.vectors(commitment.vector_key(again)).await.unwrap(), reference.vectors(again));
    let last = shape.rows() - 1;
    let rows = device.rows(&[last, 0, last / 2]).await.unwrap();
    let opened = reference.open(&vectors, beacon);
    for row in opened.rows.iter().take(20) {
        let words = device.rows(&[row.index]).await.unwrap();
        assert_eq!(to_bytes(&words[0]), row.bytes.to_vec(), "{shape:?} row {}", row.index);
    }
    assert_eq!(rows.len(), 3);
}

fn the_processor_gives_the_words_of_the_reference_whatever_the_size_and_the_threads() {
    block_on(async {
        for (side, links) in [(16, 1), (16, 40), (32, 3), (64, 5), (128, 2), (256, 3), (512, 2)] {
            for threads in [1, 3] {
                compare(challenge(0, side, links), threads).await;
            }
        }
    });
}

/// On a machine without a graphics driver there is nothing to compare; the kernels themselves are compared by the interpreter.
fn has_adapter() -> bool {
    let command = command();
    let test = block_on(keystead_runner::probe(&command, keystead_job::Runtime::Wgsl1)).unwrap();
    let has = !test.adapters.is_empty();
    if !has {
        println!("no adapter here: not tested");
    }
    has
}

fn an_adapter_gives_the_words_of_the_reference_whatever_the_size() {
    if !has_adapter() {
        return;
    }
    block_on(async {
        for (side, links) in [(16, 1), (16, 40), (32, 3), (64, 5), (128, 2), (256, 3), (512, 1)] {
            compare(challenge(1, side, links), 2).await;
        }
    });
}

fn an_answer_made_by_a_device_is_verified() {
    let devices = if has_adapter() { vec![0, 1] } else { vec![0] };
    block_on(async {
        for device in devices {
            let challenge = challenge(device, 64, 6);
            let mut working = Touchstone::begin(&command(), task(&challenge, 2), Stop::new()).await.unwrap();
            let commitment = Commitment::new(challenge, &contents(&mut working).await).unwrap();
            let (vector_beacon, rows_beacon) = (B256::repeat_byte(5), B256::repeat_byte(6));
            let vectors = working.vectors(commitment.vector_key(vector_beacon)).await.unwrap();
            let vectors_root = Prover::vectors_root(&vectors);
            let drawn = commitment.drawn_rows(vectors_root, rows_beacon);
            let words = working.rows(&drawn).await.unwrap();
            let rows: BTreeMap<u32, Vec<u32>> = drawn.into_iter().zip(words).collect();
            let answer = commitment.open(&vectors, rows_beacon, |row| rows.get(&row).map(Vec::as_slice));
            let committed = Committed { root: commitment.root(), vector_beacon, vectors_root, rows_beacon };
            let times = Times { root_ms: 1, vectors_ms: 1, answer_ms: 1 };
            verify(&challenge, committed, &answer, times).unwrap();
        }
    });
}

fn sizes_outside_the_format_rows_that_are_not_there_and_devices_that_are_not_there_are_refused() {
    let good = Task { device: 0, key: [1; 8], side: 16, links: 2, threads: 1 };
    let begin = |task: Task| block_on(Touchstone::begin(&command(), task, Stop::new()));
    for bad in [
        Task { side: 8, ..good },
        Task { side: 24, ..good },
        Task { side: 16_384, ..good },
        Task { links: 0, ..good },
        Task { links: 16_385, ..good },
        Task { threads: 0, ..good },
    ] {
        assert!(matches!(begin(bad), Err(Failure::ProviderFault { .. })), "{bad:?}");
    }
    let far = begin(Task { device: 33, ..good });
    assert!(matches!(far, Err(Failure::NoAdapter { .. })), "{far:?}");
    block_on(async {
        let mut device = Touchstone::begin(&command(), good, Stop::new()).await.unwrap();
        contents(&mut device).await;
        assert!(device.rows(&[31]).await.is_ok());
        assert!(device.rows(&[32]).await.is_err());
        assert!(device.rows(&vec![0; 513]).await.is_err());
    });
    // More memory than there is for workers.
    let small = command().with_memory(256 << 20);
    let large = Task { side: 1_024, links: 1_000, ..good };
    let failure = block_on(Touchstone::begin(&small, large, Stop::new())).unwrap_err();
    assert!(failure.to_string().contains("not enough memory"), "{failure}");
}

fn a_stop_ends_the_work_and_so_does_dropping_it() {
    let long = Task { device: 0, key: [1; 8], side: 2_048, links: 64, threads: 1 };
    let pid = block_on(async {
        let stop = Stop::new();
        let mut device = Touchstone::begin(&command(), long, stop.clone()).await.unwrap();
        let asked = stop.clone();
        let stopping = tokio::spawn(async move { asked.stop("the owner came back") });
        let ended = loop {
            match device.step().await {
                Ok(Some(_)) => {}
                other => break other,
            }
        };
        assert!(matches!(&ended, Err(Failure::Aborted { why }) if why == "the owner came back"), "{ended:?}");
        stopping.await.unwrap();
        device.worker_pid()
    });
    crate::machine::until("the worker is gone", || crate::machine::is_gone(pid));
}
