//! Versions found by how they are written, octet by octet, before anything is read.

use super::version::Version;

/// Longer texts are read in the ordinary way.
const LONGEST: usize = 16;

/// The commonest ways to write the registered versions, each with its place among them. What is found here is what
/// reading the text and looking for an equal version would find; what is not found may still be a version.
#[derive(Debug, Clone)]
pub(crate) struct Spelled {
    pub(crate) list: Vec<Spelling>,
    /// A hash table of `list`. At most a quarter is taken.
    slots: Box<[Slot]>,
    /// The same for the texts `0` to `9`, which most requests name: places in `list`, counted from one.
    digits: [u32; 10],
}

/// One way to write a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spelling {
    /// The place of the version among the registered ones.
    pub(crate) entry: usize,
    /// The place of this in the list of spellings.
    pub(crate) place: usize,
    /// As it is written.
    pub(crate) version: Version,
}

/// A text, and its place in `list`, counted from one; zero for a free slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Slot {
    low: u64,
    high: u64,
    length: u32,
    place: u32,
}

impl Spelled {
    /// Of versions in ascending order and without duplicates.
    pub(crate) fn new(versions: &[Version]) -> Self {
        let mut spelled = Self { list: Vec::new(), slots: Box::default(), digits: [0; 10] };
        let mut texts = Vec::new();
        for (entry, version) in versions.iter().enumerate() {
            for text in spellings(*version) {
                // What reads as another version is no spelling of this one.
                let Ok(read) = Version::parse(&text) else { continue };
                if read == *version {
                    spelled.list.push(Spelling { entry, place: spelled.list.len(), version: read });
                    texts.push(text);
                }
            }
        }
        spelled.slots = vec![Slot::default(); (texts.len() * 4).next_power_of_two()].into_boxed_slice();
        for (index, text) in texts.iter().enumerate() {
            let (Some(key), Ok(place)) = (Slot::of(text.as_bytes()), u32::try_from(index + 1)) else {
                continue;
            };
            if let [digit @ b'0'..=b'9'] = text.as_bytes() {
                spelled.digits[usize::from(digit - b'0')] = place;
            }
            let mut at = key.home(spelled.slots.len());
            while spelled.slots[at].place != 0 {
                at = (at + 1) & (spelled.slots.len() - 1);
            }
            spelled.slots[at] = Slot { place, ..key };
        }
        spelled
    }

    /// The version that is written there.
    #[inline(always)]
    pub(crate) fn find(&self, text: &[u8]) -> Option<&Spelling> {
        match text {
            [digit @ b'0'..=b'9'] => self.find_digit(digit - b'0'),
            _ => self.at(self.find_long(text)?),
        }
    }

    /// The same for a digit.
    #[inline(always)]
    pub(crate) fn find_digit(&self, digit: u8) -> Option<&Spelling> {
        self.at(*self.digits.get(usize::from(digit))?)
    }

    #[inline(always)]
    fn at(&self, place: u32) -> Option<&Spelling> {
        self.list.get((place as usize).wrapping_sub(1))
    }

    /// The same for a version that was read, of which it is known what it is registered as.
    pub(crate) fn of(&self, entry: usize, read: &Version) -> Option<&Spelling> {
        let first = self.list.partition_point(|spelling| spelling.entry < entry);
        let same = |spelling: &&Spelling| spelling.version.is_written_as(read);
        self.list[first..].iter().take_while(|spelling| spelling.entry == entry).find(same)
    }

    #[inline(always)]
    fn find_long(&self, text: &[u8]) -> Option<u32> {
        let key = Slot::of(text)?;
        let many = self.slots.len();
        let mut at = key.home(many);
        loop {
            let slot = &self.slots[at];
            if (slot.low, slot.high, slot.length) == (key.low, key.high, key.length) {
                return Some(slot.place);
            }
            if slot.place == 0 {
                return None;
            }
            at = (at + 1) & (many - 1);
        }
    }
}

impl Slot {
    /// The octets of a text in two words; with the length no two texts have the same ones.
    #[inline(always)]
    fn of(text: &[u8]) -> Option<Self> {
        let (low, high) = match text.len() {
            8..=LONGEST => {
                (u64::from_le_bytes(*text.first_chunk()?), u64::from_le_bytes(*text.last_chunk()?))
            }
            4..8 => {
                let (first, last) = (text.first_chunk()?, text.last_chunk()?);
                (u64::from(u32::from_le_bytes(*first)), u64::from(u32::from_le_bytes(*last)))
            }
            2..4 => {
                let (first, last) = (text.first_chunk()?, text.last_chunk()?);
                (u64::from(u16::from_le_bytes(*first)), u64::from(u16::from_le_bytes(*last)))
            }
            1 => (u64::from(text[0]), 0),
            _ => return None,
        };
        Some(Self { low, high, length: u32::try_from(text.len()).ok()?, place: 0 })
    }

    /// Fibonacci hashing: the high bits of a product depend on all bits of the key. `many` is a power of two.
    #[inline(always)]
    fn home(&self, many: usize) -> usize {
        const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
        let folded = self.low ^ self.high.rotate_left(23).wrapping_mul(ODD) ^ u64::from(self.length);
        (folded.wrapping_mul(ODD) >> 32) as usize & (many - 1)
    }
}

/// As it is registered; and, where numbers that are zero may be left out or written, without and with them.
fn spellings(version: Version) -> Vec<String> {
    let mut texts = vec![version.to_string()];
    if version.date().is_none() && version.is_release() {
        let (major, minor, patch) = (version.major_number(), version.minor_number(), version.patch_number());
        let others = [format!("{major}"), format!("{major}.{minor}"), format!("{major}.{minor}.{patch}")];
        texts.extend(others.into_iter().filter(|text| *text != version.to_string()));
    }
    texts
}
