//! The probes on whole machines: a notebook, a gaming machine, a server, a telephone and a virtual machine as trees of files, and hostile trees.
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects)] // A test: a panic is a failure.

mod tree;

use keystead_owner::{
    Reading, Unknown,
    probe::{
        FILE_BYTES_MAX, Machine, Root,
        activity::{self, Sign},
        energy::{self, Meter},
        memory, power,
        processor::{self, LoadMeter, Resource},
        storage,
        surroundings::Form,
    },
};
use std::{
    fs,
    time::{Duration, SystemTime},
};
use tree::Tree;

fn value<T: Clone>(reading: &Reading<T>) -> Option<T> {
    reading.value().cloned()
}

#[test]
fn a_notebook_on_battery_is_read_as_one() {
    let tree = Tree::machine("laptop");
    let machine = Machine::read(&tree.root);
    assert_eq!(value(&machine.surroundings.form), Some(Form::Laptop));
    assert_eq!(value(&machine.processors.model).unwrap(), "13th Gen Intel(R) Core(TM) i7-1365U");
    let counts = [&machine.processors.sockets, &machine.processors.cores, &machine.processors.threads].map(value);
    assert_eq!(counts, [Some(1), Some(4), Some(8)]);
    assert_eq!(value(&machine.processors.khz_max), Some(5_200_000));
    assert!(value(&machine.processors.flags).unwrap().contains(&"avx2".to_owned()));
    assert_eq!(value(&machine.memory.total), Some(16_106_324 * 1_024));
    assert_eq!(value(&machine.group.memory_bytes), Some(12_884_901_888), "the limit of the group above ours");
    assert_eq!(value(&machine.group.milli_cpus), None);
    assert_eq!(value(&machine.supply.on_battery), Some(true));
    assert_eq!(value(&machine.supply.percent), Some(63), "the mouse's battery is not the machine's");
    assert_eq!(value(&machine.supply.millicelsius), Some(31_800));
    assert_eq!(value(&machine.cpu_millicelsius), Some(59_000), "not the zone of the case, not the disk");
    assert_eq!(machine.cards.len(), 1);
    assert_eq!(value(&machine.cards[0].driver).unwrap(), "i915");
    assert!(machine.cards[0].has_screen && value(&machine.cards[0].millicelsius).is_none());
    assert_eq!(value(&machine.connection.wifi), Some(true));
    assert_eq!(value(&machine.connection.metered), Some(true), "the owner told NetworkManager so");
    let counters = value(&machine.counters).unwrap();
    assert_eq!(counters.len(), 1, "cores, graphics, the whole platform and the twin would count twice: {counters:?}");
    let disk = storage::disk(&tree.root, tree.folder.path());
    assert_eq!((value(&disk.total), value(&disk.free)), (Some(512_110_190_592), Some(201_863_462_912)));
    assert_eq!(value(&processor::pressure(&tree.root, Resource::Cpu)), Some(125));
    let programs = value(&processor::programs(&tree.root)).unwrap();
    assert!(programs.contains(&"firefox-bin".to_owned()) && programs.contains(&"gnome-shell".to_owned()));
}

#[test]
fn a_plug_that_goes_in_is_seen() {
    let tree = Tree::machine("laptop");
    for (file, content) in [("AC/online", "1\n"), ("BAT0/status", "Charging\n"), ("BAT0/status", "Not charging\n")] {
        tree.write(&format!("sys/class/power_supply/{file}"), content);
        assert_eq!(value(&power::supply(&tree.root).on_battery), Some(false), "{file}");
    }
    tree.write("sys/class/power_supply/AC/online", "0\n");
    tree.write("sys/class/power_supply/BAT0/status", "Discharging\n");
    tree.write("sys/class/power_supply/ucsi-source-psy-USBC000:001/online", "1\n");
    assert_eq!(value(&power::supply(&tree.root).on_battery), Some(false), "fed through USB");
    tree.write("sys/class/power_supply/ucsi-source-psy-USBC000:001/online", "0\n");
    tree.write("sys/class/power_supply/BAT0/status", "Unknown\n");
    assert_eq!(value(&power::supply(&tree.root).on_battery), Some(true), "no plug is in");
    for gone in ["AC", "ucsi-source-psy-USBC000:001"] {
        tree.remove(&format!("sys/class/power_supply/{gone}"));
    }
    assert!(power::supply(&tree.root).on_battery.value().is_none(), "nobody says");
}

#[test]
fn a_battery_without_a_percentage_is_computed() {
    let tree = Tree::machine("laptop");
    tree.remove("sys/class/power_supply/BAT0/capacity");
    assert_eq!(value(&power::supply(&tree.root).percent), None);
    for (quantity, now, full, expected) in [
        ("charge", "2400000", "4800000", 50),
        ("energy", "57000000", "57500000", 99),
        ("energy", "9", "0", 50),
        ("energy", "7", "5", 100),
    ] {
        tree.write(&format!("sys/class/power_supply/BAT0/{quantity}_now"), now);
        tree.write(&format!("sys/class/power_supply/BAT0/{quantity}_full"), full);
        assert_eq!(value(&power::supply(&tree.root).percent), Some(expected), "{quantity} {now}/{full}");
    }
}

#[test]
fn a_gaming_machine_has_two_cards_and_knows_what_it_cannot_know() {
    let tree = Tree::machine("desktop");
    let machine = Machine::read(&tree.root);
    assert_eq!(value(&machine.surroundings.form), Some(Form::Desktop));
    assert_eq!(value(&machine.supply.on_battery), Some(false));
    assert_eq!(value(&machine.supply.percent), None);
    assert_eq!(value(&machine.group.memory_bytes), Some(8_589_934_592));
    assert_eq!(value(&machine.group.milli_cpus), Some(12_500));
    assert_eq!(value(&machine.cpu_millicelsius), Some(47_125));
    let [nvidia, own] = &machine.cards[..] else { panic!("{:?}", machine.cards) };
    assert_eq!(value(&nvidia.model).unwrap(), "NVIDIA GeForce RTX 4080");
    assert_eq!(value(&nvidia.ids).unwrap(), "0x10de:0x2704");
    assert!(nvidia.has_screen && !own.has_screen);
    assert!(nvidia.millicelsius.to_string().contains("NVIDIA's library alone has it"));
    assert_eq!(value(&own.memory_bytes), Some(536_870_912));
    assert_eq!((value(&own.milliwatts), value(&own.milliwatts_max)), (Some(22_073), Some(65_000)));
    assert_eq!((value(&own.millicelsius), value(&own.busy_percent)), (Some(45_000), Some(3)));
    assert_eq!(value(&machine.connection.interface).unwrap(), "enp6s0", "the smaller metric");
    assert_eq!((value(&machine.connection.wifi), value(&machine.connection.metered)), (Some(false), Some(false)));
    let programs = value(&processor::programs(&tree.root)).unwrap();
    assert!(programs.contains(&"eldenring.exe".to_owned()));
    assert!(programs.contains(&"TheLongestGameName.exe".to_owned()), "the kernel cut its name");
}

#[test]
fn a_server_in_a_container_has_eight_cards_and_four_counters() {
    let tree = Tree::machine("server");
    let machine = Machine::read(&tree.root);
    assert_eq!(value(&machine.surroundings.form), Some(Form::Server));
    assert_eq!(value(&machine.surroundings.container).unwrap(), "docker");
    assert_eq!(value(&machine.surroundings.hypervisor), None);
    let counts = [&machine.processors.sockets, &machine.processors.cores, &machine.processors.threads].map(value);
    assert_eq!(counts, [Some(2), Some(12), Some(24)]);
    let h100 = machine.cards.iter().filter(|card| value(&card.model).is_some_and(|model| model.contains("H100")));
    assert_eq!(h100.count(), 8);
    assert_eq!(value(&machine.cpu_millicelsius), Some(67_000), "the hotter socket");
    assert_eq!(value(&machine.group.memory_bytes), Some(68_719_476_736), "version 1");
    assert_eq!(value(&machine.group.milli_cpus), None, "a quota of -1 is none");
    let counters = value(&machine.counters).unwrap();
    let names: Vec<&str> = counters.iter().map(|counter| counter.name.as_str()).collect();
    assert_eq!(names, ["package-0", "dram", "package-1", "dram"]);
    assert!(activity::watched(&tree.root).look(&tree.root).value().is_none(), "headless is unknown, not idle");
}

#[test]
fn a_telephone_is_held_in_the_hand_and_its_network_is_metered() {
    let tree = Tree::machine("phone");
    let machine = Machine::read(&tree.root);
    assert_eq!(value(&machine.surroundings.form), Some(Form::HandHeld));
    assert_eq!(value(&machine.processors.model).unwrap(), "Pine64 PinePhone (1.2)");
    assert_eq!(value(&machine.processors.cores), Some(4));
    assert!(value(&machine.processors.flags).unwrap().contains(&"asimd".to_owned()));
    assert_eq!(value(&machine.supply.on_battery), Some(false));
    assert_eq!((value(&machine.supply.percent), value(&machine.supply.millicelsius)), (Some(71), Some(41_200)));
    assert_eq!(value(&machine.cpu_millicelsius), Some(52_311));
    assert_eq!(value(&machine.connection.metered), Some(true));
    assert!(value(&machine.counters).is_none());
    let watched = activity::watched(&tree.root).look(&tree.root);
    assert_eq!(value(&watched).unwrap(), [Sign { path: "proc/interrupts".to_owned(), mark: 4_410 }]);
}

#[test]
fn a_virtual_machine_says_what_it_lacks() {
    let tree = Tree::machine("virtual");
    let machine = Machine::read(&tree.root);
    assert_eq!(value(&machine.surroundings.form), Some(Form::Virtual));
    assert_eq!(value(&machine.surroundings.hypervisor).unwrap(), "a hypervisor without a name");
    assert_eq!(value(&machine.supply.on_battery), Some(false));
    assert!(machine.cards.is_empty());
    for unknown in [value(&machine.cpu_millicelsius).is_none(), value(&machine.connection.metered).is_none()] {
        assert!(unknown);
    }
    assert_eq!(
        machine.counters.to_string_for_test(),
        "unknown: this machine has no energy counter (as in most virtual machines)"
    );
    let json = machine.to_json();
    assert_eq!(json["processor"]["threads"]["value"], 2);
    assert_eq!(json["power"]["energy_microjoules"]["value"], serde_json::Value::Null);
}

/// The reason alone, as lists of counters have no text of their own.
trait Reason {
    fn to_string_for_test(&self) -> String;
}

impl<T> Reason for Reading<T> {
    fn to_string_for_test(&self) -> String {
        match self {
            Self::Known(_, source) => format!("known from {source}"),
            Self::Unknown(why) => format!("unknown: {why}"),
        }
    }
}

#[test]
fn an_empty_root_knows_nothing_and_says_so() {
    let tree = Tree::empty();
    let machine = Machine::read(&tree.root);
    assert!(machine.cards.is_empty() && machine.memory.total.value().is_none());
    assert!(matches!(machine.supply.on_battery, Reading::Unknown(Unknown::Absent(_))));
    assert!(matches!(processor::programs(&tree.root), Reading::Unknown(Unknown::Absent(_))));
    assert!(matches!(LoadMeter::default().sample(&tree.root, &[1], 0), Reading::Unknown(Unknown::Absent(_))));
    assert!(matches!(storage::disk(&tree.root, tree.folder.path()).free, Reading::Unknown(Unknown::Absent(_))));
    assert!(activity::watched(&tree.root).look(&tree.root).value().is_none());
}

#[test]
fn the_machine_itself_can_be_read() {
    let root = Root::new("/");
    let machine = Machine::read(&root);
    if cfg!(target_os = "linux") {
        assert!(value(&machine.processors.threads).is_some_and(|threads| threads > 0));
        assert!(value(&machine.memory.total).is_some_and(|bytes| bytes > 1 << 20));
        let disk = storage::disk(&root, &std::env::temp_dir());
        assert!(value(&disk.total).unwrap() >= value(&disk.free).unwrap());
        let mut meter = LoadMeter::default();
        assert_eq!(meter.sample(&root, &[std::process::id()], 0), Reading::Unknown(Unknown::NotYet));
    }
}

/// Every file of every machine is replaced by garbage in turn: nothing panics, nothing is read without bound.
#[test]
fn no_content_of_any_file_breaks_the_probes_slow() {
    let garbage: [&[u8]; 8] = [
        b"",
        b"\n",
        b"-9223372036854775808\n",
        b"18446744073709551615\n",
        b"max 0\n",
        &[0xff, 0xfe, 0x00, b'\n', b':', b'='],
        b"cpu  18446744073709551615 18446744073709551615 1 1 1 1 1 1 1 1\n",
        b"a:b:c\n:::\n===\nprocessor\t:\nphysical id :\nIface\n00000000 00000000\n1: 18446744073709551615 18446744073709551615 i8042\n",
    ];
    for name in ["laptop", "desktop", "phone", "virtual"] {
        let tree = Tree::machine(name);
        let mut files = Vec::new();
        collect(tree.folder.path(), &mut files);
        for file in files {
            let before = fs::read(&file).unwrap();
            for content in garbage {
                fs::write(&file, content).unwrap();
                read_everything(&tree.root);
            }
            fs::write(&file, before).unwrap();
        }
    }
}

fn collect(folder: &std::path::Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { collect(&path, files) } else { files.push(path) }
    }
}

fn read_everything(root: &Root) {
    let machine = Machine::read(root);
    let _ = machine.to_json();
    let mut meter = Meter::default();
    if let Some(counters) = energy::counters(root).value() {
        meter.look(counters);
        meter.look(counters);
    }
    let mut load = LoadMeter::default();
    load.sample(root, &[1, 3_000], 0);
    load.sample(root, &[1, 3_000], 1);
    let watched = activity::watched(root);
    let _ = (watched.look(root), watched.last_unix_ms(root), processor::programs(root));
    let _ = processor::pressure(root, Resource::Memory);
}

#[test]
fn huge_files_names_and_folders_are_cut() {
    let tree = Tree::machine("laptop");
    let big = vec![b'7'; usize::try_from(FILE_BYTES_MAX).unwrap() + 1];
    for file in ["sys/class/power_supply/BAT0/capacity", "sys/class/power_supply/BAT0/type", "proc/meminfo"] {
        tree.write(file, &big);
    }
    let machine = Machine::read(&tree.root);
    assert!(matches!(machine.memory.total, Reading::Unknown(Unknown::Malformed(_))));
    assert_eq!(value(&machine.supply.on_battery), Some(false), "no battery that says that it is one");
    for at in 0..300 {
        tree.write(&format!("sys/class/power_supply/BAT{at}/type"), "Battery\n");
        tree.write(&format!("sys/class/hwmon/hwmon{at}/name"), "coretemp\n");
    }
    read_everything(&tree.root);
}

#[cfg(unix)]
#[test]
fn links_in_circles_and_folders_in_place_of_files_are_survived() {
    let tree = Tree::machine("laptop");
    let at = |path: &str| tree.folder.path().join(path);
    tree.remove("sys/class/power_supply/BAT0/status");
    std::os::unix::fs::symlink(at("sys/class/power_supply/BAT0/status"), at("sys/class/power_supply/BAT0/status"))
        .unwrap();
    tree.remove("proc/cpuinfo");
    fs::create_dir(at("proc/cpuinfo")).unwrap();
    read_everything(&tree.root);
    assert!(Machine::read(&tree.root).processors.model.value().is_none());
}

#[test]
fn the_load_of_others_is_what_the_machine_did_less_what_we_did() {
    let tree = Tree::machine("laptop");
    let stat = |busy: u64, idle: u64, steal: u64| {
        tree.write("proc/stat", format!("cpu  {busy} 0 0 {idle} 0 0 0 {steal} 0 0\n"));
    };
    let own = |user: u64, children: u64| {
        tree.write(
            "proc/3000/stat",
            format!("3000 (key) stead) R 1 3000 3000 0 -1 0 0 0 0 0 {user} 0 {children} 0 20 0\n"),
        );
    };
    let mut meter = LoadMeter::default();
    stat(1_000, 1_000, 0);
    own(100, 0);
    assert_eq!(meter.sample(&tree.root, &[3_000], 0), Reading::Unknown(Unknown::NotYet));
    stat(1_600, 1_300, 100);
    own(300, 200);
    let load = meter.sample(&tree.root, &[3_000], 10_000).value().copied().unwrap();
    assert_eq!((load.permille, load.taken_ms), (200, 10_000), "600 busy of 1000, 400 of them ours");
    stat(1_700, 1_300, 100);
    own(900, 900);
    assert_eq!(meter.sample(&tree.root, &[3_000], 20_000).value().unwrap().permille, 0, "never below nothing");
    assert!(meter.sample(&tree.root, &[3_000], 30_000).value().is_none(), "no time passed");
    stat(10, 10, 0);
    assert!(meter.sample(&tree.root, &[3_000], 40_000).value().is_none(), "counters that went back");
    stat(110, 10, 0);
    let gone = meter.sample(&tree.root, &[3_000, 99_999], 50_000);
    assert_eq!(gone.value().unwrap().permille, 1_000, "a process that ended has no time of its own");
}

#[test]
fn energy_over_a_job_is_exact_when_one_of_four_counters_wraps() {
    let tree = Tree::machine("server");
    let set =
        |zone: &str, value: u64| tree.write(&format!("sys/class/powercap/{zone}/energy_uj"), format!("{value}\n"));
    let mut meter = Meter::default();
    set("intel-rapl:0", 262_143_328_850);
    meter.look(energy::counters(&tree.root).value().unwrap());
    set("intel-rapl:0", 999);
    set("intel-rapl:1:0", 30_000_500_001);
    let used = meter.look(energy::counters(&tree.root).value().unwrap());
    assert_eq!((used.microjoules, used.gaps), (1_000 + 500_000, 0));
    tree.remove("sys/class/powercap/intel-rapl:1");
    let used = meter.look(energy::counters(&tree.root).value().unwrap());
    assert_eq!((used.microjoules, used.gaps), (501_000, 1));
}

#[test]
fn keyboards_mice_and_terminals_are_watched_and_other_usb_devices_are_not() {
    let tree = Tree::machine("desktop");
    let watched = activity::watched(&tree.root);
    let look = || watched.look(&tree.root).value().cloned().unwrap();
    let before = look();
    tree.write("sys/bus/usb/devices/1-7/urbnum", "99999\n");
    tree.write("sys/bus/usb/devices/2-1/urbnum", "99999\n");
    tree.write("sys/bus/usb/devices/usb1/urbnum", "99999\n");
    assert_eq!(look(), before, "a power supply, a disk, a hub");
    tree.write("sys/bus/usb/devices/1-3/urbnum", "48211\n");
    let after_key = look();
    assert_ne!(after_key, before);
    let terminal = fs::File::open(tree.folder.path().join("dev/pts/0")).unwrap();
    terminal
        .set_times(fs::FileTimes::new().set_accessed(SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000)))
        .unwrap();
    assert_ne!(look(), after_key);
    assert_eq!(watched.last_unix_ms(&tree.root), Some(1_900_000_000_000));
}

#[test]
fn a_screen_without_an_input_device_that_can_be_watched_is_unknown() {
    let tree = Tree::machine("desktop");
    tree.remove("sys/bus");
    assert!(activity::watched(&tree.root).look(&tree.root).value().is_none(), "terminals say nothing about its user");
    tree.write("sys/class/drm/card0-DP-1/status", "disconnected\n");
    assert!(activity::watched(&tree.root).look(&tree.root).value().is_some(), "without a screen they are all there is");
}

#[test]
fn a_notebook_sees_its_keyboard_and_touchpad_through_their_interrupts() {
    let tree = Tree::machine("laptop");
    let watched = activity::watched(&tree.root);
    let mark = || {
        let signs = watched.look(&tree.root).value().cloned().unwrap();
        signs.into_iter().find(|sign| sign.path == "proc/interrupts").unwrap().mark
    };
    assert_eq!(mark(), 12_044 + 40_219, "not the clock, not the USB controller, not I2C");
    let table = fs::read_to_string(tree.folder.path().join("proc/interrupts")).unwrap();
    tree.write("proc/interrupts", table.replace("903114", "903999"));
    assert_eq!(mark(), 12_044 + 40_219);
    tree.write("proc/interrupts", table.replace("12044", "12045"));
    assert_eq!(mark(), 12_045 + 40_219);
}

#[test]
fn what_workers_swap_adds_up_and_one_that_ended_swaps_nothing() {
    let tree = Tree::empty();
    assert_eq!(value(&memory::swapped(&tree.root, &[])), Some(0), "no worker");
    let absent = memory::swapped(&tree.root, &[1]);
    assert!(matches!(absent, Reading::Unknown(Unknown::Absent(_))), "{absent:?}");
    tree.write("proc/1/status", "Name:\tkeystead\nVmRSS:\t  9000 kB\nVmSwap:\t    12 kB\nThreads:\t4\n");
    // Not reaped yet: it has no memory.
    tree.write("proc/2/status", "Name:\tkeystead\nState:\tZ (zombie)\nThreads:\t1\n");
    tree.write("proc/3/status", "VmSwap:\t18446744073709551615 kB\n");
    tree.write("proc/4/status", "VmSwap:\tmany kB\nName:\t\0\n");
    assert_eq!(value(&memory::swapped(&tree.root, &[1, 2, 4, 5])), Some(12 * 1_024));
    assert_eq!(value(&memory::swapped(&tree.root, &[1, 3])), Some(u64::MAX));
}
