//! Ethernet interfaces whose other end is this process.
#![allow(unsafe_code, reason = "TUNSETIFF is an ioctl; this file is the one place that needs it")]

use std::{
    fs::{File, OpenOptions},
    os::fd::AsRawFd,
};

use anyhow::{Context, Result, bail};
use nix::libc;

use super::enter::inside;

nix::ioctl_write_ptr_bad!(tun_set_iff, libc::TUNSETIFF, libc::ifreq);

/// Makes a TAP interface in a namespace; each read and write is one frame.
pub(super) fn create(namespace: &str, name: &str) -> Result<File> {
    let name = name.to_owned();
    inside(namespace, move || {
        let tap = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/net/tun")
            .context("cannot open /dev/net/tun: load the kernel module tun, and let this user open it")?;
        // SAFETY: an all-zero `ifreq` is a valid one.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        if name.len() >= request.ifr_name.len() {
            bail!("interface name {name} is too long");
        }
        for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
            *to = from as libc::c_char;
        }
        request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;
        // SAFETY: the descriptor is open, and the kernel only reads the request during the call.
        unsafe { tun_set_iff(tap.as_raw_fd(), &request) }.context("cannot make a TAP interface")?;
        Ok(tap)
    })
}
