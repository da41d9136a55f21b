//! Recorded nodes that are stood up again.
use std::{collections::BTreeSet, path::Path};

use netdiag_tests::{
    netdiag::{netdiag, sentence},
    netns::sh,
    process::Ended,
    recordings::rewritten,
    require,
    workdir::Workdir,
};
use serde_json::{Value, json};

const TOOLS: [&str; 2] = ["ip", "nft"];
/// Incidents whose fault is the node's configuration, and one without.
const INCIDENTS: [&str; 4] = ["healthy", "firewall-drop", "no-route", "masquerade-missing"];

/// One that is gone when this is.
struct Stands(Value);

impl Stands {
    fn of(ended: &Ended) -> Self {
        Self(ended.json())
    }

    fn namespaces(&self) -> Vec<&str> {
        let all = self.0["namespaces"].as_array().expect("namespaces");
        all.iter().filter_map(|it| it["netns"].as_str()).collect()
    }
}

impl Drop for Stands {
    fn drop(&mut self) {
        let id = self.0["id"].as_str().unwrap_or_default();
        let ended = netdiag(&["lab", "down", id]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        for netns in self.namespaces() {
            assert!(!Path::new("/run/netns").join(netns).exists(), "{netns}");
        }
    }
}

/// A lab's node as it is recorded while its traffic goes on.
fn recorded(workdir: &Workdir, incident: &str) -> String {
    let file = workdir.path(&format!("{incident}.ndr"));
    let file = file.display().to_string();
    let ended = netdiag(&["lab", "run", incident, "--record", &file, "-o", "json"]);
    assert_eq!(ended.code, Some(0), "{incident}: {ended:?}");
    file
}

#[test]
fn what_lived_lives_and_what_died_dies() {
    if require::missing(&TOOLS) {
        return;
    }
    let workdir = Workdir::new();
    for incident in INCIDENTS {
        let file = recorded(&workdir, incident);
        let ended = netdiag(&["lab", "from", &file, "--traffic", "-o", "json"]);
        let stands = Stands::of(&ended);
        let all = stands.0["conversations"].as_array().expect("conversations");
        let lives = |word: &str| all.iter().any(|it| it["here"] == word);
        assert!(lives("lives"), "{incident}: {:#}", stands.0);
        let dies = lives("dies");
        assert!(dies || incident == "healthy", "{incident}: {:#}", stands.0);
        assert_eq!(ended.code, Some(0), "{incident}: {:#}", stands.0);
    }
}

/// Whatever a recording says, of each stack's state.
fn altered(file: &str, with: impl Fn(&mut Value)) -> Vec<u8> {
    fn each(value: &mut Value, with: &dyn Fn(&mut Value)) {
        match value {
            Value::Object(all) => {
                if all.contains_key("devices") && all.contains_key("routes") {
                    with(value);
                    return;
                }
                all.values_mut().for_each(|it| each(it, with));
            }
            Value::Array(all) => all.iter_mut().for_each(|it| each(it, with)),
            _ => {}
        }
    }
    let bytes = std::fs::read(file).expect("a recording");
    rewritten(&bytes, |text| {
        let lines = text.lines().map(|line| {
            let mut line: Value = serde_json::from_str(line).expect("JSON");
            each(&mut line, &with);
            format!("{line}\n")
        });
        lines.collect()
    })
}

/// What is this machine's own.
fn outside() -> (String, BTreeSet<String>) {
    let links = sh(&["ip", "-o", "link"]);
    let forward = std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").expect("a sysctl");
    (
        forward,
        links
            .lines()
            .map(|line| line.split(" mtu").next().unwrap_or_default().to_owned())
            .collect(),
    )
}

#[test]
fn a_hostile_recording_stays_in_its_namespaces() {
    if require::missing(&TOOLS) {
        return;
    }
    let workdir = Workdir::new();
    let file = recorded(&workdir, "healthy");
    let before = outside();
    let names = [
        "../../all",
        "all",
        "a b;reboot",
        "$(id)",
        "\u{1b}[2J",
        "default",
        "..",
    ];
    let hostile = altered(&file, |stack| {
        let Some(devices) = stack["devices"]["Is"].as_object_mut() else {
            return;
        };
        for (device, name) in devices.values_mut().zip(names.iter().cycle()) {
            if device["kind"] != "Loopback" {
                device["name"] = json!(name);
            }
            device["conf4"]["forwarding"] = json!(true);
        }
    });
    let file = workdir.put("names.ndr", &hostile);
    let ended = netdiag(&["lab", "from", &file, "-o", "json"]);
    assert!(!ended.stdout.contains(&0x1b), "{ended:?}");
    drop(Stands::of(&ended));
    assert_eq!(outside(), before);
}

#[test]
fn no_more_is_stood_up_than_is_bounded() {
    if require::missing(&TOOLS) {
        return;
    }
    let workdir = Workdir::new();
    let file = recorded(&workdir, "healthy");
    let many = altered(&file, |stack| {
        let Some(devices) = stack["devices"]["Is"].as_object_mut() else {
            return;
        };
        let one = devices.values().next_back().cloned().expect("a device");
        for index in 1_000..1_600 {
            let mut another = one.clone();
            another["index"] = json!(index);
            another["name"] = json!(format!("many{index}"));
            devices.insert(index.to_string(), another);
        }
    });
    let file = workdir.put("many.ndr", &many);
    let ended = netdiag(&["lab", "from", &file]);
    let said = sentence(&ended);
    assert!(said.contains("no more than 500 are stood up"), "{said}");
    assert_ne!(ended.code, Some(0));
}
