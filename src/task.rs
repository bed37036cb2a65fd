//! Spawns, cancels and awaits tasks and threads, so that stopping a part leaves nothing behind.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The tasks and threads of one agent. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
    threads: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl Tasks {
    /// No tasks yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `future` until it ends by itself or [`Tasks::stop`] is called, which drops it at its
    /// next await.
    pub fn spawn<F>(&self, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.spawn_boxed(Box::pin(future), true);
    }

    /// Runs `future` to its end: it watches [`Tasks::stopping`] itself and may drain.
    pub fn spawn_draining<F>(&self, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.spawn_boxed(Box::pin(future), false);
    }

    /// One kind of task for all futures: the runtime has code of its own for each kind, which for
    /// all of them would be a fortieth of the program.
    fn spawn_boxed(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>, ends_at_stop: bool) {
        let stop = self.stop.clone();
        #[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
        drop(tokio::spawn(self.tracker.track_future(async move {
            tokio::select! {
                () = stop.cancelled(), if ends_at_stop => {}
                () = future => {}
            }
        })));
    }

    /// Runs `body` on a thread of its own named `name` (at most 15 octets are shown by the
    /// system). It must watch [`Tasks::stopping`] and return soon after.
    ///
    /// # Errors
    /// The system refuses another thread.
    pub fn spawn_thread<F>(&self, name: &str, body: F) -> io::Result<()>
    where
        F: FnOnce() + Send + 'static,
    {
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(body)?;
        self.lock().push(thread);
        Ok(())
    }

    /// Fires once [`Tasks::stop`] was called; `is_cancelled` asks without waiting.
    pub fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Asks everything to end and waits for it, at most `limit`. Whether all of it ended in time.
    pub async fn stop(&self, limit: Duration) -> bool {
        self.stop.cancel();
        self.tracker.close();
        let threads = std::mem::take(&mut *self.lock());
        let (joined, all_joined) = mpsc::sync_channel(1);
        let join = move || joined.send(threads.into_iter().all(|thread| thread.join().is_ok()));
        // The threads see the same signal, but a join cannot be given up, and the runtime waits for
        // its own threads when it ends: so another thread joins, and one of the runtime's waits no
        // longer than `limit`.
        let joining = std::thread::Builder::new()
            .name("herald-join".to_owned())
            .spawn(join);
        let ended = async {
            self.tracker.wait().await;
            let wait = move || joining.is_ok() && all_joined.recv_timeout(limit).unwrap_or(false);
            tokio::task::spawn_blocking(wait).await.unwrap_or(false)
        };
        tokio::time::timeout(limit, ended).await.unwrap_or(false)
    }

    /// A panic elsewhere does not make the list useless.
    fn lock(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn stopping_ends_tasks_and_threads() {
        let tasks = Tasks::new();
        tasks.spawn(std::future::pending());
        let stopping = tasks.stopping();
        tasks
            .spawn_thread("test", move || {
                while !stopping.is_cancelled() {
                    std::thread::yield_now();
                }
            })
            .unwrap();
        assert!(tasks.stop(Duration::from_secs(10)).await);
    }

    #[test]
    fn a_thread_that_does_not_end_keeps_nobody() {
        let (release, held) = mpsc::sync_channel::<()>(0);
        let tasks = Tasks::new();
        let stuck = move || {
            let _ = held.recv();
        };
        tasks.spawn_thread("stuck", stuck).unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        assert!(!runtime.block_on(tasks.stop(Duration::from_millis(1))));
        // Would wait for ever, were the thread joined in the runtime.
        drop(runtime);
        drop(release);
    }
}
