//! A network of a test's own, whose machines can be made deaf or mute: network namespaces, joined
//! by two bridges. Servers speak to each other over one, which is cut; the test asks them over the
//! other, which never is.

use std::fs::File;
use std::net::Ipv4Addr;
use std::process::Command;

use nix::sched::{CloneFlags, setns};

use super::cluster::{QUICK, Server, TestCluster};
use super::directory::Directory;

/// What a machine cannot do any more on the network of the servers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cut {
    /// It sends, and receives nothing.
    Deaf,
    /// Neither.
    Off,
}

/// The network. While it is there, this thread is in a namespace of its own: its sockets, and the
/// programs that it starts, are nowhere else.
pub(crate) struct Network {
    /// Begins the names of the namespaces; no other test has it.
    name: String,
    machines: u8,
    outside: File,
}

impl Network {
    /// A network of so many machines; `None`, said loudly, where the system has none to give.
    pub(crate) fn new(test: &str, machines: u8) -> Option<Self> {
        let name = format!("herald-{}-{test}", std::process::id());
        let outside = File::open("/proc/thread-self/ns/net").unwrap();
        let mut network = Self {
            name,
            machines: 0,
            outside,
        };
        match network.make(machines) {
            Ok(()) => Some(network),
            Err(reason) => {
                eprintln!("SKIPPED: network namespaces cannot be made here: {reason}");
                None
            }
        }
    }

    fn make(&mut self, machines: u8) -> Result<(), String> {
        let middle = self.name.clone();
        run(&["ip", "netns", "add", &middle])?;
        for bridge in ["servers", "asked"] {
            let link = ["ip", "-n", &middle, "link"];
            run(&[&link[..], &["add", bridge, "type", "bridge"]].concat())?;
            run(&[&link[..], &["set", bridge, "up"]].concat())?;
        }
        let own = "10.78.0.254/16";
        run(&["ip", "-n", &middle, "address", "add", own, "dev", "asked"])?;
        for number in 1..=machines {
            let machine = self.namespace(number);
            run(&["ip", "netns", "add", &machine])?;
            self.machines = number;
            run(&["ip", "-n", &machine, "link", "set", "lo", "up"])?;
            for (bridge, ip) in [("servers", Self::ip(number)), ("asked", asked(number))] {
                let port = format!("{bridge}{number}");
                let link = ["ip", "-n", &middle, "link"];
                let pair = ["type", "veth", "peer", "name", bridge, "netns", &machine];
                run(&[&link[..], &["add", &port], &pair[..]].concat())?;
                run(&[&link[..], &["set", &port, "master", bridge, "up"]].concat())?;
                let address = format!("{ip}/16");
                let add = ["address", "add", &address, "dev", bridge];
                run(&[&["ip", "-n", &machine], &add[..]].concat())?;
                run(&["ip", "-n", &machine, "link", "set", bridge, "up"])?;
            }
            heal_all(&machine)?;
        }
        let inside = File::open(format!("/run/netns/{middle}"));
        let inside = inside.map_err(|error| error.to_string())?;
        setns(inside, CloneFlags::CLONE_NEWNET).map_err(|error| error.to_string())
    }

    fn namespace(&self, number: u8) -> String {
        format!("{}-{number}", self.name)
    }

    /// Where a machine is for the other servers.
    fn ip(number: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, number)
    }

    /// A server on each machine; waits until they have a leader.
    pub(crate) async fn cluster(&self) -> TestCluster {
        self.cluster_of(self.machines).await
    }

    /// A server on each of the first `count` machines; waits until they have a leader.
    pub(crate) async fn cluster_of(&self, count: u8) -> TestCluster {
        let mut cluster = TestCluster::empty(0);
        for number in 1..=count {
            let further = ["-server".to_owned(), format!("-bootstrap-expect={count}")];
            let server = self.start(number, &further);
            cluster.servers.push(server);
        }
        cluster.elects().await;
        cluster
    }

    /// A client agent on the machine `number`.
    pub(crate) fn client(&self, number: u8) -> Server {
        self.start(number, &[])
    }

    /// Starts an agent on a machine, which joins those before.
    fn start(&self, number: u8, further: &[String]) -> Server {
        let (directory, name) = (Directory::new(), format!("s{number}"));
        let (file, data) = (
            directory.write("quick.json", QUICK),
            directory.0.join("data"),
        );
        let mut arguments = vec![
            "agent".to_owned(),
            format!("-node={name}"),
            format!("-bind={}", Self::ip(number)),
            format!("-client={}", asked(number)),
            format!("-data-dir={}", data.display()),
            format!("-config-file={}", file.display()),
            "-retry-interval=1s".to_owned(),
        ];
        arguments.extend_from_slice(further);
        let others = (1..number).take(2).map(Self::ip);
        arguments.extend(others.map(|other| format!("-retry-join={other}")));
        let mut server = Server::new(&name, Self::ip(number), directory, &arguments);
        server.client = asked(number);
        let namespace = self.namespace(number);
        server.behind = ["ip", "netns", "exec", &namespace]
            .map(str::to_owned)
            .into();
        server.start();
        server
    }

    /// Cuts the server at this place of the cluster off.
    pub(crate) fn cut(&self, place: usize, cut: Cut) {
        let machine = self.machine(place);
        let hooks: &[&str] = match cut {
            Cut::Deaf => &["input"],
            Cut::Off => &["input", "output"],
        };
        for hook in hooks {
            let direction = if *hook == "input" {
                "iifname"
            } else {
                "oifname"
            };
            nft(
                &machine,
                &[
                    "add", "rule", "inet", "cut", hook, direction, "servers", "drop",
                ],
            )
            .unwrap();
        }
    }

    /// Makes a server hear and be heard again.
    pub(crate) fn heal(&self, place: usize) {
        heal_all(&self.machine(place)).unwrap();
    }

    fn machine(&self, place: usize) -> String {
        self.namespace(u8::try_from(place + 1).expect("there are few"))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // Another test may run on this thread.
        setns(&self.outside, CloneFlags::CLONE_NEWNET).unwrap();
        let machines = (1..=self.machines).map(|number| self.namespace(number));
        for namespace in machines.chain([self.name.clone()]) {
            // It may not have come to be.
            drop(run(&["ip", "netns", "delete", &namespace]));
        }
    }
}

/// Chains without rules.
fn heal_all(machine: &str) -> Result<(), String> {
    nft(machine, &["add", "table", "inet", "cut"])?;
    nft(machine, &["delete", "table", "inet", "cut"])?;
    nft(machine, &["add", "table", "inet", "cut"])?;
    for hook in ["input", "output"] {
        let rules = format!("{{ type filter hook {hook} priority 0; }}");
        nft(machine, &["add", "chain", "inet", "cut", hook, &rules])?;
    }
    Ok(())
}

/// Where the test asks a machine.
fn asked(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 78, 0, number)
}

fn nft(machine: &str, words: &[&str]) -> Result<(), String> {
    run(&[&["ip", "netns", "exec", machine, "nft"], words].concat())
}

/// Runs a program of the system that ends at once.
pub(crate) fn run(words: &[&str]) -> Result<(), String> {
    let (program, arguments) = words.split_first().expect("there is a program");
    let done = Command::new(program).args(arguments).output();
    let done = done.map_err(|error| format!("{program}: {error}"))?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr).trim().to_owned();
    Err(format!("{}: {said}", words.join(" ")))
}
