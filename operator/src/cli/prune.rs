//! `prune`: lists stored bundles that belong to no DebugBundle, and removes them when asked to. It reads the stores as
//! the operator's sweep does, with the user's own right to get the locations' Secrets.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
};

use debugbundle_crd::Reason;
use debugbundle_format::text::{escape_for_terminal, human_bytes};
use kube::Client;

use super::{
    args::Prune,
    display, engine,
    exit::{CliError, Exit},
};
use crate::{
    error::Fault,
    location::{AccessMode, Location},
    run::{Engine, OpenStore},
    store::{Deletion, Folder, InstallationId, ListedBundle, Store as _, StoreError},
    sweep::{in_time, lists, verdict},
};

/// The value of `--installation` for bundles of operator versions without installation ids.
const NONE: &str = "none";

/// A location with the bundles that the command is about.
struct LocationBundles<'a> {
    location: &'a Location,
    open: OpenStore,
    folder: Folder,
    bundles: Vec<ListedBundle>,
}

/// Lists, and with `--delete` removes.
pub(crate) async fn run(args: &Prune, namespace: &str, client: Client, out: &mut impl Write) -> Result<Exit, CliError> {
    let engine = engine::of_user(client.clone(), namespace);
    let failed = |fault: Fault| CliError::failed(fault.to_string());
    engine.read_installation().await.map_err(failed)?;
    let own = engine.installation().map_err(failed)?.clone();
    let (locations, server) = engine.locations().await.map_err(failed)?;
    let wanted: Vec<&Location> = locations
        .iter()
        .filter(|location| args.storage_location.as_ref().is_none_or(|name| *name == location.name))
        .collect();
    if let (Some(name), []) = (&args.storage_location, &wanted[..]) {
        return Err(CliError::new(Exit::NotFound, format!("there is no BackupStorageLocation {name}")));
    }
    let mut exit = Exit::Done;
    let mut all = Vec::new();
    for location in wanted {
        match read(args, &own, location, &engine, server.as_ref()).await {
            Ok(read) => all.push(read),
            Err(fault) => {
                eprintln!("{}", escape_for_terminal(&format!("location {}: {fault}", location.name)));
                // The operator stores nothing in a location that it cannot use at all.
                if fault.reason() != Reason::LocationInvalid {
                    exit = Exit::Failed;
                }
            }
        }
    }
    // DebugBundles are listed after the objects: an object without a DebugBundle now will never have one again.
    let living = lists::living(&client, namespace).await;
    let living =
        living.or_else(|error| if is_gone(&error) { Ok(BTreeSet::new()) } else { Err(CliError::from(error)) })?;
    let text = if args.all_installations {
        summary(&all, &own, &living)
    } else {
        for one in &mut all {
            one.bundles = verdict::orphans(std::mem::take(&mut one.bundles), &living);
        }
        table(&all)
    };
    out.write_all(text.as_bytes()).map_err(CliError::stdout)?;
    if args.delete {
        return Ok(if delete(all, out).await? { exit } else { Exit::Failed });
    }
    if !args.all_installations && !text.is_empty() {
        eprintln!("Nothing was removed; add --delete to remove these bundles.");
    }
    Ok(exit)
}

/// Whether the API server does not serve DebugBundles: without their definition none exists.
fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_not_found())
}

/// Lists the bundles of one location that the command is about.
async fn read<'a>(
    args: &Prune,
    own: &InstallationId,
    location: &'a Location,
    engine: &Engine,
    server: Option<&serde_json::Value>,
) -> Result<LocationBundles<'a>, Fault> {
    let invalid = |error: crate::store::KeyError| Fault::terminal(Reason::LocationInvalid, error.to_string());
    let earlier = args.installation.as_deref() == Some(NONE);
    let folder = match &args.installation {
        Some(id) if !earlier => InstallationId::new(id).and_then(|id| Folder::of(&location.prefix, &id)),
        None if !args.all_installations => Folder::of(&location.prefix, own),
        _ => Folder::of_all(&location.prefix),
    };
    let folder = folder.map_err(invalid)?;
    let open = engine.open_store(location, server).await?;
    let listing = lists::bundles(&open.store, &folder).await;
    let mut bundles = listing.map_err(|error| Fault::terminal(error.reason(), open.mask(&error.message())))?.bundles;
    if earlier {
        bundles.retain(|bundle| folder.installation(&bundle.key).is_none());
    }
    Ok(LocationBundles { location, open, folder, bundles })
}

/// A line for each bundle without a DebugBundle.
fn table(all: &[LocationBundles<'_>]) -> String {
    let rows: Vec<Vec<String>> = all
        .iter()
        .flat_map(|one| {
            one.bundles.iter().map(|bundle| {
                let stored = bundle.modified.round(jiff::Unit::Second).unwrap_or(bundle.modified);
                [&one.location.name, &stored.to_string(), &human_bytes(bundle.bytes), bundle.key.as_str()]
                    .map(escape_for_terminal)
                    .map(|cell| cell.to_string())
                    .to_vec()
            })
        })
        .collect();
    if rows.is_empty() {
        eprintln!("Each stored bundle belongs to a DebugBundle.");
        return String::new();
    }
    display::table(["LOCATION", "STORED", "SIZE", "KEY"].map(str::to_owned).to_vec(), rows.into_iter())
}

/// A line for each installation. Which DebugBundles of other installations exist is unknown here.
fn summary(all: &[LocationBundles<'_>], own: &InstallationId, living: &BTreeSet<String>) -> String {
    let mut groups: BTreeMap<(&str, Option<&str>), (u64, u64, u64)> = BTreeMap::new();
    for one in all {
        for bundle in &one.bundles {
            let group = groups.entry((&one.location.name, one.folder.installation(&bundle.key))).or_default();
            let lives = bundle.key.uid().is_some_and(|uid| living.contains(uid));
            *group = (group.0 + 1, group.1 + bundle.bytes, group.2 + u64::from(!lives));
        }
    }
    let rows = groups.into_iter().map(|((location, id), (count, bytes, orphans))| {
        let (name, orphans) = match id {
            Some(id) if id == own.as_str() => (format!("{id} (this one)"), orphans.to_string()),
            Some(id) => (id.to_owned(), "unknown".to_owned()),
            None => (NONE.to_owned(), orphans.to_string()),
        };
        [location, &name, &count.to_string(), &human_bytes(bytes), &orphans]
            .map(escape_for_terminal)
            .map(|cell| cell.to_string())
            .to_vec()
    });
    let head = ["LOCATION", "INSTALLATION", "BUNDLES", "SIZE", "WITHOUT DEBUGBUNDLE"];
    display::table(head.map(str::to_owned).to_vec(), rows)
}

/// Removes the bundles; returns whether all of them were removed.
async fn delete(all: Vec<LocationBundles<'_>>, out: &mut impl Write) -> Result<bool, CliError> {
    let (mut removed, mut hidden, mut left) = (0_usize, 0_usize, 0_usize);
    for LocationBundles { location, open, bundles, .. } in all {
        if location.access == AccessMode::ReadOnly && !bundles.is_empty() {
            eprintln!("location {} is ReadOnly: nothing was removed there", location.name);
            left += bundles.len();
            continue;
        }
        for bundle in bundles {
            match in_time(open.store.delete(&bundle.key)).await {
                Ok(done) => {
                    removed += 1;
                    hidden += usize::from(done == Deletion::Hidden);
                }
                Err(error) => {
                    left += 1;
                    eprintln!("{}", escape_for_terminal(&sentence(&open, &bundle, &error)));
                }
            }
        }
    }
    writeln!(out, "{removed} removed, {left} left").map_err(CliError::stdout)?;
    if hidden > 0 {
        writeln!(out, "The buckets keep versions: {hidden} of them are hidden, and their versions stay.")
            .map_err(CliError::stdout)?;
    }
    Ok(left == 0)
}

fn sentence(open: &OpenStore, bundle: &ListedBundle, error: &StoreError) -> String {
    format!("{} was not removed: {}", bundle.key, open.mask(&error.message()))
}
