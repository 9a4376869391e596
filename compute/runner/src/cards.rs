//! Which of the adapters that drivers list are cards of this machine, each once, and in which order.
//!
//! # Design
//! A pure function of what drivers say, so that machines of all sorts stand in tests. A driver's list is no list of cards: one card may stand in it once for
//! each interface and driver, and programs that compile for the processor stand beside the cards. Spec: specs/0010-capability.md §3.3.1.
//!
//! # Invariants
//! Every process of a machine whose drivers say the same finds the same cards in the same order: workers know an adapter by its place in it. A program on the
//! processor stands in it alone, and only where there is no card.

use crate::report::DeviceKind;
use std::collections::BTreeMap;

/// Cards of one machine that are used: more than a mainboard has slots for.
pub const CARDS_MAX: usize = 16;
/// Words in names of programs that act as cards: those of `keystead-market`, which refuses them in a record; a test of the node compares both.
pub const SOFTWARE_NAMES: [&str; 5] = ["llvmpipe", "lavapipe", "swiftshader", "softpipe", "basic render"];

/// An adapter as its driver lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) name: String,
    pub(crate) kind: DeviceKind,
    /// PCI numbers of its maker and its model.
    pub(crate) ids: (u32, u32),
    /// Where it is plugged in; empty if the driver does not say.
    pub(crate) bus: String,
    /// The interface, best first: 0 Vulkan, 1 Metal, 2 DX12.
    pub(crate) interface: u8,
    pub(crate) driver: String,
}

impl Listed {
    /// Whether it may be a card: what its driver calls itself decides, and its name.
    fn is_card(&self) -> bool {
        let name = self.name.to_ascii_lowercase();
        let is_software = SOFTWARE_NAMES.iter().any(|word| name.contains(word));
        self.kind.is_gpu() && self.ids.0 != 0 && !is_software
    }

    /// By which its driver shows it: a second way shows the same cards again.
    fn way(&self) -> (u8, &str) {
        (self.interface, &self.driver)
    }
}

/// The places in `listed` of this machine's cards, best first: those with memory of their own, then by name, then by slot; at most [`CARDS_MAX`]. Where there is
/// no card, the best of the programs that act as one; nothing of nothing.
pub(crate) fn cards(listed: &[Listed]) -> Vec<usize> {
    let mut order: Vec<(usize, &Listed)> = listed.iter().enumerate().collect();
    // Equal ones stay in the driver's order.
    order.sort_by_cached_key(|(_, one)| (one.kind, one.name.clone(), one.bus.to_ascii_lowercase(), one.interface));
    let best = order.first().map(|(place, _)| *place);
    order.retain(|(_, one)| one.is_card());
    let mut models: BTreeMap<(u32, u32), Vec<(usize, &Listed)>> = BTreeMap::new();
    for (place, one) in &order {
        models.entry(one.ids).or_default().push((*place, *one));
    }
    let kept: Vec<usize> = models.into_values().flat_map(|model| each_once(&model)).collect();
    let cards: Vec<usize> =
        order.iter().map(|(place, _)| *place).filter(|place| kept.contains(place)).take(CARDS_MAX).collect();
    if cards.is_empty() { best.into_iter().collect() } else { cards }
}

/// Of the adapters of one model each card once. Those with a slot are told apart by it. Of the others there are as many as the way shows that shows most, less
/// those that are known by their slots: a way that names no slots shows these, too.
fn each_once(model: &[(usize, &Listed)]) -> Vec<usize> {
    let mut slots: BTreeMap<String, (usize, &Listed)> = BTreeMap::new();
    let mut ways: BTreeMap<(u8, &str), Vec<usize>> = BTreeMap::new();
    for (place, one) in model {
        if one.bus.is_empty() {
            ways.entry(one.way()).or_default().push(*place);
            continue;
        }
        let seen = slots.entry(one.bus.to_ascii_lowercase()).or_insert((*place, *one));
        if one.way() < seen.1.way() {
            *seen = (*place, *one);
        }
    }
    let known = slots.len();
    // The first of those that show as many, which is the better interface.
    let most = ways.into_values().rev().max_by_key(Vec::len).unwrap_or_default();
    slots.into_values().map(|(place, _)| place).chain(most.into_iter().skip(known)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NVIDIA: (u32, u32) = (0x10de, 0x2704);

    fn listed(name: &str, kind: DeviceKind, ids: (u32, u32), bus: &str) -> Listed {
        Listed { name: name.to_owned(), kind, ids, bus: bus.to_owned(), interface: 0, driver: "driver".to_owned() }
    }

    fn card(bus: &str) -> Listed {
        listed("Example RTX", DeviceKind::Discrete, NVIDIA, bus)
    }

    fn lavapipe(kind: DeviceKind) -> Listed {
        listed("llvmpipe (LLVM 15.0.6, 256 bits)", kind, (0x10005, 0), "")
    }

    #[test]
    fn four_cards_of_one_model_are_four_in_the_order_of_their_slots() {
        let slots = ["0000:81:00.0", "0000:01:00.0", "0000:C1:00.0", "0000:41:00.0"];
        assert_eq!(cards(&slots.map(card)), [1, 3, 0, 2]);
        // A driver that names no slots shows each once: its order counts.
        assert_eq!(cards(&["", "", "", ""].map(card)), [0, 1, 2, 3]);
    }

    #[test]
    fn a_card_comes_before_what_shares_the_processors_memory_and_programs_count_only_where_there_is_neither() {
        let intel = listed("Example Graphics", DeviceKind::Integrated, (0x8086, 0x46a6), "0000:00:02.0");
        let amd = listed("Example Radeon", DeviceKind::Discrete, (0x1002, 0x744c), "0000:03:00.0");
        assert_eq!(cards(&[lavapipe(DeviceKind::Cpu), intel.clone(), amd]), [2, 1]);
        assert_eq!(cards(&[lavapipe(DeviceKind::Cpu), intel]), [1]);
    }

    #[test]
    fn a_program_is_never_a_card_and_runs_kernels_where_there_is_none() {
        let warp = listed("Microsoft Basic Render Driver", DeviceKind::Virtual, (0x1414, 0x8c), "");
        let swiftshader = listed("SwiftShader Device", DeviceKind::Discrete, (0x1ae0, 0xc0de), "");
        let unsaid = listed("somebody", DeviceKind::Other, NVIDIA, "");
        let nobody = listed("a card without a maker", DeviceKind::Discrete, (0, 7), "");
        for one in
            [warp.clone(), swiftshader, unsaid, nobody, lavapipe(DeviceKind::Cpu), lavapipe(DeviceKind::Discrete)]
        {
            assert!(!one.is_card(), "{one:?}");
            assert_eq!(cards(std::slice::from_ref(&one)), [0], "as the only one it is used, and never sold as a card");
            assert_eq!(cards(&[one, card("")]), [1], "beside a card it is not used");
        }
        assert_eq!(cards(&[lavapipe(DeviceKind::Cpu), warp]), [1], "one of them");
        assert!(cards(&[]).is_empty());
    }

    #[test]
    fn a_card_that_two_interfaces_or_two_drivers_show_is_one() {
        let dx12 = |bus: &str| Listed { interface: 2, driver: String::new(), ..card(bus) };
        let (one, two) = ("0000:01:00.0", "0000:02:00.0");
        // Both name the slot; the better interface counts.
        assert_eq!(cards(&[dx12(one), card(one)]), [1]);
        assert_eq!(cards(&[dx12(one), card(&one.to_uppercase()), card(two), dx12(two)]), [1, 2]);
        // One names no slots, or none does.
        assert_eq!(cards(&[dx12(""), card(one)]), [1]);
        assert_eq!(cards(&[card(""), card(""), dx12(""), dx12("")]), [0, 1]);
        // A second driver knows a card that the first does not.
        assert_eq!(cards(&[card(one), dx12(""), dx12("")]).len(), 2);
        // Two drivers, two names, one slot.
        let other = Listed { name: "Example RTX (OPEN)".to_owned(), driver: "open".to_owned(), ..card(one) };
        assert_eq!(cards(&[other, card(one)]), [1]);
        // Another model is another card, whatever its slot says.
        let model = Listed { ids: (0x10de, 0x9999), ..card("") };
        assert_eq!(cards(&[card(""), model]).len(), 2);
    }

    #[test]
    fn of_more_cards_than_are_used_the_first_are() {
        let slots: Vec<Listed> = (0..17).map(|slot| card(&format!("0000:{slot:02x}:00.0"))).collect();
        assert_eq!(cards(&slots), (0..CARDS_MAX).collect::<Vec<_>>());
        assert_eq!(cards(&slots[..CARDS_MAX]).len(), CARDS_MAX);
    }
}
