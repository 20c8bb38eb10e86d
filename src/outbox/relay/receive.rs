//! Pieces of messages put together at the far end: one message of each class may be under way at once.

use super::Class;
use super::frame::MOST_OF_MESSAGE;
use super::greet::Fault;
use super::pack::{self, Kind};

/// Messages that have begun.
#[derive(Debug, Default)]
pub struct Receiving {
    begun: Vec<(u32, Vec<u8>)>,
}

/// A whole one.
#[derive(Debug, PartialEq, Eq)]
pub struct Received {
    /// Its number on this link, for the answer.
    pub message: u32,
    /// What it is.
    pub kind: Kind,
    /// Its content.
    pub content: Vec<u8>,
}

impl Receiving {
    /// Takes a piece; gives the message when it is whole.
    ///
    /// # Errors
    /// When it is too long or cannot be unpacked; the link ends.
    pub fn piece(&mut self, message: u32, last: bool, bytes: Vec<u8>) -> Result<Option<Received>, Fault> {
        let place = self.begun.iter().position(|(number, _)| *number == message);
        let whole = match place {
            None if last => bytes,
            None if self.begun.len() >= Class::ALL.len() || bytes.is_empty() => return Err(Fault::Endless),
            None => {
                self.begun.push((message, bytes));
                return Ok(None);
            }
            Some(place) => {
                let Some((_, begun)) = self.begun.get_mut(place) else { return Ok(None) };
                if begun.len() + bytes.len() > MOST_OF_MESSAGE || (bytes.is_empty() && !last) {
                    return Err(Fault::Endless);
                }
                begun.extend_from_slice(&bytes);
                if !last {
                    return Ok(None);
                }
                self.begun.swap_remove(place).1
            }
        };
        let (kind, content) = pack::unpack(&whole)?;
        Ok(Some(Received { message, kind, content }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_three_messages_may_come_between_each_other_and_no_more() {
        let packed = pack::pack(Class::Bulk, b"a document").unwrap();
        let (one, two) = packed.split_at(3);
        let mut receiving = Receiving::default();
        for message in 1..=3 {
            assert_eq!(receiving.piece(message, false, one.to_vec()), Ok(None));
        }
        assert_eq!(receiving.piece(4, false, one.to_vec()), Err(Fault::Endless));
        let whole = receiving.piece(2, true, two.to_vec()).unwrap().unwrap();
        assert_eq!((whole.message, whole.kind, &whole.content[..]), (2, Kind::Event(Class::Bulk), &b"a document"[..]));
        assert!(receiving.piece(4, true, packed.clone()).unwrap().is_some(), "one piece is a message too");
        assert!(matches!(receiving.piece(5, true, two.to_vec()), Err(Fault::Unpackable(_))));
    }

    #[test]
    fn a_message_without_end_ends_the_link() {
        let mut receiving = Receiving::default();
        let piece = vec![0; 8 * 1024];
        let taken = (0..).take_while(|_| receiving.piece(1, false, piece.clone()).is_ok()).count();
        assert_eq!(taken, MOST_OF_MESSAGE / piece.len());
        assert_eq!(Receiving::default().piece(1, false, Vec::new()), Err(Fault::Endless));
    }
}
