//! Listeners: bound first (their addresses are known before anything is served), then served until the tasks stop.

use std::future::ready;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_http::error::DispatchError;
use actix_http::{HttpService, Protocol};
use actix_service::{IntoServiceFactory as _, ServiceFactory, ServiceFactoryExt as _, fn_service, map_config};
use actix_tls::accept::TlsError;
use actix_tls::accept::rustls_0_23::{Acceptor, TlsStream};
use actix_web::dev::{AppConfig, Server};
use actix_web::rt::net::TcpStream;
use actix_web::{App, web};
use roadstead_runtime::Tasks;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use crate::room::Room;
use crate::screen::{LINGER, Screen};
use crate::{Frame, Front};

/// A bound socket, with TLS or without.
#[derive(Debug)]
pub struct Listener {
    /// The socket.
    pub socket: TcpListener,
    /// TLS settings.
    pub tls: Option<ServerConfig>,
}

impl Listener {
    /// The address it is bound to.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

/// Binds a socket. Port 0 takes any free one. Who connects and goes without a word is noticed.
pub fn bind(host: &str, port: u16) -> io::Result<TcpListener> {
    let bound = TcpListener::bind((host, port)).and_then(|listener| {
        roadstead_runtime::sockets::keep_alive(&listener)?;
        Ok(listener)
    });
    bound.map_err(|fault| io::Error::new(fault.kind(), format!("failed to listen on {host}:{port}: {fault}")))
}

/// How a door is served.
#[derive(Debug)]
pub struct ServeOptions {
    /// Name of its task.
    pub name: &'static str,
    /// Sockets.
    pub listeners: Vec<Listener>,
    /// Threads that serve.
    pub workers: usize,
    /// Longest time for a request's head to arrive.
    pub head_time: Duration,
    /// Longest time for requests to end after the stop.
    pub grace: Duration,
}

/// Most connections per worker: with 20 KiB each a worker stays below 100 MiB; beyond it clients wait in the backlog.
const CONNECTIONS_MAX: usize = 5_000;
/// How long an idle connection is kept: longer than the 60 s of common proxies, so that they close first.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// Serves `routes` behind the frame on every listener. Returns at once; the server ends with the tasks.
#[expect(clippy::needless_pass_by_value, reason = "the server owns them: a reference would only hide the clones")]
pub fn serve<R>(tasks: &Tasks, options: ServeOptions, front: Arc<Front>, routes: R) -> io::Result<()>
where
    R: Fn(&mut web::ServiceConfig) + Clone + Send + 'static,
{
    let room = web::Data::new(Room::new(front.limits.together, Arc::clone(&front.metrics)));
    let mut builder = Server::build()
        .workers(options.workers.max(1))
        .max_concurrent_connections(CONNECTIONS_MAX)
        .shutdown_timeout(options.grace.as_secs())
        .disable_signals();
    for Listener { socket, tls } in options.listeners {
        let address = socket.local_addr()?;
        let door = Door {
            front: Arc::clone(&front),
            room: room.clone(),
            head_time: options.head_time,
            address,
            stopping: tasks.stopping(),
        };
        let routes = routes.clone();
        let name = format!("{}-{address}", options.name);
        builder = match tls {
            Some(config) => builder.listen(name, socket, move || door.tls(config.clone(), routes.clone()))?,
            None => builder.listen(name, socket, move || door.plain(routes.clone()))?,
        };
    }
    let server = builder.run();
    let (handle, stopping, failing) = (server.handle(), tasks.stopping(), tasks.clone());
    tasks.spawn(options.name, async move {
        let mut server = std::pin::pin!(server);
        let ended = tokio::select! {
            ended = &mut server => ended,
            () = stopping.cancelled() => tokio::join!(server, handle.stop(true)).0,
        };
        if let Err(fault) = ended {
            tracing::error!("the server failed, stopping: {fault}");
            failing.stop();
        }
    });
    Ok(())
}

/// What it takes to serve one listener. This is what actix' own `HttpServer` does, with the [`Screen`] put between.
#[derive(Clone)]
struct Door {
    front: Arc<Front>,
    room: web::Data<Room>,
    head_time: Duration,
    address: SocketAddr,
    stopping: CancellationToken,
}

type Connection<S> = (Screen<S>, Protocol, Option<SocketAddr>);

impl Door {
    fn http<S, R>(
        &self,
        routes: R,
    ) -> impl ServiceFactory<Connection<S>, Config = (), Response = (), Error = DispatchError, InitError = ()> + use<S, R>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
        R: Fn(&mut web::ServiceConfig) + Clone + Send + 'static,
    {
        let limits = web::Data::new(self.front.limits);
        let app = App::new()
            .app_data(limits)
            .app_data(self.room.clone())
            .configure(routes)
            .wrap(Frame(Arc::clone(&self.front)));
        let app = app.into_factory().map_err(|fault: actix_web::Error| fault.error_response());
        let stopping = self.stopping.clone();
        HttpService::build()
            .keep_alive(KEEP_ALIVE)
            .client_request_timeout(self.head_time)
            .client_disconnect_timeout(LINGER)
            .local_addr(self.address)
            .graceful_shutdown_signal(move || stopping.clone().cancelled_owned())
            .finish(map_config(app, |()| AppConfig::default()))
    }

    fn plain<R>(
        &self,
        routes: R,
    ) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = DispatchError, InitError = ()> + use<R>
    where
        R: Fn(&mut web::ServiceConfig) + Clone + Send + 'static,
    {
        let door = self.clone();
        fn_service(move |socket: TcpStream| {
            let peer = prepare(&socket);
            let screen = Screen::new(socket, Arc::clone(&door.front), door.head_time, false);
            ready(Ok::<_, DispatchError>((screen, Protocol::Http1, peer)))
        })
        .and_then(self.http(routes))
    }

    fn tls<R>(
        &self,
        mut config: ServerConfig,
        routes: R,
    ) -> impl ServiceFactory<
        TcpStream,
        Config = (),
        Response = (),
        Error = TlsError<io::Error, DispatchError>,
        InitError = (),
    > + use<R>
    where
        R: Fn(&mut web::ServiceConfig) + Clone + Send + 'static,
    {
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let door = self.clone();
        Acceptor::new(config)
            .map_err(TlsError::into_service_error)
            .and_then(move |stream: TlsStream<TcpStream>| {
                let two = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                let peer = prepare(stream.get_ref().0);
                let screen = Screen::new(stream, Arc::clone(&door.front), door.head_time, two);
                let protocol = if two { Protocol::Http2 } else { Protocol::Http1 };
                ready(Ok::<_, TlsError<io::Error, DispatchError>>((screen, protocol, peer)))
            })
            .and_then(self.http(routes).map_err(TlsError::Service))
    }
}

/// Small answers must not wait for each other's acknowledgement; a socket that refuses the option works all the same.
fn prepare(socket: &TcpStream) -> Option<SocketAddr> {
    let _ = socket.set_nodelay(true);
    socket.peer_addr().ok()
}
