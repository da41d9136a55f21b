//! The schemas hold for what is printed of every recording, change only on purpose, and refuse what is
//! wrong.
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use netdiag::output::schema::Kind;
use netdiag_tests::{recordings, schema::Form};
use serde_json::{Value, json};

use super::{
    replayed::replayed,
    snapshots::{self, Kind as Snapshot},
};

const WIDTH: usize = 100;

/// Recordings that are of one incident.
const TOGETHER: [&str; 5] = [
    "healthy",
    "no-route",
    "overlay-port-or-vni-mismatch",
    "pod-route-missing",
    "vxlan-source-mismatch",
];

fn form(kind: Kind) -> Form {
    Form::strict(kind.schema())
}

fn verdict(files: &[&Path]) -> Value {
    serde_json::from_str(&replayed(files, "json", WIDTH).text).expect("JSON")
}

/// Those of several nodes.
fn of_nodes(stem: &str) -> Vec<PathBuf> {
    let names = recordings::names();
    let of = |name: &&String| name.starts_with(&format!("{stem}."));
    names
        .iter()
        .filter(of)
        .map(|it| recordings::file(it))
        .collect()
}

#[test]
fn every_recordings_verdict_holds() {
    let form = form(Kind::Verdict);
    let names = recordings::names();
    assert!(names.len() > 50, "{names:?}");
    for name in names {
        form.assert_holds(&verdict(&[&recordings::file(&name)]));
    }
    for stem in TOGETHER {
        let files = of_nodes(stem);
        let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
        assert!(files.len() > 1, "{stem}");
        form.assert_holds(&verdict(&files));
    }
}

#[test]
fn every_recordings_events_hold() {
    let form = form(Kind::Events);
    let alone = recordings::names();
    let alone = alone.iter().map(|name| vec![recordings::file(name)]);
    let together = TOGETHER.into_iter().map(of_nodes);
    let mut types = BTreeSet::new();
    for files in alone.chain(together) {
        let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
        for line in replayed(&files, "ndjson", WIDTH).text.lines() {
            let event: Value = serde_json::from_str(line).expect("JSON");
            form.assert_holds(&event);
            types.extend(event["type"].as_str().map(str::to_owned));
        }
    }
    let seen = [
        "between",
        "dns",
        "drop",
        "finding",
        "foreign",
        "oom",
        "oversize",
        "retransmit",
        "stats",
        "unreachable",
        "vxlan_source_mismatch",
    ];
    let missing: Vec<_> = seen.iter().filter(|it| !types.contains(**it)).collect();
    assert!(missing.is_empty(), "no recording has {missing:?}");
}

/// Whoever changes one of these reads in netdiag-user/crates/output/src/schema.rs whether it is still the same
/// version.
#[test]
fn schemas_are_as_before() {
    let mut names = BTreeSet::new();
    for kind in Kind::ALL {
        let name = kind.name().replace('/', ".");
        let text = format!("{:#}", kind.schema());
        snapshots::compare(Snapshot::Schema, &name, &text);
        names.insert(name);
    }
    snapshots::no_orphans(Snapshot::Schema, &names);
}

#[test]
fn what_is_wrong_is_refused() {
    let form = form(Kind::Verdict);
    let good = verdict(&[&recordings::file("firewall-drop")]);
    form.assert_holds(&good);
    let changed = |at: &str, value: Value| {
        let mut bad = good.clone();
        *bad.pointer_mut(at).expect("it is there") = value;
        bad
    };
    let without = |at: &str, member: &str| {
        let mut bad = good.clone();
        let object = bad.pointer_mut(at).and_then(Value::as_object_mut);
        object
            .expect("an object")
            .remove(member)
            .expect("it was there");
        bad
    };
    for bad in [
        changed("/schema", json!("netdiag.verdict/2")),
        changed("/verdict", json!("sick")),
        changed("/started", json!("yesterday")),
        changed("/node", json!("")),
        changed("/findings/0/severity", json!("bad")),
        changed("/findings/0/confidence", json!("sure")),
        changed("/findings/0/evidence/0/kind", json!("hearsay")),
        changed("/findings/0/flows/0/packets", json!(-1)),
        without("", "verdict"),
        without("/findings/0", "cause"),
        without("/findings/0/fix", "commands"),
        without("/observer", "lost"),
    ] {
        assert!(!form.wrongs(&bad).is_empty(), "{bad:#}");
    }
}

/// What later versions add is nothing that an older reader stumbles over, and these tests find it.
#[test]
fn what_is_added_is_let_pass() {
    let form = form(Kind::Verdict);
    let open = jsonschema::validator_for(&Kind::Verdict.schema()).expect("a schema");
    let now = verdict(&[&recordings::file("firewall-drop")]);
    for at in [
        "",
        "/findings/0",
        "/findings/0/evidence/0",
        "/findings/0/pods/0",
        "/findings/0/flows/0",
        "/findings/0/fix",
        "/drops/0",
        "/drops/0/pod",
        "/observer",
    ] {
        let mut later = now.clone();
        let object = later.pointer_mut(at).and_then(Value::as_object_mut);
        object.expect("an object").insert("added".into(), json!(1));
        assert!(!form.wrongs(&later).is_empty(), "{at}");
        assert!(open.is_valid(&later), "{at}");
    }
}
