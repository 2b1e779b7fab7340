//! Which cgroups there are: the mounted trees, version 1, 2 or both, and a walk over them.
//!
//! In version 1 every controller has a tree of its own and a cgroup is the sum of its folders of the
//! same path. The rule: a walk ends below containers, at [`MAX_CGROUPS`] and at [`MAX_DEPTH`].

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::cgroup_identity::identify;

/// Cgroups that are read: a node has some 110 pods of a few containers and a hundred services.
pub const MAX_CGROUPS: usize = 4096;
/// Folders below one another; systemd's own deepest nesting is below ten.
const MAX_DEPTH: usize = 24;

/// Where each controller's tree is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trees {
    V1 {
        cpu: Option<PathBuf>,
        cpuacct: Option<PathBuf>,
        memory: Option<PathBuf>,
        blkio: Option<PathBuf>,
        pids: Option<PathBuf>,
        /// A version 2 tree beside them, without those controllers; it has pressure files.
        unified: Option<PathBuf>,
    },
    V2 {
        root: PathBuf,
    },
}

impl Trees {
    /// Looks at what is mounted below `root`, usually /sys/fs/cgroup.
    ///
    /// # Errors
    /// When there is no cgroup tree.
    pub fn find(root: &Path) -> anyhow::Result<Self> {
        if root.join("cgroup.controllers").exists() {
            return Ok(Self::V2 {
                root: root.to_owned(),
            });
        }
        let entries = std::fs::read_dir(root)
            .with_context(|| format!("failed to list cgroup trees in {}", root.display()))?;
        // `cpu,cpuacct` is one tree of two controllers; links to it carry their names.
        let mut names: Vec<String> = entries
            .flatten()
            .filter_map(|e| e.file_name().into_string().ok())
            .collect();
        names.sort();
        let tree = |controller: &str| {
            let has = |name: &&String| name.split(',').any(|c| c == controller);
            let folder = root.join(names.iter().find(has)?);
            folder.join("cgroup.procs").exists().then_some(folder)
        };
        let unified = root.join("unified");
        let trees = Self::V1 {
            cpu: tree("cpu"),
            cpuacct: tree("cpuacct"),
            memory: tree("memory"),
            blkio: tree("blkio"),
            pids: tree("pids"),
            unified: unified
                .join("cgroup.controllers")
                .exists()
                .then_some(unified),
        };
        anyhow::ensure!(
            !trees.walked().is_empty(),
            "no cgroup tree in {}: expected cgroup.controllers there, or folders cpu, memory, ...; set path.cgroup to where the host's /sys/fs/cgroup is mounted",
            root.display()
        );
        Ok(trees)
    }

    /// The paths of all cgroups, from `/` on, sorted.
    ///
    /// In version 1 whoever makes a cgroup makes it in the tree of memory too, with hardly an exception:
    /// the other trees are walked only when `is_full`, and the cgroups that they alone have are kept in
    /// `elsewhere` until they are walked again.
    #[must_use]
    pub fn walk(&self, is_full: bool, elsewhere: &mut BTreeSet<String>) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let [first, others @ ..] = &self.walked()[..] else {
            return found;
        };
        found.insert("/".to_owned());
        walk(first, "", 0, &mut found);
        if is_full {
            let mut all = found.clone();
            for root in others {
                walk(root, "", 0, &mut all);
            }
            *elsewhere = all.difference(&found).cloned().collect();
        }
        found.extend(elsewhere.iter().cloned());
        found
    }

    fn walked(&self) -> Vec<&PathBuf> {
        match self {
            Self::V2 { root } => vec![root],
            Self::V1 {
                cpu,
                cpuacct,
                memory,
                blkio,
                pids,
                ..
            } => [memory, cpu, cpuacct, blkio, pids]
                .into_iter()
                .flatten()
                .collect(),
        }
    }
}

fn walk(folder: &Path, path: &str, depth: usize, found: &mut BTreeSet<String>) {
    // The kernel counts a folder's subfolders as links, so most folders need not be listed.
    let n_links = std::fs::metadata(folder).map_or(0, |m| m.nlink());
    if n_links == 2 || depth >= MAX_DEPTH {
        return;
    }
    let Ok(entries) = std::fs::read_dir(folder) else {
        return; // removed meanwhile, or not for us
    };
    for entry in entries.flatten() {
        if !entry.file_type().is_ok_and(|t| t.is_dir()) {
            continue;
        }
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        if found.len() >= MAX_CGROUPS {
            return;
        }
        let path = format!("{path}/{name}");
        if identify(&path).container_id.is_none() {
            walk(&entry.path(), &path, depth + 1, found);
        }
        found.insert(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(paths: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a temporary folder");
        for path in paths {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().expect("below the folder")).expect("folders");
            std::fs::write(path, "").expect("a file");
        }
        dir
    }

    #[test]
    fn joined_controllers_and_hybrid_trees() {
        let dir = make(&[
            "cpu,cpuacct/cgroup.procs",
            "cpu,cpuacct/a/cgroup.procs",
            "memory/b/c/cgroup.procs",
            "memory/cgroup.procs",
            "cpuset/d/cgroup.procs",
            "unified/cgroup.controllers",
        ]);
        let trees = Trees::find(dir.path()).expect("trees are there");
        let at = |name: &str| Some(dir.path().join(name));
        assert_eq!(
            trees,
            Trees::V1 {
                cpu: at("cpu,cpuacct"),
                cpuacct: at("cpu,cpuacct"),
                memory: at("memory"),
                blkio: None,
                pids: None,
                unified: at("unified"),
            }
        );
        let mut elsewhere = BTreeSet::new();
        let mut walked =
            |is_full| -> Vec<String> { trees.walk(is_full, &mut elsewhere).into_iter().collect() };
        assert_eq!(walked(false), ["/", "/b", "/b/c"]);
        assert_eq!(walked(true), ["/", "/a", "/b", "/b/c"]);
        std::fs::remove_dir_all(dir.path().join("memory/b")).expect("removed");
        std::fs::remove_dir_all(dir.path().join("cpu,cpuacct/a")).expect("removed");
        assert_eq!(
            walked(false),
            ["/", "/a"],
            "the other trees are looked at later"
        );
        assert_eq!(walked(true), ["/"]);
    }

    #[test]
    fn a_walk_ends_at_containers() {
        let id = "8c1e95494ea7663abdf674fb02ba74658ac8f68aa78ed359b10a5429acfe31f2";
        let dir = make(&["cgroup.controllers", &format!("docker/{id}/inner/x")]);
        let trees = Trees::find(dir.path()).expect("a tree is there");
        let all: Vec<_> = trees.walk(true, &mut BTreeSet::new()).into_iter().collect();
        assert_eq!(all, ["/", "/docker", &format!("/docker/{id}")]);
    }

    #[test]
    fn no_tree_is_an_error_with_its_cure() {
        let dir = make(&["x/y"]);
        let error = Trees::find(dir.path())
            .expect_err("nothing there")
            .to_string();
        assert!(error.contains("set path.cgroup"), "{error}");
        assert!(Trees::find(Path::new("/no/such/folder")).is_err());
    }
}
