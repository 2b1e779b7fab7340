//! Which cgroups there are: the mounted trees, version 1, 2 or both, and a walk over them.
//!
//! In version 1 every controller has a tree of its own and a cgroup is the sum of its folders of the
//! same path. The rule: a walk ends below containers, at [`MAX_CGROUPS`] and at [`MAX_DEPTH`].
//!
//! To list a folder of version 1 the kernel goes through its sixty files. It counts subfolders as links,
//! so a folder with as many as before is not listed again, until whoever reads the cgroups misses one:
//! then one container may have taken the place of another.

use std::collections::{BTreeSet, HashMap};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::cgroup_identity::{container_id, identify};

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

/// Walks over the trees, and what the last one has found.
#[derive(Debug, Default)]
pub struct Walker {
    first_tree: Tree,
    /// Cgroups that only the other trees have.
    elsewhere: BTreeSet<String>,
}

/// The names of subfolders that need not be looked up.
type KnownNames<'a> = dyn Fn(&str, u64) -> Option<Vec<String>> + 'a;

/// What a walk has found in one tree.
#[derive(Debug, Default)]
struct Tree {
    cgroups: BTreeSet<String>,
    /// Links of the folders with subfolders, by the cgroup's path.
    links: HashMap<String, u64>,
}

impl Walker {
    /// The paths of all cgroups, from `/` on, sorted.
    ///
    /// In version 1 whoever makes a cgroup makes it in the tree of memory too, with hardly an exception:
    /// the other trees are walked only when `is_full`, and the cgroups that they alone have are kept
    /// until they are walked again.
    pub fn walk(&mut self, trees: &Trees, is_full: bool) -> BTreeSet<String> {
        let [first, others @ ..] = &trees.walked()[..] else {
            return BTreeSet::new();
        };
        let last = std::mem::take(&mut self.first_tree);
        let tree = &mut self.first_tree;
        tree.cgroups.insert("/".to_owned());
        tree.walk(first, "", 0, &|path, n_links| last.names(path, n_links));
        if is_full {
            let mut all = Tree::default();
            // As many containers of a pod as in the first tree are the same ones.
            let of_pod = |path: &str, n_links| {
                let names = || tree.names(path, n_links);
                identify(path).pod_uid.is_some().then(names).flatten()
            };
            for root in others {
                all.walk(root, "", 0, &of_pod);
            }
            let others = all.cgroups.difference(&tree.cgroups);
            self.elsewhere = others.cloned().collect();
        }
        tree.cgroups.union(&self.elsewhere).cloned().collect()
    }

    /// Lists every folder at the next walk: a cgroup of the last one is not there any more.
    pub fn forget(&mut self) {
        self.first_tree.links.clear();
    }
}

impl Tree {
    /// Adds what is below a folder. What `known` gives for a path and a number of links is not listed.
    fn walk(&mut self, folder: &Path, path: &str, depth: usize, known: &KnownNames<'_>) {
        let n_links = std::fs::metadata(folder).map_or(0, |m| m.nlink());
        if n_links == 2 || depth >= MAX_DEPTH {
            return;
        }
        let names = match known(path, n_links) {
            Some(names) => names,
            None => subfolders(folder),
        };
        for name in names {
            if self.cgroups.len() >= MAX_CGROUPS {
                return;
            }
            let path = format!("{path}/{name}");
            if container_id(&name).is_none() {
                self.walk(&folder.join(&name), &path, depth + 1, known);
            }
            self.cgroups.insert(path);
        }
        self.links.insert(path.to_owned(), n_links);
    }

    /// The names below a cgroup, if it had as many subfolders; where a file system does not count them,
    /// nobody knows.
    fn names(&self, path: &str, n_links: u64) -> Option<Vec<String>> {
        if n_links < 2 || self.links.get(path) != Some(&n_links) {
            return None;
        }
        let path = format!("{path}/");
        let below = self.cgroups.range(path.clone()..);
        let names = below.map_while(|cgroup| cgroup.strip_prefix(&path));
        let own = names.filter(|name| !name.is_empty() && !name.contains('/'));
        Some(own.map(str::to_owned).collect())
    }
}

/// The folders in a folder; none when it was removed meanwhile or is not for us.
fn subfolders(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|t| t.is_dir()));
    folders
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
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
        let mut walker = Walker::default();
        let mut walked =
            |is_full| -> Vec<String> { walker.walk(&trees, is_full).into_iter().collect() };
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
        let all: Vec<_> = Walker::default().walk(&trees, true).into_iter().collect();
        assert_eq!(all, ["/", "/docker", &format!("/docker/{id}")]);
    }

    #[test]
    fn a_folder_is_listed_again_when_its_links_change_or_a_cgroup_is_missed() {
        let dir = make(&["cgroup.controllers", "a/x/f", "a-b/f", "a/y/z/f"]);
        let trees = Trees::find(dir.path()).expect("a tree is there");
        let mut walker = Walker::default();
        let mut walked = || walker.walk(&trees, false).into_iter().collect::<Vec<_>>();
        let all = ["/", "/a", "/a-b", "/a/x", "/a/y", "/a/y/z"];
        assert_eq!([walked(), walked()], [all, all]);
        std::fs::create_dir(dir.path().join("a/w")).expect("made");
        let all = ["/", "/a", "/a-b", "/a/w", "/a/x", "/a/y", "/a/y/z"];
        assert_eq!([walked(), walked()], [all, all]);
        // One goes and another one comes.
        std::fs::rename(dir.path().join("a/w"), dir.path().join("a/v")).expect("renamed");
        walker.forget();
        let all = ["/", "/a", "/a-b", "/a/v", "/a/x", "/a/y", "/a/y/z"];
        assert_eq!(
            walker.walk(&trees, false).into_iter().collect::<Vec<_>>(),
            all
        );
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
