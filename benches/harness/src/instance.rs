//! One function as Lambda runs it: a process that asks our Runtime API for its next event.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use nix::time::ClockId;
use nix::unistd::Pid;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;

use crate::Failure;

/// Longer than any deadline of a function's own.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a function answered to an event.
pub struct Answer {
    /// Whether it was a result, and not an error.
    pub is_result: bool,
    /// The JSON of either.
    pub body: Bytes,
    /// When it arrived.
    pub at: Instant,
}

/// A running function.
pub struct Instance {
    child: Child,
    pid: Pid,
    started: Instant,
    events: mpsc::Sender<Bytes>,
    answers: mpsc::Receiver<Answer>,
    polls: mpsc::Receiver<()>,
    tasks: [JoinHandle<()>; 2],
}

/// The function's side of the channels of [`Instance`].
struct RuntimeApi {
    events: Mutex<mpsc::Receiver<Bytes>>,
    answers: mpsc::Sender<Answer>,
    polls: mpsc::Sender<()>,
}

impl Instance {
    /// Starts a program with this environment and no other variable, and waits until it asks for its first event.
    /// `command` is the program's path, and its arguments.
    pub async fn start(command: &[&str], environment: &[(String, String)]) -> Result<Self, Failure> {
        let (program, arguments) = command.split_first().ok_or("no program")?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (events, next) = mpsc::channel(1);
        let (answered, answers) = mpsc::channel(1);
        let (polled, polls) = mpsc::channel(2);
        let api = Arc::new(RuntimeApi { events: Mutex::new(next), answers: answered, polls: polled });
        let server = tokio::spawn(serve(listener, api));
        let started = Instant::now();
        let mut child = Command::new(program)
            .args(arguments)
            .env_clear()
            .envs(environment.iter().cloned())
            .envs(lambda(address))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("{program}: {error}"))?;
        // Lambda reads what a function logs, so a write costs as much as it does there.
        let mut log = child.stdout.take().ok_or("no stdout")?;
        let drain = tokio::spawn(async move {
            let mut buffer = vec![0; 64 * 1024];
            while matches!(log.read(&mut buffer).await, Ok(1..)) {}
        });
        let pid = Pid::from_raw(i32::try_from(child.id().ok_or("it ended at once")?)?);
        let mut instance = Self { child, pid, started, events, answers, polls, tasks: [server, drain] };
        instance.polled().await?;
        Ok(instance)
    }

    /// When it was started.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// One invocation. The function asks for its next event before this returns: it is idle then.
    pub async fn invoke(&mut self, event: Bytes) -> Result<Answer, Failure> {
        self.events.send(event).await?;
        let answer =
            tokio::time::timeout(PATIENCE, self.answers.recv()).await.map_err(|_| "no answer")?.ok_or("no answer")?;
        self.polled().await?;
        Ok(answer)
    }

    async fn polled(&mut self) -> Result<(), Failure> {
        tokio::select! {
            poll = tokio::time::timeout(PATIENCE, self.polls.recv()) => {
                poll.map_err(|_| "it asks for no event")?.ok_or("the server ended")?;
                Ok(())
            }
            status = self.child.wait() => Err(format!("the function ended: {}", status?).into()),
        }
    }

    /// The CPU time that all of its threads have used, in kernel and user mode.
    pub fn cpu(&self) -> Result<Duration, Failure> {
        Ok(ClockId::pid_cpu_clock_id(self.pid)?.now()?.into())
    }

    /// The most memory it ever had resident, in KiB.
    pub fn peak_memory(&self) -> Result<u64, Failure> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }

    /// Ends it as a person would, so that what watches it can write down what it saw.
    pub async fn terminate(mut self) -> Result<(), Failure> {
        nix::sys::signal::kill(self.pid, nix::sys::signal::Signal::SIGTERM)?;
        tokio::time::timeout(PATIENCE, self.child.wait()).await??;
        Ok(())
    }

    /// Ends it.
    pub async fn stop(mut self) -> Result<(), Failure> {
        self.child.kill().await?;
        Ok(())
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn lambda(runtime_api: SocketAddr) -> [(&'static str, String); 4] {
    [
        ("AWS_LAMBDA_RUNTIME_API", runtime_api.to_string()),
        ("AWS_LAMBDA_FUNCTION_NAME", "measured".into()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256".into()),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".into()),
    ]
}

async fn serve(listener: TcpListener, api: Arc<RuntimeApi>) {
    while let Ok((connection, _)) = listener.accept().await {
        let _ = connection.set_nodelay(true);
        let api = Arc::clone(&api);
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let api = Arc::clone(&api);
                async move { answer(&api, request).await.map_err(|error| error.to_string()) }
            });
            // A function that was ended drops its connection.
            let _ =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(connection), service).await;
        });
    }
}

/// <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>
async fn answer(api: &RuntimeApi, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Failure> {
    let path = request.uri().path().to_owned();
    if request.method() == Method::GET {
        let _ = api.polls.send(()).await;
        let event = api.events.lock().await.recv().await.ok_or("the harness ended")?;
        return Ok(Response::builder()
            .header("content-type", "application/json")
            .header("lambda-runtime-aws-request-id", "8476a536-e9f4-11e8-9739-2dfe598c3fcd")
            .header("lambda-runtime-deadline-ms", "4102444800000")
            .header("lambda-runtime-invoked-function-arn", "arn:aws:lambda:us-west-1:123456789012:function:measured")
            .header("lambda-runtime-trace-id", "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Sampled=0")
            .body(Full::new(event))?);
    }
    let body = request.into_body().collect().await?.to_bytes();
    let is_result = path.ends_with("/response");
    if !is_result && !path.ends_with("/error") {
        return Err(format!("asked for {path}").into());
    }
    let _ = api.answers.send(Answer { is_result, body, at: Instant::now() }).await;
    Ok(Response::builder().status(202).body(Full::new(Bytes::from_static(b"{\"status\":\"OK\"}")))?)
}
