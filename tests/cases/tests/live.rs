//! The case table against a live server over a socket on the loopback.

use std::collections::HashMap;
use std::time::Duration;
use tidegate::{Running, Server};
use tidegate_cases::echo::{Act, TableEcho};
use tidegate_cases::live::{self, Target};
use tidegate_cases::random::Cuts;
use tidegate_cases::{Case, Settings, Stage, cases};

/// Servers by the settings that cannot stand in a query: those of rows with their own head.
#[derive(Default)]
struct Servers(HashMap<Settings, Running<Act>>);

impl Servers {
    fn target(&mut self, case: &Case) -> Target {
        let settings = match case.stage {
            Stage::Open => Settings::default(),
            Stage::Handshake => case.settings.clone(),
        };
        let server = self
            .0
            .entry(settings.clone())
            .or_insert_with(|| start(case.stage, settings));
        Target {
            addr: server.local_addr(),
            path: "/".into(),
            takes_settings: true,
            serves_http: false,
        }
    }

    fn stop(self) {
        for server in self.0.into_values() {
            server.drain(Duration::ZERO);
            server.join().expect("no worker died");
        }
    }
}

fn start(stage: Stage, settings: Settings) -> Running<Act> {
    let loopback = "127.0.0.1:0".parse().expect("an address");
    let builder = Server::builder()
        .listen(loopback)
        .workers(1)
        .endpoint(settings.endpoint());
    let handler = move |_| match stage {
        Stage::Handshake => TableEcho::with(settings.clone()),
        Stage::Open => TableEcho::default(),
    };
    builder.start(handler).expect("a free port")
}

#[test]
fn a_live_server_holds_to_the_table() {
    let wanted = std::env::var("TIDEGATE_CASE").unwrap_or_default();
    let mut servers: HashMap<Stage, Servers> = HashMap::new();
    let (mut runs, mut faults) = (0, Vec::new());
    for case in cases().iter().filter(|case| case.name.contains(&wanted)) {
        let target = servers.entry(case.stage).or_default().target(case);
        if !live::can_run(case, &target) {
            continue;
        }
        for cuts in [Cuts::Whole, Cuts::Random(17)] {
            runs += 1;
            if let Err(why) = live::run(case, &target, cuts) {
                faults.push(format!("{} {:?} ({cuts:?}): {why}", case.place, case.name));
            }
        }
    }
    servers.into_values().for_each(Servers::stop);
    assert!(runs > 500 || !wanted.is_empty(), "only {runs} runs");
    assert!(
        faults.is_empty(),
        "{} of {runs} runs are wrong:\n{}",
        faults.len(),
        faults.join("\n")
    );
}
