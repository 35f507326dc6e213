//! A real Prometheus that scrapes one operator, and promtool, which asks it.

use std::{ffi::OsStr, io::Write as _, net::SocketAddr, process::Stdio};

use harness::{
    Context,
    process::Process,
    tools::{self, Tool},
    until,
};
use serde_json::{Value, json};

use super::{bundles::LIMIT, http::free_address};

/// Runs promtool with this input; what it says on both outputs, as an error if it finds a fault.
pub async fn promtool<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>, input: &str) -> Result<String, String> {
    let program = tools::path(Tool::Promtool).await.unwrap_or_else(|error| panic!("{error}"));
    let mut stdin = tempfile::tempfile().expect("a file");
    stdin.write_all(input.as_bytes()).and_then(|()| std::io::Seek::rewind(&mut stdin)).expect("written");
    let mut command = tokio::process::Command::new(program);
    command.args(args).stdin(Stdio::from(stdin)).kill_on_drop(true);
    let done = command.output().await.expect("promtool starts");
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    if done.status.success() { Ok(format!("{out}{err}")) } else { Err(format!("{out}{err}")) }
}

/// A Prometheus that scrapes each second and evaluates rules each second.
pub struct Prometheus {
    url: String,
    server: Process,
}

impl Prometheus {
    /// Starts one for the operator at this address, with the label `namespace` that a cluster would give it, and waits
    /// for its first scrape.
    pub async fn of(context: &Context, operator: SocketAddr, namespace: &str, rules: &Value) -> Self {
        let program = tools::path(Tool::Prometheus).await.unwrap_or_else(|error| panic!("{error}"));
        let folder = context.folder("prometheus");
        let config = json!({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": ["rules.json"],
            "scrape_configs": [{
                "job_name": "debugbundle",
                "static_configs": [{"targets": [operator.to_string()], "labels": {"namespace": namespace, "pod": "one"}}],
            }],
        });
        for (name, text) in [("prometheus.json", &config), ("rules.json", rules)] {
            std::fs::write(folder.join(name), text.to_string()).expect("written");
        }
        let listens = free_address();
        let mut command = std::process::Command::new(program);
        command.args(["--config.file=prometheus.json", "--storage.tsdb.path=data"]).current_dir(&folder);
        command.arg(format!("--web.listen-address={listens}"));
        let server = Process::spawn("prometheus", &command, &folder.join("log")).expect("Prometheus starts");
        let prometheus = Self { url: format!("http://{listens}"), server };
        until(LIMIT, "Prometheus has scraped the operator", || async {
            let up = prometheus.query("up == 1").await?;
            if up.is_empty() { Err(prometheus.server.tail(5)) } else { Ok(()) }
        })
        .await;
        prometheus
    }

    /// The samples of an expression: `metric` has the labels, `value` the time and the value as text.
    pub async fn query(&self, expression: &str) -> Result<Vec<Value>, String> {
        let said = promtool(["query", "instant", "-o", "json", &self.url, expression], "").await?;
        serde_json::from_str(&said).map_err(|error| format!("{expression}: {error}: {said}"))
    }
}
