//! Completion as people meet it: the scripts in the shells that they are for, and kubectl asking the plugin.
//!
//! bash is everywhere; zsh and fish are installed by `make setup-test`, and a test without its shell fails and says so.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kansoku_tests::command_line::Given;

/// A folder with the script of a shell, and the programs under the names that they are called by.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new(shell: &str, script: &str) -> Self {
        let place = Self {
            folder: tempfile::tempdir().expect("a folder"),
        };
        let root = place.folder.path();
        let programs = root.join("bin");
        fs::create_dir(&programs).expect("the folder is ours");
        for name in ["kansoku", "kubectl-kansoku"] {
            symlink(kansoku_tests::binary("kansoku"), programs.join(name)).expect("linked");
        }
        let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let asked = programs.join("kubectl_complete-kansoku");
        fs::copy(tree.join("deploy/kubectl_complete-kansoku"), &asked).expect("copied");
        fs::set_permissions(asked, fs::Permissions::from_mode(0o755)).expect("ours");
        if !shell.is_empty() {
            let made = place.run(Command::new("kansoku").args(["completion", shell]));
            assert_eq!((made.code, made.err.as_str()), (Some(0), ""), "{made:?}");
            fs::write(root.join(script), made.out).expect("the folder is ours");
        }
        // A file whose name begins as a format does.
        fs::write(root.join("yours.conf"), "").expect("the folder is ours");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, command: &mut Command) -> Given {
        let own = self.path("bin");
        let others = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(own.clone()).chain(std::env::split_paths(&others));
        let program = own.join(command.get_program());
        let mut run = if program.exists() {
            Command::new(program)
        } else {
            Command::new(command.get_program())
        };
        run.args(command.get_args())
            .env("PATH", std::env::join_paths(folders).expect("a path"))
            .env("HOME", self.folder.path())
            .env_remove("KUBECONFIG")
            .env_remove("XDG_CONFIG_HOME")
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        Given::of(&mut run)
    }

    /// What a shell prints that runs `script`.
    fn shell(&self, program: &str, arguments: &[&str], script: &str) -> String {
        let found = Command::new(program).arg("--version").output();
        assert!(
            found.is_ok(),
            "{program} is missing: 'make setup-test' installs it"
        );
        let given = self.run(Command::new(program).args(arguments).arg(script));
        assert_eq!(given.code, Some(0), "{given:?}");
        given.out
    }
}

#[test]
fn bash_completes() {
    let place = Place::new("bash", "kansoku.bash");
    // What readline does at the tabulator key: the function that is registered, with the words so far.
    let script = r#"
        source ./kansoku.bash
        [[ $(complete -p kansoku) =~ -F\ ([^ ]+) ]] || exit 1
        while IFS= read -r COMP_LINE; do
            read -ra COMP_WORDS <<<"$COMP_LINE"
            [[ $COMP_LINE == *" " ]] && COMP_WORDS+=("")
            COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMP_POINT=${#COMP_LINE} COMPREPLY=()
            "${BASH_REMATCH[1]}" kansoku "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
            echo "$COMP_LINE|${COMPREPLY[*]}"
        done <./lines
    "#;
    let cases = [
        ("kansoku lo", "logs"),
        ("kansoku top po", "pods"),
        ("kansoku top pods --sort-by ", "cpu memory"),
        ("kansoku -o y", "yaml"),
        ("kansoku check st", "storage"),
        ("kansoku logs --max", "--max-log-requests"),
        ("kansoku completion z", "zsh"),
        ("kansoku --kubeconfig you", "yours.conf"),
        ("kansoku no", ""),
    ];
    let lines: String = cases.iter().map(|(line, _)| format!("{line}\n")).collect();
    fs::write(place.path("lines"), lines).expect("the folder is ours");
    let out = place.shell("bash", &["--norc", "--noprofile", "-c"], script);
    let expected: String = cases.iter().map(|(l, e)| format!("{l}|{e}\n")).collect();
    assert_eq!(out, expected);
}

#[test]
fn fish_completes() {
    let place = Place::new("fish", "kansoku.fish");
    for (line, expected) in [
        ("kansoku lo", "logs"),
        ("kansoku top ", "nodes pods"),
        ("kansoku top pods --sort-by ", "cpu memory"),
        ("kansoku -o y", "yaml"),
        ("kansoku labels --output y", "yaml"),
        ("kansoku --server http://x to", "top"),
        ("kansoku check st", "storage"),
        ("kansoku logs --max", "--max-log-requests"),
        ("kansoku --kubeconfig you", "yours.conf"),
    ] {
        let script = format!("source ./kansoku.fish; complete -C '{line}'");
        let out = place.shell("fish", &["--no-config", "-c"], &script);
        let names: Vec<&str> = out.lines().filter_map(|l| l.split('\t').next()).collect();
        assert_eq!(names.join(" "), expected, "{line}");
    }
}

#[test]
fn zsh_completes() {
    let place = Place::new("zsh", "_kansoku");
    let cases = [
        ("kansoku lo", "kansoku logs "),
        ("kansoku top po", "kansoku top pods "),
        ("kansoku -o ya", "kansoku -o yaml "),
        ("kansoku logs --max", "kansoku logs --max-log-requests="),
        (
            "kansoku top pods --sort-by mem",
            "kansoku top pods --sort-by memory ",
        ),
        ("kansoku check sto", "kansoku check storage "),
        ("kansoku completion zs", "kansoku completion zsh "),
        (
            "kansoku --kubeconfig you",
            "kansoku --kubeconfig yours.conf ",
        ),
    ];
    // A shell at a terminal of its own, in which the tabulator key is pressed. A second key writes down what the line
    // has become, and the shell ends by itself once all lines are through.
    let mut script = String::from(
        r#"
        zmodload zsh/zpty
        zpty shell "zsh -f -i"
        zpty -w shell 'PS1=; fpath=($PWD $fpath); autoload -U compinit; compinit -u -d ./dump; show() { print -r -- "$BUFFER" >>./shown; BUFFER= }; zle -N show; bindkey "^T" show; bindkey "^I" complete-word'
        "#,
    );
    for (line, _) in cases {
        script += &format!("zpty -w -n shell $'{line}\\t\\x14'\n");
    }
    script += "zpty -w shell exit\nwhile zpty -r shell line; do :; done\n";
    place.shell("zsh", &["-f", "-c"], &script);
    let shown = fs::read_to_string(place.path("shown")).expect("lines");
    let expected: String = cases.iter().map(|(_, e)| format!("{e}\n")).collect();
    assert_eq!(shown, expected);
}

#[test]
fn kubectl_completes_the_plugin() {
    let place = Place::new("", "");
    let asks = |words: &[&str]| -> String {
        let mut line = vec!["__complete", "kansoku"];
        line.extend(words);
        // kubectl itself where it is installed; what it runs otherwise.
        let has_kubectl = Command::new("kubectl").arg("version").output().is_ok();
        let given = if has_kubectl {
            place.run(Command::new("kubectl").args(&line))
        } else {
            place.run(Command::new("kubectl_complete-kansoku").args(words))
        };
        assert_eq!(given.code, Some(0), "{given:?}");
        assert!(!given.err.contains("error"), "{given:?}");
        let lines = given.out.lines();
        let names: Vec<&str> = lines.filter_map(|l| l.split('\t').next()).collect();
        names.join(" ")
    };
    for (words, expected) in [
        (&["lo"][..], "logs :4"),
        (&["top", ""], "nodes pods :4"),
        (&["top", "pods", "--sort-by", ""], "cpu memory :4"),
        (&["-o", "y"], "yaml :4"),
        (&["labels", "--output=y"], "--output=yaml :4"),
        (&["--server", "http://x", "to"], "top :4"),
        (&["logs", "--max"], "--max-log-requests :4"),
        (&["check", "storage", ""], ":0"),
        (&["--version", "no"], ":4"),
    ] {
        assert_eq!(asks(words), expected, "{words:?}");
    }
}
