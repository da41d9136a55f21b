//! Which process holds a socket: /proc/PID/fd names it by its inode (proc(5)).
use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

/// Names of the processes that hold these sockets, `nginx[42]`. Only what may be read is found.
pub fn owners(root: &Path, sockets: &HashSet<u32>) -> HashMap<u32, String> {
    let mut found = HashMap::new();
    let processes = std::fs::read_dir(root.join("proc")).into_iter().flatten();
    for process in processes.flatten() {
        let pid = process.file_name().to_string_lossy().into_owned();
        if !pid.bytes().all(|b| b.is_ascii_digit()) {
            continue;
        }
        for inode in held(&process.path()) {
            if sockets.contains(&inode) && !found.contains_key(&inode) {
                found.insert(inode, name(&process.path(), &pid));
            }
        }
        if found.len() == sockets.len() {
            break;
        }
    }
    found
}

/// Inodes of a process's sockets.
fn held(process: &Path) -> impl Iterator<Item = u32> {
    let files = std::fs::read_dir(process.join("fd")).into_iter().flatten();
    files.flatten().filter_map(|file| {
        let target = std::fs::read_link(file.path()).ok()?;
        let inode = target.to_str()?.strip_prefix("socket:[")?;
        inode.strip_suffix(']')?.parse().ok()
    })
}

fn name(process: &Path, pid: &str) -> String {
    let comm = std::fs::read_to_string(process.join("comm")).unwrap_or_default();
    format!("{}[{pid}]", comm.trim())
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
