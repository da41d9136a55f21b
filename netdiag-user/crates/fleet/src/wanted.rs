//! What is wanted of each node, and by which command it says so.
use std::time::Duration;

/// A node that takes longer than it was asked to watch, for all that is before and after, is silent.
const SLACK: Duration = Duration::from_secs(30);

#[derive(Clone, Debug)]
pub enum Wanted {
    /// What an agent kept of the last minutes.
    Past { since: Duration },
    /// What is seen from now on.
    Now {
        duration: Duration,
        /// More words for `netdiag diagnose`.
        arguments: Vec<String>,
    },
}

impl Wanted {
    /// The words after `netdiag` that write a recording to stdout.
    pub fn command(&self, node: &str) -> Vec<String> {
        let seconds = |time: &Duration| format!("{}s", time.as_secs_f64());
        match self {
            Self::Past { since } => words(["agent", "snapshot", "--since", &seconds(since), "-"]),
            Self::Now {
                duration,
                arguments,
            } => {
                let mut all = words(["--quiet", "diagnose", "--duration", &seconds(duration)]);
                all.extend(words([
                    "--output-file",
                    "/dev/null",
                    "--record",
                    "/dev/stdout",
                ]));
                all.extend(words(["--node-name", node]));
                all.extend(arguments.iter().cloned());
                all
            }
        }
    }

    /// How long its answer may take.
    pub fn limit(&self) -> Duration {
        match self {
            Self::Past { .. } => SLACK,
            Self::Now { duration, .. } => duration.saturating_add(SLACK),
        }
    }
}

fn words<const N: usize>(all: [&str; N]) -> Vec<String> {
    all.map(str::to_owned).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_what_people_type() {
        let past = Wanted::Past {
            since: Duration::from_secs(90),
        };
        assert_eq!(past.command("a").join(" "), "agent snapshot --since 90s -");
        let now = Wanted::Now {
            duration: Duration::from_millis(2500),
            arguments: vec!["--pods=cni".into()],
        };
        assert_eq!(
            now.command("a").join(" "),
            "--quiet diagnose --duration 2.5s --output-file /dev/null --record /dev/stdout \
             --node-name a --pods=cni"
        );
    }
}
