//! Seeded mutation of wire messages: the same seed and input always give the same bytes.

/// A small generator (SplitMix64): the whole sequence follows from its seed.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// The next number.
    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit` (0 when that is 0).
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        if limit == 0 { 0 } else { (self.roll() % limit as u64) as usize }
    }
}

/// Bytes that parsers stumble over.
const TOKENS: [&[u8]; 22] = [
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"\0",
    b" ",
    b"\t",
    b":",
    b";",
    b",",
    b"\"",
    b"\\",
    b"<",
    b">",
    b"%",
    b"{",
    b"}",
    b"[",
    b"-1",
    b"99999999999999999999",
    b"\xff\xfe",
    b"\xe3\x81",
    b"\\ud800",
];

/// One to eight changes: a bit, a byte, a stretch removed, doubled or moved, a token put in, the end cut off.
pub(crate) fn mutate(seed: u64, input: &[u8]) -> Vec<u8> {
    let mut dice = Dice(seed);
    let mut bytes = input.to_vec();
    for _ in 0..=dice.below(8) {
        let at = dice.below(bytes.len());
        let span = dice.below(32).min(bytes.len() - at);
        match dice.below(8) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << dice.below(8),
            1 if !bytes.is_empty() => bytes[at] = dice.roll() as u8,
            2 => {
                bytes.drain(at..at + span);
            }
            3 => {
                let piece = bytes[at..at + span].to_vec();
                bytes.splice(at..at, piece);
            }
            4 => {
                let piece: Vec<u8> = bytes.drain(at..at + span).collect();
                let to = dice.below(bytes.len() + 1);
                bytes.splice(to..to, piece);
            }
            5 => bytes.truncate(at),
            6 => {
                let piece = bytes[at..at + span].repeat(1 + dice.below(64));
                bytes.splice(at..at, piece);
            }
            _ => {
                bytes.splice(at..at, TOKENS[dice.below(TOKENS.len())].iter().copied());
            }
        }
    }
    bytes
}
