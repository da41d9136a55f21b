//! Devices that a program has (drivers/net/tun.c).
#![expect(unsafe_code, reason = "nothing safer makes a file that of a device")]
use std::{fs::File, io, os::fd::AsRawFd as _};

nix::ioctl_write_ptr_bad!(
    /// TUNSETIFF (include/uapi/linux/if_tun.h).
    set_device,
    0x4004_54ca,
    libc::ifreq
);

/// Makes an open `/dev/net/tun` that of the tun device with this name in this thread's namespace.
pub fn attach(file: &File, name: &str) -> io::Result<()> {
    let flags = libc::c_short::try_from(libc::IFF_TUN | libc::IFF_NO_PI);
    let mut request = libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru {
            ifru_flags: flags.map_err(io::Error::other)?,
        },
    };
    let bytes = name.bytes().take(libc::IFNAMSIZ - 1);
    for (to, byte) in request.ifr_name.iter_mut().zip(bytes) {
        *to = byte.cast_signed();
    }
    // SAFETY: the file is open, and the request is whole and lives as long as the call.
    unsafe { set_device(file.as_raw_fd(), &raw const request) }?;
    Ok(())
}
