//! When a log's line was written: by its own words, by whoever wrote it down.
use std::time::Duration;

use jiff::{Timestamp, ToSpan, civil::DateTime, tz::TimeZone};

use super::message::{klog, split};
use crate::gather::Places;

const ZONE: &str = "/etc/localtime";
const LARGEST: u64 = 1 << 16;
/// Lines of which one has a time.
const FIRST: usize = 100;

/// The node's time zone and year: kubelet and syslog write neither.
pub struct Clock {
    zone: TimeZone,
    now: Timestamp,
}

impl Clock {
    pub fn of_node(places: &Places, now: Duration) -> Self {
        let data = places.bytes(ZONE.as_ref(), LARGEST);
        let zone = data.and_then(|data| TimeZone::tzif("node", &data).ok());
        let now = i128::try_from(now.as_nanos()).unwrap_or(0);
        Self {
            zone: zone.unwrap_or(TimeZone::UTC),
            now: Timestamp::from_nanosecond(now).unwrap_or_default(),
        }
    }

    /// Nanoseconds since 1970.
    pub fn now(&self) -> i64 {
        i64::try_from(self.now.as_nanosecond()).unwrap_or(i64::MAX)
    }

    /// Nanoseconds since 1970. What stands within a line is no time of it.
    pub fn when(&self, line: &str) -> Option<i64> {
        let (_, said) = split(line);
        let stamp = own(said).or_else(|| before(line));
        let stamp = stamp.or_else(|| self.klog(said));
        let stamp = stamp.or_else(|| self.syslog(line))?;
        i64::try_from(stamp.as_nanosecond()).ok()
    }

    /// The first line's that has one.
    pub fn oldest(&self, text: &str) -> Option<Timestamp> {
        // The first may be a part of one, and some have several lines.
        let when = text.lines().take(FIRST).find_map(|line| self.when(line))?;
        Timestamp::from_nanosecond(when.into()).ok()
    }

    /// `E1120 15:00:00.123456`, before what it says (k8s.io/klog).
    fn klog(&self, said: &str) -> Option<Timestamp> {
        let (head, _) = klog(said)?;
        let (day, rest) = head.split_once(' ')?;
        let time = rest.split_ascii_whitespace().next()?;
        let date = format!("{} {} {time}", &day[1..3], &day[3..]);
        self.yearless("%m %d %H:%M:%S%.f", &date)
    }

    /// `Nov 20 15:00:00` (RFC 3164).
    fn syslog(&self, line: &str) -> Option<Timestamp> {
        let mut words = line.split_ascii_whitespace();
        let date = [words.next()?, words.next()?, words.next()?].join(" ");
        self.yearless("%b %d %H:%M:%S", &date)
    }

    fn yearless(&self, format: &str, date: &str) -> Option<Timestamp> {
        let year = self.now.to_zoned(self.zone.clone()).year();
        let of = |year: i16| {
            let text = format!("{year} {date}");
            let civil = DateTime::strptime(format!("%Y {format}"), text).ok()?;
            Some(civil.to_zoned(self.zone.clone()).ok()?.timestamp())
        };
        let stamp = of(year)?;
        // On New Year's Day a line of December is one of last year's.
        let tomorrow = self.now.checked_add(24.hours()).ok()?;
        if stamp > tomorrow {
            of(year.checked_sub(1)?)
        } else {
            Some(stamp)
        }
    }
}

/// `time="2026-11-20T15:00:00.123456789Z"`, as containerd and CRI-O write it, or as JSON.
fn own(said: &str) -> Option<Timestamp> {
    let by_json = || {
        let value: serde_json::Value = serde_json::from_str(said).ok()?;
        value.get("time")?.as_str()?.parse().ok()
    };
    match said.strip_prefix("time=\"") {
        Some(rest) => rest.split('"').next()?.parse().ok(),
        None => said.starts_with('{').then(by_json)?,
    }
}

/// What comes first: RFC 3339 (syslog), or seconds since 1970 (`journalctl -o short-unix`).
fn before(line: &str) -> Option<Timestamp> {
    let first = line.split_ascii_whitespace().next()?;
    let seconds = |text: &str| {
        let (whole, part) = text.split_once('.')?;
        let whole = whole.parse().ok()?;
        let micros: i32 = (part.len() == 6).then(|| part.parse().ok())??;
        Timestamp::new(whole, micros.checked_mul(1000)?).ok()
    };
    first.parse().ok().or_else(|| seconds(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hand_is_read() {
        let now: Timestamp = "2026-11-20T15:00:05Z".parse().expect("a time");
        let clock = Clock {
            zone: TimeZone::UTC,
            now,
        };
        let when = "2026-11-20T15:00:00Z".parse::<Timestamp>().expect("a time");
        let when = i64::try_from(when.as_nanosecond()).expect("before 2262");
        for line in [
            "time=\"2026-11-20T15:00:00Z\" level=error",
            "Nov 20 16:00:00 n1 containerd[7]: time=\"2026-11-20T15:00:00.000Z\" level=info",
            "2026-11-20T16:00:00+01:00 n1 kubelet[7]: E1120 15:00:00.0 7 x.go:1] y",
            "1795186800.000000 n1 kubelet[7]: y",
            "E1120 15:00:00.000000    7 x.go:1] \"y\"",
            "Nov 20 15:00:00 n1 kubelet: y",
            "{\"msg\":\"y\",\"time\":\"2026-11-20T15:00:00Z\"}",
        ] {
            assert_eq!(clock.when(line), Some(when), "{line}");
        }
        let december = clock.when("Dec 31 23:59:59 n1 kubelet: y");
        assert!(december.is_some_and(|d| d < when), "last year's");
        let text = "cut off\nE1120 15:00:00.0 7 x.go:1] y\nNov 20 16:00:00 n1 x: y\n";
        let oldest = clock.oldest(text).map(|time| time.to_string());
        assert_eq!(oldest.as_deref(), Some("2026-11-20T15:00:00Z"));
        for line in [
            "",
            "x",
            "E1199 99:00:00.0",
            "time=\"",
            "Nov 20",
            "x time=\"2026-11-20T15:00:00Z\"",
            "x E1120 15:00:00.000000    7 x.go:1] y",
        ] {
            assert_eq!(clock.when(line), None, "{line}");
        }
    }
}
