//! Questions to the API server within bounds: how long an answer may take, and how many are asked at once.

use std::time::Duration;

use kube::Error;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::client;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// The answer did not come in time.
    #[error("the API server did not answer within {0:?}")]
    Slow(Duration),
    /// The API server refused, or could not be reached.
    #[error("{}", client::why(.0))]
    Failed(#[from] Error),
}

impl Unanswered {
    /// The HTTP status that the API server answered with, where it did.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Failed(Error::Api(status)) => Some(status.code),
            _ => None,
        }
    }

    /// Whether a later attempt may fare better: overload and outages pass, a refusal does not.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        self.code().is_none_or(|code| matches!(code, 408 | 429 | 500..))
    }
}

/// Waits for the answer for at most `patience`.
pub async fn ask<T>(patience: Duration, question: impl Future<Output = Result<T, Error>>) -> Result<T, Unanswered> {
    Ok(timeout(patience, question).await.map_err(|_| Unanswered::Slow(patience))??)
}

/// Asks a bounded number of questions at once.
#[derive(Debug)]
pub struct Questions {
    turns: Semaphore,
    patience: Duration,
}

impl Questions {
    /// At most `at_once` questions, each answered within `patience`.
    #[must_use]
    pub fn new(at_once: usize, patience: Duration) -> Self {
        Self { turns: Semaphore::new(at_once), patience }
    }

    /// Asks one question. The wait for a turn counts towards the patience.
    pub async fn ask<T>(&self, question: impl Future<Output = Result<T, Error>>) -> Result<T, Unanswered> {
        Ok(self.in_turn(question).await??)
    }

    /// Waits for a turn without a limit. The caller bounds the time.
    ///
    /// # Panics
    ///
    /// Never: the semaphore is not closed.
    pub async fn turn(&self) -> SemaphorePermit<'_> {
        self.turns.acquire().await.expect("the turns never close")
    }

    /// Does what takes several questions in one turn and within the patience for one.
    pub async fn in_turn<T>(&self, work: impl Future<Output = T>) -> Result<T, Unanswered> {
        let work = async {
            let _turn = self.turn().await;
            work.await
        };
        timeout(self.patience, work).await.map_err(|_| Unanswered::Slow(self.patience))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::time::Instant;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(2);

    #[tokio::test(start_paused = true)]
    async fn a_question_that_waits_for_its_turn_waits_no_longer_than_one_that_was_asked() {
        let (questions, asked) = (Questions::new(2, PATIENCE), AtomicUsize::new(0));
        let never = || {
            questions.ask(async {
                asked.fetch_add(1, Ordering::Relaxed);
                std::future::pending::<Result<(), Error>>().await
            })
        };
        let halfway = async {
            tokio::time::sleep(PATIENCE / 2).await;
            asked.load(Ordering::Relaxed)
        };
        let begun = Instant::now();
        let (first, second, third, asked) = tokio::join!(never(), never(), never(), halfway);
        for answer in [first, second, third] {
            assert_eq!(answer.expect_err("no answer").to_string(), "the API server did not answer within 2s");
        }
        assert_eq!(begun.elapsed(), PATIENCE);
        assert_eq!(asked, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_ends_with_its_answer() {
        let questions = Questions::new(1, PATIENCE);
        for _ in 0..3 {
            let answer = questions.ask(async {
                tokio::time::sleep(PATIENCE / 2).await;
                Ok(1)
            });
            assert!(matches!(answer.await, Ok(1)));
        }
    }
}
