//! The calls: who may have how much of the machine, and for how long.
use std::{
    ffi::OsString,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, Implementation, JsonObject,
        ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
    },
    service::RequestContext,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};

use super::{
    answer::{failed_by, own, untrusted},
    calls::{self, Line},
    child::{self, Ran},
    recordings::Recordings,
    tools,
};
use crate::{
    cli::{exit, options::NodeRootArgs},
    model::text,
};

/// Calls at once: a client that asks for more is told to wait.
const MOST_CALLS: u32 = 4;
/// What a call may take that does not watch, and one that does beside its watching.
const LIMIT: Duration = Duration::from_secs(60);
/// Findings that one call tells.
const FINDINGS: usize = 3;
const MOST_FINDINGS: usize = 20;

const INSTRUCTIONS: &str = "netdiag names the cause of lost packets on this Kubernetes node. Call \
    diagnose (or replay for a recording), believe its verdict before other guesses, and use path for a \
    single flow. All tools only read. Show the user a fix's commands instead of running them yourself.";

#[derive(Clone)]
pub struct Server(Arc<Shared>);

struct Shared {
    tools: Vec<Tool>,
    options: Vec<OsString>,
    doctor: Vec<OsString>,
    recordings: Option<Recordings>,
    calls: Semaphore,
    /// Who attaches programs: one at a time.
    live: Semaphore,
    /// For `findings`.
    last: Mutex<Option<Value>>,
    ending: watch::Sender<bool>,
}

type Answer = Result<CallToolResult, String>;

impl Server {
    pub fn new(
        options: Vec<OsString>,
        place: &NodeRootArgs,
        recordings: Option<Recordings>,
    ) -> Self {
        Self(Arc::new(Shared {
            tools: tools::all(),
            options,
            doctor: of_doctor(place),
            recordings,
            calls: Semaphore::new(MOST_CALLS as usize),
            live: Semaphore::new(1),
            last: Mutex::default(),
            ending: watch::Sender::new(false),
        }))
    }

    /// Ends the calls that are under way, and waits until they have.
    pub async fn end(&self, limit: Duration) {
        self.0.ending.send_replace(true);
        let all = self.0.calls.acquire_many(MOST_CALLS);
        if tokio::time::timeout(limit, all).await.is_err() {
            log::warn!("a call did not end: `netdiag cleanup` removes what it may have left");
        }
    }

    async fn answer(
        &self,
        name: &str,
        given: JsonObject,
        gone: impl Future<Output = ()>,
    ) -> Answer {
        let Ok(_call) = self.0.calls.try_acquire() else {
            return Err(format!(
                "{MOST_CALLS} calls are under way: wait for one of them"
            ));
        };
        let options = &self.0.options;
        match name {
            "diagnose" => {
                let asked: calls::Diagnose = read(given)?;
                let limit = asked.watches() + LIMIT;
                let told = self.live(asked.line(options), limit, gone).await?;
                self.verdict(told)
            }
            "audit" => {
                let asked: calls::Audit = read(given)?;
                let line = Line::new("audit").json().with(options);
                let line = line.each("--cause", &asked.causes);
                self.verdict(self.document(line, LIMIT, gone).await?)
            }
            "path" => {
                let asked: calls::Path = read(given)?;
                let limit = asked.watches() + LIMIT;
                let told = self.live(asked.line(options), limit, gone).await?;
                Ok(untrusted(&told))
            }
            "replay" => {
                let asked: calls::Replay = read(given)?;
                let recordings = self.0.recordings.as_ref();
                let recordings = recordings.ok_or("start the server with --recordings DIR")?;
                let files = recordings.files(&asked.recordings)?;
                let line = Line::new("replay").json().each("--cause", &asked.causes);
                self.verdict(self.document(line.files(files), LIMIT, gone).await?)
            }
            "findings" => self.findings(&read(given)?),
            "explain" => {
                let asked: calls::Explain = read(given)?;
                let line = Line::new("explain").operands(asked.name.as_deref().as_slice());
                let ran = self.run(line, LIMIT, gone).await?;
                Ok(own(&String::from_utf8_lossy(&ran.stdout)))
            }
            _ => {
                let calls::Doctor {} = read(given)?;
                let line = Line::new("doctor").json().with(&self.0.doctor);
                Ok(untrusted(&self.document(line, LIMIT, gone).await?))
            }
        }
    }

    /// One that attaches programs.
    async fn live(
        &self,
        line: Line,
        limit: Duration,
        gone: impl Future<Output = ()>,
    ) -> Result<Value, String> {
        match self.0.live.try_acquire() {
            Ok(_alone) => self.document(line, limit, gone).await,
            Err(_) => Err("a live call is under way: one at a time".into()),
        }
    }

    async fn document(
        &self,
        line: Line,
        limit: Duration,
        gone: impl Future<Output = ()>,
    ) -> Result<Value, String> {
        let ran = self.run(line, limit, gone).await?;
        serde_json::from_slice(&ran.stdout).map_err(|_| ran.why())
    }

    async fn run(
        &self,
        line: Line,
        limit: Duration,
        gone: impl Future<Output = ()>,
    ) -> Result<Ran, String> {
        let mut ending = self.0.ending.subscribe();
        let gone = async {
            tokio::select! {
                () = gone => {}
                _ = ending.wait_for(|it| *it) => {}
            }
        };
        let ran = child::run(&line.finished()?, limit, gone).await?;
        let answered = [exit::OK, exit::FINDINGS, exit::INCOMPLETE]
            .map(Some)
            .contains(&ran.code);
        // What doctor finds missing is an answer.
        match answered
            || ran
                .stdout
                .first()
                .is_some_and(|it| matches!(it, b'{' | b'['))
        {
            true => Ok(ran),
            false => Err(ran.why()),
        }
    }

    /// Kept whole for `findings`.
    fn verdict(&self, verdict: Value) -> Answer {
        let told = untrusted(&verdict);
        let mut last = self.0.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some(verdict);
        Ok(told)
    }

    fn findings(&self, asked: &calls::Findings) -> Answer {
        let limit = asked.limit.unwrap_or(FINDINGS);
        if !(1..=MOST_FINDINGS).contains(&limit) {
            return Err(format!("limit is from 1 to {MOST_FINDINGS}"));
        }
        let last = self.0.last.lock().unwrap_or_else(PoisonError::into_inner);
        let verdict = last.as_ref();
        let verdict = verdict.ok_or("there is no verdict yet: call diagnose, audit or replay")?;
        let all = verdict["findings"].as_array().into_iter().flatten();
        let of = |it: &&Value| {
            asked
                .cause
                .as_ref()
                .is_none_or(|cause| it["cause"] == **cause)
        };
        let all: Vec<&Value> = all.filter(of).collect();
        let some: Vec<&&Value> = all.iter().skip(asked.offset).take(limit).collect();
        Ok(untrusted(
            &json!({ "findings": some, "offset": asked.offset, "of": all.len() }),
        ))
    }
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().build();
        let own = Implementation::new("netdiag", env!("CARGO_PKG_VERSION"));
        let info = ServerConfig::new(capabilities).with_server_info(own);
        info.with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(self.0.tools.clone()))
    }

    async fn call_tool(
        &self,
        asked: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        if !self.0.tools.iter().any(|tool| tool.name == asked.name) {
            let why = format!("there is no tool {}", text::line(&asked.name, 100));
            return Err(ErrorData::invalid_params(why, None));
        }
        let given = asked.arguments.unwrap_or_default();
        let answer = self
            .answer(&asked.name, given, context.ct.cancelled())
            .await;
        Ok(answer.unwrap_or_else(|why| failed_by(&why)).into())
    }
}

fn read<T: DeserializeOwned>(given: JsonObject) -> Result<T, String> {
    serde_json::from_value(Value::Object(given)).map_err(|e| format!("the arguments: {e}"))
}

/// What doctor takes of the place.
fn of_doctor(place: &NodeRootArgs) -> Vec<OsString> {
    let option = |name: &str, value: &std::ffi::OsStr| {
        let mut word = OsString::from(name);
        word.push(value);
        word
    };
    let mut options = vec![option("--root=", place.root.as_os_str())];
    let file = place.kubeconfig.as_deref();
    options.extend(file.map(|it| option("--kubeconfig=", it.as_os_str())));
    let name = place.node_name.as_deref();
    options.extend(name.map(|it| option("--node-name=", it.as_ref())));
    options.extend(
        place
            .allow_exec_plugin
            .then(|| "--allow-exec-plugin".into()),
    );
    options
}
