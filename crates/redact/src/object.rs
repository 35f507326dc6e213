//! Cleans API objects before they are written: first the values known by their place in the object, then each string as
//! text. The plan decides which kinds are read; a Secret that slips into a list is still dropped here.

use serde_json::{Map, Value};

use crate::{
    MAX_LINE, Redactor, Rules, arguments, config_map, json, location_config,
    names::{self, Strength},
    nested_keys,
    pem::{self, PemState, PemVerdict},
    scripts, settings,
    token::{self, Span, Tally},
    value::{is_count, masks_whole},
};

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
pub(super) const SECRET: &str = "secret-object";
pub(super) const URL: &str = "download-url";

/// Works in place; `false`: the object must not be collected.
pub(super) fn clean(by: &Redactor, object: &mut Value, tally: &mut Tally) -> bool {
    if by.has(SECRET) && object.as_object().is_some_and(is_secret_kind) {
        tally.add(SECRET);
        return false;
    }
    // A schema contains no values: `properties.password` only describes one.
    let schema = object.get("kind").is_some_and(|kind| kind == "CustomResourceDefinition");
    Cleaner { by, tally, schema }.walk(object, Under::default());
    true
}

/// Like [`clean`], but a ConfigMap keeps its values, masked.
pub(super) fn clean_config_map(by: &Redactor, object: &mut Value, tally: &mut Tally) -> bool {
    match object.as_object_mut().filter(|map| config_map::is_config_map(map)) {
        Some(map) => {
            config_map::masked(by, map, tally);
            Cleaner { by, tally, schema: false }.below(map, None);
            true
        }
        None => clean(by, object, tally),
    }
}

/// Replaces the whole text by a token.
pub(super) fn mask(by: &Redactor, text: &mut String, rule: &'static str, tally: &mut Tally) {
    if token::is_token(text) {
        return;
    }
    tally.add(rule);
    *text = Span::new(0..text.len(), rule, text.as_bytes().to_vec()).token(&by.key);
}

/// What the key in front of a value says, or the key of the array around it.
#[derive(Default, Clone, Copy)]
struct Under {
    /// About texts and numbers.
    scalar: Option<Strength>,
    /// About the fields of objects.
    object: Option<Strength>,
}

/// One object while it is cleaned.
pub(super) struct Cleaner<'a> {
    by: &'a Redactor,
    tally: &'a mut Tally,
    schema: bool,
}

impl Cleaner<'_> {
    fn walk(&mut self, value: &mut Value, under: Under) {
        match value {
            Value::Object(map) => self.fields(map, under.object),
            Value::Array(items) => self.items(items, under),
            Value::String(text)
                if under.scalar.is_some_and(|strength| masks_whole(text, strength)) && self.by.has(json::KEY) =>
            {
                self.mask(text, json::KEY);
            }
            Value::String(text) => self.string(text),
            Value::Number(number) if under.scalar == Some(Strength::Strong) && self.by.has(json::KEY) => {
                let mut text = number.to_string();
                self.mask(&mut text, json::KEY);
                *value = Value::String(text);
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn items(&mut self, items: &mut Vec<Value>, under: Under) {
        let before = items.len();
        items.retain(|item| !(self.by.has(SECRET) && item.as_object().is_some_and(carries_secret)));
        (items.len()..before).for_each(|_| self.tally.add(SECRET));
        self.arguments(items.iter_mut().collect());
        self.key_lines(items);
        for item in items {
            self.walk(item, under);
        }
    }

    /// A key of which each line is an element: of arguments, of messages.
    fn key_lines(&mut self, items: &mut [Value]) {
        let mut state = PemState::outside();
        for item in items {
            let Value::String(text) = item else { continue };
            let verdict = state.next(text.as_bytes());
            state.after(text.as_bytes(), pem::is_line(text));
            if let PemVerdict::Key(digits) = verdict
                && self.by.has(pem::RULE)
            {
                self.replace(text, vec![pem::span(text.as_bytes(), digits)]);
            }
        }
    }

    fn fields(&mut self, map: &mut Map<String, Value>, outer: Option<Strength>) {
        if config_map::is_config_map(map) {
            config_map::keys_only(map);
        }
        self.below(map, outer);
    }

    /// `outer`: how the key in front of the object classifies it.
    fn below(&mut self, map: &mut Map<String, Value>, outer: Option<Strength>) {
        if map.get("managedFields").is_some_and(Value::is_array) {
            map.shift_remove("managedFields");
        }
        if map.get(LAST_APPLIED).is_some_and(Value::is_string) {
            map.shift_remove(LAST_APPLIED);
        }
        let is_list = map.get("kind").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("List"));
        if is_list && let Some(Value::Array(items)) = map.get_mut("items") {
            let before = items.len();
            items.retain(|item| !(self.by.has(SECRET) && item.as_object().is_some_and(is_secret_kind)));
            (items.len()..before).for_each(|_| self.tally.add(SECRET));
        }
        if map.get("kind").and_then(Value::as_str) == Some("ConfigMapList") {
            // The items of a typed list have no `kind`.
            let items = map.get_mut("items").and_then(Value::as_array_mut);
            let untyped = items.into_iter().flatten().filter_map(Value::as_object_mut);
            untyped.filter(|item| !config_map::is_config_map(item)).for_each(config_map::keys_only);
        }
        let location = location_config::is_location(map) && self.by.has(location_config::RULE);
        let pair = self.pair(map);
        self.container(map);
        for (key, value) in map.iter_mut() {
            match value {
                Value::String(url) if key.eq_ignore_ascii_case("downloadURL") => self.url(url, URL),
                Value::Object(inner) if self.by.has(SECRET) && carries_secret(inner) => {
                    let mut text = Value::Object(std::mem::take(inner)).to_string();
                    self.mask(&mut text, SECRET);
                    *value = Value::String(text);
                }
                Value::Object(inner) if key == "redaction" => {
                    // The rules may quote the very value that they are to hide.
                    if let Some(rules) = inner.get_mut("rules")
                        && let Some(count) = rules.as_array().map(Vec::len)
                    {
                        *rules = count.into();
                    }
                    self.fields(inner, None);
                }
                Value::Object(config) if location && key == "config" => location_config::clean(self, config),
                Value::Object(config)
                    if location_config::is_repository(key) && !self.schema && self.by.has(location_config::RULE) =>
                {
                    location_config::clean(self, config);
                }
                Value::Object(counts) if key == "redactions" && counts.values().all(Value::is_number) => {}
                Value::String(text) if key == "value" && pair.is_some_and(|strength| masks_whole(text, strength)) => {
                    self.mask(text, json::PAIR);
                }
                Value::Number(number) if key == "value" && pair == Some(Strength::Strong) => {
                    let mut text = number.to_string();
                    self.mask(&mut text, json::PAIR);
                    *value = Value::String(text);
                }
                Value::String(text)
                    if self.by.has(pem::RULE)
                        && matches!(key.as_str(), "message" | "note")
                        && let Some(digits) = pem::in_message(text) =>
                {
                    self.replace(text, vec![digits]);
                    self.string(text);
                }
                other => {
                    let mut under = self.under(key.as_bytes(), outer);
                    if key == "value" && other.is_array() {
                        under.scalar = under.scalar.or(pair);
                    }
                    if other.as_u64().is_some_and(|number| is_count(key.as_bytes(), number.to_string().as_bytes())) {
                        under.scalar = None;
                    }
                    self.walk(other, under);
                }
            }
        }
    }

    fn under(&self, key: &[u8], outer: Option<Strength>) -> Under {
        if self.schema {
            return Under::default();
        }
        let within = outer.filter(|_| self.by.has(json::KEY)).and_then(|outer| nested_keys::field(outer, key));
        Under { scalar: names::judge(key).or(within), object: nested_keys::holds(key).or(within) }
    }

    /// `{name, value}` of an environment, of headers; `{key, value}`; `{path, value}` of a patch.
    fn pair(&self, map: &Map<String, Value>) -> Option<Strength> {
        if self.schema || !map.contains_key("value") || !self.by.has(json::PAIR) {
            return None;
        }
        let names = ["name", "key", "path"].iter().filter_map(|key| map.get(*key)?.as_str());
        names.filter_map(|name| names::judge(name.as_bytes())).max_by_key(|strength| *strength == Strength::Strong)
    }

    /// `command` and `args` form one command line.
    fn container(&mut self, map: &mut Map<String, Value>) {
        if !(map.contains_key("command") && map.contains_key("args")) {
            return;
        }
        let mut line = Vec::new();
        let mut args = Vec::new();
        for (key, value) in map.iter_mut() {
            match (key.as_str(), value) {
                ("command", Value::Array(items)) => line.extend(items),
                ("args", Value::Array(items)) => args.extend(items),
                _ => {}
            }
        }
        line.extend(args);
        self.arguments(line);
    }

    fn arguments(&mut self, mut line: Vec<&mut Value>) {
        if self.schema || line.len() < 2 {
            return;
        }
        let texts: Vec<&[u8]> = line.iter().map(|item| item.as_str().unwrap_or_default().as_bytes()).collect();
        let mut found = arguments::find(&texts);
        found.retain(|(_, span)| self.by.has(&span.rule));
        for (index, item) in line.iter_mut().enumerate() {
            let spans: Vec<Span> = found.iter().filter(|(of, _)| *of == index).map(|(_, span)| span.clone()).collect();
            if let Value::String(text) = &mut **item
                && !spans.is_empty()
            {
                self.replace(text, spans);
            }
        }
    }

    fn replace(&mut self, text: &mut String, spans: Vec<Span>) {
        let clean = self.by.replaced(text.as_bytes(), spans, self.tally);
        *text = String::from_utf8_lossy(&clean).into_owned();
    }

    /// Scheme, host and path show where; the query and the credentials in front of the host are masked.
    pub(super) fn url(&mut self, text: &mut String, rule: &'static str) {
        if !self.by.has(rule) {
            return self.string(text);
        }
        let Ok(mut url) = url::Url::parse(text) else {
            if !text.is_empty() {
                self.mask(text, rule);
            }
            return;
        };
        let query = url.query().map(str::to_owned);
        let named = !url.username().is_empty() || url.password().is_some();
        if query.is_none() && !named && url.fragment().is_none() {
            return self.string(text);
        }
        if !named && url.fragment().is_none() && query.as_deref().is_some_and(token::is_token) {
            return;
        }
        url.set_query(None);
        url.set_fragment(None);
        // Both fail only for URLs that cannot have a user; such URLs have no credentials.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        let mut shown = url.to_string();
        self.string(&mut shown);
        let mut token = query.unwrap_or_default();
        self.mask(&mut token, rule);
        *text = format!("{shown}?{token}");
    }

    pub(super) fn string(&mut self, text: &mut String) {
        if let Some(span) = self.by.exact.whole(text) {
            *text = span.token(&self.by.key);
            self.tally.add(&span.rule);
            return;
        }
        if self.by.has(pem::RULE) && pem::is_line(text) {
            return self.mask(text, pem::RULE);
        }
        // JSON over several lines is one value; JSON on one line is seen whole by the text rules.
        let has_json = || text.trim_start().starts_with(['{', '[']) || text.contains("{\n") || text.contains("\n{");
        if text.contains('\n') && text.len() <= MAX_LINE && has_json() {
            let mut spans = Vec::new();
            json::find(text.as_bytes(), &mut spans);
            if !spans.is_empty() {
                self.replace(text, spans);
            }
        }
        if text.starts_with('[') && text.contains("\\n") {
            self.command(text);
        }
        self.script(text);
        if text.contains('\n')
            && !self.schema
            && (settings::is_file(text) || settings::may_hold_secret(text))
            && let Some(clean) = settings::mask(self.by, text, self.tally)
        {
            *text = clean;
        }
        if let Some(clean) = self.by.counted_text(text, self.tally) {
            *text = clean;
        }
    }

    /// A hook's command in an annotation, of which an argument is a script of several lines.
    fn command(&mut self, text: &mut String) {
        let Ok(arguments) = serde_json::from_str::<Vec<String>>(text) else { return };
        let before: Vec<Value> = arguments.into_iter().map(Value::String).collect();
        let mut after = before.clone();
        self.items(&mut after, Under::default());
        if after != before {
            *text = Value::Array(after).to_string();
        }
    }

    /// Lines that a shell reads as one.
    fn script(&mut self, text: &mut String) {
        let Some((joined, lines)) = scripts::joined(text).filter(|_| text.len() <= MAX_LINE) else { return };
        let of_line = |line: &std::ops::Range<usize>| {
            let moved = |mut span: Span| {
                span.at = span.at.start + line.start..span.at.end + line.start;
                span
            };
            self.by.spans(&joined[line.clone()], Rules::BuiltIn).into_iter().map(moved).collect::<Vec<Span>>()
        };
        let spans: Vec<Span> = lines.iter().flat_map(of_line).collect();
        if !spans.is_empty() {
            self.replace(text, spans);
        }
    }

    pub(super) fn mask(&mut self, text: &mut String, rule: &'static str) {
        mask(self.by, text, rule, self.tally);
    }
}

/// Whether the object itself is a Secret.
fn is_secret_kind(map: &Map<String, Value>) -> bool {
    matches!(map.get("kind").and_then(Value::as_str), Some("Secret" | "SecretList"))
}

/// Whether an inner object is a Secret with data; a reference to a Secret has none and stays.
fn carries_secret(map: &Map<String, Value>) -> bool {
    is_secret_kind(map) && ["data", "stringData", "items"].iter().any(|key| map.contains_key(*key))
}
