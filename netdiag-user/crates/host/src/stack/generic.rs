//! Generic netlink (include/uapi/linux/genetlink.h): families by their names, and what is asked of them.
use std::ops::ControlFlow;

use anyhow::Result;

use crate::gather::netlink::{self, HEADER, attribute, nla, u16_at};

pub const GENERIC: isize = 16;
/// `struct genlmsghdr`.
const HEADER_TOO: usize = 4;
/// NLM_F_REQUEST.
const REQUEST: u16 = 1;
const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;

/// Its number, which the kernel gives anew whenever it starts; nothing where it tells none.
pub fn family(name: &str) -> Result<Option<u16>> {
    let mut found = None;
    let name = [name.as_bytes(), b"\0"].concat();
    let name = [(CTRL_ATTR_FAMILY_NAME, name.as_slice())];
    let request = request(GENL_ID_CTRL, REQUEST, CTRL_CMD_GETFAMILY, &name);
    netlink::until(GENERIC, &request, |message| {
        let id = attribute(members(message), CTRL_ATTR_FAMILY_ID);
        found = id.and_then(|id| u16_at(id, 0));
        // It is one answer and no listing.
        ControlFlow::Break(())
    })?;
    Ok(found)
}

pub fn members(message: &[u8]) -> &[u8] {
    message.get(HEADER + HEADER_TOO..).unwrap_or_default()
}

pub fn request(family: u16, flags: u16, command: u8, members: &[(u16, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    bytes.extend(family.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.resize(HEADER, 0);
    bytes.extend([command, 1, 0, 0]);
    for (kind, value) in members {
        bytes.extend(nla(*kind, value));
    }
    let length = (bytes.len() as u32).to_ne_bytes();
    bytes[..4].copy_from_slice(&length);
    bytes
}
