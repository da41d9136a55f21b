//! Lines of containerd, CRI-O, kubelet and dockershim about setting up a sandbox's network. Each
//! has its own words, and quotes those of the one below it, with as many backslashes.
use crate::model::text;

/// Longer messages are cut: plugins print whole configurations.
const LONGEST: usize = 400;
/// A name of Kubernetes (RFC 1123): what is none was not written by these programs.
const NAME: usize = 253;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub namespace: String,
    pub name: String,
    /// The sandbox, where it is told: the same failure is told by several programs.
    pub sandbox: Option<String>,
    /// The reason; nothing where it was set up.
    pub failed: Option<String>,
}

/// What stands before the reason.
const FAILURES: [&str; 3] = [
    // containerd, and kubelet quoting it.
    "failed to setup network for sandbox \"",
    // CRI-O: `error adding pod NAMESPACE_NAME to CNI network "…": …`.
    "error adding pod ",
    // dockershim: `networkPlugin cni failed to set up pod "NAME_NAMESPACE" network: …`.
    "failed to set up pod \"",
];

pub fn read(line: &str) -> Option<Line> {
    // Most lines are about something else: a look that costs little comes first.
    let done = line.contains("returns sandbox id") || line.contains("Ran pod sandbox ");
    // kubelet's words about a container quote what its author chose to run.
    if line.contains("RunContainerError") || line.contains("StartContainer") {
        return None;
    }
    if !done
        && !FAILURES
            .iter()
            .any(|f| line.contains(f.trim_end_matches('"')))
    {
        return None;
    }
    let line = line.replace('\\', "");
    if done {
        let (namespace, name) = of_containerd(&line).or_else(|| of_crio(&line))?;
        return Some(Line {
            namespace,
            name,
            sandbox: None,
            failed: None,
        });
    }
    let (namespace, name) = [of_containerd, of_kubelet, of_crio, of_dockershim]
        .iter()
        .find_map(|of| of(&line))?;
    let (at, before) = FAILURES.iter().find_map(|f| Some((line.find(f)?, f)))?;
    let rest = &line[at + before.len()..];
    Some(Line {
        namespace,
        name,
        sandbox: sandbox(rest),
        failed: Some(reason(rest)),
    })
}

/// The words behind `…": ` or `…" network: `, without those of whoever quotes them.
fn reason(rest: &str) -> String {
    let starts = ["\" network: ", "\": "];
    let start = starts.iter().find_map(|s| rest.split_once(s));
    let words = start.map_or(rest, |(_, words)| words);
    // kubelet's own fields follow.
    let end = [" pod=\"", "\" podSandboxID="]
        .iter()
        .filter_map(|e| words.find(e))
        .min();
    let words = &words[..end.unwrap_or(words.len())];
    text::line(words.trim_end_matches(['"', ' ']), LONGEST)
}

fn sandbox(rest: &str) -> Option<String> {
    let id = rest.split('"').next()?;
    let is_id = id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit());
    is_id.then(|| id.to_owned())
}

/// `PodSandboxMetadata{Name:a,Uid:…,Namespace:b,Attempt:0,}`, in newer versions `name:"a"
/// uid:"…" namespace:"b"`.
fn of_containerd(line: &str) -> Option<(String, String)> {
    let (_, rest) = line.split_once("RunPodSandbox for ")?;
    let value = |key: &str, end: char| rest.split_once(key)?.1.split(end).next();
    let old = value("{Name:", ',').zip(value(",Namespace:", ','));
    let new = || value("name:\"", '"').zip(value(" namespace:\"", '"'));
    let (name, namespace) = old.or_else(new)?;
    pod(namespace, name)
}

/// `pod="b/a"`, or `pod "a_b(uid)"`.
fn of_kubelet(line: &str) -> Option<(String, String)> {
    let field = || {
        // Its own field is the last one.
        let (_, rest) = line.rsplit_once(" pod=\"")?;
        rest.split('"').next()?.split_once('/')
    };
    let words = || {
        let (_, rest) = line.split_once("pod \"")?;
        let (name, namespace) = rest.split(['"', '(']).next()?.split_once('_')?;
        Some((namespace, name))
    };
    let (namespace, name) = field().or_else(words)?;
    pod(namespace, name)
}

/// `error adding pod b_a to CNI network`, `Ran pod sandbox ID with infra container: b/a/POD`.
fn of_crio(line: &str) -> Option<(String, String)> {
    let ran = || {
        let (_, rest) = line.split_once("with infra container: ")?;
        rest.split_once('/')
    };
    let failed = || {
        let (_, rest) = line.split_once("error adding pod ")?;
        rest.split(' ').next()?.split_once('_')
    };
    let (namespace, name) = ran().or_else(failed)?;
    pod(namespace, name.split(['/', '"']).next()?)
}

/// `failed to set up pod "a_b" network`.
fn of_dockershim(line: &str) -> Option<(String, String)> {
    let (_, rest) = line.split_once("failed to set up pod \"")?;
    let (name, namespace) = rest.split('"').next()?.split_once('_')?;
    pod(namespace, name)
}

fn pod(namespace: &str, name: &str) -> Option<(String, String)> {
    let is_name = |text: &str| {
        let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.');
        (1..=NAME).contains(&text.len()) && text.bytes().all(known)
    };
    (is_name(namespace) && is_name(name)).then(|| (namespace.to_owned(), name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "64064395239c0764b177311d2df28081c7c40ba201588bec333c9c22d2b28826";

    fn failed(line: &str) -> (String, String, String) {
        let line = read(&line.replace("ID", ID)).expect("a failure");
        let pod = format!("{}/{}", line.namespace, line.name);
        (
            pod,
            line.sandbox.unwrap_or_default(),
            line.failed.expect("failed"),
        )
    }

    #[test]
    fn containerd_and_kubelet_tell_of_the_same_sandbox() {
        let reason =
            "plugin type=\"bridge\" name=\"cbr0\" failed (add): unexpected end of JSON input";
        let expected = ("shop/cart-1".to_owned(), ID.to_owned(), reason.to_owned());
        for line in [
            r#"time="2026-11-20T15:00:00Z" level=error msg="RunPodSandbox for &PodSandboxMetadata{Name:cart-1,Uid:u,Namespace:shop,Attempt:3,} failed, error" error="failed to setup network for sandbox \"ID\": plugin type=\"bridge\" name=\"cbr0\" failed (add): unexpected end of JSON input""#,
            r#"time="x" level=error msg="RunPodSandbox for name:\"cart-1\" uid:\"u\" namespace:\"shop\" failed, error" error="rpc error: code = Unknown desc = failed to setup network for sandbox \"ID\": plugin type=\"bridge\" name=\"cbr0\" failed (add): unexpected end of JSON input""#,
            r#"E1120 15:00:00.1 7 pod_workers.go:1298] "Error syncing pod, skipping" err="failed to \"CreatePodSandbox\" for \"cart-1_shop(u)\" with CreatePodSandboxError: \"Failed to create sandbox for pod \\\"cart-1_shop(u)\\\": rpc error: code = Unknown desc = failed to setup network for sandbox \\\"ID\\\": plugin type=\\\"bridge\\\" name=\\\"cbr0\\\" failed (add): unexpected end of JSON input\"" pod="shop/cart-1" podUID="u""#,
        ] {
            assert_eq!(failed(line), expected, "{line}");
        }
    }

    #[test]
    fn other_runtimes_have_other_words() {
        let crio = failed(
            r#"time="x" level=error msg="error adding pod shop_cart-1 to CNI network \"k8s-pod-network\": plugin type=\"calico\" failed (add): timed out""#,
        );
        assert_eq!(crio.0, "shop/cart-1");
        assert_eq!(crio.2, "plugin type=\"calico\" failed (add): timed out");
        let docker = failed(
            r#"E1120 15:00:00.1 7 x.go:1] "x" err="rpc error: code = Unknown desc = failed to set up sandbox container \"c\" network for pod \"cart-1\": networkPlugin cni failed to set up pod \"cart-1_shop\" network: netplugin failed but error parsing its diagnostic message \"\": unexpected end of JSON input" pod="shop/cart-1""#,
        );
        assert_eq!(docker.0, "shop/cart-1");
        assert!(docker.2.starts_with("netplugin failed but"), "{}", docker.2);
    }

    #[test]
    fn successes_are_told_apart() {
        for line in [
            r#"time="x" level=info msg="RunPodSandbox for &PodSandboxMetadata{Name:cart-1,Uid:u,Namespace:shop,Attempt:0,} returns sandbox id \"ID\"""#,
            r#"time="x" level=info msg="Ran pod sandbox ID with infra container: shop/cart-1/POD" id=1"#,
        ] {
            let read = read(line).expect("a success");
            assert_eq!(
                (read.namespace.as_str(), read.name.as_str()),
                ("shop", "cart-1")
            );
            assert_eq!(read.failed, None);
        }
    }

    #[test]
    fn what_only_looks_like_it_is_nothing() {
        for line in [
            "",
            "level=info msg=\"RunPodSandbox for &PodSandboxMetadata{Name:a,Uid:u,Namespace:b,Attempt:0,}\"",
            "failed to setup network for sandbox \"\"",
            "RunPodSandbox for &PodSandboxMetadata{Name:\u{1b}[2J,Uid:u,Namespace:b,} failed to setup network for sandbox \"x\": y",
            "error adding pod ",
            "failed to set up pod \"_\" network: ",
        ] {
            assert_eq!(read(line), None, "{line}");
        }
    }
}
