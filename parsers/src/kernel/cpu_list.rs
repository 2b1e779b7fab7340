//! Lists of CPUs as sysfs writes them: `0,2-5`.

use super::scan::number;

/// More CPUs than any kernel is built for; a larger number is no CPU.
const MAX_CPUS: u64 = 1 << 16;

/// The CPUs of the list in its order. Parts of another shape are skipped.
pub fn cpus(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes
        .trim_ascii()
        .split(|b| *b == b',')
        .filter_map(|part| match memchr::memchr(b'-', part) {
            Some(dash) => Some((number(&part[..dash])?, number(&part[dash + 1..])?)),
            None => number(part).map(|n| (n, n)),
        })
        .filter(|(_, last)| *last < MAX_CPUS)
        .flat_map(|(first, last)| first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_single_cpus() {
        assert_eq!(cpus(b"1,3-5,9\n").collect::<Vec<_>>(), [1, 3, 4, 5, 9]);
        assert_eq!(cpus(b"\n").count(), 0);
        assert_eq!(cpus(b"x,2-,-,7-6,0-99999999999,8").collect::<Vec<_>>(), [8]);
    }
}
