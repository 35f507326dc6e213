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
    run::{Engine, LocationsFound, OpenStore},
    store::{Deletion, Folder, InstallationId, ListedBundle, Store, StoreError},
    sweep::{in_time, lists, verdict},
};

/// The value of `--installation` for bundles of operator versions without installation ids.
const NONE: &str = "none";
/// Most pages that are read for a hint.
const HINT_PAGES: usize = 20;

/// A location with the bundles that the command is about.
struct LocationBundles<'a> {
    location: &'a Location,
    open: OpenStore,
    folder: Folder,
    bundles: Vec<ListedBundle>,
    /// Whether bundles of other installations were seen that the command is not about.
    has_strangers: bool,
}

/// Lists, and with `--delete` removes.
pub(crate) async fn run(args: &Prune, namespace: &str, client: Client, out: &mut impl Write) -> Result<Exit, CliError> {
    let engine = engine::of_user(client.clone(), namespace);
    let failed = |fault: Fault| CliError::failed(fault.to_string());
    engine.read_installation().await.map_err(failed)?;
    let own = engine.installation().map_err(failed)?.clone();
    let LocationsFound { all: locations, unusable, server } = engine.locations().await.map_err(failed)?;
    let is_wanted = |location: &str| args.storage_location.as_ref().is_none_or(|name| name == location);
    let mut wanted: Vec<&Location> = locations.iter().filter(|location| is_wanted(&location.name)).collect();
    let unusable: Vec<_> = unusable.into_iter().filter(|(name, _)| is_wanted(name)).collect();
    // Of two locations on one store, the bundles are counted for one from which they can be removed.
    wanted.sort_by_key(|location| location.access == AccessMode::ReadOnly);
    if let (Some(name), [], []) = (&args.storage_location, &wanted[..], &unusable[..]) {
        return Err(CliError::new(Exit::NotFound, format!("there is no BackupStorageLocation {name}")));
    }
    let mut all = Vec::new();
    let mut failures = unusable;
    for location in wanted {
        match read(args, &own, location, &engine, server.as_ref()).await {
            Ok(read) => all.push(read),
            Err(fault) => failures.push((location.name.clone(), fault)),
        }
    }
    for (location, fault) in &failures {
        let sentence = format!("location {location} could not be listed: {fault}");
        eprintln!("{}", escape_for_terminal(&sentence));
    }
    let unlisted: Vec<&str> = failures.iter().map(|(location, _)| location.as_str()).collect();
    let exit = if unlisted.is_empty() { Exit::Done } else { Exit::Unlisted };
    // DebugBundles are listed after the objects: an object without a DebugBundle now will never have one again.
    let living = lists::living(&client, namespace).await;
    let living =
        living.or_else(|error| if is_gone(&error) { Ok(BTreeSet::new()) } else { Err(CliError::from(error)) })?;
    let is_any_stored = all.iter().any(|one| !one.bundles.is_empty());
    let text = if args.all_installations {
        summary(&all, &own, &living)
    } else {
        let mut seen = BTreeSet::new();
        for one in &mut all {
            one.bundles = verdict::orphans(std::mem::take(&mut one.bundles), &living);
            one.bundles.retain(|bundle| seen.insert((store_of(one.location), bundle.key.as_str().to_owned())));
        }
        table(&all)
    };
    out.write_all(text.as_bytes()).map_err(CliError::stdout)?;
    for sentence in sentences(args, &all, &unlisted, is_any_stored) {
        eprintln!("{}", escape_for_terminal(&sentence));
    }
    if args.delete {
        return Ok(if delete(all, out).await? { exit } else { Exit::Failed });
    }
    Ok(exit)
}

/// What tells the stores of two locations apart: provider, bucket, and the setting that names the server or account.
fn store_of(location: &Location) -> [Option<&str>; 3] {
    [Some(&location.provider), Some(&location.bucket), location.server()]
}

/// What the table does not say. `is_any_stored`: bundles were found, with or without DebugBundles.
fn sentences(args: &Prune, all: &[LocationBundles<'_>], unlisted: &[&str], is_any_stored: bool) -> Vec<String> {
    let mut sentences = Vec::new();
    let names = |names: &[&str]| names.join(", ");
    let found = all.iter().any(|one| !one.bundles.is_empty());
    let whose = match args.installation.as_deref() {
        None => "this installation".to_owned(),
        Some(NONE) => "operator versions without installation ids".to_owned(),
        Some(id) => format!("installation {id}"),
    };
    if all.is_empty() && unlisted.is_empty() {
        sentences.push("There is no BackupStorageLocation, so nothing was listed.".to_owned());
    } else if !unlisted.is_empty() {
        sentences.push(format!("Which bundles are in {} is not known.", names(unlisted)));
    } else if !found && !args.all_installations {
        let place = args.storage_location.as_ref().map(|name| format!(" in location {name}")).unwrap_or_default();
        sentences.push(if is_any_stored {
            format!("Each stored bundle of {whose}{place} belongs to a DebugBundle.")
        } else {
            format!("No bundle of {whose} is stored{place}.")
        });
    }
    let strangers: Vec<&str> =
        all.iter().filter(|one| one.has_strangers).map(|one| one.location.name.as_str()).collect();
    if !strangers.is_empty() {
        sentences.push(format!(
            "Bundles of other installations are in {} as well; --all-installations counts them.",
            names(&strangers)
        ));
    }
    if found && !args.delete && !args.all_installations {
        sentences.push("Nothing was removed; add --delete to remove these bundles.".to_owned());
    }
    sentences
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
    let listing = lists::bundles(&*open.store, &folder).await;
    let mut bundles = listing.map_err(|error| Fault::terminal(error.reason(), open.mask(&error.message())))?.bundles;
    if earlier {
        bundles.retain(|bundle| folder.installation(&bundle.key).is_none());
    }
    let is_about_own = args.installation.is_none() && !args.all_installations;
    let has_strangers = is_about_own && strangers(&*open.store, location, own).await;
    Ok(LocationBundles { location, open, folder, bundles, has_strangers })
}

/// Whether bundles of other installations are below the location's prefix: only for a hint, so a failure is none, and
/// not every page is read.
async fn strangers(store: &dyn Store, location: &Location, own: &InstallationId) -> bool {
    let Ok(folder) = Folder::of_all(&location.prefix) else { return false };
    let mut from = None;
    for _ in 0..HINT_PAGES {
        let Ok(page) = in_time(store.list(&folder, from)).await else { return false };
        if page.bundles.iter().any(|bundle| folder.installation(&bundle.key) != Some(own.as_str())) {
            return true;
        }
        from = page.next;
        if from.is_none() {
            return false;
        }
    }
    false
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
