//! Times in the manifest: RFC 3339 in UTC, whole seconds.

use jiff::Timestamp;
use serde::Serializer;

pub(super) fn seconds<S: Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&format_args!("{at:.0}"))
}

#[expect(clippy::ref_option, reason = "serde's signature")]
pub(super) fn option_seconds<S: Serializer>(at: &Option<Timestamp>, to: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => seconds(at, to),
        None => to.serialize_none(),
    }
}
