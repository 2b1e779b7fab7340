//! The configurations that README and the pages of docs show, pasted as they are: the agent takes each of them.

use std::fs;
use std::path::Path;
use std::process::Command;

/// The fenced blocks of a page that are marked as this language, with the line that each begins on.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<(usize, &'a str)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(start) = page[at..].find("```") {
        let open = at + start + 3;
        let Some(end) = page[open..].find("```") else {
            break;
        };
        let block = &page[open..open + end];
        if let Some((marked, text)) = block.split_once('\n')
            && marked == language
        {
            found.push((page[..open].matches('\n').count() + 1, text));
        }
        at = open + end + 3;
    }
    found
}

#[test]
fn each_shown_configuration_is_taken() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = tempfile::tempdir().expect("a folder");
    let mutual = root.join("fixtures/tls/mutual/client.pem");
    // What lies on the reader's machine lies in this folder here.
    for (at, from) in [
        ("kansoku-auth/agent-token", None),
        ("kansoku-tls/ca.crt", Some(&mutual)),
        ("kansoku-tls/client.crt", Some(&mutual)),
        ("kansoku-tls/client.key", Some(&mutual)),
    ] {
        let path = folder.path().join(at);
        fs::create_dir_all(path.parent().expect("it lies in a folder"))
            .expect("the folder is ours");
        let bytes = from.map_or(b"token".to_vec(), |from| fs::read(from).expect("a fixture"));
        fs::write(path, bytes).expect("the folder is ours");
    }
    let mut pages = vec![root.join("README.md")];
    pages.extend(
        fs::read_dir(root.join("docs"))
            .expect("the pages")
            .map(|entry| entry.expect("the folder is readable").path())
            .filter(|path| path.extension().is_some_and(|end| end == "md")),
    );
    let mut shown = 0;
    for page in pages {
        let text = fs::read_to_string(&page).expect("a page");
        for (line, block) in blocks(&text, "ini") {
            shown += 1;
            let here = folder.path().display().to_string();
            let mut config = block
                .replace("/var/lib/kansoku", &here)
                .replace("/etc/kansoku", &format!("{here}/kansoku"));
            if !config.contains("[INPUT]") {
                config.push_str("\n[INPUT]\n    Name dummy\n");
            }
            let path = folder.path().join("agent.conf");
            fs::write(&path, &config).expect("the folder is ours");
            let out = Command::new(env!("CARGO_BIN_EXE_kansoku-agent"))
                .args(["--dry-run", "--strict", "-c"])
                .arg(&path)
                .env("KUBECONFIG", "/nonexistent")
                .output()
                .expect("the agent runs");
            let said = String::from_utf8_lossy(&out.stderr);
            assert!(
                out.status.success() && said == "configuration test is successful\n",
                "{}:{line}: {said}",
                page.display()
            );
        }
    }
    assert!(shown >= 2, "the blocks marked as ini were not found");
}
