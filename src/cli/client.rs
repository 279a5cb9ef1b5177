//! Speaks the local API: to a running gateway by the socket in its data directory, or, where none
//! runs, to the directory itself by the same routes in this process.

use super::data::{DataArgs, SOCKET, no_directory};
use super::gateway::{Gateway, Settings};
use super::{Exit, Failure, local, runtime};
use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::io;
use std::path::{Path, PathBuf};
use tokio::net::UnixStream;
use tower::ServiceExt as _;

/// Where the local API is.
pub(crate) enum Client {
    /// A gateway runs and listens there.
    Running(PathBuf),
    /// None runs: this process has the directory.
    Alone(Box<Gateway>, Router),
}

/// A command that asks: of the running gateway, or of the directory, which is closed behind it
/// whatever came of it.
pub(crate) fn asking<T>(
    data: &DataArgs,
    ask: impl AsyncFnOnce(&Client) -> Result<T, Failure>,
) -> Result<T, Failure> {
    runtime()?.block_on(async {
        let client = Client::of(&data.dir()?).await?;
        let done = ask(&client).await;
        client.close().await;
        done
    })
}

fn not_ours(socket: &Path, error: &io::Error) -> Failure {
    let what = format_args!("{}: {error}", socket.display());
    Failure::new(Exit::NoInput, what)
        .hint("run this as the user that runs the gateway (or as root): its data is its own")
}

impl Client {
    /// Finds a running gateway, or opens the directory.
    pub(crate) async fn of(data: &Path) -> Result<Self, Failure> {
        let socket = data.join(SOCKET);
        match UnixStream::connect(&socket).await {
            Ok(_) => return Ok(Self::Running(socket)),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(not_ours(&socket, &error));
            }
            Err(_) => {}
        }
        if !data.is_dir() {
            return Err(no_directory(data));
        }
        let dir = data.to_owned();
        let opened = tokio::task::spawn_blocking(move || Gateway::open(&dir, Settings::alone()));
        let gateway = opened
            .await
            .map_err(|error| Failure::new(Exit::Software, error))??;
        let router = local::of(&gateway);
        Ok(Self::Alone(Box::new(gateway), router))
    }

    /// Finds a running gateway; where none runs that is a failure.
    pub(crate) async fn of_running(data: &Path) -> Result<Self, Failure> {
        let socket = data.join(SOCKET);
        match UnixStream::connect(&socket).await {
            Ok(_) => Ok(Self::Running(socket)),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Err(not_ours(&socket, &error))
            }
            Err(error) => Err(Failure::new(
                Exit::Unavailable,
                format_args!("no gateway answers on {}: {error}", socket.display()),
            )
            .hint("name its data directory with --data, or its file with --config")),
        }
    }

    /// One call: its answer's status and JSON.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Value), Failure> {
        self.call_for(None, method, path, body).await
    }

    /// One call, for an account if one is named.
    pub(crate) async fn call_for(
        &self,
        cid: Option<u64>,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Value), Failure> {
        let (status, body) = self.send(cid, method, path, body).await?;
        let bytes = body
            .collect()
            .await
            .map_err(|error| gone(&error))?
            .to_bytes();
        let json = serde_json::from_slice(&bytes).map_err(|error| gone(&error))?;
        Ok((status, json))
    }

    /// The `result` of a call that must succeed.
    pub(crate) async fn result(&self, path: &str) -> Result<Vec<Value>, Failure> {
        let (status, json) = self.call(Method::GET, path, None).await?;
        result_of(status, json)
    }

    /// The `result` of a call for an account, which must succeed.
    pub(crate) async fn result_for(
        &self,
        cid: u64,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Result<Vec<Value>, Failure> {
        let (status, json) = self.call_for(Some(cid), method, path, Some(body)).await?;
        result_of(status, json)
    }

    /// The `result` of a call for an account, whatever `errors` are beside it.
    pub(crate) async fn rows_for(
        &self,
        cid: u64,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Result<Vec<Value>, Failure> {
        let (_, body) = self.send(Some(cid), method, path, Some(body)).await?;
        let bytes = body
            .collect()
            .await
            .map_err(|error| gone(&error))?
            .to_bytes();
        let mut json: Value = serde_json::from_slice(&bytes).map_err(|error| gone(&error))?;
        match json.get_mut("result").map(Value::take) {
            Some(Value::Array(rows)) => Ok(rows),
            _ => Err(Failure::new(Exit::Unavailable, "the gateway gave no rows")),
        }
    }

    /// A page that is text, whole, and whether its status is a success.
    pub(crate) async fn text(&self, path: &str) -> Result<(bool, String), Failure> {
        let (status, body) = self.send(None, Method::GET, path, None).await?;
        let bytes = body
            .collect()
            .await
            .map_err(|error| gone(&error))?
            .to_bytes();
        let text = std::str::from_utf8(&bytes).map_err(|error| gone(&error))?;
        Ok((status.is_success(), text.to_owned()))
    }

    /// One call whose answer is read as it comes.
    pub(crate) async fn open(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Body), Failure> {
        self.send(None, method, path, body).await
    }

    /// What is asked for, as it comes; a refusal is a failure with its reason.
    pub(crate) async fn stream(&self, path: &str, asked: &Value) -> Result<Body, Failure> {
        let (status, body) = self.open(Method::POST, path, Some(asked)).await?;
        if status.is_success() {
            return Ok(body);
        }
        let bytes = body.collect().await.map_err(|error| gone(&error))?;
        let answer: Value = serde_json::from_slice(&bytes.to_bytes()).unwrap_or_default();
        let reason = answer.pointer("/errors/0/reason").and_then(Value::as_str);
        let reason = reason.unwrap_or("the gateway refused");
        Err(Failure::new(Exit::Data, reason))
    }

    async fn send(
        &self,
        cid: Option<u64>,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Body), Failure> {
        let text = body.map(ToString::to_string).unwrap_or_default();
        let mut request = Request::builder().method(method).uri(path);
        if let Some(cid) = cid {
            request = request.header("x-flespi-cid", cid);
        }
        let request = request
            .header("host", "localhost")
            .header("content-type", "application/json")
            .body(Body::from(text))
            .map_err(|error| Failure::new(Exit::Usage, error))?;
        match self {
            Self::Running(socket) => {
                let stream = UnixStream::connect(socket)
                    .await
                    .map_err(|error| gone(&error))?;
                let (mut sender, connection) =
                    hyper::client::conn::http1::handshake(TokioIo::new(stream))
                        .await
                        .map_err(|error| gone(&error))?;
                // the connection's task ends with the answer; what it has to say the answer says
                drop(tokio::spawn(connection));
                let answer = sender
                    .send_request(request)
                    .await
                    .map_err(|error| gone(&error))?;
                Ok((answer.status(), Body::new(answer.into_body())))
            }
            Self::Alone(_, router) => {
                let answer = router.clone().oneshot(request).await;
                let answer = answer.unwrap_or_else(|never| match never {});
                Ok((answer.status(), answer.into_body()))
            }
        }
    }

    /// Lets the directory go in order, if this process has it.
    pub(crate) async fn close(self) {
        if let Self::Alone(gateway, router) = self {
            drop(router);
            gateway.stop(std::time::Duration::ZERO).await;
        }
    }
}

/// The `result` of an answer, or its errors as a failure.
pub(super) fn result_of(status: StatusCode, mut json: Value) -> Result<Vec<Value>, Failure> {
    let errors = json
        .get("errors")
        .and_then(Value::as_array)
        .filter(|errors| !errors.is_empty());
    if let Some(errors) = errors {
        let reasons: Vec<&str> = errors
            .iter()
            .filter_map(|error| error.get("reason")?.as_str())
            .collect();
        return Err(Failure::new(Exit::Data, reasons.join("; ")));
    }
    match json.get_mut("result").map(Value::take) {
        Some(Value::Array(result)) if status.is_success() => Ok(result),
        _ => Err(Failure::new(
            Exit::Unavailable,
            format_args!("the gateway answered {status}"),
        )),
    }
}

fn gone(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(
        Exit::Unavailable,
        format_args!("the gateway went away: {error}"),
    )
}

/// Writes an answer as it comes. Gives back its last bytes, so many at most; `failed` says what a
/// failed write is.
pub(super) async fn write_out(
    mut body: Body,
    out: &mut dyn io::Write,
    tail_bytes: usize,
    failed: &dyn Fn(&io::Error) -> Failure,
) -> Result<Vec<u8>, Failure> {
    let mut tail = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| gone(&error))?;
        if let Ok(bytes) = frame.into_data() {
            out.write_all(&bytes).map_err(|error| failed(&error))?;
            tail.extend_from_slice(&bytes);
            let from = tail.len().saturating_sub(tail_bytes);
            tail.drain(..from);
        }
    }
    out.flush().map_err(|error| failed(&error))?;
    Ok(tail)
}
