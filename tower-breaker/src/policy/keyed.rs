use std::time::Duration;

use super::config::Rate;
use crate::error::ConfigError;

/// Checked settings of a family of breakers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shelf {
    pub(crate) capacity: usize,
    pub(crate) idle: Duration,
    pub(crate) max_ejected: Rate,
}

/// What is known of a key whose place another one wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tenant {
    /// How long it was not asked for.
    pub(crate) idle: Duration,
    /// It has a state that nobody may forget: it refuses calls, or somebody set it by hand.
    pub(crate) keeps: bool,
    /// It is closed, and nothing in its windows would be missed.
    pub(crate) clean: bool,
}

/// Why a key may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaves {
    Idle,
    Displaced,
}

impl Shelf {
    pub(crate) fn check(self, longest_open: Duration) -> Result<Self, ConfigError> {
        if !(1..=1 << 24).contains(&self.capacity) {
            return Err(ConfigError::new("capacity", format!("{} is not in 1..={}", self.capacity, 1 << 24)));
        }
        if self.idle <= longest_open {
            let reason = format!("{:?} is not longer than the open period of {longest_open:?}", self.idle);
            return Err(ConfigError::new("idle", reason));
        }
        Ok(self)
    }

    /// Who of these leaves for a new key: one that was idle for long enough, else the longest idle that is clean.
    pub(crate) fn leaves(&self, tenants: impl Iterator<Item = Tenant>) -> Option<(usize, Leaves)> {
        let mut displaced: Option<(usize, Duration)> = None;
        for (index, tenant) in tenants.enumerate() {
            if tenant.keeps {
                continue;
            }
            if self.expired(tenant) {
                return Some((index, Leaves::Idle));
            }
            if tenant.clean && displaced.is_none_or(|(_, idle)| tenant.idle > idle) {
                displaced = Some((index, tenant.idle));
            }
        }
        displaced.map(|(index, _)| (index, Leaves::Displaced))
    }

    pub(crate) fn expired(&self, tenant: Tenant) -> bool {
        !tenant.keeps && tenant.idle >= self.idle
    }

    /// Whether one more of `known` keys may be shut out when `ejected` are. One always may.
    pub(crate) fn ejects(&self, ejected: usize, known: usize) -> bool {
        ejected == 0 || !self.max_ejected.exceeded(ejected as u64 + 1, known as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shelf(share: f64) -> Shelf {
        let max_ejected = Rate::new("max_ejected", share).unwrap();
        Shelf { capacity: 4, idle: Duration::from_secs(60), max_ejected }
    }

    fn tenant(idle: u64, keeps: bool, clean: bool) -> Tenant {
        Tenant { idle: Duration::from_secs(idle), keeps, clean }
    }

    #[test]
    fn an_open_circuit_never_leaves() {
        let keeps = tenant(1_000_000, true, false);
        assert_eq!(shelf(1.0).leaves([keeps; 9].into_iter()), None);
        assert_eq!(shelf(1.0).leaves([keeps, tenant(60, false, false)].into_iter()), Some((1, Leaves::Idle)));
    }

    #[test]
    fn the_longest_idle_clean_one_makes_room() {
        let tenants = [tenant(3, false, true), tenant(50, false, false), tenant(9, false, true)];
        assert_eq!(shelf(1.0).leaves(tenants.into_iter()), Some((2, Leaves::Displaced)));
        assert_eq!(shelf(1.0).leaves([tenant(59, false, false)].into_iter()), None);
    }

    #[test]
    fn the_share_of_ejected_keys_is_bounded_but_for_the_first() {
        let half = shelf(0.5);
        assert!(half.ejects(0, 1));
        assert!(!half.ejects(1, 2) && !half.ejects(1, 3));
        assert!(half.ejects(1, 4));
        assert!(!half.ejects(2, 4) && !half.ejects(2, 5));
        assert!(shelf(1.0).ejects(3, 4));
    }

    #[test]
    fn idle_is_longer_than_open() {
        let minute = Duration::from_secs(60);
        assert!(shelf(1.0).check(minute - Duration::from_nanos(1)).is_ok());
        assert_eq!(shelf(1.0).check(minute).unwrap_err().field(), "idle");
        assert_eq!(
            Shelf { capacity: 0, ..shelf(1.0) }.check(Duration::ZERO).unwrap_err().field(),
            "capacity"
        );
    }
}
