use std::os::unix::fs::PermissionsExt;

use jiff::Timestamp;

use super::*;
use crate::{
    model::text,
    pipeline::testing::{POD, lost, tcp},
    recording::Replay,
    snapshot::{Taken, take},
};

const SECOND: u64 = 1_000_000_000;
const EXTENT: Extent = Extent {
    time: Duration::from_secs(80),
    bytes: 64 << 20,
};

/// An agent whose hooks were there at `hooked` seconds; its clock began an hour ago.
fn scene(hooked: u64) -> Scene {
    let mut scene = crate::testing::scene();
    scene.clock.wall = Timestamp::now() - jiff::SignedDuration::from_secs(3600);
    scene.run.hooked = hooked * SECOND;
    scene
}

/// So many packets were dropped until then, the first of them at `first`.
fn reading(second: u64, packets: u64, first: u64) -> Observation {
    let mut drop = lost(tcp("10.0.0.1", "10.0.0.2", 80), 0, POD, packets, 0);
    drop.1.first = first;
    Observation {
        now: second * SECOND,
        drops: vec![drop],
        ..Observation::default()
    }
}

/// A drop a second from then to then.
fn watch(history: &mut History, scene: &Scene, from: u64, to: u64) {
    for second in from..to {
        let mut reading = reading(second, 1 + second - from, from);
        history.put(scene, &mut reading).expect("kept");
    }
}

/// A snapshot of what is newer than this second, and the packets that it says were dropped.
fn snapshot(folder: &Path, scene: &Scene, since: u64) -> Result<(Taken, u64, u64), String> {
    let file = folder.join("out.ndr");
    let to = Recorder::create(&file).expect("made");
    let taken = take(folder, scene.clock.time(since * SECOND), to);
    let taken = taken.map_err(|e| format!("{e:#}"))?;
    let mut replay = Replay::open(&file).expect("a recording");
    let mut packets = 0;
    while let Some(reading) = replay.tick() {
        packets = reading.drops.iter().map(|(_, row)| row.packets).sum();
    }
    assert!(replay.trouble().is_none());
    Ok((taken, packets, replay.scene.run.started))
}

#[test]
fn the_last_minutes_are_one_recording_of_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path().join("a/history");
    let scene = scene(100);
    let mut history = History::open(&folder, EXTENT).expect("opened");
    watch(&mut history, &scene, 101, 161);
    let (taken, packets, started) = snapshot(&folder, &scene, 0).expect("all of it");
    assert_eq!(
        (packets, started),
        (59, 100 * SECOND),
        "from the beginning on"
    );
    assert_eq!((taken.readings, taken.earlier), (30, 0));
    let (taken, packets, started) = snapshot(&folder, &scene, 140).expect("the end of it");
    assert_eq!((packets, started), (20, 139 * SECOND));
    assert_eq!(taken.to, scene.clock.time(159 * SECOND));
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    let files = segments(&folder).expect("listed");
    assert!(files.len() > 5, "{files:?}");
    assert!(files.iter().all(|it| mode(&it.path) == 0o600));
}

#[test]
fn one_that_was_killed_leaves_what_it_kept_and_the_next_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let (before, after) = (scene(100), scene(200));
    let mut killed = History::open(folder.path(), EXTENT).expect("opened");
    watch(&mut killed, &before, 101, 131);
    let held = History::open(folder.path(), EXTENT).map(drop);
    let held = format!("{:#}", held.expect_err("two at once"));
    assert!(
        held.contains("another agent keeps its history in"),
        "{held}"
    );
    drop(killed);
    let old = segments(folder.path()).expect("listed").len();
    let cut = snapshot(folder.path(), &before, 0).expect("what was written");
    assert_eq!(cut.1, 29);
    let mut history = History::open(folder.path(), EXTENT).expect("the other is gone");
    watch(&mut history, &after, 201, 221);
    assert!(segments(folder.path()).expect("listed").len() > old);
    let (taken, packets, _) = snapshot(folder.path(), &after, 0).expect("of the later one");
    assert_eq!((packets, taken.earlier), (19, old));
}

#[test]
fn the_oldest_goes_where_there_is_too_much() {
    let folder = tempfile::tempdir().expect("a folder");
    let small = Extent {
        bytes: 64 << 10,
        ..EXTENT
    };
    let scene = scene(100);
    let mut history = History::open(folder.path(), small).expect("opened");
    watch(&mut history, &scene, 101, 1500);
    let files = segments(folder.path()).expect("listed");
    let bytes: u64 = files.iter().map(|it| it.bytes).sum();
    assert!(
        bytes <= small.bytes && files[0].number > 1,
        "{bytes} {files:?}"
    );
    // It is not the beginning that is there, so it counts from where it begins.
    let (taken, packets, _) = snapshot(folder.path(), &scene, 0).expect("the rest");
    assert!(
        packets > 0 && packets < 1300 && taken.readings > 2,
        "{packets}"
    );
}

#[test]
fn what_is_no_history_is_refused_in_a_sentence() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let scene = scene(100);
    let error = snapshot(path, &scene, 0).expect_err("empty");
    assert!(error.contains("has no history"), "{error}");
    fs::write(path.join("0000000001.segment"), "no recording").expect("written");
    let error = snapshot(path, &scene, 0).expect_err("no recording");
    assert!(error.contains("it is no recording of netdiag's"), "{error}");
    fs::write(path.join("0000000001.segment"), "").expect("written");
    let error = snapshot(path, &scene, 0).expect_err("nothing");
    assert!(error.contains("has nothing of the time since"), "{error}");
    assert!(text::line(&error, 1000) == error);
    fs::set_permissions(path, fs::Permissions::from_mode(0o777)).expect("set");
    let error = History::open(path, EXTENT)
        .map(drop)
        .expect_err("anybody's");
    assert!(
        error.to_string().contains("nobody else may write there"),
        "{error}"
    );
    fs::write(path.join("file"), "").expect("written");
    let error = History::open(&path.join("file"), EXTENT).map(drop);
    assert!(error.is_err());
}
