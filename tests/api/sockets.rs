//! The same routers behind real sockets.

use crate::harness::{Gateway, device};
use serde_json::json;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// One request on a connection of its own; the answer as it came.
async fn ask(
    mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    head: &str,
    body: &str,
) -> String {
    let length = body.len();
    let request =
        format!("{head}\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn both_doors_serve_over_real_sockets() {
    let gateway = Gateway::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let at = listener.local_addr().expect("an address");
    let network = gateway.network.clone();
    tokio::spawn(async move {
        let service = network.into_make_service_with_connect_info::<SocketAddr>();
        axum::serve(listener, service).await.expect("served");
    });
    let path = gateway.dir.path().join("api.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    let local = gateway.local.clone();
    tokio::spawn(async move { axum::serve(listener, local).await.expect("served") });
    let tcp = async || TcpStream::connect(at).await.expect("connected");
    let unix = async || UnixStream::connect(&path).await.expect("connected");

    let made = ask(
        unix().await,
        "POST /platform/subaccounts HTTP/1.1",
        r#"[{"name":"Master"}]"#,
    )
    .await;
    assert!(made.starts_with("HTTP/1.1 200"), "{made}");
    let key = gateway.token(1, json!({ "type": 1 })).await;
    let token = format!("authorization: FlespiToken {key}");
    let body = json!([device("352625333222111")]).to_string();
    // whatever the content type is
    let head = format!(
        "POST /gw/devices HTTP/1.1\r\n{token}\r\ncontent-type: application/x-www-form-urlencoded"
    );
    let made = ask(tcp().await, &head, &body).await;
    assert!(made.contains(r#""ident":"352625333222111""#), "{made}");
    // a GET with a body, as some clients send it
    let head = format!("GET /gw/devices/1/messages HTTP/1.1\r\n{token}");
    let read = ask(tcp().await, &head, r#"{"count":1}"#).await;
    assert!(read.ends_with(r#"{"result":[]}"#), "{read}");
    let none = ask(tcp().await, "GET /gw/devices/all HTTP/1.1", "").await;
    assert!(none.starts_with("HTTP/1.1 401"), "{none}");
    let metrics = ask(tcp().await, "GET /metrics HTTP/1.1", "").await;
    assert!(
        metrics.contains("tollgate_api_requests_total"),
        "this peer is on loopback"
    );
    // a body that is announced as too long is not read
    let long = format!(
        "POST /gw/devices HTTP/1.1\r\n{token}\r\nhost: x\r\ncontent-length: 104857600\r\n\r\n"
    );
    let mut stream = tcp().await;
    stream.write_all(long.as_bytes()).await.expect("sent");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 413");
}
