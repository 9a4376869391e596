//! The machine: registers of the living invocations, memory, and the loop over operations.

use super::{
    Dispatch, Error, Sample,
    scalar::{self, Arithmetic},
};
use crate::program::{Address, Atomic, Builtin, Memory, Op, Program, Register};

/// Which output words were stored, and which an atomic operation changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks {
    stored: Vec<u64>,
    combined: Vec<u64>,
}

impl Marks {
    pub(super) const fn none() -> Self {
        Self { stored: Vec::new(), combined: Vec::new() }
    }

    pub(super) fn new(words: usize) -> Self {
        let empty = vec![0; words.div_ceil(64)];
        Self { stored: empty.clone(), combined: empty }
    }

    #[inline]
    fn mark(bits: &mut [u64], at: usize) {
        if let Some(bits) = bits.get_mut(at >> 6) {
            *bits |= 1 << (at & 63);
        }
    }

    pub(super) fn is_comparable(&self, at: usize) -> bool {
        let bit = |bits: &[u64]| bits.get(at >> 6).is_some_and(|bits| bits >> (at & 63) & 1 == 1);
        bit(&self.stored) && !bit(&self.combined)
    }

    pub(super) fn combined(&self) -> u64 {
        self.combined.iter().map(|bits| u64::from(bits.count_ones())).sum()
    }
}

/// Everything outside the registers.
struct World<'a> {
    common: &'a [u32],
    unit: &'a [u32],
    output: Vec<u32>,
    shared: Vec<u32>,
    marks: Marks,
}

impl World<'_> {
    #[inline]
    fn words(&self, memory: Memory) -> &[u32] {
        match memory {
            Memory::Shared => &self.shared,
            Memory::Buffer(0) => self.common,
            Memory::Buffer(1) => self.unit,
            Memory::Buffer(_) => &self.output,
        }
    }

    /// Stores a word; beyond the end nothing happens. Inputs are read-only by the rules of the profile.
    #[inline]
    fn store(&mut self, memory: Memory, at: usize, word: u32) {
        if memory == Memory::Shared {
            if let Some(to) = self.shared.get_mut(at) {
                *to = word;
            }
        } else if let Some(to) = self.output.get_mut(at) {
            *to = word;
            Marks::mark(&mut self.marks.stored, at);
        }
    }
}

/// Where an invocation stands.
#[derive(Clone, Debug, Default)]
struct Lane {
    next: u32,
    /// Operations to return to, innermost last; as deep as the functions, which cannot call themselves.
    returns: Vec<u32>,
    /// Entries into loop bodies so far.
    loops: u32,
    has_ended: bool,
}

/// Why an invocation stopped.
enum Stop {
    End,
    Barrier,
}

/// Why it may not go on.
enum Limit {
    Loops,
    Steps,
}

/// What is left of the limits.
struct Budget {
    steps: u64,
    steps_max: u64,
    loops_max: u32,
}

/// A program with its inputs.
pub(super) struct Machine<'a, A> {
    program: &'a Program,
    arithmetic: A,
    workgroups: [u32; 3],
    world: World<'a>,
    /// Registers of all lanes, one after the other.
    registers: Vec<u32>,
    lanes: Vec<Lane>,
    budget: Budget,
}

/// An empty input.
const EMPTY: &[u32] = &[0];

impl<'a, A: Arithmetic> Machine<'a, A> {
    pub(super) fn new(program: &'a Program, dispatch: &Dispatch<'a>, arithmetic: A, marks: Marks, lanes: u64) -> Self {
        let bound = |words: &'a [u32]| if words.is_empty() { EMPTY } else { words };
        // LOSSY: at most 256 lanes.
        #[allow(clippy::cast_possible_truncation)]
        let lanes = lanes as usize;
        let world = World {
            common: bound(dispatch.common),
            unit: bound(dispatch.unit),
            output: vec![0; dispatch.output_words],
            shared: vec![0; program.shared_words as usize],
            marks,
        };
        Self {
            program,
            arithmetic,
            workgroups: dispatch.workgroups,
            world,
            registers: program.image.repeat(lanes),
            lanes: vec![Lane::default(); lanes],
            budget: Budget { steps: 0, steps_max: dispatch.steps_max, loops_max: dispatch.loop_iterations_max },
        }
    }

    pub(super) fn finish(self) -> Sample {
        Sample { output: self.world.output, steps: self.budget.steps, marks: self.world.marks }
    }

    /// Runs one workgroup to its end.
    pub(super) fn workgroup(&mut self, workgroup: [u32; 3]) -> Result<(), Error> {
        self.world.shared.fill(0);
        let [x, y, z] = self.program.workgroup_size;
        let locals = (0..z).flat_map(|z| (0..y).flat_map(move |y| (0..x).map(move |x| [x, y, z])));
        if self.program.has_barriers {
            for (lane, local) in locals.enumerate() {
                self.begin(lane, workgroup, local);
            }
            return self.in_step(workgroup);
        }
        for local in locals {
            self.begin(0, workgroup, local);
            self.advance(0, workgroup)?;
        }
        Ok(())
    }

    /// Gives an invocation its first registers.
    fn begin(&mut self, lane: usize, workgroup: [u32; 3], local: [u32; 3]) {
        let program = self.program;
        self.lanes[lane] = Lane { next: program.entry, ..Lane::default() };
        let count = program.registers();
        let first = lane.saturating_mul(count);
        let registers = &mut self.registers[first..first.saturating_add(count)];
        let private = program.private_words as usize;
        registers[..private].copy_from_slice(&program.image[..private]);
        let size = program.workgroup_size;
        let global: [u32; 3] =
            core::array::from_fn(|axis| workgroup[axis].wrapping_mul(size[axis]).wrapping_add(local[axis]));
        let [x, y, _] = size;
        let index = local[2].wrapping_mul(y).wrapping_add(local[1]).wrapping_mul(x).wrapping_add(local[0]);
        for &(builtin, to) in &program.builtins {
            let words: &[u32] = match builtin {
                Builtin::GlobalId => &global,
                Builtin::LocalId => &local,
                Builtin::LocalIndex => &[index],
                Builtin::WorkgroupId => &workgroup,
                Builtin::WorkgroupCount => &self.workgroups,
            };
            for (register, word) in registers.iter_mut().skip(to as usize).zip(words) {
                *register = *word;
            }
        }
    }

    /// All invocations from barrier to barrier.
    fn in_step(&mut self, workgroup: [u32; 3]) -> Result<(), Error> {
        loop {
            for lane in 0..self.lanes.len() {
                self.advance(lane, workgroup)?;
            }
            let ended = self.lanes.iter().filter(|lane| lane.has_ended).count();
            if ended == self.lanes.len() {
                return Ok(());
            }
            let Some(first) = self.lanes.first() else { return Ok(()) };
            let together = |lane: &Lane| lane.next == first.next && lane.returns == first.returns;
            if ended > 0 || !self.lanes.iter().all(together) {
                return Err(Error::UnevenBarrier { workgroup });
            }
        }
    }

    fn advance(&mut self, lane: usize, workgroup: [u32; 3]) -> Result<(), Error> {
        let count = self.program.registers();
        let first = lane.saturating_mul(count);
        let registers = &mut self.registers[first..first.saturating_add(count)];
        let lane = &mut self.lanes[lane];
        match go(self.program, &self.arithmetic, registers, lane, &mut self.world, &mut self.budget) {
            Ok(Stop::End) => lane.has_ended = true,
            Ok(Stop::Barrier) => {}
            Err(Limit::Loops) => return Err(Error::LoopIterations { limit: self.budget.loops_max, workgroup }),
            Err(Limit::Steps) => return Err(Error::Steps { max: self.budget.steps_max }),
        }
        Ok(())
    }
}

/// Runs one invocation to its end or to a barrier.
fn go<A: Arithmetic>(
    program: &Program,
    arithmetic: &A,
    r: &mut [u32],
    lane: &mut Lane,
    world: &mut World<'_>,
    budget: &mut Budget,
) -> Result<Stop, Limit> {
    let ops = program.ops.as_slice();
    let mut next = lane.next as usize;
    let mut steps = budget.steps;
    let steps_max = budget.steps_max;
    let stop = loop {
        let op = ops[next];
        next = next.wrapping_add(1);
        steps = steps.wrapping_add(1);
        if steps > steps_max {
            break Err(Limit::Steps);
        }
        match op {
            Op::Copy { to, from } => r[to as usize] = r[from as usize],
            Op::Add { to, a, b } => r[to as usize] = r[a as usize].wrapping_add(r[b as usize]),
            Op::Subtract { to, a, b } => r[to as usize] = r[a as usize].wrapping_sub(r[b as usize]),
            Op::Multiply { to, a, b } => r[to as usize] = r[a as usize].wrapping_mul(r[b as usize]),
            Op::And { to, a, b } => r[to as usize] = r[a as usize] & r[b as usize],
            Op::Or { to, a, b } => r[to as usize] = r[a as usize] | r[b as usize],
            Op::Xor { to, a, b } => r[to as usize] = r[a as usize] ^ r[b as usize],
            Op::ShiftLeft { to, a, b } => r[to as usize] = r[a as usize].wrapping_shl(r[b as usize]),
            Op::ShiftRightU { to, a, b } => r[to as usize] = r[a as usize].wrapping_shr(r[b as usize]),
            Op::Two { fun, to, a, b } => r[to as usize] = arithmetic.two(fun, r[a as usize], r[b as usize]),
            Op::One { fun, to, a } => r[to as usize] = arithmetic.one(fun, r[a as usize]),
            Op::Three { fun, to, a, b, c } => {
                r[to as usize] = arithmetic.three(fun, r[a as usize], r[b as usize], r[c as usize]);
            }
            Op::Unless { condition, to } => {
                if r[condition as usize] == 0 {
                    next = to as usize;
                }
            }
            Op::Jump { to } => next = to as usize,
            Op::Loop => {
                lane.loops = lane.loops.saturating_add(1);
                if lane.loops > budget.loops_max {
                    break Err(Limit::Loops);
                }
            }
            Op::Index { to, prior, index, last, stride } => {
                let element = r[index as usize].min(last).wrapping_mul(stride);
                r[to as usize] = r[prior as usize].saturating_add(element);
            }
            Op::Switch { selector, table } => next = target(program, table, r[selector as usize]),
            Op::Call { to } => {
                // LOSSY: an operation's number is below 2^22.
                #[allow(clippy::cast_possible_truncation)]
                lane.returns.push(next as u32);
                next = to as usize;
            }
            Op::Return => match lane.returns.pop() {
                Some(to) => next = to as usize,
                None => break Ok(Stop::End),
            },
            Op::Barrier => break Ok(Stop::Barrier),
            Op::End => break Ok(Stop::End),
            other => steps = steps.saturating_add(memory(other, r, world)),
        }
    };
    // LOSSY: as above.
    #[allow(clippy::cast_possible_truncation)]
    let at = next as u32;
    lane.next = at;
    budget.steps = steps.min(steps_max);
    stop
}

fn target(program: &Program, table: u32, selector: u32) -> usize {
    let Some(table) = program.tables.get(table as usize) else { return 0 };
    let case = table.cases.binary_search_by_key(&selector, |(value, _)| *value);
    let to = case.ok().and_then(|at| table.cases.get(at)).map_or(table.default, |(_, to)| *to);
    to as usize
}

/// Operations on memory, and those that are rare. Gives how many further words they moved.
#[inline]
fn memory(op: Op, r: &mut [u32], world: &mut World<'_>) -> u64 {
    match op {
        Op::Read { memory, to, from, words } => {
            let at = address(r, from);
            let source = world.words(memory);
            for (to, at) in range(to, words).zip(at..) {
                r[to] = source.get(at).copied().unwrap_or(0);
            }
            u64::from(words)
        }
        Op::Write { memory, to, from, words } => {
            let at = address(r, to);
            for (from, at) in range(from, words).zip(at..) {
                world.store(memory, at, r[from]);
            }
            u64::from(words)
        }
        Op::Get { to, from, words } => {
            let at = address(r, from);
            r.copy_within(at..at.wrapping_add(words as usize), to as usize);
            u64::from(words)
        }
        Op::Put { to, from, words } => {
            let at = address(r, to);
            r.copy_within(range(from, words), at);
            u64::from(words)
        }
        Op::CopyMany { to, from, words } => {
            r.copy_within(range(from, words), to as usize);
            u64::from(words)
        }
        Op::ZeroMany { to, words } => {
            r[range(to, words)].fill(0);
            u64::from(words)
        }
        Op::IndexBuffer { buffer, to, index, stride } => {
            let count = world.words(Memory::Buffer(buffer)).len().checked_div(stride as usize).unwrap_or(0);
            let index = r[index as usize];
            r[to as usize] = if (index as usize) < count { index.wrapping_mul(stride) } else { NOWHERE };
            0
        }
        Op::Length { buffer, to, stride } => {
            let count = world.words(Memory::Buffer(buffer)).len().checked_div(stride as usize).unwrap_or(0);
            r[to as usize] = u32::try_from(count).unwrap_or(u32::MAX);
            0
        }
        Op::Atomic { fun, memory, to, at, value, compare } => {
            let (at, value, compare) = (address(r, at), r[value as usize], r[compare as usize]);
            atomic(fun, memory, &mut r[to as usize..], [value, compare], at, world);
            0
        }
        Op::Insert { to, a, b, offset, count } => {
            r[to as usize] = scalar::insert(r[a as usize], r[b as usize], r[offset as usize], r[count as usize]);
            0
        }
        Op::Pack { fun, to, from } => {
            r[to as usize] = scalar::pack(fun, &r[from as usize..]);
            0
        }
        // Every other operation is in `go`.
        _ => 0,
    }
}

/// An address beyond every memory: no buffer has 2^32 - 1 words.
const NOWHERE: u32 = u32::MAX;

#[inline]
fn address(r: &[u32], at: Address) -> usize {
    at.base.saturating_add(r[at.offset as usize]) as usize
}

#[inline]
const fn range(first: Register, words: u32) -> core::ops::Range<usize> {
    first as usize..(first as usize).wrapping_add(words as usize)
}

fn atomic(fun: Atomic, memory: Memory, to: &mut [u32], [value, compare]: [u32; 2], at: usize, world: &mut World<'_>) {
    let old = world.words(memory).get(at).copied().unwrap_or(0);
    let exchanged = fun != Atomic::CompareExchange || old == compare;
    if exchanged {
        world.store(memory, at, scalar::atomic(fun, old, value));
    }
    if memory != Memory::Shared {
        Marks::mark(&mut world.marks.combined, at);
    }
    if let Some(to) = to.first_mut() {
        *to = old;
    }
    if fun == Atomic::CompareExchange
        && let Some(to) = to.get_mut(1)
    {
        *to = u32::from(exchanged);
    }
}
