//! Views over the table that OpenTelemetry's ClickHouse exporters write, and questions to ask of them.

/// One file of SQL.
#[derive(Debug)]
pub struct Query {
    pub name: &'static str,
    /// What it tells, as its first lines say.
    pub text: &'static str,
}

impl Query {
    /// The first line.
    pub fn about(&self) -> &'static str {
        let line = self.text.lines().next().unwrap_or_default();
        line.trim_start_matches("-- ")
    }
}

pub const QUERIES: &[Query] = &[
    Query {
        name: "table",
        text: include_str!("sql/otel_logs.sql"),
    },
    Query {
        name: "views",
        text: include_str!("sql/views.sql"),
    },
    Query {
        name: "workload-drops",
        text: include_str!("sql/workload_drops.sql"),
    },
    Query {
        name: "one-way-tunnels",
        text: include_str!("sql/one_way_tunnels.sql"),
    },
    Query {
        name: "never-arrived",
        text: include_str!("sql/never_arrived.sql"),
    },
    Query {
        name: "causes-over-time",
        text: include_str!("sql/causes_over_time.sql"),
    },
    Query {
        name: "causes-as-one",
        text: include_str!("sql/causes_as_one.sql"),
    },
];

/// One of them by its name.
pub fn query(name: &str) -> Option<&'static Query> {
    QUERIES.iter().find(|it| it.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_says_what_it_tells() {
        for query in QUERIES {
            assert!(query.text.starts_with("-- "), "{}", query.name);
            assert!(query.about().len() > 20, "{}", query.name);
        }
        assert!(query("views").is_some_and(|it| it.text.contains("netdiag_legs")));
    }
}
