//! Mutated texts with canaries, cut anywhere: no canary comes out. Every test run does a few rounds;
//! `REDACT_FUZZ_SECONDS=600` continues for that long. A failure prints the seed that repeats it.

use std::{fmt::Write as _, time::Instant};

use super::{
    json_lines::JsonLines,
    leaks::seed,
    properties::{DICTIONARY, no_alarm},
    secrets::{self, ENCODINGS, Planted, Seed},
    *,
};

/// Rounds of a run without `REDACT_FUZZ_SECONDS`.
const ROUNDS: usize = 150;

/// Noise of at most this many pieces, without line ends, so that it stays in its line.
fn noise(seed: &mut Seed, most: u64) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..seed.next() % (most + 1) {
        match seed.next() % 4 {
            0 => out.extend(seed.bytes(3)),
            1 => out.extend(seed.word(6).into_bytes()),
            _ => out.extend_from_slice(pick(seed, DICTIONARY).as_bytes()),
        }
    }
    out.retain(|byte| *byte != b'\n');
    out
}

fn pick<'a, T>(seed: &mut Seed, from: &'a [T]) -> &'a T {
    &from[usize::try_from(seed.next() % from.len() as u64).unwrap()]
}

fn cuts(seed: &mut Seed) -> Vec<usize> {
    (0..8).map(|_| usize::try_from(1 + seed.next() % 200).unwrap()).collect()
}

/// Runs `round` with fresh seeds until the time is up; prints the seed of a failing round.
fn rounds(round: impl Fn(&mut Seed)) {
    let seconds = std::env::var("REDACT_FUZZ_SECONDS").ok().and_then(|text| text.parse::<u64>().ok());
    let (began, mut first, mut done) = (Instant::now(), seed(), 0_usize);
    while seconds.map_or(done < ROUNDS, |seconds| began.elapsed() < Duration::from_secs(seconds)) {
        let this = if done == 0 { first.0 } else { first.next() };
        let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| round(&mut Seed(this)))).is_err();
        assert!(!failed, "round {done}: REDACT_SEED={this} repeats it");
        done += 1;
    }
    println!("{done} rounds in {:?}", began.elapsed());
}

fn holds(out: &[u8], planted: &Planted) -> Option<String> {
    planted.gone.iter().find(|gone| memchr::memmem::find(out, gone.as_bytes()).is_some()).cloned()
}

#[test]
fn sec_x40_x62_fuzz_no_canary_comes_out_of_a_stream() {
    let by = redactor(&[], &["the-known-value"]);
    rounds(|seed| {
        let mut planted = [secrets::shapes(seed), secrets::named(seed)].concat();
        planted.retain(|planted| planted.shape != "h8-pem" || seed.next() % 4 == 0);
        let (mut body, mut all) = (Vec::new(), Vec::new());
        for _ in 0..=seed.next() % 6 {
            body.extend(noise(seed, 8));
            // A secret begins a line; in the middle of one, the noise may extend its name to another word.
            body.push(b'\n');
            let mut one = pick(seed, &planted).clone();
            let encoding = pick(seed, ENCODINGS);
            let (_, write) = if secrets::is_promised(encoding, &one.text) { encoding } else { &ENCODINGS[0] };
            body.extend_from_slice(write(&one.text).as_bytes());
            let traces: Vec<String> = one.gone.iter().map(|gone| secrets::trace(&one.text, gone, *write)).collect();
            one.gone.extend(traces);
            all.push(one);
            body.push(*pick(seed, b"\n\n\r "));
        }
        body.extend(noise(seed, 8));
        let (out, _) = written(&by, &[&body]);
        let pieces = cuts(seed);
        assert_eq!(written(&by, &cut_up(&body, &pieces)).0, out, "however it is cut");
        no_alarm(&body, &out);
        for planted in &all {
            let text = String::from_utf8_lossy(&body);
            assert_eq!(
                holds(&out, planted),
                None,
                "{}: {text} became {}",
                planted.shape,
                String::from_utf8_lossy(&out)
            );
        }
    });
}

#[test]
fn sec_x17_x62_fuzz_settings_keep_no_canary() {
    let by = redactor(&[], &[]);
    rounds(|seed| {
        let secret = format!("{} {}", seed.word(7), seed.word(7));
        let half = secret.split(' ').next().unwrap().to_owned();
        let mut file = String::new();
        let name = *pick(seed, &["password", "db.password", "AWS_SECRET_ACCESS_KEY", "client-secret", "api_key"]);
        for _ in 0..seed.next() % 5 {
            let _ = writeln!(file, "{}{}{}", seed.word(4), pick(seed, &["=", ": ", " = "]), seed.word(5));
        }
        let line = match seed.next() % 7 {
            0 => format!("{name}={secret}"),
            1 => format!("{name}: {secret}"),
            2 => format!("export {name}=\"{secret}\""),
            3 => format!("{name}: |\n  {secret}\n  {secret}"),
            4 => format!("{name} = {secret}\\\n  {secret}"),
            5 => format!("- value: {secret}\n  name: {name}"),
            _ => format!("- name: {name}\n  value: {secret}"),
        };
        let _ = writeln!(file, "{line}\nlast: {}", seed.word(4));
        let mut map = json!({ "kind": "ConfigMap", "data": { "a": file } });
        assert!(by.counted_config_map(&mut map, &mut Tally::default()));
        assert!(!map.to_string().contains(&half), "{file} became {map}");
        no_alarm(file.as_bytes(), map.to_string().as_bytes());
        let clean = map["data"]["a"].as_str().unwrap().to_owned();
        assert_eq!(settings::mask(&by, &clean, &mut Tally::default()), None, "twice: {clean}");
    });
}

#[test]
fn sec_x21_x62_fuzz_json_keeps_no_canary_and_stays_json() {
    let by = redactor(&[], &[]);
    rounds(|seed| {
        let secret = seed.word(11);
        let which = seed.next() % 5;
        let mut value = match which {
            0 => json!({ "password": secret }),
            1 => json!({ "name": "DB_PASSWORD", "value": secret }),
            2 => json!({ "value": secret, "key": "API_KEY" }),
            3 => json!({ "args": ["--verbose", "--token", secret] }),
            _ => json!({ "clientSecret": [secret, "x"] }),
        };
        let mut in_a_string = false;
        for _ in 0..seed.next() % 5 {
            let text = String::from_utf8_lossy(&noise(seed, 4)).replace("password", "words");
            // A quote that only a shell knows hides the end of a JSON text, and then too much is masked.
            let text = text.replace(['\'', '`'], "");
            value = match seed.next() % 4 {
                0 => json!([text, value]),
                1 => json!({ "a": [1, null, true], "more": value }),
                2 => json!([value, { "k": "v" }]),
                _ => {
                    in_a_string = true;
                    json!({ "inner": value.to_string() })
                }
            };
        }
        let mut lines = JsonLines::new(Vec::new(), true);
        let text = if seed.next() % 2 == 0 { value.to_string() } else { serde_json::to_string_pretty(&value).unwrap() };
        lines.write_all(text.as_bytes()).unwrap();
        let (out, _) = written(&by, &[&lines.into_inner()]);
        let out = String::from_utf8_lossy(&out).into_owned();
        // Velero's files are one line. In pretty JSON, a name and its value may stand on two lines, which are judged
        // apart; not so `"password": "…"` or text in a string.
        let torn = text.contains('\n') && which != 0 && !in_a_string;
        assert!(!out.contains(&secret) || torn, "{text} became {out}");
        no_alarm(text.as_bytes(), out.as_bytes());
        let parsed = serde_json::from_str::<serde_json::Value>(&out);
        assert!(parsed.is_ok(), "{text} became {out}, no JSON");
        assert!(by.object(&mut value) && !value.to_string().contains(&secret), "{value}");
    });
}

#[test]
fn sec_x44_x62_fuzz_what_holds_no_secret_stays() {
    let by = redactor(&[], &["the-known-value"]);
    rounds(|seed| {
        let mut body = String::new();
        for _ in 0..=seed.next() % 12 {
            body += survivors::any(seed.next());
            body += *pick::<&str>(seed, &["\n", "\r\n", "\n\n"]);
        }
        let pieces = cuts(seed);
        let (out, hits) = written(&by, &cut_up(body.as_bytes(), &pieces));
        assert_eq!(String::from_utf8_lossy(&out), body);
        assert!(hits.is_empty());
        assert_eq!(Detector::new([]).alarm(&out), None, "{body}");
    });
}

/// Feeds a property with the fuzzer's corpus, then with noise for as long as the other tests run.
fn holds_of_corpus_and_noise(name: &str, property: fn(&[u8])) {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let files: Vec<_> =
        std::fs::read_dir(&corpus).expect("the corpus").map(|file| file.expect("a file").path()).collect();
    assert!(files.len() >= 20, "{} has {} inputs", corpus.display(), files.len());
    for file in files {
        let input = std::fs::read(&file).expect("an input");
        let held = std::panic::catch_unwind(|| property(&input));
        assert!(held.is_ok(), "{} shows it", file.display());
    }
    rounds(|seed| {
        let length = usize::try_from(seed.next() % 120).unwrap();
        property(&seed.bytes(length));
    });
}

#[test]
fn sec_x40_x44_x62_no_canary_comes_out_of_what_a_fuzzer_makes_of_log_lines() {
    holds_of_corpus_and_noise("log_lines", properties::log_lines);
}

#[test]
fn sec_x21_x62_no_canary_comes_out_of_what_a_fuzzer_makes_of_json() {
    holds_of_corpus_and_noise("json", properties::json);
}

#[test]
fn sec_x17_x62_no_canary_comes_out_of_what_a_fuzzer_makes_of_settings() {
    holds_of_corpus_and_noise("settings", properties::settings);
}
