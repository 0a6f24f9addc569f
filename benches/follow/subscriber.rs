//! A subscriber that does little work, so that the benchmark measures the server.

use std::time::Instant;

use anyhow::Context;
use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::UnboundedSender;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Sse,
    WebSocket,
}

pub enum Subscriber {
    Sse(TcpStream),
    WebSocket(Box<WebSocketStream<TcpStream>>),
}

impl Subscriber {
    pub async fn open(kind: Kind, url: &str, subscription: &str) -> anyhow::Result<Self> {
        let address = url.strip_prefix("http://").context("an URL")?;
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let payload = json!({ "query": subscription });
        match kind {
            Kind::Sse => {
                let body = payload.to_string();
                let request = format!(
                    "POST /graphql/stream HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\
                     Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                stream.write_all(request.as_bytes()).await?;
                // Read the head of the response: further connections would overflow the
                // accept queue.
                let mut head = Vec::with_capacity(1024);
                while !head.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
                    anyhow::ensure!(stream.read_buf(&mut head).await? > 0, "closed");
                }
                let head = String::from_utf8_lossy(&head);
                anyhow::ensure!(head.starts_with("HTTP/1.1 200"), "{head}");
                Ok(Self::Sse(stream))
            }
            Kind::WebSocket => {
                let mut request = format!("ws://{address}/graphql/ws").into_client_request()?;
                let protocol = HeaderValue::from_static("graphql-transport-ws");
                request.headers_mut().insert("sec-websocket-protocol", protocol);
                let small = WebSocketConfig::default().read_buffer_size(1024).write_buffer_size(0);
                let opened =
                    tokio_tungstenite::client_async_with_config(request, stream, Some(small));
                let (mut socket, _) = opened.await?;
                let init = json!({ "type": "connection_init" }).to_string();
                socket.send(Message::Text(init.into())).await?;
                let ack = socket.next().await.context("closed")??;
                anyhow::ensure!(ack.to_text()?.contains("connection_ack"), "{ack}");
                let subscribe = json!({ "id": "1", "type": "subscribe", "payload": payload });
                socket.send(Message::Text(subscribe.to_string().into())).await?;
                Ok(Self::WebSocket(Box::new(socket)))
            }
        }
    }

    /// Sends the time of each event, to the end.
    pub async fn follow(self, events: UnboundedSender<Instant>) {
        match self {
            Self::Sse(mut stream) => {
                let mut bytes = [0; 1024];
                // An event is short and is written at once.
                while let Ok(count @ 1..) = stream.read(&mut bytes).await {
                    let text = String::from_utf8_lossy(&bytes[..count]);
                    for _ in text.matches("event: next") {
                        let _ = events.send(Instant::now());
                    }
                }
            }
            Self::WebSocket(mut socket) => {
                while let Some(Ok(message)) = socket.next().await {
                    if matches!(&message, Message::Text(text) if text.contains("\"next\"")) {
                        let _ = events.send(Instant::now());
                    }
                }
            }
        }
    }
}
