//! The shipped form of the permissions: roles in YAML, and the tables of the documentation.
//! Bindings, and the roles for people, are written by hand.

use std::fmt::Write as _;

use super::rules::{RULES, Role, Rule};

/// The command that rewrites the files.
pub const MEND: &str = "cargo rbac";
/// Where the documentation's tables are, from the repository's root.
pub const PAGE: &str = "docs/permissions.md";

const BY: &str = "# Written by `cargo rbac` from the table in operator/src/access/rules.rs; change it there.\n";
const WIDTH: usize = 118;

/// Path from the repository's root and text of each role's file.
pub fn role_files() -> [(String, String); 5] {
    Role::ALL.map(|role| (format!("deploy/rbac/{}.yaml", file_of(role)), yaml(role)))
}

const fn file_of(role: Role) -> &'static str {
    match role {
        Role::Operator => "role",
        Role::CauseTrail => "cause-trail",
        Role::NamespaceRead => "namespace-read",
        Role::NamespaceLogs => "namespace-logs",
        Role::Definition => "definition",
    }
}

const fn head(role: Role) -> &'static str {
    match role {
        Role::Operator => {
            "# What the operator may do in Velero's namespace. The ids (R1…) are those of docs/permissions.md.\n\
             # R7: an empty resourceNames would mean every Secret of the namespace; the list is never emptied.\n\
             # R17 names Velero's namespace: change it if that is not velero. The chart does so by itself.\n"
        }
        Role::CauseTrail => "# Cluster-scoped objects between a stuck volume and its cause. Read-only.\n",
        Role::NamespaceRead => {
            "# The environment of an application's stuck pod. Read-only; no Secrets, ConfigMaps or logs.\n\
             # Bound for the whole cluster by clusterrolebindings.yaml, or by a RoleBinding in each namespace that\n\
             # the operator may read.\n"
        }
        Role::NamespaceLogs => {
            "# The logs of applications: the most sensitive data that the operator can touch, so nothing here binds\n\
             # this role. Bind it by a RoleBinding in each namespace whose logs may go into bundles.\n"
        }
        Role::Definition => {
            "# The one definition that the operator looks at before it deletes a stored bundle: bundles of DebugBundles\n\
             # that went with their definition stay. Definitions lie in no namespace, so this is a ClusterRole.\n"
        }
    }
}

fn of(role: Role) -> impl Iterator<Item = &'static Rule> {
    RULES.iter().filter(move |rule| rule.role == role)
}

fn yaml(role: Role) -> String {
    let kind = if role == Role::Operator { "Role" } else { "ClusterRole" };
    let mut text = format!(
        "{}{BY}apiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}\nmetadata:\n  name: {}\nrules:\n",
        head(role),
        role.name()
    );
    for rule in of(role) {
        let group = if rule.group.is_empty() { r#""""# } else { rule.group };
        let _ = writeln!(text, "# {} {}\n- apiGroups: [{group}]", rule.id, rule.reason);
        text += &list("resources", rule.resources);
        if !rule.names.is_empty() {
            text += &list("resourceNames", rule.names);
        }
        text += &list("verbs", rule.verbs);
    }
    text
}

/// A YAML list on one line, or with one line per word if that would be too long.
fn list(key: &str, words: &[&str]) -> String {
    let short = format!("  {key}: [{}]\n", words.join(", "));
    if short.len() <= WIDTH {
        return short;
    }
    words.iter().fold(format!("  {key}:\n"), |text, word| text + "  - " + word + "\n")
}

/// Returns the text of the documentation page with both tables generated anew.
///
/// # Errors
/// The page lacks the markers of a table.
pub fn documented(page: &str) -> Result<String, String> {
    let page = between(page, "role", &table(|role| role == Role::Operator, false))?;
    between(&page, "beyond", &table(|role| role != Role::Operator, true))
}

fn between(page: &str, name: &str, table: &str) -> Result<String, String> {
    let (begin, end) = (format!("<!-- {name}: {MEND} -->\n"), format!("<!-- end of {name} -->"));
    let parts = page.split_once(&begin).and_then(|(before, rest)| Some((before, rest.split_once(&end)?.1)));
    let (before, after) = parts.ok_or_else(|| format!("{PAGE} has no {} … {end}", begin.trim_end()))?;
    Ok(format!("{before}{begin}{table}{end}{after}"))
}

fn table(wanted: impl Fn(Role) -> bool, with_role: bool) -> String {
    let (title, line) = if with_role { (" ClusterRole |", "---|") } else { ("", "") };
    let mut text = format!("| id |{title} API group | resources | verbs | why |\n|---|{line}---|---|---|---|\n");
    let mut last = None;
    for rule in RULES.iter().filter(|rule| wanted(rule.role)) {
        let role = match with_role {
            false => String::new(),
            true if last == Some(rule.role) => " |".to_owned(),
            true => format!(" `{}` |", rule.role.name()),
        };
        last = Some(rule.role);
        let group = if rule.group.is_empty() { "core" } else { rule.group };
        let named = if rule.names.is_empty() { "" } else { ", by name" };
        let _ = writeln!(
            text,
            "| {} |{role} {group} | {}{named} | {} | {} |",
            rule.id,
            rule.resources.join(", "),
            rule.verbs.join(" "),
            rule.reason
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        fs,
        path::{Path, PathBuf},
    };

    use serde_json::Value;

    use super::*;

    fn at(path: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
    }

    fn text(path: &str) -> String {
        fs::read_to_string(at(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    #[test]
    fn what_is_committed_is_what_the_table_says() {
        for (path, wanted) in role_files() {
            assert!(text(&path) == wanted, "{path} is not as the table of permissions; mend it with: {MEND}");
        }
        let page = text(PAGE);
        assert!(documented(&page).unwrap() == page, "{PAGE} is not as the table of permissions; mend it with: {MEND}");
    }

    #[test]
    fn the_yaml_read_back_grants_the_table_and_nothing_else() {
        type Right = [String; 4];
        let words = |value: &Value| -> Vec<String> {
            value.as_array().into_iter().flatten().map(|word| word.as_str().unwrap().to_owned()).collect()
        };
        for role in Role::ALL {
            let mut table = BTreeSet::<Right>::new();
            for rule in of(role) {
                for (resource, verb) in rule.resources.iter().flat_map(|r| rule.verbs.iter().map(move |v| (r, v))) {
                    table.insert([rule.group, resource, verb, &rule.names.join(" ")].map(str::to_owned));
                }
            }
            let read: Value = serde_saphyr::from_str(&yaml(role)).unwrap();
            assert_eq!(read["metadata"]["name"], role.name());
            let mut granted = BTreeSet::<Right>::new();
            for rule in read["rules"].as_array().unwrap() {
                let names = words(&rule["resourceNames"]).join(" ");
                let [group] = &words(&rule["apiGroups"])[..] else { panic!("one group: {rule}") };
                for resource in words(&rule["resources"]) {
                    for verb in words(&rule["verbs"]) {
                        granted.insert([group.clone(), resource.clone(), verb, names.clone()]);
                    }
                }
            }
            assert_eq!(granted, table, "{}", role.name());
        }
    }

    #[test]
    fn a_page_without_a_place_for_a_table_is_refused() {
        let error = documented("# Permissions\n").unwrap_err();
        assert!(error.contains("<!-- role: cargo rbac -->"), "{error}");
    }
}
