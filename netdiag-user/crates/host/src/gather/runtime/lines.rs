//! Lines of containerd, CRI-O, kubelet and dockershim about setting up a sandbox's network. Each
//! has its own words, and quotes those of the one below it, with as many backslashes. A message is
//! one of these by what it begins with: what pods say is quoted somewhere in the others.
use super::message::Message;
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

/// One of these is in each line that is looked at: most are about something else.
const SIGNS: [&str; 5] = [
    "RunPodSandbox for ",
    "Ran pod sandbox ",
    "network for sandbox",
    "error adding pod ",
    "failed to set up pod ",
];

/// What stands before the reason.
const FAILURES: [&str; 3] = [
    // containerd, and kubelet quoting it.
    "failed to setup network for sandbox \"",
    // CRI-O: `error adding pod NAMESPACE_NAME to CNI network "…": …`.
    ADDING,
    // dockershim: `networkPlugin cni failed to set up pod "NAME_NAMESPACE" network: …`.
    SETTING_UP,
];
const ADDING: &str = "error adding pod ";
const SETTING_UP: &str = "failed to set up pod \"";

/// How kubelet begins (pkg/kubelet/pod_workers.go, kuberuntime/kuberuntime_sandbox.go and
/// kuberuntime_manager.go), with fields behind it or, before 1.20, with all in one.
const KUBELET: [&str; 4] = [
    "Error syncing pod",
    "Failed to create sandbox for pod",
    "CreatePodSandbox for pod",
    "createPodSandbox for pod",
];

pub fn read(line: &str) -> Option<Line> {
    if !SIGNS.iter().any(|sign| line.contains(sign)) {
        return None;
    }
    let message = Message::of(line)?;
    let of_kubelet = KUBELET
        .iter()
        .any(|begins| message.text.starts_with(begins));
    match () {
        () if message.text.starts_with("RunPodSandbox for ") => containerd(&message),
        () if message.text.starts_with("Ran pod sandbox ") => {
            Some(done(ran_by_crio(&message.text)?))
        }
        () if message.text.starts_with(ADDING) => {
            let rest = &message.text[ADDING.len()..];
            Some(failed(of_crio(rest)?, rest))
        }
        () if of_kubelet => kubelet(&message),
        () => None,
    }
}

fn done((namespace, name): (String, String)) -> Line {
    Line {
        namespace,
        name,
        sandbox: None,
        failed: None,
    }
}

/// By the words behind what stands before the reason.
fn failed((namespace, name): (String, String), rest: &str) -> Line {
    Line {
        namespace,
        name,
        sandbox: sandbox(rest),
        failed: Some(reason(rest)),
    }
}

fn containerd(message: &Message) -> Option<Line> {
    let pod = of_containerd(&message.text)?;
    if message.text.contains(" returns sandbox id ") {
        return Some(done(pod));
    }
    let error = message.field("error")?.replace('\\', "");
    let (_, rest) = failure(&error)?;
    Some(failed(pod, rest))
}

/// `err="…" pod="b/a"`; before 1.20 `…pod "a_b(uid)"… failed: …`.
fn kubelet(message: &Message) -> Option<Line> {
    let Some(error) = message.field("err") else {
        let text = message.text.replace('\\', "");
        let (said, error) = text.split_once(", skipping: ").or_else(|| {
            let (said, error) = text.split_once("\" failed: ")?;
            Some((said, error))
        })?;
        let (_, rest) = failure(error)?;
        return Some(failed(of_words(said)?, rest));
    };
    let error = error.replace('\\', "");
    let (before, rest) = failure(&error)?;
    let field = || {
        let (namespace, name) = message.field("pod")?.split_once('/')?;
        pod(namespace, name)
    };
    let by_runtime = || match before {
        ADDING => of_crio(rest),
        SETTING_UP => of_dockershim(rest),
        _ => None,
    };
    Some(failed(field().or_else(by_runtime)?, rest))
}

/// What an error says of the network, without those who hand it on, who stand before it one by one.
fn failure(error: &str) -> Option<(&'static str, &str)> {
    let mut rest = error;
    for _ in 0..8 {
        if let Some(found) = FAILURES.iter().find(|f| rest.starts_with(**f)) {
            return Some((found, &rest[found.len()..]));
        }
        rest = handed_on(rest)?;
    }
    None
}

/// Who hands an error on: `PREFIX` something without its `END` in it `END`.
const HANDED_ON: [(&str, &str); 7] = [
    ("rpc error: code = ", " desc = "),
    (
        "failed to \"CreatePodSandbox\" for \"",
        "\" with CreatePodSandboxError: \"",
    ),
    ("Failed to create sandbox for pod \"", "\": "),
    ("CreatePodSandbox for pod \"", "\" failed: "),
    // CRI-O: `k8s_NAME_NAMESPACE_UID_0(ID)`.
    ("failed to create pod network sandbox ", ": "),
    // dockershim, about the container and the pod.
    (
        "failed to set up sandbox container \"",
        "\" network for pod \"",
    ),
    ("", "\": networkPlugin cni "),
];

fn handed_on(rest: &str) -> Option<&str> {
    HANDED_ON.iter().find_map(|(before, end)| {
        let (between, behind) = rest.strip_prefix(before)?.split_once(end)?;
        // Names and codes are one word.
        let word = !between.contains([' ', '"']);
        word.then_some(behind)
    })
}

/// The words behind `…": ` or `…" network: `.
fn reason(rest: &str) -> String {
    let starts = ["\" network: ", "\": "];
    let start = starts.iter().find_map(|s| rest.split_once(s));
    let words = start.map_or(rest, |(_, words)| words);
    text::line(words.trim_end_matches(['"', ' ']), LONGEST)
}

fn sandbox(rest: &str) -> Option<String> {
    let id = rest.split('"').next()?;
    let is_id = id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit());
    is_id.then(|| id.to_owned())
}

/// `PodSandboxMetadata{Name:a,Uid:…,Namespace:b,Attempt:0,}`, in newer versions `name:"a"
/// uid:"…" namespace:"b"`.
fn of_containerd(text: &str) -> Option<(String, String)> {
    let value = |key: &str, end: char| text.split_once(key)?.1.split(end).next();
    let old = value("{Name:", ',').zip(value(",Namespace:", ','));
    let new = || value("name:\"", '"').zip(value(" namespace:\"", '"'));
    let (name, namespace) = old.or_else(new)?;
    pod(namespace, name)
}

/// `("a_b(uid)")`, or `pod "a_b(uid)`.
fn of_words(said: &str) -> Option<(String, String)> {
    let (_, rest) = said.split_once('"')?;
    let (name, namespace) = rest.split(['"', '(']).next()?.split_once('_')?;
    pod(namespace, name)
}

/// `b_a to CNI network "…"`.
fn of_crio(rest: &str) -> Option<(String, String)> {
    let (namespace, name) = rest.split(' ').next()?.split_once('_')?;
    pod(namespace, name)
}

/// `Ran pod sandbox ID with infra container: b/a/POD`.
fn ran_by_crio(text: &str) -> Option<(String, String)> {
    let (_, rest) = text.split_once("with infra container: ")?;
    let (namespace, name) = rest.split_once('/')?;
    pod(namespace, name.split('/').next()?)
}

/// `a_b" network: …`.
fn of_dockershim(rest: &str) -> Option<(String, String)> {
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
            r#"E1120 15:00:00.1 7 x.go:1] "CreatePodSandbox for pod failed" err="rpc error: code = Unknown desc = failed to set up sandbox container \"c\" network for pod \"cart-1\": networkPlugin cni failed to set up pod \"cart-1_shop\" network: netplugin failed but error parsing its diagnostic message \"\": unexpected end of JSON input" pod="shop/cart-1""#,
        );
        assert_eq!(docker.0, "shop/cart-1");
        assert!(docker.2.starts_with("netplugin failed but"), "{}", docker.2);
    }

    #[test]
    fn kubelets_before_fields_and_with_crio() {
        for line in [
            r#"E1120 15:00:00.1 7 pod_workers.go:191] Error syncing pod u ("cart-1_shop(u)"), skipping: failed to "CreatePodSandbox" for "cart-1_shop(u)" with CreatePodSandboxError: "CreatePodSandbox for pod \"cart-1_shop(u)\" failed: rpc error: code = Unknown desc = failed to setup network for sandbox \"ID\": it says why""#,
            r#"E1120 15:00:00.1 7 kuberuntime_sandbox.go:68] CreatePodSandbox for pod "cart-1_shop(u)" failed: rpc error: code = Unknown desc = failed to setup network for sandbox "ID": it says why"#,
        ] {
            let expected = ("shop/cart-1".into(), ID.to_owned(), "it says why".into());
            assert_eq!(failed(line), expected, "{line}");
        }
        let crio = failed(
            r#"E1120 15:00:00.1 7 pod_workers.go:1298] "Error syncing pod, skipping" err="failed to \"CreatePodSandbox\" for \"cart-1_shop(u)\" with CreatePodSandboxError: \"Failed to create sandbox for pod \\\"cart-1_shop(u)\\\": rpc error: code = Unknown desc = failed to create pod network sandbox k8s_cart-1_shop_u_0(ID): error adding pod shop_cart-1 to CNI network \\\"k8s-pod-network\\\": it says why\"" pod="shop/cart-1" podUID="u""#,
        );
        assert_eq!(
            (crio.0.as_str(), crio.2.as_str()),
            ("shop/cart-1", "it says why")
        );
    }

    /// What a pod's author chose stands in kubelet's and containerd's lines: a probe's output, a
    /// command, an image's name. klog writes each line of a longer text as one of the log's.
    #[test]
    fn what_pods_say_is_no_message() {
        let own = r#"time="2026-11-20T15:00:00Z" level=error msg="RunPodSandbox for &PodSandboxMetadata{Name:cart-1,Uid:u,Namespace:shop,Attempt:3,} failed, error" error="failed to setup network for sandbox \"x\": y""#;
        let quoted = own.replace('\\', r"\\").replace('"', "\\\"");
        let error = r#"failed to setup network for sandbox \"x\": y"#;
        let run = "RunPodSandbox for &PodSandboxMetadata{Name:cart-1,Uid:u,Namespace:shop,}";
        assert!(read(own).is_some());
        for line in [
            format!("1795186800.000000 n1 kubelet[7]: \t{own}"),
            format!("\t{own}"),
            format!(" {own}"),
            format!("x {own}"),
            format!(
                r#"I1120 15:00:00.1 7 prober.go:1] "Probe failed" pod="shop/cart-1" output="{quoted}""#
            ),
            format!(
                r#"I1120 15:00:00.1 7 prober.go:1] "Probe failed" pod="shop/cart-1" output="x" err="{error}""#
            ),
            format!(
                r#"time="x" level=error msg="ExecSync for \"{quoted}\" failed" error="{error}""#
            ),
            format!(r#"time="x" level=error msg="PullImage \"{run}\" failed" error="{error}""#),
            format!(
                r#"time="x" level=error msg="{run} failed, error" error="failed to pull image \"{error}\"""#
            ),
            format!(
                r#"E1120 15:00:00.1 7 x.go:1] "Error syncing pod, skipping" err="failed to \"StartContainer\" for \"c\" with RunContainerError: \"{error}\"" pod="shop/cart-1""#
            ),
            format!(
                r#"E1120 15:00:00.1 7 x.go:1] "Error syncing pod, skipping" err="failed to \"StartContainer\" for \"c\" with ErrImagePull: \"rpc error: code = Unknown desc = {error}\"" pod="shop/cart-1""#
            ),
        ] {
            assert_eq!(read(&line), None, "{line}");
        }
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
