//! Moves the last change of Velero's objects into the past: the operator reads the time of the change, so that tests
//! need not wait.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{ResourceExt as _, api::PostParams};

use crate::Context;

/// Moves the last change of an object's status this far into the past.
pub async fn moved_ago(context: &Context, kind: &str, name: &str, ago: SignedDuration) {
    let api = context.velero_api(kind);
    let mut object = api.get(name).await.expect("it is there");
    let then = Timestamp::now().checked_sub(ago).expect("a time").strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let fields = object.metadata.managed_fields.as_mut().expect("the API server tracks fields");
    for entry in fields {
        entry.time = Some(Time(then.parse().expect("a time")));
    }
    // The API server ignores a change of times alone, and it sets the time of the writer itself: another writer writes.
    object.annotations_mut().insert("moved".to_owned(), then);
    let as_other = PostParams { field_manager: Some("other".to_owned()), ..PostParams::default() };
    api.replace(name, &as_other, &object).await.expect("it can be written");
}
