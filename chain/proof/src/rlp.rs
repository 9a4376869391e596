//! Canonical RLP, one level at a time.
//!
//! Spec: specs/0002-proof-bundle.md §4.

use alloy_rlp::Header;

/// One item of a list: a string's content, or a list's content and its whole encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Item<'a> {
    Text(&'a [u8]),
    List { content: &'a [u8], whole: &'a [u8] },
}

impl<'a> Item<'a> {
    /// The content of a string, `None` for a list.
    pub(crate) const fn text(self) -> Option<&'a [u8]> {
        match self {
            Item::Text(text) => Some(text),
            Item::List { .. } => None,
        }
    }
}

/// Splits the first item off. Refuses every encoding but the shortest.
pub(crate) fn split(bytes: &[u8]) -> Option<(Item<'_>, &[u8])> {
    let mut rest = bytes;
    let header = Header::decode(&mut rest).ok()?;
    let (content, after) = rest.split_at_checked(header.payload_length)?;
    let whole = bytes.get(..bytes.len().checked_sub(after.len())?)?;
    let item = if header.list { Item::List { content, whole } } else { Item::Text(content) };
    Some((item, after))
}

/// The items of exactly one list.
pub(crate) fn list(bytes: &[u8]) -> Option<Vec<Item<'_>>> {
    match split(bytes)? {
        (Item::List { content, .. }, []) => items(content),
        _ => None,
    }
}

/// The items that follow each other in a list's content.
pub(crate) fn items(content: &[u8]) -> Option<Vec<Item<'_>>> {
    let mut out = Vec::new();
    let mut rest = content;
    while !rest.is_empty() {
        let (item, after) = split(rest)?;
        out.push(item);
        rest = after;
    }
    Some(out)
}

/// The content of exactly one string.
pub(crate) fn text(bytes: &[u8]) -> Option<&[u8]> {
    match split(bytes)? {
        (Item::Text(text), []) => Some(text),
        _ => None,
    }
}

/// An unsigned integer without leading zeros that fits 64 bits.
pub(crate) fn number(bytes: &[u8]) -> Option<u64> {
    if bytes.len() > 8 || bytes.first() == Some(&0) {
        return None;
    }
    Some(bytes.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_shortest_encoding_is_read() {
        assert_eq!(text(&[0x7f]), Some([0x7f].as_slice()));
        assert_eq!(text(&[0x81, 0x80]), Some([0x80].as_slice()));
        assert_eq!(text(&[0x80]), Some([].as_slice()));
        assert_eq!(text(&[0x81, 0x7f]), None, "a single low byte stands for itself");
        assert_eq!(text(&[0x82, 1]), None, "too short");
        assert_eq!(text(&[0x81, 0x80, 0]), None, "left over");
        assert_eq!(text(&[0xb8, 1, 0x80]), None, "long form of a short string");
        assert_eq!(text(&[0xb9, 0, 56]), None, "leading zero in the length");
        assert_eq!(list(&[0xc0]), Some(vec![]));
        assert_eq!(list(&[0xf8, 1, 0x80]), None, "long form of a short list");
        assert_eq!(list(&[0xc1]), None);
        assert_eq!(text(&[0xbf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), None, "absurd length");
        assert_eq!(number(&[0, 1]), None);
        assert_eq!(number(&[]), Some(0));
        assert_eq!(number(&[0xff; 8]), Some(u64::MAX));
        assert_eq!(number(&[1; 9]), None);
    }
}
