//! A mail, and the SMTP dialogue that hands it over. lettre writes the message and speaks the protocol; the dialogue is led here, step by step,
//! for two reasons: every step can be shown (`breakwater alerts test`), and one timeout spans all of it. The library's own covers only the
//! connecting, and a server that accepts and never greets would hold a send for ever.
//!
//! Credentials go out inside TLS only. STARTTLS that is asked for and not offered ends the dialogue: nothing is sent in the clear instead.

use std::time::Duration;

use jiff::Timestamp;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail as MailFrom, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use lettre::transport::smtp::response::Response;
use lettre::transport::smtp::{self};
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;

/// How the connection to a mail server is secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// In the clear, then STARTTLS (RFC 3207), usually on port 587. Required once asked for.
    StartTls,
    /// TLS from the first byte (RFC 8314), usually on port 465.
    Implicit,
    /// None: for a server on this machine alone. Credentials are not sent.
    None,
}

impl Security {
    /// The security of that name in the settings.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "starttls" => Some(Self::StartTls),
            "implicit" => Some(Self::Implicit),
            "none" => Some(Self::None),
            _ => None,
        }
    }

    /// The port that goes with it.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::StartTls => 587,
            Self::Implicit => 465,
            Self::None => 25,
        }
    }
}

/// How mail is sent. `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct MailSettings {
    /// The server's name, which its certificate must bear.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is secured.
    pub security: Security,
    /// User and password, if it wants them.
    pub login: Option<(String, SecretString)>,
    /// Whose mail it is: `alerts@example.com`, perhaps with a name before it in `Name <…>`.
    pub from: String,
    /// Certificates that are believed beside the web's, in PEM: a private authority's.
    pub extra_roots: Option<Vec<u8>>,
    /// How long one send may take, from the name's look-up to the server's yes. 20 s.
    pub timeout: Duration,
}

/// A mail to one recipient.
#[derive(Clone, Copy, Debug)]
pub struct Mail<'a> {
    /// The address.
    pub to: &'a str,
    /// One line.
    pub subject: &'a str,
    /// The text.
    pub body: &'a str,
    /// With its angle brackets; the same at each try.
    pub message_id: &'a str,
    /// The mail that it answers.
    pub in_reply_to: Option<&'a str>,
    /// When it was written.
    pub date: Timestamp,
}

/// Why a mail was not sent.
#[derive(Debug, Error)]
pub enum MailError {
    /// An address or a certificate of the settings is none: it will not get better by itself.
    #[error("{0}")]
    Settings(String),
    /// The server refused for good (5xx).
    #[error("refused: {0}")]
    Refused(String),
    /// Not now: no connection, no TLS, 4xx, or a dialogue that broke off. Try again; the Message-ID stays the same.
    #[error("{0}")]
    Later(String),
    /// The timeout of our own came first.
    #[error("no end within {} s: {said}", after.as_secs())]
    Timeout {
        /// The timeout.
        after: Duration,
        /// How far it had come.
        said: String,
    },
}

/// Whether an address may stand in a mail.
pub fn is_address(text: &str) -> bool {
    text.parse::<Mailbox>().is_ok()
}

/// Sends a mail, and answers what the server said at the end. Each step is told to `show` when it is done: lines that begin with `>` are ours,
/// with `<` the server's; no secret is among them.
///
/// # Errors
/// [`MailError`] says whether trying again may help.
pub async fn send(settings: &MailSettings, mail: &Mail<'_>, mut show: impl FnMut(&str) + Send) -> Result<String, MailError> {
    let message = message(settings, mail)?;
    let mut step = format!("connecting to {}:{}", settings.host, settings.port);
    let led = {
        let mut note = |line: &str| {
            line.clone_into(&mut step);
            show(line);
        };
        tokio::time::timeout(settings.timeout, lead(settings, &message, &mut note)).await
    };
    match led {
        Ok(said) => said,
        Err(_) => Err(MailError::Timeout { after: settings.timeout, said: format!("the last step was \"{step}\"") }),
    }
}

fn message(settings: &MailSettings, mail: &Mail<'_>) -> Result<Message, MailError> {
    let mailbox = |text: &str| text.parse::<Mailbox>().map_err(|error| MailError::Settings(format!("{text:?} is not a mail address: {error}")));
    let mut builder = Message::builder()
        .from(mailbox(&settings.from)?)
        .to(mailbox(mail.to)?)
        .subject(mail.subject)
        .date(mail.date.into())
        .message_id(Some(mail.message_id.to_owned()))
        .header(ContentType::TEXT_PLAIN);
    if let Some(first) = mail.in_reply_to {
        builder = builder.in_reply_to(first.to_owned()).references(first.to_owned());
    }
    let mut message = builder.body(mail.body.to_owned()).map_err(|error| MailError::Settings(format!("the mail cannot be written: {error}")))?;
    // RFC 3834: no answering machine answers it, and no mailing list software takes it for a person's.
    message.headers_mut().insert_raw(HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned()));
    Ok(message)
}

/// The dialogue.
async fn lead(settings: &MailSettings, message: &Message, note: &mut (impl FnMut(&str) + Send)) -> Result<String, MailError> {
    let tls = match settings.security {
        Security::None => None,
        Security::StartTls | Security::Implicit => Some(tls(settings)?),
    };
    let (sender, recipient) = match (message.envelope().from(), message.envelope().to()) {
        (Some(sender), [recipient]) => (sender.clone(), recipient.clone()),
        _ => return Err(MailError::Settings("a mail has one sender and one recipient".to_owned())),
    };
    // The name by which we greet: an address literal is what RFC 5321, 4.1.4, gives to a client without a name.
    let hello = ClientId::Domain("[127.0.0.1]".to_owned());
    note(&format!("connecting to {}:{}", settings.host, settings.port));
    let implicit = tls.clone().filter(|_| settings.security == Security::Implicit);
    let mut connection = AsyncSmtpConnection::connect_tokio1((settings.host.as_str(), settings.port), Some(settings.timeout), &hello, implicit, None)
        .await
        .map_err(classed)?;
    if settings.security == Security::Implicit {
        note("(TLS from the first byte)");
    }
    note(&format!("> EHLO {hello}"));
    note(&format!("< {}", connection.server_info()));
    if let Some(tls) = tls.filter(|_| settings.security == Security::StartTls) {
        if !connection.can_starttls() {
            return Err(MailError::Refused("the server offers no STARTTLS, and nothing is sent in the clear".to_owned()));
        }
        note("> STARTTLS");
        connection.starttls(tls, &hello).await.map_err(classed)?;
        note("< 220 (TLS is on)");
        note(&format!("> EHLO {hello}"));
        note(&format!("< {}", connection.server_info()));
    }
    if let Some((user, password)) = &settings.login {
        if !connection.is_encrypted() {
            return Err(MailError::Settings("a password is not sent without TLS: choose starttls or implicit, or remove the user".to_owned()));
        }
        note(&format!("> AUTH (as {user})"));
        let credentials = Credentials::new(user.clone(), password.expose_secret().to_owned());
        let answer = connection.auth(&[Mechanism::Plain, Mechanism::Login], &credentials).await.map_err(classed)?;
        note(&said(&answer));
    }
    let parameters = match connection.server_info().supports_feature(Extension::EightBitMime) {
        true => vec![MailParameter::Body(MailBodyParameter::EightBitMime)],
        false => Vec::new(),
    };
    note(&format!("> MAIL FROM:<{sender}>"));
    note(&said(&connection.command(MailFrom::new(Some(sender), parameters)).await.map_err(classed)?));
    note(&format!("> RCPT TO:<{recipient}>"));
    note(&said(&connection.command(Rcpt::new(recipient, Vec::new())).await.map_err(classed)?));
    note("> DATA");
    note(&said(&connection.command(Data).await.map_err(classed)?));
    let bytes = message.formatted();
    note(&format!("> (the mail, {} bytes)", bytes.len()));
    let accepted = connection.message(&bytes).await.map_err(classed)?;
    note(&said(&accepted));
    // It is theirs now: what becomes of the goodbye changes nothing.
    if let Ok(goodbye) = connection.quit().await {
        note("> QUIT");
        note(&said(&goodbye));
    }
    Ok(said(&accepted).trim_start_matches("< ").to_owned())
}

fn tls(settings: &MailSettings) -> Result<TlsParameters, MailError> {
    let fault = |error: smtp::Error| MailError::Settings(format!("TLS cannot be set up: {error}"));
    let mut parameters = TlsParameters::builder(settings.host.clone());
    if let Some(pem) = &settings.extra_roots {
        parameters = parameters.add_root_certificate(Certificate::from_pem(pem).map_err(fault)?);
    }
    parameters.build_rustls().map_err(fault)
}

fn said(answer: &Response) -> String {
    let lines: Vec<&str> = answer.message().collect();
    format!("< {} {}", answer.code(), lines.join(" / "))
}

/// What may be done about an error: 5xx and our own misuse are final, everything else is worth another try.
fn classed(error: smtp::Error) -> MailError {
    let text = chain(&error);
    if error.is_permanent() || error.is_client() { MailError::Refused(text) } else { MailError::Later(text) }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> MailSettings {
        MailSettings {
            host: "localhost".to_owned(),
            port: 1,
            security: Security::None,
            login: None,
            from: "Breakwater <alerts@pay.example>".to_owned(),
            extra_roots: None,
            timeout: Duration::from_secs(5),
        }
    }

    #[test]
    fn a_reply_names_the_first_mail_of_its_thread_and_no_machine_answers_it() {
        let mail = Mail {
            to: "ops@example.com",
            subject: "[PAGE] 渠道: 41 %",
            body: "IMPACT NOW\n  …\n.\n",
            message_id: "<b@pay.example>",
            in_reply_to: Some("<a@pay.example>"),
            date: "2026-11-20T09:08:07Z".parse().expect("a time"),
        };
        let text = String::from_utf8(message(&settings(), &mail).expect("a message").formatted()).expect("ASCII");
        for line in [
            "Message-ID: <b@pay.example>\r\n",
            "In-Reply-To: <a@pay.example>\r\n",
            "References: <a@pay.example>\r\n",
            "Auto-Submitted: auto-generated\r\n",
            "Date: Fri, 20 Nov 2026 09:08:07 +0000\r\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert!(text.is_ascii(), "{text}");
    }

    #[test]
    fn what_is_no_address_is_a_fault_of_the_settings() {
        let mail = Mail { to: "nobody", subject: "", body: "", message_id: "<a@b>", in_reply_to: None, date: Timestamp::UNIX_EPOCH };
        assert!(matches!(message(&settings(), &mail), Err(MailError::Settings(what)) if what.contains("nobody")));
        assert!(is_address("Ops <ops@example.com>") && !is_address("ops@"));
    }
}
