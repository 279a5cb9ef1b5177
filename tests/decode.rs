//! `tollgate decode` as another program meets it: lines, flushing, exit codes. The form is in
//! `docs/decode.md`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Output, Stdio};

const LOGIN: &str = "000f333536333037303432343431303133";

fn tollgate(args: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut stdin = child.stdin.take().expect("it is piped");
    // A program that refuses its arguments reads nothing: that is seen in its exit code.
    drop(stdin.write_all(input.as_bytes()));
    drop(stdin);
    child.wait_with_output().expect("it ends")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("output is text")
}

#[test]
fn the_example_of_the_page_is_what_comes_out() {
    let page = include_str!("../docs/decode.md");
    let (_, example) = page.split_once("$ echo ").expect("there is an example");
    let (hex, rest) = example.split_once(" | ").expect("a pipe");
    let (call, rest) = rest.split_once('\n').expect("a call");
    let (expected, _) = rest.split_once("```").expect("an end");
    let args: Vec<_> = call.split_whitespace().skip(1).collect();
    let output = tollgate(&args, hex);
    assert_eq!(text(&output.stdout), expected);
    assert!(output.status.success());
}

#[test]
fn each_line_is_answered_before_the_next_is_sent() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .args(["decode", "--protocol", "teltonika", "--now", "1000"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut stdin = child.stdin.take().expect("it is piped");
    let mut answers = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    for number in 1..=3u32 {
        writeln!(stdin, "{LOGIN}").expect("it reads");
        let end = format!("{{\"end\":{number}}}");
        let heard = answers.by_ref().map(|line| line.expect("it is text"));
        assert!(
            heard.take(4).any(|line| line == end),
            "no end of line {number}"
        );
    }
    drop(stdin);
    assert!(child.wait().expect("it ends").success());
}

#[test]
fn an_empty_line_begins_a_new_connection() {
    let half = &LOGIN[..10];
    let args = ["decode", "--protocol", "teltonika"];
    let output = tollgate(&args, &format!("{half}\n\n{LOGIN}\n"));
    let lines = text(&output.stdout);
    assert!(
        lines.starts_with("{\"end\":1}\n{\"end\":2}\n{\"login\":"),
        "{lines}"
    );
}

#[test]
fn mistakes_have_their_exit_codes_and_say_what_to_do() {
    let teltonika = ["decode", "--protocol", "teltonika"];
    for (more, input, code, says) in [
        (&[][..], "xyz\n", 65, "line 1 of the input: 'x' in column 1"),
        (&["--ident", "a/b"][..], "", 64, "--ident a/b: "),
        (&["--set", "colour=red"][..], "", 64, "unknown setting"),
        (&["--no-such"][..], "", 64, "--no-such"),
    ] {
        let args: Vec<_> = teltonika.iter().chain(more).copied().collect();
        let output = tollgate(&args, input);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {error}");
        assert!(error.contains(says), "{args:?}: {error}");
    }
    let output = tollgate(&["decode", "--protocol", "teltonica"], "");
    assert_eq!(output.status.code(), Some(64));
    assert!(text(&output.stderr).contains("did you mean teltonika?"));
    let output = tollgate(&["--help"], "");
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).contains("Exit codes:"));
}
