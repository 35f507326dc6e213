//! Properties of redaction that hold for any input: the input's bytes choose what is
//! written, where a secret is planted, and how it is cut. The tests feed them noise and the corpus in `fuzz`;
//! the programs there feed them a coverage-guided fuzzer's inputs. Both build this file.

use std::{
    io::Write as _,
    sync::{Arc, LazyLock},
};

use debugbundle_redact_check::Detector;
use serde_json::{Value, json};

use super::secrets::{self, ENCODINGS, Planted, Seed};
use crate::{JsonLines, RedactWriter, Redactor, Rules, Secret};

/// A value that the operator knows: it may stand anywhere.
const KNOWN: &str = "Kn0wn/value+of=this";
/// Texts that confuse scanners, quotes, flags and states.
pub(super) const DICTIONARY: &[&str] = &[
    "\"",
    "'",
    "`",
    "\\",
    "\\\"",
    "\\n",
    "{",
    "}",
    "[",
    "]",
    "{\"",
    "\":\"",
    "\",\"",
    ",",
    ":",
    "=",
    " ",
    "\t",
    "\r",
    "\n",
    "\0",
    "\u{1b}[31m",
    "\u{feff}",
    "%3D",
    "%22",
    "\\u0026",
    "\\u003d",
    "--",
    "--password",
    "-p",
    "mysql ",
    "curl -u ",
    "name: ",
    "value: ",
    "\\\"name\\\":\\\"API_KEY\\\",",
    "\\\"value\\\":",
    "{Name:PASSWORD Value:",
    "\\n  ",
    "H4sI",
    "kind: Secret",
    "data:",
    "map[",
    "password",
    "token: ",
    "secret=",
    "https://",
    "://a:",
    "@",
    "@tcp(",
    "?sig=",
    "Authorization: Bearer ",
    "eyJ",
    "AKIA",
    "-----BEGIN CERTIFICATE-----\n",
    "-----END PRIVATE KEY-----\n",
    "-----BEGIN PRIVATE KEY-----\n",
    "[REDACTED:jwt:01234567]",
    "[REDACTED:",
    "[LEFT OUT: ",
    "cGFzc3dvcmQ9",
    "LS0tLS1CRUdJTi",
    "# ",
    "; ",
    "|\n",
    ">-\n",
    "<",
    "</",
    "é",
    "日",
    "&",
    "${",
    "$(",
    "null",
    "true",
    "0",
];

static REDACTOR: LazyLock<Arc<Redactor>> =
    LazyLock::new(|| Arc::new(Redactor::of_known(vec![("known-secret-key", Secret::new(KNOWN))])));
static DETECTOR: LazyLock<Detector> = LazyLock::new(|| Detector::new([("known-secret-key", KNOWN)]));

/// Reads an input as choices; at its end all choices are 0.
struct Choices<'a> {
    rest: &'a [u8],
    /// Planted values depend on the whole input, so that its noise cannot contain the same value by design.
    seed: Seed,
}

impl<'a> Choices<'a> {
    fn of(input: &'a [u8]) -> Self {
        let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        Self { rest: input, seed: Seed(input.iter().fold(0xcbf2_9ce4_8422_2325, mix)) }
    }

    fn byte(&mut self) -> u8 {
        let (first, rest) = self.rest.split_first().unwrap_or((&0, &[]));
        self.rest = rest;
        *first
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::from(u16::from_le_bytes([self.byte(), self.byte()])) % bound
    }

    fn pick<T>(&mut self, from: &'static [T]) -> &'static T {
        &from[self.below(from.len())]
    }

    /// Bytes of the input, unchanged.
    fn noise(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte() % 40).min(self.rest.len());
        let (noise, rest) = self.rest.split_at(length);
        self.rest = rest;
        noise
    }

    fn text(&mut self) -> String {
        if self.byte().is_multiple_of(3) {
            String::from_utf8_lossy(self.noise()).into_owned()
        } else {
            (*self.pick(DICTIONARY)).into()
        }
    }

    fn planted(&mut self) -> Planted {
        let mut all = secrets::shapes(&mut self.seed);
        all.extend(secrets::named(&mut self.seed));
        all.swap_remove(self.below(all.len()))
    }
}

fn written(body: &[u8], mut cut: impl FnMut() -> usize) -> Vec<u8> {
    let mut writer = RedactWriter::new(Arc::clone(&REDACTOR), Rules::All, Vec::new());
    let mut rest = body;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(cut().clamp(1, rest.len()));
        writer.write_all(piece).expect("memory");
        rest = after;
    }
    writer.finish().expect("memory")
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn lacks(out: &[u8], gone: &str) -> bool {
    memchr::memmem::find(out, gone.as_bytes()).is_none()
}

/// The self-check finds nothing in redacted output: a false alarm would cost evidence.
pub(super) fn no_alarm(body: &[u8], out: &[u8]) {
    assert_eq!(DETECTOR.alarm(out), None, "{:?} became {:?}", lossy(body), lossy(out));
}

/// Log lines: no planted secret comes out, however the bytes are cut; with only secrets and their encodings, redacting
/// twice changes nothing.
pub fn log_lines(input: &[u8]) {
    let mut choices = Choices::of(input);
    let (mut body, mut gone, mut calm) = (Vec::new(), vec![KNOWN.to_owned()], true);
    let cuts: Vec<usize> = (0..4).map(|_| 1 + usize::from(choices.byte())).collect();
    while !choices.rest.is_empty() && body.len() < 16 << 10 {
        let which = choices.byte() % 5;
        calm &= which > 2;
        match which {
            0 => body.extend_from_slice(choices.noise()),
            1 | 2 => body.extend_from_slice(choices.pick(DICTIONARY).as_bytes()),
            3 => {
                // With a blank behind it: next to a token, the end of a word becomes a name by itself.
                body.extend_from_slice(KNOWN.as_bytes());
                body.push(b' ');
            }
            _ => {
                let planted = choices.planted();
                let encoding = choices.pick(ENCODINGS);
                let (_, write) = if secrets::is_promised(encoding, &planted.text) { encoding } else { &ENCODINGS[0] };
                // It begins a line; in the middle of one, the noise may extend its name to another word.
                body.push(b'\n');
                body.extend_from_slice(write(&planted.text).as_bytes());
                body.push(b"\n\n\r "[choices.below(4)]);
                gone.extend(planted.gone.iter().map(|gone| secrets::trace(&planted.text, gone, *write)));
                gone.extend(planted.gone);
            }
        }
    }
    let out = written(&body, || usize::MAX);
    for gone in &gone {
        assert!(lacks(&out, gone), "{gone:?} is left: {:?} became {:?}", lossy(&body), lossy(&out));
    }
    no_alarm(&body, &out);
    let mut cuts = cuts.iter().cycle();
    let cut = written(&body, || *cuts.next().expect("it never ends"));
    assert!(cut == out, "cut: {:?} became {:?}, and not {:?}", lossy(&body), lossy(&cut), lossy(&out));
    // In noise, the border of a token may turn other text into a value: then more is masked, never less.
    if calm {
        let twice = written(&out, || usize::MAX);
        assert!(twice == out, "twice: {:?} became {:?}, then {:?}", lossy(&body), lossy(&out), lossy(&twice));
    }
}

/// JSON as objects and as a store's file: no planted value comes out, it stays JSON, and with only words next to it,
/// redacting twice changes nothing.
pub fn json(input: &[u8]) {
    let mut choices = Choices::of(input);
    let secret = choices.seed.word(11);
    let mut value = match choices.byte() % 6 {
        0 => json!({ "password": secret }),
        1 => json!({ "name": "DB_PASSWORD", "value": secret }),
        2 => json!({ "value": secret, "key": "API_KEY" }),
        3 => json!({ "args": ["--verbose", "--token", secret] }),
        4 => json!({ "kind": "Pod", "env": [{ "name": "A", "value": format!("https://u:{secret}@h.example/") }] }),
        _ => json!({ "clientSecret": [secret, "x"] }),
    };
    let (mut escapes, mut calm) = (0, true);
    while !choices.rest.is_empty() && escapes < 3 {
        let text = choices.text().replace("password", "words");
        // Shell quotes, a key's BEGIN and END and half a token run from one JSON text into the next: then too much is
        // masked.
        let strays = ["'", "`", "mysql ", "curl -u ", "--", "[REDACTED:"];
        let text = strays.iter().fold(text, |text, stray| text.replace(stray, ""));
        calm &= text.chars().all(char::is_alphanumeric);
        value = match choices.byte() % 5 {
            0 => json!([text, value]),
            1 => json!({ "a": [1, null, true], "more": value, "z": text }),
            2 => json!([value, { "k": text }]),
            which => {
                escapes += 1;
                let inner = value.to_string();
                if which == 3 {
                    json!({ "metadata": { "annotations": { "note": inner } }, "n": text })
                } else {
                    json!({ "inner": inner })
                }
            }
        };
    }
    let mut object = value.clone();
    if REDACTOR.object(&mut object) {
        assert!(!object.to_string().contains(&secret), "{value} became {object}");
        no_alarm(value.to_string().as_bytes(), object.to_string().as_bytes());
        let mut twice = object.clone();
        let same = REDACTOR.object(&mut twice) && twice == object;
        assert!(same || !calm, "twice: {value} became {object}, then {twice}");
    }
    let mut file = JsonLines::new(Vec::new(), true);
    file.write_all(value.to_string().as_bytes()).expect("memory");
    let file = file.into_inner();
    let cut = 1 + usize::from(choices.byte());
    let out = written(&file, || cut);
    assert!(lacks(&out, &secret), "{value} became {}", lossy(&out));
    no_alarm(&file, &out);
    assert!(serde_json::from_slice::<Value>(&out).is_ok(), "no JSON: {value} became {}", lossy(&out));
}

/// Settings in a ConfigMap (INI, dotenv, properties, YAML, lookalikes): no value behind a sensitive name comes out.
pub fn settings(input: &[u8]) {
    let mut choices = Choices::of(input);
    let secret = format!("{} {}", choices.seed.word(9), choices.seed.word(9));
    let mut file = String::new();
    let harmless = |choices: &mut Choices<'_>, file: &mut String| {
        for _ in 0..choices.below(4) {
            let name = choices.seed.word(4);
            // Text that no settings file has behind a name turns the whole into prose, where a value ends at a blank.
            let mut value = choices.text();
            value.retain(|letter| letter.is_alphanumeric() || " .,_-%$@&<".contains(letter));
            let line = format!("{name}{}{value}\n", choices.pick(&["=", ": ", " = "]));
            file.push_str(&line);
        }
    };
    harmless(&mut choices, &mut file);
    let name = choices.pick(&["password", "db.password", "AWS_SECRET_ACCESS_KEY", "client-secret", "api_key"]);
    let pair = match choices.byte() % 7 {
        0 => format!("{name}={secret}\n"),
        1 => format!("{name}: {secret}\n"),
        2 => format!("export {name}=\"{secret}\"\n"),
        3 => format!("{name}: |\n  {secret}\n  {secret}\n"),
        4 => format!("{name} = {secret}\\\n  {secret}\n"),
        5 => format!("[default]\n{name} = {secret}\n"),
        _ => format!("- name: {name}\n  value: {secret}\n"),
    };
    file.push_str(&pair);
    harmless(&mut choices, &mut file);
    // One line alone is no file, and in prose a value ends at a blank.
    file += "user: shop\nlast: one\n";
    let mut map = json!({ "kind": "ControllerRevision", "data": { "a": file } });
    assert!(REDACTOR.object(&mut map));
    for half in secret.split(' ') {
        assert!(!map.to_string().contains(half), "{file:?} became {map}");
    }
    no_alarm(file.as_bytes(), map.to_string().as_bytes());
    let mut twice = map.clone();
    assert!(REDACTOR.object(&mut twice) && twice == map, "twice: {file:?} became {map}, then {twice}");
}
