//! What a report is made from, told apart by what is in it.
use std::{
    io::{BufRead, Read},
    path::Path,
};

use anyhow::{Context, Result, bail};

use crate::{
    cli::replay::player::Player,
    model::verdict::{SCHEMA, Verdict},
    pipeline::asked::Asked,
    recording::{Replay, opened},
};

/// Bytes of a verdict; one of a large incident has a hundredth of them.
const LONGEST: u64 = 8 << 20;

pub enum Given {
    Recording(Box<Player>),
    Verdict(Box<Verdict>),
}

impl Given {
    pub fn open(path: &Path, asked: &Asked) -> Result<Self> {
        let tried = || format!("cannot read {}", path.display());
        let mut file = opened(path)?;
        let begins = file.fill_buf().with_context(tried)?;
        let is_json = |byte: &u8| matches!(byte, b'{' | b'[');
        match begins.trim_ascii_start().first().is_some_and(is_json) {
            true => Ok(Self::Verdict(Box::new(verdict(file).with_context(tried)?))),
            false => {
                let player = Player::of(Replay::of(file, path)?, path, asked)?;
                Ok(Self::Recording(Box::new(player)))
            }
        }
    }
}

fn verdict(file: impl Read) -> Result<Verdict> {
    let mut text = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut text)?;
    if text.len() as u64 > LONGEST {
        bail!("it is longer than {LONGEST} bytes, and no verdict of netdiag's is");
    }
    let verdict = serde_json::from_slice(&text);
    let verdict: Verdict = verdict.context("it is no verdict of netdiag's")?;
    match verdict.schema == SCHEMA {
        true => Ok(verdict),
        false => bail!(
            "it is a {:?}, and a report is made from a {SCHEMA} or from recordings",
            verdict.schema
        ),
    }
}
