//! The breaker beside a naive model that remembers every call: the same random calls, the same answers.

use std::collections::VecDeque;
use std::time::Duration;

use tower_breaker::{Breaker, BreakerBuilder, CancelPolicy, OpenPeriod, Permit, State};

use crate::support::Seed;

/// Times in milliseconds, rates in percent.
#[derive(Clone, Copy, Debug)]
struct Settings {
    time: Option<u64>,
    count: Option<u64>,
    run: Option<u64>,
    rate: u64,
    slow: Option<(u64, u64)>,
    minimum: u64,
    open: u64,
    probes: u64,
    lease: u64,
    limit: u64,
    on_success: bool,
}

impl Settings {
    fn any(random: &mut Seed) -> Self {
        let time = random.choose(&[Some(1_000), Some(10_000), None]);
        let count = random.choose(&[None, Some(7), Some(40)]);
        let run = random.choose(&[None, None, Some(6)]);
        let slow = random.choose(&[None, Some((800, 50)), Some((2_000, 100))]);
        let rates = run.is_none() || slow.is_some();
        Self {
            time: if count.is_none() && rates { time.or(Some(10_000)) } else { time },
            count,
            run,
            rate: random.choose(&[20, 50, 100]),
            slow,
            minimum: random.choose(&[1, 5, 20]),
            open: random.choose(&[500, 3_000]),
            probes: random.choose(&[1, 3]),
            lease: random.choose(&[1_500, 5_000]),
            limit: random.choose(&[4_000, 20_000]),
            on_success: random.below(4) > 0,
        }
    }

    fn builder(&self) -> BreakerBuilder {
        let millis = Duration::from_millis;
        let mut builder = Breaker::builder("differential")
            .failure_rate(self.rate as f64 / 100.0)
            .min_calls(self.minimum as u32)
            .open_for(OpenPeriod::exponential(millis(self.open), millis(self.open * 5)).jitter(false))
            .probes(self.probes as u32)
            .probe_lease(millis(self.lease))
            .half_open_limit(millis(self.limit))
            .open_on_success(self.on_success)
            .on_cancel(CancelPolicy::Ignore);
        if let Some(time) = self.time {
            builder = builder.time_window(millis(time));
        }
        if let Some(count) = self.count {
            builder = builder.count_window(count as u32);
        }
        if let Some(run) = self.run {
            builder = builder.consecutive_failures(run as u32);
        }
        if let Some((threshold, rate)) = self.slow {
            builder = builder.slow_calls(millis(threshold), rate as f64 / 100.0);
        }
        builder
    }
}

#[derive(Clone, Copy)]
struct Sample {
    at: u64,
    failed: bool,
    slow: bool,
}

struct Ticket {
    generation: u64,
    probe: Option<u64>,
    started: u64,
}

struct Naive {
    settings: Settings,
    state: State,
    generation: u64,
    samples: VecDeque<Sample>,
    until: u64,
    reopened: u32,
    /// Of the probe phase: what is done, who is under way until when, and when it ends.
    done: Vec<Sample>,
    leases: Vec<(u64, u64)>,
    started: u64,
    ends: Option<u64>,
    /// How often each state was entered, and stale results met.
    seen: [u64; 4],
}

impl Naive {
    fn new(settings: Settings) -> Self {
        Self {
            settings,
            state: State::Closed,
            generation: 0,
            samples: VecDeque::new(),
            until: 0,
            reopened: 0,
            done: Vec::new(),
            leases: Vec::new(),
            started: 0,
            ends: None,
            seen: [0; 4],
        }
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.generation += 1;
        self.samples.clear();
        self.done.clear();
        self.leases.clear();
        self.ends = None;
        self.seen[match state {
            State::Closed => 0,
            State::HalfOpen => 1,
            _ => 2,
        }] += 1;
    }

    fn open(&mut self, now: u64) {
        let factor = 1 << self.reopened.min(20);
        self.enter(State::Open);
        self.until = now + (self.settings.open * factor).min(self.settings.open * 5);
    }

    fn exceeds(&self, samples: &[Sample], whole: u64) -> bool {
        let count = |kind: fn(&Sample) -> bool| samples.iter().filter(|sample| kind(sample)).count() as u64;
        let over = |part: u64, rate: u64| part > 0 && part * 100 >= whole * rate;
        over(count(|sample| sample.failed), self.settings.rate)
            || self.settings.slow.is_some_and(|(_, rate)| over(count(|sample| sample.slow), rate))
    }

    fn judge(&mut self, now: u64) {
        if self.exceeds(&self.done, self.settings.probes) {
            self.reopened += 1;
            self.open(now);
        } else if self.done.len() as u64 >= self.settings.probes {
            self.reopened = 0;
            self.enter(State::Closed);
        }
    }

    fn settle(&mut self, now: u64) {
        if self.state != State::HalfOpen {
            return;
        }
        let over = self.ends.is_some_and(|ends| now >= ends);
        let hung = self.leases.iter().filter(|(_, expires)| now >= *expires).count();
        self.leases.retain(|(_, expires)| now < *expires);
        for _ in 0..hung {
            self.done.push(Sample { at: now, failed: true, slow: false });
        }
        if hung > 0 {
            self.judge(now);
        }
        if over && self.state == State::HalfOpen {
            self.reopened += 1;
            self.open(now);
        }
    }

    fn admit(&mut self, now: u64) -> Option<Ticket> {
        self.settle(now);
        if self.state == State::Open {
            if now < self.until {
                return None;
            }
            self.enter(State::HalfOpen);
        }
        let mut probe = None;
        if self.state == State::HalfOpen {
            if (self.done.len() + self.leases.len()) as u64 >= self.settings.probes {
                return None;
            }
            self.started += 1;
            probe = Some(self.started);
            self.leases.push((self.started, now + self.settings.lease));
            self.ends.get_or_insert(now + self.settings.limit);
        }
        Some(Ticket { generation: self.generation, probe, started: now })
    }

    fn finish(&mut self, now: u64, ticket: &Ticket, failed: Option<bool>) {
        self.settle(now);
        if ticket.generation != self.generation {
            self.seen[3] += 1;
            return;
        }
        let slow = self.settings.slow.is_some_and(|(threshold, _)| now - ticket.started >= threshold);
        if let Some(probe) = ticket.probe {
            let before = self.leases.len();
            self.leases.retain(|(id, _)| *id != probe);
            if before > self.leases.len()
                && let Some(failed) = failed
            {
                self.done.push(Sample { at: now, failed, slow });
            }
            self.judge(now);
            return;
        }
        let Some(failed) = failed else { return };
        self.samples.push_back(Sample { at: now, failed, slow });
        if self.trips(now) && (failed || slow || self.settings.on_success) {
            self.open(now);
        }
    }

    fn trips(&mut self, now: u64) -> bool {
        // Far more than any window holds.
        while self.samples.len() > 100_000 {
            self.samples.pop_front();
        }
        self.samples.make_contiguous();
        let (all, _) = self.samples.as_slices();
        let mut trips = false;
        if let Some(length) = self.settings.time {
            let slot = length / 10;
            let first = all.partition_point(|sample| now / slot - sample.at / slot >= 10);
            let window = &all[first..];
            let total = window.len() as u64;
            trips |= total >= self.settings.minimum && self.exceeds(window, total);
        }
        if let Some(count) = self.settings.count {
            let window = &all[all.len().saturating_sub(count as usize)..];
            let total = window.len() as u64;
            trips |= total >= self.settings.minimum.min(count) && self.exceeds(window, total);
        }
        if let Some(run) = self.settings.run {
            trips |= all.iter().rev().take_while(|sample| sample.failed).count() as u64 >= run;
        }
        trips
    }
}

/// One random history; returns how often each state was entered and stale results met.
async fn history(seed: u64, operations: u64) -> [u64; 4] {
    let mut random = Seed(seed);
    let settings = Settings::any(&mut random);
    let breaker = settings.builder().build().unwrap();
    let mut naive = Naive::new(settings);
    let mut now = 0;
    let mut calls: Vec<(Permit, Ticket)> = Vec::new();
    // Percent of failures, which changes in phases: warm, healthy windows must open too.
    let mut failing = 5;
    for operation in 0..operations {
        if random.below(300) == 0 {
            failing = random.choose(&[0, 5, 20, 60, 100]);
        }
        match random.below(10) {
            0..=3 => {
                let (real, modelled) = (breaker.try_acquire(), naive.admit(now));
                assert_eq!(real.is_ok(), modelled.is_some(), "seed {seed}, {operation}: {settings:?}");
                calls.extend(real.ok().zip(modelled));
            }
            4..=7 if !calls.is_empty() => {
                let index = random.below(calls.len() as u64) as usize;
                let (permit, ticket) = calls.swap_remove(index);
                let failed = match random.below(100) {
                    0..=3 => None,
                    _ => Some(random.below(100) < failing),
                };
                naive.finish(now, &ticket, failed);
                match failed {
                    Some(true) => permit.failure(),
                    Some(false) => permit.success(),
                    None => drop(permit),
                }
            }
            8 => {
                let step = random.choose(&[1, 7, 30, 200, 900, 3_000]);
                tokio::time::advance(Duration::from_millis(step)).await;
                now += step;
            }
            _ => {}
        }
        naive.settle(now);
        let snapshot = breaker.snapshot();
        let found = (snapshot.state, snapshot.generation);
        assert_eq!(found, (naive.state, naive.generation), "seed {seed}, {operation}: {settings:?}");
    }
    naive.seen
}

#[tokio::test(start_paused = true)]
async fn random_histories_end_as_in_a_model_that_remembers_every_call() {
    let (histories, operations) =
        if std::env::var_os("TOWER_ASSURE").is_some() { (2_500, 4_000) } else { (30, 1_500) };
    let mut seen = [0; 4];
    for seed in 0..histories {
        let reached = history(seed, operations).await;
        for (sum, reached) in seen.iter_mut().zip(reached) {
            *sum += reached;
        }
    }
    let total = histories * operations;
    println!("{total} operations; closed, half open, opened, stale results: {seen:?}");
    assert!(seen.iter().all(|reached| *reached > histories / 2), "{seen:?}");
}
