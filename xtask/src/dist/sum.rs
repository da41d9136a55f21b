//! Sums of files, as sha256sum(1) and dpkg(1) write them.
use md5::Md5;
use sha2::{Digest, Sha256};

pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub fn md5(bytes: &[u8]) -> String {
    hex(&Md5::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of nothing, as RFC 6234 and RFC 1321 have them.
    #[test]
    fn sums_of_nothing() {
        assert!(sha256(b"").starts_with("e3b0c44298fc1c149afbf4c8996fb924"));
        assert_eq!(md5(b""), "d41d8cd98f00b204e9800998ecf8427e");
    }
}
