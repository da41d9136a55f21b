//! The full screen at the end of a line that takes two kilobytes a second, as ssh does in a bad hour: it
//! leaves out frames, never falls behind by more than the one on its way, and a key ends it at once.
use std::{
    fs::File,
    io::{Read, Write},
    os::fd::OwnedFd,
    process::{Child, Stdio},
    sync::{Arc, Mutex, MutexGuard},
    thread::sleep,
    time::{Duration, Instant},
};

use netdiag_tests::{
    netdiag::command,
    process::{PATIENCE, wait_until},
    recordings,
};
use nix::pty::{Winsize, openpty};

const SIZE: Winsize = Winsize {
    ws_row: 50,
    ws_col: 160,
    ws_xpixel: 0,
    ws_ypixel: 0,
};
/// So much is taken, so often.
const BYTES: usize = 100;
const EVERY: Duration = Duration::from_millis(50);
/// Between two keys of somebody who holds one down.
const KEY: Duration = Duration::from_millis(40);
/// A whole screen of that size comes to less, all its colours included.
const FRAME: usize = 16_000;
/// What is at once for a person, beside other tests. A frame takes four seconds.
const AT_ONCE: Duration = Duration::from_millis(1500);

/// What the other end of a pseudo-terminal keeps, which nobody can take back (N_TTY_BUF_SIZE), and the
/// end itself.
const KERNELS: usize = 4096 + 200;

struct SlowLine {
    keys: File,
    came: Arc<Mutex<Vec<u8>>>,
    child: Child,
    _folder: tempfile::TempDir,
}

impl SlowLine {
    fn open(recording: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("incident.ndr");
        std::fs::write(&file, recordings::bytes(recording)).expect("written");
        let pair = openpty(Some(&SIZE), None).expect("a pseudo-terminal");
        let end = |fd: &OwnedFd| Stdio::from(fd.try_clone().expect("a copy"));
        let mut top = command(&["top", "--in", &file.display().to_string()]);
        top.env("TERM", "xterm-256color").env_remove("NO_COLOR");
        top.stdin(end(&pair.slave)).stdout(end(&pair.slave));
        let child = top.stderr(end(&pair.slave)).spawn().expect("started");
        let came = Arc::new(Mutex::new(Vec::new()));
        let keys = File::from(pair.master);
        let (mut from, to) = (keys.try_clone().expect("a copy"), came.clone());
        std::thread::spawn(move || {
            let mut part = [0; BYTES];
            while let Ok(read @ 1..) = from.read(&mut part) {
                to.lock().expect("bytes").extend(&part[..read]);
                sleep(EVERY);
            }
        });
        Self {
            keys,
            came,
            child,
            _folder: folder,
        }
    }

    fn came(&self) -> MutexGuard<'_, Vec<u8>> {
        self.came.lock().expect("bytes")
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("pressed");
    }

    /// Whether something stands in what came behind the first so many bytes.
    fn shows(&self, after: usize, text: &str) -> bool {
        let came = self.came();
        String::from_utf8_lossy(&came[after.min(came.len())..]).contains(text)
    }
}

impl Drop for SlowLine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn frames_are_left_out_and_the_last_key_is_seen() {
    let mut line = SlowLine::open("firewall-drop");
    wait_until("the screen", PATIENCE, || line.shows(0, "netdiag top"));
    for key in ["2", "3", "4"].iter().cycle().take(60) {
        line.press(key);
        sleep(KEY);
    }
    let before = line.came().len();
    line.press("3");
    wait_until("the last table", PATIENCE, || {
        let since = line.came().len() - before;
        assert!(since < 2 * FRAME, "{since} bytes: more than two frames");
        line.shows(before, "[3 Hops")
    });
    line.press("q");
    let ended = line.child.wait().expect("ended");
    assert_eq!(ended.code(), Some(0));
}

#[test]
fn a_key_ends_it_while_a_frame_is_on_its_way() {
    let mut line = SlowLine::open("vxlan-mtu-too-large");
    wait_until("the first part", PATIENCE, || line.came().len() > 1000);
    assert!(line.came().len() < 6000, "the frame has not come whole");
    let (begun, before) = (Instant::now(), line.came().len());
    line.press("q");
    let ended = loop {
        if let Some(ended) = line.child.try_wait().expect("its state") {
            break ended;
        }
        assert!(begun.elapsed() < PATIENCE, "it goes on");
        sleep(Duration::from_millis(5));
    };
    let took = begun.elapsed();
    assert_eq!(ended.code(), Some(0));
    assert!(took < AT_ONCE, "{took:?}");
    wait_until("the screen to go", PATIENCE, || {
        line.shows(before, "\x1b[?1049l")
    });
    let left = line.came().len() - before;
    assert!(
        left < KERNELS,
        "{left} bytes of a frame that nobody looks at"
    );
}
