//! The picture of `bench-growth`: time and steps per query over the logarithm of the size.

use crate::svg::{Svg, round_up};

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
        round_up(most.fold(0.0, f64::max), TICKS)
    });
    let y =
        |is_right: bool, value: f64| BOTTOM - (BOTTOM - TOP) * value / top[usize::from(is_right)];
    let mut svg = Svg::new((WIDTH, HEIGHT), title, "font-family=\"sans-serif\" font-size=\"12\"");
    svg.rect((0.0, 0.0), (WIDTH, HEIGHT), "fill=\"white\"", "");
    svg.text((WIDTH / 2.0, 20.0), "middle", "", title);
    svg.text((LEFT, TOP - 8.0), "middle", "", axes[0]);
    svg.text((RIGHT, TOP - 8.0), "middle", "", axes[1]);
    for tick in 0..=TICKS {
        let part = tick as f64 / TICKS as f64;
        let height = BOTTOM - (BOTTOM - TOP) * part + 4.0;
        svg.text((LEFT - 6.0, height), "end", "", &format!("{:.0}", top[0] * part));
        svg.text((RIGHT + 6.0, height), "start", "", &format!("{:.0}", top[1] * part));
    }
    if let Some(curve) = curves.first() {
        for &(n, _) in &curve.points {
            svg.text((x(n), BOTTOM + 18.0), "middle", "", &format!("{n:.0}"));
        }
    }
    svg.rect((LEFT, TOP), (RIGHT, BOTTOM), "fill=\"none\" stroke=\"#888\"", "");
    for (number, curve) in curves.iter().enumerate() {
        let color = COLORS[number % COLORS.len()];
        let fill = format!("fill=\"{color}\"");
        let height = TOP + 16.0 * (number as f64 + 1.0);
        svg.text((LEFT + 20.0, height), "start", "", &curve.name);
        svg.circle((LEFT + 10.0, height - 4.0), 4.0, &fill, "");
        for &(n, value) in &curve.points {
            svg.circle((x(n), y(curve.is_right, value)), 4.0, &fill, "");
        }
        let line = curve.points.iter().zip(&curve.fitted);
        let line = line.map(|(&(n, _), &value)| (x(n), y(curve.is_right, value)));
        let dashes = if curve.is_right { " stroke-dasharray=\"5 4\"" } else { "" };
        svg.polyline(line, &format!("fill=\"none\" stroke=\"{color}\"{dashes}"));
    }
    svg.finish()
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
}
