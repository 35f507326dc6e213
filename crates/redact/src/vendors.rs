//! Tokens whose first letters show the vendor, as the vendors document them, and addresses that are secrets. The older
//! ones are in `shapes` under their own names.

use crate::shapes::{Shape, shape};

/// Each prefix with the minimum length of a real token, so that a word with the same beginning stays.
pub(super) const TOKEN: Shape = shape(
    "vendor-token",
    &[
        "sk-proj-",
        "sk-ant-",
        "sk-svcacct-",
        "sk_test_",
        "rk_test_",
        "whsec_",
        "SG.",
        "dop_v1_",
        "doo_v1_",
        "dor_v1_",
        "pypi-AgE",
        "hf_",
        "dckr_pat_",
        "dckr_oat_",
        "glptt-",
        "glrt-",
        "gldt-",
        "glcbt-",
        "glsoat-",
        "glagent-",
        "glc_",
        "glsa_",
        "dapi",
        "NRAK-",
        "shpat_",
        "shpss_",
        "sntrys_",
        "sntryu_",
        "PMAK-",
        "lin_api_",
        "dp.pt.",
        "pul-",
        ".atlasv1.",
        "hvr.",
        "AGE-SECRET-KEY-1",
        "ATATT3",
        "AKCp",
        "pscale_tkn_",
        "pscale_pw_",
        "sbp_",
        "rubygems_",
        "dt0c01.",
        "xapp-",
        "sha256~",
    ],
    concat!(
        r"\b(?:sk-(?:proj|ant|svcacct)-[A-Za-z0-9_-]{20,}|[sr]k_test_[A-Za-z0-9]{16,}|whsec_[A-Za-z0-9+/=]{24,}",
        r"|SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{32,}|do[opr]_v1_[a-f0-9]{64}|pypi-AgE[A-Za-z0-9_-]{50,}|hf_[A-Za-z]{34}",
        r"|dckr_[po]at_[A-Za-z0-9_-]{20,}|gl(?:ptt|rt|dt|cbt|soat|agent)-[A-Za-z0-9_-]{20,}|glc_[A-Za-z0-9+/=]{32,}",
        r"|glsa_[A-Za-z0-9]{32}_[A-Fa-f0-9]{8}|dapi[a-f0-9]{32}|NRAK-[A-Z0-9]{27}|shp(?:at|ss)_[a-fA-F0-9]{32}",
        r"|sntry[su]_[A-Za-z0-9+/=_-]{32,}|PMAK-[a-f0-9]{24}-[a-f0-9]{34}|lin_api_[A-Za-z0-9]{40}|dp\.pt\.[A-Za-z0-9]{40,}",
        r"|pul-[a-f0-9]{40}|[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_=-]{60,}|hvr\.[A-Za-z0-9_-]{20,}|AGE-SECRET-KEY-1[A-Z0-9]{58}",
        r"|ATATT3[A-Za-z0-9_=-]{60,}|AKCp[A-Za-z0-9]{60,}|pscale_(?:tkn|pw)_[A-Za-z0-9_.=-]{32,}|sbp_[a-f0-9]{40}",
        r"|rubygems_[a-f0-9]{48}|dt0c01\.[A-Z0-9]{24}\.[A-Z0-9]{64}|xapp-[0-9]-[A-Za-z0-9-]{20,}|sha256~[A-Za-z0-9_-]{43})",
    ),
);

/// Anyone with the address may post.
pub(super) const HOOK: Shape = shape(
    "webhook",
    &[
        "webhook.office.com",
        "/api/webhooks/",
        "\\/api\\/webhooks\\/",
        "api.telegram.org",
        "outlook.office",
        "events.pagerduty.com",
    ],
    concat!(
        r"webhook\.office\.com\\*/webhookb2\\*/([A-Za-z0-9@/\\-]{36,})",
        r"|discord(?:app)?\.com\\*/api\\*/webhooks\\*/[0-9]+\\*/([A-Za-z0-9_-]{20,})",
        r"|outlook\.office(?:365)?\.com\\*/webhook\\*/([A-Za-z0-9@/\\-]{36,})",
        r"|events\.(?:eu\.)?pagerduty\.com\\*/integration\\*/([A-Za-z0-9]{20,})",
        r"|api\.telegram\.org\\*/bot([0-9]{6,}:[A-Za-z0-9_-]{20,})",
    ),
);

/// A Ceph key: a header of fixed bytes and sixteen random ones.
pub(super) const CEPH: Shape =
    shape("ceph-key", &["==", "%3d%3d"], r"(?:^|[^A-Za-z0-9+/=-])(AQ[A-Za-z0-9+/]{36}(?:==|%3[Dd]%3[Dd]))");

/// `machine h login u password x`, on one line or with escaped line ends.
pub(super) const NETRC: Shape = shape(
    "netrc",
    &["login"],
    r"(?:\b|\\[nrt])login(?:\s|\\+[nrt])+[^\s\\]+(?:\s|\\+[nrt])+password(?:\s|\\+[nrt])+([^\s\x22'\\]+)",
);

/// `host:5432:database:user:x`
pub(super) const PGPASS: Shape = shape(
    "pgpass",
    &[":5432:", ":*:"],
    concat!(
        r"(?:^|[\s\x22'=n])(?:[A-Za-z0-9_-]*[G-Zg-z_.*/-][A-Za-z0-9_.*/-]*):(?:[0-9]{4,5}|\*):",
        r"(?:[A-Za-z_][A-Za-z0-9_.$-]*|\*):[A-Za-z_*][A-Za-z0-9_.$-]*:([^\s\x22'\\:]+)",
    ),
);

/// `the password is x`, `with password x`: only a word that no sentence contains, with a digit among letters and
/// without the marks of an object's name.
pub(super) const PROSE: Shape = Shape {
    id: "prose",
    hints: &["password ", "passphrase ", "passwd ", "secret key ", "access key "],
    pattern: concat!(
        r"(?i)(?:\b|\\[nrt])(?:password|passphrase|passwd|secret key|access key)[ ]+",
        r"(?:(?:is|was|to|is now|(?:(?:is|was|has been)[ ]+)?(?:set|changed|reset)[ ]+to)[ ]+)?\\*[\x22'`]?",
        r"([^\s\x22'`\\,;<>()\[\]{}=:/]{8,})",
    ),
    check: is_no_word,
    scan: None,
};

fn is_no_word(value: &[u8]) -> bool {
    let value = value.strip_suffix(b".").unwrap_or(value);
    let mixed = value.iter().any(u8::is_ascii_digit) && value.iter().any(u8::is_ascii_alphabetic);
    let of_name = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.' | b'_');
    let is_name = value.iter().all(of_name) && value.iter().any(u8::is_ascii_punctuation);
    let constant = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_';
    mixed && !is_name && !value.iter().all(constant) && value.len() >= 8
}
