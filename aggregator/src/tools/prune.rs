//! Removing old backups, and the contents that no backup needs any more.
//!
//! Contents are shared, so one is removed only when no list that is left names it. A backup that is under way
//! has no list yet: while there is one nothing is removed, and none begins while contents are being removed.
//! Both sides first write a mark and then look for those of the others, so that one of them sees the other.
//! The one rule: when any list cannot be read, no content is removed.

use std::collections::HashSet;
use std::io::Write;

use super::Keep;
use super::backup::{LIST_ENDING, LISTS, name_at};
use super::destination::Destination;
use super::listing;
use crate::output::line;

const RUNNING: &str = ".running";
const PRUNING: &str = ".pruning";
/// A mark that is older is of a program that died.
const MARK_MAX_MS: i64 = 24 * 3_600_000;
/// The folder of contents.
const DATA: &str = "data";

/// Notes that a backup is under way; the mark is to be removed at its end.
///
/// # Errors
/// When old ones are being removed, or the mark cannot be written.
pub async fn begin(to: &Destination, name: &str, now_ms: i64) -> Result<String, String> {
    let mark = format!("{LISTS}/{name}{RUNNING}");
    to.put_text(&mark, String::new()).await?;
    match marked(to, PRUNING, now_ms).await?.first() {
        None => Ok(mark),
        Some(other) => {
            to.remove(&mark).await?;
            Err(format!(
                "old backups are being removed there ({LISTS}/{other}{PRUNING}); try again later"
            ))
        }
    }
}

/// Names under which there is a mark that counts.
async fn marked(to: &Destination, ending: &str, now_ms: i64) -> Result<Vec<String>, String> {
    let oldest = name_at(now_ms.saturating_sub(MARK_MAX_MS));
    let all = to.list(LISTS).await?;
    let names = all.iter().filter_map(|n| n.strip_suffix(ending));
    let names = names.filter(|name| **name > *oldest);
    Ok(names.map(str::to_owned).collect())
}

/// The backups that go, of names in the order of their times.
fn unwanted<'a>(names: &'a [String], keep: &Keep, now_ms: i64) -> &'a [String] {
    if keep.last.is_none() && keep.within.is_none() {
        return &[];
    }
    let n_last = keep.last.map_or(1, |n| n as usize);
    let of_count = names.len().saturating_sub(n_last);
    let of_time = keep.within.map_or(names.len(), |within| {
        let within_ms = i64::try_from(within.as_millis()).unwrap_or(i64::MAX);
        let oldest = name_at(now_ms.saturating_sub(within_ms));
        names.partition_point(|name| *name < oldest)
    });
    &names[..of_count.min(of_time)]
}

/// Removes what is not to be kept, and tells how much that was. `own` is the backup just made.
///
/// # Errors
/// When something cannot be read or removed; what is kept is whole.
pub async fn run(to: &Destination, keep: &Keep, own: &str, now_ms: i64) -> Result<(), String> {
    let all = to.list(LISTS).await?;
    let names = all.iter().filter_map(|n| n.strip_suffix(LIST_ENDING));
    let names: Vec<String> = names.map(str::to_owned).collect();
    let gone = unwanted(&names, keep, now_ms);
    if gone.is_empty() {
        return Ok(());
    }
    let mark = format!("{LISTS}/{own}{PRUNING}");
    to.put_text(&mark, String::new()).await?;
    let done = match marked(to, RUNNING, now_ms).await?.first() {
        Some(other) => {
            line(format_args!(
                "old backups stay: another one is under way ({LISTS}/{other}{RUNNING})"
            ));
            Ok(())
        }
        None => remove(to, gone, &names[gone.len()..]).await,
    };
    to.remove(&mark).await?;
    done
}

async fn remove(to: &Destination, gone: &[String], kept: &[String]) -> Result<(), String> {
    let mut needed = HashSet::new();
    for name in kept {
        let (key, mut text) = (format!("{LISTS}/{name}{LIST_ENDING}"), Vec::new());
        to.get(&key, |piece| text.write_all(piece)).await?;
        let files = listing::decode(&String::from_utf8_lossy(&text))
            .map_err(|e| format!("nothing was removed: backup {name}: {e}"))?;
        needed.extend(files.iter().map(listing::Listed::key));
    }
    // Lists first: a backup whose contents go must not be found any more.
    for name in gone {
        to.remove(&format!("{LISTS}/{name}{LIST_ENDING}")).await?;
    }
    let mut n_contents = 0;
    for content in to.list(DATA).await? {
        let key = format!("{DATA}/{content}");
        if !needed.contains(&key) {
            to.remove(&key).await?;
            n_contents += 1;
        }
    }
    line(format_args!(
        "{} older backups removed, and {n_contents} files that only they had",
        gone.len()
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    #[test]
    fn what_either_rule_keeps_stays_and_the_newest_always() {
        let now_ms = 1_700_000_000_000;
        let names: Vec<String> = (0..5)
            .map(|h| name_at(now_ms - (4 - h) * HOUR_MS))
            .collect();
        let n_gone = |last: Option<u32>, hours: Option<u64>| {
            let within = hours.map(|h| Duration::from_secs(h * 3600));
            unwanted(&names, &Keep { last, within }, now_ms).len()
        };
        for (last, hours, expected) in [
            (None, None, 0),
            (Some(2), None, 3),
            (Some(9), None, 0),
            (None, Some(2), 2),
            (None, Some(0), 4),
            (Some(1), Some(3), 1),
            (Some(4), Some(0), 1),
        ] {
            assert_eq!(n_gone(last, hours), expected, "{last:?} {hours:?}");
        }
    }

    #[tokio::test]
    async fn contents_go_with_the_last_list_that_names_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let to = Destination::Folder(folder.path().to_owned());
        let now_ms = 1_700_000_000_000;
        let listed = |hash: char| listing::Listed {
            hash: hash.to_string().repeat(32),
            bytes: 1,
            name: format!("parts/{hash}.logs"),
        };
        for (hours, hashes) in [(3, "ab"), (2, "bc"), (1, "cd")] {
            let files: Vec<_> = hashes.chars().map(listed).collect();
            for file in &files {
                to.put_text(&file.key(), "x".into()).await.expect("written");
            }
            let key = format!("{LISTS}/{}{LIST_ENDING}", name_at(now_ms - hours * HOUR_MS));
            to.put_text(&key, listing::encode(&files))
                .await
                .expect("written");
        }
        let keep = Keep {
            last: Some(2),
            within: None,
        };
        // While another one is under way nothing goes.
        let other = begin(&to, &name_at(now_ms - 1), now_ms)
            .await
            .expect("begun");
        run(&to, &keep, &name_at(now_ms), now_ms)
            .await
            .expect("told");
        assert_eq!(to.list(DATA).await.expect("listed").len(), 4);
        to.remove(&other).await.expect("removed");
        // A program that died a day ago holds nobody up.
        let dead = begin(&to, &name_at(now_ms - 2 * MARK_MAX_MS), now_ms).await;
        dead.expect("begun");
        run(&to, &keep, &name_at(now_ms), now_ms)
            .await
            .expect("removed");
        let left = to.list(DATA).await.expect("listed");
        let first: String = left.iter().map(|n| &n[..1]).collect();
        assert_eq!(first, "bcd");
        // None begins while contents are removed.
        let mark = format!("{LISTS}/{}{PRUNING}", name_at(now_ms));
        to.put_text(&mark, String::new()).await.expect("written");
        let refused = begin(&to, &name_at(now_ms + 1), now_ms).await.unwrap_err();
        assert!(refused.contains("try again later"), "{refused}");
        to.remove(&mark).await.expect("removed");
        // A list that cannot be read keeps everything.
        let newest = format!("{LISTS}/{}{LIST_ENDING}", name_at(now_ms));
        to.put_text(&newest, "no list".into())
            .await
            .expect("written");
        let error = run(&to, &keep, &name_at(now_ms), now_ms).await.unwrap_err();
        assert!(error.contains("nothing was removed"), "{error}");
        assert_eq!(to.list(DATA).await.expect("listed").len(), 3);
    }
}
