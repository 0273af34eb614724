//! One function as Lambda runs it: a process that polls our Runtime API for events.

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

/// Longer than any function's own deadline.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A function's response to an event.
pub struct Reply {
    /// Whether it is a result rather than an error.
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
    replies: mpsc::Receiver<Reply>,
    polls: mpsc::Receiver<()>,
    tasks: [JoinHandle<()>; 2],
}

/// The function's side of [`Instance`]'s channels.
struct RuntimeApi {
    events: Mutex<mpsc::Receiver<Bytes>>,
    replies: mpsc::Sender<Reply>,
    polls: mpsc::Sender<()>,
}

impl Instance {
    /// Starts a program with this environment and no other variables, and waits until it polls for its first event.
    /// `command` is the program's path and its arguments.
    pub async fn start(command: &[&str], environment: &[(String, String)]) -> Result<Self, Failure> {
        let (program, arguments) = command.split_first().ok_or("no program")?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (events, next) = mpsc::channel(1);
        let (answered, replies) = mpsc::channel(1);
        let (polled, polls) = mpsc::channel(2);
        let api = Arc::new(RuntimeApi { events: Mutex::new(next), replies: answered, polls: polled });
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
        // Lambda reads the log, so a write costs as much as there.
        let mut log = child.stdout.take().ok_or("no stdout")?;
        let drain = tokio::spawn(async move {
            let mut buffer = vec![0; 64 * 1024];
            while matches!(log.read(&mut buffer).await, Ok(1..)) {}
        });
        let pid = Pid::from_raw(i32::try_from(child.id().ok_or("it exited at once")?)?);
        let mut instance = Self { child, pid, started, events, replies, polls, tasks: [server, drain] };
        instance.polled().await?;
        Ok(instance)
    }

    /// The start time of the process.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// One invocation. Returns once the function polls for its next event: it is idle then.
    pub async fn invoke(&mut self, event: Bytes) -> Result<Reply, Failure> {
        self.events.send(event).await?;
        let reply =
            tokio::time::timeout(TIMEOUT, self.replies.recv()).await.map_err(|_| "no reply")?.ok_or("no reply")?;
        self.polled().await?;
        Ok(reply)
    }

    async fn polled(&mut self) -> Result<(), Failure> {
        tokio::select! {
            poll = tokio::time::timeout(TIMEOUT, self.polls.recv()) => {
                poll.map_err(|_| "it polls for no event")?.ok_or("the server ended")?;
                Ok(())
            }
            status = self.child.wait() => Err(format!("the function exited: {}", status?).into()),
        }
    }

    /// CPU time of all its threads, in kernel and user mode.
    pub fn cpu(&self) -> Result<Duration, Failure> {
        Ok(ClockId::pid_cpu_clock_id(self.pid)?.now()?.into())
    }

    /// Peak resident memory in KiB.
    pub fn peak_memory(&self) -> Result<u64, Failure> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }

    /// Sends SIGTERM, so that a profiler around it can write its results.
    pub async fn terminate(mut self) -> Result<(), Failure> {
        nix::sys::signal::kill(self.pid, nix::sys::signal::Signal::SIGTERM)?;
        tokio::time::timeout(TIMEOUT, self.child.wait()).await??;
        Ok(())
    }

    /// Kills it.
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
                async move { reply(&api, request).await.map_err(|error| error.to_string()) }
            });
            // A stopped function drops its connection.
            let _ =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(connection), service).await;
        });
    }
}

/// <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>
async fn reply(api: &RuntimeApi, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Failure> {
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
    let _ = api.replies.send(Reply { is_result, body, at: Instant::now() }).await;
    Ok(Response::builder().status(202).body(Full::new(Bytes::from_static(b"{\"status\":\"OK\"}")))?)
}
