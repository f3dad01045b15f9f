//! The bank's frames: a length, perhaps five bytes of routing, a message. Written apart from the orchestrator's, as the codec is.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// What a bank's longest message cannot reach.
const CONTENT_MAX: usize = 16 * 1024;

/// How the length is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Two,
    TwoWithItself,
    FourDigits,
}

/// How messages are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frames {
    length: Length,
    routed: bool,
}

/// The routing of a frame: an id, where to, where from.
pub type Routing = Option<[u8; 5]>;

impl Frames {
    /// Of the settings' names.
    pub fn parse(framing: &str, routed: bool) -> Option<Self> {
        let length = match framing {
            "two_bytes" => Length::Two,
            "two_bytes_with_itself" => Length::TwoWithItself,
            "four_digits" => Length::FourDigits,
            _ => return None,
        };
        Some(Self { length, routed })
    }

    /// Reads what follows the next length; empty for a pulse.
    ///
    /// # Errors
    /// When the peer is gone, or says no length.
    pub async fn read(&self, from: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
        let no_length = || io::Error::from(io::ErrorKind::InvalidData);
        let length = match self.length {
            Length::Two => usize::from(from.read_u16().await?),
            Length::TwoWithItself => match from.read_u16().await? {
                0 => 0,
                length => usize::from(length).checked_sub(2).ok_or_else(no_length)?,
            },
            Length::FourDigits => {
                let mut digits = [0; 4];
                from.read_exact(&mut digits).await?;
                std::str::from_utf8(&digits).ok().and_then(|text| text.parse().ok()).ok_or_else(no_length)?
            }
        };
        if length > CONTENT_MAX {
            return Err(no_length());
        }
        let mut content = vec![0; length];
        from.read_exact(&mut content).await?;
        Ok(content)
    }

    /// Routing and message of what was read; `None` when there is no routing where there must be.
    pub fn open<'a>(&self, content: &'a [u8]) -> Option<(Routing, &'a [u8])> {
        if !self.routed {
            return Some((None, content));
        }
        let (routing, message) = content.split_first_chunk()?;
        Some((Some(*routing), message))
    }

    /// The frame of an answer: its routing goes the other way.
    pub fn close(&self, routing: Routing, message: &[u8]) -> Vec<u8> {
        let back = routing.map(|[id, to_high, to_low, from_high, from_low]| [id, from_high, from_low, to_high, to_low]);
        let content = [back.as_ref().map_or(&[][..], |back| back), message].concat();
        // Answers have some hundreds of bytes.
        let length = content.len() as u16;
        let mut frame = match self.length {
            Length::Two => length.to_be_bytes().to_vec(),
            Length::TwoWithItself => (length + 2).to_be_bytes().to_vec(),
            Length::FourDigits => format!("{length:04}").into_bytes(),
        };
        frame.extend(content);
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_closed_is_read_and_opened_with_its_routing_turned_round() {
        for framing in ["two_bytes", "two_bytes_with_itself", "four_digits"] {
            let plain = Frames::parse(framing, false).unwrap();
            let frame = plain.close(None, b"0810");
            assert_eq!(plain.read(&mut &frame[..]).await.unwrap(), b"0810", "{framing}");
            let routed = Frames::parse(framing, true).unwrap();
            let frame = routed.close(Some([0x60, 0, 1, 0, 2]), b"0810");
            let content = routed.read(&mut &frame[..]).await.unwrap();
            assert_eq!(routed.open(&content), Some((Some([0x60, 0, 2, 0, 1]), &b"0810"[..])), "{framing}");
        }
    }
}
