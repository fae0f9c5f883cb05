//! The console, used by a browser as people use it: the guest `tests/guests/console` drives a headless Chromium through
//! every action of the page. It is skipped, aloud, where Chromium or npm is missing.

mod support;

use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use gusher::model::AppSettings;
use support::{SUPER, Server};

/// What a guest ends with when something that it needs is not here.
const SKIPPED: i32 = 77;

/// With `CONSOLE_PICTURES=FOLDER` in the environment the guest takes the pictures of docs/console.md, too.
#[tokio::test]
async fn every_action_of_the_console_works_in_a_browser() {
    // The console tells the port of the configuration, so it cannot be port 0. The browser does not know our authority.
    let server = Server::plain(&[("listen", &free_address())]).await;
    let mut guest = guest(&server);
    // It ends by itself, also when it gets nowhere.
    let ended = tokio::task::spawn_blocking(move || guest.output().expect("tests/guests/run can be run"));
    let output = ended.await.expect("nothing in it panics");
    let heard = [output.stdout, output.stderr].concat();
    match output.status.code() {
        Some(0) => {}
        // Past the harness, which keeps to itself what a test prints that passes.
        Some(SKIPPED) => std::io::stderr().write_all(&heard).expect("stderr takes it"),
        other => panic!("the guest ended with {other:?}:\n{}", String::from_utf8_lossy(&heard)),
    }
    server.stop().await;
}

fn guest(server: &Server) -> Command {
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests/run"));
    command
        .args(["console", &server.public().ip().to_string(), &server.public().port().to_string()])
        .env("CONSOLE_URL", server.url("http", server.private(), "/console"))
        .env("CONSOLE_ACCOUNT", SUPER.0)
        .env("CONSOLE_PASSWORD", SUPER.1)
        .stdin(Stdio::null());
    command
}

fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").to_string()
}

#[tokio::test]
async fn every_file_of_the_page_is_served_as_it_is() {
    let server = Server::start().await;
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/door/console/page");
    for entry in std::fs::read_dir(page).expect("the page is there") {
        let entry = entry.expect("readable");
        let name = entry.file_name().into_string().expect("a name in UTF-8");
        let text = std::fs::read_to_string(entry.path()).expect("a text");
        let answer = server.get(&format!("/console/{name}")).await;
        assert_eq!((answer.status.as_u16(), answer.text), (200, text), "{name}");
    }
    server.stop().await;
}

/// The page tells what each setting is by default, in a table of its own.
#[test]
fn the_page_knows_every_setting_and_its_default() {
    let table = include_str!("../src/door/console/page/fields.js").replace('_', "");
    for (name, default) in AppSettings::default().members() {
        let entry = format!("[\"{name}\", {default}, ").replace('_', "");
        assert!(table.contains(&entry), "{entry} is not in fields.js");
    }
}
