//! Starts what listens: the sockets, the UDP workers, the TCP servers and the slow path.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::net::TcpListener;

use super::config::Config;
use super::counters::{Counters, Totals};
use super::desk::Desks;
use super::handler::Handler;
use super::server::{Handlers, Worker};
use super::slow::{Help, Slow};
use super::socket::{self, BindError, Bound, Datagrams};
use super::tcp;
use crate::metrics::Metrics;
use crate::task::Tasks;

/// Why DNS did not start; nothing listens then.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is no address to listen on.
    #[error("no address to listen on for DNS")]
    NoAddress,
    /// An address or port is taken, or not of this machine.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The system refuses a thread, or a listener cannot be watched.
    #[error("cannot start DNS: {0}")]
    System(#[from] io::Error),
}

/// A running engine; it ends with its [`Tasks`].
#[derive(Clone, Debug)]
pub struct Handle {
    addresses: Vec<SocketAddr>,
    workers: usize,
    counters: Arc<Counters>,
}

impl Handle {
    /// Where it listens, for UDP and TCP, in the order of the configuration.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// UDP worker threads.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// What became of the datagrams so far.
    pub fn totals(&self) -> Totals {
        self.counters.totals()
    }
}

/// Binds and starts answering, with a handler of `handlers` for each worker and some for TCP; what
/// they leave to the slow path is answered with `help`. To be called in a tokio runtime.
///
/// # Errors
/// An address cannot be bound, which names it and the port, or the system refuses threads.
pub fn start<H: Handler>(
    config: &Config,
    help: impl Into<Help>,
    handlers: impl Fn() -> H + Send + Sync + 'static,
    metrics: &Metrics,
    tasks: &Tasks,
) -> Result<Handle, StartError> {
    if config.addresses.is_empty() {
        return Err(StartError::NoAddress);
    }
    let workers = config.worker_count();
    let bound = socket::bind(config, workers)?;
    let addresses = bound.iter().map(|bound| bound.address).collect();
    let all = bound
        .iter()
        .flat_map(|bound| bound.datagrams.iter().cloned())
        .collect();
    let counters = Counters::new(workers, all, metrics);
    let handlers: Handlers<H> = Arc::new(handlers);
    let desks = Arc::new(Desks::new(Arc::clone(&handlers)));
    let memory = Arc::clone(&desks);
    let slow = Slow::start(
        &config.slow,
        help.into(),
        memory,
        Arc::clone(&counters),
        tasks,
    );
    let stop = stop_flag(tasks);
    for number in 0..workers {
        let worker = Worker {
            number,
            handlers: Arc::clone(&handlers),
            sockets: sockets_of(&bound, number),
            slow: slow.clone(),
            counters: Arc::clone(&counters),
            stop: Arc::clone(&stop),
        };
        let config = config.clone();
        tasks.spawn_thread(&format!("dns-{number}"), move || worker.run(&config))?;
    }
    let server = tcp::Server::new(
        config.tcp.clone(),
        desks,
        slow,
        Arc::clone(&counters),
        tasks,
    );
    for bound in bound {
        let listener = TcpListener::from_std(bound.listener)?;
        tasks.spawn(Arc::clone(&server).accept(listener, tasks.clone()));
    }
    Ok(Handle {
        addresses,
        workers,
        counters,
    })
}

fn sockets_of(bound: &[Bound], worker: usize) -> Vec<Arc<Datagrams>> {
    bound
        .iter()
        .filter_map(|bound| bound.datagrams.get(worker))
        .cloned()
        .collect()
}

/// Becomes true when the tasks are asked to stop, or their runtime is gone. A worker looks at it
/// after each few batches, and asking the token itself takes a lock.
fn stop_flag(tasks: &Tasks) -> Arc<AtomicBool> {
    struct Raise(Arc<AtomicBool>);
    impl Drop for Raise {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let flag = Arc::new(AtomicBool::new(false));
    let raise = Raise(Arc::clone(&flag));
    tasks.spawn(async move {
        let _raise = raise;
        std::future::pending::<()>().await;
    });
    flag
}

#[cfg(test)]
mod tests;
