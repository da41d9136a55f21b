//! The catalogues as one sorted table: nothing is parsed at run time.
#![expect(clippy::disallowed_methods, reason = "its own folder")]

use std::{collections::BTreeMap, env, error::Error, fmt::Write as _, fs, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=zh");
    let mut all = BTreeMap::new();
    for entry in fs::read_dir("zh")? {
        let path = entry?.path();
        println!("cargo::rerun-if-changed={}", path.display());
        let catalogue = polib::po_file::parse(&path)?;
        for message in catalogue.messages() {
            let said = message.msgstr()?;
            if said.is_empty() {
                continue;
            }
            let before = all.insert(message.msgid().to_owned(), said.to_owned());
            if before.is_some_and(|before| before != said) {
                let id = message.msgid();
                return Err(format!("{}: {id:?} is translated in two ways", path.display()).into());
            }
        }
    }
    let mut table = String::from("[\n");
    for (english, said) in all {
        writeln!(table, "    ({english:?}, {said:?}),")?;
    }
    table.push_str("]\n");
    let out = env::var("OUT_DIR")?;
    fs::write(Path::new(&out).join("zh.rs"), table)?;
    Ok(())
}
