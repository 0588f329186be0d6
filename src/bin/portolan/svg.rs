//! Plots as SVG text: marks, words, round numbers for axes, and the frame of a plot. Everything
//! that is written is escaped.

use std::fmt::Write as _;

/// A drawing as it grows.
pub struct Svg {
    out: String,
}

/// Text as content or as an attribute, without characters that XML has no room for.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

// Writing to a string cannot fail, so that results of it are dropped below. `paint` is attributes
// of our own, such as `class="axis"`.
impl Svg {
    /// Of so many units wide and high. `title` is what is read to those who do not see it.
    pub fn new(size: (f64, f64), title: &str, paint: &str) -> Self {
        let (width, height) = size;
        let title = escape(title);
        let out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
             role=\"img\" aria-label=\"{title}\" {paint}>\n"
        );
        Self { out }
    }

    pub fn text(&mut self, at: (f64, f64), anchor: &str, paint: &str, words: &str) {
        let (x, y) = at;
        let words = escape(words);
        let _ = writeln!(
            self.out,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" {paint}>{words}</text>"
        );
    }

    /// Text that is read from the bottom up.
    pub fn upright(&mut self, at: (f64, f64), paint: &str, words: &str) {
        let (x, y) = at;
        let words = escape(words);
        let _ = writeln!(
            self.out,
            "<text transform=\"translate({x:.1} {y:.1}) rotate(-90)\" text-anchor=\"middle\" \
             {paint}>{words}</text>"
        );
    }

    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), paint: &str) {
        let ((x1, y1), (x2, y2)) = (from, to);
        let _ = writeln!(
            self.out,
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" {paint}/>"
        );
    }

    /// A circle; `tip` is shown when the pointer rests on it.
    pub fn circle(&mut self, center: (f64, f64), radius: f64, paint: &str, tip: &str) {
        let (x, y) = center;
        let _ = write!(self.out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\" {paint}");
        self.end("circle", tip);
    }

    /// A rectangle between two corners.
    pub fn rect(&mut self, from: (f64, f64), to: (f64, f64), paint: &str, tip: &str) {
        let (left, top) = (from.0.min(to.0), from.1.min(to.1));
        let (width, height) = ((from.0 - to.0).abs(), (from.1 - to.1).abs());
        let _ = write!(
            self.out,
            "<rect x=\"{left:.2}\" y=\"{top:.2}\" width=\"{width:.2}\" height=\"{height:.2}\" \
             {paint}"
        );
        self.end("rect", tip);
    }

    pub fn polyline(&mut self, points: impl IntoIterator<Item = (f64, f64)>, paint: &str) {
        let points = points.into_iter().map(|(x, y)| format!("{x:.1},{y:.1}"));
        let points = points.collect::<Vec<_>>().join(" ");
        let _ = writeln!(self.out, "<polyline points=\"{points}\" {paint}/>");
    }

    fn end(&mut self, name: &str, tip: &str) {
        let _ = match tip {
            "" => writeln!(self.out, "/>"),
            tip => writeln!(self.out, "><title>{}</title></{name}>", escape(tip)),
        };
    }

    pub fn finish(self) -> String {
        self.out + "</svg>\n"
    }
}

/// How numbers lie on an axis.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    Linear,
    Logarithmic,
}

/// Numbers from `low` to `high` on a stretch of a drawing from `begin` to `end`.
#[derive(Clone)]
pub struct Axis {
    low: f64,
    high: f64,
    begin: f64,
    end: f64,
    scale: Scale,
    pub ticks: Vec<f64>,
}

impl Axis {
    /// Around all values, with round numbers at its ends and ticks between. On a logarithmic axis
    /// values must be above 0.
    pub fn around(values: &[f64], scale: Scale, stretch: (f64, f64), most_ticks: usize) -> Self {
        let finite = values.iter().copied().filter(|value| value.is_finite());
        let (low, high) = finite.fold((f64::MAX, f64::MIN), |(a, b), v| (a.min(v), b.max(v)));
        let (low, high) = if low > high { (0.1, 1.0) } else { (low, high) };
        let (begin, end) = stretch;
        match scale {
            Scale::Linear => {
                let step = step((high - low).max(high.abs() * 1e-3).max(1e-9), most_ticks);
                let (low, high) = ((low / step).floor(), (high / step).ceil());
                let high = if high > low { high } else { low + 1.0 };
                let count = (high - low).round() as usize;
                let ticks = (0..=count).map(|at| (low + at as f64) * step).collect();
                Self { low: low * step, high: high * step, begin, end, scale, ticks }
            }
            Scale::Logarithmic => {
                let low = low.max(1e-6);
                let (low, high) = (low / 1.3, high.max(low) * 1.3);
                Self { low, high, begin, end, scale, ticks: decades(low, high) }
            }
        }
    }

    /// Where a number is.
    pub fn at(&self, value: f64) -> f64 {
        let value = value.clamp(self.low, self.high);
        let part = match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Logarithmic => (value / self.low).ln() / (self.high / self.low).ln(),
        };
        self.begin + (self.end - self.begin) * part
    }

    pub fn stretch(&self) -> (f64, f64) {
        (self.begin, self.end)
    }
}

/// A step of 1, 2 or 5 times a power of ten that divides `span` into at most so many parts.
fn step(span: f64, most: usize) -> f64 {
    let rough = span / most.max(1) as f64;
    let unit = 10_f64.powf(rough.log10().floor());
    let fits = |step: &f64| step * unit >= rough * (1.0 - 1e-9);
    [1.0, 2.0, 5.0].into_iter().find(fits).unwrap_or(10.0) * unit
}

/// 1, 2 and 5 times powers of ten within bounds; of many decades the powers alone.
fn decades(low: f64, high: f64) -> Vec<f64> {
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    let steps: &[f64] = match last - first {
        ..=3 => &[1.0, 2.0, 5.0],
        _ => &[1.0],
    };
    let ticks = (first..=last).flat_map(|power| steps.iter().map(move |step| (power, step)));
    let ticks = ticks.map(|(power, step)| step * 10_f64.powi(power));
    ticks.filter(|tick| (low..=high).contains(tick)).collect()
}

/// A number of an axis, in as few digits as it takes.
pub fn number(value: f64) -> String {
    let value = if value.abs() < 1e-12 { 0.0 } else { value };
    let text = format!("{:.*}", if value.abs() >= 100.0 { 0 } else { 4 }, value);
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// The next of 1, 2, 5, 10, ... times `parts` that is not below `value`.
pub fn round_up(value: f64, parts: usize) -> f64 {
    let mut unit = 1.0;
    loop {
        for step in [1.0, 2.0, 5.0] {
            if step * unit * parts as f64 >= value {
                return step * unit * parts as f64;
            }
        }
        unit *= 10.0;
    }
}

/// Draws gridlines, numbers and the names of both axes; `paint` classes `grid` and `label`.
pub fn frame(svg: &mut Svg, x: &Axis, y: &Axis, names: (&str, &str)) {
    let ((left, right), (bottom, top)) = (x.stretch(), y.stretch());
    for &tick in &y.ticks {
        svg.line((left, y.at(tick)), (right, y.at(tick)), "class=\"grid\"");
        svg.text((left - 6.0, y.at(tick) + 4.0), "end", "class=\"label\"", &number(tick));
    }
    for &tick in &x.ticks {
        svg.line((x.at(tick), bottom), (x.at(tick), bottom + 4.0), "class=\"axis\"");
        svg.text((x.at(tick), bottom + 17.0), "middle", "class=\"label\"", &number(tick));
    }
    svg.line((left, bottom), (right, bottom), "class=\"axis\"");
    svg.text(((left + right) / 2.0, bottom + 36.0), "middle", "class=\"name\"", names.0);
    svg.upright((left - 44.0, (top + bottom) / 2.0), "class=\"name\"", names.1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_leave_its_place() {
        let hostile = "</text><script>\"x\" & 'y'\u{0}";
        let mut svg = Svg::new((10.0, 10.0), hostile, "");
        svg.text((0.0, 0.0), "start", "", hostile);
        svg.upright((0.0, 0.0), "", hostile);
        svg.circle((0.0, 0.0), 1.0, "", hostile);
        svg.rect((0.0, 0.0), (1.0, 1.0), "", hostile);
        let drawn = svg.finish();
        assert!(!drawn.contains("<script") && !drawn.contains('\u{0}'), "{drawn}");
        assert_eq!(drawn.matches("&lt;script&gt;&quot;x&quot; &amp; &#39;y&#39; ").count(), 5);
    }

    #[test]
    fn an_axis_holds_all_values_between_round_numbers() {
        let axis = Axis::around(&[0.633, 0.7352], Scale::Linear, (100.0, 0.0), 6);
        let ticks: Vec<String> = axis.ticks.iter().map(|tick| number(*tick)).collect();
        assert_eq!(ticks, ["0.62", "0.64", "0.66", "0.68", "0.7", "0.72", "0.74"]);
        assert_eq!((axis.at(0.62).round(), axis.at(0.74).round()), (100.0, 0.0));
        let axis = Axis::around(&[0.8, 40.0], Scale::Logarithmic, (0.0, 10.0), 6);
        assert_eq!(axis.ticks, [1.0, 2.0, 5.0, 10.0, 20.0, 50.0]);
        assert!(axis.at(0.8) > 0.0 && axis.at(40.0) < 10.0);
    }

    #[test]
    fn odd_values_make_an_axis_too() {
        for values in [&[][..], &[0.0], &[1.0, 1.0], &[f64::NAN, 2.0], &[-3.0, -3.0], &[1e300]] {
            for scale in [Scale::Linear, Scale::Logarithmic] {
                let axis = Axis::around(values, scale, (0.0, 10.0), 5);
                assert!(axis.ticks.len() < 40, "{values:?}: {:?}", axis.ticks);
                for &value in values {
                    assert!(value.is_nan() || (0.0..=10.0).contains(&axis.at(value)), "{values:?}");
                }
            }
        }
    }

    #[test]
    fn numbers_have_as_few_digits_as_they_take() {
        assert_eq!(
            [0.5, 100.0, 1e-17, 0.0001, 12.25].map(number),
            ["0.5", "100", "0", "0.0001", "12.25"]
        );
    }

    #[test]
    fn an_axis_ends_at_a_round_number_above_all_values() {
        assert_eq!(round_up(0.3, 5), 5.0);
        assert_eq!(round_up(61.0, 5), 100.0);
        assert_eq!(round_up(100.0, 5), 100.0);
        assert_eq!(round_up(101.0, 5), 250.0);
    }
}
