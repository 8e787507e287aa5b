//! The four streams.

use crate::names::closed_names;

closed_names! {
    /// A stream: all the records of one kind.
    pub enum Stream, "stream" {
        /// Lifecycle endpoints of billable intervals: [`Entry`](crate::Entry).
        Metering = "metering",
        /// One record per finished unit of work: [`UsageEvent`](crate::UsageEvent).
        Usage = "usage",
        /// Pointers to changes that nodes must apply: [`ControlEvent`](crate::ControlEvent).
        Control = "control",
        /// Anything else: [`CloudEvent`](crate::CloudEvent).
        Events = "events",
    }
}

#[cfg(test)]
mod tests {
    use super::Stream;

    #[test]
    fn a_stream_is_read_by_its_name_and_an_error_names_them_all() {
        for stream in Stream::ALL {
            assert_eq!(stream.as_str().parse(), Ok(stream));
            let text = serde_json::to_string(&stream).unwrap();
            assert_eq!(text, format!("\"{stream}\""));
            assert_eq!(serde_json::from_str::<Stream>(&text).unwrap(), stream);
        }
        assert_eq!(
            "Kafka".parse::<Stream>().unwrap_err().to_string(),
            "unknown stream `Kafka`, it is one of `metering`, `usage`, `control`, `events`"
        );
        assert_eq!(
            "meterin".parse::<Stream>().unwrap_err().to_string(),
            "unknown stream `meterin`, did you mean `metering`?"
        );
    }
}
