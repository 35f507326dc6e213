//! A server that takes connections and never says a word: what a firewall or a hung gateway looks like from outside.
//! It keeps each connection open until it is dropped; servers that answer wrongly are `proxy` and `s3_proxy`.

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A port on the loopback address; it ends with this.
#[derive(Debug)]
pub struct Silent {
    url: String,
    holding: JoinHandle<()>,
}

impl Silent {
    /// On a free port.
    ///
    /// # Panics
    /// When there is none.
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

impl Drop for Silent {
    fn drop(&mut self) {
        self.holding.abort();
    }
}
