//! The body of one call's answer into the body of the other's request.

use std::task::{Context, Poll, ready};

use bytes::Bytes;

use super::{
    call::{Call, told},
    cause,
};

/// How a direction has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The server that sends ended its call regularly.
    Regularly,
    /// It did not.
    Sender(String),
    /// The other takes nothing any more.
    Receiver(String),
}

/// One direction.
#[derive(Default)]
pub(super) struct Direction {
    /// What the other end does not take yet.
    kept: Bytes,
    body_ended: bool,
}

impl Direction {
    /// Moves what can be moved. Ready when `from` has ended its call and all that it sent
    /// before has been passed on, or when nothing can be passed on any more.
    pub(super) fn poll<A, B>(&mut self, cx: &mut Context<'_>, from: &mut Call<A>, to: &mut Call<B>) -> Poll<Ended>
    where
        A: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
        B: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    {
        loop {
            match self.poll_kept(cx, from, to) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Ended::Receiver(told(&error))),
                // A call that has failed is over, though some of it waits.
                Poll::Pending => {
                    return match from.request.poll_reset(cx) {
                        Poll::Ready(Ok(reason)) if reason != h2::Reason::NO_ERROR => {
                            Poll::Ready(Ended::Sender(told(&reason.into())))
                        }
                        _ => Poll::Pending,
                    };
                }
            }
            if self.body_ended {
                return from.answer.poll_trailers(cx).map(|trailers| match trailers {
                    Ok(trailers) => match trailers.and_then(|trailers| cause::failure(&trailers)) {
                        Some(cause) => Ended::Sender(cause),
                        None => Ended::Regularly,
                    },
                    Err(error) => Ended::Sender(told(&error)),
                });
            }
            match from.answer.poll_data(cx) {
                Poll::Ready(Some(Ok(bytes))) => self.kept = bytes,
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Ended::Sender(told(&error))),
                Poll::Ready(None) => self.body_ended = true,
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn poll_kept<A, B>(&mut self, cx: &mut Context<'_>, from: &mut Call<A>, to: &mut Call<B>) -> Poll<Result<(), h2::Error>> {
        while !self.kept.is_empty() {
            to.request.reserve_capacity(self.kept.len());
            let mut room = to.request.capacity();
            if room == 0 {
                room = match ready!(to.request.poll_capacity(cx)) {
                    Some(room) => room?,
                    None => return Poll::Ready(Err(h2::Reason::CANCEL.into())),
                };
            }
            let part = self.kept.split_to(room.min(self.kept.len()));
            let length = part.len();
            to.request.send_data(part, false)?;
            from.answer.flow_control().release_capacity(length)?;
        }
        Poll::Ready(Ok(()))
    }
}
