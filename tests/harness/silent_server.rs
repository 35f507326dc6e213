//! A server that accepts connections and sends nothing, like a firewall or a hung gateway. It keeps each connection
//! open until it is dropped; `proxy` and `s3_proxy` answer wrongly.

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A port on the loopback address; dropping it closes the port.
#[derive(Debug)]
pub struct SilentServer {
    url: String,
    holding: JoinHandle<()>,
}

impl SilentServer {
    /// Listens on a free port.
    ///
    /// # Panics
    /// If no port is free.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let holding = tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                held.push(stream);
            }
        });
        Self { url, holding }
    }

    /// Where it listens, as a URL without a path.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for SilentServer {
    fn drop(&mut self) {
        self.holding.abort();
    }
}
