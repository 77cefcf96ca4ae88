//! When a namespace's approvals are listed, and which requests a list answers.
//!
//! A storm of denials must not become a storm of lists, and yet no request may be denied because of a list that began before
//! the request arrived: Git applies an approval and its workload in the same second. The rule is therefore:
//!
//! 1. A list answers exactly the requests that arrived before it began. Which of the others it might also have answered is
//!    unknown, so they wait for the next list.
//! 2. At most one list of a namespace is in flight.
//! 3. If several requests wait, a list begins at the earliest [`INTERVAL`] after the one before it.
//! 4. A single request begins its list at once, so that a person who applies ten workloads does not wait. It waits only after
//!    [`AT_ONCE`] lists in quick succession.
//! 5. No request waits longer than [`INTERVAL`] because of rules 3 and 4. So the wait and the list stay within the time of one
//!    lookup, and that is less than the time-out of the API server.
//!
//! An admission that rests on a list is not weakened by its age: expiry and revocations are checked when the request is decided.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use writgate_core::approval::{DetachedApproval, SpecHash};

use crate::review::PATIENCE;

/// The time between the beginnings of two lists of one namespace under rules 3 and 4.
pub(crate) const INTERVAL: Duration = Duration::from_secs(1);
/// Half of the time remains for the list.
const _: () = assert!(INTERVAL.as_millis() * 2 <= PATIENCE.as_millis());
/// Lists that begin at once, one after the other. Each [`INTERVAL`] gives one back.
const AT_ONCE: u32 = 10;
/// Namespaces that are remembered before those without requests are forgotten.
const MAX_IDLE: usize = 1024;

/// The approvals that a list found, by the spec that they may cover, or why it failed.
pub(crate) type Found = Result<HashMap<SpecHash, Vec<DetachedApproval>>, String>;

/// The lists of all namespaces.
#[derive(Default)]
pub(crate) struct ListTurns(Mutex<Namespaces>);

#[derive(Default)]
struct Namespaces {
    by_name: HashMap<String, Arc<NamespaceLists>>,
    /// The number of namespaces at which the idle ones are forgotten.
    forget_at: usize,
}

/// The lists of one namespace.
#[derive(Default)]
struct NamespaceLists {
    arrivals: Mutex<Arrivals>,
    turn: tokio::sync::Mutex<Turn>,
}

/// The requests that have arrived.
#[derive(Default)]
struct Arrivals {
    /// How many have arrived so far.
    number: u64,
    /// How many wait, by the spec that an approval should cover.
    waiting: HashMap<SpecHash, usize>,
}

/// What is known of the lists so far. Whoever holds its lock may begin a list.
#[derive(Default)]
struct Turn {
    began: Option<Instant>,
    /// Lists in quick succession, for rule 4.
    lists: u32,
    /// How many requests had arrived when the last complete list began, and what it found.
    answered: u64,
    found: Option<Arc<Found>>,
    /// The number of objects in a page, which fits the objects of the namespace.
    objects: Option<u32>,
}

/// A request in the queue. Dropping it, also when its caller stops to wait, removes it.
struct Place<'a> {
    lists: &'a NamespaceLists,
    hash: SpecHash,
    number: u64,
    arrived: Instant,
}

impl ListTurns {
    /// The approvals in `namespace` that may cover `hash`, from a list that begins after this call. `list` receives the specs
    /// that the list is for, and the number of objects in its first page. It returns also the number for the next list.
    pub(crate) async fn find<F>(
        &self,
        namespace: &str,
        hash: SpecHash,
        list: impl FnOnce(Vec<SpecHash>, Option<u32>) -> F,
    ) -> Result<Vec<DetachedApproval>, String>
    where
        F: Future<Output = (Found, u32)>,
    {
        let lists = self.of(namespace);
        // Declared before the turn, so that it leaves the queue after the turn is free.
        let place = lists.arrive(hash);
        let mut turn = lists.turn.lock().await;
        if turn.answered < place.number {
            let begin = turn.begin_at(lists.are_several_waiting());
            sleep_until(begin.min(place.arrived + INTERVAL)).await;
            turn.begin();
            let (answered, hashes) = lists.snapshot();
            let (found, objects) = list(hashes, turn.objects).await;
            turn.objects = Some(objects);
            turn.answered = answered;
            turn.found = Some(Arc::new(found));
        }
        match turn.found.as_deref() {
            Some(Ok(found)) => Ok(found.get(&hash).cloned().unwrap_or_default()),
            Some(Err(why)) => Err(why.clone()),
            None => Err("the list of approvals is lost".to_owned()),
        }
    }

    fn of(&self, namespace: &str) -> Arc<NamespaceLists> {
        let mut namespaces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lists) = namespaces.by_name.get(namespace) {
            return lists.clone();
        }
        if namespaces.by_name.len() >= namespaces.forget_at.max(MAX_IDLE) {
            namespaces.by_name.retain(|_, lists| Arc::strong_count(lists) > 1);
            namespaces.forget_at = 2 * namespaces.by_name.len();
        }
        namespaces.by_name.entry(namespace.to_owned()).or_default().clone()
    }
}

impl NamespaceLists {
    fn arrive(&self, hash: SpecHash) -> Place<'_> {
        let mut arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        arrivals.number += 1;
        *arrivals.waiting.entry(hash).or_default() += 1;
        Place { lists: self, hash, number: arrivals.number, arrived: Instant::now() }
    }

    fn are_several_waiting(&self) -> bool {
        let arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        arrivals.waiting.values().sum::<usize>() > 1
    }

    /// How many requests have arrived, and the specs of those that wait. A list that begins afterwards answers them.
    fn snapshot(&self) -> (u64, Vec<SpecHash>) {
        let arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        (arrivals.number, arrivals.waiting.keys().copied().collect())
    }
}

impl Turn {
    /// When the next list may begin.
    fn begin_at(&self, are_several_waiting: bool) -> Instant {
        match self.began {
            Some(began) if are_several_waiting || self.lists_left(began) == 0 => began + INTERVAL,
            _ => Instant::now(),
        }
    }

    fn lists_left(&self, began: Instant) -> u32 {
        let given_back = u32::try_from(began.elapsed().as_secs() / INTERVAL.as_secs()).unwrap_or(u32::MAX);
        AT_ONCE.saturating_sub(self.lists.saturating_sub(given_back))
    }

    fn begin(&mut self) {
        let left = self.began.map_or(AT_ONCE, |began| self.lists_left(began));
        self.lists = (AT_ONCE - left + 1).min(AT_ONCE);
        self.began = Some(Instant::now());
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut arrivals = self.lists.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = arrivals.waiting.get_mut(&self.hash) {
            *number -= 1;
            if *number == 0 {
                arrivals.waiting.remove(&self.hash);
            }
        }
        // The last one forgets what was found: the texts of approvals may be large.
        if arrivals.waiting.is_empty()
            && let Ok(mut turn) = self.lists.turn.try_lock()
        {
            turn.found = None;
        }
    }
}

#[cfg(test)]
mod tests {
    //! With a clock that advances when every task waits.

    use futures::future::join_all;
    use tokio::time::sleep;

    use super::*;

    fn hash(number: usize) -> SpecHash {
        format!("sha256:{number:064x}").parse().expect("a hash")
    }

    /// A namespace whose lists take some time. It has the approvals that exist when a list begins.
    struct Namespace {
        turns: ListTurns,
        took: Duration,
        approvals: Mutex<Vec<SpecHash>>,
        began: Mutex<Vec<Duration>>,
        in_flight: tokio::sync::Mutex<()>,
        start: Instant,
    }

    impl Namespace {
        fn new(took_ms: u64) -> Self {
            Self {
                turns: ListTurns::default(),
                took: Duration::from_millis(took_ms),
                approvals: Mutex::default(),
                began: Mutex::default(),
                in_flight: tokio::sync::Mutex::default(),
                start: Instant::now(),
            }
        }

        fn approve(&self, spec: usize) {
            self.approvals.lock().expect("no panic").push(hash(spec));
        }

        /// Whether a request for this spec finds an approval.
        async fn ask(&self, spec: usize) -> bool {
            let list = |hashes: Vec<SpecHash>, _| async move {
                let _in_flight = self.in_flight.try_lock().expect("one list in flight");
                self.began.lock().expect("no panic").push(self.start.elapsed());
                let approvals = self.approvals.lock().expect("no panic").clone();
                sleep(self.took).await;
                let approval = DetachedApproval { name: "a".to_owned(), text: String::new() };
                let found = hashes.into_iter().filter(|hash| approvals.contains(hash));
                (Ok(found.map(|hash| (hash, vec![approval.clone()])).collect()), 16)
            };
            !self.turns.find("payments", hash(spec), list).await.expect("a list").is_empty()
        }

        fn lists(&self) -> usize {
            self.began.lock().expect("no panic").len()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_storm_of_denials_lists_once_a_second() {
        let namespace = Namespace::new(20);
        let namespace = &namespace;
        // 64 clients, each of which repeats its request as soon as it is denied.
        join_all((0..64).map(|client| async move {
            while namespace.start.elapsed() < Duration::from_secs(20) {
                let begun = Instant::now();
                assert!(!namespace.ask(client).await);
                assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
            }
        }))
        .await;
        assert!((20..=22).contains(&namespace.lists()), "{}", namespace.lists());
    }

    #[tokio::test(start_paused = true)]
    async fn an_approval_that_is_created_before_its_workload_is_found_in_a_storm() {
        let namespace = Namespace::new(20);
        let namespace = &namespace;
        let storm = join_all((0..64).map(|client| async move {
            while namespace.start.elapsed() < Duration::from_secs(10) {
                assert!(!namespace.ask(client).await);
            }
        }));
        let honest = join_all((1000..1100).map(|spec| async move {
            sleep(Duration::from_millis(91 * (u64::try_from(spec).expect("small") - 1000))).await;
            namespace.approve(spec);
            assert!(namespace.ask(spec).await, "{spec} was approved before the request");
        }));
        tokio::join!(storm, honest);
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_in_flight_answers_no_request_that_arrives_after_it_began() {
        let namespace = Namespace::new(500);
        let late = async {
            sleep(Duration::from_millis(100)).await;
            namespace.approve(2);
            namespace.ask(2).await
        };
        let (first, second) = tokio::join!(namespace.ask(2), late);
        assert!(!first && second);
        assert_eq!(namespace.lists(), 2);
        // Those that arrive before the second list begins share it, also for different specs.
        let namespace = Namespace::new(500);
        namespace.approve(2);
        let found = tokio::join!(namespace.ask(1), namespace.ask(2), namespace.ask(3), namespace.ask(2));
        assert_eq!((found, namespace.lists()), ((false, true, false, true), 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_person_waits_only_after_ten_denials_in_quick_succession() {
        let namespace = Namespace::new(20);
        for _ in 0..10 {
            assert!(!namespace.ask(1).await);
        }
        assert_eq!(namespace.start.elapsed(), Duration::from_millis(200));
        for spec in 0..20 {
            assert!(!namespace.ask(spec).await);
        }
        let took = namespace.start.elapsed();
        assert!(took > Duration::from_secs(19) && took < Duration::from_secs(21), "{took:?}");
        // After a pause, the next ones do not wait.
        sleep(10 * INTERVAL).await;
        let begun = Instant::now();
        for _ in 0..10 {
            assert!(!namespace.ask(1).await);
        }
        assert_eq!(begun.elapsed(), Duration::from_millis(200));
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_stops_to_wait_takes_no_answer_from_the_others() {
        let namespace = Namespace::new(500);
        namespace.approve(2);
        let leaves = tokio::time::timeout(Duration::from_millis(100), namespace.ask(1));
        let (left, found) = tokio::join!(leaves, namespace.ask(2));
        assert!(left.is_err() && found);
        let lists = namespace.turns.of("payments");
        assert!(lists.arrivals.lock().expect("no panic").waiting.is_empty());
        assert!(lists.turn.try_lock().expect("free").found.is_none(), "nothing is kept");
    }

    #[tokio::test(start_paused = true)]
    async fn idle_namespaces_are_forgotten() {
        let turns = ListTurns::default();
        let kept = turns.of("kept");
        for number in 0..5000 {
            drop(turns.of(&number.to_string()));
        }
        assert!(turns.0.lock().expect("no panic").by_name.len() <= MAX_IDLE);
        assert!(Arc::ptr_eq(&kept, &turns.of("kept")));
    }
}
