//! How schedules look.

use std::ops::Range;
use std::time::Duration;

use alluvium_common::rand::{Random, SeededRandom};

use super::{Event, Schedule};
use crate::cluster::{BucketTrouble, Cut, Fault, Link};

/// Faults of a burst begin within this time.
const BURST: Duration = Duration::from_millis(1_500);
/// Faults that are tried before a burst stays smaller than it might be.
const ATTEMPTS_MAX: usize = 20;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `kill -9`
    Kill,
    /// SIGTERM
    Stop,
    /// SIGSTOP
    Freeze,
    /// A link fails.
    Cut(Link),
    /// A disk is full.
    FullDisk,
    /// A process that compacts only is killed, stopped, frozen or cut off.
    Compactor,
    /// A broker joins.
    Join,
    /// etcd's leader dies or hangs, or all of it hangs.
    Etcd,
    /// The bucket fails.
    Bucket,
}

impl Kind {
    /// Every kind that needs no other settings.
    pub const ALL: [Self; 8] = [
        Self::Kill,
        Self::Stop,
        Self::Freeze,
        Self::Cut(Link::Clients),
        Self::Cut(Link::Etcd),
        Self::Cut(Link::Bucket),
        Self::Etcd,
        Self::Bucket,
    ];
}

/// What a schedule may contain.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Brokers, numbered from 1.
    pub brokers: usize,
    /// Processes that compact only, numbered from 1: at least one where [`Kind::Compactor`] is to happen.
    pub compactors: usize,
    /// Members of etcd.
    pub etcd_members: usize,
    /// No burst begins later.
    pub length: Duration,
    /// Between two bursts.
    pub quiet: Range<Duration>,
    /// Of one fault. Some should outlast a broker's session.
    pub lasting: Range<Duration>,
    /// Faults at the same time, at most.
    pub at_once_max: usize,
    /// Which.
    pub kinds: Vec<Kind>,
    /// Brokers that may join in all.
    pub joins_max: usize,
}

impl Shape {
    /// For a cluster of so many brokers: all kinds, half a minute, two at a time.
    pub fn new(brokers: usize) -> Self {
        let ms = Duration::from_millis;
        Self {
            brokers,
            compactors: 0,
            etcd_members: 1,
            length: Duration::from_secs(30),
            quiet: ms(1_500)..ms(4_000),
            lasting: ms(300)..ms(6_500),
            at_once_max: 2,
            kinds: Kind::ALL.to_vec(),
            joins_max: 1,
        }
    }

    /// The schedule of `seed`.
    pub fn schedule(&self, seed: u64) -> Schedule {
        let mut maker = Maker {
            shape: self,
            random: SeededRandom::new(seed),
            events: Vec::new(),
            joins: 0,
        };
        let mut at = maker.between(&self.quiet);
        while at < self.length {
            at = maker.burst(at) + maker.between(&self.quiet);
        }
        let mut events = maker.events;
        events.sort_by_key(|event| event.at);
        Schedule { seed, events }
    }
}

struct Maker<'a> {
    shape: &'a Shape,
    random: std::sync::Arc<SeededRandom>,
    events: Vec<Event>,
    joins: usize,
}

impl Maker<'_> {
    fn between(&self, range: &Range<Duration>) -> Duration {
        let width = (range.end - range.start).as_millis().max(1);
        let width = u64::try_from(width).expect("a short time");
        range.start + Duration::from_millis(self.random.below(width))
    }

    fn pick<T: Copy>(&self, from: &[T]) -> T {
        from[self.random.below(from.len() as u64) as usize]
    }

    /// Some faults at about the same time. When they are over.
    fn burst(&mut self, begins: Duration) -> Duration {
        let count = 1 + self.random.below(self.shape.at_once_max as u64) as usize;
        let mut burst: Vec<Event> = Vec::new();
        for _ in 0..ATTEMPTS_MAX {
            if burst.len() == count {
                break;
            }
            let fault = self.fault();
            let taken = burst
                .iter()
                .any(|event| event.fault.subject() == fault.subject());
            if taken || (fault == Fault::Join && self.joins == self.shape.joins_max) {
                continue;
            }
            self.joins += usize::from(fault == Fault::Join);
            burst.push(Event {
                at: begins + self.between(&(Duration::ZERO..BURST)),
                lasting: self.between(&self.shape.lasting),
                fault,
            });
        }
        let over = burst.iter().map(Event::over_at).max();
        self.events.extend(burst);
        over.unwrap_or(begins)
    }

    fn fault(&self) -> Fault {
        let broker = 1 + self.random.below(self.shape.brokers as u64) as usize;
        match self.pick(&self.shape.kinds) {
            Kind::Kill => Fault::Kill(broker),
            Kind::Stop => Fault::Stop(broker),
            Kind::Freeze => Fault::Freeze(broker),
            Kind::Cut(link) => Fault::Cut(broker, link, self.pick(&Cut::ALL)),
            Kind::Compactor => self.of_compactor(),
            Kind::FullDisk => Fault::FullDisk(broker),
            Kind::Join => Fault::Join,
            Kind::Etcd if self.shape.etcd_members == 1 => {
                self.pick(&[Fault::EtcdLeaderKilled, Fault::EtcdAway])
            }
            Kind::Etcd => self.pick(&[
                Fault::EtcdLeaderKilled,
                Fault::EtcdLeaderFrozen,
                Fault::EtcdAway,
            ]),
            Kind::Bucket => Fault::Bucket(self.pick(&BucketTrouble::ALL)),
        }
    }

    fn of_compactor(&self) -> Fault {
        let compactor = 1 + self.random.below(self.shape.compactors as u64) as usize;
        let link = self.pick(&[Link::Etcd, Link::Bucket]);
        self.pick(&[
            Fault::KillCompactor(compactor),
            Fault::StopCompactor(compactor),
            Fault::FreezeCompactor(compactor),
            Fault::CutCompactor(compactor, link, self.pick(&Cut::ALL)),
        ])
    }
}
