//! The control routes: what tests, demos and benches tell the sandbox, and what they ask it. They ask for no key and listen on loopback.
//!
//! ```text
//! GET    /_control                        channels with their addresses, faults and notifications; the process; the orchestrator
//! PUT    /_control/_orchestrator          {"notify_url","pid"}: whom to notify, and which process to outlive by the linger only
//! POST   /_control/_shutdown              ends the sandbox
//! GET    /_control/_mails                 the last mails that came to the mail catcher, the newest last
//! GET    /_control/_texts                 the last text messages
//! DELETE /_control/_books                 forgets everything that was charged, refunded and answered
//! GET    /_control/{channel}/book         the book; ?from=N leaves out the first N entries
//! GET|PUT|DELETE /_control/{channel}/faults
//! POST   /_control/{channel}/customer     {"reference","act":"pay|abandon|dispute|portal_refund","amount"}
//! POST   /_control/{channel}/bank         {"reference","act":"return_refund|dispute_won|dispute_lost"}
//! POST   /2010-04-01/Accounts/{sid}/Messages.json     Twilio's: the text message is kept, and goes nowhere
//! ```

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use actix_web::dev::{Server, ServerHandle};
use actix_web::web::{self, Bytes, Data, Path, Query};
use actix_web::{App, HttpResponse, HttpServer};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::account::{Account, Act, ActRefusal, BankAct, Gate};
use super::fault::{Fault, Mode};
use super::mail::PostOffice;
use super::watching::{Known, Orchestrator};

/// The largest body that a control route takes.
const BODY_MAX: usize = 64 * 1024;

/// One channel: its account, and the gate before it.
#[derive(Debug)]
pub struct Channel {
    /// What answers.
    pub account: Arc<dyn Account>,
    /// Its sockets.
    pub gate: Box<dyn Gate>,
    /// Where it is served, as [`Account::base_url`] says.
    pub url: String,
}

impl Channel {
    /// An account with the gate before it.
    pub fn new(account: Arc<dyn Account>, gate: Box<dyn Gate>) -> Self {
        let url = account.base_url();
        Self { account, gate, url }
    }
}

/// What the routes work on.
#[derive(Debug)]
pub struct Desk {
    /// The base of these routes.
    pub control_url: String,
    /// Host and port of the mail catcher.
    pub smtp: String,
    /// What it caught.
    pub post: Arc<PostOffice>,
    /// By id.
    pub channels: BTreeMap<String, Channel>,
    /// Whom we serve.
    pub orchestrator: Arc<Orchestrator>,
    /// Turned true, it ends the sandbox.
    pub ending: watch::Sender<bool>,
}

/// Serves the control routes on `listener`, on a thread of their own. The server future must be polled.
///
/// # Errors
/// When the listener cannot be used.
pub fn serve(listener: TcpListener, desk: Arc<Desk>) -> std::io::Result<(Server, ServerHandle)> {
    let desk = Data::from(desk);
    let server = HttpServer::new(move || {
        App::new()
            .app_data(desk.clone())
            .app_data(web::PayloadConfig::new(BODY_MAX))
            .route("/_control", web::get().to(overview))
            .route("/_control/_orchestrator", web::put().to(meet))
            .route("/_control/_shutdown", web::post().to(shut_down))
            .route("/_control/_mails", web::get().to(mails))
            .route("/_control/_texts", web::get().to(texts))
            .route("/2010-04-01/Accounts/{sid}/Messages.json", web::post().to(take_text))
            .route("/_control/_books", web::delete().to(clear))
            .route("/_control/{channel}/book", web::get().to(book))
            .service(web::resource("/_control/{channel}/faults").get(faults).put(set_fault).delete(heal))
            .route("/_control/{channel}/customer", web::post().to(customer))
            .route("/_control/{channel}/bank", web::post().to(bank))
            .default_service(web::to(|| async { refusal(404, "there is no such control route") }))
    })
    .workers(1)
    .disable_signals()
    .shutdown_timeout(1)
    .listen(listener)?
    .run();
    let handle = server.handle();
    Ok((server, handle))
}

fn refusal(status: u16, sentence: &str) -> HttpResponse {
    let status = actix_web::http::StatusCode::from_u16(status).unwrap_or(actix_web::http::StatusCode::BAD_REQUEST);
    HttpResponse::build(status).json(json!({"error": sentence}))
}

fn unknown_channel(id: &str) -> HttpResponse {
    refusal(404, &format!("there is no channel {id}"))
}

fn parse<T: DeserializeOwned>(body: &Bytes) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|complaint| complaint.to_string())
}

async fn overview(desk: Data<Desk>) -> HttpResponse {
    let mut channels = serde_json::Map::new();
    for (id, channel) in &desk.channels {
        let notifications = channel.account.notifications().map(|notifier| {
            let counts = notifier.counts();
            json!({
                "delivered": counts.delivered.load(Ordering::Relaxed),
                "given_up": counts.given_up.load(Ordering::Relaxed),
                "dropped": counts.dropped.load(Ordering::Relaxed),
            })
        });
        let shown = json!({
            "provider": channel.account.provider(),
            "url": channel.url,
            "open": channel.gate.is_open().await,
            "fault": channel.account.faults().current(),
            "notifications": notifications,
        });
        channels.insert(id.clone(), shown);
    }
    HttpResponse::Ok().json(json!({
        "control_url": desk.control_url,
        "smtp": desk.smtp,
        "pid": std::process::id(),
        "orchestrator": desk.orchestrator.known(),
        "channels": Value::Object(channels),
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Meeting {
    notify_url: Option<String>,
    pid: Option<u32>,
}

async fn meet(desk: Data<Desk>, body: Bytes) -> HttpResponse {
    let Meeting { notify_url, pid } = match parse(&body) {
        Ok(meeting) => meeting,
        Err(complaint) => return refusal(400, &complaint),
    };
    let known = Known { notify_url, pid };
    if known.notify_url.as_deref().is_some_and(|url| !url.starts_with("http://")) {
        return refusal(400, "notify_url must begin with http://");
    }
    desk.orchestrator.set(known.clone());
    HttpResponse::Ok().json(known)
}

async fn shut_down(desk: Data<Desk>) -> HttpResponse {
    desk.ending.send_replace(true);
    HttpResponse::Accepted().json(json!({"pid": std::process::id()}))
}

async fn mails(desk: Data<Desk>) -> HttpResponse {
    HttpResponse::Ok().json(desk.post.mails())
}

async fn texts(desk: Data<Desk>) -> HttpResponse {
    HttpResponse::Ok().json(desk.post.texts())
}

/// What Twilio's form has of a message; its other fields are nothing to us.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TextForm {
    #[serde(default)]
    from: String,
    to: String,
    body: String,
}

async fn take_text(desk: Data<Desk>, form: web::Form<TextForm>) -> HttpResponse {
    let TextForm { from, to, body } = form.into_inner();
    let number = desk.post.take_text(from, to, body);
    HttpResponse::Created().json(json!({"sid": format!("SM{number:032x}"), "status": "queued"}))
}

async fn clear(desk: Data<Desk>) -> HttpResponse {
    for (id, channel) in &desk.channels {
        if let Err(source) = channel.account.clear() {
            return refusal(500, &format!("the book of {id} could not be cleared: {source}"));
        }
    }
    HttpResponse::NoContent().finish()
}

#[derive(Deserialize)]
struct From {
    #[serde(default)]
    from: usize,
}

async fn book(desk: Data<Desk>, id: Path<String>, from: Query<From>) -> HttpResponse {
    match desk.channels.get(id.as_str()) {
        Some(channel) => HttpResponse::Ok().json(channel.account.book(from.from)),
        None => unknown_channel(&id),
    }
}

async fn faults(desk: Data<Desk>, id: Path<String>) -> HttpResponse {
    match desk.channels.get(id.as_str()) {
        Some(channel) => HttpResponse::Ok().json(channel.account.faults().current()),
        None => unknown_channel(&id),
    }
}

async fn set_fault(desk: Data<Desk>, id: Path<String>, body: Bytes) -> HttpResponse {
    let Some(channel) = desk.channels.get(id.as_str()) else {
        return unknown_channel(&id);
    };
    let fault: Fault = match parse(&body) {
        Ok(fault) => fault,
        Err(complaint) => return refusal(400, &complaint),
    };
    if let Some(complaint) = fault.complaint() {
        return refusal(400, &complaint);
    }
    let refuses = fault.mode == Some(Mode::Refuse);
    channel.account.faults().set(Some(fault.clone()));
    if refuses {
        channel.gate.refuse().await;
    } else if let Err(source) = channel.gate.open().await {
        return refusal(500, &format!("{id} could not listen again: {source}"));
    }
    HttpResponse::Ok().json(fault)
}

async fn heal(desk: Data<Desk>, id: Path<String>) -> HttpResponse {
    let Some(channel) = desk.channels.get(id.as_str()) else {
        return unknown_channel(&id);
    };
    channel.account.faults().set(None);
    match channel.gate.open().await {
        Ok(()) => HttpResponse::NoContent().finish(),
        Err(source) => refusal(500, &format!("{id} could not listen again: {source}")),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Acts<A> {
    reference: String,
    act: A,
    /// Minor units, of a refund of a part.
    amount: Option<i64>,
}

async fn customer(desk: Data<Desk>, id: Path<String>, body: Bytes) -> HttpResponse {
    let Some(channel) = desk.channels.get(id.as_str()) else {
        return unknown_channel(&id);
    };
    let Acts::<Act> { reference, act, amount } = match parse(&body) {
        Ok(acts) => acts,
        Err(complaint) => return refusal(400, &complaint),
    };
    if amount.is_some() && act != Act::PortalRefund {
        return refusal(400, "amount: only a refund in the portal may be of a part");
    }
    done(channel.account.act(&reference, act, amount))
}

async fn bank(desk: Data<Desk>, id: Path<String>, body: Bytes) -> HttpResponse {
    let Some(channel) = desk.channels.get(id.as_str()) else {
        return unknown_channel(&id);
    };
    let (reference, act) = match parse(&body) {
        Ok(Acts::<BankAct> { reference, act, amount: None }) => (reference, act),
        Ok(_) => return refusal(400, "amount: what a bank does is of the whole of it"),
        Err(complaint) => return refusal(400, &complaint),
    };
    done(channel.account.bank_acts(&reference, act))
}

fn done(outcome: Result<Value, ActRefusal>) -> HttpResponse {
    match outcome {
        Ok(shown) => HttpResponse::Ok().json(shown),
        Err(why) => {
            let status = match &why {
                ActRefusal::Unknown(_) => 404,
                ActRefusal::WrongState(_) => 409,
                ActRefusal::Disk(_) => 500,
            };
            refusal(status, &why.to_string())
        }
    }
}
