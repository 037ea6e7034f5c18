//! nftables tables and their input policies through nfnetlink. `nft` would read every rule to list the tables.

use std::io;

use nix::sys::socket::SockProtocol;

use super::message::{attribute, text};
use super::socket::{DUMP, Socket};

const SUBSYSTEM: u16 = 10 << 8;
const GET_TABLE: u16 = 1;
const GET_CHAIN: u16 = 4;
const HEADER: usize = 4;
const TABLE_NAME: u16 = 1;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const HOOK_NUMBER: u16 = 1;
/// The hook for packets to this host.
const INPUT: [u8; 4] = [0, 0, 0, 1];
const DROP: [u8; 4] = [0; 4];

/// The name of a table family in `nft`.
fn family(number: u8) -> Option<&'static str> {
    match number {
        1 => Some("inet"),
        2 => Some("ip"),
        10 => Some("ip6"),
        _ => None,
    }
}

/// All IP tables, each as `FAMILY NAME`.
///
/// # Errors
/// If the kernel refuses, or has no nftables.
pub fn tables() -> io::Result<Vec<String>> {
    let answers = Socket::open(SockProtocol::NetlinkNetFilter)?.request(SUBSYSTEM | GET_TABLE, DUMP, &[0; HEADER])?;
    let one = |answer: &Vec<u8>| {
        let name = attribute(answer.get(HEADER..)?, TABLE_NAME).map(text)?;
        Some(format!("{} {name}", family(*answer.first()?)?))
    };
    Ok(answers.iter().filter_map(one).collect())
}

/// The families (`ip`, `ip6`, `inet`) of input chains with the policy drop.
///
/// # Errors
/// If the kernel refuses, or has no nftables.
pub fn input_drops() -> io::Result<Vec<&'static str>> {
    let answers = Socket::open(SockProtocol::NetlinkNetFilter)?.request(SUBSYSTEM | GET_CHAIN, DUMP, &[0; HEADER])?;
    let one = |answer: &Vec<u8>| {
        let attributes = answer.get(HEADER..)?;
        let hook = attribute(attribute(attributes, CHAIN_HOOK)?, HOOK_NUMBER)?;
        (hook == INPUT && attribute(attributes, CHAIN_POLICY)? == DROP).then_some(())?;
        family(*answer.first()?)
    };
    Ok(answers.iter().filter_map(one).collect())
}
