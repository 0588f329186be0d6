//! The picture of `bench-growth`: time and steps per query over the logarithm of the size.

use std::fmt::Write as _;

/// One curve: its name, whether it is on the right axis, measured points, values of its fit at
/// the same sizes.
pub struct Curve {
    pub name: String,
    pub is_right: bool,
    pub points: Vec<(f64, f64)>,
    pub fitted: Vec<f64>,
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 690.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 350.0;
const COLORS: [&str; 4] = ["#000000", "#c0392b", "#2471a3", "#1e8449"];
/// Marks on a value axis.
const TICKS: usize = 5;

/// Both axes begin at 0.
pub fn svg(title: &str, axes: [&str; 2], curves: &[Curve]) -> String {
    let sizes = curves.iter().flat_map(|curve| curve.points.iter().map(|point| point.0));
    let (first, last) = sizes.fold((f64::MAX, 0.0_f64), |(a, b), n| (a.min(n), b.max(n)));
    let x = |n: f64| LEFT + (RIGHT - LEFT) * (n / first).ln() / (last / first).ln().max(1e-9);
    let top = [false, true].map(|is_right| {
        let own = curves.iter().filter(|curve| curve.is_right == is_right);
        let most = own.flat_map(|curve| curve.points.iter().map(|point| point.1));
        round_up(most.fold(0.0, f64::max))
    });
    let y =
        |is_right: bool, value: f64| BOTTOM - (BOTTOM - TOP) * value / top[usize::from(is_right)];
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n"
    );
    let mut text = |at: (f64, f64), anchor: &str, words: &str| {
        let (x, y) = at;
        // writing to a string cannot fail
        let _ = writeln!(
            out,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>"
        );
    };
    text((WIDTH / 2.0, 20.0), "middle", title);
    text((LEFT, TOP - 8.0), "middle", axes[0]);
    text((RIGHT, TOP - 8.0), "middle", axes[1]);
    for tick in 0..=TICKS {
        let part = tick as f64 / TICKS as f64;
        let height = BOTTOM - (BOTTOM - TOP) * part + 4.0;
        text((LEFT - 6.0, height), "end", &format!("{:.0}", top[0] * part));
        text((RIGHT + 6.0, height), "start", &format!("{:.0}", top[1] * part));
    }
    if let Some(curve) = curves.first() {
        for &(n, _) in &curve.points {
            text((x(n), BOTTOM + 18.0), "middle", &format!("{n:.0}"));
        }
    }
    for (number, curve) in curves.iter().enumerate() {
        let at = (LEFT + 20.0, TOP + 16.0 * (number as f64 + 1.0));
        text(at, "start", &curve.name);
    }
    frame(&mut out);
    for (number, curve) in curves.iter().enumerate() {
        let color = COLORS[number % COLORS.len()];
        let height = TOP + 16.0 * (number as f64 + 1.0) - 4.0;
        let _ = writeln!(
            out,
            "<circle cx=\"{:.1}\" cy=\"{height:.1}\" r=\"4\" fill=\"{color}\"/>",
            LEFT + 10.0
        );
        for &(n, value) in &curve.points {
            let (x, y) = (x(n), y(curve.is_right, value));
            let _ = writeln!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{color}\"/>");
        }
        let line = curve.points.iter().zip(&curve.fitted);
        let line =
            line.map(|(&(n, _), &value)| format!("{:.1},{:.1}", x(n), y(curve.is_right, value)));
        let dashes = if curve.is_right { " stroke-dasharray=\"5 4\"" } else { "" };
        let _ = writeln!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{color}\"{dashes}/>",
            line.collect::<Vec<_>>().join(" ")
        );
    }
    out + "</svg>\n"
}

fn frame(out: &mut String) {
    let (width, height) = (RIGHT - LEFT, BOTTOM - TOP);
    let _ = writeln!(
        out,
        "<rect x=\"{LEFT}\" y=\"{TOP}\" width=\"{width}\" height=\"{height}\" fill=\"none\" \
         stroke=\"#888\"/>"
    );
}

/// The next of 1, 2, 5, 10, ... times [`TICKS`] that is not below.
fn round_up(value: f64) -> f64 {
    let mut unit = 1.0;
    loop {
        for step in [1.0, 2.0, 5.0] {
            if step * unit * TICKS as f64 >= value {
                return step * unit * TICKS as f64;
            }
        }
        unit *= 10.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_of_every_curve_is_drawn_inside_of_the_frame() {
        let points = vec![(1e4, 80.0), (1e5, 120.0), (1e6, 200.0)];
        let fitted = vec![75.0, 130.0, 190.0];
        let right = Curve {
            name: "steps".to_owned(),
            is_right: true,
            points: points.clone(),
            fitted: fitted.clone(),
        };
        let left = Curve { name: "time".to_owned(), is_right: false, points, fitted };
        let picture = svg("growth", ["us", "steps"], &[left, right]);
        // three points and one in the legend for each of two curves
        assert_eq!(picture.matches("<circle").count(), 8);
        assert_eq!(picture.matches("<polyline").count(), 2);
        for part in picture.split("cy=\"").skip(1) {
            let height: f64 = part.split('"').next().unwrap().parse().unwrap();
            assert!((TOP..=BOTTOM).contains(&height), "{height}");
        }
    }

    #[test]
    fn an_axis_ends_at_a_round_number_above_all_values() {
        assert_eq!(round_up(0.3), 5.0);
        assert_eq!(round_up(61.0), 100.0);
        assert_eq!(round_up(100.0), 100.0);
        assert_eq!(round_up(101.0), 250.0);
    }
}
