//! stub
use super::Segment;
/// An entry: a segment and where it came from.
#[derive(Debug)]
pub struct Entry { /// body
    pub segment: Segment, /// origin
    pub source: Source, /// reading was cut short
    pub truncated: Option<Truncation>, /// when it was read, for mtime
    pub read_at: jiff::Timestamp, /// how long it took
    pub ms: u64 }
/// see bundle.md section 4 `entries[].source`; kind is List|Object|PodLog|Store|Discovery|Http|Generated
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Source { /// kind
    pub kind: SourceKind }
/// Kinds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub enum SourceKind { /// ours
    #[default] Generated, /// a list
    List, /// an object
    Object, /// a log
    PodLog, /// from the store
    Store, /// discovery
    Discovery, /// http
    Http }
/// see bundle.md `entries[].truncated`
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Truncation { /// why
    pub reason: TruncationReason }
/// Limit and Budget are as asked; the others count as errors
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub enum TruncationReason { /// as asked
    Limit, /// to fit
    Budget, /// cut
    Reset, /// no bytes for long
    Stalled, /// time over
    Deadline }
/// see bundle.md `missing[]`
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Missing { /// in words
    pub what: String, /// path it would have had
    pub path: String, /// code
    pub code: MissingCode, /// note or error
    pub severity: MissingSeverity, /// message, escaped, at most 512 bytes
    pub why: String, /// the permission, with Forbidden
    #[serde(skip_serializing_if = "Option::is_none")] pub need: Option<Need>, /// shipped rule id, with Forbidden
    #[serde(skip_serializing_if = "Option::is_none")] pub rule: Option<String>, /// what to do, ready to paste
    pub cure: String }
/// note or error
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MissingSeverity { /// no failure
    Note, /// failure
    Error }
/// A permission.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Need { /// verb
    pub verb: String, /// group
    pub group: String, /// resource
    pub resource: String, /// subresource
    #[serde(skip_serializing_if = "String::is_empty")] pub subresource: String, /// namespace, empty: cluster
    pub namespace: String }
/// The codes of bundle.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub enum MissingCode { /// as named
    NeverWritten, /// as named
    NotFound, /// as named
    NoPrevious, /// as named
    NotStarted, /// as named
    Empty, /// as named
    Gone, /// as named
    NotInstalled, /// as named
    NotAllowed, /// as named
    NotLooked, /// as named
    Forbidden, /// as named
    NodeUnreachable, /// as named
    BodyIsError, /// as named
    ApiError, /// as named
    Deadline, /// as named
    StoreUnreachable, /// as named
    StoreDenied, /// as named
    Corrupt, /// as named
    TooLarge, /// as named
    Withheld }
/// All but the entries' segments, which sealing knows: see bundle.md section 4.
#[derive(Debug, Clone, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ManifestHead { /// version
    pub schema_version: u32 }
