//! The measurements as `netdiag lab bench` tells them, a JSON line each.
use anyhow::{Context, Result};
use serde_json::Value;

pub const NOTHING: &str = "nothing";
pub const EMPTY: &str = "empty";
pub const NETDIAG: &str = "netdiag";
pub const FLOOD: &str = "flood";
pub const STORM: &str = "storm";

#[derive(Debug)]
pub struct Sample {
    pub round: u64,
    pub attached: String,
    pub load: String,
    /// Packets a second: those that arrived, in a storm those that were sent to be dropped.
    pub rate: f64,
    /// The same a second of the sender's CPU time.
    pub cpu_rate: f64,
    /// Packets that arrived, of those sent.
    pub arrived: f64,
    pub tracer: Option<Tracer>,
    /// Name, runs and nanoseconds of each program; only in timed rounds.
    pub programs: Vec<(String, f64, f64)>,
}

/// What the tracing process took for itself.
#[derive(Debug)]
pub struct Tracer {
    /// CPU seconds a second.
    pub share: f64,
    pub rss: f64,
    pub maps: f64,
}

#[derive(Default)]
pub struct Samples(pub Vec<Sample>);

impl Samples {
    pub fn add(&mut self, line: &str) -> Result<()> {
        let sample = sample(line).with_context(|| format!("`netdiag lab bench` said: {line}"))?;
        self.0.push(sample);
        Ok(())
    }

    /// The latest one, for people who wait.
    pub fn progress(&self) -> String {
        let Some(it) = self.0.last() else {
            return String::new();
        };
        let (round, rate) = (it.round + 1, it.rate / 1e3);
        format!(
            "round {round}: {} with {} attached: {rate:.0} k/s",
            it.load, it.attached
        )
    }

    pub fn of<'a>(&'a self, attached: &'a str, load: &'a str) -> impl Iterator<Item = &'a Sample> {
        let fits = move |it: &&Sample| it.attached == attached && it.load == load;
        self.0.iter().filter(fits)
    }
}

fn sample(line: &str) -> Result<Sample> {
    let value: Value = serde_json::from_str(line).context("no JSON")?;
    let load = text(&value, "load")?;
    let (sent, received) = (number(&value, "sent")?, number(&value, "received")?);
    let (seconds, cpu) = (number(&value, "seconds")?, number(&value, "cpu_seconds")?);
    let packets = if load == STORM { sent } else { received };
    let own = value.get("tracer").filter(|it| !it.is_null());
    let programs = value.get("programs").and_then(Value::as_array);
    Ok(Sample {
        round: number(&value, "round")? as u64,
        attached: text(&value, "attached")?,
        load,
        rate: packets / seconds,
        // What was sent is what that time was spent on, arrived or not.
        cpu_rate: sent / cpu,
        arrived: received / sent,
        tracer: own.map(|it| tracer(it, seconds)).transpose()?,
        programs: programs
            .map_or(&[][..], Vec::as_slice)
            .iter()
            .map(program)
            .collect::<Result<_>>()?,
    })
}

fn tracer(value: &Value, seconds: f64) -> Result<Tracer> {
    Ok(Tracer {
        share: number(value, "cpu_seconds")? / seconds,
        rss: number(value, "rss_bytes")?,
        maps: number(value, "map_bytes")?,
    })
}

fn program(value: &Value) -> Result<(String, f64, f64)> {
    let name = text(value, "name")?;
    Ok((name, number(value, "runs")?, number(value, "ns")?))
}

fn text(value: &Value, name: &str) -> Result<String> {
    let found = value.get(name).and_then(Value::as_str);
    found
        .map(str::to_owned)
        .with_context(|| format!("no {name}"))
}

fn number(value: &Value, name: &str) -> Result<f64> {
    let found = value.get(name).and_then(Value::as_f64);
    found.with_context(|| format!("no {name}"))
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A sample as netdiag writes it.
    pub fn line(round: u64, attached: &str, load: &str, sent: u64) -> String {
        let received = if load == STORM { 0 } else { sent };
        format!(
            r#"{{"round":{round},"attached":"{attached}","load":"{load}","sent":{sent},
            "received":{received},"seconds":2.0,"cpu_seconds":1.0,
            "tracer":{{"cpu_seconds":0.1,"rss_bytes":1048576,"map_bytes":2097152}},
            "programs":[{{"name":"hop_ingress","runs":1000,"ns":120000}}]}}"#
        )
    }

    #[test]
    fn rates_are_a_second() -> Result<()> {
        let mut samples = Samples::default();
        samples.add(&line(0, NETDIAG, STORM, 1000))?;
        let it = &samples.0[0];
        assert_eq!((it.rate, it.cpu_rate, it.arrived), (500.0, 1000.0, 0.0));
        assert_eq!(it.tracer.as_ref().map(|it| it.share), Some(0.05));
        assert!(samples.add("{}").is_err());
        Ok(())
    }
}
