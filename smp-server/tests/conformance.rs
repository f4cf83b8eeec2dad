//! The conformance suite against the real program, started as its users start it; and the suite itself: an answer of
//! another kind fails the case that gets it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::sync::Arc;

use protocol::net::tls::ClientTls;
use smp_conformance::case::Case;
use smp_conformance::cases::all;
use smp_conformance::observer::Observer;
use smp_conformance::peer::greet;
use smp_conformance::report::{Summary, line};
use smp_conformance::spawn::{Home, Spawned, Wanted};
use smp_conformance::suite::{Plan, clean, name, try_case};
use smp_conformance::trial::Servers;
use tokio::task::JoinSet;

/// The cases that can be tried beside others. Times are measured on a quiet machine, by the program.
fn cases() -> Vec<Case> {
    let mut cases = all();
    cases.retain(|case| !case.is_alone);
    cases
}

/// Cases at a time.
const JOBS: usize = 12;

/// The command of the suite's manual, with the program under test.
fn command() -> Arc<str> {
    let template = concat!(env!("CARGO_MANIFEST_DIR"), "/../smp-conformance/templates/smp-server.sh");
    let server = env!("CARGO_BIN_EXE_smp-server");
    format!("SMP_SERVER='{server}' exec sh '{template}'").into()
}

async fn servers() -> (Home, Spawned, Arc<Servers>) {
    let home = Home::new(&command()).await.unwrap();
    let server = home.start(&Wanted::default()).await.unwrap();
    let servers = Servers::new(server.place, None, Some(command())).operated_by(Some(command()));
    (home, server, Arc::new(servers))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_server_is_conformant() {
    let (_home, server, servers) = servers().await;
    let offered = greet(&server.place, ClientTls::default(), &Arc::default()).await.unwrap().versions;
    let plan = Plan { jobs: JOBS, ..Plan::default() };
    let cases = plan.select(&cases());
    let count = cases.len();
    let mut bad = Vec::new();
    let results = plan
        .run(&servers, offered, cases, |result| {
            let line = line(result);
            if !line.starts_with("ok ") || line.contains("left at the server") {
                bad.push(line);
            }
        })
        .await;
    assert_eq!(bad, Vec::<String>::new());
    assert_eq!(Summary::of(&results), Summary { ok: count, failed: 0, skipped: 0 });
}

/// Of each case one answer is falsified; `CONFORMANCE_FALSIFY=all` falsifies each in turn, for minutes, of the cases whose
/// name holds `CONFORMANCE_ONLY`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_false_answer_fails_its_case() {
    let each = std::env::var("CONFORMANCE_FALSIFY").is_ok_and(|value| value == "all");
    let only = std::env::var("CONFORMANCE_ONLY").ok();
    let (_home, _server, servers) = servers().await;
    let plan = Plan { versions: 18..=18, only, ..Plan::default() };
    let mut waiting: Vec<_> = plan.select(&cases()).into_iter().enumerate().collect();
    let mut running = JoinSet::new();
    let mut survived = BTreeSet::new();
    loop {
        while running.len() < JOBS {
            let Some((index, (case, version))) = waiting.pop() else { break };
            let servers = servers.clone();
            running.spawn(async move {
                let honest = Arc::new(Observer::default());
                let outcome = try_case(case, version, &servers, &honest).await;
                clean(&servers, version, &honest).await;
                let answers = honest.answers();
                let numbers = match outcome {
                    // Another test says so.
                    Err(_) => 0..0,
                    Ok(()) if each || answers == 0 => 0..answers,
                    Ok(()) => index % answers..index % answers + 1,
                };
                let mut survived = Vec::new();
                for number in numbers {
                    let lying = Arc::new(Observer::default().falsifying(number));
                    let outcome = try_case(case, version, &servers, &lying).await;
                    clean(&servers, version, &lying).await;
                    if let (Ok(()), Some(answer)) = (outcome, lying.falsified()) {
                        let tag = String::from_utf8_lossy(&answer).chars().take(12).collect::<String>();
                        survived.push(format!("{} {number} of {answers}: {tag:?}", name(&case, version)));
                    }
                }
                survived
            });
        }
        let Some(ended) = running.join_next().await else { break };
        survived.extend(ended.unwrap());
    }
    assert_eq!(survived, BTreeSet::new());
}
