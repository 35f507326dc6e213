//! The probes of the Deployment, asked as the kubelet asks them.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use harness::{Operator, until, with_namespace};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::bundles::LIMIT;

/// The first line of the answer.
async fn status(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut connection = TcpStream::connect(address).await?;
    connection.write_all(format!("GET {path} HTTP/1.1\r\nhost: probe\r\nconnection: close\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn an_operator_at_work_is_alive_and_ready_and_one_without_the_flag_opens_no_port() {
    with_namespace("probes", |context| async move {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr()).expect("a free port");
        let operator = Operator::of(&context).args(["--http-address", &free.to_string()]).ready().await;
        for path in ["/livez", "/readyz"] {
            assert_eq!(status(free, path).await.expect("an answer"), "HTTP/1.1 200 OK", "{path}");
        }
        assert_eq!(status(free, "/secrets").await.expect("an answer"), "HTTP/1.1 404 Not Found");
        operator.terminate();
        assert_eq!(operator.wait_exit(LIMIT).await, 0);
        until(LIMIT, "the port is closed", || async { status(free, "/readyz").await.err() }).await;
        let _without = Operator::of(&context).ready().await;
        status(free, "/readyz").await.expect_err("nothing listens");
    })
    .await;
}
