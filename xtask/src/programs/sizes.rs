//! Whether maps keep to their budget on a machine that may have many CPUs, as the kernel counts them.
use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{
    build::Guest,
    test::tally::Tally,
    vm::{self, kernels},
};

/// Two that run of so many that may come.
const CPUS: &str = "2,maxcpus=128";
const POSSIBLE: u64 = 128;
/// Kernels since 6.9 believe in none of QEMU's that is not there. This one counts entries and not
/// their places in lists, and what the routes' table may grow to.
const KERNEL: &str = "6.1";

pub fn test(guest: &Guest, tally: &mut Tally) {
    let title = format!("maps for {POSSIBLE} possible CPUs");
    let machine = kernels::fetch(KERNEL).map(|it| it.with_cpus(CPUS));
    let told = machine.and_then(|it| vm::ask(guest, &it, &super::DOCTOR));
    let judged = told.and_then(|said| {
        let told = serde_json::from_slice(&said.stdout).with_context(|| said.why())?;
        judge(&told)
    });
    match judged {
        Ok(()) => tally.pass(&title),
        Err(error) => tally.fail(&title, &format!("{error:#}")),
    }
}

fn judge(told: &Value) -> Result<()> {
    let cpus = told["possible_cpus"].as_u64();
    ensure!(
        cpus == Some(POSSIBLE),
        "the kernel has {cpus:?} possible CPUs"
    );
    let forms = told["forms"].as_array().context("no forms")?;
    ensure!(!forms.is_empty(), "it loads nothing");
    for form in forms {
        let number = |name: &str| form[name].as_u64().with_context(|| format!("no {name}"));
        let (takes, most) = (number("map_bytes")?, number("map_budget")?);
        ensure!(
            takes > 0 && takes <= most,
            "they take {takes} bytes of {most}"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_the_budget_fails() {
        let told = |cpus: u64, bytes: u64| {
            serde_json::json!({
                "possible_cpus": cpus,
                "forms": [{ "map_bytes": 1, "map_budget": 2 }, { "map_bytes": bytes, "map_budget": 2 }],
            })
        };
        assert!(judge(&told(128, 2)).is_ok());
        for wrong in [told(128, 3), told(128, 0), told(2, 2)] {
            assert!(judge(&wrong).is_err(), "{wrong}");
        }
        assert!(judge(&serde_json::json!({ "possible_cpus": 128, "forms": [] })).is_err());
    }
}
