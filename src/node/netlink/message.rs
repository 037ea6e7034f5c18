//! Netlink attributes. Each is a length, a kind, and a payload padded to four bytes.

use std::net::IpAddr;

/// The two highest bits of a kind are flags for its payload.
const KIND: u16 = 0x3fff;
const NESTED: u16 = 0x8000;
const HEADER: usize = 4;

/// Appends an attribute.
pub(super) fn push(bytes: &mut Vec<u8>, kind: u16, payload: &[u8]) {
    let length = u16::try_from(HEADER + payload.len()).unwrap_or(u16::MAX);
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// Appends a nested attribute.
pub(super) fn push_nested(bytes: &mut Vec<u8>, kind: u16, attributes: &[u8]) {
    push(bytes, kind | NESTED, attributes);
}

/// The attributes in `bytes`, up to the first malformed one.
pub(super) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?) & KIND;
        let payload = bytes.get(HEADER..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, payload))
    })
}

/// The payload of the attribute of this kind.
pub(super) fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(found, _)| *found == kind).map(|(_, payload)| payload)
}

/// A number in this machine's byte order.
pub(super) fn number(payload: &[u8]) -> Option<u32> {
    match *payload {
        [a, b, c, d] => Some(u32::from_ne_bytes([a, b, c, d])),
        [a, b] => Some(u16::from_ne_bytes([a, b]).into()),
        [a] => Some(a.into()),
        _ => None,
    }
}

/// A text that may end with a zero byte.
pub(super) fn text(payload: &[u8]) -> String {
    String::from_utf8_lossy(payload).trim_end_matches('\0').to_owned()
}

/// An address of either family.
pub(super) fn address(payload: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(payload).map(IpAddr::from).or_else(|_| <[u8; 16]>::try_from(payload).map(IpAddr::from)).ok()
}

/// An address in network byte order.
pub(super) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_encoded_and_decoded() {
        let mut inner = Vec::new();
        push(&mut inner, 3, b"abc\0");
        push(&mut inner, 4, &[1, 2, 3, 4, 5]);
        let mut bytes = Vec::new();
        push_nested(&mut bytes, 7, &inner);
        assert_eq!(bytes.len() % 4, 0);
        let nested = attribute(&bytes, 7).unwrap();
        assert_eq!(attribute(nested, 3).map(text).as_deref(), Some("abc"));
        assert_eq!(attribute(nested, 4), Some(&[1, 2, 3, 4, 5][..]));
        assert_eq!(attributes(&bytes[..6]).count(), 0);
        assert_eq!(address(&[10, 96, 0, 1]).unwrap().to_string(), "10.96.0.1");
    }
}
