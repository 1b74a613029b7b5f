//! Tokens that were verified before. An entry is proof of the signature alone: time and every other rule that can change
//! its mind is asked again on each hit, and so is whether the issuer still has the key.
//!
//! Of a token that was used once only its bytes are kept, in a place that the next one takes; only when it is used again
//! it becomes an entry, which moka is told to keep. Most tokens that are never seen again thus cost no more than a copy.

use std::hash::{BuildHasher, BuildHasherDefault, Hasher};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwapOption;
use foldhash::quality::RandomState;
use moka::sync::Cache;

use super::once::Once;
use crate::token::{Inner, Verified};

/// Bytes of an entry besides its token and claims.
const OVERHEAD: u64 = 512;
/// Claims in memory take a few times what they take in base64url.
const EXPANSION: u64 = 4;
/// Of so many uses one is told to moka, for its idea of what is in use.
const SAMPLE: u8 = 8;
/// The part of all bytes that is for the front.
const FRONT: u64 = 4;
/// The part that is for tokens used once.
const ONCE: u64 = 16;
/// Entries of the front whose hashes end alike. What names four of them is one piece of memory.
const WAYS: usize = 4;
/// A shelf for as many bytes of the front: more places than entries, so that five seldom meet.
const BYTES_PER_SHELF: u64 = 4 * 1_024;
/// What is remembered of tokens that were verified: one for as many bytes of the cache, a third of what a token takes.
const BYTES_PER_TRACE: u64 = 1_024;
/// The end of a token is the end of its signature: no two tokens have the same.
const TAIL: usize = 64;

/// Keyed by a hash of the token's end whose seed is random, and compared in full: who finds two good tokens with one hash
/// has found that one of them is verified each time. Nothing is compared before all bits of the hash are the same, so that
/// the time it takes tells nobody how much of a token was guessed. Admission is by frequency (TinyLFU): tokens seen once
/// do not drive out tokens in use, however many there are.
pub(crate) struct VerifiedCache<C> {
    seed: RandomState,
    entries: Cache<u64, Verified<C>, BuildHasherDefault<AsItIs>>,
    front: Front<C>,
    once: Once,
    /// Half of the hash of each token that was verified lately: when it is verified again it has been used twice, and has
    /// lost its place in between.
    traces: Box<[AtomicU32]>,
}

/// The keys are hashes.
#[derive(Default)]
pub(crate) struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

fn weight<C>(inner: &Inner<C>) -> u64 {
    inner.facts().token().len() as u64 * EXPANSION + OVERHEAD
}

impl<C: Send + Sync + 'static> VerifiedCache<C> {
    /// `None` when nothing is to be kept.
    pub(crate) fn new(max_bytes: u64) -> Option<Self> {
        let weigh =
            |_: &u64, verified: &Verified<C>| u32::try_from(weight(verified.inner())).unwrap_or(u32::MAX);
        // At most a mebibyte.
        let traces = (max_bytes / BYTES_PER_TRACE).clamp(16, 1 << 18).next_power_of_two();
        let (front, once) = (Front::new(max_bytes / FRONT), Once::new(max_bytes / ONCE));
        (max_bytes > 0).then(|| Self {
            seed: RandomState::default(),
            entries: Cache::builder()
                .max_capacity(max_bytes - max_bytes / FRONT - max_bytes / ONCE)
                .weigher(weigh)
                .build_with_hasher(BuildHasherDefault::default()),
            front,
            once,
            traces: (0..traces).map(|_| AtomicU32::new(0)).collect(),
        })
    }

    /// What tokens are asked for by.
    pub(crate) fn key(&self, token: &[u8]) -> u64 {
        self.seed.hash_one(&token[token.len().saturating_sub(TAIL)..])
    }

    pub(crate) fn get(&self, key: u64, token: &[u8]) -> Option<Verified<C>> {
        if let Some(near) = self.front.get(key, token) {
            if near.facts().signed.as_ref().is_some_and(|signed| signed.used() % SAMPLE == 1) {
                self.tell(key, &near);
            }
            return Some(near);
        }
        // Unlike `get` it leaves no note of tokens that nobody has.
        if !self.entries.contains_key(&key) {
            return None;
        }
        let far = self.entries.get(&key).filter(|far| far.inner().is(key, token))?;
        self.front.put(key, far.inner());
        Some(far)
    }

    /// Tells moka of a use, which keeps what it did not have.
    fn tell(&self, key: u64, verified: &Verified<C>) {
        if self.entries.get(&key).is_none() {
            self.entries.insert(key, verified.clone());
        }
    }

    /// The key that verified this token, by its id, where that was lately and its only use.
    pub(crate) fn once(&self, key: u64, token: &[u8]) -> Option<NonZeroU64> {
        self.once.key(key, token)
    }

    /// With a token that was just found good, by this key; `again` is whether [`once`](Self::once) knew it.
    pub(crate) fn insert(&self, key: u64, verified: &Verified<C>, by: Option<NonZeroU64>, again: bool) {
        // By bits that choose no place: tokens that drive each other out there leave a trace each.
        let trace = &self.traces[(key >> 40) as usize & (self.traces.len() - 1)];
        let half = key as u32;
        let verified_twice = trace.load(Ordering::Relaxed) == half;
        match by {
            Some(by) if !again && !verified_twice => {
                trace.store(half, Ordering::Relaxed);
                self.once.put(key, verified.token().as_bytes(), by);
            }
            _ => {
                self.front.put(key, verified.inner());
                self.tell(key, verified);
            }
        }
    }

    pub(crate) fn remove(&self, key: u64) {
        self.front.clear(key);
        self.entries.invalidate(&key);
    }
}

/// The tokens used last, each in one of the places of one shelf. Read without locks, and with a tenth of the memory traffic
/// that a look into moka takes.
struct Front<C> {
    shelves: Box<[Shelf<C>]>,
    /// Of all entries.
    bytes: AtomicU64,
    most: u64,
    /// Which place of a full shelf is given away next.
    turn: AtomicUsize,
    /// Where room is made next.
    hand: AtomicUsize,
}

/// Hashes stand beside what they are of, so that nothing else is touched for a token that is not there. One that is not, or
/// no longer, of the entry beside it makes that one missed and nothing worse: each entry knows its own.
#[repr(align(64))]
struct Shelf<C> {
    /// Zero where there is nothing.
    hashes: [AtomicU64; WAYS],
    entries: [ArcSwapOption<Inner<C>>; WAYS],
}

impl<C> Shelf<C> {
    fn new() -> Self {
        Self { hashes: Default::default(), entries: std::array::from_fn(|_| ArcSwapOption::empty()) }
    }

    /// The places with this hash.
    fn ways(&self, hash: u64) -> impl Iterator<Item = usize> {
        (0..WAYS).filter(move |way| self.hashes[*way].load(Ordering::Relaxed) == hash)
    }

    fn swap(&self, way: usize, hash: u64, entry: Option<Arc<Inner<C>>>) -> Option<Arc<Inner<C>>> {
        let old = self.entries[way].swap(entry);
        self.hashes[way].store(hash, Ordering::Relaxed);
        old
    }
}

impl<C> Front<C> {
    fn new(most: u64) -> Self {
        // At most two mebibytes.
        let shelves = (most / BYTES_PER_SHELF).clamp(4, 1 << 15).next_power_of_two();
        Self {
            shelves: (0..shelves).map(|_| Shelf::new()).collect(),
            bytes: AtomicU64::new(0),
            most,
            turn: AtomicUsize::new(0),
            hand: AtomicUsize::new(0),
        }
    }

    fn at(&self, key: u64) -> usize {
        key as usize & (self.shelves.len() - 1)
    }

    fn get(&self, key: u64, token: &[u8]) -> Option<Verified<C>> {
        let shelf = &self.shelves[self.at(key)];
        shelf.ways(key).find_map(|way| {
            let found = shelf.entries[way].load();
            let found = found.as_ref().filter(|inner| inner.is(key, token))?;
            Some(Verified::from_inner(Arc::clone(found)))
        })
    }

    /// Takes the place of whatever has it; what is too large does without.
    fn put(&self, key: u64, inner: &Arc<Inner<C>>) {
        let weight = weight(inner);
        if weight > self.most {
            return;
        }
        let at = self.at(key);
        let shelf = &self.shelves[at];
        let free = shelf.ways(key).next().or_else(|| shelf.ways(0).next());
        let way = free.unwrap_or_else(|| self.turn.fetch_add(1, Ordering::Relaxed) % WAYS);
        self.bytes.fetch_add(weight, Ordering::Relaxed);
        self.forget(shelf.swap(way, key, Some(Arc::clone(inner))));
        // One turn at most: others may be filling what is emptied here.
        let places = self.shelves.len() * WAYS;
        for _ in 0..places {
            if self.bytes.load(Ordering::Relaxed) <= self.most {
                break;
            }
            let next = self.hand.fetch_add(1, Ordering::Relaxed) & (places - 1);
            if next != at * WAYS + way {
                self.forget(self.shelves[next / WAYS].swap(next % WAYS, 0, None));
            }
        }
    }

    fn clear(&self, key: u64) {
        let shelf = &self.shelves[self.at(key)];
        shelf.ways(key).for_each(|way| self.forget(shelf.swap(way, 0, None)));
    }

    fn forget(&self, old: Option<Arc<Inner<C>>>) {
        if let Some(old) = old {
            self.bytes.fetch_sub(weight(&old), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{Algorithm, StaticKeys};
    use crate::policy::claims::Registered;
    use crate::token::Signed;

    const SECRET: &[u8] = &[7; 32];

    struct Tokens {
        cache: VerifiedCache<()>,
        keys: StaticKeys,
    }

    impl Tokens {
        fn new(max_bytes: u64) -> Self {
            let keys = StaticKeys::hmac(Algorithm::Hs256, SECRET).unwrap();
            Self { cache: VerifiedCache::new(max_bytes).unwrap(), keys }
        }

        /// Of 500 bytes and more.
        fn token(number: usize) -> String {
            format!("{}{number:064}", "x".repeat(500 + number % 1_000))
        }

        fn key(&self, token: &str) -> u64 {
            self.cache.key(token.as_bytes())
        }

        /// As a request with it does; whether its signature need not be verified.
        fn uses(&self, token: &str) -> bool {
            let key = self.key(token);
            if self.is_entry(token) {
                return true;
            }
            let by = self.keys.set().select(None, Algorithm::Hs256).unwrap();
            let once = self.is_known_once(token);
            let signed = Signed::new(key, 0, Arc::clone(by), 1);
            let verified = Verified::new(Registered::default(), token, Some(signed), ());
            self.cache.insert(key, &verified, by.id(), once);
            once
        }

        fn is_entry(&self, token: &str) -> bool {
            self.cache.get(self.key(token), token.as_bytes()).is_some()
        }

        fn is_known_once(&self, token: &str) -> bool {
            let by = self.keys.set().select(None, Algorithm::Hs256).unwrap();
            let once = self.cache.once(self.key(token), token.as_bytes());
            assert!(once.is_none() || once == by.id());
            once.is_some()
        }

        fn in_moka(&self) -> u64 {
            self.cache.entries.run_pending_tasks();
            self.cache.entries.entry_count()
        }
    }

    #[test]
    fn only_what_is_used_again_goes_on() {
        let tokens = Tokens::new(1 << 20);
        let (once, again) = (Tokens::token(1), Tokens::token(2));
        assert!(!tokens.uses(&once) && !tokens.uses(&again));
        assert!(!tokens.is_entry(&again) && tokens.is_known_once(&again));
        assert_eq!(tokens.in_moka(), 0);
        assert!(tokens.uses(&again) && tokens.is_entry(&again));
        assert_eq!(tokens.in_moka(), 1);
        // Also without its place in front.
        let key = tokens.key(&again);
        tokens.cache.front.clear(key);
        assert!(tokens.is_entry(&again));
        assert!(tokens.cache.front.get(key, again.as_bytes()).is_some());
        tokens.cache.remove(key);
        assert!(!tokens.is_entry(&again) && !tokens.is_entry(&once));
    }

    /// Used in turn, so that the first loses its place to the other; by its trace it goes on all the same.
    #[test]
    fn of_two_with_one_place_each_goes_on() {
        let tokens = Tokens::new(1 << 20);
        // There are fewer places than that for tokens used once.
        let place = |number: &usize| tokens.key(&Tokens::token(*number)) & 0x1ff;
        let one = place(&0);
        let pair = [0, (1..).find(|number| place(number) == one).unwrap()].map(Tokens::token);
        for (token, known) in [(0, false), (1, false), (0, false), (1, true), (0, true), (1, true)] {
            assert_eq!(tokens.uses(&pair[token]), known, "{token}");
        }
        assert!(tokens.is_entry(&pair[0]) && tokens.is_entry(&pair[1]));
    }

    #[test]
    fn four_share_a_shelf_and_a_fifth_is_found_behind() {
        let tokens = Tokens::new(1 << 20);
        let front = &tokens.cache.front;
        let shelf = |number: &usize| front.at(tokens.key(&Tokens::token(*number)));
        let alike: Vec<_> =
            (0..).filter(|number| shelf(number) == shelf(&0)).take(5).map(Tokens::token).collect();
        for token in &alike {
            // At once again: they share the place of those used once, and now and then a trace.
            tokens.uses(token);
            tokens.uses(token);
        }
        let in_front =
            || alike.iter().filter(|token| front.get(tokens.key(token), token.as_bytes()).is_some());
        assert_eq!(in_front().count(), WAYS);
        assert!(alike.iter().all(|token| tokens.is_entry(token)));
        assert_eq!(in_front().count(), WAYS);
        front.clear(tokens.key(&alike[4]));
        assert!(in_front().count() < WAYS && tokens.is_entry(&alike[4]));
        tokens.cache.remove(tokens.key(&alike[4]));
        assert!(!tokens.is_entry(&alike[4]) && tokens.is_entry(&alike[0]));
    }

    /// Also within one shelf.
    #[test]
    fn four_that_are_too_much_together_make_room_for_each_other() {
        let tokens = Tokens::new(32_000);
        let front = &tokens.cache.front;
        let shelf = |number: &usize| front.at(tokens.key(&Tokens::token(*number)));
        let alike = (0..).filter(|number| shelf(number) == shelf(&0)).take(WAYS).map(Tokens::token);
        for token in alike {
            tokens.uses(&token);
            tokens.uses(&token);
            assert!(front.get(tokens.key(&token), token.as_bytes()).is_some());
            let held = front.bytes.load(Ordering::Relaxed);
            assert!((1..=front.most).contains(&held), "{held} of {}", front.most);
        }
    }

    /// More tokens in turn than there are places: each has lost its own before it comes again.
    #[test]
    fn what_is_verified_twice_goes_on() {
        let tokens = Tokens::new(8 << 20);
        for number in 0..1_000 {
            tokens.uses(&Tokens::token(number));
        }
        assert_eq!(tokens.in_moka(), 0);
        let known = (0..1_000).filter(|number| tokens.uses(&Tokens::token(*number))).count();
        assert!((100..900).contains(&known), "{known}");
        // Some had their trace overwritten by another.
        assert!((700..=1_000).contains(&tokens.in_moka()), "{}", tokens.in_moka());
    }

    #[test]
    fn what_is_held_stays_within_bounds() {
        for max_bytes in [1_u64, 1_000, 8_000, 100_000, 1 << 20] {
            let tokens = Tokens::new(max_bytes);
            for number in 0..3_000 {
                tokens.uses(&Tokens::token(number));
                if number % 3 == 0 {
                    tokens.uses(&Tokens::token(number));
                }
            }
            let Front { shelves, bytes, most, .. } = &tokens.cache.front;
            let entries = shelves.iter().flat_map(|shelf| &shelf.entries);
            let held: u64 = entries.filter_map(|entry| entry.load().as_deref().map(weight)).sum();
            assert_eq!(held, bytes.load(Ordering::Relaxed));
            assert!(held <= *most && (max_bytes < 100_000 || held > most / 2), "{held} of {most}");
            tokens.in_moka();
            let all = tokens.cache.entries.weighted_size() + held + tokens.cache.once.held();
            assert!(all <= max_bytes, "{all} of {max_bytes}");
        }
    }

    #[test]
    fn every_byte_counts() {
        let tokens = Tokens::new(1 << 20);
        let token = Tokens::token(1);
        let other = token.replacen('x', "y", 1);
        assert_eq!(tokens.key(&other), tokens.key(&token));
        tokens.uses(&token);
        assert!(tokens.is_known_once(&token));
        assert!(!tokens.is_known_once(&other) && !tokens.is_known_once(&token[1..]));
        tokens.uses(&token);
        for _ in 0..3 {
            assert!(tokens.is_entry(&token));
            assert!(!tokens.is_entry(&other) && !tokens.is_entry(&token[1..]));
        }
    }
}
