//! What dpkg is told of the package (deb-control(5), Debian Policy 4 and 5).
use super::{
    super::{About, SUMMARY, sum::md5, tarball::Payload, tree::Tree},
    REVISION,
};

/// The licence in this format's words.
const EITHER: &str = "Expat or Apache-2.0";

const MAINTAINER: &str = "netdiag maintainers <maintainers@netdiag.invalid>";

const DESCRIPTION: &str =
    " netdiag watches every hop of a node at once (pods' links, bridge, tunnel,
 uplink) with eBPF, sees where packets die and why, joins that with the node's
 configuration and names the cause, with evidence, pods and the command that
 fixes it.
 .
 The agent watches all the time and serves what it sees as metrics for
 Prometheus; it starts with the package and listens on 127.0.0.1:9464.
";

pub fn control(about: &About, kib: u64) -> String {
    let (version, arch) = (&about.version, about.target.debian);
    format!(
        "Package: netdiag\n\
         Version: {version}-{REVISION}\n\
         Architecture: {arch}\n\
         Maintainer: {MAINTAINER}\n\
         Installed-Size: {kib}\n\
         Recommends: nftables\n\
         Suggests: iproute2, iptables, tcpdump\n\
         Section: net\n\
         Priority: optional\n\
         Description: {SUMMARY}\n{DESCRIPTION}"
    )
}

/// The package's own; the program's stands beside it.
pub fn changelog(about: &About) -> String {
    let (version, date) = (&about.version, about.date());
    format!(
        "netdiag ({version}-{REVISION}) unstable; urgency=medium\n\n  \
         * Package of netdiag {version}; its changes are in changelog.gz.\n\n \
         -- {MAINTAINER}  {date}\n"
    )
}

/// In the form that programs read (copyright-format 1.0).
pub fn copyright(payload: &Payload) -> String {
    let [apache, mit] = &payload.licences;
    let mit = String::from_utf8_lossy(&mit.1);
    let holder = mit.lines().find(|line| line.starts_with("Copyright"));
    let holder = holder.unwrap_or("netdiag's authors");
    let holder = holder.trim_start_matches("Copyright (c) ");
    let indented = |text: &str| {
        let line = |line: &str| match line.trim() {
            "" => " .\n".to_owned(),
            text => format!(" {text}\n"),
        };
        text.trim().lines().map(line).collect::<String>()
    };
    // Every Debian has the Apache licence already.
    let has = apache.0;
    format!(
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\
         Upstream-Name: netdiag\n\n\
         Files: *\nCopyright: {holder}\nLicense: {EITHER}\n\
         Comment: What is linked into the program, and its licences, is in THIRD-PARTY.gz.\n\n\
         License: Expat\n{}\n\
         License: Apache-2.0\n The text of {has} is in /usr/share/common-licenses/Apache-2.0.\n",
        indented(&mit)
    )
}

/// A line for each file.
pub fn md5sums(files: &Tree) -> String {
    let line = |(path, content): (&str, &[u8])| format!("{}  {path}\n", md5(content));
    // dpkg looks after configuration itself.
    let all = files.files().filter(|(path, _)| !path.starts_with("etc/"));
    all.map(line).collect()
}
