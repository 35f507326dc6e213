//! Prints how fast the redacting writer is on lines like Velero's, deflate and spool included; nothing is asserted.
//! `cargo run --release --example redact_speed [MiB]`

#![expect(clippy::cast_precision_loss, reason = "rounded figures for a person")]

use std::{fmt::Write as _, io::Write as _, sync::Arc, time::Instant};

use debugbundle_operator::{
    archive::{BundlePath, Spool},
    redact::{Redacting, Redactor},
    secret::Secret,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mib: usize = std::env::args().nth(1).map_or(Ok(64), |n| n.parse())?;
    let known =
        vec![("secret-key", Secret::new("wJalr/example+of a/secret")), ("token", Secret::new("x7".repeat(300)))];
    let redactor = Arc::new(Redactor::new(&[], known)?);
    for (name, every) in [("nothing to mask", usize::MAX), ("1 % of lines", 100), ("10 % of lines", 10)] {
        let text = lines(mib << 20, every);
        let dir = std::env::temp_dir().join(format!("redact-speed-{}", std::process::id()));
        let spool = Spool::create(&dir, 1 << 34)?;
        // Best of some, for other work on the machine only ever makes it slower.
        let mut alone = std::time::Duration::MAX;
        let mut clean = String::new();
        for _ in 0..3 {
            let started = Instant::now();
            clean = redactor.text(&text);
            alone = alone.min(started.elapsed());
        }
        let path = BundlePath::new(["log"]);
        let mut writer = Redacting::new(path, Arc::clone(&redactor), spool).limited(1 << 34);
        let started = Instant::now();
        for piece in text.as_bytes().chunks(64 << 10) {
            writer.write_all(piece)?;
        }
        let segment = writer.finish()?;
        let whole = started.elapsed();
        let speed = |time: std::time::Duration| text.len() as f64 / time.as_secs_f64() / 1e6;
        println!(
            "{name}: rules alone {:.0} MB/s, to the spool {:.0} MB/s at {:.1} % of the size, {} bytes changed",
            speed(alone),
            speed(whole),
            segment.compressed_bytes() as f64 * 100.0 / segment.bytes() as f64,
            clean.len().abs_diff(text.len()),
        );
    }
    Ok(())
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
