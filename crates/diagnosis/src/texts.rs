//! Reads error texts of Velero, of the stores' clients and of logs: what wrappers add is taken off.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

/// Longest text that is quoted (bytes).
const QUOTED: usize = 400;

/// Words that say that something did not happen in time, or was interrupted, and not why.
const CONSEQUENCES: [&str; 6] = [
    "timeout on preparing",
    "timed out",
    "context canceled",
    "deadline exceeded",
    "during the server starting",
    "Pod is in abnormal state",
];

/// Whether an error only says that something did not happen in time, or was interrupted; of several errors in one text,
/// whether each does.
pub fn is_consequence(error: &str) -> bool {
    let members = members(error);
    !members.is_empty() && members.iter().all(|one| CONSEQUENCES.iter().any(|words| one.contains(words)))
}

/// The errors of a text: `[a, b]` and `a; b` are several (Kubernetes' `NewAggregate`, Go's `errors.Join` and Velero).
fn members(error: &str) -> Vec<&str> {
    let error = error.trim();
    let listed = error.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let (all, between) = listed.map_or((error, "; "), |all| (all, ", "));
    all.split(between).map(str::trim).filter(|one| !one.is_empty()).collect()
}

/// Resource, namespace and name of the item that a Restore could not create: `error restoring configmaps/shop/prices: …`
/// (`pkg/restore/restore.go`).
pub(crate) fn item(error: &str) -> Option<(&str, &str, &str)> {
    let (_, rest) = error.split_once("error restoring ")?;
    let mut parts = rest.split_once(": ")?.0.split('/');
    let found = (parts.next()?, parts.next()?, parts.next()?);
    (parts.next().is_none() && [found.0, found.1, found.2].into_iter().all(is_name)).then_some(found)
}

/// Whether this may be the name of an object: a DNS subdomain
/// (`https://kubernetes.io/docs/concepts/overview/working-with-objects/names/`).
pub(crate) fn is_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.len() <= 253
        && text.bytes().all(|byte| is_plain(byte) || byte == b'-' || byte == b'.')
        && text.bytes().next().is_some_and(is_plain)
        && text.bytes().last().is_some_and(is_plain)
}

/// What clients put around the words of another, and what remains of it. The decisive words come last, where a long line
/// is cut off.
static WRAPPERS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    [
        // gRPC's status codes (`google.golang.org/grpc/codes`). Unavailable stays whole: the plugin or driver itself ended.
        (r"rpc error: code = (?:Unknown|Internal) desc = ", ""),
        (
            concat!(
                r"rpc error: code = (Canceled|InvalidArgument|DeadlineExceeded|NotFound|AlreadyExists|PermissionDenied|",
                r"ResourceExhausted|FailedPrecondition|Aborted|OutOfRange|Unimplemented|DataLoss|Unauthenticated) desc = "
            ),
            "$1: ",
        ),
        // aws-sdk-go-v2 (`aws/transport/http/response_error.go`).
        (
            concat!(
                r"operation error \w+: \w+, (?:exceeded maximum number of attempts, \d+, )?https response error ",
                r"StatusCode: \d+, RequestID: [^,]*, (?:HostID: [^,]*, )?(?:api error )?"
            ),
            "",
        ),
        // azure-sdk-for-go (`sdk/azcore/internal/exported/response_error.go`): request, status, code and body.
        (
            concat!(
                r"(?s)(GET|HEAD|PUT|POST|DELETE) (https://\S+)\s+-{9,}\s+RESPONSE \d+: \d+ (.*?)\s+ERROR CODE: (\w+)\s+",
                r"-{9,}.*?(?:-{9,}\s*|$)"
            ),
            "$1 $2: $4: $3",
        ),
        // kube-apiserver (`apiserver/pkg/admission/plugin/webhook`).
        (r"Internal error occurred: (failed calling webhook)", "$1"),
        (r#"(failed calling webhook "[^"]*"): failed to call webhook: "#, "$1: "),
        // Velero: `pkg/backup/item_backupper.go`, `pkg/util/csi/volume_snapshot.go`.
        (r"error executing custom action \(groupResource=([^,)]+), namespace=, name=([^,)]+)\)", "$1 $2"),
        (r"error executing custom action \(groupResource=([^,)]+), namespace=([^,)]+), name=([^,)]+)\)", "$1 $2/$3"),
        (r"error getting VolumeSnapshotClass: (failed to get VolumeSnapshotClass)", "$1"),
    ]
    .into_iter()
    .filter_map(|(pattern, rest)| Some((Regex::new(pattern).ok()?, rest)))
    .collect()
});

/// The text without the [`WRAPPERS`], wherever they stand.
pub fn unwrapped(text: &str) -> String {
    let mut text = text.trim().to_owned();
    for (pattern, rest) in WRAPPERS.iter() {
        if let Cow::Owned(shorter) = pattern.replace_all(&text, *rest) {
            text = shorter;
        }
    }
    text
}

/// Turns `resource: /pods name: /p message: /Error backing up item error: /why` into a sentence, and takes off the
/// wrappers. `LogHook` in Velero's pkg/util/logging/log_counter_hook.go produces that form.
pub fn readable(text: &str) -> String {
    let text = text.trim();
    let Some((head, why)) = text.rsplit_once("error: /") else { return unwrapped(text) };
    let why = unwrapped(why);
    let part = |name: &str| {
        let after = head.split_once(&format!("{name}: /"))?.1;
        let end = [" name: /", " message: /"].iter().filter_map(|next| after.find(next)).min().unwrap_or(after.len());
        Some(after[..end].trim()).filter(|part| !part.is_empty())
    };
    match (part("resource"), part("name")) {
        (Some(resource), Some(name)) => format!("{resource} {name}: {why}"),
        (None, Some(name)) => format!("{name}: {why}"),
        _ => match part("message") {
            Some(message) => format!("{message}: {why}"),
            None => why,
        },
    }
}

/// The last words of a program, from the lines of its log: the last one that says that it ends, else the last error, else
/// the last line that is not in a logger's form.
#[derive(Clone, Debug, Default)]
pub struct LastWords {
    best: Option<(u8, String)>,
}

impl LastWords {
    /// The next line.
    pub fn line(&mut self, line: &str) {
        let line = unstamped(line.trim_end());
        let Some((rank, words)) = judged(line) else { return };
        if self.best.as_ref().is_none_or(|(best, _)| *best <= rank) {
            self.best = Some((rank, bounded(&words)));
        }
    }

    /// What was said; `None` if nothing was.
    pub fn said(self) -> Option<String> {
        self.best.map(|(_, words)| words)
    }

    /// The last words of a whole log.
    pub fn of(log: &str) -> Option<String> {
        let mut words = Self::default();
        log.lines().for_each(|line| words.line(line));
        words.said()
    }
}

fn bounded(text: &str) -> String {
    text.get(..text.floor_char_boundary(QUOTED)).unwrap_or(text).to_owned()
}

/// The line without the kubelet's time.
fn unstamped(line: &str) -> &str {
    match line.split_once(' ') {
        Some((first, rest)) if first.ends_with('Z') && first.parse::<jiff::Timestamp>().is_ok() => rest,
        _ => line,
    }
}

/// How final a line is, and its words.
fn judged(line: &str) -> Option<(u8, String)> {
    let level = |level: &str| match level {
        "panic" | "fatal" => Some(3),
        "error" => Some(2),
        _ => None,
    };
    let fields = Fields::of(line);
    if let Some(known) = fields.get("level") {
        return Some((level(known)?, fields.words()?));
    }
    let line = line.trim();
    // A goroutine's stack, and the signal above it, explain nothing to a reader of one line.
    if line.is_empty() || line.starts_with(['[', '{', '}']) || line.starts_with("goroutine ") {
        return None;
    }
    if ["panic: ", "fatal error: ", "An error occurred: ", "velero: error"].iter().any(|word| line.starts_with(word)) {
        return Some((3, line.to_owned()));
    }
    let is_stack = line.starts_with("created by ") || line.contains(".go:") || line.ends_with(')');
    (!is_stack).then(|| (1, line.to_owned()))
}

/// The fields of a line that logrus wrote, as text or as JSON.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fields(Vec<(String, String)>);

impl Fields {
    pub(crate) fn of(line: &str) -> Self {
        if line.starts_with('{')
            && let Ok(serde_json::Value::Object(all)) = serde_json::from_str(line)
        {
            let text = |value: serde_json::Value| match value {
                serde_json::Value::String(text) => text,
                other => other.to_string(),
            };
            return Self(all.into_iter().map(|(key, value)| (key, text(value))).collect());
        }
        let mut fields = Vec::new();
        let mut rest = line;
        while let Some((key, after)) = rest.split_once('=') {
            let key = key.trim();
            if key.is_empty() || key.contains(['"', ' ']) {
                break;
            }
            let (value, next) = value(after);
            fields.push((key.to_owned(), value));
            rest = next;
        }
        Self(fields)
    }

    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// The error of the line; JSON has it as `error.message`.
    pub(crate) fn error(&self) -> Option<&str> {
        self.get("error.message").or_else(|| self.get("error"))
    }

    /// Message and error.
    fn words(&self) -> Option<String> {
        match (self.get("msg"), self.error()) {
            (Some(message), Some(error)) => Some(format!("{message}: {error}")),
            (one, other) => one.or(other).map(str::to_owned),
        }
    }
}

/// A value in logrus' text form, unquoted, and the rest of the line.
fn value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, rest) = text.split_once(' ').unwrap_or((text, ""));
        return (value.to_owned(), rest.trim_start());
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return (value, quoted[at + 1..].trim_start()),
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, 't')) => value.push('\t'),
                Some((_, other)) => value.push(other),
                None => {}
            },
            other => value.push(other),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrappers_are_taken_off_and_other_texts_stay() {
        let azure = "rpc error: code = Unknown desc = GET https://a.blob.core.windows.net/velero\n-----------------\n\
                     RESPONSE 404: 404 The specified container does not exist.\nERROR CODE: ContainerNotFound\n\
                     -----------------\n<?xml version=\"1.0\"?><Error><Code>ContainerNotFound</Code></Error>\n\
                     -----------------\n";
        let texts = [
            (
                "rpc error: code = Unknown desc = operation error S3: ListObjectsV2, https response error StatusCode: 404, \
                 RequestID: 1, HostID: 2, NoSuchBucket: gone",
                "NoSuchBucket: gone",
            ),
            (
                "operation error S3: ListObjectsV2, get identity: get credentials: failed to refresh cached credentials, \
                 operation error STS: AssumeRoleWithWebIdentity, exceeded maximum number of attempts, 3, https response \
                 error StatusCode: 403, RequestID: 6f-1, api error AccessDenied: Not authorized",
                "operation error S3: ListObjectsV2, get identity: get credentials: failed to refresh cached credentials, \
                 AccessDenied: Not authorized",
            ),
            (
                azure,
                "GET https://a.blob.core.windows.net/velero: ContainerNotFound: The specified container does not exist.",
            ),
            (
                "failed to take snapshot of the volume v: \"rpc error: code = ResourceExhausted desc = the limit\"",
                "failed to take snapshot of the volume v: \"ResourceExhausted: the limit\"",
            ),
            (
                "rpc error: code = Unavailable desc = error reading from server: EOF",
                "rpc error: code = Unavailable desc = error reading from server: EOF",
            ),
            (
                "Internal error occurred: failed calling webhook \"w.example\": failed to call webhook: Post \"https://w\": EOF",
                "failed calling webhook \"w.example\": Post \"https://w\": EOF",
            ),
            (
                "error executing custom action (groupResource=persistentvolumes, namespace=, name=pv-1): why",
                "persistentvolumes pv-1: why",
            ),
            (
                "error executing custom action (groupResource=pods, namespace=shop, name=db-0): why",
                "pods shop/db-0: why",
            ),
            ("dial tcp: lookup x: no such host", "dial tcp: lookup x: no such host"),
        ];
        for (wrapped, plain) in texts {
            assert_eq!(unwrapped(wrapped), plain);
        }
        // Each pattern can be read.
        assert_eq!(WRAPPERS.len(), 9);
        assert_eq!(
            readable(" name: /db-0 message: /Error backing up item error: /rpc error: code = Internal desc = why"),
            "db-0: why"
        );
        assert_eq!(readable("boom"), "boom");
    }

    #[test]
    fn the_last_words_are_the_most_final_ones() {
        let of = |lines: &[&str]| LastWords::of(&lines.join("\n"));
        let error =
            "time=\"2026-03-01T12:00:00Z\" level=error msg=\"Data path failed\" error=\"disk \\\"a\\\" is full\" pod=x";
        assert_eq!(of(&[error, "plain"]).as_deref(), Some("Data path failed: disk \"a\" is full"));
        let stamped = format!("2026-03-01T12:00:00.5Z {error}");
        assert_eq!(of(&[&stamped]), of(&[error]));
        let json = "{\"level\":\"fatal\",\"msg\":\"cannot start\",\"error.message\":\"no route\"}";
        assert_eq!(of(&[json, error]).as_deref(), Some("cannot start: no route"));
        let stack =
            ["panic: nil map", "", "goroutine 1 [running]:", "main.main()", "\t/x/main.go:3 +0x1", "exit status 2"];
        assert_eq!(of(&stack).as_deref(), Some("panic: nil map"));
        assert_eq!(of(&["starting", "disk quota exceeded"]).as_deref(), Some("disk quota exceeded"));
        assert_eq!(of(&["time=\"x\" level=info msg=fine", "", "[signal SIGSEGV]"]), None);
    }

    #[test]
    fn several_errors_are_a_consequence_only_if_each_is() {
        for (error, expected) in [
            ("timed out waiting for the condition", true),
            ("[context canceled, timed out waiting for the condition]", true),
            ("[context canceled, pods \"m\" is forbidden: exceeded quota: q, requested: pods=1]", false),
            ("context deadline exceeded; disk is full", false),
            ("", false),
        ] {
            assert_eq!(is_consequence(error), expected, "{error}");
        }
    }
}
