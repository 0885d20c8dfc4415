//! A client's connection: reads end when its phase takes too long, or when its place is needed.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::connections::Place;
use super::phase::limit;
use crate::app::HttpSettings;

/// A connection that is closed like one that its client closed.
pub(super) struct ClientStream<S> {
    stream: S,
    place: Arc<Place>,
    deadline: Pin<Box<Sleep>>,
    read_timeout: Duration,
    keep_alive: Duration,
}

impl<S> ClientStream<S> {
    pub(super) fn new(stream: S, place: Arc<Place>, settings: &HttpSettings) -> Self {
        let (read_timeout, keep_alive) = (settings.read_timeout, settings.keep_alive);
        let deadline = Box::pin(sleep_until(Instant::now() + read_timeout));
        Self { stream, place, deadline, read_timeout, keep_alive }
    }

    fn poll_deadline(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let phase = self.place.phase();
        phase.register(context.waker());
        let (doing, since) = phase.now();
        let Some(limit) = limit(doing, self.read_timeout, self.keep_alive) else {
            return Poll::Pending;
        };
        let deadline = since + limit;
        if self.deadline.deadline() != deadline {
            self.deadline.as_mut().reset(deadline);
        }
        self.deadline.as_mut().poll(context)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ClientStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(context, buffer) {
            Poll::Ready(read) => {
                if buffer.filled().len() > before {
                    self.place.phase().receive();
                }
                Poll::Ready(read)
            }
            Poll::Pending => {
                ready!(self.poll_deadline(context));
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ClientStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// The body of a response. At its end, the connection is idle.
pub(super) struct TrackedBody {
    body: Body,
    place: Arc<Place>,
}

impl TrackedBody {
    pub(super) fn new(body: Body, place: Arc<Place>) -> Self {
        Self { body, place }
    }
}

impl Drop for TrackedBody {
    fn drop(&mut self) {
        self.place.phase().end_request();
    }
}

impl HttpBody for TrackedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
