//! TLS records and system calls.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use ring::aead::{AES_128_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::{pread, pwrite};

use crate::random::fold;

/// Records of a unit that carry one event of a watch, and their size.
const SMALL_RECORDS: usize = 480;
const SMALL_BYTES: usize = 800;
/// Records of a unit that are full, as those of lists are.
const FULL_RECORDS: usize = 20;
const FULL_BYTES: usize = 16_384;
/// Messages of a unit over loopback TCP.
const MESSAGES: usize = 60;
const MESSAGE_BYTES: usize = 1_024;
/// Pages of a unit that are written to a file in memory, and read again.
const PAGES: u64 = 40;
const PAGE_BYTES: usize = 4_096;

pub(crate) struct Wire {
    key: LessSafeKey,
    sealed: u64,
    record: Vec<u8>,
    client: TcpStream,
    server: TcpStream,
    file: OwnedFd,
}

impl Wire {
    pub(crate) fn new() -> io::Result<Self> {
        let key = UnboundKey::new(&AES_128_GCM, &[7; 16]).map_err(|_| io::Error::other("no AES-128-GCM"))?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let client = TcpStream::connect(listener.local_addr()?)?;
        let (server, _) = listener.accept()?;
        client.set_nodelay(true)?;
        let file = memfd_create("host-speed", MemfdFlags::CLOEXEC)?;
        Ok(Self { key: LessSafeKey::new(key), sealed: 0, record: Vec::new(), client, server, file })
    }

    /// Seals records and opens them again.
    pub(crate) fn tls(&mut self) -> io::Result<u64> {
        let mut seen = 0;
        for _ in 0..SMALL_RECORDS {
            seen = fold(seen, self.sealed_and_opened(SMALL_BYTES)?);
        }
        for _ in 0..FULL_RECORDS {
            seen = fold(seen, self.sealed_and_opened(FULL_BYTES)?);
        }
        Ok(seen)
    }

    fn sealed_and_opened(&mut self, bytes: usize) -> io::Result<u64> {
        let failed = |_| io::Error::other("a record could not be sealed or opened");
        let mut nonce = [0; NONCE_LEN];
        nonce[..8].copy_from_slice(&self.sealed.to_le_bytes());
        self.sealed += 1;
        let nonce = || Nonce::assume_unique_for_key(nonce);
        self.record.clear();
        self.record.resize(bytes, b'p');
        self.key.seal_in_place_append_tag(nonce(), Aad::empty(), &mut self.record).map_err(failed)?;
        let tag = u64::from(self.record[self.record.len() - 1]);
        let opened = self.key.open_in_place(nonce(), Aad::empty(), &mut self.record).map_err(failed)?;
        Ok(tag << 32 | opened.len() as u64)
    }

    /// Messages from one end of a connection to the other, and pages to a file and back.
    pub(crate) fn syscalls(&mut self) -> io::Result<u64> {
        let mut seen = 0;
        let mut message = [b'm'; MESSAGE_BYTES];
        for _ in 0..MESSAGES {
            self.client.write_all(&message)?;
            self.server.read_exact(&mut message)?;
            seen = fold(seen, u64::from(message[MESSAGE_BYTES - 1]));
        }
        let mut page = [b'f'; PAGE_BYTES];
        for n in 0..PAGES {
            let written = pwrite(&self.file, &page, n * PAGE_BYTES as u64)?;
            let read = pread(&self.file, &mut page[..], n * PAGE_BYTES as u64)?;
            seen = fold(seen, (written + read) as u64);
        }
        Ok(seen)
    }
}
