//! Asks the operator's own HTTP port, as the kubelet and Prometheus do.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// A port of loopback that is free.
pub fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr()).expect("a free port")
}

/// The answer to a GET: head and body.
pub async fn answer(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut connection = TcpStream::connect(address).await?;
    connection.write_all(format!("GET {path} HTTP/1.1\r\nhost: it\r\nconnection: close\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// The first line of the answer.
pub async fn status_line(address: SocketAddr, path: &str) -> io::Result<String> {
    Ok(answer(address, path).await?.lines().next().unwrap_or_default().to_owned())
}
