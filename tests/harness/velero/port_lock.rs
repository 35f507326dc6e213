//! The one place for a Velero server in this network namespace: its holder may listen on :8080. It is released when
//! dropped, or when its process ends.

use std::fs::{File, TryLockError};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, MutexGuard};

use crate::{tools, until};

const PORT: u16 = 8080;
/// Tests of other processes may be in the queue before us.
const LONGEST_WAIT: Duration = Duration::from_mins(30);
const TELL_EVERY: Duration = Duration::from_secs(20);

/// The right to run a Velero server.
pub(super) struct PortLock {
    _file: File,
    _turn: MutexGuard<'static, ()>,
}

impl PortLock {
    /// Waits for this test's turn.
    pub(super) async fn take() -> Self {
        static TURN: Mutex<()> = Mutex::const_new(());
        let turn = TURN.lock().await;
        let path = std::env::temp_dir().join("debugbundle-velero-server.lock");
        let file = File::options().create(true).append(true).open(&path);
        let file = file.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let told = std::sync::Mutex::new(Instant::now());
        until(LONGEST_WAIT, "no other test process runs a Velero server", || async {
            match file.try_lock() {
                Ok(()) => return Ok(()),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => panic!("{}: {error}", path.display()),
            }
            let mut told = told.lock().expect("nobody panics holding it");
            if told.elapsed() > TELL_EVERY {
                *told = Instant::now();
                tools::say("waiting for another test process, which runs a Velero server: it needs :8080 for itself");
            }
            Err(format!("{} is locked", path.display()))
        })
        .await;
        let why = "port 8080 is free: the Velero server needs it, and no flag of it changes that";
        until(Duration::from_secs(30), why, || async { TcpListener::bind(("0.0.0.0", PORT)).map(drop) }).await;
        Self { _file: file, _turn: turn }
    }
}
