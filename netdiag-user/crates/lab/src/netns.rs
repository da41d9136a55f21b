//! Named network namespaces, made and removed as `ip netns` does, so that `ip netns exec` works
//! on them.
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result, anyhow, bail};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

/// Where iproute2 keeps its names.
pub const DIR: &str = "/run/netns";
/// Every namespace of a lab starts with this; nothing else is ever removed.
pub const PREFIX: &str = "netdiag-";

/// An open network namespace. It stays usable after its name is gone.
#[derive(Clone, Debug)]
pub struct Netns {
    pub name: String,
    file: Arc<File>,
}

impl Netns {
    /// Makes a namespace of that name.
    pub fn create(name: &str) -> Result<Self> {
        let path = path(name);
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .with_context(|| format!("cannot create {}", path.display()))?;
        let made = on_new_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?;
            let none = None::<&str>;
            let own = Some("/proc/thread-self/ns/net");
            mount(own, &path, none, MsFlags::MS_BIND, none)
                .with_context(|| format!("cannot mount {}", path.display()))
        });
        if let Err(error) = made {
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        Self::open(name)
    }

    /// Opens a namespace that is there.
    pub fn open(name: &str) -> Result<Self> {
        let path = path(name);
        let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Self {
            name: name.to_owned(),
            file: Arc::new(file),
        })
    }

    /// A new handle of the namespace, for a child process.
    pub fn file(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Moves the calling thread into the namespace, for good.
    pub fn enter(&self) -> Result<()> {
        setns(&*self.file, CloneFlags::CLONE_NEWNET)
            .with_context(|| format!("cannot enter {}", self.name))
    }

    /// Runs the closure in the namespace, on a thread of its own: the caller's thread, which may
    /// be one of tokio's, never changes its namespace.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        on_new_thread(|| {
            self.enter()?;
            work()
        })
        .with_context(|| format!("in {}", self.name))
    }

    /// Writes sysctls such as `net/ipv4/ip_forward`. One that this kernel lacks is passed over:
    /// an older kernel has not the knob and not the behaviour either.
    pub fn sysctls(&self, values: &[(&str, &str)]) -> Result<()> {
        self.run(|| {
            for (key, value) in values {
                match fs::write(Path::new("/proc/sys").join(key), value) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        log::debug!("no sysctl {key}");
                    }
                    done => done.with_context(|| format!("cannot set {key} to {value}"))?,
                }
            }
            Ok(())
        })
    }
}

/// Runs the closure in a nameless namespace that is gone afterwards.
pub fn scratch<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    on_new_thread(|| {
        unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?;
        work()
    })
}

/// The file that stands for a namespace.
pub fn path(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

/// Takes a namespace's name away; the kernel frees it when its last user is gone.
pub fn remove(name: &str) -> Result<()> {
    if !name.starts_with(PREFIX) || name.contains('/') {
        bail!("{name} is not a namespace of a lab");
    }
    let path = path(name);
    match umount2(&path, MntFlags::MNT_DETACH) {
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
        Err(error) => {
            return Err(error).with_context(|| format!("cannot unmount {}", path.display()));
        }
    }
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Makes `/run/netns` what iproute2 makes of it: a mount point of its own, shared. Without that
/// a later `ip netns add` would bind it over itself, and our names would be mounted twice.
pub fn prepare() -> Result<()> {
    fs::create_dir_all(DIR).with_context(|| format!("cannot create {DIR}"))?;
    let dir = File::open(DIR).with_context(|| format!("cannot open {DIR}"))?;
    let _lock = Flock::lock(dir, FlockArg::LockExclusive)
        .map_err(|(_, error)| error)
        .with_context(|| format!("cannot lock {DIR}"))?;
    let none = None::<&str>;
    let shared = MsFlags::MS_SHARED | MsFlags::MS_REC;
    if mount(none, DIR, none, shared, none).is_ok() {
        return Ok(());
    }
    let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(DIR), DIR, none, bind, none).with_context(|| format!("cannot bind {DIR}"))?;
    mount(none, DIR, none, shared, none).with_context(|| format!("cannot share {DIR}"))
}

fn on_new_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        thread::Builder::new()
            .name("netns".to_owned())
            .spawn_scoped(scope, work)
            .context("cannot start a thread")?
            .join()
            .unwrap_or_else(|_| Err(anyhow!("a thread in a network namespace panicked")))
    })
}
