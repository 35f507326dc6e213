//! Buffers objects in memory until it is known whether, or when, to write them: deflated, and bounded. They must not
//! touch a disk: they are not redacted yet.

use std::{collections::BTreeMap, io};

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use jiff::Timestamp;
use serde_json::Value;

/// Most bytes buffered for one list (deflated); eight lists are read at once.
const HELD: usize = 2 << 20;
/// Most bytes for the newest Events of a namespace (deflated); 5000 ordinary ones take half of it.
const EVENTS: usize = 4 << 20;
/// Level 1 deflates an object of 1 KiB to a third, level 6 to little less.
const LEVEL: u32 = 1;

/// An object as deflated JSON, and the length of the JSON.
struct Compressed {
    bytes: Box<[u8]>,
    length: usize,
}

/// Deflates and inflates objects.
struct Compressor {
    deflate: Compress,
    inflate: Decompress,
}

impl Compressor {
    fn new() -> Self {
        Self { deflate: Compress::new(Compression::new(LEVEL), false), inflate: Decompress::new(false) }
    }

    fn small(&mut self, object: &Value) -> io::Result<Compressed> {
        let json = serde_json::to_vec(object)?;
        // Incompressible data grows by five bytes a block.
        let mut bytes = Vec::with_capacity(json.len() + json.len() / 1000 * 5 + 64);
        self.deflate.reset();
        match self.deflate.compress_vec(&json, &mut bytes, FlushCompress::Finish) {
            Ok(Status::StreamEnd) => Ok(Compressed { bytes: bytes.into_boxed_slice(), length: json.len() }),
            other => Err(io::Error::other(format!("an object cannot be buffered: {other:?}"))),
        }
    }

    fn large(&mut self, small: &Compressed) -> io::Result<Value> {
        let mut json = Vec::with_capacity(small.length + 1);
        self.inflate.reset(false);
        self.inflate.decompress_vec(&small.bytes, &mut json, FlushDecompress::Finish).map_err(io::Error::other)?;
        Ok(serde_json::from_slice(&json)?)
    }
}

/// Buffers objects in their order, as long as there is room.
pub(super) struct ObjectBuffer {
    compressor: Compressor,
    objects: Vec<Compressed>,
    bytes: usize,
}

impl ObjectBuffer {
    pub(super) fn new() -> Self {
        Self { compressor: Compressor::new(), objects: Vec::new(), bytes: 0 }
    }

    /// Returns `false` if there was no room.
    pub(super) fn push(&mut self, object: &Value) -> io::Result<bool> {
        let small = self.compressor.small(object)?;
        self.bytes += small.bytes.len();
        if self.bytes > HELD {
            return Ok(false);
        }
        self.objects.push(small);
        Ok(true)
    }

    pub(super) fn clear(&mut self) {
        self.objects.clear();
        self.bytes = 0;
    }

    /// Returns all objects, in their order.
    pub(super) fn drain(&mut self, mut to: impl FnMut(Value) -> io::Result<bool>) -> io::Result<()> {
        self.bytes = 0;
        for small in std::mem::take(&mut self.objects) {
            if !to(self.compressor.large(&small)?)? {
                break;
            }
        }
        Ok(())
    }
}

/// Keeps the newest Events of a list. The API server orders Events by name, so the newest are known only at the end;
/// holding this many, deflated, costs less than listing all of them twice.
pub(super) struct Newest {
    compressor: Compressor,
    most: usize,
    /// By time; Events of the same time in order of arrival.
    events: BTreeMap<(Option<Timestamp>, usize), Compressed>,
    came: usize,
    bytes: usize,
}

impl Newest {
    pub(super) fn new(most: usize) -> Self {
        Self { compressor: Compressor::new(), most, events: BTreeMap::new(), came: 0, bytes: 0 }
    }

    pub(super) fn offer(&mut self, event: &Value) -> io::Result<()> {
        let key = (time_of(event), self.came);
        self.came += 1;
        let is_full = self.events.len() >= self.most;
        if is_full && self.events.first_key_value().is_some_and(|(oldest, _)| key < *oldest) {
            return Ok(());
        }
        let small = self.compressor.small(event)?;
        self.bytes += small.bytes.len();
        self.events.insert(key, small);
        while (self.events.len() > self.most || self.bytes > EVENTS) && self.events.len() > 1 {
            if let Some((_, gone)) = self.events.pop_first() {
                self.bytes -= gone.bytes.len();
            }
        }
        Ok(())
    }

    pub(super) fn clear(&mut self) {
        self.events.clear();
        (self.came, self.bytes) = (0, 0);
    }

    /// Whether older Events were left out.
    pub(super) fn left_some_out(&self) -> bool {
        self.came > self.events.len()
    }

    /// Returns the Events, the newest first.
    pub(super) fn drain(&mut self, mut to: impl FnMut(Value) -> io::Result<bool>) -> io::Result<()> {
        for (_, small) in std::mem::take(&mut self.events).into_iter().rev() {
            if !to(self.compressor.large(&small)?)? {
                break;
            }
        }
        Ok(())
    }
}

/// When an Event was last seen; authors fill in different fields.
fn time_of(event: &Value) -> Option<Timestamp> {
    let fields =
        ["/series/lastObservedTime", "/lastTimestamp", "/eventTime", "/firstTimestamp", "/metadata/creationTimestamp"];
    fields.iter().find_map(|pointer| event.pointer(pointer)?.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn event(n: usize, time: &str) -> Value {
        json!({"metadata": {"name": format!("e{n}")}, "lastTimestamp": time})
    }

    fn names(newest: &mut Newest) -> Vec<String> {
        let mut names = Vec::new();
        let name = |event: Value| {
            names.push(event["metadata"]["name"].as_str().unwrap().to_owned());
            Ok(true)
        };
        newest.drain(name).unwrap();
        names
    }

    #[test]
    fn of_all_events_the_newest_are_kept_the_newest_first() {
        let mut newest = Newest::new(3);
        for (n, day) in [(0, 5), (1, 1), (2, 9), (3, 5), (4, 2)] {
            newest.offer(&event(n, &format!("2026-03-0{day}T00:00:00Z"))).unwrap();
        }
        assert!(newest.left_some_out());
        assert_eq!(names(&mut newest), ["e2", "e3", "e0"]);
        let mut few = Newest::new(3);
        few.offer(&event(0, "no time")).unwrap();
        few.offer(&event(1, "2026-03-01T00:00:00Z")).unwrap();
        assert!(!few.left_some_out());
        assert_eq!(names(&mut few), ["e1", "e0"], "one without a time is the oldest");
    }

    #[test]
    fn the_time_is_that_of_the_last_repetition() {
        let at = |event: Value| time_of(&event).map(|time| time.to_string());
        let event = json!({"eventTime": "2026-03-01T00:00:00.5Z", "lastTimestamp": null,
            "metadata": {"creationTimestamp": "2026-02-01T00:00:00Z"}});
        assert_eq!(at(event.clone()).as_deref(), Some("2026-03-01T00:00:00.5Z"));
        let mut series = event;
        series["series"] = json!({"lastObservedTime": "2026-03-02T00:00:00Z"});
        assert_eq!(at(series).as_deref(), Some("2026-03-02T00:00:00Z"));
        assert_eq!(
            at(json!({"metadata": {"creationTimestamp": "2026-02-01T00:00:00Z"}})).as_deref(),
            Some("2026-02-01T00:00:00Z")
        );
    }

    #[test]
    fn large_events_drop_the_oldest_ones() {
        let mut newest = Newest::new(5000);
        let mut noise = 1u64;
        let mut text = || -> String {
            let random = std::iter::repeat_with(|| {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                char::from(b'!' + u8::try_from(noise >> 58).unwrap())
            });
            random.take(200 << 10).collect()
        };
        for n in 0..40 {
            let mut large = event(n, &format!("2026-03-01T00:00:{n:02}Z"));
            large["message"] = text().into();
            newest.offer(&large).unwrap();
        }
        assert!(newest.bytes <= EVENTS && newest.left_some_out());
        assert_eq!(names(&mut newest)[0], "e39");
    }

    #[test]
    fn what_is_held_comes_back_until_there_is_no_room() {
        let mut held = ObjectBuffer::new();
        let objects: Vec<Value> = (0..100).map(|n| json!({"n": n, "text": "é".repeat(n)})).collect();
        for object in &objects {
            assert!(held.push(object).unwrap());
        }
        let mut back = Vec::new();
        held.drain(|object| {
            back.push(object);
            Ok(true)
        })
        .unwrap();
        assert_eq!(back, objects);
        let mut count = 0;
        while held.push(&json!({"n": count, "m": format!("{count:x}").repeat(30)})).unwrap() {
            count += 1;
        }
        assert!(count > 10_000, "{count}");
    }

    proptest! {
        #[test]
        fn anything_becomes_small_and_large_again(bytes in prop::collection::vec(any::<char>(), 0..4000)) {
            let object = json!({"text": String::from_iter(bytes)});
            let mut compressor = Compressor::new();
            let small = compressor.small(&object).unwrap();
            prop_assert_eq!(compressor.large(&small).unwrap(), object);
        }
    }
}
