//! A scripted node's port-forward: connections to a port of a pod end at an address of this machine. It speaks the
//! websocket protocol of the kubelet, which the API server passes through.

use std::net::SocketAddr;

use futures::{SinkExt as _, StreamExt as _};
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, handshake::derive_accept_key, protocol::Role},
};

use super::serve::{Body, plain};

/// The kubelet's protocol: the first byte of a message is its channel.
const PROTOCOL: &str = "v4.channel.k8s.io";
const DATA: u8 = 0;
const ERROR: u8 = 1;
/// Bytes read at once.
const PIECE: usize = 32 << 10;

/// Answers the request of a port-forward; `to` is where the pod's port ends, if a test has set it.
pub(super) fn answer(mut request: Request<Incoming>, port: u16, to: Option<SocketAddr>) -> Response<Body> {
    let Some(key) = request.headers().get(SEC_WEBSOCKET_KEY).cloned() else {
        return plain(StatusCode::BAD_REQUEST, "the scripted kubelet forwards ports by websocket only".into());
    };
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        // The client may go away at any time.
        if let Ok(upgraded) = upgrade.await {
            let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
            forward(socket, port, to).await;
        }
    });
    let mut response = plain(StatusCode::SWITCHING_PROTOCOLS, "".into());
    let headers = response.headers_mut();
    headers.insert(UPGRADE, "websocket".parse().expect("a value"));
    headers.insert(CONNECTION, "Upgrade".parse().expect("a value"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, derive_accept_key(key.as_bytes()).parse().expect("base64"));
    headers.insert(SEC_WEBSOCKET_PROTOCOL, PROTOCOL.parse().expect("a value"));
    response
}

async fn forward(mut socket: WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>, port: u16, to: Option<SocketAddr>) {
    let framed = |channel: u8, bytes: &[u8]| Message::binary([&[channel], bytes].concat());
    // Each channel begins with its port.
    for channel in [DATA, ERROR] {
        let _ = socket.send(framed(channel, &port.to_le_bytes())).await;
    }
    let store = match to {
        Some(to) => TcpStream::connect(to).await.map_err(|error| error.to_string()),
        None => Err(format!("dial tcp4 127.0.0.1:{port}: connect: connection refused")),
    };
    let mut store = match store {
        Ok(store) => store,
        Err(why) => {
            let _ = socket.send(framed(ERROR, why.as_bytes())).await;
            let _ = socket.close(None).await;
            return;
        }
    };
    let (mut from_store, mut to_store) = store.split();
    let mut piece = vec![0; PIECE];
    loop {
        tokio::select! {
            read = from_store.read(&mut piece) => match read {
                Ok(length @ 1..) if socket.send(framed(DATA, &piece[..length])).await.is_ok() => {}
                _ => break,
            },
            message = socket.next() => match message {
                Some(Ok(Message::Binary(bytes))) if bytes.first() == Some(&DATA) => {
                    if to_store.write_all(&bytes[1..]).await.is_err() {
                        break;
                    }
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Binary(_))) => {}
                _ => break,
            },
        }
    }
    let _ = socket.close(None).await;
}
