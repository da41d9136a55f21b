//! Which of the two text formats a scraper gets. They differ in the lines that describe a family:
//! OpenMetrics names a counter without its `_total` there, and ends with a line of its own.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    OpenMetrics,
    /// Prometheus' own, version 0.0.4.
    Prometheus,
}

const OPEN_METRICS: &str = "application/openmetrics-text";

impl Format {
    /// What a scraper with this header `Accept` takes.
    pub fn accepted(header: &str) -> Self {
        match header.contains(OPEN_METRICS) {
            true => Self::OpenMetrics,
            false => Self::Prometheus,
        }
    }

    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// The page in this format, from OpenMetrics.
    pub(super) fn of(self, page: String) -> String {
        match self {
            Self::OpenMetrics => page,
            Self::Prometheus => older(&page),
        }
    }
}

fn older(page: &str) -> String {
    let mut text = String::with_capacity(page.len());
    let mut help = None;
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = Some(rest);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or((rest, "untyped"));
            let end = if kind == "counter" { "_total" } else { "" };
            if let Some((_, help)) = help.take().and_then(|help| help.split_once(' ')) {
                text.push_str(&format!("# HELP {name}{end} {help}\n"));
            }
            text.push_str(&format!("# TYPE {name}{end} {kind}\n"));
        } else if !line.starts_with("# ") {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_described_by_their_whole_name() {
        let page = "# HELP a Drops.\n# TYPE a counter\n# UNIT a seconds\na_total{x=\"# TYPE b counter\"} 1\n\
            # HELP g Now.\n# TYPE g gauge\ng 1\n# EOF\n";
        let text = "# HELP a_total Drops.\n# TYPE a_total counter\na_total{x=\"# TYPE b counter\"} 1\n\
            # HELP g Now.\n# TYPE g gauge\ng 1\n";
        assert_eq!(Format::Prometheus.of(page.to_owned()), text);
        assert_eq!(Format::OpenMetrics.of(page.to_owned()), page);
    }

    #[test]
    fn whoever_takes_openmetrics_gets_it() {
        let prometheus =
            "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;q=0.5,*/*;q=0.1";
        assert_eq!(Format::accepted(prometheus), Format::OpenMetrics);
        assert_eq!(Format::accepted("*/*"), Format::Prometheus);
        assert_eq!(Format::accepted(""), Format::Prometheus);
    }
}
