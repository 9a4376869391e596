//! What of an offer's power and of its supply's carbon is counted: what its provider claims, or the worst that is known where it claims nothing.
//!
//! # Design
//! Nobody can measure either from afar. A claim can be false; silence must not be worth more than one. So who says nothing is counted as more than any one
//! device draws, from a supply as dirty as the dirtiest, each apart from the other. Spec: specs/0010-capability.md §10.

/// Power of a device whose provider does not say it, milliwatts: above a server with four processors, and above any one graphics card.
pub const POWER_MW_UNSAID: u32 = 2_000_000;
/// Carbon dioxide of a kilowatt-hour of a supply that is not described, grams: what old plants that burn lignite give. No country's mean is above 1,000.
pub const CARBON_G_PER_KWH_UNSAID: u32 = 1_200;

/// Power and carbon as a plan counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Power while it works, milliwatts.
    pub power_mw: u32,
    /// Carbon dioxide equivalent of a kilowatt-hour, grams.
    pub carbon_g_per_kwh: u32,
    /// Whether the provider claims both.
    pub is_claimed: bool,
}

impl Counted {
    /// Of what a record claims, where 0 means that nothing is said.
    #[must_use]
    pub const fn of(power_mw: u32, carbon_g_per_kwh: u32) -> Self {
        Self {
            power_mw: if power_mw == 0 { POWER_MW_UNSAID } else { power_mw },
            carbon_g_per_kwh: if carbon_g_per_kwh == 0 { CARBON_G_PER_KWH_UNSAID } else { carbon_g_per_kwh },
            is_claimed: power_mw != 0 && carbon_g_per_kwh != 0,
        }
    }

    /// Micrograms of carbon dioxide a second while it works, rounded down: below 2^28 for what a record can hold.
    #[must_use]
    pub fn ug_per_s(self) -> u32 {
        let product = u64::from(self.power_mw).wrapping_mul(u64::from(self.carbon_g_per_kwh));
        u32::try_from(product.wrapping_div(3_600)).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::claimed::{CARBON_G_MAX, POWER_MW_MAX};

    #[test]
    fn each_thing_that_is_not_said_counts_as_the_worst_and_what_is_said_as_it_is() {
        let counted = |power, carbon| {
            let Counted { power_mw, carbon_g_per_kwh, is_claimed } = Counted::of(power, carbon);
            (power_mw, carbon_g_per_kwh, is_claimed)
        };
        assert_eq!(counted(0, 0), (POWER_MW_UNSAID, CARBON_G_PER_KWH_UNSAID, false));
        assert_eq!(counted(65_000, 0), (65_000, CARBON_G_PER_KWH_UNSAID, false));
        assert_eq!(counted(0, 381), (POWER_MW_UNSAID, 381, false));
        assert_eq!(counted(1, 1), (1, 1, true));
    }

    #[test]
    fn a_kilowatt_for_an_hour_from_a_supply_of_so_many_grams_makes_so_many() {
        // 1 kW at 381 g for 3,600 s: 381 g.
        assert_eq!(u64::from(Counted::of(1_000_000, 381).ug_per_s()).wrapping_mul(3_600), 380_998_800);
        assert!(Counted::of(POWER_MW_MAX, CARBON_G_MAX).ug_per_s() < 1 << 28);
        assert_eq!(Counted::of(1, 1).ug_per_s(), 0);
    }
}
