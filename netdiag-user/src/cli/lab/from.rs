//! `netdiag lab from`: a recorded node stood up in network namespaces, and its conversations tried there.
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;

use super::{
    args::Shape,
    line,
    report::plain_table,
    standing::{enter, program},
};
use crate::{
    cli::{
        options::{Causes, SelectionArgs},
        replay::{allowance, player::Player},
    },
    diagnosis::rehearsed::{self, Conversation, Fate},
    lab::netns::PREFIX,
    lab::replica::{
        self, Replica, Wanted,
        tried::{self, Became, Servers, Talk},
    },
    model::{
        flow::{self, TCP, UDP},
        roles::Role,
        shell::CommandLine,
        text,
        world::{Netns, World},
    },
    output,
    pipeline::facts::Facts,
    shell,
};

/// Conversations that are tried, and told of each namespace what is not as it was recorded.
const TRIED: usize = 64;
const TOLD: usize = 10;
const DIFFER: i32 = 1;
/// Characters of what a stranger may have named.
const NAME: usize = 64;
const SENTENCE: usize = 240;

#[derive(Args, Debug)]
pub struct FromArgs {
    /// A recording that `diagnose --record FILE` made.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Try the recorded conversations there, and tell which live and die as they did; exit code 1 where some do not.
    #[arg(long)]
    pub traffic: bool,
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Shape,
}

/// What stands, and what it is good for.
#[derive(Serialize)]
struct Standing {
    id: String,
    node: String,
    namespaces: Vec<Space>,
    /// What is not as it was recorded.
    left: Vec<Left>,
    #[serde(skip_serializing_if = "Option::is_none")]
    conversations: Option<Vec<Tried>>,
    commands: Commands,
}

/// Each as it is pasted.
#[derive(Serialize)]
struct Commands {
    traffic: CommandLine,
    diagnose: CommandLine,
    down: CommandLine,
}

#[derive(Serialize)]
struct Space {
    what: String,
    netns: String,
}

#[derive(Serialize)]
struct Left {
    netns: String,
    what: Vec<String>,
}

#[derive(Serialize)]
struct Tried {
    flow: String,
    /// `lived`, `died`, `lived and died`
    recorded: &'static str,
    /// `lives`, `dies`, from the recorded state; nothing where that cannot be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    computed: Option<&'static str>,
    /// The same where the node stands again; nothing where it could not be tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    here: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// How what became of one here is to be read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    AsRecorded,
    /// It died of what is no part of the state (a queue, a program, who lies beyond), or lived before the state was so.
    AsComputed,
    Otherwise,
    NotTried,
}

impl Tried {
    fn reading(&self) -> Reading {
        match (self.recorded, self.here) {
            (_, None) => Reading::NotTried,
            ("lived", Some("lives")) | ("died", Some("dies")) | ("lived and died", _) => {
                Reading::AsRecorded
            }
            (_, here) if here == self.computed => Reading::AsComputed,
            _ => Reading::Otherwise,
        }
    }
}

pub fn run(args: &FromArgs) -> Result<i32> {
    allowance::guard(std::slice::from_ref(&args.file), true);
    let asked = SelectionArgs::default().asked(&[], &Causes::default());
    let one = Player::open(&args.file, &asked)?.play(None)?;
    let rows = one.scene.rows(&one.last);
    let facts = one.scene.facts(&rows);
    let world = facts.prepared().world;
    let conversations = rehearsed::conversations(&facts, TRIED);
    let beyond = rehearsed::beyond(&facts, &conversations);
    let links = facts.node.links.iter();
    let pods = links.filter(|link| facts.role(link) == Some(Role::Pod));
    let pods = pods.map(|link| link.index).collect();
    let wanted = Wanted {
        world,
        node: facts.node.netns,
        answers: &beyond.answers,
        answered: &beyond.answered,
        unanswered: &beyond.unanswered,
        came: &beyond.came,
        pods: &pods,
    };
    let file = || text::line(&args.file.display().to_string(), SENTENCE);
    let replica = replica::stand(&wanted).with_context(file)?;
    let talk = Talk {
        servers: servers(&facts, world, &replica, &conversations),
        conversations: conversations
            .iter()
            .map(|one| conversation(world, &replica, one))
            .collect(),
    };
    talk.keep(&replica.record)?;
    let tried = args.traffic.then(|| tried(&talk, &conversations));
    let standing = standing(&facts, &replica, tried.transpose()?)?;
    match args.output {
        Shape::Json => line(&output::pretty_json(&standing)?)?,
        Shape::Table => table(&args.file, &standing)?,
    }
    let mut all = standing.conversations.iter().flatten();
    let differs = all.any(|it| it.reading() == Reading::Otherwise);
    Ok(if differs { DIFFER } else { 0 })
}

fn standing(
    facts: &Facts<'_>,
    replica: &Replica,
    conversations: Option<Vec<Tried>>,
) -> Result<Standing> {
    let own = replica.spaces.iter().map(|(inode, netns)| Space {
        what: label(facts, *inode),
        netns: netns.clone(),
    });
    let beyond = replica.beyond.iter().map(|it| Space {
        what: text::line(&it.what, NAME),
        netns: it.netns.clone(),
    });
    let id = replica.record.id.clone();
    let netdiag = program()?;
    let root = replica::root_of(&replica.record).display().to_string();
    let node = replica.spaces.get(&facts.node.netns).cloned();
    let diagnose = shell!(
        "ip netns exec {} {} diagnose",
        node.unwrap_or_default(),
        netdiag
    );
    let place = [
        "--root",
        &root,
        "--cgroup-root",
        &format!("{PREFIX}{id}"),
        "--node-name",
        &facts.node.name,
    ];
    let commands = Commands {
        traffic: shell!("{} lab traffic {}", netdiag, id),
        diagnose: diagnose.with_words(place.map(str::to_owned)),
        down: shell!("{} lab down {}", netdiag, id),
    };
    let mut namespaces: Vec<Space> = own.collect();
    namespaces.sort_by(|a, b| a.netns.cmp(&b.netns));
    namespaces.extend(beyond);
    Ok(Standing {
        node: facts.node.name.clone(),
        namespaces,
        left: replica
            .left
            .iter()
            .map(|(netns, what)| Left {
                netns: netns.clone(),
                what: what.iter().map(|it| text::line(it, SENTENCE)).collect(),
            })
            .collect(),
        conversations,
        commands,
        id,
    })
}

fn label(facts: &Facts<'_>, inode: Netns) -> String {
    if inode == facts.node.netns {
        return format!("node {}", facts.node.name);
    }
    let side = facts.node.pod_sides.iter().find(|side| side.netns == inode);
    let address = side.and_then(|side| side.addresses.first());
    match address {
        Some(address) => format!("pod {address}"),
        None => "pod".to_owned(),
    }
}

fn tried(talk: &Talk, all: &[Conversation]) -> Result<Vec<Tried>> {
    let told = all.iter().zip(talk.all()?).map(|(one, became)| {
        let (here, why) = match became {
            Became::Answered => (Some("lives"), None),
            Became::Died(why) => (Some("dies"), Some(why)),
            Became::NotTried(why) => (None, Some(why)),
        };
        Tried {
            flow: flow::display(&one.flow).unwrap_or_default(),
            recorded: match one.fate {
                Fate::Lived => "lived",
                Fate::Died => "died",
                Fate::Both => "lived and died",
            },
            computed: one.arrives.map(|it| if it { "lives" } else { "dies" }),
            here,
            why,
        }
    });
    Ok(told.collect())
}

fn conversation(world: &World, replica: &Replica, one: &Conversation) -> tried::Conversation {
    let (from, to) = flow::ends(&one.flow);
    tried::Conversation {
        client: client(world, replica, from),
        protocol: one.flow.protocol,
        from: SocketAddr::new(from, one.flow.source_port),
        to: SocketAddr::new(to, one.flow.destination_port),
    }
}

/// Who has that address, or lies beyond.
fn client(world: &World, replica: &Replica, address: IpAddr) -> Option<String> {
    let own = world.stacks.iter().find(|(_, stack)| {
        let mut all = stack.addresses.some().into_iter().flatten();
        all.any(|it| it.own.address == address)
    });
    match own {
        Some((inode, _)) => replica.spaces.get(inode).cloned(),
        None => {
            let mut all = replica.beyond.iter();
            let one = all.find(|it| it.has.contains(&address));
            one.map(|it| it.netns.clone())
        }
    }
}

/// Those that were read; where nobody read them, whatever somebody asked for.
fn servers(
    facts: &Facts<'_>,
    world: &World,
    replica: &Replica,
    all: &[Conversation],
) -> Vec<Servers> {
    let mut wanted: BTreeSet<(u8, u16)> = BTreeSet::new();
    for one in all {
        let translated = facts.legs().translated(&one.flow).map(|(leg, _)| leg);
        for flow in [Some(one.flow), translated].into_iter().flatten() {
            wanted.insert((flow.protocol, flow.destination_port));
        }
    }
    let ports = |of: u8| -> Vec<u16> {
        let all = wanted.iter().filter(|(protocol, _)| *protocol == of);
        all.map(|(_, port)| *port).collect()
    };
    let streams = || {
        let all = ports(TCP).into_iter().flat_map(tried::everywhere);
        all.map(|at| (TCP, at))
    };
    // A datagram that a socket of every address answers may come from another one.
    let datagrams = |has: &BTreeSet<IpAddr>| -> Vec<(u8, SocketAddr)> {
        let at = |address: &IpAddr| {
            let address = *address;
            let all = ports(UDP).into_iter();
            all.map(move |port| (UDP, SocketAddr::new(address, port)))
        };
        has.iter().flat_map(at).collect()
    };
    let own = replica.spaces.iter().map(|(inode, netns)| {
        let stack = world.stacks.get(inode);
        let all = stack.and_then(|stack| stack.addresses.some());
        let has = all.into_iter().flatten().map(|it| it.own.address).collect();
        let mut at: BTreeSet<_> = datagrams(&has).into_iter().collect();
        match facts.gathered.listeners(*inode) {
            Some(known) => {
                for it in known.iter().filter(|it| it.device == 0) {
                    let all = it.address == IpAddr::from([0_u8; 16]) && !it.ipv6_only;
                    let of = |at: &SocketAddr| all || at.ip() == it.address;
                    let own = SocketAddr::new(it.address, it.port);
                    let each = tried::everywhere(it.port).into_iter().filter(of);
                    at.extend(each.chain([own]).map(|own| (TCP, own)));
                }
            }
            None => at.extend(streams()),
        }
        Servers {
            netns: netns.clone(),
            at,
        }
    });
    let beyond = replica.beyond.iter().map(|it| Servers {
        netns: it.netns.clone(),
        at: streams().chain(datagrams(&it.has)).collect(),
    });
    // What lies beyond several links may be one.
    let mut all: BTreeMap<String, BTreeSet<(u8, SocketAddr)>> = BTreeMap::new();
    for one in own.chain(beyond) {
        all.entry(one.netns).or_default().extend(one.at);
    }
    let all = all.into_iter();
    all.map(|(netns, at)| Servers { netns, at }).collect()
}

fn table(file: &Path, standing: &Standing) -> Result<()> {
    let file = file.display().to_string();
    line(&format!(
        "lab {} stands: node {} as in {}",
        standing.id,
        standing.node,
        text::line(&file, SENTENCE)
    ))?;
    let mut table = plain_table(&["WHAT", "ENTER WITH"]);
    for space in &standing.namespaces {
        table.add_row([space.what.clone(), enter(&space.netns)]);
    }
    line(&table.trim_fmt())?;
    if !standing.left.is_empty() {
        line("")?;
        line("not as it was recorded:")?;
    }
    for left in &standing.left {
        for what in left.what.iter().take(TOLD) {
            line(&format!("  {}: {what}", left.netns))?;
        }
        let more = left.what.len().saturating_sub(TOLD);
        if more > 0 {
            line(&format!("  {}: and {more} more", left.netns))?;
        }
    }
    if let Some(all) = &standing.conversations {
        line("")?;
        conversations(all)?;
    }
    line("")?;
    let commands = &standing.commands;
    line(&format!("traffic:  {}", commands.traffic))?;
    line(&format!("diagnose: {}", commands.diagnose))?;
    line(&format!("remove:   {}", commands.down))
}

fn conversations(all: &[Tried]) -> Result<()> {
    let mut table = plain_table(&["CONVERSATION", "RECORDED", "COMPUTED", "HERE", "WHY"]);
    for one in all {
        let here = one.here.unwrap_or("not tried");
        table.add_row([
            one.flow.clone(),
            one.recorded.to_owned(),
            one.computed.unwrap_or("unknown").to_owned(),
            match one.reading() {
                Reading::Otherwise => format!("{here} (!)"),
                _ => here.to_owned(),
            },
            one.why.clone().unwrap_or_default(),
        ]);
    }
    line(&table.trim_fmt())?;
    let count = |wanted: Reading| all.iter().filter(|it| it.reading() == wanted).count();
    let (recorded, computed) = (count(Reading::AsRecorded), count(Reading::AsComputed));
    line(&format!("{recorded} of {} as recorded", all.len()))?;
    if computed > 0 {
        line(&format!(
            "{computed} as computed: what they died of is no part of the state, or the state changed since they lived"
        ))?;
    }
    Ok(())
}
