//! The names of PCI vendors, devices and classes, of the file pci.ids that distributions carry.

use std::collections::HashMap;

/// Where distributions put it.
const PATHS: [&str; 2] = ["/usr/share/misc/pci.ids", "/usr/share/hwdata/pci.ids"];

/// Names by their ids: `8086`, `8086:1521`, `8086:1521:8086:00a3`, and `C 0200` for classes.
#[derive(Debug, Default)]
pub(super) struct PciIds {
    names: HashMap<String, String>,
}

impl PciIds {
    /// Of this file, or of the usual ones when the path is empty. Without a file every name is its id.
    pub(super) fn load(path: &str) -> Self {
        let paths: &[&str] = if path.is_empty() { &PATHS } else { &[path] };
        let bytes = paths.iter().find_map(|path| std::fs::read(path).ok());
        Self::parse(&String::from_utf8_lossy(&bytes.unwrap_or_default()))
    }

    /// Tabs before a line say how deep it is below the vendor or class.
    fn parse(text: &str) -> Self {
        let mut ids = Self::default();
        let mut above = [const { String::new() }; 3];
        let mut is_class = false;
        for line in text
            .lines()
            .filter(|l| !l.is_empty() && !l.starts_with('#'))
        {
            let rest = line.trim_start_matches('\t');
            let depth = line.len() - rest.len();
            let Some((id, name)) = rest.split_once("  ").filter(|_| depth < above.len()) else {
                continue;
            };
            if depth == 0 {
                is_class = id.starts_with("C ");
            }
            let key = match (depth, is_class) {
                (0, _) => id.to_owned(),
                (_, true) => format!("{}{id}", above[depth - 1]),
                // A subsystem has two ids of its own.
                (_, false) => format!("{}:{}", above[depth - 1], id.replace(' ', ":")),
            };
            ids.names.insert(key.clone(), name.trim().to_owned());
            above[depth] = key;
        }
        ids
    }

    pub(super) fn vendor<'a>(&'a self, id: &'a str) -> &'a str {
        self.names.get(id).map_or(id, String::as_str)
    }

    pub(super) fn device<'a>(&'a self, vendor: &str, id: &'a str) -> &'a str {
        let name = self.names.get(&format!("{vendor}:{id}"));
        name.map_or(id, String::as_str)
    }

    /// Vendor and device, and the same of the subsystem.
    pub(super) fn subsystem<'a>(&'a self, ids: [&'a str; 4]) -> &'a str {
        let name = self.names.get(&ids.join(":"));
        name.map_or(ids[3], String::as_str)
    }

    /// Of six digits: the programming interface, else the subclass, else the class.
    pub(super) fn class(&self, id: &str) -> String {
        let name = [6, 4, 2].iter().find_map(|digits| {
            let prefix = id.get(..*digits)?;
            self.names.get(&format!("C {prefix}"))
        });
        name.cloned()
            .unwrap_or_else(|| format!("Unknown class ({id})"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_by_their_ids() {
        let ids = PciIds::parse(
            "# comment\n8086  Intel Corporation\n\t1521  I350 Gigabit\n\t\t8086 00a3  Ethernet I350\n\
             C 02  Network controller\n\t00  Ethernet controller\nC 01  Storage\n\t08  NVM\n\t\t02  NVM Express\n",
        );
        assert_eq!(ids.vendor("8086"), "Intel Corporation");
        assert_eq!(ids.vendor("1022"), "1022");
        assert_eq!(ids.device("8086", "1521"), "I350 Gigabit");
        assert_eq!(
            ids.subsystem(["8086", "1521", "8086", "00a3"]),
            "Ethernet I350"
        );
        assert_eq!(ids.subsystem(["8086", "1521", "8086", "ffff"]), "ffff");
        assert_eq!(ids.class("020000"), "Ethernet controller");
        assert_eq!(ids.class("010802"), "NVM Express");
        assert_eq!(ids.class("017700"), "Storage");
        assert_eq!(ids.class("ff0000"), "Unknown class (ff0000)");
    }
}
