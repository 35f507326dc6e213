//! A body on a thread of its own must behave like one without: the same bytes, errors, panics, and room given back.
//! The example `redact_speed` measures its speed.

use std::{fs, io::Read as _, path::Path};

use super::*;
use crate::{Spool, SpoolError};

const LINE: &[u8] = b"2026-09-08T03:04:05.5Z a line of a log that is long enough to be one\n";

fn room(dir: &Path, limit: u64, threads: usize) -> Arc<SpoolFiles> {
    let mut room = Arc::clone(Spool::create(dir, limit).expect("a spool").room());
    Arc::get_mut(&mut room).expect("nobody else has it").set_threads(Threads::new(threads));
    room
}

/// Bytes that deflate cannot make smaller, in lines.
fn noise(bytes: usize) -> Vec<u8> {
    let mut dice = 3_u64;
    let mut noise = vec![0; bytes];
    for byte in &mut noise {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *byte = u8::try_from(dice >> 56).expect("a byte");
    }
    noise
}

fn is_beside(writer: &BodyWriter) -> bool {
    matches!(writer.at, At::Beside(_))
}

fn free(room: &SpoolFiles) -> usize {
    room.threads().0.load(Ordering::Acquire)
}

#[test]
fn the_same_body_is_made_here_and_beside() {
    let tmp = tempfile::tempdir().expect("a folder");
    let all = LINE.repeat(60_000);
    for (limit, tail) in [(None, false), (Some(1 << 30), false), (Some(300_000), false), (Some(300_000), true)] {
        let made = [0, 1].map(|threads| {
            let room = room(&tmp.path().join(threads.to_string()), 1 << 30, threads);
            let mut writer = BodyWriter::new(&room);
            if let Some(limit) = limit {
                writer.limit(limit);
            }
            if tail {
                writer.tail_only();
            }
            for piece in all.chunks(LINE.len() * 700) {
                writer.put(piece).expect("room");
            }
            assert_eq!(is_beside(&writer), threads == 1);
            let done = writer.finish().expect("room");
            assert_eq!(free(&room), threads, "its place is free again");
            let mut body = Vec::new();
            done.body.reader().expect("there").read_to_end(&mut body).expect("whole");
            assert_eq!((body.len() as u64, Sha256::digest(&body).as_slice()), (done.bytes, &done.sha256[..]));
            (body, done.crc.finalize(), done.cut)
        });
        assert!(made[0] == made[1], "{limit:?}");
        assert_eq!(made[0].0 == all, limit.is_none_or(|limit| limit > 1 << 20), "{limit:?}");
    }
}

#[test]
fn a_small_body_gets_no_thread_and_a_large_one_only_if_one_is_free() {
    let tmp = tempfile::tempdir().expect("a folder");
    let room = room(tmp.path(), 1 << 30, 1);
    let (mut small, mut first, mut second) = (BodyWriter::new(&room), BodyWriter::new(&room), BodyWriter::new(&room));
    small.put(&LINE.repeat(1000)).expect("room");
    first.put(&LINE.repeat(20_000)).expect("room");
    second.put(&LINE.repeat(20_000)).expect("room");
    assert_eq!([is_beside(&small), is_beside(&first), is_beside(&second)], [false, true, false]);
    first.finish().expect("room");
    second.put(LINE).expect("room");
    assert!(is_beside(&second), "the first one's place is free");
}

#[test]
fn a_spool_that_is_full_is_told_by_a_later_write_and_nothing_is_left() {
    let tmp = tempfile::tempdir().expect("a folder");
    let room = room(tmp.path(), 2 << 20, 1);
    let mut writer = BodyWriter::new(&room);
    let noise = noise(50_000);
    let full = (0..1000).find_map(|_| writer.put(&noise).err()).expect("the spool is too small");
    assert!(matches!(SpoolError::of(&full), Some(SpoolError::Full { limit: 2_097_152, .. })), "{full:?}");
    assert!(fs::read_dir(tmp.path()).expect("there").next().is_none(), "its file is gone when the error is told");
    assert_eq!(writer.put(&noise).expect_err("it failed").kind(), io::ErrorKind::BrokenPipe);
    assert!(writer.finish().is_err());
    assert_eq!(free(&room), 1);
}

#[test]
fn a_spool_that_is_full_at_the_end_is_told_by_the_end() {
    let tmp = tempfile::tempdir().expect("a folder");
    let room = room(tmp.path(), 700_000, 1);
    let mut writer = BodyWriter::new(&room);
    writer.put(&noise(600_000)).expect("room");
    assert!(is_beside(&writer));
    writer.put(&noise(120_000)).expect("it only waits");
    let full = writer.finish().expect_err("the spool is too small");
    assert!(matches!(SpoolError::of(&full), Some(SpoolError::Full { .. })), "{full:?}");
}

#[test]
fn a_body_that_is_given_up_leaves_nothing_and_its_place() {
    let tmp = tempfile::tempdir().expect("a folder");
    let room = room(tmp.path(), 1 << 30, 1);
    let mut writer = BodyWriter::new(&room);
    writer.put(&noise(900_000)).expect("room");
    writer.put(&noise(900_000)).expect("room");
    assert!(is_beside(&writer));
    drop(writer);
    assert!(fs::read_dir(tmp.path()).expect("there").next().is_none());
    assert_eq!(free(&room), 1);
}

#[test]
fn a_panic_beside_goes_on_here() {
    let (pieces, filled) = sync_channel(1);
    let tmp = tempfile::tempdir().expect("a folder");
    let thread = Some(thread::spawn(|| {
        let _ends_with_it = filled;
        std::panic::panic_any("of the thread")
    }));
    let room = room(tmp.path(), 1 << 20, 0);
    let shared = Arc::new(Shared::new(PIECE, 1));
    let beside = Beside { room: Arc::clone(&room), filling: Vec::new(), pieces: Some(pieces), shared, thread };
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| beside.finish()));
    let Err(panic) = ended else { panic!("it must not end well") };
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"of the thread"));
    assert_eq!(free(&room), 1);
}
