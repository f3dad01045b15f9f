//! Alerts, over a real Postgres and real sockets: what goes out, once, when, and in which words.
#![allow(missing_docs, reason = "a test's name is its documentation")]

#[allow(dead_code, reason = "made for another suite, which uses the rest of it")]
#[path = "spec/database.rs"]
mod database;
#[path = "alerts/post_office.rs"]
mod post_office;
#[allow(dead_code, reason = "made for another suite, which uses the rest of it")]
#[path = "spec/world.rs"]
mod world;

use std::net::SocketAddr;
use std::time::Duration;

use actix::Actor;
use breakwater::alert::mail::{self, Mail, MailError};
use breakwater::alert::sms::{Carried, Carrier, SmsRequest};
use breakwater::alert::{Acknowledge, AlertKind, Alerter, AlerterSettings, Bell, Condition, MailSettings, Security, SmsProvider, SmsSettings};
use breakwater::clock::Clock;
use breakwater::store::alert::{AlertRow, DeliveryRow};
use breakwater::store::{PoolSizes, Store};
use futures_util::future::BoxFuture;
use serde_json::json;

use post_office::{Bag, Manners, mail_server, text_server};
use world::World;

const LOOKS: u32 = 600;
const LOOK_EVERY: Duration = Duration::from_millis(50);

fn mail_settings(server: SocketAddr) -> MailSettings {
    MailSettings {
        host: "127.0.0.1".to_owned(),
        port: server.port(),
        security: Security::None,
        login: None,
        from: "Breakwater <alerts@pay.example>".to_owned(),
        extra_roots: None,
        timeout: Duration::from_secs(20),
    }
}

fn sms_settings(address: &str) -> SmsSettings {
    SmsSettings {
        provider: SmsProvider::Twilio { from: "+15005550006".to_owned() },
        address: address.to_owned(),
        account: "AC1".to_owned(),
        secret: "token".into(),
        to: vec!["+8613800000000".to_owned()],
        timeout: Duration::from_secs(10),
    }
}

/// Waits until a server has `count` things, and answers them.
async fn eventually(bag: &Bag, count: usize) -> Vec<String> {
    for _ in 0..LOOKS {
        let taken = bag.lock().expect("whole").clone();
        if taken.len() >= count {
            return taken;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    panic!("{count} never came: {:#?}", bag.lock().expect("whole"));
}

/// A header's value, unfolded.
fn header(mail: &str, name: &str) -> String {
    let unfolded = mail.replace("\r\n ", " ");
    let line = unfolded.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.unwrap_or_else(|| panic!("no {name} in {mail}")).to_owned()
}

/// An Alerter on a database of its own, without the rest of the product.
struct Office {
    store: Store,
    clock: Clock,
    bells: Vec<Bell>,
    alerters: Vec<actix::Addr<Alerter>>,
}

struct NoCarrier;

impl Carrier for NoCarrier {
    fn carry(&self, _: SmsRequest) -> BoxFuture<'_, Carried> {
        Box::pin(async { Carried::Answer { status: 201, body: "{\"sid\":\"SM1\"}".to_owned() } })
    }
}

impl Office {
    /// `processes` alerters on one database.
    async fn open(processes: usize, mail: MailSettings) -> Self {
        let url = database::fresh().await;
        let runtime = tokio::runtime::Handle::current();
        let store = Store::open(&url, PoolSizes { journal: 2, reads: 4, channels: 0 }, &runtime).await.expect("a store");
        let clock = Clock::system();
        let settings = AlerterSettings {
            every: Duration::from_millis(20),
            recipients: vec!["ops@example.com".to_owned()],
            mail: Some(mail),
            sms: Some((sms_settings("http://nowhere.example"), std::sync::Arc::new(NoCarrier))),
            ..AlerterSettings::default()
        };
        let alerters: Vec<_> =
            (0..processes).map(|_| Alerter::new(settings.clone(), store.clone(), clock.clone(), runtime.clone()).start()).collect();
        Self { store, clock, bells: alerters.iter().map(Bell::of).collect(), alerters }
    }

    fn raise(&self, channel: &str) {
        for bell in &self.bells {
            bell.tell(AlertKind::BreakerOpened, channel, Some(opened(channel)));
        }
    }

    fn resolve(&self, channel: &str) {
        for bell in &self.bells {
            bell.tell(AlertKind::BreakerOpened, channel, None);
        }
    }

    async fn eventually(&self, enough: impl Fn(&[AlertRow], &[DeliveryRow]) -> bool) -> (Vec<AlertRow>, Vec<DeliveryRow>) {
        for _ in 0..LOOKS {
            let (alerts, deliveries) = self.store.newest_alerts(100).await.expect("readable");
            if enough(&alerts, &deliveries) {
                return (alerts, deliveries);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        panic!("it never came about: {:#?}", self.store.newest_alerts(100).await);
    }

    /// Waits until `rounds` more rounds of decisions have certainly been made: the note of a condition moves with each.
    async fn let_rounds_pass(&self, channel: &str) {
        for _ in 0..3 {
            let before = self.clock.wall();
            self.eventually(|alerts, _| alerts.iter().any(|alert| alert.channel == channel && alert.seen_at > before)).await;
        }
    }
}

fn opened(channel: &str) -> Condition {
    Condition::BreakerOpened { channel: channel.to_owned(), reason: "failures", calls: 20, failures: 15, others: vec!["other".to_owned()] }
}

#[actix_web::test]
async fn three_processes_that_see_one_condition_send_one_mail_and_one_resolved_in_its_thread() {
    let (server, mails) = mail_server(Manners::Polite);
    let office = Office::open(3, mail_settings(server)).await;
    office.raise("stripe_main");
    eventually(&mails, 1).await;
    office.let_rounds_pass("stripe_main").await;
    office.resolve("stripe_main");
    office.clock.advance(Duration::from_secs(61));
    let taken = eventually(&mails, 2).await;
    let (alerts, deliveries) = office.eventually(|alerts, _| alerts.iter().all(|alert| alert.closed_at.is_some())).await;
    assert_eq!((alerts.len(), deliveries.len(), mails.lock().expect("whole").len()), (1, 2, 2));
    assert!(header(&taken[0], "Subject").starts_with("[PAGE] stripe_main: 75 % technical failures"), "{}", taken[0]);
    assert!(header(&taken[1], "Subject").starts_with("[RESOLVED] stripe_main"), "{}", taken[1]);
    assert_eq!(header(&taken[1], "In-Reply-To"), header(&taken[0], "Message-ID"));
    assert_eq!(header(&taken[1], "References"), header(&taken[0], "Message-ID"));
    assert!(header(&taken[0], "Message-ID").ends_with("@pay.example>"), "{}", taken[0]);
}

#[actix_web::test]
async fn a_page_is_a_text_message_after_five_minutes_unless_somebody_acknowledged_it() {
    let (server, mails) = mail_server(Manners::Polite);
    let office = Office::open(1, mail_settings(server)).await;
    office.raise("stripe_main");
    office.raise("stripe_backup");
    eventually(&mails, 2).await;
    let (alerts, _) = office.eventually(|alerts, _| alerts.len() == 2).await;
    let seen = alerts.iter().find(|alert| alert.channel == "stripe_backup").expect("raised").id;
    let acknowledged = office.alerters[0].send(Acknowledge { alert: seen, by: "Ada".to_owned() }).await.expect("there").expect("written");
    assert_eq!(acknowledged.expect("known").acknowledged_by.as_deref(), Some("Ada"));
    let nobody = Acknowledge { alert: uuid::Uuid::new_v4(), by: "Ada".to_owned() };
    assert_eq!(office.alerters[0].send(nobody).await.expect("there").expect("read"), None);

    office.clock.advance(Duration::from_secs(301));
    let texts = |deliveries: &[DeliveryRow]| deliveries.iter().filter(|delivery| delivery.transport == "sms").cloned().collect::<Vec<_>>();
    let (alerts, deliveries) = office.eventually(|_, deliveries| texts(deliveries).iter().any(|text| text.state == "sent")).await;
    let main = alerts.iter().find(|alert| alert.channel == "stripe_main").expect("raised").id;
    assert_eq!(texts(&deliveries).len(), 1);
    assert_eq!(texts(&deliveries)[0].alerts, [main]);
}

#[actix_web::test]
async fn a_server_that_is_busy_gets_the_same_mail_again_and_a_page_is_a_text_message_meanwhile() {
    let (server, mails) = mail_server(Manners::BusyTwice);
    let office = Office::open(1, mail_settings(server)).await;
    office.raise("stripe_main");
    for pause in [0, 6, 11] {
        office.clock.advance(Duration::from_secs(pause));
        let tried = office.clock.wall();
        office
            .eventually(|_, deliveries| deliveries.iter().any(|mail| mail.transport == "email" && (mail.sent_at.is_some() || mail.tries > 0)))
            .await;
        office.eventually(|alerts, _| alerts[0].seen_at > tried).await;
    }
    let taken = eventually(&mails, 1).await;
    let (_, deliveries) = office.eventually(|_, deliveries| deliveries.iter().any(|delivery| delivery.transport == "sms")).await;
    let mail = deliveries.iter().find(|delivery| delivery.transport == "email").expect("queued");
    assert_eq!((mail.tries, mail.state.as_str(), taken.len()), (3, "sent", 1));
}

#[actix_web::test]
async fn a_recipient_that_is_refused_for_good_is_given_up_with_the_servers_words() {
    let (server, mails) = mail_server(Manners::Refusing);
    let office = Office::open(1, mail_settings(server)).await;
    office.raise("stripe_main");
    let (_, deliveries) = office.eventually(|_, deliveries| deliveries.iter().any(|delivery| delivery.state == "failed")).await;
    assert!(deliveries[0].result.as_deref().is_some_and(|said| said.contains("no such user")), "{deliveries:?}");
    assert!(mails.lock().expect("whole").is_empty());
}

#[actix_web::test]
async fn a_storm_is_one_mail_and_what_it_holds_is_counted() {
    let (server, mails) = mail_server(Manners::Polite);
    let office = Office::open(1, mail_settings(server)).await;
    // Said in one go, they are noted in one go and decided about in one go.
    for number in 0..8 {
        office.raise(&format!("channel_{number}"));
    }
    let (alerts, _) = office.eventually(|alerts, deliveries| deliveries.len() == 1 && alerts.iter().all(|alert| alert.mailed_at.is_some())).await;
    let taken = eventually(&mails, 1).await;
    assert!(header(&taken[0], "Subject").starts_with(&format!("[PAGE] {} alerts at once", alerts.len())), "{}", taken[0]);
    office.let_rounds_pass("channel_0").await;
    assert_eq!(mails.lock().expect("whole").len(), 1);
}

#[actix_web::test]
async fn a_server_that_accepts_and_never_greets_holds_a_send_for_its_own_timeout_and_nothing_else() {
    let (server, _) = mail_server(Manners::Mute);
    let settings = MailSettings { timeout: Duration::from_secs(1), ..mail_settings(server) };
    let mail =
        Mail { to: "ops@example.com", subject: "a", body: "b", message_id: "<a@pay.example>", in_reply_to: None, date: jiff::Timestamp::UNIX_EPOCH };
    let mut shown = Vec::new();
    let error = mail::send(&settings, &mail, |line| shown.push(line.to_owned())).await.expect_err("no greeting");
    assert!(matches!(error, MailError::Timeout { .. }), "{error}");
    assert!(error.to_string().contains("connecting to 127.0.0.1"), "{error}");

    // And the Alerter decides on while it hangs.
    let office = Office::open(1, MailSettings { timeout: Duration::from_secs(60), ..settings }).await;
    office.raise("stripe_main");
    office.eventually(|_, deliveries| !deliveries.is_empty()).await;
    office.raise("stripe_backup");
    office.eventually(|alerts, deliveries| alerts.len() == 2 && deliveries.len() == 2).await;
}

#[actix_web::test]
async fn a_dialogue_is_shown_step_by_step() {
    let (server, mails) = mail_server(Manners::Polite);
    let mail = Mail {
        to: "ops@example.com",
        subject: "a",
        body: "b\n.\nc",
        message_id: "<a@pay.example>",
        in_reply_to: None,
        date: jiff::Timestamp::UNIX_EPOCH,
    };
    let mut shown = Vec::new();
    let said = mail::send(&mail_settings(server), &mail, |line| shown.push(line.to_owned())).await.expect("taken");
    assert_eq!(said, "250 2.0.0 taken");
    for line in ["> MAIL FROM:<alerts@pay.example>", "> RCPT TO:<ops@example.com>", "> DATA", "< 250 2.0.0 taken", "> QUIT"] {
        assert!(shown.iter().any(|step| step == line), "{line} in {shown:#?}");
    }
    assert!(mails.lock().expect("whole")[0].contains("\r\n..\r\n"), "a line that is a dot is stuffed");
    let settings = MailSettings { security: Security::StartTls, ..mail_settings(server) };
    let error = mail::send(&settings, &mail, |_| {}).await.expect_err("no STARTTLS");
    assert!(error.to_string().contains("STARTTLS"), "{error}");
    assert_eq!(mails.lock().expect("whole").len(), 1, "and nothing was sent in the clear instead");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_one_mail_and_one_text_message_and_then_resolved() {
    let (server, mails) = mail_server(Manners::Polite);
    let (text_address, texts) = text_server();
    let world = World::with(|setup| {
        setup.settings.alerts.recipients = vec!["ops@example.com".to_owned()];
        setup.settings.alerts.smtp = Some(mail_settings(server));
        setup.settings.alerts.sms = Some(sms_settings(&text_address));
    })
    .await;
    world.break_channel("stripe_main", &json!({"mode": "refuse", "rate": 1.0})).await;
    for _ in 0..400 {
        if !mails.lock().expect("whole").is_empty() {
            break;
        }
        // A card's token is one account's: it is answered 503 when that account's channel is shut.
        let reply = world.pay(1_000).await;
        assert!(matches!(reply.status, 201 | 503), "{:?}", reply.body);
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let first = eventually(&mails, 1).await.remove(0);
    assert!(header(&first, "Subject").contains("stripe_main") && header(&first, "Subject").contains("moved to stripe_backup"), "{first}");

    world.clock.advance(Duration::from_secs(301));
    let text = eventually(&texts, 1).await.remove(0);
    assert!(text.starts_with("POST /2010-04-01/Accounts/AC1/Messages.json"), "{text}");
    assert!(text.contains("stripe_main"), "{text}");

    world.heal("stripe_main").await;
    let alerts = world.ops("/ops/v1/alerts").await;
    let id = alerts.body["data"][0]["id"].as_str().expect("listed").to_owned();
    assert_eq!(alerts.body["data"][0]["status"], "firing", "{:#}", alerts.body);
    for _ in 0..400 {
        let reply = world.pay(1_000).await;
        assert!(matches!(reply.status, 201 | 503), "{:?}", reply.body);
        if closed(&world).await {
            break;
        }
        world.clock.advance(Duration::from_secs(1));
        tokio::time::sleep(LOOK_EVERY).await;
    }
    assert!(closed(&world).await);
    // Until the watch has looked, the alert is seen again at every round: move on until it is over.
    for _ in 0..LOOKS {
        if mails.lock().expect("whole").len() > 1 {
            break;
        }
        world.clock.advance(Duration::from_secs(10));
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let resolved = eventually(&mails, 2).await.remove(1);
    assert!(header(&resolved, "Subject").starts_with("[RESOLVED] stripe_main"), "{resolved}");
    assert_eq!(header(&resolved, "In-Reply-To"), header(&first, "Message-ID"));

    let path = format!("/ops/v1/alerts/{id}/acknowledge");
    let refused = world.post_as(&world.key, &path, "key", &json!({})).await;
    assert_eq!(refused.status, 403, "a merchant's key acknowledges nothing: {:?}", refused.body);
    let taken = world.post_as(&world.ops_token, &path, "key", &json!({})).await;
    assert_eq!((taken.status, taken.text("acknowledged_by")), (200, "tester"), "{:?}", taken.body);
    let listed = world.ops("/ops/v1/alerts").await;
    let purposes: Vec<&str> =
        listed.body["data"][0]["deliveries"].as_array().expect("a list").iter().map(|sent| sent["purpose"].as_str().expect("text")).collect();
    assert_eq!(purposes, ["resolved", "escalation", "firing"], "{:#}", listed.body);
    assert_eq!((mails.lock().expect("whole").len(), texts.lock().expect("whole").len()), (2, 1));
    world.close().await;
}

async fn closed(world: &World) -> bool {
    let channels = world.ops("/ops/v1/channels").await;
    channels.body["data"]
        .as_array()
        .expect("a list")
        .iter()
        .any(|channel| channel["id"] == "stripe_main" && channel["breaker"]["pay"]["state"] == "closed")
}
