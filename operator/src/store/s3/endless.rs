//! Tests what a store's answer may cost: an endless answer takes bounded memory, and an object may have any length.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;
use crate::{location::EndpointPolicy, store::InstallationId};

/// A store that answers each request with `head` and up to `body` bytes, and the count of body bytes that it sent.
async fn store(head: &'static str, body: usize) -> (Arc<dyn Store>, Arc<AtomicUsize>) {
    crate::install_crypto_provider();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = sent.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let counted = counted.clone();
            tokio::spawn(async move {
                let mut request = vec![0; 16 << 10];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(format!("{head}content-length: {body}\r\n\r\n").as_bytes()).await;
                let piece = vec![b'x'; 64 << 10];
                for _ in 0..body / piece.len() {
                    if stream.write_all(&piece).await.is_err() {
                        return;
                    }
                    counted.fetch_add(piece.len(), Ordering::Relaxed);
                }
            });
        }
    });
    let resolved = Resolved {
        policy: EndpointPolicy { allow_loopback: true, ..EndpointPolicy::default() },
        ..tests::resolved(&json!({"region": "eu-west-1", "s3ForcePathStyle": "true", "s3Url": url}))
    };
    (resolved.open(Options::default(), None).await.expect("a store"), sent)
}

/// As good as endless (bytes), yet a failing test still ends.
const ENDLESS: usize = 1 << 30;

#[tokio::test]
async fn sec_b1_n7_an_answer_without_end_is_given_up_and_its_status_told() {
    let key = Key::of("", &InstallationId::of_nobody(), None, "dbg", "u-1").expect("a key");
    for head in ["HTTP/1.1 403 Forbidden\r\n", "HTTP/1.1 503 Busy\r\n", "HTTP/1.1 200 OK\r\n"] {
        let (store, sent) = store(head, ENDLESS).await;
        let mut answers = Vec::new();
        if !head.contains("200") {
            answers.push(store.get(&key).await.map(|_| ()).expect_err("refused"));
            answers.push(store.delete(&key).await.expect_err("refused"));
        }
        answers.push(store.abort_unfinished(&key).await.expect_err("no list"));
        for error in answers {
            let status = &head[9..12];
            assert!(error.to_string().contains(&format!("HTTP {status}")), "{head}: {error}");
        }
        // Each attempt reads 1 MiB; the other bytes lie in the buffers of the kernel.
        let sent = sent.load(Ordering::Relaxed);
        assert!(sent < 256 << 20, "{head}: {sent} bytes were taken");
    }
}

#[tokio::test]
async fn an_object_may_be_longer_than_any_other_answer() {
    let (store, _) = store("HTTP/1.1 200 OK\r\n", 8 << 20).await;
    let key = Key::of("", &InstallationId::of_nobody(), None, "dbg", "u-1").expect("a key");
    let mut body = store.get(&key).await.expect("an answer").expect("an object").stream;
    let mut read = 0;
    while let Some(piece) = body.next().await {
        read += piece.expect("a piece").len();
    }
    assert_eq!(read, 8 << 20);
}
