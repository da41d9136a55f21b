//! As much of Grafana's model of a dashboard as is written here (schemaVersion 39, Grafana 10 and
//! later).
use serde::Serialize;

use super::panels::{Kind, Panel as Shown, Row};

const SCHEMA: u32 = 39;
/// Columns of Grafana's grid.
const WIDTH: u32 = 24;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Dashboard {
    editable: bool,
    panels: Vec<Panel>,
    refresh: &'static str,
    schema_version: u32,
    tags: [&'static str; 2],
    templating: Templating,
    time: Span,
    title: &'static str,
    uid: &'static str,
}

#[derive(Debug, Serialize)]
struct Span {
    from: &'static str,
    to: &'static str,
}

#[derive(Debug, Serialize)]
struct Templating {
    list: Vec<Variable>,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Variable {
    name: &'static str,
    label: &'static str,
    r#type: &'static str,
    query: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    datasource: Option<Datasource>,
    #[serde(skip_serializing_if = "Option::is_none")]
    current: Option<Chosen>,
    include_all: bool,
    multi: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    all_value: Option<&'static str>,
    /// 1 where it is asked for when the dashboard is opened, 2 where the span changes, too.
    refresh: u8,
    /// 2 where nobody sees it.
    hide: u8,
}

#[derive(Debug, Serialize)]
struct Chosen {
    text: String,
    value: String,
}

#[derive(Clone, Debug, Serialize)]
struct Datasource {
    r#type: &'static str,
    uid: &'static str,
}

const PROMETHEUS: Datasource = Datasource {
    r#type: "prometheus",
    uid: "${datasource}",
};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Panel {
    id: u32,
    r#type: &'static str,
    title: &'static str,
    grid_pos: Position,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    datasource: Option<Datasource>,
    #[serde(skip_serializing_if = "Option::is_none")]
    field_config: Option<Fields>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    targets: Vec<Target>,
}

#[derive(Debug, Serialize)]
struct Position {
    h: u32,
    w: u32,
    x: u32,
    y: u32,
}

#[derive(Debug, Serialize)]
struct Fields {
    defaults: Defaults,
    overrides: [(); 0],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Defaults {
    unit: &'static str,
    min: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    no_value: Option<&'static str>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Target {
    ref_id: String,
    datasource: Datasource,
    expr: &'static str,
    legend_format: &'static str,
    instant: bool,
    range: bool,
    format: &'static str,
}

impl Dashboard {
    /// Of the agents that Prometheus knows by that job.
    pub fn new(job: &str, rows: &[Row]) -> Self {
        Self {
            editable: true,
            panels: panels(rows),
            refresh: "30s",
            schema_version: SCHEMA,
            tags: ["netdiag", "network"],
            templating: Templating {
                list: variables(job),
            },
            time: Span {
                from: "now-1h",
                to: "now",
            },
            title: "netdiag",
            uid: "netdiag",
        }
    }
}

fn variables(job: &str) -> Vec<Variable> {
    vec![
        Variable {
            name: "datasource",
            label: "Data source",
            r#type: "datasource",
            query: "prometheus".to_owned(),
            refresh: 1,
            ..Variable::default()
        },
        Variable {
            name: "job",
            label: "Job",
            r#type: "constant",
            query: job.to_owned(),
            current: Some(Chosen {
                text: job.to_owned(),
                value: job.to_owned(),
            }),
            hide: 2,
            ..Variable::default()
        },
        Variable {
            name: "instance",
            label: "Node",
            r#type: "query",
            query: "label_values(netdiag_build_info{job=\"$job\"}, instance)".to_owned(),
            datasource: Some(PROMETHEUS),
            include_all: true,
            multi: true,
            all_value: Some(".*"),
            refresh: 2,
            ..Variable::default()
        },
    ]
}

/// Each row's below those of the row before, left to right.
fn panels(rows: &[Row]) -> Vec<Panel> {
    let mut all = Vec::new();
    let (mut x, mut y) = (0, 0);
    let id = |all: &Vec<Panel>| all.len() as u32 + 1;
    for row in rows {
        all.push(Panel {
            id: id(&all),
            r#type: "row",
            title: row.title,
            grid_pos: Position {
                h: 1,
                w: WIDTH,
                x: 0,
                y,
            },
            description: "",
            datasource: None,
            field_config: None,
            targets: Vec::new(),
        });
        y += 1;
        let mut tallest = 0;
        for shown in row.panels {
            let (w, h) = size(shown.kind);
            if x + w > WIDTH {
                (x, y, tallest) = (0, y + tallest, 0);
            }
            all.push(panel(id(&all), shown, Position { h, w, x, y }));
            (x, tallest) = (x + w, tallest.max(h));
        }
        (x, y) = (0, y + tallest);
    }
    all
}

fn size(kind: Kind) -> (u32, u32) {
    match kind {
        Kind::Number => (6, 4),
        Kind::Lines | Kind::Table => (12, 8),
    }
}

fn panel(id: u32, shown: &Shown, grid_pos: Position) -> Panel {
    let now = shown.kind != Kind::Lines;
    let target = |(n, (expr, legend)): (usize, &(&'static str, &'static str))| Target {
        ref_id: char::from(b'A' + n as u8).to_string(),
        datasource: PROMETHEUS,
        expr,
        legend_format: legend,
        instant: now,
        range: !now,
        format: match shown.kind {
            Kind::Table => "table",
            _ => "time_series",
        },
    };
    Panel {
        id,
        r#type: match shown.kind {
            Kind::Lines => "timeseries",
            Kind::Number => "stat",
            Kind::Table => "table",
        },
        title: shown.title,
        grid_pos,
        description: shown.about,
        datasource: Some(PROMETHEUS),
        field_config: Some(Fields {
            defaults: Defaults {
                unit: shown.unit,
                min: 0,
                no_value: shown.none,
            },
            overrides: [],
        }),
        targets: shown.queries.iter().enumerate().map(target).collect(),
    }
}
