//! SeaweedFS, a second S3 server beside the stand's: what both accept is less likely to be one server's habit. Only the
//! contract of stores runs on it, so it is started there and not with the stand.

use std::path::PathBuf;
use std::process::Command;

use serde_json::json;
use tempfile::TempDir;

use crate::process::Process;
use crate::s3::S3;
use crate::stand::{free_port, listens, random_token};

/// A server whose first port another program took is started again this often.
const ATTEMPTS: usize = 3;

/// A running server; dropping it ends it.
pub struct SeaweedFs {
    /// The client's side.
    pub s3: S3,
    _server: Process,
    _folder: TempDir,
}

impl SeaweedFs {
    /// Starts a server, which takes seconds; the first start on a machine installs it.
    pub async fn start() -> Self {
        let home = tokio::task::spawn_blocking(|| crate::python::packages("seaweedfs")).await.expect("installed");
        let folder = tempfile::Builder::new().prefix("debugbundle-seaweedfs-").tempdir().expect("a folder");
        let (access, secret) = (random_token().expect("a token"), random_token().expect("a token"));
        let identity = json!({"name": "root", "credentials": [{"accessKey": access, "secretKey": secret}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"]});
        let config = folder.path().join("s3.json");
        std::fs::write(&config, json!({"identities": [identity]}).to_string()).expect("written");
        for attempt in 1..=ATTEMPTS {
            let data = folder.path().join(format!("data-{attempt}"));
            std::fs::create_dir(&data).expect("a folder");
            let mut command = Command::new(home.join("bin").join("weed"));
            command.args(["-logtostderr=true", "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3"]);
            command.arg(format!("-dir={}", data.display())).arg(format!("-s3.config={}", config.display()));
            // Each bucket has volumes of its own, and a test has a bucket for each case.
            command.args(["-volume.max=200", "-master.volumeSizeLimitMB=64", "-s3.port.iceberg=0"]);
            command.env("WEED_MASTER_VOLUME_GROWTH_COPY_1", "1").env("HOME", folder.path());
            let port = free_port().expect("a port");
            command.arg(format!("-s3.port={port}"));
            for part in ["s3.port.grpc", "master.port", "master.port.grpc", "volume.port", "volume.port.grpc"]
                .into_iter()
                .chain(["filer.port", "filer.port.grpc"])
            {
                command.arg(format!("-{part}={}", free_port().expect("a port")));
            }
            let log = folder.path().join("seaweedfs.log");
            let server = Process::spawn("seaweedfs", &command, &log).expect("it can be started");
            match listens(&server, port).await {
                Ok(()) => {
                    let s3 = S3::new(port, access, secret, PathBuf::new(), data);
                    return Self { s3, _server: server, _folder: folder };
                }
                Err(why) => crate::tools::say(&format!("{why}\n{}", server.tail(5))),
            }
        }
        panic!("SeaweedFS does not start");
    }
}
