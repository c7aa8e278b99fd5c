//! Ports that are bound and handed over, not guessed.
//!
//! The supervisor binds a socket with SO_REUSEPORT and never listens on it; the component binds the same port
//! (`--permit-port-sharing`) and listens. The port cannot be taken in the meantime, a restarted component gets it back,
//! and, because the sockets are kept, no port is used twice within a run.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::sync::Mutex;

use rustix::net::sockopt::set_socket_reuseport;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, socket_with};

use crate::Error;

/// Ports reserved on 127.0.0.1 for as long as this lives.
#[derive(Default)]
pub struct Ports(Mutex<Vec<OwnedFd>>);

impl Ports {
    /// Reserves a free port.
    ///
    /// # Errors
    /// When the kernel has none to give.
    pub fn reserve(&self) -> Result<u16, Error> {
        let (socket, port) =
            reserve().map_err(|e| Error::Environment(format!("cannot reserve a port on 127.0.0.1: {e}")))?;
        self.0.lock().expect("the list of ports must not be poisoned").push(socket);
        Ok(port)
    }
}

fn reserve() -> rustix::io::Result<(OwnedFd, u16)> {
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    set_socket_reuseport(&socket, true)?;
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
    let address = SocketAddr::try_from(getsockname(&socket)?)?;
    Ok((socket, address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserved_port_is_distinct_and_refuses_connections_until_someone_listens() {
        let ports = Ports::default();
        let (a, b) = (ports.reserve().unwrap(), ports.reserve().unwrap());
        assert_ne!(a, b);
        let error = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, a)).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
        let error = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, a)).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    }
}
