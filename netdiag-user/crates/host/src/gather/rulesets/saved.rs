//! Lines of iptables-save(8). A rule's is one line unless a comment in it has line ends of its own:
//! whoever made the rule may have put other rules' lines there, in quotes.
use std::io::{BufRead, Read};

use anyhow::{Result, bail};

/// Bytes of a line; iptables' own limits allow some thousands.
const LONGEST: usize = 64 << 10;
/// Of a listing that only people read.
const SHOWN: usize = 4096;

pub struct Lines<'a> {
    from: &'a mut dyn BufRead,
    line: Vec<u8>,
    text: String,
}

impl<'a> Lines<'a> {
    pub fn new(from: &'a mut dyn BufRead) -> Self {
        Self {
            from,
            line: Vec::new(),
            text: String::new(),
        }
    }

    /// The next line, with what its quotes hold.
    pub fn next(&mut self) -> Result<Option<&str>> {
        self.line.clear();
        let mut quotes = Quotes::default();
        loop {
            let start = self.line.len();
            let left = (LONGEST - start) as u64;
            let mut part = Read::take(&mut *self.from, left);
            let read = part.read_until(b'\n', &mut self.line)?;
            quotes.read(&self.line[start..]);
            if read == 0 || self.line.ends_with(b"\n") && !quotes.open {
                break;
            }
            if self.line.len() >= LONGEST {
                bail!("a line is longer than {LONGEST} bytes");
            }
        }
        if self.line.is_empty() {
            return Ok(None);
        }
        self.text = String::from_utf8_lossy(&self.line).into_owned();
        Ok(Some(self.text.trim_end_matches('\n')))
    }
}

/// What one of the lines tells, and of which table.
#[derive(Debug, PartialEq, Eq)]
pub struct Saved<'a> {
    pub table: &'a str,
    pub chain: &'a str,
    pub says: Says<'a>,
    /// Packets, where they are listed (`-c`).
    pub packets: Option<u64>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Says<'a> {
    /// The chain is there; `-` is the policy of one that somebody made.
    Chain { policy: &'a str },
    /// A rule of it: what stands behind the chain's name.
    Rule(&'a str),
}

/// Hands over every chain and rule.
pub fn each(lines: &mut Lines<'_>, mut each: impl FnMut(Saved<'_>) -> Result<()>) -> Result<()> {
    let mut table = String::new();
    while let Some(line) = lines.next()? {
        if let Some(name) = line.strip_prefix('*') {
            name.trim().clone_into(&mut table);
        } else if let Some(saved) = saved(&table, line) {
            each(saved)?;
        }
    }
    Ok(())
}

/// `:FORWARD DROP [12:720]`, `[3:180] -A FORWARD -p tcp -j DROP`, or the same without counters.
fn saved<'a>(table: &'a str, line: &'a str) -> Option<Saved<'a>> {
    let both = |text: &'a str| text.split_once(' ').unwrap_or((text, ""));
    let packets = |counter: &str| counter.split(':').next()?.parse().ok();
    if let Some(line) = line.strip_prefix(':') {
        let (chain, rest) = both(line);
        let (policy, counter) = both(rest);
        return Some(Saved {
            table,
            chain,
            says: Says::Chain { policy },
            packets: counter.strip_prefix('[').and_then(packets),
        });
    }
    let counted = line.strip_prefix('[').and_then(|l| l.split_once("] "));
    let (counter, line) = counted.map_or((None, line), |(counter, line)| (Some(counter), line));
    let (chain, rule) = both(line.strip_prefix("-A ")?);
    Some(Saved {
        table,
        chain,
        says: Says::Rule(rule),
        packets: counter.and_then(packets),
    })
}

/// Whether a `"` is still open; what stands behind a backslash counts for nothing.
#[derive(Default)]
struct Quotes {
    open: bool,
    escaped: bool,
}

impl Quotes {
    fn read(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = self.open,
                b'"' => self.open = !self.open,
                _ => {}
            }
        }
    }
}

/// Lines without regard to quotes, each cut after some thousand bytes.
pub fn plain_lines(from: &mut dyn BufRead, mut each: impl FnMut(&str)) -> Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = Read::take(&mut *from, SHOWN as u64).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(());
        }
        let whole = line.ends_with(b"\n");
        if whole {
            each(String::from_utf8_lossy(&line).trim_end_matches('\n'));
        } else {
            // Its end tells which rule it is: without it the line is nobody's.
            skip(from)?;
        }
    }
}

fn skip(from: &mut dyn BufRead) -> Result<()> {
    loop {
        let bytes = from.fill_buf()?;
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let (length, done) = match end {
            Some(end) => (end + 1, true),
            None => (bytes.len(), bytes.is_empty()),
        };
        from.consume(length);
        if done {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Result<Vec<String>> {
        let mut from = text.as_bytes();
        let mut lines = Lines::new(&mut from);
        let mut all = Vec::new();
        while let Some(line) = lines.next()? {
            all.push(line.to_owned());
        }
        Ok(all)
    }

    #[test]
    fn a_comments_lines_are_no_rules() {
        let text = "*filter\n-A X --comment \"a \\\" b\n[9:9] -A FORWARD -j DROP\nc\" -j Y\nCOMMIT";
        let lines = all(text).expect("lines");
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines[1].ends_with("c\" -j Y") && lines[1].starts_with("-A X"));
        assert_eq!(lines[2], "COMMIT");
        assert_eq!(all("\n\nx").expect("lines"), ["", "", "x"]);
    }

    #[test]
    fn each_line_is_of_its_table() {
        let text = "# by\n*nat\n:OUTPUT ACCEPT [1:2]\n:X - [0:0]\n-A X\nCOMMIT\n*filter\n\
                    [3:180] -A FORWARD -p tcp -j DROP\n-A FORWARD -j X\n[z:1] -A Y -j X\n";
        let mut told = Vec::new();
        let mut from = text.as_bytes();
        let keep = |saved: Saved<'_>| {
            told.push(format!(
                "{} {} {:?} {:?}",
                saved.table, saved.chain, saved.says, saved.packets
            ));
            Ok(())
        };
        each(&mut Lines::new(&mut from), keep).expect("lines");
        let wanted = [
            "nat OUTPUT Chain { policy: \"ACCEPT\" } Some(1)",
            "nat X Chain { policy: \"-\" } Some(0)",
            "nat X Rule(\"\") None",
            "filter FORWARD Rule(\"-p tcp -j DROP\") Some(3)",
            "filter FORWARD Rule(\"-j X\") None",
            "filter Y Rule(\"-j X\") None",
        ];
        assert_eq!(told, wanted);
    }

    #[test]
    fn lines_have_an_end() {
        assert!(all(&"x".repeat(LONGEST)).is_err());
        assert!(all(&format!("\"{}", "\n".repeat(LONGEST))).is_err());
        let text = format!(
            "{}\nshort # handle 2\n{}",
            "x".repeat(3 * SHOWN),
            "y".repeat(SHOWN)
        );
        let mut told = Vec::new();
        let mut from = text.as_bytes();
        plain_lines(&mut from, |line| told.push(line.to_owned())).expect("read");
        assert_eq!(told, ["short # handle 2"]);
    }
}
