//! A trie of bytes with a bonus at each place: the words of a dictionary as the decoder's tokens lead through them.

/// The place before any byte.
pub(super) const ROOT: u32 = 0;

/// The trie; immutable and compact: the children of a node stand one after the other, in order of their bytes.
#[derive(Debug)]
pub(super) struct Trie {
    nodes: Vec<Node>,
    /// The byte that leads to each node.
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Node {
    first_child: u32,
    children: u16,
    /// A word ends here.
    end: bool,
    /// Bonus in nats for a token that ends here, or goes on beyond a word that ends here.
    bonus: f32,
}

/// A trie that grows.
#[derive(Debug)]
pub(super) struct Builder {
    nodes: Vec<Growing>,
    longest: usize,
}

#[derive(Debug, Default)]
struct Growing {
    children: Vec<(u8, u32)>,
    end: bool,
    bonus: f32,
}

impl Default for Builder {
    fn default() -> Self {
        Self { nodes: vec![Growing::default()], longest: 0 }
    }
}

impl Builder {
    /// Adds `text`; `bonus` says what a token gets that ends with so many of its characters.
    pub(super) fn insert(&mut self, text: &str, bonus: impl Fn(usize) -> f32) {
        self.longest = self.longest.max(text.len());
        let mut at = 0;
        let mut chars = 0;
        let bytes = text.as_bytes();
        for (index, &byte) in bytes.iter().enumerate() {
            let fresh = self.nodes.len();
            let node = &mut self.nodes[at];
            at = match node.children.binary_search_by_key(&byte, |child| child.0) {
                Ok(found) => node.children[found].1 as usize,
                Err(place) => {
                    node.children.insert(place, (byte, fresh as u32));
                    self.nodes.push(Growing::default());
                    fresh
                }
            };
            let whole = bytes.get(index + 1).is_none_or(|next| next & 0xc0 != 0x80);
            chars += usize::from(whole);
            let node = &mut self.nodes[at];
            // inside a character the bonus of the character that is being written, except the first
            let counted = if whole || chars == 0 { chars } else { chars + 1 };
            node.bonus = node.bonus.max(bonus(counted));
        }
        self.nodes[at].end = true;
    }

    /// The trie, and the bytes of its longest word.
    pub(super) fn finish(self) -> (Trie, usize) {
        // level by level, so that the children of a node are neighbours
        let mut trie = Trie { nodes: Vec::with_capacity(self.nodes.len()), bytes: vec![0] };
        let mut order = vec![0_u32];
        let mut at = 0;
        while let Some(growing) = order.get(at).and_then(|index| self.nodes.get(*index as usize)) {
            trie.nodes.push(Node {
                first_child: order.len() as u32,
                children: growing.children.len() as u16,
                end: growing.end,
                bonus: growing.bonus,
            });
            for &(byte, child) in &growing.children {
                trie.bytes.push(byte);
                order.push(child);
            }
            at += 1;
        }
        trie.bytes.shrink_to_fit();
        (trie, self.longest)
    }
}

impl Trie {
    fn node(&self, node: u32) -> Node {
        self.nodes.get(node as usize).copied().unwrap_or_default()
    }

    fn step(&self, node: u32, byte: u8) -> Option<u32> {
        let Node { first_child, children, .. } = self.node(node);
        let from = first_child as usize;
        let bytes = self.bytes.get(from..from + usize::from(children))?;
        let found = bytes.binary_search(&byte).ok()?;
        Some(first_child + found as u32)
    }

    /// The node that `bytes` leads to from the root.
    pub(super) fn walk(&self, bytes: &[u8]) -> Option<u32> {
        bytes.iter().try_fold(ROOT, |node, &byte| self.step(node, byte))
    }

    /// Whether a word ends at `node`.
    pub(super) fn ends(&self, node: u32) -> bool {
        self.node(node).end
    }

    /// The bonus of a token that leads on from `node`: the largest of where it ends and of the words that end inside it; 0 when it leads nowhere.
    pub(super) fn bonus(&self, node: u32, token: &[u8]) -> f32 {
        let (mut at, mut bonus) = (node, 0.0);
        for (index, &byte) in token.iter().enumerate() {
            let Some(next) = self.step(at, byte) else { break };
            let here = self.node(next);
            if here.end || index + 1 == token.len() {
                bonus = f32::max(bonus, here.bonus);
            }
            at = next;
        }
        bonus
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_and_tokens_get_the_bonus_of_where_they_lead() {
        let mut builder = Builder::default();
        for (word, factor) in [("三国", 1.0), ("三国本町", 1.0), ("三軒家", 2.0), ("東", 0.5)] {
            builder.insert(word, |chars| factor * chars as f32);
        }
        let (trie, longest) = builder.finish();
        assert_eq!(longest, "三国本町".len());
        let of = |before: &str, token: &str| trie.bonus(trie.walk(before.as_bytes()).unwrap(), token.as_bytes());
        assert_eq!((of("", "三"), of("", "三国"), of("三", "国"), of("三国", "本町")), (2.0, 2.0, 2.0, 4.0));
        assert_eq!((of("", "三国に"), of("", "三国本"), of("", "国"), of("", "")), (2.0, 3.0, 0.0, 0.0));
        assert_eq!(trie.bonus(ROOT, &"三".as_bytes()[..2]), 0.0, "less than a character");
        assert_eq!(trie.bonus(trie.walk("三".as_bytes()).unwrap(), &"国".as_bytes()[..1]), 2.0, "the next one begins");
        assert!(trie.ends(trie.walk("三国".as_bytes()).unwrap()) && !trie.ends(ROOT));
        assert_eq!(trie.walk("三北".as_bytes()), None);
        assert_eq!(Builder::default().finish().0.walk(b"a"), None);
    }
}
