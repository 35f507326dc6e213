//! The results that Velero wrote of a Backup or Restore, read in bounded memory for any size, shape or encoding. The
//! bundle contains the whole file.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Read},
};

use debugbundle_diagnosis::{ResultText, alike::key, readable};
use debugbundle_format::text;
use serde::{
    Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use crate::json_stream::Shallow;

/// Most distinct messages kept of the errors, and of the warnings.
const MESSAGES: usize = 500;
/// Most bytes kept of one message.
const MESSAGE: usize = 4 * 1024;
/// Most namespaces whose names are kept.
const NAMESPACES: usize = 64;
/// Most bytes read of one text (as written: an escape takes six for one).
const TEXT: usize = 8 * MESSAGE;
const BUFFER: usize = 64 * 1024;

/// The results of a Backup or Restore, as far as they could be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Results {
    /// Error messages: first Velero's own, then the cluster's, then by namespace.
    pub errors: Distinct,
    /// Warning messages.
    pub warnings: Distinct,
    /// Names of the namespaces with errors or warnings; those with errors come first.
    pub namespaces: Distinct,
    /// Why the file could not be read to its end.
    pub broken: Option<String>,
}

impl Results {
    /// Reads JSON, with at most one bounded text in memory.
    pub fn read(from: impl Read) -> Self {
        let mut results = Self::default();
        let shallow = Shallow::new(from, TEXT);
        let mut json = serde_json::Deserializer::from_reader(io::BufReader::with_capacity(BUFFER, shallow));
        let read = Kinds(&mut results).deserialize(&mut json).and_then(|()| json.end());
        results.broken = read.err().map(|error| text::bounded(&error.to_string(), 256).into_owned());
        for distinct in [&mut results.errors, &mut results.warnings, &mut results.namespaces] {
            (distinct.seen, distinct.alike) = Default::default();
        }
        results
    }

    /// The errors, then the warnings.
    pub fn texts(&self) -> impl Iterator<Item = ResultText> {
        [(&self.errors, true), (&self.warnings, false)].into_iter().flat_map(|(all, is_error)| {
            all.counted().map(move |(text, times)| ResultText { is_error, text: text.to_owned(), times })
        })
    }
}

/// Distinct texts, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distinct {
    /// The texts.
    pub texts: Vec<String>,
    /// Number of texts that did not fit; duplicates count each time.
    pub left_out: u64,
    /// How often each text was said. Texts that did not fit count for the first text that differs from them in names and
    /// numbers alone.
    times: Vec<u64>,
    /// Places in `texts`. Cleared after reading.
    seen: BTreeMap<String, usize>,
    /// The same by what texts have in common, once one did not fit.
    alike: BTreeMap<String, usize>,
}

impl Distinct {
    fn add(&mut self, text: &[u8], most: usize) {
        let text = String::from_utf8_lossy(text);
        let text = text::bounded(&text, MESSAGE);
        let mut same = self.seen.get(text.as_ref()).copied();
        if same.is_none() && self.texts.len() >= most {
            self.left_out += 1;
            same = self.alike(&text);
        }
        if let Some(times) = same.and_then(|same| self.times.get_mut(same)) {
            *times += 1;
        }
        if same.is_none() && self.texts.len() < most {
            self.seen.insert(text.clone().into_owned(), self.texts.len());
            self.texts.push(text.into_owned());
            self.times.push(1);
        }
    }

    /// The first text that is equal but for names and numbers.
    fn alike(&mut self, text: &str) -> Option<usize> {
        let common = |text: &str| key(&readable(text));
        if self.alike.is_empty() {
            for (place, text) in self.texts.iter().enumerate() {
                self.alike.entry(common(text)).or_insert(place);
            }
        }
        self.alike.get(&common(text)).copied()
    }

    /// The texts, each with how often it was said.
    pub fn counted(&self) -> impl Iterator<Item = (&str, u64)> {
        self.texts.iter().map(String::as_str).zip(self.times.iter().copied())
    }
}

/// `{"errors": …, "warnings": …}`
struct Kinds<'a>(&'a mut Results);
/// `{"velero": […], "cluster": […], "namespaces": {…}}`, or null
struct Groups<'a>(&'a mut Distinct, &'a mut Distinct);
/// `{"shop": […]}`, or null
struct Namespaces<'a>(&'a mut Distinct, &'a mut Distinct);
/// `["…"]`, or null
struct Messages<'a>(&'a mut Distinct);
/// A text, which need not be UTF-8, and the most distinct texts to keep.
struct Text<'a>(&'a mut Distinct, usize);
struct Key;

/// The keys that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Errors,
    Warnings,
    List,
    Namespaces,
    Other,
}

/// Null counts as empty: Go writes it for a nil map or slice.
macro_rules! or_null {
    ($seed:ident, $deserialize:ident) => {
        impl<'de> DeserializeSeed<'de> for $seed<'_> {
            type Value = ();
            fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
                struct Or<'a>($seed<'a>);
                impl<'de> Visitor<'de> for Or<'_> {
                    type Value = ();
                    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                        self.0.expecting(to)
                    }
                    fn visit_none<E: Error>(self) -> Result<(), E> {
                        Ok(())
                    }
                    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
                        from.$deserialize(self.0)
                    }
                }
                from.deserialize_option(Or(self))
            }
        }
    };
}

or_null!(Groups, deserialize_map);
or_null!(Namespaces, deserialize_map);
or_null!(Messages, deserialize_seq);

impl<'de> DeserializeSeed<'de> for Kinds<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Kinds<'_> {
    type Value = ();
    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("an object of errors and warnings")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Results { errors, warnings, namespaces, .. } = self.0;
        while let Some(key) = map.next_key_seed(Key)? {
            match key {
                Known::Errors => map.next_value_seed(Groups(errors, namespaces))?,
                Known::Warnings => map.next_value_seed(Groups(warnings, namespaces))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

impl<'de> Visitor<'de> for Groups<'_> {
    type Value = ();
    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("an object of velero, cluster and namespaces")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key_seed(Key)? {
            match key {
                Known::List => map.next_value_seed(Messages(self.0))?,
                Known::Namespaces => map.next_value_seed(Namespaces(self.0, self.1))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

impl<'de> Visitor<'de> for Namespaces<'_> {
    type Value = ();
    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("an object of namespaces")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_key_seed(Text(self.1, NAMESPACES))?.is_some() {
            map.next_value_seed(Messages(self.0))?;
        }
        Ok(())
    }
}

impl<'de> Visitor<'de> for Messages<'_> {
    type Value = ();
    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a list of messages")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Text(self.0, MESSAGES))?.is_some() {}
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Text<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_bytes(self)
    }
}

impl Visitor<'_> for Text<'_> {
    type Value = ();
    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a text")
    }
    fn visit_bytes<E: Error>(self, text: &[u8]) -> Result<(), E> {
        self.0.add(text, self.1);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Known;
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Known, D::Error> {
        from.deserialize_bytes(self)
    }
}

impl Visitor<'_> for Key {
    type Value = Known;
    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a key")
    }
    fn visit_bytes<E: Error>(self, key: &[u8]) -> Result<Known, E> {
        Ok(match key {
            b"errors" => Known::Errors,
            b"warnings" => Known::Warnings,
            b"velero" | b"cluster" => Known::List,
            b"namespaces" => Known::Namespaces,
            _ => Known::Other,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(json: &serde_json::Value) -> Results {
        Results::read(json.to_string().as_bytes())
    }

    #[test]
    fn messages_and_namespaces_are_read_once_each_and_in_order() {
        let found = read(&json!({
            "errors": {"velero": ["v", "v"], "cluster": null, "namespaces": {"shop": ["s", "v"]}, "new": [[1]]},
            "warnings": {"namespaces": {"bakery": ["b"], "shop": null}},
            "other": {"errors": 7}}));
        assert_eq!(found.broken, None);
        assert_eq!(found.errors.counted().collect::<Vec<_>>(), [("v", 3), ("s", 1)]);
        assert_eq!(found.warnings.texts, ["b"]);
        assert_eq!(found.namespaces.texts, ["shop", "bakery"]);
        assert_eq!(read(&json!({"errors": null, "warnings": {}})), Results::default());
    }

    #[test]
    fn results_of_any_size_are_read_and_what_is_kept_is_bounded() {
        let lists: serde_json::Map<_, _> =
            (0..10_000).map(|n| (format!("n{n}"), json!([format!("error {n}: {}", "x".repeat(600))]))).collect();
        let long = "\u{7}é\\".repeat(200_000);
        let json = json!({"errors": {"velero": [long], "namespaces": lists}, "warnings": {"cluster": ["last"]}});
        assert!(json.to_string().len() > 6 << 20);
        let found = read(&json);
        assert_eq!(found.broken, None);
        assert_eq!((found.errors.texts.len(), found.errors.left_out), (MESSAGES, 10_001 - MESSAGES as u64));
        let times: Vec<u64> = found.errors.counted().map(|(_, times)| times).collect();
        assert_eq!(times[..3], [1, 10_001 - (MESSAGES as u64 - 1), 1], "those that were not kept are like the second");
        assert_eq!((found.namespaces.texts.len(), found.namespaces.left_out), (NAMESPACES, 10_000 - NAMESPACES as u64));
        assert!(found.errors.texts.iter().all(|text| text.len() <= MESSAGE));
        assert!(found.errors.texts[0].starts_with("\u{7}é\\\u{7}é"));
        assert_eq!(found.warnings.texts, ["last"], "what comes after the large part is read too");
    }

    #[test]
    fn what_is_no_utf_8_is_read_all_the_same() {
        let found = Results::read(b"{\"errors\":{\"velero\":[\"disk \xff\xfe full\"],\"\xff\":1}}".as_slice());
        assert_eq!((found.errors.texts, found.broken), (vec!["disk \u{fffd}\u{fffd} full".to_owned()], None));
    }

    #[test]
    fn broken_results_tell_why_and_keep_what_came_before() {
        for broken in [r#"{"errors":{"velero":["first", 7]}}"#, r#"{"errors":{"velero":["first""#] {
            let found = Results::read(broken.as_bytes());
            assert_eq!(found.errors.texts, ["first"], "{broken}");
            assert!(found.broken.is_some(), "{broken}");
        }
        assert!(Results::read(b"".as_slice()).broken.is_some());
        let deep = format!("{{\"other\":{}", "[".repeat(1 << 20));
        assert!(Results::read(deep.as_bytes()).broken.unwrap().contains("nested deeper than 128"));
    }
}
