//! A future beside another one of the same task.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::task::AtomicWaker;

/// Polls a future only when that future was woken itself, and not whenever its task runs: what a connection waits for all its
/// life is looked at twice per request otherwise.
pub(super) struct OnWake<F> {
    future: F,
    /// The waker that `signal` has, unless it was woken since.
    registered: Option<Waker>,
    signal: Arc<Signal>,
    /// `signal`, as the future wants it.
    waker: Waker,
}

struct Signal {
    task: AtomicWaker,
    woken: AtomicBool,
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.task.wake();
    }
}

impl<F> OnWake<F> {
    pub(super) fn new(future: F) -> Self {
        let signal = Arc::new(Signal { task: AtomicWaker::new(), woken: AtomicBool::new(true) });
        Self { future, registered: None, waker: signal.clone().into(), signal }
    }
}

impl<F: Future + Unpin> Future for OnWake<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        let registered = this.registered.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if registered && !this.signal.woken.load(Ordering::Acquire) {
            return Poll::Pending; // nearly always, and without the price of a registration
        }
        // Before the look at `woken`: a wake-up in between finds the task.
        this.signal.task.register(cx.waker());
        this.registered = Some(cx.waker().clone());
        if !this.signal.woken.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        Pin::new(&mut this.future).poll(&mut Context::from_waker(&this.waker))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn only_a_wake_up_of_its_own_polls_it() {
        let notify = Notify::new();
        let polls = AtomicBool::new(false);
        let mut notified = pin!(notify.notified());
        let mut waiting = OnWake::new(poll_fn(|cx| {
            polls.store(true, Ordering::Relaxed);
            notified.as_mut().poll(cx)
        }));
        for expected in [true, false, false] {
            assert!(futures::poll!(&mut waiting).is_pending());
            assert_eq!(polls.swap(false, Ordering::Relaxed), expected);
        }
        notify.notify_one();
        waiting.await;
        assert!(polls.load(Ordering::Relaxed));
    }

    #[tokio::test]
    async fn a_wake_up_from_another_task_is_not_lost() {
        for _ in 0..100 {
            let (sender, receiver) = tokio::sync::oneshot::channel();
            let task = tokio::spawn(OnWake::new(receiver));
            tokio::spawn(async move { sender.send(()) });
            task.await.unwrap().unwrap();
        }
    }
}
