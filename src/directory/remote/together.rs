//! Several futures of one kind at a time.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

/// A future on the heap.
pub(super) type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The outcomes of all, in their order; the first error ends the others.
///
/// # Errors
/// One of them failed.
pub(super) async fn all<T, E>(futures: Vec<Boxed<'_, Result<T, E>>>) -> Result<Vec<T>, E> {
    let mut pending: Vec<_> = futures.into_iter().map(Some).collect();
    let mut done: Vec<Option<T>> = pending.iter().map(|_| None).collect();
    poll_fn(|context| {
        let mut ready = true;
        for (future, done) in pending.iter_mut().zip(&mut done) {
            let Some(running) = future else { continue };
            match running.as_mut().poll(context) {
                Poll::Ready(outcome) => {
                    *future = None;
                    match outcome {
                        Ok(value) => *done = Some(value),
                        Err(error) => return Poll::Ready(Err(error)),
                    }
                }
                Poll::Pending => ready = false,
            }
        }
        if ready {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    })
    .await?;
    Ok(done.into_iter().flatten().collect())
}

/// The outcome of the first that ends, with its place; the others are dropped. Never ends where
/// there is none.
pub(super) async fn first<T>(mut futures: Vec<Boxed<'_, T>>) -> (usize, T) {
    poll_fn(|context| {
        for (place, future) in futures.iter_mut().enumerate() {
            if let Poll::Ready(outcome) = future.as_mut().poll(context) {
                return Poll::Ready((place, outcome));
            }
        }
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(milliseconds: u64, outcome: Result<u64, u64>) -> Boxed<'static, Result<u64, u64>> {
        Box::pin(async move {
            tokio::time::sleep(std::time::Duration::from_millis(milliseconds)).await;
            outcome
        })
    }

    #[tokio::test(start_paused = true)]
    async fn all_stand_in_their_order_however_long_they_take() {
        let futures = vec![after(30, Ok(1)), after(10, Ok(2)), after(20, Ok(3))];
        assert_eq!(all(futures).await, Ok(vec![1, 2, 3]));
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_does_not_wait_for_the_others() {
        let begin = crate::clock::now();
        let futures = vec![after(30_000, Ok(1)), after(10, Err(2))];
        assert_eq!(all(futures).await, Err(2));
        assert!(begin.elapsed().as_secs() < 30);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_one_is_the_one_that_ends_first() {
        let futures = vec![after(30, Ok(1)), after(10, Ok(2))];
        assert_eq!(first(futures).await, (1, Ok(2)));
    }
}
