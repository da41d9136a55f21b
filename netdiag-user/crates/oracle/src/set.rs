//! A set of namespaces with a pair of devices between any two of them, made once: a world is what is
//! put on it, and taken off again.
use std::{
    cell::{Cell, RefCell},
    fs::File,
    os::fd::{AsFd, AsRawFd},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use netdiag_host::{listing, stack};
use netdiag_model::world::{End, Known, Stack, World};
use netdiag_sys::file;
use nix::sched::{CloneFlags, setns, unshare};

use crate::{
    batch::{self, batch, batch_of, write},
    command::{Command, Line},
    counters, ipsets, iptables, ipvs,
    names::{BOND, BRIDGE, INNER, OF_ITSELF, SPACES, TABLES, TUN, added, device, devices, mac},
    settled::{bonds_chose, bonds_looked, is_settled},
    sysctls::{ASKED, PAST_NETFILTER, QUIET, SETTINGS, SETTINGS6},
    tuns, wireguards,
};

/// How long a device tells of the groups that it joined, twice: some jiffies.
const JOINED: Duration = Duration::from_millis(40);

/// How long a bond may take to see that a port is down or up again.
const BONDS: Duration = Duration::from_millis(200);

/// And one to choose among ports that nobody answers at: some seconds (IEEE 802.1AX, 6.4).
const LACP: Duration = Duration::from_secs(15);

/// After so long a neighbour that does not answer is given up.
pub const SOON: Duration = Duration::from_millis(20);

pub struct Set {
    spaces: Vec<Space>,
    /// IPv6 runs, and worlds are of it.
    ipv6: bool,
    /// Where somebody made a rule, which is seen and never undone whole.
    ruled: Cell<[bool; SPACES]>,
    /// Somebody made a route in the table of local addresses: a namespace checks sources otherwise for
    /// ever after, and nobody can ask whether (`fib_has_custom_local_routes`).
    pub spent: Cell<bool>,
    /// Where somebody made rules of nf_tables.
    filtered: Cell<[bool; SPACES]>,
    /// Tables of iptables' own with rules: by namespace and family. Empty ones stay as long as it.
    own_tables: RefCell<Vec<(usize, bool, String)>>,
    given: RefCell<Vec<Given>>,
    /// What programs hold.
    attached: RefCell<Vec<File>>,
}

/// A device that is on a link of another namespace: where each is, and its name.
struct Given {
    own: (usize, String),
    link: (usize, String),
}

struct Space {
    file: File,
    inode: u32,
}

impl Set {
    /// Makes one; its namespaces are gone with it, whatever becomes of this process. Those of worlds of IPv4
    /// do not speak IPv6 by themselves.
    pub fn new(ipv6: bool) -> Result<Self> {
        let spaces: Result<Vec<_>> = (0..SPACES).map(|_| Space::new()).collect();
        let set = Self {
            spaces: spaces?,
            ipv6,
            ruled: Cell::default(),
            spent: Cell::default(),
            filtered: Cell::default(),
            own_tables: RefCell::default(),
            given: RefCell::default(),
            attached: RefCell::default(),
        };
        // All of them before the first pair: a device has what its namespace says when it is made.
        for space in &set.spaces {
            space.enter()?;
            for (name, value) in QUIET {
                write(name, value)?;
            }
            for name in PAST_NETFILTER {
                let _ = write(name, "0");
            }
            if !ipv6 {
                write("ipv6/conf/default/disable_ipv6", "1")?;
            }
            for (name, value) in SETTINGS {
                let _ = write(&format!("ipv4/conf/default/{name}"), value);
            }
        }
        for (at, space) in set.spaces.iter().enumerate() {
            space.enter()?;
            let others = (at + 1)..SPACES;
            let lines = others.map(|to| {
                let path = set.spaces[to].path();
                let (own, peer) = (device(to), device(at));
                let (from, back) = (mac(at, to), mac(to, at));
                format!(
                    "link add {own} address {from} type veth peer name {peer} address {back} netns {path}"
                )
            });
            batch("-4", &lines.collect::<Vec<_>>(), true)?;
            let bridge = format!("link add {BRIDGE} type bridge mcast_snooping 0");
            batch("-4", &[bridge], true)?;
        }
        for at in 0..SPACES {
            set.enter(at)?;
            devices(at).try_for_each(|device| ask_once(&device, SOON))?;
        }
        Ok(set)
    }

    /// Takes off what the last world put there.
    pub fn clear(&self) -> Result<()> {
        self.attached.take();
        let filtered = self.filtered.take();
        let own_tables = self.own_tables.take();
        for (at, space) in self.spaces.iter().enumerate() {
            space.enter()?;
            if filtered[at] {
                batch::fed("nft", &["-f", "-"], "flush ruleset")?;
                for (_, ipv6, table) in own_tables.iter().filter(|(of, ..)| *of == at) {
                    iptables::flush(*ipv6, table)?;
                }
                ipsets::destroy()?;
                batch::run("conntrack", &["-F"])?;
            }
            // Its ports have the addresses then that they had before, and are down.
            let mut lines = vec![format!("link del {BOND}")];
            for to in (0..SPACES).filter(|to| *to != at) {
                let (name, mac) = (device(to), mac(at, to));
                lines.push(format!("link set {name} address {mac} nomaster"));
                lines.push(format!("link set {name} up mtu 1500"));
                lines.push(format!("addr flush dev {name}"));
            }
            lines.extend(added(at).map(|name| format!("link del {name}")));
            lines.push(format!("link set {OF_ITSELF} down mtu 1480"));
            lines.push(format!("addr flush dev {OF_ITSELF}"));
            lines.push(format!("link set {BRIDGE} down"));
            lines.push(format!(
                "link set {BRIDGE} type bridge nf_call_iptables 0 nf_call_ip6tables 0"
            ));
            lines.push(format!("addr flush dev {BRIDGE}"));
            lines.push("link set lo down mtu 65536".to_owned());
            lines.push("addr flush dev lo".to_owned());
            lines.push("route flush table local proto boot".to_owned());
            let ruled = self.ruled.get()[at];
            let both = both(ruled);
            lines.extend_from_slice(&both);
            if ruled {
                lines.push("rule add pref 32767 lookup default".to_owned());
            }
            batch("-4", &lines, false)?;
            let all = devices(at).chain(["lo".to_owned()]);
            let six = all.map(|name| format!("addr flush dev {name} scope global"));
            batch("-6", &six.chain(both).collect::<Vec<_>>(), false)?;
            self.settings(at)?;
        }
        Ok(())
    }

    fn settings(&self, at: usize) -> Result<()> {
        for (name, value) in SETTINGS {
            write(&format!("ipv4/conf/all/{name}"), value).or_else(|e| match name {
                // Kernels before some of them.
                "bc_forwarding" => Ok(()),
                _ => Err(e),
            })?;
            for device in devices(at) {
                let _ = write(&format!("ipv4/conf/{device}/{name}"), value);
            }
        }
        for (name, value) in SETTINGS6 {
            for place in devices(at).chain(["all".to_owned()]) {
                write(&format!("ipv6/conf/{place}/{name}"), value)?;
            }
        }
        for device in devices(at) {
            write(&format!("ipv6/conf/{device}/forwarding"), "1")?;
        }
        for name in PAST_NETFILTER {
            let _ = write(name, "0");
        }
        write("ipv4/ip_forward_use_pmtu", "0")?;
        write("ipv4/nexthop_compat_mode", "1")?;
        write("ipv6/conf/all/forwarding", "1")
    }

    /// Puts a world on it; what the kernel refuses of it is left out.
    pub fn build(&self, commands: &[Command]) -> Result<()> {
        self.give(commands)?;
        for (at, space) in self.spaces.iter().enumerate() {
            space.enter()?;
            let of = || commands.iter().filter(|command| command.space == at);
            let words = |wanted: fn(&Line) -> Option<&String>| -> Vec<String> {
                let all = of().filter_map(|command| wanted(&command.line));
                all.filter(|words| given(words).is_none())
                    .cloned()
                    .collect()
            };
            let lines = words(|line| match line {
                Line::Ip(words) => Some(words),
                _ => None,
            });
            let six = words(|line| match line {
                Line::Ip6(words) => Some(words),
                _ => None,
            });
            let bridge = words(|line| match line {
                Line::Bridge(words) => Some(words),
                _ => None,
            });
            if lines
                .iter()
                .chain(&six)
                .any(|line| line.starts_with("rule "))
            {
                let mut ruled = self.ruled.get();
                ruled[at] = true;
                self.ruled.set(ruled);
            }
            let lasts =
                |line: &String| line.starts_with("route add local ") || line.starts_with("xfrm ");
            let spends = lines.iter().chain(&six).any(lasts);
            self.spent.set(self.spent.get() || spends);
            let rules = words(|line| match line {
                Line::Nft(words) => Some(words),
                _ => None,
            });
            let tables = iptables::lines(of());
            let lists = words(|line| match line {
                Line::Ipset(words) => Some(words),
                _ => None,
            });
            if !rules.is_empty() || !tables.is_empty() || !lists.is_empty() {
                let mut filtered = self.filtered.get();
                filtered[at] = true;
                self.filtered.set(filtered);
            }
            let own = tables.keys().filter(|(legacy, ..)| *legacy);
            let own = own.map(|(_, ipv6, table)| (at, *ipv6, table.clone()));
            self.own_tables.borrow_mut().extend(own);
            // A route keeps the source that was chosen by the settings of when it was made.
            settle(of());
            batch("-4", &lines, false)?;
            batch("-6", &six, false)?;
            batch_of("bridge", &[], &bridge, false)?;
            for command in of() {
                match &command.line {
                    Line::Wg { key, words } => wireguards::set(key, words)?,
                    // Its connections stay when its servers are gone.
                    Line::Ipvs(words) => {
                        self.spent.set(true);
                        ipvs::set(words)?;
                    }
                    _ => {}
                }
            }
            let attached = format!("tuntap add dev {TUN} ");
            if lines
                .iter()
                .chain(&six)
                .any(|line| line.starts_with(&attached))
            {
                self.attached.borrow_mut().push(tuns::attach(TUN)?);
            }
            for made in added(at) {
                if lines.iter().chain(&six).any(|line| line.contains(&made)) {
                    // What a new device has of itself is the first namespace's.
                    let _ = ask_once(&made, SOON);
                }
            }
            settle(of());
            counters::rule(&rules)?;
            ipsets::restore(&lists)?;
            iptables::restore(&tables)?;
        }
        Ok(())
    }

    /// Devices that are made on a link of one namespace for another come first.
    fn give(&self, commands: &[Command]) -> Result<()> {
        let mut all = Vec::new();
        for command in commands {
            let (Line::Ip(words) | Line::Ip6(words)) = &command.line else {
                continue;
            };
            let Some((link, name, to)) = given(words) else {
                continue;
            };
            let path = self.spaces[to].path();
            let words = words.replace(&format!(" netns s{to}"), &format!(" netns {path}"));
            self.enter(command.space)?;
            batch("-4", &[words], false)?;
            all.push(Given {
                own: (to, name.to_owned()),
                link: (command.space, link.to_owned()),
            });
        }
        self.given.replace(all);
        Ok(())
    }

    /// How long a neighbour may take to answer.
    pub fn wait_for_neighbours(&self, wait: Duration) -> Result<()> {
        for (at, space) in self.spaces.iter().enumerate() {
            space.enter()?;
            devices(at).try_for_each(|device| ask_once(&device, wait))?;
            // Some have none.
            for device in added(at) {
                let _ = ask_once(&device, wait);
            }
        }
        Ok(())
    }

    /// What gathering reads back: that is what is walked. The kernel may still be taking note of links
    /// that got a signal, and asking for neighbours that were not there yet when the first devices came up.
    pub fn read(&self) -> Result<World> {
        if self.ipv6 {
            std::thread::sleep(JOINED);
        }
        let began = Instant::now();
        let settled = loop {
            let world = self.read_now()?;
            let bonds = began.elapsed() > BONDS || bonds_looked(&world);
            let (chose, most) = match bonds_chose(&world) {
                true => (true, Duration::from_secs(2)),
                false => (false, LACP),
            };
            let settled = bonds && chose && is_settled(&world);
            if settled || began.elapsed() > most {
                break world;
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        if !self.ipv6 {
            return Ok(settled);
        }
        // Whom devices told of their groups is nothing that a world knows.
        for space in &self.spaces {
            space.enter()?;
            batch("-6", &["neigh flush all".to_owned()], false)?;
        }
        self.read_now()
    }

    fn read_now(&self) -> Result<World> {
        let mut world = World::default();
        for (at, space) in self.spaces.iter().enumerate() {
            space.enter()?;
            let mut stack = stack::read(Path::new("/"), &listing::NODE);
            stack.ruleset = match self.filtered.get()[at] {
                true => stack::ruleset::read(counters::MOST),
                false => Known::Is(Arc::default()),
            };
            world.stacks.insert(space.inode, stack);
        }
        self.join(&mut world);
        Ok(world)
    }

    /// The pairs: which device is whose other end is known from their making.
    fn join(&self, world: &mut World) {
        let named = |world: &World, at: usize, name: &str| {
            let netns = self.spaces[at].inode;
            let stack: &Stack = world.stacks.get(&netns)?;
            let index = stack.device_by_name(name)?.index;
            Some(End { netns, index })
        };
        let end = |world: &World, at: usize, to: usize| named(world, at, &device(to));
        for given in self.given.borrow().iter() {
            let own = named(world, given.own.0, &given.own.1);
            let link = named(world, given.link.0, &given.link.1);
            world.wires.extend(own.zip(link));
        }
        for at in 0..SPACES {
            let inner = INNER.map(|name| named(world, at, name));
            if let [Some(one), Some(other)] = inner {
                world.wires.extend([(one, other), (other, one)]);
            }
            for to in (0..SPACES).filter(|to| *to != at) {
                if let (Some(own), Some(peer)) = (end(world, at, to), end(world, to, at)) {
                    world.wires.insert(own, peer);
                }
            }
        }
    }

    /// Whether this kernel has that kind of links.
    pub fn has(&self, (made, name): (&str, &str)) -> Result<bool> {
        self.enter(0)?;
        let has = batch("-4", &[made.to_owned()], true).is_ok();
        batch("-4", &[format!("link del {name}")], false)?;
        Ok(has)
    }

    /// Where somebody made rules of nf_tables.
    pub fn filtered(&self) -> impl Iterator<Item = usize> {
        let filtered = self.filtered.get();
        (0..SPACES).filter(move |at| filtered[*at])
    }

    pub fn inode(&self, at: usize) -> u32 {
        self.spaces[at].inode
    }

    pub fn place(&self, inode: u32) -> Option<usize> {
        self.spaces.iter().position(|space| space.inode == inode)
    }

    pub fn enter(&self, at: usize) -> Result<()> {
        self.spaces[at].enter()
    }
}

impl Space {
    /// A namespace without a name, held by its file.
    fn new() -> Result<Self> {
        let made = std::thread::spawn(|| -> Result<File> {
            unshare(CloneFlags::CLONE_NEWNET).context("making a network namespace")?;
            Ok(file::namespace(Path::new("/proc/thread-self/ns/net"))?)
        });
        let file = made
            .join()
            .map_err(|_| anyhow::anyhow!("a thread died"))??;
        let inode = std::os::unix::fs::MetadataExt::ino(&file.metadata()?);
        Ok(Self {
            file,
            inode: u32::try_from(inode)?,
        })
    }

    fn enter(&self) -> Result<()> {
        setns(self.file.as_fd(), CloneFlags::CLONE_NEWNET).context("entering a namespace")
    }

    fn path(&self) -> String {
        let pid = std::process::id();
        format!("/proc/{pid}/fd/{}", self.file.as_raw_fd())
    }
}

fn ask_once(device: &str, wait: Duration) -> Result<()> {
    let wait = ("retrans_time_ms", &*wait.as_millis().to_string());
    ["ipv4", "ipv6"].iter().try_for_each(|family| {
        let mut all = ASKED.into_iter().chain([wait]);
        all.try_for_each(|(name, value)| write(&format!("{family}/neigh/{device}/{name}"), value))
    })
}

/// Writes those sysctls that are there.
fn settle<'a>(commands: impl Iterator<Item = &'a Command>) {
    for command in commands {
        if let Line::Sysctl(name, value) = &command.line {
            let _ = write(name, value);
        }
    }
}

/// What is forgotten of either family.
fn both(ruled: bool) -> Vec<String> {
    let tables = TABLES.iter().map(u32::to_string).chain(["main".into()]);
    let mut lines: Vec<_> = tables
        .map(|table| format!("route flush table {table}"))
        .collect();
    lines.push("nexthop flush".to_owned());
    lines.push("neigh flush all nud all".to_owned());
    lines.push("neigh flush proxy".to_owned());
    lines.push("route flush cache".to_owned());
    if ruled {
        lines.push("rule add pref 0 lookup local".to_owned());
        lines.push("rule flush".to_owned());
        lines.push("rule add pref 32766 lookup main".to_owned());
    }
    lines
}

/// The link, the name and the namespace of a device that is made on a link here and put there.
fn given(words: &str) -> Option<(&str, &str, usize)> {
    let words: Vec<&str> = words.split(' ').collect();
    let after = |word: &str| {
        let at = words.iter().position(|it| *it == word)?;
        words.get(at + 1).copied()
    };
    let to = after("netns")?.strip_prefix('s')?.parse().ok()?;
    let made = words.starts_with(&["link", "add", "link"]) && to < SPACES;
    made.then_some((words[3], after("name")?, to))
}
