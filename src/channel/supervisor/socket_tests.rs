//! A channel over sockets, from its handle to a bank, and through the loss of its actor.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};

use actix::System;
use jiff::Timestamp;

use super::super::guard::GuardSettings;
use super::super::handle::ChannelHandle;
use super::super::http_pool::tls_config;
use super::super::socket_pool::{FrontEnd, SocketSettings};
use super::tests::{Crash, until};
use super::*;
use crate::domain::{Candidate, CaptureMethod, Currency, Fact, Money, OperationClass, PaymentMethod};
use crate::provider::iso8583::codec::{Message, read, write};
use crate::provider::iso8583::{Iso8583, Profile};
use crate::provider::{Account, Call, CardData, Credentials, Provider, Reply, Verb};

/// Approves everything, and counts the connections that are open and that ever were.
struct Bank {
    url: String,
    open: Arc<AtomicUsize>,
    ever: Arc<AtomicUsize>,
}

impl Bank {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("tcp://{}", listener.local_addr().expect("its address"));
        let bank = Self { url, open: Arc::default(), ever: Arc::default() };
        let (open, ever) = (Arc::clone(&bank.open), Arc::clone(&bank.ever));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, open) = (stream.expect("a connection"), Arc::clone(&open));
                ever.fetch_add(1, Ordering::SeqCst);
                open.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || {
                    while approve_one(&mut stream).is_ok() {}
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        bank
    }
}

fn approve_one(stream: &mut TcpStream) -> io::Result<()> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message)?;
    let asked = read(&message, Profile::Bcd).map_err(io::Error::other)?;
    let mti: u16 = asked.mti.parse().map_err(io::Error::other)?;
    let answer = [4, 7, 11, 37, 41, 42, 49, 70]
        .into_iter()
        .fold(Message::new(&format!("{:04}", mti + 10)), |answer, number| answer.with_some(number, asked.get(number)));
    let answer = write(&answer.with(39, "00"), Profile::Bcd).map_err(io::Error::other)?;
    stream.write_all(&u16::try_from(answer.len()).map_err(io::Error::other)?.to_be_bytes())?;
    stream.write_all(&answer)
}

fn pay(number: u32) -> Call {
    let now = Timestamp::now();
    let method = PaymentMethod::Card { first_six: "622202".to_owned(), last_four: "0001".to_owned(), exp_month: 3, exp_year: 2031, holder: None };
    Call {
        verb: Verb::Pay,
        key: Iso8583.mint_key(0, Some(number), now),
        payment: String::new(),
        order: String::new(),
        money: Money { amount: 8_888, currency: Currency::USD },
        payment_amount: 8_888,
        method,
        capture_method: CaptureMethod::Automatic,
        pay_reference: None,
        reference: None,
        pay_key: None,
        undoes: None,
        held: false,
        description: None,
        return_url: None,
        expires_at: now,
        attempted_at: now,
        now,
        notify_url: None,
        repeat: false,
        card: Some(CardData { number: "6222020200000000001".to_owned().into(), exp_month: 3, exp_year: 2031, holder: None, security_code: None }),
    }
}

#[test]
fn a_channel_over_sockets_carries_calls_and_a_lost_actor_s_sockets_are_closed() {
    System::new().block_on(async {
        let bank = Bank::start();
        let arbiter = Arbiter::new();
        let mut account = Account::default();
        for (name, value) in [("profile", "bcd"), ("acquirer", "12345"), ("terminal", "TERM0001"), ("merchant", "BREAKWATER00001")] {
            let field = Iso8583.account_fields().iter().find(|field| field.name == name).expect("a field");
            account.set_text(field, value).expect("it fits");
        }
        let credentials = Credentials { address: String::new(), account, secret_key: String::new().into(), notification_secrets: Vec::new() };
        let clock = Clock::system();
        let front_ends = FrontEnd::parse_all(&bank.url).expect("a place");
        let blueprint = Blueprint {
            identity: ChannelIdentity { id: Arc::from("bank"), provider: &Iso8583, credentials },
            destination: Destination::Sockets(front_ends, SocketSettings { sockets: 3, ..SocketSettings::default() }),
            tls: tls_config().expect("TLS"),
            settings: ActorSettings::default(),
            clock: clock.clone(),
        };
        let guard = ChannelGuard::new(&GuardSettings::default(), 1, clock.boot()).expect("a guard");
        let settings = SupervisorSettings { beat_every_ms: 20, ..SupervisorSettings::default() };
        let (supervisor, standing) =
            ChannelSupervisor::new(Arc::from("bank"), settings, Arc::clone(&guard), clock.clone(), move || blueprint.build());
        assert!(supervisor.start(&arbiter.handle()));
        let candidate = Candidate {
            channel: "bank".to_owned(),
            livemode: false,
            methods: Vec::new(),
            wallets: Vec::new(),
            currencies: Vec::new(),
            priority: 0,
            owners: Vec::new(),
        };
        let handle = ChannelHandle::new(&Iso8583, candidate, Arc::clone(&guard), clock.clone(), standing.clone());
        let carried = async |number| {
            let permit = guard.admit(OperationClass::Pay, clock.boot()).expect("a closed breaker");
            let done = handle.perform(pay(number), permit, clock.boot() + Duration::from_secs(20), None).await;
            match done.reply {
                Reply::News { news, .. } => (news.fact, done.fault),
                other => panic!("not news: {other:?}"),
            }
        };

        until(|| handle.is_up()).await;
        assert_eq!(carried(1).await, (Fact::Approved, None));
        until(|| bank.open.load(Ordering::SeqCst) == 3).await;

        let address = standing.borrow().address.clone().expect("an actor");
        assert!(address.send(Crash).await.is_err());
        drop(address);
        until(|| handle.generation() == 2 && handle.is_up()).await;
        assert_eq!(carried(2).await, (Fact::Approved, None));
        until(|| bank.ever.load(Ordering::SeqCst) == 6 && bank.open.load(Ordering::SeqCst) == 3).await;
    });
}
