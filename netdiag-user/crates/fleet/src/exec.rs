//! A command in a pod, by the API server's exec over WebSocket.
use std::time::Duration;

use super::{
    cluster::{InPod, within},
    kept::{self, Kept, Said, both, ended},
};
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::Status};
use kube::{
    Api,
    api::{AttachParams, AttachedProcess},
};

/// Bytes of its output that are on their way at once.
const BUFFER: usize = 1 << 20;

/// Runs it; its output goes to the file. Gives back why that is not all that was wanted.
pub async fn run(
    pods: &Api<Pod>,
    at: &InPod,
    command: Vec<String>,
    to: &mut Kept,
    said: Said,
    limit: Duration,
) -> Option<String> {
    let asked = AttachParams::default()
        .stdin(false)
        .stdout(true)
        .stderr(true)
        .container(&at.container)
        .max_stdout_buf_size(BUFFER);
    let pod = &at.pod;
    match within(pods.exec(pod, command, &asked)).await {
        Ok(process) => ended(limit, streamed(process, to, said)).await,
        Err(why) => Some(format!("no command could be run in {pod}: {why}")),
    }
}

async fn streamed(mut process: AttachedProcess, to: &mut Kept, mut said: Said) -> Option<String> {
    let status = process.take_status();
    let (stdout, stderr) = (process.stdout(), process.stderr());
    if let Err(why) = both(stdout, stderr, to, &mut said).await {
        return Some(why);
    }
    let status = match status {
        Some(status) => status.await,
        None => None,
    };
    match status {
        None => Some("its connection ended before netdiag did".into()),
        Some(status) => failed(&status).map(|code| match said.last() {
            Some(last) => last,
            None => code,
        }),
    }
}

/// What is wrong in how it ended (remotecommand's v4 and v5: NonZeroExitCode has the code among its
/// causes).
fn failed(status: &Status) -> Option<String> {
    if status.status.as_deref() == Some("Success") {
        return None;
    }
    let causes = status
        .details
        .iter()
        .flat_map(|it| it.causes.iter().flatten());
    let mut codes = causes.filter(|it| it.reason.as_deref() == Some("ExitCode"));
    let code = codes.next().and_then(|it| it.message.as_deref());
    match code {
        Some(code) => match code.parse() {
            Ok(code) => kept::failed(code),
            Err(_) => Some("netdiag ended there with a code that is no number".into()),
        },
        None => Some(
            status
                .message
                .clone()
                .unwrap_or_else(|| "it ended without a word".into()),
        ),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{StatusCause, StatusDetails};

    use super::*;

    fn ended(code: &str) -> Status {
        let cause = StatusCause {
            reason: Some("ExitCode".into()),
            message: Some(code.into()),
            ..StatusCause::default()
        };
        Status {
            status: Some("Failure".into()),
            details: Some(StatusDetails {
                causes: Some(vec![cause]),
                ..StatusDetails::default()
            }),
            ..Status::default()
        }
    }

    #[test]
    fn findings_are_no_failure() {
        let success = Status {
            status: Some("Success".into()),
            ..Status::default()
        };
        assert_eq!(failed(&success), None);
        assert_eq!(failed(&ended("1")), None);
        assert!(failed(&ended("3")).is_some_and(|why| why.ends_with("code 3")));
        assert!(failed(&Status::default()).is_some());
    }
}
