//! Prints how fast redaction is on lines like Velero's, alone and as the whole pipeline into the spool, beside the same deflate
//! on the same data; nothing is asserted. `cargo run --release --example redact_speed [MiB] [rounds]`

#![expect(clippy::cast_precision_loss, reason = "rounded figures for a person")]

use std::{
    fmt::Write as _,
    fs::File,
    io::{self, Write as _},
    path::Path,
    sync::Arc,
    time::Duration,
};

use debugbundle_operator::{
    archive::{BundlePath, LEVEL, Spool},
    redact::{Redacting, Redactor},
    secret::Secret,
};
use flate2::{Compression, write::GzEncoder};

const PIECE: usize = 64 << 10;

fn main() -> io::Result<()> {
    let mut numbers = std::env::args().skip(1).filter_map(|n| n.parse().ok());
    let (mib, rounds): (usize, usize) = (numbers.next().unwrap_or(64), numbers.next().unwrap_or(5));
    let known =
        vec![("secret-key", Secret::new("wJalr/example+of a/secret")), ("token", Secret::new("x7".repeat(300)))];
    let redactor = Arc::new(Redactor::new(&[], known).map_err(io::Error::other)?);
    let dir = std::env::temp_dir().join(format!("redact-speed-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    println!("{mib} MiB, best of {rounds} rounds in turn, CPU time of one thread, deflate level {LEVEL}");
    for (name, every) in [("nothing to mask", usize::MAX), ("1 % of lines", 100), ("10 % of lines", 10)] {
        let text = lines(mib << 20, every);
        let mut best = [Duration::MAX; 3];
        // In turn, and the best of each: other work on the machine only ever makes it slower.
        for _ in 0..rounds {
            let times = [rules(&redactor, &text)?, pipeline(&redactor, &text, &dir)?, gzip(&text, &dir)?];
            for (best, time) in best.iter_mut().zip(times) {
                *best = time.min(*best);
            }
        }
        let [rules, pipeline, gzip] = best.map(|time| text.len() as f64 / time.as_secs_f64() / 1e6);
        println!(
            "{name}: rules alone {rules:.0} MB/s, pipeline {pipeline:.0} MB/s, gzip alone {gzip:.0} MB/s, pipeline : gzip {:.2}",
            pipeline / gzip
        );
    }
    std::fs::remove_dir_all(&dir)
}

fn rules(redactor: &Redactor, text: &str) -> io::Result<Duration> {
    let started = cpu()?;
    let clean = redactor.text(text);
    std::hint::black_box(&clean);
    Ok(cpu()?.saturating_sub(started))
}

/// Redaction, digest, deflate, spool.
fn pipeline(redactor: &Arc<Redactor>, text: &str, dir: &Path) -> io::Result<Duration> {
    let spool = Spool::create(&dir.join("spool"), 1 << 34).map_err(io::Error::other)?;
    let started = cpu()?;
    let mut writer = Redacting::new(BundlePath::new(["log"]), Arc::clone(redactor), spool).limited(1 << 34);
    for piece in text.as_bytes().chunks(PIECE) {
        writer.write_all(piece)?;
    }
    let segment = writer.finish()?;
    let took = cpu()?.saturating_sub(started);
    std::hint::black_box(segment.bytes());
    Ok(took)
}

/// The same library at the same level, into a file.
fn gzip(text: &str, dir: &Path) -> io::Result<Duration> {
    let started = cpu()?;
    let mut encoder = GzEncoder::new(File::create(dir.join("alone.gz"))?, Compression::new(LEVEL));
    for piece in text.as_bytes().chunks(PIECE) {
        encoder.write_all(piece)?;
    }
    encoder.finish()?;
    Ok(cpu()?.saturating_sub(started))
}

/// What this thread has used of a processor: other work on the machine does not count.
fn cpu() -> io::Result<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos = text.split(' ').next().and_then(|first| first.parse().ok());
    nanos.map(Duration::from_nanos).ok_or_else(|| io::Error::other("no time of this thread in /proc"))
}

/// Velero's own log format; every so many lines hold a presigned URL.
fn lines(bytes: usize, every: usize) -> String {
    let mut out = String::with_capacity(bytes + 400);
    let mut i = 0_usize;
    while out.len() < bytes {
        let (ns, id) = (i % 23, i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let _ = write!(
            out,
            "time=\"2026-09-08T03:{:02}:{:02}Z\" level=info msg=\"Backed up {} items out of an estimated total of {} (estimate will change throughout the backup)\" backup=velero/nightly-20260908 logSource=\"pkg/backup/backup.go:{}\" name=pod-{id:016x} namespace=team-{ns} progress= resource=pods",
            i / 60 % 60,
            i % 60,
            i,
            i + 977,
            400 + i % 97
        );
        if i % every == every - 1 {
            let _ = write!(out, " url=\"https://minio:9000/b/k?X-Amz-Credential=AK{i}&X-Amz-Signature={id:064x}\"");
        }
        out.push('\n');
        i += 1;
    }
    out
}
