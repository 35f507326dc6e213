//! A quiet time after work: the memory that the operator keeps, and the CPU time that waiting costs.

use std::time::Duration;

use harness::Operator;

use super::{mib, seconds, usage};

/// The cost of the operator in a quiet time.
pub(super) struct Quiet {
    /// Resident memory at its end, in bytes.
    pub(super) memory: u64,
    /// CPU time, in percent of one core.
    pub(super) cpu: f64,
}

/// Waits for this time, and prints its cost.
pub(super) async fn quiet(operator: &Operator, time: Duration) -> Quiet {
    let before = usage(operator);
    tokio::time::sleep(time).await;
    let after = usage(operator);
    let cpu = after.cpu.saturating_sub(before.cpu).as_secs_f64() * 100.0 / time.as_secs_f64();
    println!("{:<26} {:>8} s {:>8.1} MiB, {cpu:.2} % of a core", "the quiet time", seconds(time), mib(after.now));
    Quiet { memory: after.now, cpu }
}
