//! A line `recording!(test_name, "file-stem");` for each recording: each is a test of its own.
use std::{env, fs, path::Path};

const FOLDER: &str = "tests/fixtures/recordings";

fn main() {
    println!("cargo::rerun-if-changed={FOLDER}");
    let files = fs::read_dir(FOLDER).expect("the folder of recordings");
    let names = files.map(|file| file.expect("a file").file_name());
    let stems = names.filter_map(|name| {
        let name = name.into_string().expect("a name in ASCII");
        Some(name.strip_suffix(".ndr")?.to_owned())
    });
    let mut stems: Vec<String> = stems.collect();
    stems.sort();
    let line = |stem: &String| {
        let test = stem.replace(['-', '.'], "_");
        format!("recording!({test}, \"{stem}\");\n")
    };
    let lines: String = stems.iter().map(line).collect();
    let folder = env::var_os("OUT_DIR").expect("cargo's folder for it");
    fs::write(Path::new(&folder).join("recordings.rs"), lines).expect("written");
}
