//! Flows as tasks of their own, on the multi-thread runtime and not on the caller's future: whoever waits for the answer may go away. What is
//! started in a place holds it for as long as it runs; without one it is not begun, and the caller is told that there are too many. What only reads,
//! and what goes on when its caller was answered, needs none.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use actix::ResponseFuture;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{Channel, Flows};
use crate::crash::{self, Point};
use crate::router::answer::FlowError;
use crate::router::places::Place;
use crate::store::{Share, share};

impl Flows {
    pub(in crate::router) fn start_payment_flow<T: Send + 'static>(
        &self,
        flow: impl Future<Output = Result<T, FlowError>> + Send + 'static,
    ) -> ResponseFuture<Result<T, FlowError>> {
        self.start(Arc::clone(&self.shared.payment_flows).try_acquire_owned().ok(), ("payment", Point::PaymentFlowEnded), Share::Payments, flow)
    }

    pub(in crate::router) fn start_refund_flow<T: Send + 'static>(
        &self,
        flow: impl Future<Output = Result<T, FlowError>> + Send + 'static,
    ) -> ResponseFuture<Result<T, FlowError>> {
        self.start(Arc::clone(&self.shared.refund_flows).try_acquire_owned().ok(), ("refund", Point::RefundFlowEnded), Share::Refunds, flow)
    }

    /// Starts a look in the place that was taken for it.
    pub(in crate::router) fn start_look<T: Send + 'static>(
        &self,
        place: Option<(Option<Place>, Place)>,
        look: impl Future<Output = Result<T, FlowError>> + Send + 'static,
    ) -> ResponseFuture<Result<T, FlowError>> {
        self.start(place, ("inquiry", Point::Nowhere), Share::Poller, look)
    }

    /// Starts to take in a message of `channel`.
    pub(in crate::router) fn start_receiving<T: Send + 'static>(
        &self,
        channel: &Channel,
        flow: impl Future<Output = Result<T, FlowError>> + Send + 'static,
    ) -> ResponseFuture<Result<T, FlowError>> {
        self.start(channel.places.to_receive(), ("notification", Point::Nowhere), Share::Poller, flow)
    }

    /// Starts a flow as a task of its own. Whoever waits for the answer may go away: the flow goes on.
    fn start<T: Send + 'static>(
        &self,
        place: Option<impl Send + 'static>,
        (name, ended): (&'static str, Point),
        share: Share,
        flow: impl Future<Output = Result<T, FlowError>> + Send + 'static,
    ) -> ResponseFuture<Result<T, FlowError>> {
        let Some(place) = place else {
            return Box::pin(std::future::ready(Err(FlowError::Overloaded)));
        };
        let in_flight = metrics::gauge!("breakwater_flows_in_flight", "flow" => name);
        in_flight.increment(1.0);
        let (answer, answered) = oneshot::channel();
        self.shared.runtime.spawn(async move {
            // Both go back even if the flow panics.
            let _place = (place, Leaving(in_flight));
            let result = share.carry(flow).await;
            if result.is_ok() {
                crash::pass(ended);
            }
            let _gone = answer.send(result);
        });
        Box::pin(async move { answered.await.unwrap_or_else(|_| Err(without_answer())) })
    }

    /// Runs what moves nothing and holds no place: it reads, and waits for others. The API bounds how many there are.
    pub(in crate::router) fn start_reading<T: Send + 'static>(
        &self,
        reading: impl Future<Output = Result<T, FlowError>> + Send + 'static,
    ) -> ResponseFuture<Result<T, FlowError>> {
        let task = self.shared.runtime.spawn(reading);
        Box::pin(async move { task.await.unwrap_or_else(|_| Err(without_answer())) })
    }

    /// Runs the part of a flow that goes on when its caller was answered; a stop waits for it.
    pub(in crate::router) fn go_on<T: Send + 'static>(&self, part: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        let under_way = UnderWay::begin(&self.shared.carrying);
        self.shared.runtime.spawn(share::inherited(async move {
            let _under_way = under_way;
            part.await
        }))
    }

    /// Runs what no flow has begun as a task of its own, on the connections of `share`.
    pub(in crate::router) fn spawn_as(&self, share: Share, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        self.shared.runtime.spawn(share.carry(task))
    }

    /// Runs a follow-up of a flow as a task of its own.
    pub(in crate::router) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.shared.runtime.spawn(share::inherited(task));
    }
}

fn without_answer() -> FlowError {
    FlowError::Internal("the flow ended without an answer".to_owned())
}

/// One more part under way, until it is dropped.
struct UnderWay(Arc<AtomicUsize>);

impl UnderWay {
    fn begin(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Leaving(metrics::Gauge);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}
