//! How soon netdiag sees a node with more and more links, and what that does to who makes more.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use netdiag_kernel::cost;
use netdiag_kernel::hooked::Hooked;

use super::axes::compared;
use super::line::{Line, Tell};
use super::links::{self, Links, adding};
use super::rounds::Measuring;
use super::tracer::Tracer;
use super::{Attached, Bench, Levels, Load, Running, Sizes};
use crate::cluster::Cluster;
use crate::diagnosis::READY;
use crate::net::Net;
use crate::netns::Netns;
use crate::plan::A;

/// How often the kernel is asked whether links are covered.
const LOOK: Duration = Duration::from_millis(1);

pub async fn run(bench: &mut Bench, sizes: &Sizes, levels: &Levels, tell: Tell<'_>) -> Result<()> {
    let mut standing = 0;
    for at in [0].iter().chain(&sizes.links) {
        let mut links = Links::new(&bench.cluster)?;
        links.count = standing;
        links.up_to(*at).await?;
        standing = links.count;
        let aside = aside(&bench.cluster)?;
        let seconds = adding(&aside, sizes.adds, || false).await?;
        tell(&Line::Adds {
            links: *at,
            seconds,
        })?;
        for what in compared(sizes, levels) {
            let tracer = start(&bench.cluster, sizes, &what, *at, tell).await?;
            bench.running = Some(Running::Netdiag(tracer));
            load(bench, sizes, &what, *at, tell).await?;
            if what == levels.usual && sizes.links.last() == Some(at) {
                standing += new_links(&bench.cluster, sizes, &what, standing, tell).await?;
            }
            bench.detach().await?;
        }
    }
    Links::new(&bench.cluster)?.remove().await
}

/// A namespace that has no part in the way, so that only the kernel's locks are shared.
fn aside(cluster: &Cluster) -> Result<Net> {
    let [_, last] = &cluster.plan.switches;
    cluster.net(last).cloned()
}

async fn start(
    cluster: &Cluster,
    sizes: &Sizes,
    what: &Attached,
    at: u32,
    tell: Tell<'_>,
) -> Result<Tracer> {
    let node = &cluster.plan.nodes[A];
    let netns = cluster.netns(&node.netns)?;
    let infrastructure = vec![
        node.uplink.clone(),
        cluster.plan.tunnel.device.clone(),
        cluster.plan.bridge.clone(),
    ];
    let done = Arc::new(AtomicBool::new(false));
    let (net, stop, most) = (aside(cluster)?, done.clone(), sizes.adds);
    let mut tracer = Tracer::spawn(cluster, what, "ndjson")?;
    let begun = tracer.begun;
    let seen = watch(netns.clone(), infrastructure, begun);
    let stopped = move || stop.load(Ordering::Relaxed);
    let meanwhile = tokio::spawn(async move { adding(&net, most, stopped).await });
    let ready = tracer.ready().await;
    let infrastructure = join(seen).await;
    done.store(true, Ordering::Relaxed);
    let adds = meanwhile.await.context("making links panicked")??;
    let (ready, infrastructure) = (ready?, infrastructure?);
    // It says that it is ready when it believes to cover them; the kernel knows.
    let all = (0..at).map(links::name).collect();
    let late = join(watch(netns.clone(), all, Instant::now())).await?;
    let covered = if late.waited {
        begun.elapsed()
    } else {
        ready.max(infrastructure.after)
    };
    tell(&Line::Start {
        attached: *what,
        links: at,
        infrastructure: infrastructure.after.as_secs_f64(),
        covered: covered.as_secs_f64(),
        adds,
    })?;
    Ok(tracer)
}

/// When links were covered.
struct Seen {
    after: Duration,
    /// One of them was not yet when it was looked for.
    waited: bool,
}

/// Looks until all are covered, on a thread in that namespace.
fn watch(netns: Netns, links: Vec<String>, since: Instant) -> thread::JoinHandle<Result<Seen>> {
    thread::spawn(move || netns.run(|| wait(&links, since)))
}

fn wait(links: &[String], since: Instant) -> Result<Seen> {
    let mut hooked = Hooked::default();
    let mut waited = false;
    for link in links {
        while !hooked.covers(link)? {
            waited = true;
            ensure!(since.elapsed() < READY, "{link} was not covered in time");
            thread::sleep(LOOK);
        }
    }
    let after = since.elapsed();
    Ok(Seen { after, waited })
}

/// Waits for a thread without holding one of the runtime's.
async fn join<T: Send + 'static>(thread: thread::JoinHandle<Result<T>>) -> Result<T> {
    let joined = tokio::task::spawn_blocking(move || thread.join());
    let joined = joined.await.context("waiting for a thread")?;
    joined.map_err(|_| anyhow::anyhow!("a thread panicked"))?
}

/// What a packet costs with so many links beside its own.
async fn load(
    bench: &Bench,
    sizes: &Sizes,
    what: &Attached,
    at: u32,
    tell: Tell<'_>,
) -> Result<()> {
    let _timing = cost::timing()?;
    let measuring = Measuring::begin(bench, what, Load::Udp, true)?;
    let flooded = bench.run(Load::Udp, sizes.axis_time).await?;
    let sample = measuring.end(bench, flooded)?;
    let axis = "links";
    tell(&Line::Axis { axis, at, sample })
}

/// Makes links while netdiag runs; returns how many.
async fn new_links(
    cluster: &Cluster,
    sizes: &Sizes,
    what: &Attached,
    standing: u32,
    tell: Tell<'_>,
) -> Result<u32> {
    let netns = cluster.netns(&cluster.plan.nodes[A].netns)?;
    let mut links = Links::new(cluster)?;
    links.count = standing;
    let mut seconds = Vec::new();
    for _ in 0..sizes.new_links {
        let name = links.add().await?;
        let seen = join(watch(netns.clone(), vec![name], Instant::now())).await?;
        seconds.push(seen.after.as_secs_f64());
        // Pods come one after the other.
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    tell(&Line::New {
        attached: *what,
        links: standing,
        seconds,
    })?;
    Ok(sizes.new_links)
}
