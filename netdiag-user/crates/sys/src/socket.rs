//! Socket options that neither std nor socket2 has.
#![expect(
    unsafe_code,
    reason = "IP_MTU_DISCOVER and netfilter's options have no safe wrapper"
)]
use std::{io, os::fd::RawFd};

/// Sets an integer socket option.
pub fn set_option(fd: RawFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    // SAFETY: the kernel reads the four bytes of `value`, which lives until the call returns.
    let done = unsafe {
        libc::setsockopt(
            fd,
            level,
            name,
            (&raw const value).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// What a socket option holds, as many bytes of it as there is room for; what it is asked about stands there before.
/// Returns how many there are.
pub fn option(fd: RawFd, level: i32, name: i32, about: &mut [u8]) -> io::Result<usize> {
    let too_long = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let mut length = libc::socklen_t::try_from(about.len()).map_err(too_long)?;
    // SAFETY: the kernel reads and writes `length` bytes of `about` at the most, which lives until the call returns.
    let done =
        unsafe { libc::getsockopt(fd, level, name, about.as_mut_ptr().cast(), &raw mut length) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(length as usize)
}

/// The number of the network namespace that a socket is of, which no other ever has (SO_NETNS_COOKIE, since 5.14).
pub fn netns_cookie(fd: RawFd) -> io::Result<u64> {
    const SO_NETNS_COOKIE: i32 = 71;
    let mut cookie = [0; size_of::<u64>()];
    option(fd, libc::SOL_SOCKET, SO_NETNS_COOKIE, &mut cookie)?;
    Ok(u64::from_ne_bytes(cookie))
}

/// What may be done with packets that are larger than a link on their way takes (ip(7),
/// IP_MTU_DISCOVER).
#[derive(Clone, Copy, Debug)]
#[repr(i32)]
pub enum Fragments {
    /// Never set DF.
    Allowed = 0,
    /// Always set DF; what is larger than the path's MTU is refused at once.
    Refused = 2,
    /// Always set DF, and do not ask what was learnt about the path.
    Never = 3,
}

/// Has every packet's mark told in a message of its own (SO_RCVMARK, since 5.19).
pub fn tell_marks(fd: RawFd, on: bool) -> io::Result<()> {
    const SO_RCVMARK: i32 = 75;
    set_option(fd, libc::SOL_SOCKET, SO_RCVMARK, i32::from(on))
}

/// For IPv4, or for IPv6, whose option and values mean the same.
pub fn set_fragments(fd: RawFd, ipv4: bool, value: Fragments) -> io::Result<()> {
    let (level, name) = match ipv4 {
        true => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER),
        false => (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER),
    };
    set_option(fd, level, name, value as i32)
}
