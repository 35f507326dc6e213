//! More lines like those in `tried`: sentences of the kubelet and Velero that were masked, and values behind brackets,
//! schemes and flags that were not. Each stands next to a neighbour with the opposite result.

use super::{tried::*, *};

#[test]
fn sec_x55_sentences_behind_sensitive_words_survive() {
    stay(&[
        "MountVolume.SetUp failed for volume \"cloud-credentials\" : secret \"cloud-credentials\" not found",
        "MountVolume.SetUp failed for volume \"db-password\" : configmap \"x\" not found",
        "MountVolume.SetUp failed for volume \"db-password\" : references non-existent secret key: x",
        "MountVolume.MountDevice failed for volume \"api-token\" : kubernetes.io/csi: attacher failed",
        "UnmountVolume failed for volume \"db-password\" : driver name ebs.csi.aws.com not found",
        "error getting repository password: secrets \"velero-repo-credentials\" is forbidden",
        "error getting password: Secret \"velero-repo-credentials\" not found",
        "failed to get repository password: context deadline exceeded",
        "Enter password: mysqldump: Got error: 1045: Access denied",
    ]);
    go(&[
        "\"db-password\" : §",
        "\"db-password\": § x",
        "password: § \"x\"",
        "password: §: x",
        "error getting repository password: x§ is forbidden",
    ]);
}

#[test]
fn sec_x10_what_stands_in_brackets_behind_a_plain_key_goes() {
    go(&[
        "NodeStageVolume called with secrets: {\"userKey\":\"§\"} volume x",
        "NodeStageVolume called with secrets: {\"userID\":\"admin\",\"userKey\":\"§\"} volume x",
        "password: {\"value\":\"§\"}",
        "credentials: {\"user\":\"shop\",\"more\":{\"pass\":\"§\"}}",
        "password:<value:\"§\" >",
        "Secrets:map[string]string{\"a\":\"§\"}",
        "Secrets:map[string]string{\"a\":\"b\", \"userKey\":\"§\"}, Volume:x",
        "password=map[string]string{\"a\":\"§\"}",
        "password=map[string]interface {}{\"a\":\"§\"}",
    ]);
    stay(&[
        "credential: {\"name\":\"cloud-credentials\",\"key\":\"cloud\"} volume x",
        "Credential:map[string]string{\"name\":\"cloud-credentials\", \"key\":\"cloud\"}",
        "password: {\"secretKeyRef\":{\"name\":\"db-password-1\",\"key\":\"password-1\"}}",
        "token:<nil> auth:<name:\"shop\" >",
        "Labels:map[string]string{\"a\":\"b12345678\"}",
    ]);
    let by = redactor(&[], &[]);
    assert!(by.text("password: {\"value\":12345678}").starts_with("password: {\"value\":\"[REDACTED:"));
}

#[test]
fn sec_h11_any_scheme_of_authorization_is_one() {
    go(&[
        "Authorization: OAuth 1§",
        "Authorization: Splunk 1b4e28ba-2fa1-11d2-883f-§",
        "Authorization: GenieKey 1§",
        "curl -H 'Authorization: Key 1§' https://h.example/",
        "[\"--header\",\"Authorization: OAuth 1§\"]",
    ]);
    stay(&[
        "authorization: denied by policy of the cluster",
        "Authorization: failed after 12 attempts",
        "authorization: webhook returned 403",
    ]);
}

#[test]
fn sec_h10_the_user_of_a_url_may_be_an_address() {
    go(&[
        "GOVC_URL=https://u@vsphere.local:§@vc/sdk",
        "HTTPS_PROXY=u:§@proxy:3128",
        "https_proxy: \"u:§@proxy.example:3128\"",
        "{\"HTTP_PROXY\":\"u:§@proxy:3128\"}",
    ]);
    stay(&[
        "https://git@host.example:443/path/x@v1",
        "git+ssh://git@github.com:org/repo@v1",
        "HTTPS_PROXY=proxy.example:3128 NO_PROXY=10.0.0.0/8,a.example",
        "HTTPS_PROXY=http://proxy.example:3128/x:y@z",
        "https_proxy: not set",
    ]);
}

#[test]
fn sec_x55_what_others_masked_or_look_up_survives() {
    stay(&[
        "password: (hidden)",
        "password: [REDACTED]",
        "password=**REDACTED** x=1",
        "\"password\":\"[MASKED]\"",
        "password: xxxxx",
        "password: \"{{ .Values.password }}\"",
        "password: {{password}}",
        "password: \"{{ .Values.password | b64enc }}\"",
        "password: vault:secret/data/mysql#MYSQL_PASSWORD",
        "password: ref+vault://secret/mysql#/password",
        "password: ENC[AES256_GCM,data:a1b2c3d4e5,iv:a1b2]",
    ]);
    go(&[
        "password: x§",
        "password=**§**",
        "password: \"{{ .Values.password | default \\\"§\\\" }}\"",
        "password: \"{{§\"",
        "password: vault:§",
        "password: ref+echo://§",
        "password: ENC[§",
    ]);
}

#[test]
fn sec_x55_counts_algorithms_and_names_of_objects_survive() {
    stay(&[
        "first pass=1 second pass=2",
        "test: PASS=12 FAIL=1",
        "Credential:  cloud-credentials",
        "\"secret\"=\"velero/Cloud\"",
        "fromSecret: api-token-1",
        "auth: method=kubernetes",
        "api key id: 42",
        "signature: sha256-RSA-2048bits",
        "Signature: SHA256-RSA",
        "mongodump --db shop -priority 2",
    ]);
    go(&[
        "pass=123§",
        "Credential: x1§y2",
        "api key id: 1§",
        "auth: method=token token=a1§",
        "signature: sha256-12§x34y",
        "mongodump -p § --db shop",
        "mongodump -p=§",
        "mongodump -p1§",
        "mongodump -priority 2 -p '§ x'",
    ]);
}
