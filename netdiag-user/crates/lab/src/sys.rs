//! The system calls of the lab for which neither std nor nix has a safe form.
#![expect(
    unsafe_code,
    reason = "SIOCETHTOOL, sendmmsg and pre_exec have no safe wrapper"
)]
use std::fs::File;
use std::io::{self, Write};
use std::net::{SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::unistd::{getpid, getppid};

/// One of ethtool's on/off settings (include/uapi/linux/ethtool.h).
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub enum Feature {
    Tso = 0x1f,
    Gso = 0x24,
    Gro = 0x2c,
}

#[repr(C)]
struct EthtoolValue {
    cmd: u32,
    data: u32,
}

/// Switches an offload of a device in the calling thread's network namespace.
pub fn set_feature(socket: &File, device: &str, feature: Feature, on: bool) -> io::Result<()> {
    const SIOCETHTOOL: libc::Ioctl = 0x8946;
    let name = device.as_bytes();
    if name.len() >= libc::IFNAMSIZ {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let mut value = EthtoolValue {
        cmd: feature as u32,
        data: u32::from(on),
    };
    // SAFETY: ifreq is a plain C struct for which all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name) {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: the kernel reads and writes `request` and the eight bytes of `value` behind it,
    // both of which outlive the call.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Sends the same datagram `copies` times on a connected socket, in one system call; returns how
/// many went out.
pub fn send_copies(socket: &UdpSocket, datagram: &[u8], copies: usize) -> io::Result<usize> {
    let mut bytes = libc::iovec {
        iov_base: datagram.as_ptr().cast_mut().cast(),
        iov_len: datagram.len(),
    };
    // SAFETY: mmsghdr is a plain C struct for which all zeroes is a valid value: no address, no
    // control data.
    let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
    message.msg_hdr.msg_iov = &raw mut bytes;
    message.msg_hdr.msg_iovlen = 1;
    let mut messages = vec![message; copies];
    // SAFETY: the kernel reads the datagram through `bytes` and writes the messages' lengths;
    // all of it outlives the call.
    let sent = unsafe {
        libc::sendmmsg(
            socket.as_raw_fd(),
            messages.as_mut_ptr(),
            messages.len() as libc::c_uint,
            0,
        )
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Sends each datagram to its own address by a raw socket of UDP, in one system call; returns how
/// many went out.
pub fn send_each<const N: usize>(
    socket: &impl AsRawFd,
    datagrams: &[(SocketAddrV4, [u8; N])],
) -> io::Result<usize> {
    let to = |(to, _): &(SocketAddrV4, [u8; N])| libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: 0,
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes(to.ip().octets()),
        },
        sin_zero: [0; 8],
    };
    let mut addresses: Vec<_> = datagrams.iter().map(to).collect();
    let bytes = |(_, bytes): &(SocketAddrV4, [u8; N])| libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    let mut bytes: Vec<_> = datagrams.iter().map(bytes).collect();
    let parts = addresses.iter_mut().zip(&mut bytes);
    let message = |(address, bytes): (&mut libc::sockaddr_in, &mut libc::iovec)| {
        // SAFETY: mmsghdr is a plain C struct for which all zeroes is a valid value: no control data.
        let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
        message.msg_hdr.msg_name = (&raw mut *address).cast();
        message.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
        message.msg_hdr.msg_iov = &raw mut *bytes;
        message.msg_hdr.msg_iovlen = 1;
        message
    };
    let mut messages: Vec<_> = parts.map(message).collect();
    // SAFETY: the kernel reads the addresses and datagrams and writes the messages' lengths; all of
    // it outlives the call.
    let sent = unsafe {
        libc::sendmmsg(
            socket.as_raw_fd(),
            messages.as_mut_ptr(),
            messages.len() as libc::c_uint,
            0,
        )
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Makes the command run in the cgroup whose `cgroup.procs` that is.
pub fn join_before_exec(command: &mut Command, door: File) {
    let join = move || (&door).write_all(b"0");
    // SAFETY: between fork and exec the closure makes one system call.
    unsafe {
        command.pre_exec(join);
    }
}

/// Makes the command run in a network namespace as `ip netns exec` would run it: with a mount
/// namespace of its own whose /sys shows the devices of that namespace. The command is told to
/// end when the thread that started it ends.
pub fn enter_before_exec(command: &mut Command, netns: File) {
    let parent = getpid();
    let enter = move || -> io::Result<()> {
        // The parent's handler came along with the fork and would swallow it until exec.
        // SAFETY: the default action is no handler that could misbehave.
        unsafe { signal(Signal::SIGTERM, SigHandler::SigDfl)? };
        set_pdeathsig(Signal::SIGTERM)?;
        // Killed before it could be noted: nobody else will end this process.
        if getppid() != parent {
            return Err(io::ErrorKind::Interrupted.into());
        }
        setns(&netns, CloneFlags::CLONE_NEWNET)?;
        unshare(CloneFlags::CLONE_NEWNS)?;
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_SLAVE | MsFlags::MS_REC, none)?;
        // A mount below /sys may be busy; the new sysfs then simply covers it.
        let _ = umount2("/sys", MntFlags::MNT_DETACH);
        mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), none)?;
        Ok(())
    };
    // SAFETY: between fork and exec the closure only makes system calls; it neither allocates
    // (paths are short and go on the stack) nor takes a lock.
    unsafe {
        command.pre_exec(enter);
    }
}
