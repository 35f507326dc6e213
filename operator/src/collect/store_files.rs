//! Reads the files that Velero wrote about a Backup or Restore from the object store: inflated under limits, checked,
//! and never reported as whole when damaged. `location` finds the store and its credential.

use std::{
    io::{self, BufRead, Read},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use debugbundle_archive::Segment;
use debugbundle_crd::TargetKind;
use debugbundle_format::{
    StoreFile, layout,
    manifest::{Missing, MissingCode, MissingSeverity, Source, SourceKind, TruncationReason},
};
use debugbundle_redact::JsonLines;
use flate2::bufread;
use serde::de::IgnoredAny;
use tokio::time::{Instant, timeout_at};

use super::{
    Outcome, Work,
    entry::{LazyEntry, WriteError},
    missing,
};
use crate::{
    cluster::{Pieces, PumpEnd, bounded, pipe, pump},
    json_stream::Shallow,
    plan::{Item, store_limit},
    velero::{Results, StoreFailure},
};

/// Most bytes inflated of one file: Velero's own limit.
const INFLATED: u64 = 1 << 30;
/// Beyond [`FREE`] bytes, a file that inflates to more than this many times its size is a bomb.
const RATIO: u64 = 1000;
const FREE: u64 = 10 << 20;
const COPY: usize = 64 * 1024;

/// Reads one file.
pub(super) async fn read(
    work: &Arc<Work>,
    item: &Item,
    (of, name, file): (TargetKind, &str, StoreFile),
    unless: Option<&str>,
    deadline: Instant,
) -> Result<Outcome, WriteError> {
    let lost = |lost: Missing| Ok(Outcome { missing: vec![lost], ..Outcome::default() });
    let store = match &work.store {
        Ok(store) => store.clone(),
        Err(failure) => return lost(unavailable(item, failure)),
    };
    let key = store.key(of, name, file);
    let mut trouble = None;
    for attempt in [Attempt::Whole, Attempt::Part] {
        let body = match timeout_at(deadline, store.open(of, name, file)).await {
            Ok(Ok(Some(body))) => body,
            Ok(Ok(None)) if StoreFile::OF_OLD_BACKUP.contains(&file) => return lost(of_old_velero(item)),
            Ok(Ok(None)) => return lost(absent(item, (of, name), unless)),
            Ok(Err(failure)) => return lost(unavailable(item, &failure)),
            Err(_) => return lost(missing::too_late(item)),
        };
        let path = match attempt {
            Attempt::Whole => item.path.clone(),
            Attempt::Part => layout::partial_store_file(of, name, file),
        };
        let is_json = file.is_json() && attempt == Attempt::Whole;
        let entry = LazyEntry::new(&work.context, path, Some(store_limit(file))).json(is_json);
        let (to, pieces) = pipe();
        let writing = tokio::task::spawn_blocking(move || take(entry, pieces, file, attempt));
        let end = pump(body, to, work.cluster.idle(), deadline, |bytes| work.progress.read(bytes)).await;
        let taken = super::joined(writing.await)?;
        let source = Source { kind: SourceKind::Store, path: Some(key.clone()), ..Source::default() };
        match (attempt, taken.trouble, &end) {
            (Attempt::Whole, None, PumpEnd::Whole | PumpEnd::ReaderGone) => {
                let results = taken.results.map(|results| (of, name.to_owned(), results));
                let mut outcome = Outcome { results, ..Outcome::default() };
                match taken.segment {
                    Some(segment) => {
                        let truncated = segment.truncated(TruncationReason::Limit);
                        outcome.push(segment, source, truncated);
                    }
                    None => outcome.missing.push(empty(item)),
                }
                return Ok(outcome);
            }
            // The beginning of a log is worth keeping; the beginning of a JSON value is not.
            (Attempt::Whole, _, PumpEnd::Reset(_) | PumpEnd::Stalled(_) | PumpEnd::Deadline) => {
                let (reason, why) = broke_off(&end);
                let mut outcome = Outcome::default();
                match taken.segment.filter(|_| !file.is_json()) {
                    Some(segment) => {
                        let truncated = segment.broken_off(reason);
                        outcome.push(segment, Source { warning: Some(why.clone()), ..source }, Some(truncated));
                    }
                    None if end == PumpEnd::Deadline => outcome.missing.push(missing::too_late(item)),
                    None => outcome.missing.push(unavailable(item, &StoreFailure::Unreachable { why: why.clone() })),
                }
                if file == StoreFile::Results {
                    outcome.results = Some((of, name.to_owned(), Results { broken: Some(why), ..Results::default() }));
                }
                return Ok(outcome);
            }
            (Attempt::Whole, found, _) => trouble = found,
            (Attempt::Part, _, end) => {
                let Some(Trouble { code, why }) = trouble else { continue };
                let cure =
                    "compare it with the object in the store: the object is damaged, or another program wrote it";
                let lost = missing::missing(&item.what, item.path.as_str(), code, MissingSeverity::Error, &why, cure);
                let mut outcome = Outcome { missing: vec![lost], ..Outcome::default() };
                if file == StoreFile::Results {
                    // Keeps what its readable beginning says, and that the rest is unknown.
                    let read = taken.results.unwrap_or_default();
                    outcome.results = Some((of, name.to_owned(), Results { broken: Some(why.clone()), ..read }));
                }
                if let Some(segment) = taken.segment {
                    let truncated = match end {
                        PumpEnd::Whole | PumpEnd::ReaderGone => segment.truncated(TruncationReason::Limit),
                        end => Some(segment.broken_off(broke_off(end).0)),
                    };
                    outcome.push(segment, Source { warning: Some(why), ..source }, truncated);
                }
                return Ok(outcome);
            }
        }
    }
    Ok(Outcome::default())
}

fn broke_off(end: &PumpEnd) -> (TruncationReason, String) {
    match end {
        PumpEnd::Stalled(_) => (TruncationReason::Stalled, "the store sent nothing for too long".to_owned()),
        PumpEnd::Deadline => (TruncationReason::Deadline, "the time limit was reached".to_owned()),
        PumpEnd::Reset(why) => (TruncationReason::Reset, format!("the connection to the store was reset: {why}")),
        PumpEnd::Whole | PumpEnd::ReaderGone => (TruncationReason::Limit, String::new()),
    }
}

fn unavailable(item: &Item, failure: &StoreFailure) -> Missing {
    let (code, cure) = match failure {
        StoreFailure::Denied { cure, .. } => (MissingCode::StoreDenied, cure.as_str()),
        StoreFailure::NotAccepted { .. } => (MissingCode::CredentialInvalid, "renew the location's credential"),
        StoreFailure::Unreachable { .. } => {
            let cure = "check the location's endpoint, which the operator must be able to reach, and its Secret";
            (MissingCode::StoreUnreachable, cure)
        }
    };
    missing::missing(&item.what, item.path.as_str(), code, MissingSeverity::Error, &failure.to_string(), cure)
}

fn absent(item: &Item, (of, name): (TargetKind, &str), unless: Option<&str>) -> Missing {
    let path = item.path.as_str();
    if let Some(phase) = unless {
        let phase = if phase.is_empty() { "not yet started by Velero" } else { phase };
        let why = format!("{of} {name} is {}: Velero writes this file at the end of a run", bounded(phase, 64));
        return missing::missing(&item.what, path, MissingCode::NeverWritten, MissingSeverity::Note, &why, "");
    }
    let why = format!("{of} {name} has ended, but the store does not contain this file");
    let cure = "check whether a lifecycle rule of the bucket deleted the file, or whether the location's bucket or \
                prefix has changed";
    missing::missing(&item.what, path, MissingCode::NotFound, MissingSeverity::Error, &why, cure)
}

fn of_old_velero(item: &Item) -> Missing {
    let why = "Velero no longer writes this file; volumeinfo.json contains its data";
    missing::missing(&item.what, item.path.as_str(), MissingCode::NeverWritten, MissingSeverity::Note, why, "")
}

fn empty(item: &Item) -> Missing {
    let why = "the file in the store is empty";
    missing::missing(&item.what, item.path.as_str(), MissingCode::Empty, MissingSeverity::Note, why, "")
}

/// Whether the file is expected to be whole, or known to be damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempt {
    Whole,
    Part,
}

#[derive(Debug, PartialEq, Eq)]
struct Trouble {
    code: MissingCode,
    why: String,
}

#[derive(Debug)]
struct Taken {
    segment: Option<Segment>,
    /// The redacted results, if the file contains them.
    results: Option<Results>,
    trouble: Option<Trouble>,
}

/// Inflates, checks and writes, on a thread that may block.
fn take(entry: LazyEntry, pieces: Pieces, file: StoreFile, attempt: Attempt) -> Result<Taken, WriteError> {
    let (entry, trouble) = copy(entry, pieces, file, attempt)?;
    let whole_json = file.is_json() && attempt == Attempt::Whole;
    if trouble.is_some() && whole_json {
        return Ok(Taken { segment: None, results: None, trouble });
    }
    let segment = entry.finish()?;
    let results = match &segment {
        Some(segment) if file == StoreFile::Results => Some(Results::read(segment.reader()?)),
        _ => None,
    };
    Ok(Taken { segment, results, trouble })
}

/// Copies `from` into `to`. Damaged content is returned as `Trouble`, not as an error.
fn copy<W: io::Write>(
    to: W,
    from: impl Read,
    file: StoreFile,
    attempt: Attempt,
) -> Result<(W, Option<Trouble>), io::Error> {
    let read = Arc::new(AtomicU64::new(0));
    let counted = Counted { from: io::BufReader::with_capacity(COPY, from), read: read.clone() };
    let inflating: Box<dyn Read + '_> =
        if file.is_gzip() { Box::new(bufread::MultiGzDecoder::new(counted)) } else { Box::new(counted) };
    let most = if file.is_json() { store_limit(file) } else { INFLATED };
    let bounded = Bounded { from: inflating, compressed: read.clone(), inflated: 0, most, stopped: None };
    let lines = JsonLines::new(to, file.is_json());
    let mut tee = Tee { from: bounded, to: lines, failed: None };
    let read_all = if file.is_json() && attempt == Attempt::Whole {
        let mut shallow = Shallow::strict(&mut tee);
        let mut json = serde_json::Deserializer::from_reader(io::BufReader::with_capacity(COPY, &mut shallow));
        let checked = serde::Deserialize::deserialize(&mut json).and_then(|IgnoredAny| json.end());
        checked.map_err(io::Error::from)
    } else {
        io::copy(&mut io::BufReader::with_capacity(COPY, &mut tee), &mut io::sink()).map(|_| ())
    };
    let Tee { from, to, failed } = tee;
    if let Some(error) = failed {
        return Err(error);
    }
    let nothing = read.load(Ordering::Relaxed) == 0;
    let trouble = match (from.stopped, read_all) {
        // An empty object is reported as empty.
        _ if nothing => None,
        (Some(Stopped::Bomb), _) => Some(Trouble {
            code: MissingCode::TooLarge,
            why: format!("it decompresses to more than {RATIO} times its size"),
        }),
        (Some(Stopped::Most), _) if file.is_json() => {
            Some(Trouble { code: MissingCode::TooLarge, why: format!("it is larger than {most} bytes") })
        }
        (Some(Stopped::Most), _) | (None, Ok(())) => None,
        (None, Err(error)) => Some(Trouble { code: MissingCode::Corrupt, why: bounded_error(&error) }),
    };
    Ok((to.into_inner(), trouble))
}

fn bounded_error(error: &io::Error) -> String {
    bounded(&error.to_string(), 256)
}

/// Counts the compressed bytes that were consumed. Read-ahead does not count: deflate makes at most 1032 bytes of one,
/// so some read-ahead would hide any bomb.
struct Counted<R> {
    from: R,
    read: Arc<AtomicU64>,
}

impl<R: BufRead> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.from.fill_buf()
    }

    fn consume(&mut self, length: usize) {
        self.read.fetch_add(length as u64, Ordering::Relaxed);
        self.from.consume(length);
    }
}

impl<R: BufRead> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = self.from.read(into)?;
        self.read.fetch_add(length as u64, Ordering::Relaxed);
        Ok(length)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stopped {
    Most,
    Bomb,
}

/// Ends the stream at its limits.
struct Bounded<R> {
    from: R,
    compressed: Arc<AtomicU64>,
    inflated: u64,
    most: u64,
    stopped: Option<Stopped>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.stopped.is_some() {
            return Ok(0);
        }
        let length = self.from.read(into)?;
        self.inflated += length as u64;
        if self.inflated > FREE && self.inflated / RATIO > self.compressed.load(Ordering::Relaxed) {
            self.stopped = Some(Stopped::Bomb);
        } else if self.inflated > self.most {
            self.stopped = Some(Stopped::Most);
        }
        Ok(length)
    }
}

/// A reader that writes everything it reads to `to`.
struct Tee<R, W> {
    from: R,
    to: W,
    failed: Option<io::Error>,
}

impl<R: Read, W: io::Write> Read for Tee<R, W> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = self.from.read(into)?;
        if let Err(error) = self.to.write_all(&into[..length]) {
            self.failed = Some(error);
            return Err(io::Error::other("the entry cannot be written"));
        }
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    use bytes::Bytes;
    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;
    use serde_json::Value;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(data).unwrap();
        gzip.finish().unwrap()
    }

    fn copied(data: &[u8], file: StoreFile, attempt: Attempt) -> (Vec<u8>, Option<MissingCode>) {
        let (kept, trouble) = copy(Vec::new(), data, file, attempt).unwrap();
        (kept, trouble.map(|trouble| trouble.code))
    }

    #[test]
    fn whole_files_come_through_as_they_are() {
        let json = b"{\"errors\":{},\"warnings\":{}}\n";
        assert_eq!(copied(&gzip(json), StoreFile::Results, Attempt::Whole), (json.to_vec(), None));
        let log = b"time=x level=info\n\xff\0";
        assert_eq!(copied(&gzip(log), StoreFile::Log, Attempt::Whole), (log.to_vec(), None));
        assert_eq!(copied(json, StoreFile::Backup, Attempt::Whole), (json.to_vec(), None));
    }

    #[test]
    fn two_gzip_members_are_one_file() {
        let twice = [gzip(b"one\n"), gzip(b"two\n")].concat();
        assert_eq!(copied(&twice, StoreFile::Log, Attempt::Whole), (b"one\ntwo\n".to_vec(), None));
    }

    #[test]
    fn sec_b1_damaged_files_are_told_and_their_beginning_is_kept() {
        let log: Vec<u8> = (0..20_000).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
        let whole = gzip(&log);
        let (kept, code) = copied(&whole[..whole.len() / 2], StoreFile::Log, Attempt::Part);
        assert_eq!(code, Some(MissingCode::Corrupt));
        assert!(!kept.is_empty() && log.starts_with(&kept));
        assert_eq!(copied(b"<html>not gzip</html>", StoreFile::Log, Attempt::Whole).1, Some(MissingCode::Corrupt));
        for broken in [b"{\"errors\":{".as_slice(), b"{} {}", b"nonsense"] {
            assert_eq!(copied(&gzip(broken), StoreFile::Results, Attempt::Whole).1, Some(MissingCode::Corrupt));
        }
        let (kept, code) = copied(&gzip(b"{\"errors\":{"), StoreFile::Results, Attempt::Part);
        assert_eq!((kept.as_slice(), code), (b"{\"errors\":{".as_slice(), None), "a part is not checked");
    }

    #[test]
    fn results_of_6_mib_with_bytes_that_are_no_utf_8_are_evidence() {
        let tmp = tempfile::tempdir().unwrap();
        let redactor = Arc::new(debugbundle_redact::Redactor::new(&[], Vec::new()).unwrap());
        let spool = debugbundle_archive::Spool::create(tmp.path(), 1 << 30).unwrap();
        let context = super::super::entry::EntryContext { redactor, spool };
        let mut json = b"{\"errors\":{\"velero\":[\"the disk \xff is full\"".to_vec();
        for n in 0..6000 {
            json.extend(format!(",\"{n} {}\"", "x ".repeat(512)).into_bytes());
        }
        json.extend(b"]},\"warnings\":{}}");
        assert!(json.len() > 6_000_000);
        let path = layout::store_file(TargetKind::Restore, "r1", StoreFile::Results);
        let entry = LazyEntry::new(&context, path, Some(store_limit(StoreFile::Results)));
        let (to, pieces) = pipe();
        let sending = std::thread::spawn(move || to.blocking_send(Bytes::from(gzip(&json))).unwrap());
        let taken = take(entry, pieces, StoreFile::Results, Attempt::Whole).unwrap();
        sending.join().unwrap();
        assert_eq!(taken.trouble, None);
        let results = taken.results.unwrap();
        assert_eq!(results.broken, None);
        assert_eq!(results.errors.texts.first().map(String::as_str), Some("the disk \u{fffd} is full"));
        assert_eq!((results.errors.texts.len(), results.errors.left_out), (500, 5501));
    }

    #[test]
    fn sec_b2_json_that_nests_without_end_is_refused_at_its_beginning() {
        let deep = "[".repeat(8 << 20);
        let (kept, trouble) =
            copy(Vec::new(), gzip(deep.as_bytes()).as_slice(), StoreFile::VolumeInfo, Attempt::Whole).unwrap();
        assert_eq!(trouble.unwrap().why, "it is nested deeper than 128 levels");
        assert!(kept.len() <= 2 * COPY, "{}", kept.len());
        let most = [b"[".repeat(128), b"]".repeat(128)].concat();
        assert_eq!(copied(&gzip(&most), StoreFile::VolumeInfo, Attempt::Whole), (most, None));
    }

    #[test]
    fn sec_b2_a_text_of_json_has_at_most_1_mib() {
        let json = |length: usize| [b"[\"".to_vec(), b"x ".repeat(length / 2), b"\"]".to_vec()].concat();
        let most = json(1 << 20);
        assert_eq!(copied(&gzip(&most), StoreFile::VolumeInfo, Attempt::Whole), (most, None));
        let over = json(16 << 20);
        let (kept, trouble) = copy(Vec::new(), gzip(&over).as_slice(), StoreFile::VolumeInfo, Attempt::Whole).unwrap();
        let trouble = trouble.unwrap();
        assert_eq!((trouble.code, &*trouble.why), (MissingCode::Corrupt, "it has a text of more than 1048576 bytes"));
        assert!(kept.len() <= (1 << 20) + 2 * COPY, "{}", kept.len());
        // Escapes count as written; the lengths of several texts are not added up.
        let escapes = format!("[\"{}\"]", "\\n".repeat((1 << 19) + 1));
        assert!(copied(&gzip(escapes.as_bytes()), StoreFile::VolumeInfo, Attempt::Whole).1.is_some());
        let short = serde_json::to_vec(&vec!["x y ".repeat(256); 4096]).unwrap();
        assert_eq!(copied(&gzip(&short), StoreFile::VolumeInfo, Attempt::Whole).1, None);
    }

    #[test]
    fn an_empty_object_is_no_trouble() {
        assert_eq!(copied(b"", StoreFile::Results, Attempt::Whole), (Vec::new(), None));
        assert_eq!(copied(b"", StoreFile::Log, Attempt::Whole), (Vec::new(), None));
    }

    #[test]
    fn sec_b1_a_bomb_of_gzip_is_told_soon_after_10_mib() {
        let zeros = vec![0; 64 << 20];
        let mut packer = GzEncoder::new(Vec::new(), Compression::best());
        packer.write_all(&zeros).unwrap();
        let bomb = packer.finish().unwrap();
        assert!(zeros.len() / bomb.len() > 1000, "{}", bomb.len());
        for file in [StoreFile::Log, StoreFile::Results] {
            let (kept, trouble) = copied(&bomb, file, Attempt::Part);
            assert_eq!(trouble, Some(MissingCode::TooLarge), "{file:?}");
            assert!((kept.len() as u64) < FREE + (8 << 20), "{file:?}: {}", kept.len());
        }
        // A bomb inside the content is not inflated: it is bytes like any others.
        assert_eq!(copied(&gzip(&bomb), StoreFile::Log, Attempt::Whole), (bomb, None));
    }

    #[test]
    fn sec_b1_a_bomb_is_not_inflated_to_its_end() {
        let read = Arc::new(AtomicU64::new(10_000));
        let mut bounded =
            Bounded { from: io::repeat(b'0'), compressed: read, inflated: 0, most: u64::MAX, stopped: None };
        let inflated = io::copy(&mut bounded, &mut io::sink()).unwrap();
        assert_eq!(bounded.stopped, Some(Stopped::Bomb));
        assert!(inflated < FREE + (1 << 20));
    }

    #[test]
    fn sec_b2_json_over_its_bound_is_too_large() {
        let mut bounded = Bounded {
            from: io::repeat(b'0'),
            compressed: Arc::new(AtomicU64::new(u64::MAX)),
            inflated: 0,
            most: 1000,
            stopped: None,
        };
        let inflated = io::copy(&mut bounded, &mut io::sink()).unwrap();
        assert_eq!(bounded.stopped, Some(Stopped::Most));
        assert!(inflated <= 1000 + 8192);
    }

    #[test]
    fn long_lines_of_json_are_broken_between_values_only() {
        let text = "a,\\\"b\"".replace('"', "");
        let items: Vec<Value> =
            (0..9000).map(|n| serde_json::json!({"n": n, "text": text, "quote": "say \"x, y\""})).collect();
        let json = serde_json::to_vec(&items).unwrap();
        let (kept, code) = copied(&gzip(&json), StoreFile::ItemOperations, Attempt::Whole);
        assert_eq!(code, None);
        assert_eq!(serde_json::from_slice::<Vec<Value>>(&kept).unwrap(), items);
        let longest = kept.split(|byte| *byte == b'\n').map(<[u8]>::len).max().unwrap();
        assert!(longest < (64 << 10) + 200, "{longest}");
    }

    proptest! {
        #[test]
        fn breaking_lines_does_not_depend_on_chunks(sizes in prop::collection::vec(1_usize..5000, 0..60)) {
            let items: Vec<String> = (0..9000).map(|n| format!("{n} , \"\\ é")).collect();
            let json = serde_json::to_vec(&items).unwrap();
            let mut whole = JsonLines::new(Vec::new(), true);
            whole.write_all(&json).unwrap();
            let mut parts = JsonLines::new(Vec::new(), true);
            let mut rest = json.as_slice();
            for size in sizes {
                let (part, after) = rest.split_at(size.min(rest.len()));
                parts.write_all(part).unwrap();
                rest = after;
            }
            parts.write_all(rest).unwrap();
            prop_assert_eq!(whole.into_inner(), parts.into_inner());
        }
    }
}
