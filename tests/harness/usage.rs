//! A process's use of the machine, as the kernel counts it: CPU time and the peak of its resident memory.

use std::fs;
use std::io;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// In user and kernel mode, including ended children.
    pub cpu: Duration,
    /// Highest resident memory so far, in bytes (`VmHWM`); 0 once the process has ended.
    pub peak: u64,
    /// Resident memory now, in bytes (`VmRSS`); 0 once the process has ended.
    pub now: u64,
}

/// A tick of `/proc/<pid>/stat`: 100 a second on every Linux, whatever the kernel itself counts in.
const TICK: Duration = Duration::from_millis(10);

impl Usage {
    /// Usage of a process that runs, or has ended and was not waited for.
    pub fn of(pid: i32) -> io::Result<Self> {
        Ok(Self::with_state(pid)?.0)
    }

    fn with_state(pid: i32) -> io::Result<(Self, char)> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        // The name, in parentheses, may contain any character.
        let fields: Vec<&str> = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ').collect();
        let number = |at: usize| fields.get(at).and_then(|text| text.parse::<u32>().ok()).unwrap_or(0);
        let state = fields.first().and_then(|text| text.chars().next()).unwrap_or('?');
        let ticks = (11..=14).map(number).sum::<u32>();
        let usage = Self { cpu: TICK * ticks, peak: kib(&status, "VmHWM:"), now: kib(&status, "VmRSS:") };
        Ok((usage, state))
    }
}

fn kib(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) << 10
}

/// The result of a program that ran to its end.
#[derive(Clone, Copy, Debug)]
pub struct Ran {
    /// Its exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// From start to end.
    pub wall: Duration,
    /// Total usage. The peak is sampled every few milliseconds, so the last milliseconds are unknown.
    pub usage: Usage,
}

/// Runs a program to its end, with its output where `command` sends it. Kills it after `limit`. Blocks.
pub fn measured(command: &mut Command, limit: Duration) -> io::Result<Ran> {
    let began = Instant::now();
    let mut child = Ended(command.stdin(Stdio::null()).spawn()?);
    let pid = child.0.id().cast_signed();
    let mut peak = 0;
    let usage = loop {
        let (usage, state) = Usage::with_state(pid)?;
        peak = usage.peak.max(peak);
        // Not waited for yet: its CPU time is still readable, and final.
        if state == 'Z' {
            break Usage { peak, ..usage };
        }
        if began.elapsed() > limit {
            return Err(io::Error::new(io::ErrorKind::TimedOut, format!("it did not end within {limit:?}")));
        }
        std::thread::sleep(TICK / 2);
    };
    let wall = began.elapsed();
    let code = child.0.wait()?.code();
    Ok(Ran { code, wall, usage })
}

/// A child that is killed when this is dropped.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_works_and_keeps_memory_is_seen_to() {
        let script =
            "x=$(head -c 30000000 /dev/zero | tr '\\0' x); i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; exit 3";
        let ran = measured(Command::new("sh").args(["-c", script]), Duration::from_mins(1)).unwrap();
        assert_eq!(ran.code, Some(3));
        assert!(ran.usage.peak > 30_000_000, "{ran:?}");
        assert!(ran.usage.cpu >= TICK && ran.wall >= TICK, "{ran:?}");
    }

    #[test]
    fn a_program_that_does_not_end_is_ended() {
        let ran = measured(Command::new("sleep").arg("3600"), Duration::from_millis(50));
        assert_eq!(ran.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn this_process_uses_memory() {
        let own = Usage::of(std::process::id().cast_signed()).unwrap();
        assert!(own.peak >= own.now && own.now > 0, "{own:?}");
    }
}
