//! Servers as child processes, each in a process group of its own that cannot outlive the test process.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Mutex;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// Runs the program beside a reader of our pipe: the pipe closes when the test process ends in any way, and then the
/// whole group is killed. When the program itself ends, the rest of its group is killed too.
const SUPERVISOR: &str = r#"
log=$1; shift
exec 3<&0
"$@" </dev/null 3<&- >>"$log" 2>&1 &
child=$!
echo "$child"
{ read -r _ <&3; kill -KILL 0; } &
wait "$child"; code=$?
trap '' TERM; kill -TERM 0
exit "$code"
"#;

/// Waits for the end of the test process, then removes a folder. It tries again while dying servers still write.
const SWEEPER: &str = r#"
read -r _
for _ in 1 2 3 4 5 6 7 8 9 10; do rm -rf "$1" 2>/dev/null; [ -e "$1" ] || exit 0; sleep 0.2; done
"#;

/// A running program; dropping it kills its process group.
#[derive(Debug)]
pub struct Process {
    name: String,
    log: PathBuf,
    pid: Pid,
    group: Pid,
    supervisor: Mutex<Child>,
    /// Open while the group may live.
    leash: Option<ChildStdin>,
}

impl Process {
    /// Starts `command` with its output appended to `log`. Its standard input is empty.
    pub fn spawn(name: &str, command: &Command, log: &Path) -> io::Result<Self> {
        OpenOptions::new().create(true).append(true).open(log)?;
        let mut wrapped = Command::new("sh");
        wrapped.args([OsStr::new("-c"), OsStr::new(SUPERVISOR), OsStr::new(name), log.as_os_str()]);
        wrapped.arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => wrapped.env(key, value),
                None => wrapped.env_remove(key),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            wrapped.current_dir(folder);
        }
        let mut supervisor =
            wrapped.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let leash = supervisor.stdin.take().expect("stdin is a pipe");
        let mut pid = String::new();
        BufReader::new(supervisor.stdout.take().expect("stdout is a pipe")).read_line(&mut pid)?;
        let pid = pid.trim().parse().ok().and_then(Pid::from_raw);
        let group = Pid::from_child(&supervisor);
        let pid = pid.ok_or_else(|| io::Error::other(format!("{name} did not start")))?;
        Ok(Self {
            name: name.to_owned(),
            log: log.to_owned(),
            pid,
            group,
            supervisor: Mutex::new(supervisor),
            leash: Some(leash),
        })
    }

    /// Its name, as given at the start.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process id of the program itself.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Where its output goes.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The exit code once it has ended, by the shell's convention: 128 + n when signal n ended it.
    pub fn exited(&self) -> Option<i32> {
        use std::os::unix::process::ExitStatusExt as _;
        let status = self.supervisor().try_wait().ok().flatten()?;
        Some(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
    }

    /// Sends a signal to the program alone. Nothing happens if it has ended.
    pub fn signal(&self, signal: Signal) {
        if self.exited().is_none() {
            // It may end between the check and the signal, which is fine.
            let _ = kill_process(self.pid, signal);
        }
    }

    /// Runs `kill -9` on the program and all its children, and waits until they are gone.
    pub fn kill(&self) {
        let _ = kill_process_group(self.group, Signal::KILL);
        let _ = self.supervisor().wait();
    }

    /// The last `lines` lines of its output.
    pub fn tail(&self, lines: usize) -> String {
        tail(&self.log, lines)
    }

    fn supervisor(&self) -> std::sync::MutexGuard<'_, Child> {
        self.supervisor.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.leash.take());
        self.kill();
    }
}

const LONGEST_LINE: usize = 400;

/// The last `lines` lines of at most 64 KiB of a file, each cut to a readable length; or the read error as text.
pub fn tail(path: &Path, lines: usize) -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(path)?;
        let start = file.metadata()?.len().saturating_sub(64 << 10);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        let all: Vec<String> = text.lines().map(|line| line.chars().take(LONGEST_LINE).collect()).collect();
        Ok(all[all.len().saturating_sub(lines)..].join("\n"))
    };
    read().unwrap_or_else(|error| format!("({}: {error})", path.display()))
}

/// Removes `folder` when this process has ended, in any way.
pub fn sweep_at_exit(folder: &Path) -> io::Result<()> {
    let sweeper = Command::new("sh")
        .args([OsStr::new("-c"), OsStr::new(SWEEPER), OsStr::new("sweeper"), folder.as_os_str()])
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    // The open pipe is the signal: it closes when this process ends, and no sooner.
    std::mem::forget(sweeper);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::process::test_kill_process;

    use super::*;
    use crate::until;

    /// A shell that starts a child of one hour, prints its pid, and runs `then`.
    fn with_a_child(then: &str) -> (Process, Pid, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut command = Command::new("sh");
        command.args(["-c", &format!("sleep 3600 & echo $! >pid.new; mv pid.new pid; {then}")]).current_dir(&folder);
        let process = Process::spawn("parent", &command, &log).unwrap();
        let pid = loop {
            if let Ok(pid) = std::fs::read_to_string(folder.path().join("pid")) {
                break pid.trim().parse().ok().and_then(Pid::from_raw).unwrap();
            }
            std::thread::yield_now();
        };
        (process, pid, folder)
    }

    async fn ends(pid: Pid) {
        until(Duration::from_secs(10), "the child is gone", || async {
            // A zombie keeps its pid until init reaps it.
            let state = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
            let zombie = state.is_ok_and(|text| text.contains(") Z "));
            if zombie || test_kill_process(pid).is_err() { Ok(()) } else { Err("it runs") }
        })
        .await;
    }

    #[tokio::test]
    async fn a_closed_leash_ends_the_whole_group() {
        let (mut process, child, _folder) = with_a_child("wait");
        assert_eq!(process.exited(), None);
        process.leash = None;
        ends(child).await;
        until(Duration::from_secs(10), "the supervisor is gone", || async { process.exited() }).await;
    }

    #[tokio::test]
    async fn what_a_program_leaves_behind_ends_with_it_and_its_code_is_kept() {
        let (process, child, _folder) = with_a_child("exit 7");
        assert_eq!(until(Duration::from_secs(10), "it ends", || async { process.exited() }).await, 7);
        ends(child).await;
    }

    #[tokio::test]
    async fn a_killed_program_says_so() {
        let (process, child, _folder) = with_a_child("wait");
        process.signal(Signal::KILL);
        assert_eq!(until(Duration::from_secs(10), "it ends", || async { process.exited() }).await, 137);
        ends(child).await;
    }
}
