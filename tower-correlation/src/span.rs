//! The `tracing` span of a request; nothing without the feature.

use crate::context::Correlation;

/// A span with the fields `correlation_id` and `trace_id`.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    #[cfg(feature = "tracing")]
    span: tracing::Span,
}

/// Nothing to leave.
#[cfg(not(feature = "tracing"))]
pub(crate) struct Outside<'a>(std::marker::PhantomData<&'a Span>);

impl Span {
    #[cfg(feature = "tracing")]
    pub(crate) fn new(correlation: &Correlation) -> Self {
        let trace_id = correlation.trace().trace_id();
        // At the highest level, so that no level filter takes the id off the lines inside.
        let span = tracing::error_span!(
            "request",
            correlation_id = correlation.id().as_str(),
            trace_id = format_args!("{trace_id:032x}")
        );
        Self { span }
    }

    #[cfg(not(feature = "tracing"))]
    pub(crate) fn new(_: &Correlation) -> Self {
        Self {}
    }

    /// No span, where one stands around this already.
    #[cfg(feature = "tracing")]
    pub(crate) fn none() -> Self {
        Self { span: tracing::Span::none() }
    }

    #[cfg(not(feature = "tracing"))]
    pub(crate) fn none() -> Self {
        Self {}
    }

    /// The span is the current one while what is returned lives.
    #[cfg(feature = "tracing")]
    pub(crate) fn enter(&self) -> tracing::span::Entered<'_> {
        self.span.enter()
    }

    #[cfg(not(feature = "tracing"))]
    pub(crate) fn enter(&self) -> Outside<'_> {
        Outside(std::marker::PhantomData)
    }

    /// Moves it to where the request goes on.
    #[cfg(feature = "tracing")]
    pub(crate) fn take(&mut self) -> Self {
        std::mem::replace(self, Self::none())
    }

    #[cfg(not(feature = "tracing"))]
    pub(crate) fn take(&mut self) -> Self {
        self.clone()
    }

    /// The inner service returned an error, which leaves the layer as it is.
    #[cfg(feature = "tracing")]
    pub(crate) fn failed(&self) {
        let _span = self.span.enter();
        tracing::error!("the request ended in an error without a response");
    }

    #[cfg(not(feature = "tracing"))]
    #[expect(clippy::unused_self, reason = "the same call with and without the feature")]
    pub(crate) fn failed(&self) {}
}
