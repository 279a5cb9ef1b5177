//! Draws what is shown: three panels, the curve of frames, two tables. It decides nothing but
//! where things stand.

use super::shown::{ACCOUNT_COLUMNS, DEVICE_COLUMNS, Line, Order, Row, Shown, Tone};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line as Text, Span};
use ratatui::widgets::{Block, Paragraph, Row as TableRow, Sparkline, Table};

/// What the screen says beside the numbers.
pub(super) struct Around<'a> {
    pub(super) at: &'a str,
    pub(super) every: &'a str,
    pub(super) order: Order,
    pub(super) paused: bool,
    /// Keys are told where there is somebody to press them.
    pub(super) keys: bool,
}

fn style_of(tone: Tone) -> Style {
    match tone {
        Tone::Plain => Style::new(),
        Tone::Notable => Style::new().fg(Color::Yellow),
        Tone::Bad => Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
    }
}

/// Draws all of it.
pub(super) fn draw(frame: &mut Frame<'_>, shown: &Shown, around: &Around<'_>) {
    let panels = [&shown.way, &shown.journal, &shown.connections];
    let longest = panels.iter().map(|lines| lines.len()).max().unwrap_or(0);
    let high = u16::try_from(longest).unwrap_or(u16::MAX).saturating_add(2);
    let troubled = u16::try_from(shown.devices.len())
        .unwrap_or(u16::MAX)
        .clamp(1, 8);
    let [head, above, curve, accounts, devices] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(high),
        Constraint::Length(5),
        Constraint::Min(5),
        Constraint::Length(troubled.saturating_add(3)),
    ])
    .areas(frame.area());
    frame.render_widget(header(shown, around), head);
    let columns = Layout::horizontal([
        Constraint::Percentage(38),
        Constraint::Percentage(31),
        Constraint::Percentage(31),
    ]);
    let titles = [
        " frames on their way ",
        " journal ",
        " connections and process ",
    ];
    for ((area, lines), title) in columns.split(above).iter().zip(panels).zip(titles) {
        frame.render_widget(panel(title, lines), *area);
    }
    draw_curve(frame, shown, curve);
    let title = format!(" accounts by {} ", around.order.word());
    let widths = [6, 24, 12, 12, 12, 24, 34].map(Constraint::Max);
    frame.render_widget(
        table(&title, &ACCOUNT_COLUMNS, &widths, &shown.accounts),
        accounts,
    );
    let widths = [8, 30, 9, 9, 9, 9].map(Constraint::Max);
    let title = " devices with trouble in the last 15 minutes ";
    if shown.devices.is_empty() {
        let none = Paragraph::new("none").block(Block::bordered().title(title));
        frame.render_widget(none, devices);
    } else {
        frame.render_widget(
            table(title, &DEVICE_COLUMNS, &widths, &shown.devices),
            devices,
        );
    }
}

fn header<'a>(shown: &'a Shown, around: &'a Around<'_>) -> Paragraph<'a> {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let (state, tone) = match &shown.ready {
        None => ("asking".to_owned(), Tone::Plain),
        Some(Ok(())) => ("ready".to_owned(), Tone::Plain),
        Some(Err(why)) => (format!("NOT READY: {why}"), Tone::Bad),
    };
    let mut spans = vec![
        Span::styled("Tollgate ", bold),
        Span::styled(state, style_of(tone)),
        Span::raw(format!(
            "  {}  up {}  every {}",
            around.at, shown.uptime, around.every
        )),
    ];
    if around.paused {
        spans.push(Span::styled("  PAUSED", style_of(Tone::Notable)));
    }
    if around.keys {
        spans.push(Span::raw("   q quit  s sort accounts  p pause"));
    }
    Paragraph::new(Text::from(spans))
}

fn panel<'a>(title: &'a str, lines: &'a [Line]) -> Paragraph<'a> {
    let wide = lines.iter().map(|line| line.name.len()).max().unwrap_or(0);
    let texts: Vec<Text<'_>> = lines
        .iter()
        .map(|line| {
            Text::from(vec![
                Span::raw(format!("{:wide$}  ", line.name)),
                Span::styled(line.text.as_str(), style_of(line.tone)),
            ])
        })
        .collect();
    Paragraph::new(texts).block(Block::bordered().title(title))
}

/// The newest rate stands at the right edge.
fn draw_curve(frame: &mut Frame<'_>, shown: &Shown, area: Rect) {
    let room = usize::from(area.width.saturating_sub(2));
    let from = shown.curve.len().saturating_sub(room);
    let last = shown.curve.get(from..).unwrap_or_default();
    let most = last.iter().max().copied().unwrap_or(0);
    let title = format!(" frames a second, at most {most} ");
    let curve = Sparkline::default()
        .data(last)
        .block(Block::bordered().title(title));
    frame.render_widget(curve, area);
}

fn table<'a>(
    title: &'a str,
    columns: &[&'a str],
    widths: &[Constraint],
    rows: &'a [Row],
) -> Table<'a> {
    let head =
        TableRow::new(columns.iter().copied()).style(Style::new().add_modifier(Modifier::BOLD));
    let rows = rows
        .iter()
        .map(|row| TableRow::new(row.cells.iter().map(String::as_str)).style(style_of(row.tone)));
    Table::new(rows, widths.iter().copied())
        .header(head)
        .block(Block::bordered().title(title))
}

#[cfg(test)]
mod tests {
    use super::super::text;
    use super::*;

    #[test]
    fn all_of_it_is_on_the_screen_and_a_small_one_does_no_harm() {
        let line = |name, text: &str, tone| Line {
            name,
            text: text.to_owned(),
            tone,
        };
        let row = |cells: &[&str]| Row {
            cells: cells.iter().map(|cell| (*cell).to_owned()).collect(),
            tone: Tone::Plain,
            weight: 1.0,
        };
        let shown = Shown {
            ready: Some(Err("the disk stands still".to_owned())),
            uptime: "3h 20m".to_owned(),
            way: vec![line("frames", "120/s", Tone::Plain)],
            journal: vec![line("state", "writing", Tone::Plain)],
            connections: vec![line("open", "4k", Tone::Notable)],
            curve: (1..300).collect(),
            accounts: vec![row(&["7", "acme", "1", "2 B", "0 B", "", ""])],
            devices: vec![row(&["9", "van", "7", "3", "", ""])],
        };
        let around = Around {
            at: "12:00:00",
            every: "1s",
            order: Order::Traffic,
            paused: true,
            keys: true,
        };
        let text_of =
            |width, height| text(width, height, &shown, &around).expect("it can be drawn");
        let screen = text_of(140, 40);
        for part in [
            "NOT READY: the disk stands still",
            "up 3h 20m",
            "PAUSED",
            "q quit",
            "frames  120/s",
            "state  writing",
            "open  4k",
            "at most 299",
            "accounts by traffic",
            "acme",
            "van",
            "devices with trouble",
        ] {
            assert!(screen.contains(part), "{part} is not on\n{screen}");
        }
        for (width, height) in [(1, 1), (20, 5), (80, 24), (400, 100)] {
            assert_eq!(text_of(width, height).lines().count(), usize::from(height));
        }
    }
}
