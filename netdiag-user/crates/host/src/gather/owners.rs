//! Which process holds a socket: /proc/PID/fd names it by its inode (proc(5)).
use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

use super::processes;
use crate::{model::text, sys::file};

/// Open files that are looked at: of one process, and of all.
const MOST_FILES: usize = 65_536;
const MOST: usize = 1 << 20;
/// include/linux/sched.h, TASK_COMM_LEN.
const COMM: usize = 16;

/// Names of the processes that hold these sockets, `nginx[42]`. Only what may be read is found.
pub fn owners(root: &Path, sockets: &HashSet<u32>) -> HashMap<u32, String> {
    let mut found = HashMap::new();
    let mut left = MOST;
    for process in processes::folders(root).take(processes::MOST) {
        for file in file::entries(&process.join("fd"), MOST_FILES.min(left)) {
            left -= 1;
            let Some(inode) = socket(&file.path()).filter(|inode| sockets.contains(inode)) else {
                continue;
            };
            found.entry(inode).or_insert_with(|| name(&process));
        }
        if found.len() == sockets.len() || left == 0 {
            break;
        }
    }
    found
}

/// Inode of the socket that an open file is.
fn socket(file: &Path) -> Option<u32> {
    let target = std::fs::read_link(file).ok()?;
    let inode = target.to_str()?.strip_prefix("socket:[")?;
    inode.strip_suffix(']')?.parse().ok()
}

/// What it calls itself may be anything.
fn name(process: &Path) -> String {
    let (bytes, _) = file::start(&process.join("comm"), COMM).unwrap_or_default();
    let comm = text::line(&String::from_utf8_lossy(&bytes), COMM);
    let pid = process.file_name().unwrap_or_default().to_string_lossy();
    format!("{comm}[{pid}]")
}

#[cfg(test)]
mod tests {
    use std::{net::UdpSocket, os::fd::AsRawFd};

    use super::*;

    #[test]
    fn this_process_owns_its_socket() {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let path = format!("/proc/self/fd/{}", socket.as_raw_fd());
        let target = std::fs::read_link(path).expect("a link");
        let digits = target
            .to_string_lossy()
            .replace(|c: char| !c.is_ascii_digit(), "");
        let inode = digits.parse().expect("an inode");
        let found = owners(Path::new("/"), &HashSet::from([inode]));
        let own = format!("[{}]", std::process::id());
        assert!(found[&inode].ends_with(&own));
    }
}
