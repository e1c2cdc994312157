use std::time::Duration;

use kaspath_domain::DuplexStream;
use tokio::{io::AsyncWriteExt, time::timeout};

use crate::wire::{Frame, Refusal};

/// How long the answer may take.
const ANSWER: Duration = Duration::from_secs(2);

/// Says why the stream carries no session, and closes it. Returns at once.
pub(crate) fn refuse(mut stream: DuplexStream, refusal: Refusal) {
    tokio::spawn(async move {
        let mut frame = Vec::new();
        Frame::Refuse(refusal).encode(&mut frame);
        let answer = async {
            stream.write_all(&frame).await?;
            stream.shutdown().await
        };
        let _ = timeout(ANSWER, answer).await;
    });
}
