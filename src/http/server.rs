//! The listeners, with a bound on everything that a client could hold for ever. Each speaks in the clear, or TLS and nothing else.
//!
//! What the HTTP library refuses before there is a request (a request line or headers that are none: 400; a head of more than 128 KiB or 96
//! headers: 431; a head that takes too long: 408) it answers itself, with that status, no body and no `Request-Id`, and closes the connection;
//! it has no place to hang a problem on. Everything else is answered by ours.

use std::net::TcpListener;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::http::KeepAlive;
use actix_web::{App, HttpServer, web};
use rustls::ServerConfig;

use super::{Api, operations_routes, routes};

/// How long a connection may idle between two requests.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// How long a request's head may take to arrive (slow-loris); its body has its own bound in `body.rs`.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// How long a TLS handshake may take.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// How long a connection may take to close.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);
/// Connections a worker holds, at most; more wait in the kernel's backlog, which whoever bound the listener has set.
const CONNECTIONS: usize = 10_000;
/// How long a stop waits for what is in flight: a flow's wait and its tail. Money does not depend on it, only the answer does.
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// Serves the merchants' routes (and the operators', where the settings say so) on `listener` with `workers` threads. The server handles no
/// signals and stops when its handle says so: it then takes no new connection, finishes what is in flight, and ends.
///
/// # Errors
/// The listener cannot be used.
pub fn serve(listener: TcpListener, api: web::Data<Api>, workers: usize, tls: Option<ServerConfig>) -> std::io::Result<Server> {
    let app = move || App::new().configure(|config| routes(config, api.clone()));
    bounded!(app, listener, workers, tls)
}

/// Serves the operators' routes alone, with one thread.
///
/// # Errors
/// The listener cannot be used.
pub fn serve_operations(listener: TcpListener, api: web::Data<Api>, tls: Option<ServerConfig>) -> std::io::Result<Server> {
    let app = move || App::new().configure(|config| operations_routes(config, api.clone()));
    bounded!(app, listener, 1, tls)
}

/// A server of this application with every bound set. A macro, because the application's type cannot be written.
macro_rules! bounded {
    ($app:expr, $listener:expr, $workers:expr, $tls:expr) => {{
        super::observe::create_series_at_zero();
        let server = HttpServer::new($app)
            .workers($workers)
            .keep_alive(KeepAlive::Timeout(KEEP_ALIVE))
            .client_request_timeout(HEAD_WITHIN)
            .client_disconnect_timeout(CLOSE_WITHIN)
            .max_connections(CONNECTIONS)
            .tcp_nodelay(true)
            .shutdown_timeout(STOP_WITHIN.as_secs())
            .tls_handshake_timeout(HANDSHAKE_WITHIN)
            .disable_signals();
        let server = match $tls {
            Some(tls) => server.listen_rustls_0_23($listener, tls)?,
            None => server.listen($listener)?,
        };
        Ok(server.run())
    }};
}
use bounded;
