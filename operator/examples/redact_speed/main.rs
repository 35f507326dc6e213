//! Measures redaction on lines like Velero's, alone and within the whole pipeline into the spool, against the same
//! deflate on the same data. `cargo speed [--check] [MiB] [rounds]`; with `--check` it fails if a figure is too low.

#![expect(clippy::cast_precision_loss, reason = "rounded figures for a person")]

mod lines;

use std::{
    fs::File,
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use debugbundle_archive::{EntryWriter, LEVEL, Spool};
use debugbundle_format::BundlePath;
use debugbundle_redact::{Redactor, Secret};
use flate2::{Compression, write::GzEncoder};

const PIECE: usize = 64 << 10;
/// A measurement, and the figures that `--check` demands of it.
struct Case {
    name: &'static str,
    /// One of this many lines contains a secret.
    every: usize,
    /// Speed of the rules alone (MB/s).
    speed: f64,
    /// Speed of the pipeline, as a share of the speed of gzip alone.
    share: f64,
}

const CASES: &[Case] = &[
    Case { name: "nothing to mask", every: usize::MAX, speed: 250.0, share: 0.8 },
    Case { name: "1 % of lines", every: 100, speed: 100.0, share: 0.8 },
    Case { name: "10 % of lines", every: 10, speed: 100.0, share: 0.8 },
];

fn main() -> io::Result<ExitCode> {
    let (flags, numbers): (Vec<String>, Vec<String>) = std::env::args().skip(1).partition(|a| a.starts_with("--"));
    let mut numbers = numbers.iter().filter_map(|n| n.parse().ok());
    let (mib, rounds): (usize, usize) = (numbers.next().unwrap_or(64), numbers.next().unwrap_or(5));
    let known =
        vec![("secret-key", Secret::new("wJalr/example+of a/secret")), ("token", Secret::new("x7".repeat(300)))];
    let redactor = Arc::new(Redactor::new(&[], known).map_err(io::Error::other)?);
    let dir = std::env::temp_dir().join(format!("redact-speed-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!("{mib} MiB, best of {rounds} rounds in turn, deflate level {LEVEL}, {cores} processors");
    println!(
        "| | rules alone, MB/s of CPU | pipeline, MB/s | gzip alone, MB/s | pipeline : gzip | the same of CPU | packed |"
    );
    println!("|---|---|---|---|---|---|---|");
    let mut missed = Vec::new();
    for case in CASES {
        let text = lines::lines(mib << 20, case.every);
        let best = Best::of(rounds, &redactor, &text, &dir)?;
        println!("{}", best.row(case.name));
        missed.extend(best.missed(case, cores));
    }
    std::fs::remove_dir_all(&dir)?;
    if !flags.iter().any(|flag| flag == "--check") {
        return Ok(ExitCode::SUCCESS);
    }
    for sentence in &missed {
        eprintln!("{sentence}");
    }
    Ok(if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The shortest wall time in seconds, because other work can only lengthen it; CPU time of all rounds.
struct Best {
    bytes: usize,
    packed: u64,
    rules: f64,
    pipeline: Took,
    gzip: Took,
}

#[derive(Clone, Copy)]
struct Took {
    wall: f64,
    cpu: f64,
}

impl Took {
    const NEVER: Self = Self { wall: f64::MAX, cpu: 0.0 };

    fn and(self, other: Self) -> Self {
        Self { wall: self.wall.min(other.wall), cpu: self.cpu + other.cpu }
    }
}

impl Best {
    fn of(rounds: usize, redactor: &Arc<Redactor>, text: &str, dir: &Path) -> io::Result<Self> {
        let mut best = Self { bytes: text.len(), packed: 0, rules: f64::MAX, pipeline: Took::NEVER, gzip: Took::NEVER };
        for _ in 0..rounds {
            best.rules = best.rules.min(rules(redactor, text)?);
            best.pipeline = best.pipeline.and(timed(|| pipeline(redactor, text, dir))?.0);
            let (took, packed) = timed(|| gzip(text, dir))?;
            (best.gzip, best.packed) = (best.gzip.and(took), packed);
        }
        Ok(best)
    }

    fn speed(&self, seconds: f64) -> f64 {
        self.bytes as f64 / seconds / 1e6
    }

    fn row(&self, name: &str) -> String {
        format!(
            "| {name} | {:.0} | {:.0} | {:.0} | **{:.2}** | {:.2} | {:.1} % |",
            self.speed(self.rules),
            self.speed(self.pipeline.wall),
            self.speed(self.gzip.wall),
            self.gzip.wall / self.pipeline.wall,
            self.gzip.cpu / self.pipeline.cpu,
            self.packed as f64 / self.bytes as f64 * 100.0
        )
    }

    /// A sentence for each figure that is too low. One processor cannot run in parallel, so its share is not checked.
    fn missed(&self, case: &Case, cores: usize) -> Vec<String> {
        let mut missed = Vec::new();
        let (rules, share) = (self.speed(self.rules), self.gzip.wall / self.pipeline.wall);
        let Case { name, speed, share: least, .. } = case;
        if rules < *speed {
            missed.push(format!("{name}: the rules alone make {rules:.0} MB/s, {speed} are demanded"));
        }
        if cores > 1 && share < *least {
            missed.push(format!("{name}: the pipeline has {share:.2} of the speed of gzip alone, {least} is demanded"));
        }
        missed
    }
}

/// Seconds of CPU time. The input is whole lines, in pieces as large as a server sends them.
fn rules(redactor: &Redactor, text: &str) -> io::Result<f64> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.as_bytes()[..rest.len().min(PIECE)].iter().rposition(|b| *b == b'\n');
        let (piece, behind) = rest.split_at(end.map_or(rest.len(), |end| end + 1));
        pieces.push(piece);
        rest = behind;
    }
    let started = cpu_of_thread()?;
    for piece in pieces {
        std::hint::black_box(&redactor.text(piece));
    }
    Ok((cpu_of_thread()?.saturating_sub(started)).as_secs_f64())
}

/// Redaction, digest, deflate, spool, for a log that may be kept whole.
fn pipeline(redactor: &Arc<Redactor>, text: &str, dir: &Path) -> io::Result<u64> {
    let spool = Spool::create(&dir.join("spool"), 1 << 34).map_err(io::Error::other)?;
    let mut writer = EntryWriter::new(BundlePath::new(["log"]), Arc::clone(redactor), spool).limited(1 << 34);
    for piece in text.as_bytes().chunks(PIECE) {
        writer.write_all(piece)?;
    }
    Ok(writer.finish()?.compressed_bytes())
}

/// The same library at the same level, into a file.
fn gzip(text: &str, dir: &Path) -> io::Result<u64> {
    let mut encoder = GzEncoder::new(File::create(dir.join("alone.gz"))?, Compression::new(LEVEL));
    for piece in text.as_bytes().chunks(PIECE) {
        encoder.write_all(piece)?;
    }
    Ok(encoder.finish()?.metadata()?.len())
}

fn timed<T>(work: impl FnOnce() -> io::Result<T>) -> io::Result<(Took, T)> {
    let (cpu, wall) = (cpu_of_all()?, Instant::now());
    let done = work()?;
    let wall = wall.elapsed().as_secs_f64();
    Ok((Took { wall, cpu: cpu_of_all()? - cpu }, done))
}

/// CPU time of this thread, which excludes other work on the machine.
fn cpu_of_thread() -> io::Result<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos = text.split(' ').next().and_then(|first| first.parse().ok());
    nanos.map(Duration::from_nanos).ok_or_else(|| io::Error::other("no time of this thread in /proc"))
}

/// CPU time of all threads of this process, including ended ones (seconds, in hundredths).
fn cpu_of_all() -> io::Result<f64> {
    let text = std::fs::read_to_string("/proc/self/stat")?;
    let fields = text.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    let ticks = fields.map(|field| field.parse::<u32>().map_err(io::Error::other)).sum::<io::Result<u32>>()?;
    Ok(f64::from(ticks) / 100.0)
}
