//! The compact form in which a kernel is interpreted: register code, a constant image, entry points.
//!
//! # Design
//! WGSL has no recursion, so each function owns its registers once and for all: a call is a jump, a variable is a range of registers, and a
//! pointer to a variable is a register number. Everything that `wgsl/1` computes is made of 32-bit words, so vectors and matrices are single
//! registers side by side, and an operation on them is one operation per component.
//!
//! # Invariants
//! Every register number in an operation, and every number that indexing can compute from it, is below [`Program::registers`].

/// Number of a register of one invocation.
pub(crate) type Register = u32;

/// Functions of one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum One {
    /// Integers and bits.
    NegateI,
    NotI,
    NotB,
    AbsI,
    SignI,
    LeadingZeros,
    TrailingZeros,
    Ones,
    Reverse,
    FirstTrailing,
    FirstLeadingU,
    FirstLeadingI,
    /// Conversions.
    UToF,
    IToF,
    FToU,
    FToI,
    FToB,
    UToB,
    BToF,
    /// Floats.
    NegateF,
    AbsF,
    SignF,
    Ceil,
    Floor,
    Round,
    Trunc,
    Fract,
    FractTowardZero,
    Sqrt,
    InverseSqrt,
    Exp,
    Exp2,
    Log,
    Log2,
    Sin,
    Cos,
    Tan,
    Asin,
    Acos,
    Atan,
    Sinh,
    Cosh,
    Tanh,
    Asinh,
    Acosh,
    Atanh,
    Radians,
    Degrees,
    FractionPart,
    ExponentPart,
    QuantizeToF16,
}

/// Functions of two words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Two {
    Add,
    Subtract,
    Multiply,
    DivideU,
    DivideI,
    ModuloU,
    ModuloI,
    And,
    Or,
    Xor,
    ShiftLeft,
    ShiftRightU,
    ShiftRightI,
    Equal,
    NotEqual,
    LessU,
    LessEqualU,
    LessI,
    LessEqualI,
    MinU,
    MaxU,
    MinI,
    MaxI,
    Dot4U,
    Dot4I,
    AddF,
    SubtractF,
    MultiplyF,
    DivideF,
    ModuloF,
    EqualF,
    NotEqualF,
    LessF,
    LessEqualF,
    MinF,
    MaxF,
    Atan2,
    Pow,
    Ldexp,
    /// Part `b` of the packed word `a`.
    UnpackSnorm8,
    UnpackUnorm8,
    UnpackSnorm16,
    UnpackUnorm16,
    UnpackF16,
    UnpackI8,
    UnpackU8,
}

/// Functions of three words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Three {
    /// `if a { b } else { c }`.
    Select,
    /// `a * b + c`, rounded once.
    Fma,
    ExtractU,
    ExtractI,
}

/// Functions of two or four words side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Pack {
    Snorm8,
    Unorm8,
    Snorm16,
    Unorm16,
    F16,
    I8,
    U8,
    I8Clamp,
    U8Clamp,
}

/// Atomic operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Atomic {
    Add,
    Subtract,
    And,
    Or,
    Xor,
    MinU,
    MaxU,
    MinI,
    MaxI,
    Exchange,
    /// `to + 1` becomes whether the word was equal to `compare` and was replaced.
    CompareExchange,
}

/// Memory outside the registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Memory {
    /// Workgroup variables.
    Shared,
    /// Storage buffer with this binding number, 0 to 2.
    Buffer(u8),
}

/// A word address: `base` plus what the register `offset` holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) base: u32,
    pub(crate) offset: Register,
}

/// One operation. `to` is written after everything else was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Copy {
        to: Register,
        from: Register,
    },
    CopyMany {
        to: Register,
        from: Register,
        words: u32,
    },
    ZeroMany {
        to: Register,
        words: u32,
    },
    /// `to = prior + min(index, last) * stride`.
    Index {
        to: Register,
        prior: Register,
        index: Register,
        last: u32,
        stride: u32,
    },
    /// As `Index` with the length of a buffer; beyond it `to` becomes an address that nothing has.
    IndexBuffer {
        buffer: u8,
        to: Register,
        index: Register,
        stride: u32,
    },
    /// Elements of a buffer.
    Length {
        buffer: u8,
        to: Register,
        stride: u32,
    },
    /// Registers by computed number.
    Get {
        to: Register,
        from: Address,
        words: u32,
    },
    Put {
        to: Address,
        from: Register,
        words: u32,
    },
    Read {
        memory: Memory,
        to: Register,
        from: Address,
        words: u32,
    },
    Write {
        memory: Memory,
        to: Address,
        from: Register,
        words: u32,
    },
    Atomic {
        fun: Atomic,
        memory: Memory,
        to: Register,
        at: Address,
        value: Register,
        compare: Register,
    },
    One {
        fun: One,
        to: Register,
        a: Register,
    },
    Two {
        fun: Two,
        to: Register,
        a: Register,
        b: Register,
    },
    Three {
        fun: Three,
        to: Register,
        a: Register,
        b: Register,
        c: Register,
    },
    /// `insertBits(a, b, offset, count)`.
    Insert {
        to: Register,
        a: Register,
        b: Register,
        offset: Register,
        count: Register,
    },
    Pack {
        fun: Pack,
        to: Register,
        from: Register,
    },
    // The most frequent functions of two words once more, so that they take one jump instead of two.
    Add {
        to: Register,
        a: Register,
        b: Register,
    },
    Subtract {
        to: Register,
        a: Register,
        b: Register,
    },
    Multiply {
        to: Register,
        a: Register,
        b: Register,
    },
    And {
        to: Register,
        a: Register,
        b: Register,
    },
    Or {
        to: Register,
        a: Register,
        b: Register,
    },
    Xor {
        to: Register,
        a: Register,
        b: Register,
    },
    ShiftLeft {
        to: Register,
        a: Register,
        b: Register,
    },
    ShiftRightU {
        to: Register,
        a: Register,
        b: Register,
    },
    Jump {
        to: u32,
    },
    /// Jumps if the register holds false.
    Unless {
        condition: Register,
        to: u32,
    },
    /// Jumps where the switch table's entry for the selector says.
    Switch {
        selector: Register,
        table: u32,
    },
    /// Entry into a loop's body: counted.
    Loop,
    Call {
        to: u32,
    },
    Return,
    Barrier,
    /// The invocation has ended.
    End,
}

/// Where a switch goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Table {
    /// Selector and operation number, sorted by selector.
    pub(crate) cases: Vec<(u32, u32)>,
    pub(crate) default: u32,
}

/// Which built-in value a register gets before `main` begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Builtin {
    GlobalId,
    LocalId,
    LocalIndex,
    WorkgroupId,
    WorkgroupCount,
}

/// A kernel ready to be interpreted. Made by [`crate::Kernel::program`]; immutable, may be shared between threads.
#[derive(Clone, Debug)]
pub struct Program {
    pub(crate) ops: Vec<Op>,
    pub(crate) tables: Vec<Table>,
    /// First operation of `main`.
    pub(crate) entry: u32,
    /// Registers of an invocation and their first values; its length is their number.
    pub(crate) image: Vec<u32>,
    /// Registers that must hold their first values again before each invocation: `0..private_words`.
    pub(crate) private_words: u32,
    pub(crate) shared_words: u32,
    pub(crate) builtins: Vec<(Builtin, Register)>,
    pub(crate) workgroup_size: [u32; 3],
    pub(crate) has_barriers: bool,
}

impl Program {
    /// Registers of one invocation.
    pub(crate) const fn registers(&self) -> usize {
        self.image.len()
    }

    /// Invocations of a workgroup along x, y, z.
    #[must_use]
    pub const fn workgroup_size(&self) -> [u32; 3] {
        self.workgroup_size
    }

    /// Operations of the compact form.
    #[must_use]
    pub const fn operations(&self) -> usize {
        self.ops.len()
    }
}
