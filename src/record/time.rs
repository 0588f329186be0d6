//! Timestamps as text: RFC 3339, and a date alone for its midnight. Years 0000 to 9999, UTC when
//! written. The calendar is the proleptic Gregorian one; days are counted as in "chrono-Compatible
//! Low-Level Date Algorithms" (Hinnant, 2013).

use super::Value;

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

impl Value {
    /// A timestamp that is written as in RFC 3339, `2024-01-31T10:00:00.5+01:00`, or a date alone
    /// for its midnight in UTC. Years 0000 to 9999; digits beyond microseconds are cut off. None
    /// if it is not of that form.
    ///
    /// ```
    /// use portolan::Value;
    ///
    /// assert_eq!(Value::timestamp("1970-01-01T00:00:01Z"), Some(Value::Timestamp(1_000_000)));
    /// assert_eq!(Value::timestamp("1970-01-02"), Some(Value::Timestamp(86_400_000_000)));
    /// assert_eq!(Value::timestamp("yesterday"), None);
    /// ```
    #[must_use]
    pub fn timestamp(text: &str) -> Option<Self> {
        parse(text).map(Self::Timestamp)
    }
}

/// Microseconds since 1970, of `2024-01-31` or `2024-01-31T10:00:00.5+01:00`; digits beyond
/// microseconds are cut off. None if it is not of that form.
pub fn parse(text: &str) -> Option<i64> {
    let date = text.get(..10)?;
    let [year, month, day] = numbers(date, ['-', '-'], [4, 2, 2])?;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(leap),
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=last).contains(&day) {
        return None;
    }
    let midnight = days_since_1970(year, month, day) * DAY;
    let Some(rest) = text.get(10..).filter(|rest| !rest.is_empty()) else { return Some(midnight) };
    let rest = rest.strip_prefix(['T', 't'])?;
    let [hour, minute, second] = numbers(rest.get(..8)?, [':', ':'], [2, 2, 2])?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (fraction, offset) = fraction(rest.get(8..)?)?;
    let time = (hour * 3_600 + minute * 60 + second) * SECOND + fraction;
    Some(midnight + time - offset_of(offset)?)
}

/// Whether nothing but its zone is missing of a time.
pub fn lacks_zone(text: &str) -> bool {
    parse(text).is_none() && parse(&format!("{text}Z")).is_some()
}

/// Numbers of so many digits with two separators between.
fn numbers(text: &str, between: [char; 2], digits: [usize; 3]) -> Option<[i64; 3]> {
    let (first, rest) = text.split_once(between[0])?;
    let (second, third) = rest.split_once(between[1])?;
    let mut found = [0; 3];
    for ((text, digits), number) in [first, second, third].iter().zip(digits).zip(&mut found) {
        if text.len() != digits || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *number = text.parse().ok()?;
    }
    Some(found)
}

/// Microseconds after the point, and what follows.
fn fraction(text: &str) -> Option<(i64, &str)> {
    let Some(digits) = text.strip_prefix('.') else { return Some((0, text)) };
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    let (digits, rest) = digits.split_at(end);
    let kept = digits.get(..6).unwrap_or(digits);
    let number: i64 = kept.parse().ok()?;
    Some((number * 10_i64.pow(6 - kept.len() as u32), rest))
}

fn offset_of(text: &str) -> Option<i64> {
    if matches!(text, "Z" | "z") {
        return Some(0);
    }
    let sign = match text.get(..1)? {
        "+" => 1,
        "-" => -1,
        _ => return None,
    };
    let [hours, minutes, _] = numbers(&format!("{}:00", text.get(1..)?), [':', ':'], [2, 2, 2])?;
    let known = hours < 24 && minutes < 60;
    known.then_some(sign * (hours * 3_600 + minutes * 60) * SECOND)
}

fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    // Years that begin in March, so that the day of a leap year is their last.
    let year = if month > 2 { year } else { year - 1 };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The text of a timestamp; none outside the years 0000 to 9999.
pub fn text(micros: i64) -> Option<String> {
    let (days, time) = (micros.div_euclid(DAY), micros.rem_euclid(DAY));
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    if !(0..=9999).contains(&year) {
        return None;
    }
    let date = format!("{year:04}-{month:02}-{day:02}");
    if time == 0 {
        return Some(date);
    }
    let (seconds, micros) = (time / SECOND, time % SECOND);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let fraction = if micros == 0 { String::new() } else { format!(".{micros:06}") };
    Some(format!("{date}T{hour:02}:{minute:02}:{second:02}{fraction}Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_times_are_read_as_their_distance_from_1970() {
        let cases = [
            ("1970-01-01", 0),
            ("1970-01-02", DAY),
            ("1969-12-31T23:59:59.999999Z", -1),
            ("2000-02-29", 11_016 * DAY),
            ("2001-09-09T01:46:40Z", 1_000_000_000 * SECOND),
            ("2001-09-09T03:46:40+02:00", 1_000_000_000 * SECOND),
            ("2001-09-08T20:16:40.5-05:30", 1_000_000_000 * SECOND + 500_000),
            ("2001-09-09t01:46:40.1234567z", 1_000_000_000 * SECOND + 123_456),
        ];
        for (written, micros) in cases {
            assert_eq!(parse(written), Some(micros), "{written}");
        }
    }

    #[test]
    fn what_is_no_date_is_not_taken_for_one() {
        for written in [
            "",
            "2024",
            "2024-1-1",
            "2024-13-01",
            "2024-00-10",
            "2023-02-29",
            "1900-02-29",
            "2024-04-31",
            "2024-01-01T",
            "2024-01-01T10:00:00",
            "2024-01-01T24:00:00Z",
            "2024-01-01T10:60:00Z",
            "2024-01-01T10:00:00.Z",
            "2024-01-01T10:00:00+1:00",
            "2024-01-01T10:00:00+24:00",
            "+024-01-01",
            "2024-01-01 10:00:00Z",
            "\u{661}970-01-01",
        ] {
            assert_eq!(parse(written), None, "{written}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for at in (-62_167_219_200_i64..253_402_300_800).step_by(86_399 * 997) {
            for micros in [at * SECOND, at * SECOND + 1] {
                let written = text(micros).expect("a year of four digits");
                assert_eq!(parse(&written), Some(micros), "{written}");
            }
        }
        assert_eq!(text(253_402_300_800 * SECOND), None);
        assert_eq!(text(i64::MIN), None);
    }
}
