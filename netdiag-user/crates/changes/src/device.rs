//! Devices by their names, and what was read, to be changed.
use netdiag_model::world::{Known, Stack, device::Device};

use crate::Refused;

/// All of it: a change to a part of something tells nothing of the rest.
pub fn whole<T>(known: &mut Known<T>) -> Result<&mut T, Refused> {
    match known {
        Known::Is(all) => Ok(all),
        Known::Partly(..) | Known::Not(_) => Err(Refused::NotRead),
    }
}

pub fn index(stack: &Stack, name: &str) -> Result<u32, Refused> {
    named(stack, name).map(|device| device.index)
}

pub fn named<'a>(stack: &'a Stack, name: &str) -> Result<&'a Device, Refused> {
    let devices = stack.devices.some().ok_or(Refused::NotRead)?;
    let mut all = devices.values();
    all.find(|device| device.name == name)
        .ok_or(Refused::Nothing)
}

pub fn of<'a>(stack: &'a mut Stack, name: &str) -> Result<&'a mut Device, Refused> {
    let index = index(stack, name)?;
    by_index(stack, index)
}

pub fn by_index(stack: &mut Stack, index: u32) -> Result<&mut Device, Refused> {
    let devices = whole(&mut stack.devices)?;
    devices.get_mut(&index).ok_or(Refused::Nothing)
}
