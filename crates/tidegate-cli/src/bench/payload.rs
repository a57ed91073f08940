//! What is sent: a stamp of 16 hex digits and text that looks like market data, so that it compresses as such data do.
//! A payload follows from its stamp alone, so whoever receives it can tell whether each byte is right.

/// Bytes of a stamp.
pub(crate) const STAMP: usize = 16;
/// Places in the text where a payload may begin.
const PLACES: usize = 4_096;

/// Makes and judges payloads of one size. Messages that go out together share a stamp, so the last one made and the last
/// one looked for are kept.
pub(crate) struct Payloads {
    size: usize,
    text: String,
    made: Made,
    expected: Made,
}

/// A payload and the stamp it is of.
#[derive(Default)]
struct Made {
    stamp: Option<u64>,
    payload: String,
}

impl Payloads {
    /// For payloads of `size` bytes.
    pub(crate) fn new(size: usize) -> Payloads {
        Payloads {
            size,
            text: ticks(size + PLACES),
            made: Made::default(),
            expected: Made::default(),
        }
    }

    /// The payload of this stamp. One that is too short for a stamp has none.
    pub(crate) fn make(&mut self, stamp: u64) -> &str {
        self.made.of(stamp, self.size, &self.text)
    }

    /// It is the payload of this stamp, whole.
    pub(crate) fn is(&mut self, payload: &[u8], stamp: u64) -> bool {
        payload == self.expected.of(stamp, self.size, &self.text).as_bytes()
    }
}

impl Made {
    fn of(&mut self, stamp: u64, size: usize, text: &str) -> &str {
        if self.stamp != Some(stamp) {
            self.stamp = Some(stamp);
            self.payload.clear();
            match size.checked_sub(STAMP) {
                None => self.payload.push_str(&text[..size]),
                Some(rest) => {
                    let place = place(stamp);
                    push_stamp(&mut self.payload, stamp);
                    self.payload.push_str(&text[place..place + rest]);
                }
            }
        }
        &self.payload
    }
}

/// The stamp that a payload begins with.
pub(crate) fn read_stamp(payload: &[u8]) -> Option<u64> {
    let digits = payload.get(..STAMP)?;
    let mut stamp = 0;
    for &digit in digits {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        stamp = stamp << 4 | u64::from(value);
    }
    Some(stamp)
}

fn push_stamp(text: &mut String, stamp: u64) {
    for shift in (0..STAMP).rev() {
        let value = (stamp >> (4 * shift)) & 15;
        text.push(char::from(b"0123456789abcdef"[value as usize]));
    }
}

/// Where the text of this stamp begins; neighbours lie far apart.
fn place(stamp: u64) -> usize {
    (stamp.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 52) as usize % PLACES
}

/// ASCII without quotes and backslashes, at least `len` bytes: prices that wander, the same at each start.
fn ticks(len: usize) -> String {
    let mut text = String::with_capacity(len + 64);
    let (mut state, mut price) = (1u64, 100_000i64);
    while text.len() < len {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let random = (state >> 33) as i64;
        price += random % 201 - 100;
        let name = ["ALPHA", "BETA", "GAMMA", "DELTA"][(random >> 8) as usize % 4];
        text += &format!(
            " symbol:{name},price:{}.{:02},amount:{};",
            price / 100,
            price.rem_euclid(100),
            random % 10_000
        );
    }
    text.truncate(len);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_recognised_and_no_other() {
        for size in [0, 1, 15, 16, 17, 125, 70_000] {
            let mut payloads = Payloads::new(size);
            let payload = payloads.make(0xabc).to_owned();
            assert_eq!(payload.len(), size);
            assert!(payloads.is(payload.as_bytes(), 0xabc));
            assert!(!payloads.is(&[payload.as_bytes(), b"x"].concat(), 0xabc));
            if size >= STAMP {
                assert_eq!(read_stamp(payload.as_bytes()), Some(0xabc));
                assert!(!payloads.is(payload.as_bytes(), 0xabd));
                let mut wrong = payload.into_bytes();
                *wrong.last_mut().unwrap() ^= 1;
                assert!(!payloads.is(&wrong, 0xabc));
            }
        }
    }

    #[test]
    fn it_needs_no_escape_in_json() {
        let mut payloads = Payloads::new(5_000);
        let text = payloads.make(u64::MAX).to_owned();
        assert!(text.is_ascii() && text.starts_with("ffffffffffffffff"));
        assert_eq!(serde_json::to_string(&text).unwrap().len(), text.len() + 2);
    }
}
