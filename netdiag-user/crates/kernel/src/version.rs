//! Which Linux runs, for what no other question tells.
use nix::sys::utsname::uname;

/// As uname(2) has it; nothing where it cannot say.
pub fn release() -> String {
    uname().map_or(String::new(), |it| it.release().to_string_lossy().into())
}

/// Its first two numbers.
pub fn running() -> (u32, u32) {
    numbers(&release())
}

/// Since 5.11 eBPF's memory is the cgroup's matter; before, it is locked memory of the process's user.
pub fn counts_maps_as_locked_memory() -> bool {
    running() < (5, 11)
}

fn numbers(release: &str) -> (u32, u32) {
    let mut numbers = release.split(['.', '-']).map_while(|n| n.parse().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read() {
        assert_eq!(numbers("5.10.0-32-cloud-amd64"), (5, 10));
        assert_eq!(numbers("6.18.44-fc"), (6, 18));
        assert_eq!(numbers("7-rc1"), (7, 0));
        assert_eq!(numbers(""), (0, 0));
    }
}
