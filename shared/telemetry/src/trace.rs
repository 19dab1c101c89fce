//! W3C trace context (<https://www.w3.org/TR/trace-context/>): enters at HTTP, rides in message envelopes and tunnel
//! heads, comes back in answers.

use std::fmt;
use std::str::FromStr;

use roadstead_runtime::Ids;

/// Name of the HTTP header.
pub const HEADER: &str = "traceparent";

/// A place in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceParent {
    /// The trace.
    pub trace_id: [u8; 16],
    /// The span in it.
    pub span_id: [u8; 8],
    /// Whether the caller records it.
    pub sampled: bool,
}

/// The text is no trace context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a W3C traceparent")]
pub struct NotATraceParent;

impl TraceParent {
    /// A new trace.
    pub fn generate(ids: &Ids) -> Self {
        let (mut trace_id, mut span_id) = (ids.random_bytes::<16>(), ids.random_bytes::<8>());
        // All-zero ids are invalid (§3.2.2.3); chance alone will not make one, but a decoder elsewhere would drop it.
        trace_id[0] |= 1;
        span_id[0] |= 1;
        Self { trace_id, span_id, sampled: true }
    }

    /// The next step of the same trace.
    #[must_use]
    pub fn child(&self, ids: &Ids) -> Self {
        Self { span_id: Self::generate(ids).span_id, ..*self }
    }

    /// What the caller sent when it is good, else a new trace. A bad header is not the caller's fault to hear about.
    pub fn continue_or_new(header: Option<&str>, ids: &Ids) -> Self {
        header
            .and_then(|text| text.parse::<Self>().ok())
            .map_or_else(|| Self::generate(ids), |parent| parent.child(ids))
    }

    /// The trace id as hex.
    pub fn trace_id_hex(&self) -> String {
        hex(&self.trace_id)
    }
}

impl FromStr for TraceParent {
    type Err = NotATraceParent;

    /// Reads `00-<32 hex>-<16 hex>-<2 hex>`, lower case only; later versions may carry more (§3.2.4).
    fn from_str(text: &str) -> Result<Self, NotATraceParent> {
        let bytes = text.as_bytes();
        let dash = |index: usize| bytes.get(index) == Some(&b'-');
        if bytes.len() < 55 || !dash(2) || !dash(35) || !dash(52) {
            return Err(NotATraceParent);
        }
        let [version] = unhex::<1>(bytes.get(0..2))?;
        let trace_id = unhex::<16>(bytes.get(3..35))?;
        let span_id = unhex::<8>(bytes.get(36..52))?;
        let [flags] = unhex::<1>(bytes.get(53..55))?;
        let length_good = if version == 0 { bytes.len() == 55 } else { bytes.len() == 55 || dash(55) };
        if version == 0xff || !length_good || trace_id == [0; 16] || span_id == [0; 8] {
            return Err(NotATraceParent);
        }
        Ok(Self { trace_id, span_id, sampled: flags & 1 == 1 })
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("00-")?;
        f.write_str(&hex(&self.trace_id))?;
        f.write_str("-")?;
        f.write_str(&hex(&self.span_id))?;
        f.write_str(if self.sampled { "-01" } else { "-00" })
    }
}

/// Digit by digit: every request writes one of these, and the formatter for numbers was 3 % of its time.
fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

fn unhex<const N: usize>(text: Option<&[u8]>) -> Result<[u8; N], NotATraceParent> {
    let text = text.filter(|text| text.len() == N * 2).ok_or(NotATraceParent)?;
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        _ => Err(NotATraceParent),
    };
    let mut out = [0; N];
    for (slot, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        if let [high, low] = pair {
            *slot = digit(*high)? << 4 | digit(*low)?;
        }
    }
    Ok(out)
}

/// Makes a span continue a trace that came from outside.
#[cfg(feature = "otlp")]
pub fn continue_from(span: &tracing::Span, parent: &TraceParent) {
    use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
    use tracing_opentelemetry::OpenTelemetrySpanExt as _;
    let flags = if parent.sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
    let context = SpanContext::new(
        TraceId::from_bytes(parent.trace_id),
        SpanId::from_bytes(parent.span_id),
        flags,
        true,
        TraceState::default(),
    );
    let _ = span.set_parent(opentelemetry::Context::new().with_remote_span_context(context));
}

/// Makes a span continue a trace that came from outside. This build exports none.
#[cfg(not(feature = "otlp"))]
pub fn continue_from(_span: &tracing::Span, _parent: &TraceParent) {}

/// Where a span stands in its trace, for the next hop; `None` when traces are not exported (hand on the child of what
/// came in instead).
#[cfg(feature = "otlp")]
pub fn of_span(span: &tracing::Span) -> Option<TraceParent> {
    use opentelemetry::trace::TraceContextExt as _;
    use tracing_opentelemetry::OpenTelemetrySpanExt as _;
    let context = span.context();
    let here = context.span().span_context().clone();
    here.is_valid().then(|| TraceParent {
        trace_id: here.trace_id().to_bytes(),
        span_id: here.span_id().to_bytes(),
        sampled: here.is_sampled(),
    })
}

/// Where a span stands in its trace. This build exports none.
#[cfg(not(feature = "otlp"))]
pub fn of_span(_span: &tracing::Span) -> Option<TraceParent> {
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use roadstead_runtime::SystemClock;

    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn reads_and_writes() {
        let parent: TraceParent = GOOD.parse().unwrap();
        assert_eq!(parent.to_string(), GOOD);
        assert_eq!(parent.trace_id_hex(), "0af7651916cd43dd8448eb211c80319c");
        let ids = Ids::seeded(SystemClock::shared(), 1);
        let child = parent.child(&ids);
        assert!(child.trace_id == parent.trace_id && child.span_id != parent.span_id && child.sampled);
        assert_eq!(TraceParent::continue_or_new(Some(GOOD), &ids).trace_id, parent.trace_id);
        assert_ne!(TraceParent::continue_or_new(Some("nonsense"), &ids).trace_id, parent.trace_id);
    }

    #[test]
    fn refuses_what_the_specification_refuses() {
        for bad in [
            "",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        ] {
            assert!(bad.parse::<TraceParent>().is_err(), "{bad}");
        }
        assert!("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-later".parse::<TraceParent>().is_ok());
    }

    proptest! {
        #[test]
        fn garbage_does_not_panic(text in ".{0,80}") {
            let _ = text.parse::<TraceParent>();
        }

        #[test]
        fn round_trips(trace_id in any::<[u8; 16]>(), span_id in any::<[u8; 8]>(), sampled in any::<bool>()) {
            prop_assume!(trace_id != [0; 16] && span_id != [0; 8]);
            let parent = TraceParent { trace_id, span_id, sampled };
            prop_assert_eq!(parent.to_string().parse::<TraceParent>().unwrap(), parent);
        }
    }
}
