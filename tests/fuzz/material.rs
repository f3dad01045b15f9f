//! Good documents, and what is done to them: an input of the engine is a recipe. Its first byte chooses a document (or none: then the rest is the
//! document), its second how many changes, and each change is four bytes: what, where (two), with what. So a shorter recipe is a smaller change,
//! and an engine that follows coverage can learn them.

/// The most changes in one recipe: more, and nothing of the document is left.
const CHANGES: usize = 6;

/// What the recipes of one target are about.
pub struct Material {
    documents: Vec<Vec<u8>>,
    words: &'static [&'static str],
}

impl Material {
    /// These documents, and words that mean something in them.
    pub fn of(documents: impl IntoIterator<Item = impl Into<Vec<u8>>>, words: &'static [&'static str]) -> Self {
        let documents: Vec<Vec<u8>> = documents.into_iter().map(Into::into).collect();
        assert!(!documents.is_empty() && !words.is_empty(), "there is nothing to start from");
        Self { documents, words }
    }

    /// What the recipe makes of them.
    pub fn cook(&self, recipe: &[u8]) -> Vec<u8> {
        let [chosen, count, changes @ ..] = recipe else { return recipe.to_vec() };
        // One in sixteen is raw.
        if chosen % 16 == 15 {
            return recipe[1..].to_vec();
        }
        let mut document = self.documents[usize::from(*chosen) % self.documents.len()].clone();
        for change in changes.chunks_exact(4).take(usize::from(*count) % (CHANGES + 1)) {
            let at = usize::from(u16::from_be_bytes([change[1], change[2]])) % (document.len() + 1);
            self.change(&mut document, change[0], at, change[3]);
        }
        document
    }

    fn change(&self, document: &mut Vec<u8>, what: u8, at: usize, with: u8) {
        let word = self.words[usize::from(with) % self.words.len()].as_bytes();
        let to = (at + usize::from(with) + 1).min(document.len());
        match what % 10 {
            0 | 1 => drop(document.splice(at..at, word.iter().copied())),
            2 => drop(document.splice(at..(at + word.len()).min(document.len()), word.iter().copied())),
            3 => drop(document.drain(at..to)),
            4 => {
                let twice = document[at..to].to_vec();
                drop(document.splice(at..at, twice));
            }
            5 => document.truncate(at),
            6 => {
                let other = &self.documents[usize::from(with) % self.documents.len()];
                let from = at.min(other.len());
                drop(document.splice(at..to, other[from..].iter().take(40).copied()));
            }
            7 => drop(document.splice(at..at, [with])),
            8 => {
                if let Some(byte) = document.get_mut(at) {
                    *byte ^= 1 << (with % 8);
                }
            }
            _ => {
                if let Some(byte) = document.get_mut(at) {
                    *byte = with;
                }
            }
        }
    }
}

#[test]
fn a_recipe_without_changes_gives_a_document_and_others_give_others() {
    let material = Material::of(["first", "second"], &["word"]);
    assert_eq!(material.cook(&[1, 0, 9, 9, 9, 9]), b"second");
    assert_eq!(material.cook(&[0, 1, 0, 0, 2, 0]), b"fiwordrst");
    assert_eq!(material.cook(&[0, 1, 5, 0, 2, 0]), b"fi");
    assert_eq!(material.cook(&[15, 1, 2]), [1, 2]);
    assert_eq!(material.cook(&[]), b"");
}
