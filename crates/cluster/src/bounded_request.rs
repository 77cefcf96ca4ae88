//! Requests to the API server within bounds: how long a response may take, and how many requests are sent at once.

use std::time::Duration;

use kube::Error;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::client;

/// Why a request has no response.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The response did not arrive in time.
    #[error("the API server did not answer within {0:?}")]
    Timeout(Duration),
    /// The API server refused the request, or could not be reached.
    #[error("{}", client::why(.0))]
    Failed(#[from] Error),
}

impl RequestError {
    /// The HTTP status of the API server's response, if there was one.
    #[must_use]
    pub fn status_code(&self) -> Option<u16> {
        match self {
            Self::Failed(Error::Api(status)) => Some(status.code),
            _ => None,
        }
    }

    /// Whether another attempt may succeed: overload and outages end, but a refusal stays.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        self.status_code().is_none_or(|code| matches!(code, 408 | 429 | 500..))
    }
}

/// Sends `request`, and waits for the response for at most `patience`.
pub async fn send<T>(patience: Duration, request: impl Future<Output = Result<T, Error>>) -> Result<T, RequestError> {
    Ok(timeout(patience, request).await.map_err(|_| RequestError::Timeout(patience))??)
}

/// Sends a bounded number of requests at once.
#[derive(Debug)]
pub struct RequestLimiter {
    permits: Semaphore,
    patience: Duration,
}

impl RequestLimiter {
    /// A limiter of at most `at_once` requests, each answered within `patience`.
    #[must_use]
    pub fn new(at_once: usize, patience: Duration) -> Self {
        Self { permits: Semaphore::new(at_once), patience }
    }

    /// Sends one request. The wait for a permit counts towards the patience.
    pub async fn send<T>(&self, request: impl Future<Output = Result<T, Error>>) -> Result<T, RequestError> {
        Ok(self.run(request).await??)
    }

    /// Waits for a permit without a limit. The caller bounds the time.
    ///
    /// # Panics
    ///
    /// Never: the semaphore is not closed.
    pub async fn permit(&self) -> SemaphorePermit<'_> {
        self.permits.acquire().await.expect("the semaphore is never closed")
    }

    /// Runs `work`, which sends several requests, under one permit and within the patience for one request.
    pub async fn run<T>(&self, work: impl Future<Output = T>) -> Result<T, RequestError> {
        let work = async {
            let _permit = self.permit().await;
            work.await
        };
        timeout(self.patience, work).await.map_err(|_| RequestError::Timeout(self.patience))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::time::Instant;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(2);

    #[tokio::test(start_paused = true)]
    async fn a_request_that_waits_for_a_permit_waits_no_longer_than_one_that_was_sent() {
        let (limiter, sent) = (RequestLimiter::new(2, PATIENCE), AtomicUsize::new(0));
        let never = || {
            limiter.send(async {
                sent.fetch_add(1, Ordering::Relaxed);
                std::future::pending::<Result<(), Error>>().await
            })
        };
        let halfway = async {
            tokio::time::sleep(PATIENCE / 2).await;
            sent.load(Ordering::Relaxed)
        };
        let begun = Instant::now();
        let (first, second, third, sent) = tokio::join!(never(), never(), never(), halfway);
        for answer in [first, second, third] {
            assert_eq!(answer.expect_err("no answer").to_string(), "the API server did not answer within 2s");
        }
        assert_eq!(begun.elapsed(), PATIENCE);
        assert_eq!(sent, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_permit_ends_with_its_response() {
        let limiter = RequestLimiter::new(1, PATIENCE);
        for _ in 0..3 {
            let answer = limiter.send(async {
                tokio::time::sleep(PATIENCE / 2).await;
                Ok(1)
            });
            assert!(matches!(answer.await, Ok(1)));
        }
    }
}
