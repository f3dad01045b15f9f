//! Two databases, a primary and the standby that follows it: what a run needs in which the primary is lost.
//!
//! Replication is PostgreSQL's own and synchronous: no commit is acknowledged before the standby has it on its disk, with `fsync` on at both. What
//! is acknowledged may therefore not be lost with the primary, and the referee holds the run to that.
//!
//! ```text
//! serve ───┬──▶ wire (faults) ──▶ door ──▶ the primary's socket
//! standby ─┘
//! serve ──────────────────────▶ door ──▶ the standby's socket
//! ```
//!
//! Whoever is a client of the primary is so through one wire, the standby too: when that loses every byte, the primary is as alone as behind a cable
//! that was pulled, while it lives on and knows nothing of it. Connections are neither closed nor refused: they hang, and no kernel notices, because
//! that of the wire goes on acknowledging. The clusters have no network of their own; a door lets TCP in to a socket's file. So that nobody else on
//! the machine comes in by it, both ask for a password, which is drawn for the run.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::net::{TcpListener, UnixStream};
use tokio::runtime::Runtime;
use tokio::task::{JoinHandle, JoinSet};

use super::super::credential::{hex, random};
use crate::cluster::{Cluster, ClusterOptions, SUPERUSER};
use crate::sandbox::proxy::{Flow, Manner, Proxy};
use crate::store::StoreError;
use crate::store::standby::Administrator;

/// What the primary calls its standby.
const STANDBY: &str = "second";
/// Nobody passes without the password, replication included.
const WHO_MAY: &str = "local all all scram-sha-256\nlocal replication all scram-sha-256\n";
const PRIMARY_FOLDER: &str = "postgres";
const STANDBY_FOLDER: &str = "standby";
/// How long the standby may take until it follows through the wire.
const FOLLOWS_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A primary, and the standby without which it commits nothing.
#[derive(Debug)]
pub struct Pair {
    primary: Cluster,
    standby: Cluster,
    wire: Proxy,
    _primary_door: Door,
    standby_door: Door,
    password: String,
    promote_after: Duration,
}

impl Pair {
    /// Starts both below `folder`, with `database` in them, and waits until the standby follows. Its wires live on `runtime`. A standby that is to be
    /// promoted is so `promote_after` its primary was lost.
    ///
    /// # Errors
    /// A sentence. What was started is ended.
    pub fn start(folder: &Path, database: &str, promote_after: Duration, runtime: &Runtime) -> Result<Self, String> {
        let options = ClusterOptions::default();
        let primary = Cluster::start(&folder.join(PRIMARY_FOLDER), &options).map_err(|error| error.to_string())?;
        primary.ensure_database(database).map_err(|error| error.to_string())?;
        let standby = Cluster::start_standby(&folder.join(STANDBY_FOLDER), &primary, STANDBY, &options).map_err(|error| error.to_string())?;
        let (primary_door, standby_door) = runtime.block_on(async { Ok::<_, String>((Door::to(&primary).await?, Door::to(&standby).await?)) })?;
        let inside = runtime.enter();
        let wire = Proxy::start(primary_door.address).map_err(|error| format!("no port can be had: {error}"))?;
        drop(inside);
        let password = hex(&random()?);
        let pair = Self { primary, standby, wire, _primary_door: primary_door, standby_door, password, promote_after };
        runtime.block_on(pair.marry())?;
        Ok(pair)
    }

    /// The folders below the run's own that hold data.
    pub const fn folders() -> [&'static str; 2] {
        [PRIMARY_FOLDER, STANDBY_FOLDER]
    }

    /// The address of `database` as those who serve have it: both hosts, of which that is meant which takes writes.
    pub fn url(&self, database: &str) -> String {
        let (first, second) = (self.wire.address(), self.standby_door.address);
        format!("postgresql://{SUPERUSER}:{}@{first},{second}/{database}?target_session_attrs=read-write", self.password)
    }

    /// SIGKILL of the primary's postmaster; then the standby is promoted. Returns when it has been.
    ///
    /// # Errors
    /// A sentence.
    pub fn kill_and_promote(&self) -> Result<(), String> {
        self.kill_primary()?;
        self.promote()
    }

    /// What is sent to the primary vanishes from now on, and so do its answers; then the standby is promoted. Returns when it has been. The old
    /// primary lives on.
    ///
    /// # Errors
    /// A sentence.
    pub fn cut_off_and_promote(&self) -> Result<(), String> {
        self.wire.set(Manner { flow: Flow::Lose, ..Manner::default() });
        self.promote()
    }

    /// SIGKILL of the postmaster that was the primary's. Its processes end by themselves.
    ///
    /// # Errors
    /// A sentence.
    pub fn kill_primary(&self) -> Result<(), String> {
        let pid = i32::try_from(self.primary.pid()).ok().and_then(Pid::from_raw).ok_or("the postmaster has no process id")?;
        kill_process(pid, Signal::KILL).map_err(|error| format!("the postmaster could not be killed: {error}"))
    }

    /// The network is whole again.
    pub fn heal(&self) {
        self.wire.heal();
    }

    fn promote(&self) -> Result<(), String> {
        std::thread::sleep(self.promote_after);
        let errand = super::super::database::errand_runtime()?;
        let promoted = errand.block_on(async { enter(&self.standby, &self.password).await?.promote().await }).map_err(|error| error.to_string())?;
        if promoted { Ok(()) } else { Err("the standby was not promoted in time".to_owned()) }
    }

    /// Locks both doors, and has the primary wait for a standby that follows through the wire.
    async fn marry(&self) -> Result<(), String> {
        self.introduce().await.map_err(|error| error.to_string())?;
        // While the sockets' folders alone decide who may enter, any password does.
        for cluster in [&self.primary, &self.standby] {
            let inside = enter(cluster, &self.password).await.map_err(|error| error.to_string())?;
            let file = cluster.data_dir().join("pg_hba.conf");
            fs::write(&file, WHO_MAY).map_err(|error| format!("{}: {error}", file.display()))?;
            inside.reload().await.map_err(|error| error.to_string())?;
        }
        let deadline = Instant::now() + FOLLOWS_WITHIN;
        loop {
            // The standby may not have heard of the password yet.
            match self.is_one().await {
                Ok(true) => return Ok(()),
                Ok(false) | Err(_) if Instant::now() < deadline => tokio::time::sleep(LOOK_EVERY).await,
                Ok(false) => return Err(format!("the standby does not follow: read {}", self.standby.log().display())),
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    async fn introduce(&self) -> Result<(), StoreError> {
        let (primary, standby) = (enter(&self.primary, &self.password).await?, enter(&self.standby, &self.password).await?);
        let (wire, password) = (self.wire.address(), &self.password);
        primary.set_password(SUPERUSER, password).await?;
        primary.wait_for_standby(STANDBY).await?;
        let origin = format!("host={} port={} user={SUPERUSER} password={password} application_name={STANDBY}", wire.ip(), wire.port());
        standby.follow(&origin).await
    }

    /// Whether the standby follows through the wire, and the primary waits for it.
    async fn is_one(&self) -> Result<bool, StoreError> {
        let (primary, standby) = (enter(&self.primary, &self.password).await?, enter(&self.standby, &self.password).await?);
        Ok(standby.follows_through(self.wire.address().port()).await? && primary.waits_for_one().await?)
    }
}

async fn enter(cluster: &Cluster, password: &str) -> Result<Administrator, StoreError> {
    Administrator::connect(&format!("{}&password={password}", cluster.url("postgres"))).await
}

/// A port on loopback that leads to the socket of a cluster. Dropping it closes it, and what is open through it.
#[derive(Debug)]
struct Door {
    address: SocketAddr,
    keeper: JoinHandle<()>,
}

impl Door {
    async fn to(cluster: &Cluster) -> Result<Self, String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|error| format!("no port can be had: {error}"))?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        Ok(Self { address, keeper: tokio::spawn(keep(listener, cluster.socket_file())) })
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

async fn keep(listener: TcpListener, socket: PathBuf) {
    let mut guests = JoinSet::new();
    while let Ok((mut client, _)) = listener.accept().await {
        while guests.try_join_next().is_some() {}
        let socket = socket.clone();
        guests.spawn(async move {
            // A server that is gone: the client finds its connection closed.
            let Ok(mut server) = UnixStream::connect(&socket).await else { return };
            let _nagle = client.set_nodelay(true);
            let _broken = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        });
    }
}
