//! Maintenance windows.

use std::cmp::Ordering;

use chrono::{DateTime, Datelike as _, NaiveTime, Utc, Weekday};
use roadstead_contracts::message::MaintenanceWindow;
use roadstead_contracts::{Error, Result};

/// A window that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Window {
    days: Vec<Weekday>,
    from: NaiveTime,
    to: NaiveTime,
}

impl Window {
    /// Reads a window.
    pub(crate) fn parse(window: &MaintenanceWindow) -> Result<Self> {
        let fault = |message: &str| Error::field(&["body", "plan", "window"], "value_error", message);
        let time = |text: &str| {
            let five = text.len() == 5;
            NaiveTime::parse_from_str(text, "%H:%M").ok().filter(|_| five)
        };
        let days = window
            .days
            .iter()
            .map(|day| match day.as_str() {
                "mon" => Ok(Weekday::Mon),
                "tue" => Ok(Weekday::Tue),
                "wed" => Ok(Weekday::Wed),
                "thu" => Ok(Weekday::Thu),
                "fri" => Ok(Weekday::Fri),
                "sat" => Ok(Weekday::Sat),
                "sun" => Ok(Weekday::Sun),
                _ => Err(fault("days must be mon, tue, wed, thu, fri, sat or sun")),
            })
            .collect::<Result<_>>()?;
        let (Some(from), Some(to)) = (time(&window.from), time(&window.to)) else {
            return Err(fault("from and to must be HH:MM"));
        };
        Ok(Self { days, from, to })
    }

    /// Whether a moment lies in it. A window over midnight belongs to the day on which it begins; one that begins when it
    /// ends is the whole day.
    pub(crate) fn contains(&self, at: DateTime<Utc>) -> bool {
        let (day, time) = (at.weekday(), at.time());
        let on = |day: Weekday| self.days.is_empty() || self.days.contains(&day);
        match self.from.cmp(&self.to) {
            Ordering::Equal => on(day),
            Ordering::Less => on(day) && (self.from..self.to).contains(&time),
            Ordering::Greater => (on(day) && time >= self.from) || (on(day.pred()) && time < self.to),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(days: &[&str], from: &str, to: &str) -> Window {
        let days = days.iter().map(|day| (*day).to_owned()).collect();
        Window::parse(&MaintenanceWindow { days, from: from.to_owned(), to: to.to_owned() }).unwrap()
    }

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn windows_go_over_midnight() {
        // 2026-01-02 is a Friday.
        let night = window(&["fri"], "22:00", "02:00");
        assert!(night.contains(at("2026-01-02T23:00:00Z")) && night.contains(at("2026-01-03T01:59:59Z")));
        assert!(!night.contains(at("2026-01-03T02:00:00Z")) && !night.contains(at("2026-01-02T01:00:00Z")));
        let day = window(&[], "08:00", "18:00");
        assert!(day.contains(at("2026-01-04T08:00:00Z")) && !day.contains(at("2026-01-04T18:00:00Z")));
        for (from, to) in [("8:00", "9:00"), ("24:00", "01:00"), ("", "01:00")] {
            let odd = MaintenanceWindow { days: Vec::new(), from: from.to_owned(), to: to.to_owned() };
            assert!(Window::parse(&odd).is_err(), "{from} {to}");
        }
    }
}
