//! The receiving side of SMTP (RFC 5321), as much of it as a mail needs to arrive: `EHLO`, `MAIL`, `RCPT`, `DATA`, `RSET`, `NOOP`, `QUIT`.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use super::PostOffice;

/// Dialogues at once: more wait in the listener's queue.
const DIALOGUES: usize = 16;
/// The longest line, in bytes: RFC 5321 allows 1,000 in a text and 512 in a command.
const LINE_MAX: u64 = 4_096;
/// The largest mail, in bytes: an alert has a few thousand.
const MAIL_MAX: usize = 1024 * 1024;
/// Recipients of one mail.
const RECIPIENTS_MAX: usize = 100;
/// How long a client may say nothing.
const SILENCE: Duration = Duration::from_secs(60);

/// Takes mail until `ended` turns true.
pub(super) async fn serve(listener: TcpListener, office: Arc<PostOffice>, ended: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(DIALOGUES));
    let accept = async {
        // The semaphore is never closed.
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            let Ok((stream, _)) = listener.accept().await else {
                // Out of files: somebody will give one back.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let office = Arc::clone(&office);
            let mut ended = ended.clone();
            tokio::spawn(async move {
                tokio::select! {
                    done = converse(stream, &office) => {
                        if let Err(error) = done {
                            tracing::debug!(error = %error, "a mail client hung up");
                        }
                    }
                    _ = ended.wait_for(|ended| *ended) => {}
                }
                drop(place);
            });
        }
    };
    let mut until = ended.clone();
    tokio::select! {
        () = accept => {}
        _ = until.wait_for(|ended| *ended) => {}
    }
}

/// The envelope so far.
#[derive(Default)]
struct Envelope {
    from: Option<String>,
    to: Vec<String>,
}

async fn converse(stream: TcpStream, office: &PostOffice) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut envelope = Envelope::default();
    writer.write_all(b"220 breakwater sandbox ESMTP: it relays nothing\r\n").await?;
    while let Some(line) = line(&mut reader).await? {
        let line = String::from_utf8_lossy(&line).into_owned();
        let line = line.trim_end();
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let answer = match verb.to_ascii_uppercase().as_str() {
            "EHLO" => "250-breakwater sandbox\r\n250-8BITMIME\r\n250 SIZE 1048576".to_owned(),
            "HELO" => "250 breakwater sandbox".to_owned(),
            "MAIL" => match address(rest, "FROM:") {
                Some(from) => {
                    envelope = Envelope { from: Some(from), to: Vec::new() };
                    "250 2.1.0 fine".to_owned()
                }
                None => "501 5.5.4 MAIL FROM:<address>".to_owned(),
            },
            "RCPT" => match (address(rest, "TO:"), &envelope.from) {
                (_, None) => "503 5.5.1 MAIL first".to_owned(),
                (Some(to), Some(_)) if !to.is_empty() && envelope.to.len() < RECIPIENTS_MAX => {
                    envelope.to.push(to);
                    "250 2.1.5 fine".to_owned()
                }
                (Some(to), Some(_)) if !to.is_empty() => "452 4.5.3 too many recipients".to_owned(),
                _ => "501 5.5.4 RCPT TO:<address>".to_owned(),
            },
            "DATA" if envelope.from.is_none() || envelope.to.is_empty() => "503 5.5.1 MAIL and RCPT first".to_owned(),
            "DATA" => {
                writer.write_all(b"354 end with a dot on a line of its own\r\n").await?;
                let Some(content) = content(&mut reader).await? else { return Ok(()) };
                let Envelope { from, to } = std::mem::take(&mut envelope);
                match content {
                    Content::Whole(bytes) => format!("250 2.0.0 kept as number {}", office.take_mail(from.unwrap_or_default(), to, &bytes)),
                    Content::TooLarge => "552 5.3.4 larger than a mail may be here".to_owned(),
                }
            }
            "RSET" => {
                envelope = Envelope::default();
                "250 2.0.0 forgotten".to_owned()
            }
            "NOOP" => "250 2.0.0 fine".to_owned(),
            "QUIT" => {
                writer.write_all(b"221 2.0.0 bye\r\n").await?;
                return writer.shutdown().await;
            }
            _ => "502 5.5.1 there is no such command here".to_owned(),
        };
        writer.write_all(answer.as_bytes()).await?;
        writer.write_all(b"\r\n").await?;
    }
    Ok(())
}

/// The address in `FROM:<a@b> BODY=8BITMIME`. The empty one, of bounces, is one.
fn address(rest: &str, word: &str) -> Option<String> {
    let found = rest.get(..word.len()).filter(|found| found.eq_ignore_ascii_case(word))?;
    let rest = rest[found.len()..].trim_start();
    let (address, _) = rest.strip_prefix('<')?.split_once('>')?;
    Some(address.to_owned())
}

enum Content {
    Whole(Vec<u8>),
    TooLarge,
}

/// All lines up to the dot, their own leading dots undone; `None` when the client is gone before that. What is too large is read and dropped.
async fn content(reader: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Content>> {
    let mut bytes = Vec::new();
    let mut fits = true;
    while let Some(line) = line(reader).await? {
        if matches!(line.as_slice(), b".\r\n" | b".\n") {
            return Ok(Some(if fits { Content::Whole(bytes) } else { Content::TooLarge }));
        }
        fits = fits && bytes.len() + line.len() <= MAIL_MAX;
        if fits {
            bytes.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
        }
    }
    Ok(None)
}

/// The next line with its end; `None` when there is none. One that is too long, or a client that says nothing, is an error.
async fn line(reader: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let mut bounded = reader.take(LINE_MAX);
    let read = tokio::time::timeout(SILENCE, bounded.read_until(b'\n', &mut line)).await;
    read.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    match line.last() {
        None => Ok(None),
        Some(b'\n') => Ok(Some(line)),
        Some(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "a line without an end")),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    /// Says all lines, and answers what was answered and what was kept.
    async fn dialogue(lines: &str) -> (String, Arc<PostOffice>) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let place = listener.local_addr().expect("bound");
        let office = Arc::new(PostOffice::default());
        let (_ending, ended) = watch::channel(false);
        office.listen(listener, ended).expect("it listens");
        let mut stream = TcpStream::connect(place).await.expect("it accepts");
        stream.write_all(lines.as_bytes()).await.expect("sent");
        stream.shutdown().await.expect("said all");
        let mut said = String::new();
        // A server that hung up on us with something unread resets the connection: what it had said before counts.
        let _reset = stream.read_to_string(&mut said).await;
        (said, office)
    }

    #[tokio::test]
    async fn a_mail_is_kept_with_its_envelope_and_its_dots() {
        let (said, office) = dialogue(
            "EHLO [127.0.0.1]\r\nMAIL FROM:<a@b.example> BODY=8BITMIME\r\nRCPT TO:<c@d.example>\r\nDATA\r\nSubject: hello\r\n\r\n..\r\nend\r\n.\r\nQUIT\r\n",
        )
        .await;
        let codes: Vec<&str> = said.lines().map(|line| &line[..3]).collect();
        assert_eq!(codes, ["220", "250", "250", "250", "250", "250", "354", "250", "221"], "{said}");
        let mails = office.mails();
        assert_eq!(mails.len(), 1);
        let told = (mails[0].number, mails[0].from.as_str(), mails[0].to.as_slice(), mails[0].subject.as_str(), mails[0].text.as_str());
        assert_eq!(told, (1, "a@b.example", &["c@d.example".to_owned()][..], "hello", ".\nend\n"));
    }

    #[tokio::test]
    async fn what_comes_out_of_turn_or_is_too_long_keeps_no_mail() {
        let (said, office) = dialogue("DATA\r\nRCPT TO:<c@d>\r\nMAIL FROM a\r\nSTARTTLS\r\nQUIT\r\n").await;
        let codes: Vec<&str> = said.lines().map(|line| &line[..3]).collect();
        assert_eq!(codes, ["220", "503", "503", "501", "502", "221"], "{said}");
        let (said, endless) = dialogue(&format!("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n{}", "x".repeat(10_000))).await;
        assert!(!said.contains("kept"), "{said}");
        let large = format!("{}\r\n", "x".repeat(1_000)).repeat(1_100);
        let (said, huge) = dialogue(&format!("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n{large}.\r\nQUIT\r\n")).await;
        assert!(said.contains("552") && said.contains("221"), "{said}");
        assert!([office, endless, huge].iter().all(|office| office.mails().is_empty()));
    }
}
