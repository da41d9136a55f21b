//! Pages of `netdiag report` in a browser, at the width of a phone and of a desk, light and dark.
//!
//! `cargo xtask test --ui` brings Chromium and runs this; the pictures are in `target/ui` then, for
//! somebody to look at.
use std::{
    fs,
    path::{Path, PathBuf},
};

use netdiag_tests::{
    chromium::{self, Browser, View},
    netdiag::netdiag,
    recordings, require,
};
use serde_json::{Value, json};

const VIEWS: [View; 4] = [
    view(390, 844, false),
    view(390, 844, true),
    view(1280, 900, false),
    view(1280, 900, true),
];

const PAGES: [(&str, &[&str]); 6] = [
    ("one-cause", &["vxlan-mtu-too-large"]),
    ("a-chain", &["sidecar-without-dns"]),
    ("many-rows", &["neighbour-table-full"]),
    ("a-rule", &["service-firewalled"]),
    ("healthy", &["healthy"]),
    (
        "two-nodes",
        &[
            "vxlan-source-mismatch.worker-1",
            "vxlan-source-mismatch.worker-2",
        ],
    ),
];

const fn view(width: u32, height: u32, dark: bool) -> View {
    View {
        width,
        height,
        dark,
    }
}

fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/ui");
    fs::create_dir_all(&folder).expect("a folder");
    folder.canonicalize().expect("there")
}

/// A page of these recordings, or of a verdict.
fn page(folder: &Path, name: &str, files: &[String]) -> PathBuf {
    let page = folder.join(format!("{name}.html"));
    let to = page.display().to_string();
    let mut arguments = vec!["report", "--output-file", &to];
    arguments.extend(files.iter().map(String::as_str));
    let ended = netdiag(&arguments);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    page
}

/// Names that are long and that mean something to HTML.
fn hostile(folder: &Path) -> PathBuf {
    let file = recordings::file("sidecar-without-dns");
    let told = netdiag(&["replay", &file.display().to_string(), "-o", "json"]);
    let mut verdict: Value = told.json();
    let long = "x".repeat(253);
    let name = format!("<script>alert(1)</script><img src=//evil.example onerror=alert(2)>{long}");
    verdict["node"] = name.as_str().into();
    for finding in verdict["findings"].as_array_mut().expect("a list") {
        for key in ["cause", "summary", "because"] {
            finding[key] = name.as_str().into();
        }
        let pods = json!({"namespace": name, "name": name, "ip": name, "interface": name});
        finding["pods"] = json!([pods]);
        for row in finding["evidence"].as_array_mut().expect("a list") {
            row["text"] = name.as_str().into();
        }
    }
    let file = folder.join("hostile.json");
    fs::write(&file, verdict.to_string()).expect("written");
    page(folder, "hostile", &[file.display().to_string()])
}

/// No message, no request, nothing wider than the window, nothing that a name has made.
fn look(browser: &mut Browser, page: &Path, view: View) {
    let what = format!("{} {view:?}", page.display());
    assert_eq!(browser.open(page, view), [""; 0], "{what}");
    let widths = browser.value(
        "JSON.stringify([document.scrollingElement.scrollWidth, document.scrollingElement.clientWidth])",
    );
    let widths: [u32; 2] =
        serde_json::from_str(widths.as_str().expect("text")).expect("two numbers");
    assert_eq!(widths[1], view.width, "{what}: as a phone shows it");
    assert!(widths[0] <= widths[1], "{what}: {widths:?}");
    let wide = browser.value(
        "[...document.querySelectorAll('main *, header *')].filter((it) => !it.closest('.scroll') \
         && !it.closest('svg') && it.getBoundingClientRect().right > innerWidth + 1) \
         .map((it) => it.outerHTML.slice(0, 80)).join(' ')",
    );
    assert_eq!(wide, "", "{what}: what leaves the window");
    assert_eq!(browser.value("document.images.length"), 0, "{what}");
    assert_eq!(browser.value("document.scripts.length"), 1, "{what}");
    let paper = browser.value("getComputedStyle(document.body).backgroundColor");
    let dark = paper != "rgb(255, 255, 255)";
    assert_eq!(dark, view.dark, "{what}: {paper}");
}

/// A column's head is clicked twice: its numbers go up, then down.
fn sorts(browser: &mut Browser) {
    let script = "(() => { const tables = [...document.querySelectorAll('table')]; \
        const at = tables.find((it) => it.tBodies[0].rows.length > 2 && it.querySelector('th.number')); \
        const head = at.querySelector('th.number'); const column = head.cellIndex; \
        const read = () => [...at.tBodies[0].rows].map((it) => parseFloat(it.cells[column].textContent) || 0); \
        head.querySelector('button').click(); const up = read(); \
        head.querySelector('button').click(); const down = read(); \
        return JSON.stringify([up, down, head.getAttribute('aria-sort')]); })()";
    let told = browser.value(script);
    let (up, down, says): (Vec<f64>, Vec<f64>, String) =
        serde_json::from_str(told.as_str().expect("text")).expect("two columns");
    assert!(up.is_sorted() && up.len() > 2, "{up:?}");
    assert!(down.iter().rev().is_sorted(), "{down:?}");
    assert_eq!(says, "descending");
}

/// On paper it is black on white, with the tables that a click would open.
fn prints(browser: &mut Browser, to: &Path) {
    let dark = json!([{"name": "prefers-color-scheme", "value": "dark"}]);
    let paper = json!({"media": "print", "features": dark});
    browser.call("Emulation.setEmulatedMedia", paper);
    let paper = browser.value("getComputedStyle(document.body).backgroundColor");
    assert_eq!(paper, "rgb(255, 255, 255)");
    let open = "document.querySelector('details table').getBoundingClientRect().height > 0";
    assert_eq!(browser.value(open), true, "the table in details");
    browser.picture(to);
}

/// Read top to bottom in contrast: WCAG 2.2 wants 4.5 of small text.
fn contrasts(browser: &mut Browser, what: &str) {
    let script = "(() => { \
        const light = (c) => c.match(/[\\d.]+/g).slice(0, 3).map((v) => v / 255) \
          .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4) \
          .reduce((sum, v, n) => sum + v * [0.2126, 0.7152, 0.0722][n], 0); \
        const paper = (it) => { for (; it; it = it.parentElement) { \
          const c = getComputedStyle(it).backgroundColor; if (!/, 0\\)$/.test(c)) return c; } return 'rgb(255,255,255)'; }; \
        let worst = [21, '']; \
        for (const it of document.querySelectorAll('main *, header *, footer *')) { \
          if (![...it.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim())) continue; \
          if (it.tagName === 'title' || !it.checkVisibility()) continue; \
          const ink = it.closest('svg') ? getComputedStyle(it).fill : getComputedStyle(it).color; \
          const [a, b] = [light(ink), light(paper(it.closest('svg') ? it.closest('svg').parentElement : it))]; \
          const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05); \
          if (ratio < worst[0]) worst = [ratio, it.tagName + ' ' + it.className]; } \
        return JSON.stringify(worst); })()";
    let told = browser.value(script);
    let (worst, of): (f64, String) =
        serde_json::from_str(told.as_str().expect("text")).expect("a number");
    assert!(worst >= 4.5, "{what}: {worst:.1} of {of}");
}

#[test]
#[ignore = "needs Chromium: cargo xtask test --ui"]
fn pages_are_whole_at_every_width() {
    let Some(program) = chromium::find() else {
        require::say("Chromium");
        return;
    };
    let folder = folder();
    let mut pages: Vec<(&str, PathBuf)> = Vec::new();
    for (name, of) in PAGES {
        let files = of
            .iter()
            .map(|name| recordings::file(name).display().to_string());
        pages.push((name, page(&folder, name, &files.collect::<Vec<_>>())));
    }
    pages.push(("hostile", hostile(&folder)));
    let mut browser = Browser::start(program);
    let mut looked = 0;
    for (name, page) in &pages {
        for view in VIEWS {
            look(&mut browser, page, view);
            let scheme = if view.dark { "dark" } else { "light" };
            let picture = format!("{name}-{}-{scheme}", view.width);
            contrasts(&mut browser, &picture);
            browser.picture(&folder.join(picture + ".png"));
            looked += 1;
        }
        if *name == "many-rows" {
            sorts(&mut browser);
            prints(&mut browser, &folder.join(format!("{name}-print.png")));
        }
    }
    println!(
        "{looked} views of {} pages in {}",
        pages.len(),
        folder.display()
    );
}
