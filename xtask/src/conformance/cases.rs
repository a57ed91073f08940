//! Which cases there are, which a run takes, and how they are dealt out. Knows nothing of what a case does.

/// How much of the suite.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Preset {
    /// The protocol: 1 to 7 and 10.
    Core,
    /// Also the large messages of 9, and of compression a sample: every setting, mostly small messages.
    Ci,
    /// All.
    Full,
}

impl Preset {
    pub(super) fn read(name: &str) -> Option<Self> {
        match name {
            "core" => Some(Self::Core),
            "ci" => Some(Self::Ci),
            "full" => Some(Self::Full),
            _ => None,
        }
    }

    /// The cases, in the suite's order.
    pub(super) fn cases(self) -> Vec<String> {
        let all = GROUPS
            .iter()
            .flat_map(|(group, n)| (1..=*n).map(move |last| (*group, last)));
        all.filter(|(group, last)| self.takes(group, *last))
            .map(|(group, last)| format!("{group}.{last}"))
            .collect()
    }

    fn takes(self, group: &str, last: u32) -> bool {
        let compression = is_compression(group);
        match self {
            Self::Full => true,
            Self::Core => !compression && !group.starts_with("9."),
            Self::Ci => {
                let large = || CI_LARGE.contains(&(group, last));
                !compression || CI_SAMPLE.contains(&last) || large()
            }
        }
    }
}

/// A case, or a group, of permessage-deflate.
pub(super) fn is_compression(id: &str) -> bool {
    id.starts_with("12.") || id.starts_with("13.")
}

/// A case whose messages any compression shortens: text of 256 octets and more. The bitmap of 12.2 and the PDF
/// of 12.5 may come out longer, and then go as they are.
pub(super) fn must_shrink(id: &str) -> bool {
    let last = id.rsplit('.').next().and_then(|last| last.parse().ok());
    let text = !id.starts_with("12.2.") && !id.starts_with("12.5.");
    is_compression(id) && text && last.is_some_and(|last: u32| last >= 3)
}

/// Deals the cases among `shards` processes, so that each gets its part of the long ones.
pub(super) fn deal(cases: &[String], shards: usize) -> Vec<Vec<String>> {
    let mut hands = vec![Vec::new(); shards.clamp(1, cases.len().max(1))];
    let count = hands.len();
    // Long cases stand at the same places of each group, so each kind is dealt by itself.
    let (long, short): (Vec<_>, Vec<_>) = cases.iter().partition(|id| is_long(id));
    for (at, id) in long.into_iter().chain(short).enumerate() {
        hands[at % count].push(id.clone());
    }
    hands
}

/// Seconds, where others take milliseconds: thousand compressed messages of 16 KiB and more.
fn is_long(id: &str) -> bool {
    let last: u32 = id
        .rsplit('.')
        .next()
        .and_then(|last| last.parse().ok())
        .unwrap_or(0);
    is_compression(id) && ((7..=10).contains(&last) || last >= 12)
}

/// Every group of cases, and how many it has: 517 in all. 8 and 11 have none.
#[rustfmt::skip]
const GROUPS: &[(&str, u32)] = &[
    ("1.1", 8), ("1.2", 8), ("2", 11), ("3", 7), ("4.1", 5), ("4.2", 5), ("5", 20),
    ("6.1", 3), ("6.2", 4), ("6.3", 2), ("6.4", 4), ("6.5", 5), ("6.6", 11), ("6.7", 4), ("6.8", 2), ("6.9", 4),
    ("6.10", 3), ("6.11", 5), ("6.12", 8), ("6.13", 5), ("6.14", 10), ("6.15", 1), ("6.16", 3), ("6.17", 5),
    ("6.18", 5), ("6.19", 5), ("6.20", 7), ("6.21", 8), ("6.22", 34), ("6.23", 7),
    ("7.1", 6), ("7.3", 6), ("7.5", 1), ("7.7", 13), ("7.9", 9), ("7.13", 2),
    ("9.1", 6), ("9.2", 6), ("9.3", 9), ("9.4", 9), ("9.5", 6), ("9.6", 6), ("9.7", 6), ("9.8", 6),
    ("10.1", 1),
    ("12.1", 18), ("12.2", 18), ("12.3", 18), ("12.4", 18), ("12.5", 18),
    ("13.1", 18), ("13.2", 18), ("13.3", 18), ("13.4", 18), ("13.5", 18), ("13.6", 18), ("13.7", 18),
];

/// Of each group of compression: messages of 16 to 4096 octets, and of 8 KiB in fragments.
const CI_SAMPLE: &[u32] = &[1, 2, 3, 4, 5, 11];
/// And messages of 128 KiB: text and bitmap, whole and in fragments, with a small window and without context.
const CI_LARGE: &[(&str, u32)] = &[("12.2", 10), ("12.4", 16), ("13.3", 17), ("13.5", 10)];

#[cfg(test)]
mod tests {
    use super::{Preset, deal, must_shrink};

    #[test]
    fn the_suite_has_517_cases_and_its_core_247() {
        let count = |preset: Preset| preset.cases().len();
        assert_eq!(
            (count(Preset::Core), count(Preset::Ci), count(Preset::Full)),
            (247, 301 + 12 * 6 + 4, 517)
        );
    }

    #[test]
    fn each_case_is_dealt_once_and_the_hands_are_even() {
        let cases = Preset::Full.cases();
        for shards in [1, 2, 3, 600] {
            let hands = deal(&cases, shards);
            let mut dealt: Vec<_> = hands.concat();
            dealt.sort();
            let mut all = cases.clone();
            all.sort();
            assert_eq!(dealt, all);
            let sizes = hands.iter().map(Vec::len);
            assert!(sizes.clone().max().unwrap() - sizes.min().unwrap() <= 1);
        }
    }

    #[test]
    fn short_messages_and_pictures_need_not_shrink() {
        let table = [
            ("12.1.2", false),
            ("12.1.3", true),
            ("12.2.9", false),
            ("12.5.9", false),
            ("13.7.18", true),
            ("9.1.3", false),
        ];
        for (id, expected) in table {
            assert_eq!(must_shrink(id), expected, "{id}");
        }
    }
}
