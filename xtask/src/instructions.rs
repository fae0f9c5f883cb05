//! How many instructions of ours a delivery takes, counted by callgrind: the same on every machine of one kind, busy or
//! not, so that a slower fan-out is seen where no clock could be trusted. What the kernel does is not counted.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::{Failed, Outcome, cargo, failed, missing, root, spelled};

/// Optimized like a release as far as it matters, in the directory of debug builds: so everything that we lean on has
/// been built already.
const BUILD: &[&str] = &["build", "--config", "profile.dev.opt-level=2", "--bench", "instructions"];

/// What is counted.
const FUNCTION: &str = "gusher::shard::Shard::work*";

/// Pushes of the two runs; what both have in common, the connecting above all, is no part of their difference.
const PUSHES: (u64, u64) = (20, 40);

/// Sockets of `benches/instructions.rs`.
const SOCKETS: u64 = 200;

/// How much the count may grow, in hundredths. From run to run it differs by a thousandth.
const GROWTH_MAX: f64 = 5.0;

/// Compares the count with the one that is kept.
pub fn check() -> Outcome {
    let valgrind =
        Command::new("valgrind").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !valgrind.is_ok_and(|status| status.success()) {
        eprintln!("xtask: instructions are not counted: valgrind is not installed");
        return missing();
    }
    let program = build()?;
    let count = (collected(&program, PUSHES.1)? - collected(&program, PUSHES.0)?) as f64
        / ((PUSHES.1 - PUSHES.0) * SOCKETS) as f64;
    if env::var("INSTRUCTIONS").as_deref() == Ok("rewrite") {
        return keep(count);
    }
    judge(count)
}

/// Where the count is kept: by processor, as others have other instructions.
fn file() -> PathBuf {
    root().join("benches/instructions.txt")
}

fn keep(count: f64) -> Outcome {
    let (file, architecture) = (file(), env::consts::ARCH);
    let kept = fs::read_to_string(&file).unwrap_or_default();
    let others = kept.lines().filter(|line| line.split(' ').next() != Some(architecture));
    let lines: Vec<String> =
        others.map(str::to_owned).chain([format!("{architecture} {count:.1}")]).collect();
    fs::write(&file, lines.join("\n") + "\n").map_err(|error| {
        eprintln!("xtask: {}: {error}", file.display());
        Failed(1)
    })
}

fn judge(count: f64) -> Outcome {
    let architecture = env::consts::ARCH;
    let kept = fs::read_to_string(file()).unwrap_or_default();
    let kept = kept.lines().find_map(|line| line.strip_prefix(architecture)?.trim().parse::<f64>().ok());
    let Some(kept) = kept else {
        eprintln!("xtask: {count:.1} instructions per delivery; no count is kept for {architecture}");
        return Ok(());
    };
    let growth = (count / kept - 1.0) * 100.0;
    eprintln!("xtask: {count:.1} instructions per delivery, {growth:+.1} % of the {kept:.1} that are kept");
    if growth > GROWTH_MAX {
        eprintln!(
            "xtask: the fan-out has become dearer by more than {GROWTH_MAX} %: find out why, or accept it with \
             `INSTRUCTIONS=rewrite cargo xtask instructions`"
        );
        return Err(Failed(1));
    }
    if growth < -GROWTH_MAX {
        eprintln!("xtask: that is worth keeping: `INSTRUCTIONS=rewrite cargo xtask instructions`");
    }
    Ok(())
}

/// The program to run, of which cargo tells where it is.
fn build() -> Result<PathBuf, Failed> {
    let mut command = cargo(BUILD);
    command.args(["--message-format", "json-render-diagnostics"]).stderr(Stdio::inherit());
    eprintln!("$ {}", spelled(&command));
    let output = command.output().map_err(|error| failed(&command, &error))?;
    let messages = String::from_utf8_lossy(&output.stdout);
    let programs =
        messages.lines().filter_map(|line| line.split_once(r#""executable":""#)?.1.split_once('"'));
    let program = programs.map(|(program, _)| PathBuf::from(program)).find(|program| {
        program.file_name().is_some_and(|name| name.to_string_lossy().starts_with("instructions-"))
    });
    program.ok_or_else(|| failed(&command, &"no program was built"))
}

/// How many instructions were counted with so many pushes.
fn collected(program: &PathBuf, pushes: u64) -> Result<i64, Failed> {
    let mut command = Command::new("valgrind");
    // Valgrind does not know every way out, so it is the plain one that is counted.
    command.env("TEST_SEND", "send").args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    command.arg(format!("--toggle-collect={FUNCTION}")).arg(program).arg(pushes.to_string());
    eprintln!("$ {}", spelled(&command));
    let output = command.output().map_err(|error| failed(&command, &error))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let count = said.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    match count {
        Some(count) if output.status.success() && count > 0 => Ok(count),
        _ => Err(failed(&command, &format!("nothing was counted\n{said}"))),
    }
}
