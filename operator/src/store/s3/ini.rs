//! Reads one profile of an AWS credentials file, by an allow-list of keys.
//! Keys that would make the operator run a program, open a file or call an endpoint are refused by name.

use debugbundle_redact::Secret;

use crate::location::{listed, shown};

/// Where Kubernetes projects the web identity token into a pod (EKS).
pub const PROJECTED_TOKEN: &str = "/var/run/secrets/eks.amazonaws.com/serviceaccount/token";

/// Larger files are refused.
const MOST_BYTES: usize = 64 * 1024;

/// The content of one profile.
#[derive(Clone, Debug)]
pub struct Profile {
    /// How to authenticate.
    pub identity: Identity,
    /// `region`, if set.
    pub region: Option<String>,
    /// Keys that have no meaning here and were ignored.
    pub ignored: Vec<String>,
}

/// How a profile authenticates.
#[derive(Clone, Debug)]
pub enum Identity {
    /// Keys.
    Keys {
        /// `aws_access_key_id`
        access_key_id: String,
        /// `aws_secret_access_key`
        secret_access_key: Secret,
        /// `aws_session_token`
        session_token: Option<Secret>,
    },
    /// A role assumed with the token that Kubernetes projects into the operator's own pod.
    WebIdentity {
        /// `role_arn`
        role_arn: String,
        /// `role_session_name`
        session_name: Option<String>,
    },
}

/// Reads the profile `name` of a credentials file. `source` says where the file came from, for messages.
///
/// # Errors
/// A sentence with names only, never a value.
pub fn profile(text: &str, name: &str, source: &str) -> Result<Profile, String> {
    if text.len() > MOST_BYTES {
        return Err(format!("{source} is not a credentials file: it has more than {MOST_BYTES} bytes"));
    }
    let mut pairs: Vec<(String, &str)> = Vec::new();
    let mut profiles: Vec<String> = Vec::new();
    let mut inside = false;
    let mut nested = false;
    for line in text.trim_start_matches('\u{feff}').lines() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        if let Some(section) = trimmed.strip_prefix('[') {
            let section = section.split_once(']').map_or(section, |(section, _)| section).trim();
            // The plugin reads the same file as credentials (`[x]`) and as config (`[profile x]`).
            let section =
                section.strip_prefix("profile").filter(|rest| rest.starts_with([' ', '\t'])).unwrap_or(section).trim();
            inside = section == name;
            nested = false;
            if !profiles.iter().any(|known| known == section) {
                profiles.push(section.to_owned());
            }
            continue;
        }
        let Some((key, value)) = trimmed.split_once('=') else {
            continue;
        };
        // Indented lines below a key without a value are that key's own settings (`s3 =`).
        if nested && line.starts_with([' ', '\t']) {
            continue;
        }
        let value = [" #", " ;", "\t#", "\t;"]
            .iter()
            .fold(value, |value, mark| value.split(mark).next().unwrap_or(value))
            .trim();
        nested = value.is_empty();
        if inside {
            pairs.push((key.trim().to_ascii_lowercase(), value));
        }
    }
    if profiles.is_empty() {
        return Err(format!("{source} is not a credentials file: it has no [profile] section"));
    }
    if !profiles.iter().any(|known| known == name) {
        return Err(format!("profile {} not found in {source} (profiles: {})", shown(name), listed(&profiles)));
    }
    read(&pairs, name, source)
}

fn read(pairs: &[(String, &str)], name: &str, source: &str) -> Result<Profile, String> {
    let place = || format!("profile {} in {source}", shown(name));
    let (mut id, mut secret, mut token) = (None, None, None);
    let (mut region, mut role, mut session, mut token_file) = (None, None, None, None);
    let mut ignored = Vec::new();
    for (key, value) in pairs {
        let slot = match key.as_str() {
            "aws_access_key_id" => &mut id,
            "aws_secret_access_key" => &mut secret,
            "aws_session_token" => &mut token,
            "region" => &mut region,
            "role_arn" => &mut role,
            "role_session_name" => &mut session,
            "web_identity_token_file" => &mut token_file,
            "credential_process" | "credential_source" | "source_profile" | "mfa_serial" => {
                return Err(format!("{}: \"{key}\" is not supported for safety", place()));
            }
            key if key.starts_with("sso_") => {
                return Err(format!("{}: {} is not supported for safety", place(), shown(key)));
            }
            _ => {
                ignored.push(key.clone());
                continue;
            }
        };
        *slot = (!value.is_empty()).then_some(*value);
    }
    let identity = match (id, secret, role, token_file) {
        (Some(id), Some(secret), None, _) => Identity::Keys {
            access_key_id: id.to_owned(),
            secret_access_key: Secret::new(secret),
            session_token: token.map(Secret::new),
        },
        (_, _, Some(role), Some(PROJECTED_TOKEN)) => {
            Identity::WebIdentity { role_arn: role.to_owned(), session_name: session.map(ToOwned::to_owned) }
        }
        (_, _, Some(_), Some(_)) => {
            return Err(format!("{}: \"web_identity_token_file\" must be {PROJECTED_TOKEN}", place()));
        }
        (_, _, Some(_), None) => {
            return Err(format!("{}: \"role_arn\" is supported only with \"web_identity_token_file\"", place()));
        }
        (None, ..) => return Err(format!("{} has no \"aws_access_key_id\"", place())),
        (_, None, ..) => return Err(format!("{} has no \"aws_secret_access_key\"", place())),
    };
    Ok(Profile { identity, region: region.map(ToOwned::to_owned), ignored })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "Secret bsl-keys/cloud";

    fn keys(text: &str, name: &str) -> (String, String, Option<String>) {
        match profile(text, name, SOURCE).expect("a usable profile").identity {
            Identity::Keys { access_key_id, secret_access_key, session_token } => (
                access_key_id,
                secret_access_key.expose().to_owned(),
                session_token.map(|token| token.expose().to_owned()),
            ),
            Identity::WebIdentity { .. } => panic!("no keys"),
        }
    }

    #[test]
    fn sec_c4_the_profile_that_was_asked_for_is_read() {
        let text = "\u{feff}# comment\r\n[default]\r\naws_access_key_id=AK1\r\naws_secret_access_key = a+b/c==\r\n\r\n[profile other]\nAWS_ACCESS_KEY_ID = AK2 # mine\naws_secret_access_key=s2\naws_session_token=t2\nregion=eu-west-1\ns3 =\n  addressing_style = path\noutput=json\n";
        assert_eq!(keys(text, "default"), ("AK1".to_owned(), "a+b/c==".to_owned(), None));
        assert_eq!(keys(text, "other"), ("AK2".to_owned(), "s2".to_owned(), Some("t2".to_owned())));
        let other = profile(text, "other", SOURCE).expect("usable");
        assert_eq!(other.region.as_deref(), Some("eu-west-1"));
        assert_eq!(other.ignored, ["s3", "output"]);
    }

    #[test]
    fn sec_c4_what_would_run_or_fetch_something_is_refused_by_name() {
        for key in
            ["credential_process", "credential_source", "source_profile", "mfa_serial", "sso_start_url", "sso_session"]
        {
            let text =
                format!("[default]\naws_access_key_id=AK\naws_secret_access_key=hunter2\n{key} = touch /tmp/x\n");
            let why = profile(&text, "default", SOURCE).expect_err(key);
            assert!(why.contains(&format!("\"{key}\" is not supported for safety")), "{why}");
            assert!(!why.contains("hunter2") && !why.contains("touch"), "{why}");
        }
    }

    #[test]
    fn sec_c4_another_profile_may_hold_what_is_refused_in_ours() {
        let text = "[ops]\ncredential_process=x\n[default]\naws_access_key_id=AK\naws_secret_access_key=s\n";
        assert_eq!(keys(text, "default").0, "AK");
    }

    #[test]
    fn sec_c8_messages_name_what_is_missing() {
        for (text, name, expected) in [
            ("", "default", "it has no [profile] section"),
            ("{\"type\": \"service_account\"}", "default", "it has no [profile] section"),
            ("[a]\n[b]\n", "default", "profile \"default\" not found in Secret bsl-keys/cloud (profiles: a, b)"),
            ("[default]\naws_access_key_id=AK\n", "default", "has no \"aws_secret_access_key\""),
            ("[default]\naws_secret_access_key=s\n", "default", "has no \"aws_access_key_id\""),
            ("[default]\nrole_arn=arn:aws:iam::1:role/x\n", "default", "only with \"web_identity_token_file\""),
            (
                "[default]\nrole_arn=arn:aws:iam::1:role/x\nweb_identity_token_file=/etc/shadow\n",
                "default",
                "must be /var/run/",
            ),
        ] {
            let why = profile(text, name, SOURCE).expect_err(text);
            assert!(why.contains(expected), "{text:?}: {why}");
        }
    }

    #[test]
    fn a_projected_token_makes_a_web_identity() {
        let text = format!("[default]\nrole_arn=arn:aws:iam::1:role/x\nweb_identity_token_file={PROJECTED_TOKEN}\n");
        let got = profile(&text, "default", SOURCE).expect("usable");
        assert!(matches!(got.identity, Identity::WebIdentity { role_arn, .. } if role_arn == "arn:aws:iam::1:role/x"));
    }

    #[test]
    fn sec_c1_debug_shows_no_secret() {
        let got = profile(
            "[default]\naws_access_key_id=AK\naws_secret_access_key=hunter2\naws_session_token=hunter3\n",
            "default",
            SOURCE,
        );
        assert!(!format!("{got:?}").contains("hunter"));
    }
}
