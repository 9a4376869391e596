//! Who a peer is and where it is reached: the endpoint string that a provider publishes on chain.
//!
//! Spec: specs/0005-transfer.md §3.

use std::{
    fmt,
    net::{AddrParseError, SocketAddr},
    str::FromStr,
};

use crate::hash::HASH_BYTES;

/// Most socket addresses in one endpoint string: as many paths as the transport tries at once.
pub const SOCKETS_MAX: usize = 8;
/// Longest endpoint string in bytes (inclusive): what the contract `Providers` stores. Enough for eight IPv4 or four of
/// the longest IPv6 addresses.
pub const ADDRESS_BYTES_MAX: usize = 256;

/// A peer's identity: its Ed25519 public key, which is a valid curve point. Printed as 64 lowercase hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(iroh::EndpointId);

impl NodeId {
    /// Accepts 32 bytes that are a public key.
    ///
    /// # Errors
    /// [`AddressError::NotAKey`].
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, AddressError> {
        iroh::EndpointId::from_bytes(bytes).map(Self).map_err(|_| AddressError::NotAKey)
    }

    /// The 32 bytes of the compressed public key.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    pub(crate) const fn new(id: iroh::EndpointId) -> Self {
        Self(id)
    }

    pub(crate) const fn inner(self) -> iroh::EndpointId {
        self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for NodeId {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let digits = text.as_bytes();
        if digits.len() != 2 * HASH_BYTES {
            return Err(AddressError::IdLength { got_bytes: digits.len() });
        }
        let mut bytes = [0_u8; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
            let [high, low] = pair.map(lowercase_digit);
            *byte = high.zip(low).map(|(high, low)| (high << 4) | low).ok_or(AddressError::NotHexadecimal)?;
        }
        Self::from_bytes(&bytes)
    }
}

/// The value of a lowercase hexadecimal digit: there is one spelling of an identity.
const fn lowercase_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit.wrapping_sub(b'0')),
        b'a'..=b'f' => Some(digit.wrapping_sub(b'a').wrapping_add(10)),
        _ => None,
    }
}

/// Where a peer is reached: identity and direct socket addresses, `<node id>@<ip>:<port>[,<ip>:<port>]`.
///
/// Invariants: 1 to [`SOCKETS_MAX`] different socket addresses, none with port 0 or an unspecified or multicast IP.
/// Trust: a well-formed address may still be false; the identity is proved when a connection stands.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    id: NodeId,
    sockets: Vec<SocketAddr>,
}

impl Address {
    /// An address from its parts, in the order in which they will be printed.
    ///
    /// # Errors
    /// [`AddressError`]: which rule the sockets break.
    pub fn new(id: NodeId, sockets: Vec<SocketAddr>) -> Result<Self, AddressError> {
        if sockets.is_empty() || sockets.len() > SOCKETS_MAX {
            return Err(AddressError::SocketCount { got: sockets.len(), max: SOCKETS_MAX });
        }
        for (index, socket) in sockets.iter().enumerate() {
            if socket.port() == 0 || socket.ip().is_unspecified() || socket.ip().is_multicast() {
                return Err(AddressError::NotReachable { socket: *socket });
            }
            if sockets.iter().take(index).any(|earlier| earlier == socket) {
                return Err(AddressError::Repeated { socket: *socket });
            }
        }
        let address = Self { id, sockets };
        let got_bytes = address.to_string().len();
        if got_bytes > ADDRESS_BYTES_MAX {
            return Err(AddressError::TooLong { got_bytes, max_bytes: ADDRESS_BYTES_MAX });
        }
        Ok(address)
    }

    /// The peer's identity.
    #[must_use]
    pub const fn id(&self) -> NodeId {
        self.id
    }

    /// The sockets, in the order of the string.
    #[must_use]
    pub fn sockets(&self) -> &[SocketAddr] {
        &self.sockets
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@", self.id)?;
        for (index, socket) in self.sockets.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            write!(f, "{socket}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Address {
    type Err = AddressError;

    /// Parses an endpoint string from a hostile source. Only the spelling that [`fmt::Display`] prints is accepted.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.len() > ADDRESS_BYTES_MAX {
            return Err(AddressError::TooLong { got_bytes: text.len(), max_bytes: ADDRESS_BYTES_MAX });
        }
        let (id, sockets) = text.split_once('@').ok_or(AddressError::NoAt)?;
        let id = id.parse()?;
        let parsed = sockets.split(',').take(SOCKETS_MAX.saturating_add(1)).map(str::parse);
        let sockets = parsed.collect::<Result<Vec<SocketAddr>, AddrParseError>>()?;
        let address = Self::new(id, sockets)?;
        if address.to_string() == text { Ok(address) } else { Err(AddressError::NotCanonical) }
    }
}

/// What is wrong with an endpoint string.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Longer than any valid string.
    #[error("endpoint string is too long: got_bytes={got_bytes} max_bytes={max_bytes}")]
    TooLong {
        /// Its length in bytes.
        got_bytes: usize,
        /// The largest length.
        max_bytes: usize,
    },
    /// There is no `@` between identity and sockets.
    #[error("endpoint string has no @ between node id and socket addresses")]
    NoAt,
    /// The node id has not 64 digits.
    #[error("node id must have 64 hexadecimal digits: got={got_bytes}")]
    IdLength {
        /// Its length in bytes.
        got_bytes: usize,
    },
    /// The node id has a character that is not a lowercase hexadecimal digit.
    #[error("node id is not lowercase hexadecimal")]
    NotHexadecimal,
    /// The 32 bytes are not an Ed25519 public key.
    #[error("node id is not a public key")]
    NotAKey,
    /// A part between commas is not `ip:port`.
    #[error("not a socket address: {0}")]
    Socket(#[from] AddrParseError),
    /// No socket, or too many.
    #[error("wrong number of socket addresses: got={got} max={max}")]
    SocketCount {
        /// Sockets in the string, counted up to one above the maximum.
        got: usize,
        /// The largest number.
        max: usize,
    },
    /// Nobody can be reached there: port 0, unspecified or multicast IP.
    #[error("socket address cannot be dialled: {socket}")]
    NotReachable {
        /// The address.
        socket: SocketAddr,
    },
    /// The same socket twice.
    #[error("socket address is repeated: {socket}")]
    Repeated {
        /// The address.
        socket: SocketAddr,
    },
    /// Readable, but not spelled as Keystead prints it (leading zeros, another form of the same IPv6 address).
    #[error("endpoint string is not in its canonical form")]
    NotCanonical,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The public key of RFC 8032's first test vector.
    const ID: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

    #[test]
    fn an_endpoint_string_round_trips() {
        for sockets in ["127.0.0.1:1", "10.0.0.7:65535,[2001:db8::1]:443", "[::1]:9,127.0.0.1:9"] {
            let text = format!("{ID}@{sockets}");
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
            assert_eq!(address.id().to_string(), ID);
            assert_eq!(address.sockets().len(), sockets.split(',').count());
        }
    }

    #[test]
    fn the_length_is_bounded_from_both_sides() {
        let long = |last: u8| format!("[1111:2222:3333:4444:5555:6666:7777:888{last}]:65535").parse().unwrap();
        let short = |last: u8| format!("255.255.255.25{last}:65535").parse().unwrap();
        let new = |sockets: Vec<SocketAddr>| Address::new(ID.parse().unwrap(), sockets);
        assert!(new((1..=3).map(long).collect()).unwrap().to_string().parse::<Address>().is_ok());
        assert!(matches!(new((1..=5).map(long).collect()), Err(AddressError::TooLong { .. })));
        // Identity and @ are 65 bytes; 3 x 47 + 2 x 21 and 4 commas make 252; one more short address is too much.
        let mixed = |shorts| (1..=3).map(long).chain((1..=shorts).map(short)).collect::<Vec<_>>();
        assert_eq!(new(mixed(2)).unwrap().to_string().len(), 252);
        assert!(matches!(new(mixed(3)), Err(AddressError::TooLong { got_bytes: 274, .. })));
        assert!(new((0..=5).map(short).collect()).is_ok());
    }

    #[test]
    fn every_malformed_string_names_its_fault() {
        let parse = |text: &str| text.parse::<Address>().unwrap_err();
        let nine = (1..=9).map(|port| format!("1.1.1.1:{port}")).collect::<Vec<_>>().join(",");
        assert_eq!(parse(""), AddressError::NoAt);
        assert_eq!(parse(&format!("{ID}127.0.0.1:1")), AddressError::NoAt);
        assert_eq!(parse("abcd@127.0.0.1:1"), AddressError::IdLength { got_bytes: 4 });
        assert_eq!(parse(&format!("{}@127.0.0.1:1", ID.to_uppercase())), AddressError::NotHexadecimal);
        assert_eq!(parse(&format!("{}@127.0.0.1:1", "g".repeat(64))), AddressError::NotHexadecimal);
        assert_eq!(parse(&format!("{}é@127.0.0.1:1", &ID[..62])), AddressError::NotHexadecimal);
        // 2 is not the y of a point on the curve.
        assert_eq!(parse(&format!("02{}@127.0.0.1:1", "0".repeat(62))), AddressError::NotAKey);
        assert!(matches!(parse(&format!("{ID}@")), AddressError::Socket(_)));
        assert!(matches!(parse(&format!("{ID}@localhost:1")), AddressError::Socket(_)));
        assert!(matches!(parse(&format!("{ID}@1.1.1.1:1,")), AddressError::Socket(_)));
        assert!(matches!(parse(&format!("{ID}@1.1.1.1:1 ")), AddressError::Socket(_)));
        assert!(matches!(parse(&format!("{ID}@1.1.1.1:0")), AddressError::NotReachable { .. }));
        assert!(matches!(parse(&format!("{ID}@0.0.0.0:1")), AddressError::NotReachable { .. }));
        assert!(matches!(parse(&format!("{ID}@224.0.0.1:1")), AddressError::NotReachable { .. }));
        assert!(matches!(parse(&format!("{ID}@1.1.1.1:1,1.1.1.1:1")), AddressError::Repeated { .. }));
        assert_eq!(parse(&format!("{ID}@{nine}")), AddressError::SocketCount { got: 9, max: 8 });
        assert_eq!(parse(&format!("{ID}@[0:0::1]:5")), AddressError::NotCanonical);
        assert_eq!(parse(&format!("{ID}@1.1.1.1:007")), AddressError::NotCanonical);
        assert!(matches!(parse(&"a".repeat(257)), AddressError::TooLong { got_bytes: 257, .. }));
    }
}
