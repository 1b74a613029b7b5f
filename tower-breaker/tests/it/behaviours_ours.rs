//! The behaviours 49 to 60 of the table of the README, which go beyond what others promise.

use std::future::{pending, poll_fn, ready};

use futures_util::FutureExt;
use http::Request;
use http_body_util::BodyExt;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_breaker::{BoxError, BreakerLayer, Clock, HttpBreakerLayer, KeyedBreaker, Mode, State};

use crate::behaviours::{SECOND, behaviours, breaker, due, pass, settings, tell};
use crate::support::{Piece, opened_by, read, response, trip};

behaviours! {
    b49_a_result_from_before_a_transition_is_ignored {
        let breaker = breaker();
        let (early, late) = (breaker.try_acquire().unwrap(), breaker.try_acquire().unwrap());
        trip(&breaker);
        pass(SECOND).await;
        let probe = breaker.try_acquire().unwrap();
        early.failure();
        assert_eq!((breaker.state(), breaker.snapshot().calls), (State::HalfOpen, 0));
        probe.success();
        tell(&breaker, "S");
        late.failure();
        assert_eq!((breaker.state(), breaker.snapshot().calls), (State::Closed, 0));
    }
    b50_a_panic_is_a_failure {
        let breaker = breaker();
        for _ in 0..4 {
            let guarded = breaker.clone();
            let call = async move { guarded.call::<_, (), ()>(async { panic!("on purpose") }).await };
            assert!(tokio::spawn(call).await.unwrap_err().is_panic());
        }
        assert_eq!(breaker.state(), State::Open);
    }
    b51_a_body_that_breaks_off_after_200_is_a_failure {
        opened_by(breaker(), || response(200, &[], &[Piece::Data("a"), Piece::Error])).await;
    }
    b52_a_grpc_status_counts_wherever_it_stands {
        let grpc = ("content-type", "application/grpc");
        opened_by(breaker(), move || response(200, &[grpc, ("grpc-status", "14")], &[])).await;
        opened_by(breaker(), move || response(200, &[grpc], &[Piece::Data("a"), Piece::Trailers("grpc-status", "14")])).await;
    }
    b53_a_truncated_body_is_a_failure {
        opened_by(breaker(), || response(200, &[("content-length", "2")], &[Piece::Data("a")])).await;
    }
    b54_a_client_that_drops_a_healthy_body_says_nothing {
        let breaker = breaker();
        let answers = service_fn(|_: Request<()>| ready(Ok::<_, BoxError>(response(200, &[], &[Piece::Data("a"), Piece::Data("b")]))));
        let service = HttpBreakerLayer::new(breaker.clone()).layer(answers);
        for _ in 0..8 {
            let mut body = service.clone().oneshot(Request::new(())).await.unwrap().into_body();
            assert!(body.frame().await.unwrap().unwrap().is_data());
        }
        assert_eq!(breaker.snapshot().calls, 0);
        read(service.oneshot(Request::new(())).await.unwrap().into_body()).await.unwrap();
        assert_eq!(breaker.snapshot().calls, 1);
    }
    b55_a_layer_applied_twice_is_one_breaker {
        let breaker = breaker();
        let layer = BreakerLayer::new(breaker.clone());
        let services = [0, 1].map(|_| layer.layer(service_fn(|()| ready(Ok::<_, BoxError>(())))));
        trip(&breaker);
        for service in services {
            assert!(service.oneshot(()).await.is_err());
        }
    }
    b56_paused_time_drives_it {
        assert!(due(settings().clock(Clock::Tokio)).await.try_acquire().is_ok());
    }
    b57_ready_never_becomes_pending {
        for mode in [Mode::Reject, Mode::Gate] {
            let breaker = breaker();
            let mut service = BreakerLayer::new(breaker.clone()).mode(mode).layer(service_fn(|()| pending::<Result<(), BoxError>>()));
            assert!(poll_fn(|cx| service.poll_ready(cx)).now_or_never().unwrap().is_ok());
            trip(&breaker);
            assert!(poll_fn(|cx| service.poll_ready(cx)).now_or_never().unwrap().is_ok());
            assert!(service.call(()).await.unwrap_err().rejection().is_some());
        }
    }
    b58_eviction_never_forgets_an_open_circuit {
        let family: KeyedBreaker<u32> = KeyedBreaker::builder(settings()).capacity(2).build().unwrap();
        trip(&family.get(0));
        for key in 1..1000 {
            assert!(family.get(key).try_acquire().is_ok());
        }
        assert_eq!((family.find(&0).unwrap().state(), family.len()), (State::Open, 2));
    }
    b59_a_clock_that_steps_back_does_no_harm {
        let breaker = breaker();
        // No multiple of the window: where it is, and the threads share a shard, the later slot has the place of the earlier.
        pass(SECOND * 3605).await;
        tell(&breaker, "FFF");
        // Outside of the runtime it is an hour earlier.
        let outside = |outcomes: &str| {
            std::thread::scope(|scope| scope.spawn(|| tell(&breaker, outcomes)).join().unwrap());
        };
        outside("F");
        assert_eq!(breaker.snapshot().generation, 1);
        pass(SECOND).await;
        let probes = [breaker.try_acquire().unwrap(), breaker.try_acquire().unwrap()];
        std::thread::scope(|scope| {
            scope.spawn(|| probes.into_iter().for_each(tower_breaker::Permit::success));
        });
        assert_eq!(breaker.state(), State::Closed);
    }
    b60_a_hung_probe_loses_its_slot_and_its_say {
        let breaker = due(settings().probes(1)).await;
        let hung = breaker.try_acquire().unwrap();
        pass(SECOND * 10).await;
        assert_eq!(breaker.state(), State::Open);
        hung.success();
        assert_eq!(breaker.state(), State::Open);
    }
}
