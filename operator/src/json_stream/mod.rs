//! Reads Velero's JSON files as a stream: never more than one element, or one text, at a time.

mod shallow;

use std::{
    fmt,
    io::{self, Read},
    marker::PhantomData,
};

use debugbundle_format::text::bounded;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

pub(crate) use shallow::Shallow;

const BUFFER: usize = 64 * 1024;
/// Most elements kept of a list within an element.
const FEW: usize = 100;

/// Why a file could not be read to its end.
#[derive(Debug)]
pub(crate) enum StreamError {
    /// The file lacks the expected form, or breaks off.
    Read(String),
    /// The description cannot be written.
    Write(io::Error),
}

impl From<io::Error> for StreamError {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

/// An event while a map of lists is read.
pub(crate) enum Said<'a> {
    /// The list of this key begins.
    Key(&'a str),
    /// A text of the list.
    Text(&'a str),
}

/// The structure of the texts at the end of a path.
#[derive(Clone, Copy)]
pub(crate) enum TextLayout {
    /// `["…"]`
    List,
    /// `{"…": ["…"]}`
    Map,
}

/// Calls `take` for each element of a JSON list; null counts as an empty list.
pub(crate) fn each<T: DeserializeOwned>(
    from: impl Read,
    mut take: impl FnMut(T) -> io::Result<()>,
) -> Result<(), StreamError> {
    let mut failed = None;
    let elements = Elements { take: &mut take, failed: &mut failed, of: PhantomData };
    let read = run(from, elements);
    ended(read, failed)
}

/// Calls `take` for each text below the keys of `path`; null counts as empty, other keys are skipped.
pub(crate) fn texts(
    from: impl Read,
    path: &[&str],
    shape: TextLayout,
    mut take: impl FnMut(Said<'_>) -> io::Result<()>,
) -> Result<(), StreamError> {
    let mut failed = None;
    let mut sink = Sink { take: &mut take, failed: &mut failed };
    let read = run(from, At { path, shape, sink: &mut sink });
    ended(read, failed)
}

fn run(from: impl Read, seed: impl for<'de> DeserializeSeed<'de, Value = ()>) -> serde_json::Result<()> {
    let mut json = serde_json::Deserializer::from_reader(io::BufReader::with_capacity(BUFFER, from));
    seed.deserialize(&mut json).and_then(|()| json.end())
}

fn ended(read: serde_json::Result<()>, failed: Option<io::Error>) -> Result<(), StreamError> {
    match (failed, read) {
        (Some(error), _) => Err(StreamError::Write(error)),
        (None, Err(error)) => Err(StreamError::Read(bounded(&error.to_string(), 256).into_owned())),
        (None, Ok(())) => Ok(()),
    }
}

/// Keeps the first elements of a list, up to a limit, and counts the others.
#[derive(Debug)]
pub(crate) struct Few<T> {
    pub(crate) first: Vec<T>,
    pub(crate) left_out: usize,
}

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self { first: Vec::new(), left_out: 0 }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Few<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct OfFew<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for OfFew<T> {
            type Value = Few<T>;
            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.write_str("a list")
            }
            fn visit_unit<E: Error>(self) -> Result<Few<T>, E> {
                Ok(Few::default())
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Few<T>, A::Error> {
                let mut few = Few::default();
                while few.first.len() < FEW {
                    let Some(element) = list.next_element()? else { return Ok(few) };
                    few.first.push(element);
                }
                while list.next_element::<IgnoredAny>()?.is_some() {
                    few.left_out += 1;
                }
                Ok(few)
            }
        }
        from.deserialize_any(OfFew(PhantomData))
    }
}

struct Elements<'a, T, F> {
    take: &'a mut F,
    failed: &'a mut Option<io::Error>,
    of: PhantomData<T>,
}

impl<'de, T: DeserializeOwned, F: FnMut(T) -> io::Result<()>> DeserializeSeed<'de> for Elements<'_, T, F> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de, T: DeserializeOwned, F: FnMut(T) -> io::Result<()>> Visitor<'de> for Elements<'_, T, F> {
    type Value = ();
    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a list")
    }
    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(element) = list.next_element()? {
            if let Err(error) = (self.take)(element) {
                *self.failed = Some(error);
                return Err(Error::custom("not written"));
            }
        }
        Ok(())
    }
}

struct Sink<'a, F> {
    take: &'a mut F,
    failed: &'a mut Option<io::Error>,
}

impl<F: FnMut(Said<'_>) -> io::Result<()>> Sink<'_, F> {
    fn say<E: Error>(&mut self, said: Said<'_>) -> Result<(), E> {
        (self.take)(said).map_err(|error| {
            *self.failed = Some(error);
            E::custom("not written")
        })
    }
}

/// A position in the file.
struct At<'a, 'b, F> {
    path: &'a [&'a str],
    shape: TextLayout,
    sink: &'a mut Sink<'b, F>,
}

impl<'de, F: FnMut(Said<'_>) -> io::Result<()>> DeserializeSeed<'de> for At<'_, '_, F> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_option(self)
    }
}

impl<'de, F: FnMut(Said<'_>) -> io::Result<()>> Visitor<'de> for At<'_, '_, F> {
    type Value = ();
    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("an object or a list of texts")
    }
    fn visit_none<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        match (self.path, self.shape) {
            ([], TextLayout::List) => from.deserialize_seq(self),
            _ => from.deserialize_map(self),
        }
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Text(key)) = map.next_key()? {
            match self.path.split_first() {
                Some((wanted, path)) if *wanted == key => {
                    map.next_value_seed(At { path, shape: self.shape, sink: &mut *self.sink })?;
                }
                Some(_) => drop(map.next_value::<IgnoredAny>()?),
                None => {
                    self.sink.say(Said::Key(&key))?;
                    map.next_value_seed(At { path: &[], shape: TextLayout::List, sink: &mut *self.sink })?;
                }
            }
        }
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(Text(text)) = list.next_element()? {
            self.sink.say(Said::Text(&text))?;
        }
        Ok(())
    }
}

/// A text that may contain invalid UTF-8.
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct OfText;
        impl Visitor<'_> for OfText {
            type Value = Text;
            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.write_str("a text")
            }
            fn visit_bytes<E: Error>(self, text: &[u8]) -> Result<Text, E> {
                Ok(Text(String::from_utf8_lossy(text).into_owned()))
            }
        }
        from.deserialize_bytes(OfText)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(json: &[u8], path: &[&str], shape: TextLayout) -> (Vec<String>, Option<String>) {
        let mut all = Vec::new();
        let read = texts(json, path, shape, |said| {
            all.push(match said {
                Said::Key(key) => format!("{key}:"),
                Said::Text(text) => text.to_owned(),
            });
            Ok(())
        });
        match read {
            Ok(()) => (all, None),
            Err(StreamError::Read(why)) => (all, Some(why)),
            Err(StreamError::Write(error)) => panic!("{error}"),
        }
    }

    #[test]
    fn texts_are_found_below_their_path_and_null_is_nothing() {
        let json = b"{\"errors\":{\"velero\":[\"v\\n1\",\"\xff\"],\"cluster\":null,\"namespaces\":{\"shop\":[\"s\"]}},\"other\":[[1]]}";
        let of = |path: &[&str], shape| said(json, path, shape);
        assert_eq!(of(&["errors", "velero"], TextLayout::List), (vec!["v\n1".to_owned(), "\u{fffd}".to_owned()], None));
        assert_eq!(of(&["errors", "cluster"], TextLayout::List), (vec![], None));
        assert_eq!(of(&["errors", "namespaces"], TextLayout::Map), (vec!["shop:".to_owned(), "s".to_owned()], None));
        assert_eq!(of(&["warnings", "velero"], TextLayout::List), (vec![], None));
        assert!(said(b"{\"v1/Pod\":[\"a/b\", 7]}", &[], TextLayout::Map).1.is_some());
        assert!(said(b"{\"v1/Pod\":[\"a/b\"", &[], TextLayout::Map).1.is_some());
    }

    #[test]
    fn of_a_list_in_an_element_few_are_kept() {
        let json = format!("[[{}]]", vec!["1"; 1000].join(","));
        let mut seen = Vec::new();
        each(json.as_bytes(), |few: Few<i64>| {
            seen.push((few.first.len(), few.left_out));
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error:?}"));
        assert_eq!(seen, [(FEW, 1000 - FEW)]);
    }

    #[test]
    fn a_description_that_cannot_be_written_ends_the_reading() {
        let full = || io::Error::other("full");
        let end = each(b"[1,2]".as_slice(), |_: i64| Err(full()));
        assert!(matches!(end, Err(StreamError::Write(error)) if error.to_string() == "full"));
        let end = texts(b"{\"a\":[\"b\"]}".as_slice(), &["a"], TextLayout::List, |_| Err(full()));
        assert!(matches!(end, Err(StreamError::Write(_))));
    }
}
