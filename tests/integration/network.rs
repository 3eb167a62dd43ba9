//! A sink behind a network that loses, delays, repeats and reorders packets, is cut for moments,
//! and forgets connections: what happened is in the sink once and in order. The packets are those
//! that the kernels' TCP exchanges, not pieces of a stream.

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::{self, Command},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use governd_tests::{
    Lab,
    command::{Running, must},
    daemon::Place,
    leftover,
    namespace::Namespace,
    wait,
};
use rustix::process::Signal;

use crate::{
    Test,
    crash::{self, Sink, Tally},
    measured,
};

pub(crate) const TESTS: &[Test] = &[(
    "network::what_a_bad_network_carries_is_in_the_sink_once_and_in_order",
    what_a_bad_network_carries,
)];

/// Of the network that only this test has (RFC 2544's).
const HOST: Ipv4Addr = Ipv4Addr::new(198, 18, 77, 1);
const SINK: Ipv4Addr = Ipv4Addr::new(198, 18, 77, 2);
const PORT: u16 = 7_443;
/// Times that the network is cut, and connections that it forgets, before it gets better.
const CUTS: &str = "cuts 12";
const FORGOTTEN: &str = "forgotten 1";
const PATIENCE: Duration = Duration::from_secs(180);

/// The network, until this is dropped.
struct Weather(Running);

impl Weather {
    fn start(lab: &Lab, namespace: &Namespace) -> Result<Self> {
        let device = format!("gl{}", process::id());
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "python3"]).arg(lab.tools().script("weather.py"));
        command.arg(&device).arg(namespace.path()).args([&device, "1"]);
        let mut relay = Running::start(&mut command)?;
        relay.line(wait::PATIENCE, |line| line == "ready")?;
        let address = |own: Ipv4Addr, other| format!("addr add {own} peer {other} dev {device}");
        must("ip", &address(HOST, SINK).split(' ').collect::<Vec<_>>())?;
        must("ip", &["link", "set", &device, "up"])?;
        let lines = format!("link set lo up\n{}\nlink set {device} up\n", address(SINK, HOST));
        namespace.configure(&lines)?;
        Ok(Self(relay))
    }

    /// Waits until it was as bad as can be, and has it be good from then on.
    fn clears_up(&mut self) -> Result<()> {
        for worst in [CUTS, FORGOTTEN] {
            self.0.line(PATIENCE, |line| line == worst)?;
        }
        self.0.signal(Signal::USR1)
    }

    /// Ends it, and says what it did with packets.
    fn end(mut self) -> Result<String> {
        self.0.close_input();
        let said = self.0.finish(wait::PATIENCE)?.success()?;
        said.lines().last().map(str::to_owned).context("the network says nothing")
    }
}

fn what_a_bad_network_carries(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "network")?;
    crash::policy_of(lab, &place)?;
    let namespace = Namespace::create(format!("{}{}-sink", leftover::PREFIX, process::id()))?;
    let mut weather = Weather::start(lab, &namespace)?;
    let address = SocketAddr::from((SINK, PORT));
    let sink = Sink::start_at(&place, address, Some(namespace.path()))?;
    let daemon = sink.start_enrolled()?;
    let client = crash::tries(lab, "4")?;
    weather.clears_up()?;
    let tried = crash::tried(client)?;
    let size = sink.wait_for_log(&daemon)?;
    let Tally { seen, missing, lost } = sink.tally(size, tried)?;
    let weather = weather.end()?;
    measured(format!("a bad network: {weather}; {seen} of {tried} tries in the sink"));
    for what in ["twice", "late", "lost"] {
        ensure!(!weather.contains(&format!("{what} 0 ")), "nothing was {what}: {weather}");
    }
    ensure!(missing == 0 && lost == 0, "{missing} of {tried} missing, {lost} told as lost");
    daemon.stop_within(3 * wait::PATIENCE)?;
    crash::verify(&place)?.success()?;
    sink.ask(&["verify"])?.success().map(drop)
}
