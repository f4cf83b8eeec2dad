//! The program: its arguments, its output, its exit codes. Against a server it is tested in `smp-server`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_smp-conformance")).args(arguments).output().unwrap()
}

fn lines(bytes: &[u8]) -> Vec<String> {
    String::from_utf8(bytes.to_vec()).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn cases_are_listed_and_chosen_by_name_and_version() {
    let all = lines(&run(&["--list"]).stdout);
    assert!(all.iter().any(|line| line.starts_with("queues/suspend-refuses-senders@18 (§")), "{all:?}");
    let some = lines(&run(&["--list", "--only", "links/", "--versions", "16-17"]).stdout);
    assert!(some.iter().all(|line| line.starts_with("links/")), "{some:?}");
    assert!(some.len() > 10 && some.len() < all.len());
    let objects = run(&["--list", "--json", "--only", "queues/delete@15"]).stdout;
    let object: serde_json::Value = serde_json::from_slice(&objects).unwrap();
    assert_eq!(object["name"], "queues/delete@15");
}

#[test]
fn what_cannot_be_done_is_told_by_the_exit_code() {
    const NOBODY: &str = "smp://LcJUMfVhwD8yxjAiSaDzzGF3-kLG4Uh0Fl_ZIjrRwjI=@127.0.0.1:1";
    for (arguments, code, hint) in [
        (&[][..], 3, "--spawn"),
        (&["nonsense"], 2, "nonsense"),
        (&["--only", "no-such-case", NOBODY], 2, "--list"),
        (&["--versions", "9", NOBODY], 2, "--list"),
        (&[NOBODY], 3, "Unable to use the server"),
        (&["--spawn", "echo broken >&2; exit 1"], 3, "broken"),
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(hint), "{arguments:?}: {said}");
    }
}

#[test]
fn the_template_is_printed() {
    let template = lines(&run(&["--template"]).stdout);
    assert_eq!(template[0], "#!/bin/sh");
    assert!(template.iter().any(|line| line.contains("CONFORMANCE_PORT")));
}
