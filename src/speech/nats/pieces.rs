//! A stream of bytes in numbered messages: the bus takes 1 MB at a time, and may lose some when a connection breaks.

/// Most bytes of a piece; less where the server takes less.
const PIECE: usize = 128 << 10;

/// The bytes in pieces that a server with this `max_payload` takes; none for no bytes.
pub fn split(bytes: &[u8], max_payload: usize) -> impl Iterator<Item = &[u8]> {
    bytes.chunks(PIECE.min(max_payload).max(1))
}

/// A piece was lost, so that the rest is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("piece {got} came where {expected} was due")]
pub struct Gap {
    /// The number that was due.
    pub expected: u64,
    /// The number that came.
    pub got: u64,
}

/// Sees to it that pieces come one after the other.
#[derive(Clone, Copy, Debug, Default)]
pub struct Joined {
    next: u64,
}

impl Joined {
    /// Takes the number of a piece; `false` for one that was there already.
    ///
    /// # Errors
    /// When one is missing before it.
    pub fn take(&mut self, number: u64) -> Result<bool, Gap> {
        if number > self.next {
            return Err(Gap { expected: self.next, got: number });
        }
        let is_new = number == self.next;
        self.next += u64::from(is_new);
        Ok(is_new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_fit_the_server_and_are_the_whole() {
        let bytes: Vec<u8> = (0..300_000u32).map(|n| n as u8).collect();
        for max_payload in [1_000, 1 << 20] {
            let pieces: Vec<&[u8]> = split(&bytes, max_payload).collect();
            assert!(pieces.iter().all(|piece| piece.len() <= max_payload && piece.len() <= PIECE));
            assert_eq!(pieces.concat(), bytes);
        }
        assert_eq!(split(&[], 10).count(), 0);
    }

    #[test]
    fn a_lost_piece_is_noticed_and_one_that_came_twice_is_passed_over() {
        let mut joined = Joined::default();
        assert_eq!(joined.take(0), Ok(true));
        assert_eq!(joined.take(0), Ok(false));
        assert_eq!(joined.take(1), Ok(true));
        assert_eq!(joined.take(3), Err(Gap { expected: 2, got: 3 }));
    }
}
