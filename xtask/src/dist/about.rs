//! What every package says of itself.
use std::{env, process::Command};

use anyhow::{Context, Result};
use jiff::{Timestamp, fmt::strtime};

use super::{deb, target::Target};
use crate::{paths, sh};

const VARIABLE: &str = "SOURCE_DATE_EPOCH";

pub struct About {
    pub version: String,
    /// Of the sources, in seconds: what is in packages has no other.
    pub time: u64,
    pub commit: Option<String>,
    pub target: &'static Target,
}

impl About {
    pub fn of(target: &'static Target) -> Result<Self> {
        Ok(Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            time: time()?,
            commit: git(&["rev-parse", "HEAD"]).ok(),
            target,
        })
    }

    /// What files are called before their kind.
    pub fn stem(&self) -> String {
        format!("netdiag-{}-{}-linux", self.version, self.target.arch)
    }

    /// What Debian's is called.
    pub fn deb(&self) -> String {
        let (version, arch) = (&self.version, self.target.debian);
        format!("netdiag_{version}-{}_{arch}.deb", deb::REVISION)
    }

    /// As RFC 3339 has it.
    pub fn created(&self) -> String {
        self.at().to_string()
    }

    /// As Debian's changelogs have it (RFC 5322).
    pub fn date(&self) -> String {
        strtime::format("%a, %d %b %Y %H:%M:%S +0000", self.at()).unwrap_or_default()
    }

    fn at(&self) -> Timestamp {
        let seconds = i64::try_from(self.time).unwrap_or_default();
        Timestamp::from_second(seconds).unwrap_or_default()
    }
}

/// What the environment says, else the commit's (reproducible-builds.org).
fn time() -> Result<u64> {
    let said = match env::var(VARIABLE) {
        Ok(said) => said,
        Err(_) => git(&["log", "-1", "--format=%ct"])
            .with_context(|| format!("no commit tells a time; set {VARIABLE} to seconds"))?,
    };
    let number = said.trim().parse();
    number.with_context(|| format!("{VARIABLE} is no number of seconds: {said:?}"))
}

pub fn git(args: &[&str]) -> Result<String> {
    let mut git = Command::new("git");
    let said = sh::text(git.args(args).current_dir(paths::root()))?;
    Ok(said.trim().to_owned())
}

#[cfg(test)]
impl About {
    pub fn example() -> Self {
        Self {
            version: "1.2.3".into(),
            time: 1_795_336_034,
            commit: Some("0123abcd".into()),
            target: super::target::find(Some("x86_64-unknown-linux-musl")).expect("a target"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc() {
        let about = About::example();
        assert_eq!(about.created(), "2026-11-22T08:27:14Z");
        assert_eq!(about.date(), "Sun, 22 Nov 2026 08:27:14 +0000");
    }
}
