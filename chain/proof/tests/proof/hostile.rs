//! Input that nobody honest sends: it is never proved and never panics.

use crate::network::{CHAIN_ID, Chain, NOW_MS, Network, address};
use keystead_proof::{BUNDLE_BYTES_MAX, Verdict, verify};
use proptest::prelude::*;

fn refused(bytes: &[u8]) -> bool {
    let report = verify(bytes, &Network::new(1).key(), NOW_MS, None);
    assert!(!report.to_string().is_empty());
    matches!(report.verdict, Verdict::NotProved(_)) && report.step().number() == 1 && report.block.is_none()
}

fn good() -> String {
    let chain = Chain::sample();
    chain.bundle(chain.world.account_claim(42, address(11))).to_json()
}

proptest! {
    #[test]
    fn random_bytes_prove_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(refused(&bytes));
    }

    #[test]
    fn random_json_proves_nothing(text in r#"(\{|\}|\[|\]|"|:|,|0x[0-9a-f]{0,4}|kind|claim|headers| |\\u0041|-1e999){0,60}"#) {
        prop_assert!(refused(text.as_bytes()));
    }
}

#[test]
fn a_random_byte_in_a_good_bundle_never_proves_anything_but_the_same_claim() {
    let text = good();
    let key = Network::new(1).key();
    let claimed = verify(text.as_bytes(), &key, NOW_MS, None).claim;
    let mut state = 7u64;
    for _ in 0..3_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut bytes = text.clone().into_bytes();
        let at = (state >> 33) as usize % bytes.len();
        bytes[at] = (state >> 24) as u8;
        let report = verify(&bytes, &key, NOW_MS, None);
        if bytes != text.as_bytes() && report.verdict == Verdict::Proved {
            assert_eq!(report.claim, claimed, "byte {at}");
        }
    }
}

#[test]
fn deep_wide_and_large_input_is_refused_quickly() {
    let deep = "[".repeat(BUNDLE_BYTES_MAX / 2);
    assert!(refused(deep.as_bytes()));
    assert!(refused(format!("{{\"format\":{deep}").as_bytes()));
    assert!(refused("{\"a\":".repeat(1_000).as_bytes()));
    let wide: Vec<String> = (0..100_000).map(|n| format!("\"f{n}\":\"\"")).collect();
    assert!(refused(format!("{{{}}}", &wide[..80_000].join(",")).as_bytes()));
    assert!(refused(&vec![b' '; BUNDLE_BYTES_MAX + 1]));
    assert!(refused(&vec![b'"'; BUNDLE_BYTES_MAX]));
}

#[test]
fn numbers_in_any_other_form_are_refused() {
    let text = good();
    let own = format!("\"chainId\":\"{CHAIN_ID:#x}\"");
    assert!(text.contains(&own));
    let forms = [
        "19283",
        "\"19283\"",
        "\"0x04b53\"",
        "\"0X4b53\"",
        "\"0x4B53\"",
        "\"4b53\"",
        "\"0x4b53 \"",
        "\" 0x4b53\"",
        "\"0x\"",
        "\"\"",
        "null",
        "\"0x10000000000004b53\"",
        "\"-0x4b53\"",
        "1e400",
        "[]",
        "[\"0x4b53\"]",
        "{}",
        "\"\\u0030x4b53\"",
    ];
    for form in forms {
        assert!(refused(text.replace(&own, &format!("\"chainId\":{form}")).as_bytes()), "{form}");
    }
}

#[test]
fn fields_twice_are_refused_even_if_equal() {
    let text = good();
    let chain_id = format!("\"chainId\":\"{CHAIN_ID:#x}\"");
    let twice = text.replace(&chain_id, &format!("{chain_id},{chain_id}"));
    assert!(refused(twice.as_bytes()));
}

#[test]
fn limits_of_headers_and_nodes_hold_at_their_edges() {
    // Too many of either stop at step 1; as many as allowed are read and fail later.
    let text = good();
    let key = Network::new(1).key();
    let step = |text: &str| verify(text.as_bytes(), &key, NOW_MS, None).step().number();
    let headers = |count: usize| {
        let start = text.find("\"headers\":[").unwrap();
        let end = start + text[start..].find(']').unwrap() + 1;
        text.replace(&text[start..end], &format!("\"headers\":[{}]", vec!["\"0x\""; count].join(",")))
    };
    assert_eq!((step(&headers(0)), step(&headers(1)), step(&headers(256)), step(&headers(257))), (1, 2, 2, 1));
    let nodes = |count: usize| {
        let start = text.find("\"accountNodes\":[").unwrap();
        let end = start + text[start..].find(']').unwrap() + 1;
        text.replace(&text[start..end], &format!("\"accountNodes\":[{}]", vec!["\"0x\""; count].join(",")))
    };
    assert_eq!((step(&nodes(0)), step(&nodes(65)), step(&nodes(66))), (4, 4, 1));
}

#[test]
fn a_wrong_network_key_stops_at_the_certificate() {
    let text = good();
    for key in [[0; 96], [0xff; 96], Network::new(2).key()] {
        let report = verify(text.as_bytes(), &key, NOW_MS, None);
        assert!(matches!(report.verdict, Verdict::NotProved(_)));
        assert_eq!((report.step().number(), report.block), (5, None));
    }
}
