//! Reasons why something does not run: a code, a bit, and what the owner can do about it.

/// What a reason stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope(u8);

impl Scope {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Processors.
    pub const CPU: Self = Self(1);
    /// Graphics cards.
    pub const GPU: Self = Self(2);
    /// Transfers.
    pub const NETWORK: Self = Self(4);
    /// Taking and beginning units.
    pub const UNITS: Self = Self(8);
    /// All computing.
    pub const COMPUTE: Self = Self(1 | 2 | 8);

    /// Both together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This one without the other.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether anything of the other is in this one.
    #[must_use]
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $bit:literal, $code:literal, $remedy:literal;)*) => {
        /// Why something does not run. The number is the bit; those up to 11 are the ones of BOINC's `SUSPEND_REASON`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Reason { $($(#[$doc])* $name = $bit),* }

        impl Reason {
            /// All of them, by bit.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The word for machines; it never changes its meaning.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code),* }
            }

            /// What the owner can do, one sentence.
            #[must_use]
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$name => $remedy),* }
            }
        }
    };
}

reasons! {
    /// The machine runs on battery.
    OnBattery = 0, "on-battery", "Plug it in, or set power.on_battery = true.";
    /// Somebody uses the machine.
    InUse = 1, "in-use", "Wait, or set in_use.cpu = true (for graphics cards in_use.gpu = true).";
    /// The owner said so.
    OwnerPaused = 2, "owner-paused", "Run `keystead provide --dir DIR --resume`.";
    /// Outside of the hours.
    OutsideHours = 3, "outside-hours", "Wait, or change hours (for the network network_hours).";
    /// The disk's limits are reached.
    DiskFull = 5, "disk-full", "Free space, or change disk.*.";
    /// Nobody was there for a long time.
    NoInput = 7, "no-input", "Touch the machine, or set presence.no_input_minutes = 0.";
    /// The start is too recent.
    StartDelay = 8, "start-delay", "Wait, or set presence.start_delay_seconds = 0.";
    /// A program wants the machine for itself.
    Exclusive = 9, "exclusive", "End that program, or take it out of exclusive.*.";
    /// Other programs need the processors.
    OtherLoad = 10, "other-load", "Wait, or raise other_load_percent.";
    /// The traffic limit is reached.
    Quota = 11, "quota", "Wait, or raise network.transfer_mb_max.";
    /// The battery is too empty.
    BatteryLow = 13, "battery-low", "Let it charge, or lower power.battery_percent_min.";
    /// The battery is too hot.
    BatteryHot = 14, "battery-hot", "Let it cool, or raise power.battery_celsius_max.";
    /// The processor is too hot.
    CpuHot = 15, "cpu-hot", "Let it cool, lower cores_percent, or raise heat.cpu_celsius_max.";
    /// A graphics card is too hot.
    GpuHot = 16, "gpu-hot", "Let it cool, lower gpu_percent, or raise heat.gpu_celsius_max.";
    /// A graphics card draws too much.
    GpuPower = 17, "gpu-power", "Lower the card's own power limit, or raise heat.gpu_watts_max.";
    /// Power is too dear, or its price is not known.
    Price = 18, "price", "Wait, raise energy.price_max, or say the price in energy.price.";
    /// Power is too dirty, or that is not known.
    Carbon = 19, "carbon", "Wait, raise energy.carbon_max, or say the intensity in energy.carbon.";
    /// `finish_by` has passed.
    FinishBy = 20, "finish-by", "Change or remove work.finish_by.";
    /// The current unit is ended, no other is begun.
    Finishing = 21, "finishing", "Run `keystead provide --dir DIR --resume` to take work again.";
    /// The connection is metered.
    Metered = 22, "metered", "Use another connection, or set network.metered = true.";
    /// The connection is not Wi-Fi.
    NoWifi = 23, "no-wifi", "Use Wi-Fi, or set network.wifi_only = false.";
    /// The profile of an idle machine forbids it.
    NotInUse = 24, "not-in-use", "Set not_in_use.cpu (or not_in_use.gpu) = true.";
    /// The hours or `finish_by` end soon.
    EndsSoon = 25, "ends-soon", "Nothing, or lower work.finish_lead_minutes.";
    /// The preferences cannot be read or understood: those from before hold, or nothing is computed where there are none.
    Preferences = 26, "preferences", "Correct owner.toml: what it says takes effect as soon as it can be read.";
    /// Workers use too much swap space, or did so a moment ago.
    Swap = 27, "swap", "Wait, lower memory_percent, or raise memory.swap_percent.";
    /// Nobody watches for the owner: what does so ended, or stands still.
    Unwatched = 28, "unwatched", "Wait: watching begins again by itself. If it does not, the program ends and says so; start it again.";
}

impl Reason {
    /// The reason's bit in [`Reasons`].
    #[must_use]
    pub const fn bit(self) -> u64 {
        1 << (self as u8)
    }
}

/// A set of reasons.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Reasons(u64);

impl Reasons {
    /// Adds one.
    pub const fn add(&mut self, reason: Reason) {
        self.0 |= reason.bit();
    }

    /// Whether it is in.
    #[must_use]
    pub const fn holds(self, reason: Reason) -> bool {
        self.0 & reason.bit() != 0
    }

    /// The bits.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// All in the set, by bit.
    pub fn iter(self) -> impl Iterator<Item = Reason> {
        Reason::ALL.iter().copied().filter(move |reason| self.holds(*reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_those_of_boinc_where_boinc_has_the_reason() {
        let boinc = [
            (Reason::OnBattery, 1),
            (Reason::InUse, 2),
            (Reason::OwnerPaused, 4),
            (Reason::OutsideHours, 8),
            (Reason::DiskFull, 32),
            (Reason::NoInput, 128),
            (Reason::StartDelay, 256),
            (Reason::Exclusive, 512),
            (Reason::OtherLoad, 1_024),
            (Reason::Quota, 2_048),
        ];
        for (reason, bit) in boinc {
            assert_eq!(reason.bit(), bit, "{reason:?}");
        }
    }

    #[test]
    fn no_two_reasons_share_a_bit_or_a_code_and_each_has_a_remedy() {
        let mut all = Reasons::default();
        let mut codes: Vec<&str> = Vec::new();
        for reason in Reason::ALL {
            assert!(!all.holds(*reason) && !codes.contains(&reason.code()), "{reason:?}");
            all.add(*reason);
            codes.push(reason.code());
            assert!(reason.remedy().ends_with('.'));
        }
        assert_eq!(all.iter().count(), Reason::ALL.len());
    }
}
